// SPDX-License-Identifier: Apache-2.0
/* The table of all keys of a job spec, for those who print, compare or list them. */
#ifndef TRI_LAUNCH_SPEC_TABLE_H
#define TRI_LAUNCH_SPEC_TABLE_H

#include "launch/spec.h"
#include "runtime/base/config.h"

/* One row per key of tri_spec. Not collective. */
const tri_config *tri_spec_table(void);

#endif

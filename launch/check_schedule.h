// SPDX-License-Identifier: Apache-2.0
/* `trireme check --schedule`: the pipeline's table as text. */
#ifndef TRI_LAUNCH_CHECK_SCHEDULE_H
#define TRI_LAUNCH_CHECK_SCHEDULE_H

#include "launch/spec.h"

#include <stdio.h>

/* Draw the schedule of a resolved spec on stages of equal length, and say how long ranks wait and how
 * much is alive on each. Not collective. Errors: those of tri_schedule_create. */
TRI_MUST_USE tri_status tri_check_schedule(const tri_spec *spec, FILE *stream);

#endif

// SPDX-License-Identifier: Apache-2.0
/* The part of tri_spec_check that is about layouts. Private to launch/spec*. */
#ifndef TRI_LAUNCH_SPEC_LAYOUT_H
#define TRI_LAUNCH_SPEC_LAYOUT_H

#include "launch/spec.h"

/* Resolve parallel.data, parallel.ulysses and the groups of parallel.zero for `n_ranks` ranks. Not
 * collective. Errors: TRI_EINVAL where the axes do not make so many ranks, with what would. */
TRI_MUST_USE tri_status tri_spec_resolve_mesh(tri_spec *spec, int n_ranks);

/* May this model and batch be laid out so? The spec is resolved. Not collective. Errors: TRI_EINVAL with
 * the key, the reason and the nearest legal values. */
TRI_MUST_USE tri_status tri_spec_check_layout(const tri_spec *spec);

#endif

// SPDX-License-Identifier: Apache-2.0
/* Elements of any type as fp64, for tools that look at values. */
#ifndef TRI_CHECKPOINT_VALUES_H
#define TRI_CHECKPOINT_VALUES_H

#include "runtime/dtype.h"

/* Is it a floating type? Not collective. */
bool tri_values_is_float(tri_dtype dtype);

/* out = the `n` elements at `values`. Not collective. Exact but for integers beyond 2^53, which are
 * rounded. */
void tri_values_widen(tri_dtype dtype, int64_t n, const void *values, double *out);

#endif

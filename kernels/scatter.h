// SPDX-License-Identifier: Apache-2.0
/* How far gradients of groups of samples lie apart: one pass over sums of groups, in fp64. Where the sums
 * over the first m - 1 groups and over m groups are s' and s, group m differs from the mean of those
 * before it by s - m / (m - 1) s' (Welford's update), so that no squares of large
 * numbers are subtracted.
 */
#ifndef TRI_KERNELS_SCATTER_H
#define TRI_KERNELS_SCATTER_H

#include "kernels/kernels.h"

typedef struct tri_scatter_args {
    int64_t n;
    const float *now;    /* [n] */
    const float *before; /* [n] */
    double factor;       /* of before */
    float *keep;         /* [n] = now; may be before; NULL: none */
    float *squares;      /* [n] += scale * (now - factor * before)^2; NULL: none */
    double scale;
} tri_scatter_args;

/* *out = sum of (now - factor * before)^2, in a fixed order that does not depend on the thread count. inf
 * and nan come through. Not collective. Errors: TRI_EINVAL n < 0.
 * Cost: reads 8 n bytes (12 with squares), writes 4 n for each of keep and squares. */
TRI_MUST_USE tri_status tri_scatter_add(tri_kernels *kernels, const tri_scatter_args *args,
                                        double *out);

/* *out = largest squares[i] / x[i]^2; 0 where both are 0, infinite where x[i] alone is; 0 for no elements.
 * nan is passed over. Not collective. Errors: TRI_EINVAL n < 0. Cost: reads 8 n bytes. */
TRI_MUST_USE tri_status tri_scatter_ratio(tri_kernels *kernels, int64_t n, const float *squares,
                                          const float *x, double *out);

enum { TRI_SCATTER_MAX_PRODUCTS = 16 };

/* out[k] = <x, y[k]> for k < n_y, in a fixed order. Not collective. Errors: TRI_EINVAL n < 0 or too many.
 * Cost: reads 4 (n_y + 1) n bytes. */
TRI_MUST_USE tri_status tri_scatter_products(tri_kernels *kernels, int64_t n, const float *x,
                                             int n_y, const float *const *y, double *out);

#endif

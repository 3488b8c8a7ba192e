// SPDX-License-Identifier: Apache-2.0
/* Layer norm (arXiv:1607.06450) and RMS norm (arXiv:1910.07467) over the last dimension. Shapes:
 * x, y, dx, dy [rows, width] dtype; weight, bias [width] dtype; mean, rstd [rows] fp32;
 * dweight, dbias [width] fp32.
 */
#ifndef TRI_KERNELS_NORM_H
#define TRI_KERNELS_NORM_H

#include "kernels/kernels.h"

typedef struct tri_norm_args {
    int64_t rows, width;
    tri_dtype dtype;
    float epsilon;
    const void *x, *weight, *bias; /* bias NULL with mean NULL: RMS norm */
    void *y;
    float *mean, *rstd; /* forward =, backward input */
    const void *dy;
    const void *add;        /* backward: dx = gradient + add (the residual path); NULL: none */
    void *dx;               /* may be add */
    float *dweight, *dbias; /* += */
    float *workspace;       /* backward_weight: tri_norm_workspace bytes */
} tri_norm_args;

/* y, mean, rstd = norm of x. Not collective. */
TRI_MUST_USE tri_status tri_norm_forward(tri_kernels *kernels, const tri_norm_args *args);

/* x += branch in place (the residual stream), then norm: one pass. Not collective.
 * `branch` has x's shape; args->x is written. */
TRI_MUST_USE tri_status tri_norm_forward_residual(tri_kernels *kernels, const tri_norm_args *args,
                                                  const void *branch);

/* dx = gradient (+ add). Not collective. */
TRI_MUST_USE tri_status tri_norm_backward_input(tri_kernels *kernels, const tri_norm_args *args);

/* dweight, dbias += gradients; rows are summed in a fixed order. Not collective. */
TRI_MUST_USE tri_status tri_norm_backward_weight(tri_kernels *kernels, const tri_norm_args *args);
size_t tri_norm_workspace(const tri_kernels *kernels, int64_t width);

#endif

// SPDX-License-Identifier: Apache-2.0
/* Layer norm or RMS norm of the residual stream. In forward the branch before it is added on the way:
 * the branch was written to the place of the new residual, so one pass adds the old one and norms.
 */
#ifndef TRI_PARALLEL_LAYER_NORM_H
#define TRI_PARALLEL_LAYER_NORM_H

#include "parallel/layer/layer.h"

typedef struct tri_norm_layer {
    int64_t width;
    float epsilon;
    tri_param *weight;
    tri_param *bias; /* NULL: RMS norm */
} tri_norm_layer;

/* What forward leaves to backward. x and y [outer rows, width]; mean (unused by RMS norm),
 * rstd [outer rows]. */
typedef struct tri_norm_store {
    void *x, *y;
    float *mean, *rstd;
} tri_norm_store;

/* y = norm(x), where x += residual first unless that is NULL. Not collective. */
TRI_MUST_USE tri_status tri_norm_layer_forward(const tri_layer_call *call,
                                               const tri_norm_layer *norm,
                                               const tri_norm_store *store, const void *residual);

/* dx = gradient of x from dy, + add unless that is NULL; dx may be add. Not collective. */
TRI_MUST_USE tri_status tri_norm_layer_backward_input(const tri_layer_call *call,
                                                      const tri_norm_layer *norm,
                                                      const tri_norm_store *store, const void *dy,
                                                      const void *add, void *dx);

/* Gradients of weight and bias += : of the outer rows of this rank. Not collective. */
TRI_MUST_USE tri_status tri_norm_layer_backward_weight(const tri_layer_call *call,
                                                       const tri_norm_layer *norm,
                                                       const tri_norm_store *store, const void *dy);

#endif

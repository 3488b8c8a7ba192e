// SPDX-License-Identifier: Apache-2.0
/* y = x W^T + b. W [out, in] may consist of up to three parameters one below the other (q, k, v; or
 * gate, up): where they lie next to one another in memory one product does the work of all, else
 * each part has its own. Both give the same numbers but for rounding.
 */
#ifndef TRI_PARALLEL_LAYER_LINEAR_H
#define TRI_PARALLEL_LAYER_LINEAR_H

#include "parallel/layer/layer.h"

enum { TRI_LINEAR_PARTS = 3 };

/* A linear layer: the caller fills in all but `fused_*`. */
typedef struct tri_linear {
    int64_t in;
    int n_parts;
    int64_t out[TRI_LINEAR_PARTS];
    tri_param *weight[TRI_LINEAR_PARTS]; /* [out, in] each */
    tri_param *bias[TRI_LINEAR_PARTS];   /* [out] each; NULL: none */
    bool fused_weight, fused_gradient;
} tri_linear;

/* Width of y: the parts' together. Not collective. */
int64_t tri_linear_out(const tri_linear *linear);

/* Find out whether the parts lie together, once parameters are bound. Not collective. */
void tri_linear_join(tri_linear *linear, tri_dtype dtype);

/* y [rows, out] = x [rows, in] W^T + b, of any `rows`. Not collective. */
TRI_MUST_USE tri_status tri_linear_forward(const tri_layer_call *call, const tri_linear *linear,
                                           int64_t rows, const void *x, void *y);

/* dx [rows, in] = dy [rows, out] W, of any `rows`. Not collective. Writes: dx =; scratch [rows, in] is
 * used where the parts lie apart. */
TRI_MUST_USE tri_status tri_linear_backward_input(const tri_layer_call *call,
                                                  const tri_linear *linear, int64_t rows,
                                                  const void *dy, void *dx, void *scratch);

/* dW += dy^T x, db += column sums of dy, over all rows of the call. Not collective. */
TRI_MUST_USE tri_status tri_linear_backward_weight(const tri_layer_call *call,
                                                   const tri_linear *linear, const void *x,
                                                   const void *dy);

#endif

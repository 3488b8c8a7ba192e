// SPDX-License-Identifier: Apache-2.0
/* Linear layers split over the tensor axis, together with the collective before or after the product
 * (Megatron-LM, arXiv:1909.08053).
 *
 *   columns: W [out/size, in] on each rank: outer rows are gathered, then multiplied (q, k, v, gate, up)
 *   rows:    W [out, in/size]: multiplied, then partial sums are reduced to outer rows (out, down)
 *
 * Backward goes the other way. Where axis->chunks > 1, rows are cut in pieces, and the collective of one
 * piece runs while another is multiplied; the sum over the ranks has the same order for each element.
 */
#ifndef TRI_PARALLEL_LAYER_SPLIT_H
#define TRI_PARALLEL_LAYER_SPLIT_H

#include "parallel/layer/linear.h"

/* y [rows, out] = gathered x [outer rows, in] W^T + b. Collective over the tensor axis. */
TRI_MUST_USE tri_status tri_split_columns_forward(const tri_layer_call *call,
                                                  const tri_linear *linear, const void *x, void *y);

/* dx [outer rows, in] = sum over the axis of dy [rows, out] W. Collective over the tensor axis.
 * scratch [rows, in] is used where parts lie apart, unless the outer region is shared out. */
TRI_MUST_USE tri_status tri_split_columns_backward_input(const tri_layer_call *call,
                                                         const tri_linear *linear, const void *dy,
                                                         void *dx, void *scratch);

/* Gradients += , from x [outer rows, in], gathered again, and dy [rows, out]. Collective over the tensor
 * axis. `before`, if any, is run while x is gathered: the gradients of the layer's other product. */
typedef struct tri_split_before {
    const tri_linear *linear;
    const void *x, *dy; /* all rows */
} tri_split_before;
TRI_MUST_USE tri_status tri_split_columns_backward_weight(const tri_layer_call *call,
                                                          const tri_linear *linear, const void *x,
                                                          const void *dy,
                                                          const tri_split_before *before);

/* y [outer rows, out] = sum over the axis of x [rows, in] W^T, + b once. Collective over the tensor
 * axis. */
TRI_MUST_USE tri_status tri_split_rows_forward(const tri_layer_call *call, const tri_linear *linear,
                                               const void *x, void *y);

/* dx [rows, in] = gathered dy [outer rows, out] W; all rows of dy are left in `full`, which may be dy
 * itself where the outer region holds all rows. Collective over the tensor axis. */
TRI_MUST_USE tri_status tri_split_rows_backward_input(const tri_layer_call *call,
                                                      const tri_linear *linear, const void *dy,
                                                      void *full, void *dx);

/* Add the messages of a pair of layers, one split by columns and one by rows, under the name `what`: with
 * a shared outer region, backward gathers the rows of the first once more. Not collective. */
void tri_split_traffic(const tri_layer_call *call, const char *what, tri_tensor_passes passes,
                       tri_traffic_list *list);

#endif

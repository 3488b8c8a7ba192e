// SPDX-License-Identifier: Apache-2.0
/* The MLP of a block: down(gelu(up(y))), or down(silu(gate(y)) * up(y)) where it has a gate. Over a tensor
 * axis gate and up are split by columns, down by rows (split.h).
 */
#ifndef TRI_PARALLEL_LAYER_MLP_H
#define TRI_PARALLEL_LAYER_MLP_H

#include "parallel/layer/split.h"

typedef struct tri_mlp_layer {
    int64_t width; /* F, of this rank */
    bool gated;
    tri_linear up; /* one part, or two: gate, up */
    tri_linear down;
} tri_mlp_layer;

/* What forward leaves to backward. */
typedef struct tri_mlp_store {
    void *wide; /* [rows, F], gated [rows, 2 F]; gated backward turns it into its gradient */
    void *act;  /* [rows, F]: the input of down */
} tri_mlp_store;

/* branch [outer rows, C] = MLP of y [outer rows, C]. Collective over the tensor axis. Writes: store,
 * branch. */
TRI_MUST_USE tri_status tri_mlp_layer_forward(const tri_layer_call *call, const tri_mlp_layer *mlp,
                                              const void *y, const tri_mlp_store *store,
                                              void *branch);

/* The first parts of forward, for what backward computes again: act from wide; wide and act from y. The
 * second is collective over the tensor axis. */
TRI_MUST_USE tri_status tri_mlp_layer_activate(const tri_layer_call *call, const tri_mlp_layer *mlp,
                                               const tri_mlp_store *store);
TRI_MUST_USE tri_status tri_mlp_layer_up(const tri_layer_call *call, const tri_mlp_layer *mlp,
                                         const void *y, const tri_mlp_store *store);

/* Buffers of the backward pass, kept from backward_input to backward_weight (gated, dwide may be given to
 * others between: store->wide has what it needs). */
typedef struct tri_mlp_scratch {
    void *dbranch; /* [rows, C]: of all rows; backward_input's own argument where that holds them */
    void *dwide;   /* [rows, F]; where gate and up lie apart [rows, max(F, C)] */
} tri_mlp_scratch;

/* dy [outer rows, C] = gradient of y from dbranch [outer rows, C]. Collective over the tensor axis.
 * Writes: dy, scratch; gated store->wide. */
TRI_MUST_USE tri_status tri_mlp_layer_backward_input(const tri_layer_call *call,
                                                     const tri_mlp_layer *mlp,
                                                     const tri_mlp_store *store,
                                                     const void *dbranch,
                                                     const tri_mlp_scratch *scratch, void *dy);

/* Gradients of matrices and biases += , from y [outer rows, C] and what backward_input left. Collective
 * over the tensor axis. */
TRI_MUST_USE tri_status tri_mlp_layer_backward_weight(const tri_layer_call *call,
                                                      const tri_mlp_layer *mlp,
                                                      const tri_mlp_store *store, const void *y,
                                                      const tri_mlp_scratch *scratch);

/* Add the messages over the tensor axis. Not collective. */
void tri_mlp_layer_traffic(const tri_layer_call *call, tri_tensor_passes passes,
                           tri_traffic_list *list);

#endif

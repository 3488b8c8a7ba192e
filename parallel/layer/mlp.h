// SPDX-License-Identifier: Apache-2.0
/* The MLP of a block: down(gelu(up(y))), or down(silu(gate(y)) * up(y)) where it has a gate. */
#ifndef TRI_PARALLEL_LAYER_MLP_H
#define TRI_PARALLEL_LAYER_MLP_H

#include "parallel/layer/linear.h"

typedef struct tri_mlp_layer {
    int64_t width; /* F */
    bool gated;
    tri_linear up; /* one part, or two: gate, up */
    tri_linear down;
} tri_mlp_layer;

/* What forward leaves to backward. */
typedef struct tri_mlp_store {
    void *wide; /* [rows, F], gated [rows, 2 F]; gated backward turns it into its gradient */
    void *act;  /* [rows, F]: the input of down */
} tri_mlp_store;

/* branch [rows, C] = MLP of y [rows, C]. Not collective. Writes: store, branch. */
TRI_MUST_USE tri_status tri_mlp_layer_forward(const tri_layer_call *call, const tri_mlp_layer *mlp,
                                              const void *y, const tri_mlp_store *store,
                                              void *branch);

/* dy [rows, C] = gradient of y from dbranch. Not collective. dwide [rows, max(F, C)] is kept until
 * backward_weight. */
TRI_MUST_USE tri_status tri_mlp_layer_backward_input(const tri_layer_call *call,
                                                     const tri_mlp_layer *mlp,
                                                     const tri_mlp_store *store,
                                                     const void *dbranch, void *dwide, void *dy);

/* Gradients of matrices and biases += . Not collective. */
TRI_MUST_USE tri_status tri_mlp_layer_backward_weight(const tri_layer_call *call,
                                                      const tri_mlp_layer *mlp,
                                                      const tri_mlp_store *store, const void *y,
                                                      const void *dbranch, const void *dwide);

/* Create all primitives. Not collective. */
TRI_MUST_USE tri_status tri_mlp_layer_prepare(const tri_layer_call *call, const tri_mlp_layer *mlp,
                                              bool training);

#endif

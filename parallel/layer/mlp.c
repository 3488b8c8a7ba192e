// SPDX-License-Identifier: Apache-2.0
/* The MLP layer. The gradient of a gated activation overwrites the activation (it is read once); that
 * of the plain one overwrites the gradient it came from.
 */
#include "parallel/layer/mlp.h"

#include "kernels/pointwise.h"

tri_status tri_mlp_layer_activate(const tri_layer_call *call, const tri_mlp_layer *mlp,
                                  const tri_mlp_store *store)
{
    int64_t rows = tri_layer_rows(call);
    if (!mlp->gated)
        return tri_gelu_forward(call->kernels, call->dtype, rows * mlp->width, store->wide,
                                store->act);
    return tri_swiglu_forward(call->kernels, call->dtype, rows, mlp->width, 2 * mlp->width,
                              store->wide, tri_layer_at(store->wide, mlp->width, call->dtype),
                              store->act);
}

tri_status tri_mlp_layer_up(const tri_layer_call *call, const tri_mlp_layer *mlp, const void *y,
                            const tri_mlp_store *store)
{
    TRI_TRY(tri_split_columns_forward(call, &mlp->up, y, store->wide));
    return tri_mlp_layer_activate(call, mlp, store);
}

tri_status tri_mlp_layer_forward(const tri_layer_call *call, const tri_mlp_layer *mlp,
                                 const void *y, const tri_mlp_store *store, void *branch)
{
    TRI_TRY(tri_mlp_layer_up(call, mlp, y, store));
    return tri_split_rows_forward(call, &mlp->down, store->act, branch);
}

static tri_status gate_backward(const tri_layer_call *call, const tri_mlp_layer *mlp,
                                const tri_mlp_store *store, const void *dact)
{
    void *up = tri_layer_at(store->wide, mlp->width, call->dtype);
    tri_swiglu_backward_args args = {
        .dtype = call->dtype,
        .rows = tri_layer_rows(call),
        .width = mlp->width,
        .stride = 2 * mlp->width,
        .gate = store->wide,
        .up = up,
        .dy = dact,
        .dgate = store->wide,
        .dup = up,
    };
    return tri_swiglu_backward(call->kernels, &args);
}

tri_status tri_mlp_layer_backward_input(const tri_layer_call *call, const tri_mlp_layer *mlp,
                                        const tri_mlp_store *store, const void *dbranch,
                                        const tri_mlp_scratch *scratch, void *dy)
{
    void *dwide = scratch->dwide;
    TRI_TRY(tri_split_rows_backward_input(call, &mlp->down, dbranch, scratch->dbranch, dwide));
    if (mlp->gated) {
        TRI_TRY(gate_backward(call, mlp, store, dwide));
        /* dwide is free now: it serves as scratch where gate and up lie apart. */
        return tri_split_columns_backward_input(call, &mlp->up, store->wide, dy, dwide);
    }
    TRI_TRY(tri_gelu_backward(call->kernels, call->dtype, tri_layer_rows(call) * mlp->width,
                              store->wide, dwide, dwide));
    return tri_split_columns_backward_input(call, &mlp->up, dwide, dy, NULL);
}

tri_status tri_mlp_layer_backward_weight(const tri_layer_call *call, const tri_mlp_layer *mlp,
                                         const tri_mlp_store *store, const void *y,
                                         const tri_mlp_scratch *scratch)
{
    tri_split_before down = {&mlp->down, store->act, scratch->dbranch};
    const void *dwide = mlp->gated ? store->wide : scratch->dwide;
    return tri_split_columns_backward_weight(call, &mlp->up, y, dwide, &down);
}

void tri_mlp_layer_traffic(const tri_layer_call *call, tri_tensor_passes passes,
                           tri_traffic_list *list)
{
    tri_split_traffic(call, "MLP", passes, list);
}

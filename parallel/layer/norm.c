// SPDX-License-Identifier: Apache-2.0
/* Norm layers: the kernels' arguments made from a layer's parameters and what it stored. */
#include "parallel/layer/norm.h"

#include "kernels/norm.h"

static tri_norm_args args_of(const tri_layer_call *call, const tri_norm_layer *norm,
                             const tri_norm_store *store)
{
    return (tri_norm_args){
        .rows = tri_layer_outer_rows(call),
        .width = norm->width,
        .dtype = call->dtype,
        .epsilon = norm->epsilon,
        .x = store->x,
        .weight = norm->weight->weight,
        .bias = norm->bias ? norm->bias->weight : NULL,
        .y = store->y,
        .mean = norm->bias ? store->mean : NULL,
        .rstd = store->rstd,
        .workspace = call->reduction,
    };
}

tri_status tri_norm_layer_forward(const tri_layer_call *call, const tri_norm_layer *norm,
                                  const tri_norm_store *store, const void *residual)
{
    tri_norm_args args = args_of(call, norm, store);
    if (!residual) return tri_norm_forward(call->kernels, &args);
    return tri_norm_forward_residual(call->kernels, &args, residual);
}

tri_status tri_norm_layer_backward_input(const tri_layer_call *call, const tri_norm_layer *norm,
                                         const tri_norm_store *store, const void *dy,
                                         const void *add, void *dx)
{
    tri_norm_args args = args_of(call, norm, store);
    args.dy = dy;
    args.add = add;
    args.dx = dx;
    return tri_norm_backward_input(call->kernels, &args);
}

tri_status tri_norm_layer_backward_weight(const tri_layer_call *call, const tri_norm_layer *norm,
                                          const tri_norm_store *store, const void *dy)
{
    tri_norm_args args = args_of(call, norm, store);
    args.dy = dy;
    args.dweight = norm->weight->gradient;
    args.dbias = norm->bias ? norm->bias->gradient : NULL;
    return tri_norm_backward_weight(call->kernels, &args);
}

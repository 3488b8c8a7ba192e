// SPDX-License-Identifier: Apache-2.0
/* The embedding layer: gathers rows forward, scatters gradients backward. */
#include "parallel/layer/embed.h"

#include "kernels/embed.h"

static tri_embed_args args_of(const tri_layer_call *call, const tri_embed_layer *embed,
                              const int32_t *ids)
{
    return (tri_embed_args){
        .tokens = tri_layer_rows(call),
        .width = embed->width,
        .vocab = embed->vocab,
        .first = embed->first,
        .period = call->length,
        .first_position = call->first_position,
        .place = call->position,
        .dtype = call->dtype,
        .scale = embed->scale,
        .id = ids,
        .table = embed->token->weight,
    };
}

tri_status tri_embed_layer_forward(const tri_layer_call *call, const tri_embed_layer *embed,
                                   const int32_t *ids, void *x)
{
    const tri_tensor_axis *axis = tri_layer_tensor(call);
    tri_embed_args args = args_of(call, embed, ids);
    /* positions are in one rank's addend alone */
    args.position = embed->position && axis->index == 0 ? embed->position->weight : NULL;
    args.y = tri_tensor_partial(axis, x);
    TRI_TRY(tri_embed_forward(call->kernels, &args));
    return tri_tensor_reduce(axis, call->dtype, args.tokens, x);
}

tri_status tri_embed_layer_backward_weight(const tri_layer_call *call, const tri_embed_layer *embed,
                                           const int32_t *ids, const void *dx)
{
    tri_embed_args args = args_of(call, embed, ids);
    TRI_TRY(tri_tensor_gather(tri_layer_tensor(call), call->dtype, args.tokens, dx, NULL, &args.dy,
                              NULL));
    args.dtable = embed->token->gradient;
    args.dposition = embed->position ? embed->position->gradient : NULL;
    return tri_embed_backward(call->kernels, &args);
}

void tri_embed_layer_traffic(const tri_layer_call *call, tri_tensor_passes passes,
                             tri_traffic_list *list)
{
    tri_tensor_moves moves = {
        .what = "embedding",
        .rows = tri_layer_rows(call),
        .dtype = call->dtype,
        .gathers = passes.backward,
        .reduces = passes.forward,
    };
    tri_tensor_traffic(tri_layer_tensor(call), &moves, list);
}

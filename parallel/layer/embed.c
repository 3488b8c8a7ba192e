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
        .period = call->length,
        .first_position = call->first_position,
        .dtype = call->dtype,
        .id = ids,
        .table = embed->token->weight,
        .position = embed->position ? embed->position->weight : NULL,
    };
}

tri_status tri_embed_layer_forward(const tri_layer_call *call, const tri_embed_layer *embed,
                                   const int32_t *ids, void *x)
{
    tri_embed_args args = args_of(call, embed, ids);
    args.y = x;
    return tri_embed_forward(call->kernels, &args);
}

tri_status tri_embed_layer_backward_weight(const tri_layer_call *call, const tri_embed_layer *embed,
                                           const int32_t *ids, const void *dx)
{
    tri_embed_args args = args_of(call, embed, ids);
    args.dy = dx;
    args.dtable = embed->token->gradient;
    args.dposition = embed->position ? embed->position->gradient : NULL;
    return tri_embed_backward(call->kernels, &args);
}

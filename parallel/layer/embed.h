// SPDX-License-Identifier: Apache-2.0
/* Token embedding, plus a learned position where the model has one. Over a tensor axis each rank has a
 * block of the vocabulary: it looks up the tokens that it has, and the rows of all ranks are summed.
 */
#ifndef TRI_PARALLEL_LAYER_EMBED_H
#define TRI_PARALLEL_LAYER_EMBED_H

#include "parallel/layer/layer.h"

typedef struct tri_embed_layer {
    int64_t vocab, width; /* vocab: rows of this rank */
    tri_param *token;     /* [vocab, width] */
    tri_param *position;  /* [context, width]; NULL: none */
    int64_t first;        /* id of the first row of this rank */
    float scale;          /* of what comes out; 0: 1 */
} tri_embed_layer;

/* x [outer rows, width] = scale (token[id] + position). Collective over the tensor axis. ids [rows] are
 * those of the whole vocabulary. */
TRI_MUST_USE tri_status tri_embed_layer_forward(const tri_layer_call *call,
                                                const tri_embed_layer *embed, const int32_t *ids,
                                                void *x);

/* Gradients of both tables += dx [outer rows, width]; that of the positions is whole on every rank.
 * Collective over the tensor axis. There is no gradient of the input. */
TRI_MUST_USE tri_status tri_embed_layer_backward_weight(const tri_layer_call *call,
                                                        const tri_embed_layer *embed,
                                                        const int32_t *ids, const void *dx);

/* Add the messages over the tensor axis. Not collective. */
void tri_embed_layer_traffic(const tri_layer_call *call, tri_tensor_passes passes,
                             tri_traffic_list *list);

#endif

// SPDX-License-Identifier: Apache-2.0
/* Reading the activations that a forward pass keeps for backward. */
#include "parallel/model_probe.h"

#include "parallel/model/model_impl.h"

#include <assert.h>

static const tri_model_slot *slot_of(const tri_model *model)
{
    assert(model->args.training && model->n_stages == 1 && model->args.compute == TRI_F32 &&
           model->chunks[0].recomputed == 0 && model->tensor.size == 1);
    return &model->chunks[0].slots[0];
}

const float *tri_model_probe_stream(const tri_model *model, int64_t layer)
{
    const tri_model_slot *slot = slot_of(model);
    return layer < model->config.layers ? slot->blocks[layer].norm1.x : slot->final.x;
}

void tri_model_probe_scores(const tri_model *model, int64_t layer, int64_t length, float *out)
{
    const tri_attention_layer *attention = &model->blocks[layer].attention;
    const float *q = slot_of(model)->blocks[layer].attention.qkv;
    const float *k = q + attention->heads * attention->head_size;
    int64_t stride = tri_linear_out(&attention->qkv);
    for (int64_t t = 0; t < length; t++)
        for (int64_t s = 0; s < length; s++) {
            float score = 0;
            for (int64_t i = 0; s <= t && i < attention->head_size; i++)
                score += q[t * stride + i] * k[s * stride + i];
            out[t * length + s] = score * attention->scale;
        }
}

tri_status tri_model_probe_logits(tri_model *model, int64_t rows, float *out)
{
    tri_layer_call call = tri_model_largest_call(model);
    TRI_TRY(tri_loss_layer_logits(&call, &model->loss, rows, slot_of(model)->final.y, out));
    return TRI_OK;
}

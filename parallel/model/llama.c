// SPDX-License-Identifier: Apache-2.0
/* Llama (Touvron et al., arXiv:2302.13971; grouped-query attention as in arXiv:2307.09288): rotary
 * positions (half-split pairs, the order of Hugging Face's files), RMS norm, SwiGLU MLP, no biases,
 * a head of its own.
 */
#include "parallel/model/families.h"

#include "runtime/base/int.h"

enum { LLAMA_FFN_UNIT = 64 };

static tri_status llama_resolve(tri_model_config *config)
{
    TRI_CHECK(config->dropout == 0, TRI_EINVAL,
              "model.dropout %g: family llama has none; leave it out, or use family gpt2",
              config->dropout);
    int64_t head_size = config->hidden / config->heads;
    TRI_CHECK(head_size % 2 == 0, TRI_EINVAL,
              "model.hidden %lld with model.heads %lld gives heads of %lld elements, and rotary "
              "positions turn pairs: choose an even size, as with model.hidden %lld",
              (long long)config->hidden, (long long)config->heads, (long long)head_size,
              (long long)(config->heads * (head_size + 1)));
    if (config->ffn == 0) config->ffn = tri_round_up(config->hidden * 8 / 3, LLAMA_FFN_UNIT);
    return TRI_OK;
}

const tri_model_family tri_model_llama = {
    .name = "llama",
    .doc = "rotary positions, RMS norm, grouped-query attention, SwiGLU MLP, untied head",
    .layer_norm = false,
    .rotary = true,
    .gated = true,
    .bias = false,
    .tied = false,
    .external =
        {
                   [TRI_MODEL_EMBED_TOKEN] = "model.embed_tokens.weight",
                   [TRI_MODEL_NORM1_WEIGHT] = "model.layers.#.input_layernorm.weight",
                   [TRI_MODEL_Q_WEIGHT] = "model.layers.#.self_attn.q_proj.weight",
                   [TRI_MODEL_K_WEIGHT] = "model.layers.#.self_attn.k_proj.weight",
                   [TRI_MODEL_V_WEIGHT] = "model.layers.#.self_attn.v_proj.weight",
                   [TRI_MODEL_OUT_WEIGHT] = "model.layers.#.self_attn.o_proj.weight",
                   [TRI_MODEL_NORM2_WEIGHT] = "model.layers.#.post_attention_layernorm.weight",
                   [TRI_MODEL_GATE_WEIGHT] = "model.layers.#.mlp.gate_proj.weight",
                   [TRI_MODEL_UP_WEIGHT] = "model.layers.#.mlp.up_proj.weight",
                   [TRI_MODEL_DOWN_WEIGHT] = "model.layers.#.mlp.down_proj.weight",
                   [TRI_MODEL_NORM_WEIGHT] = "model.norm.weight",
                   [TRI_MODEL_HEAD_WEIGHT] = "lm_head.weight",
                   },
    .resolve = llama_resolve,
};

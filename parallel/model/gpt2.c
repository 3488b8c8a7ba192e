// SPDX-License-Identifier: Apache-2.0
/* GPT-2 (Radford et al. 2019, "Language models are unsupervised multitask learners"): learned
 * positions, layer norm before each branch, GELU (tanh) MLP, biases, head tied to the embedding.
 * Hugging Face stores its matrices [in, out] (Conv1D), with q, k and v side by side in c_attn.
 */
#include "parallel/model/families.h"

static tri_status gpt2_resolve(tri_model_config *config)
{
    TRI_CHECK(config->kv_heads == 0 || config->kv_heads == config->heads, TRI_EINVAL,
              "model.kv_heads %lld: family gpt2 has as many key/value heads as heads; leave it out "
              "or set %lld, or use family llama",
              (long long)config->kv_heads, (long long)config->heads);
    if (config->ffn == 0) config->ffn = 4 * config->hidden;
    return TRI_OK;
}

const tri_model_family tri_model_gpt2 = {
    .name = "gpt2",
    .doc = "learned positions, layer norm, GELU MLP, biases, tied head",
    .layer_norm = true,
    .rotary = false,
    .gated = false,
    .bias = true,
    .tied = true,
    .external =
        {
                   [TRI_MODEL_EMBED_TOKEN] = "transformer.wte.weight",
                   [TRI_MODEL_EMBED_POSITION] = "transformer.wpe.weight",
                   [TRI_MODEL_NORM1_WEIGHT] = "transformer.h.#.ln_1.weight",
                   [TRI_MODEL_NORM1_BIAS] = "transformer.h.#.ln_1.bias",
                   [TRI_MODEL_Q_WEIGHT] = "transformer.h.#.attn.c_attn.weight[:, @0]^T",
                   [TRI_MODEL_K_WEIGHT] = "transformer.h.#.attn.c_attn.weight[:, @1]^T",
                   [TRI_MODEL_V_WEIGHT] = "transformer.h.#.attn.c_attn.weight[:, @2]^T",
                   [TRI_MODEL_Q_BIAS] = "transformer.h.#.attn.c_attn.bias[@0]",
                   [TRI_MODEL_K_BIAS] = "transformer.h.#.attn.c_attn.bias[@1]",
                   [TRI_MODEL_V_BIAS] = "transformer.h.#.attn.c_attn.bias[@2]",
                   [TRI_MODEL_OUT_WEIGHT] = "transformer.h.#.attn.c_proj.weight^T",
                   [TRI_MODEL_OUT_BIAS] = "transformer.h.#.attn.c_proj.bias",
                   [TRI_MODEL_NORM2_WEIGHT] = "transformer.h.#.ln_2.weight",
                   [TRI_MODEL_NORM2_BIAS] = "transformer.h.#.ln_2.bias",
                   [TRI_MODEL_UP_WEIGHT] = "transformer.h.#.mlp.c_fc.weight^T",
                   [TRI_MODEL_UP_BIAS] = "transformer.h.#.mlp.c_fc.bias",
                   [TRI_MODEL_DOWN_WEIGHT] = "transformer.h.#.mlp.c_proj.weight^T",
                   [TRI_MODEL_DOWN_BIAS] = "transformer.h.#.mlp.c_proj.bias",
                   [TRI_MODEL_NORM_WEIGHT] = "transformer.ln_f.weight",
                   [TRI_MODEL_NORM_BIAS] = "transformer.ln_f.bias",
                   [TRI_MODEL_HEAD_WEIGHT] = "lm_head.weight",
                   },
    .resolve = gpt2_resolve,
};

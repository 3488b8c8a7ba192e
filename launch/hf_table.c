// SPDX-License-Identifier: Apache-2.0
/* The families in Hugging Face's terms (transformers: GPT2Config, LlamaConfig and the models of these
 * names). A new family of ours gets a table here and nothing else.
 */
#include "launch/hf.h"

#include <string.h>

#define PLACE(member) offsetof(tri_model_config, member)

static const tri_hf_key gpt2_keys[] = {
    {"n_layer",             "model.layers",       TRI_HF_COUNT,  PLACE(layers),       12,    0          },
    {"n_embd",              "model.hidden",       TRI_HF_COUNT,  PLACE(hidden),       768,   0          },
    {"n_head",              "model.heads",        TRI_HF_COUNT,  PLACE(heads),        12,    0          },
    {"n_inner",             "model.ffn",          TRI_HF_COUNT,  PLACE(ffn),          0,     0          },
    {"n_positions",         "model.context",      TRI_HF_COUNT,  PLACE(context),      1024,  0          },
    {"vocab_size",          "model.vocab",        TRI_HF_COUNT,  PLACE(vocab),        50257, 0          },
    {"tie_word_embeddings", "model.tied",         TRI_HF_SWITCH, PLACE(tied),         1,     0          },
    {"layer_norm_epsilon",  "model.norm_epsilon", TRI_HF_REAL,   PLACE(norm_epsilon), 1e-5,  0          },
    {"initializer_range",   "model.init_std",     TRI_HF_REAL,   PLACE(init_std),     0.02,  TRI_HF_FREE},
    {NULL,                  NULL,                 0,             0,                   0,     0          },
};

/* gelu_new and gelu_pytorch_tanh are two names of the tanh form, which is ours. */
static const tri_hf_fixed gpt2_fixed[] = {
    {"activation_function",             {"\"gelu_new\"", "\"gelu_pytorch_tanh\""}},
    {"scale_attn_weights",              {"true"}                                 },
    {"scale_attn_by_inverse_layer_idx", {"false"}                                },
    {"add_cross_attention",             {"false"}                                },
    {"is_encoder_decoder",              {"false"}                                },
    {"pruned_heads",                    {"{}", "null"}                           },
    {"quantization_config",             {NULL, "null"}                           },
    {NULL,                              {NULL}                                   },
};

/* reorder_and_upcast_attn is an order of rounding; n_ctx repeats n_positions; dropout is of training. */
static const char *const gpt2_idle[] = {"reorder_and_upcast_attn",
                                        "n_ctx",
                                        "resid_pdrop",
                                        "embd_pdrop",
                                        "attn_pdrop",
                                        "summary_type",
                                        "summary_use_proj",
                                        "summary_activation",
                                        "summary_proj_to_labels",
                                        "summary_first_dropout",
                                        NULL};

static const char *const gpt2_dropouts[] = {"resid_pdrop", "embd_pdrop", NULL};

/* The causal mask, which old files have in every layer. */
static const char *const gpt2_buffers[] = {".attn.bias", ".attn.masked_bias", NULL};

static const tri_hf_key llama_keys[] = {
    {"num_hidden_layers",       "model.layers",       TRI_HF_COUNT,  PLACE(layers),       32,    0          },
    {"hidden_size",             "model.hidden",       TRI_HF_COUNT,  PLACE(hidden),       4096,  0          },
    {"num_attention_heads",     "model.heads",        TRI_HF_COUNT,  PLACE(heads),        32,    0          },
    {"num_key_value_heads",     "model.kv_heads",     TRI_HF_COUNT,  PLACE(kv_heads),     0,     0          },
    {"intermediate_size",       "model.ffn",          TRI_HF_COUNT,  PLACE(ffn),          11008, 0          },
    {"max_position_embeddings", "model.context",      TRI_HF_COUNT,  PLACE(context),      2048,
     TRI_HF_AT_MOST                                                                                         },
    {"vocab_size",              "model.vocab",        TRI_HF_COUNT,  PLACE(vocab),        32000, 0          },
    {"tie_word_embeddings",     "model.tied",         TRI_HF_SWITCH, PLACE(tied),         0,     0          },
    {"rms_norm_eps",            "model.norm_epsilon", TRI_HF_REAL,   PLACE(norm_epsilon), 1e-6,  0          },
    {"rope_theta",              "model.rope_theta",   TRI_HF_REAL,   PLACE(rope_theta),   10000, 0          },
    {"initializer_range",       "model.init_std",     TRI_HF_REAL,   PLACE(init_std),     0.02,  TRI_HF_FREE},
    {NULL,                      NULL,                 0,             0,                   0,     0          },
};

static const tri_hf_fixed llama_fixed[] = {
    {"hidden_act",            {"\"silu\"", "\"swish\""}},
    {"attention_bias",        {"false"}                },
    {"mlp_bias",              {"false"}                },
    {"sliding_window",        {NULL, "null"}           },
    {"use_sliding_window",    {NULL, "false"}          },
    {"layer_types",           {NULL, "null"}           },
    {"partial_rotary_factor", {NULL, "1", "null"}      },
    {"add_cross_attention",   {NULL, "false"}          },
    {"is_encoder_decoder",    {NULL, "false"}          },
    {"pruned_heads",          {NULL, "{}", "null"}     },
    {"quantization_config",   {NULL, "null"}           },
    {NULL,                    {NULL}                   },
};

/* pretraining_tp cuts products into sums of parts. */
static const char *const llama_idle[] = {"attention_dropout", "pretraining_tp", NULL};

static const char *const llama_dropouts[] = {NULL};

static const char *const llama_buffers[] = {"rotary_emb.inv_freq", NULL};

/* Of all models: names, types of storage, tokens, and what generation reads. */
static const char *const common_idle[] = {"architectures",
                                          "model_type",
                                          "torch_dtype",
                                          "dtype",
                                          "transformers_version",
                                          "use_cache",
                                          "bos_token_id",
                                          "eos_token_id",
                                          "pad_token_id",
                                          "sep_token_id",
                                          "decoder_start_token_id",
                                          "tokenizer_class",
                                          "prefix",
                                          "task_specific_params",
                                          "id2label",
                                          "label2id",
                                          "num_labels",
                                          "problem_type",
                                          "finetuning_task",
                                          "gradient_checkpointing",
                                          "output_attentions",
                                          "output_hidden_states",
                                          "output_scores",
                                          "return_dict",
                                          "return_dict_in_generate",
                                          "torchscript",
                                          "use_bfloat16",
                                          "tf_legacy_loss",
                                          "is_decoder",
                                          "cross_attention_hidden_size",
                                          "tie_encoder_decoder",
                                          "chunk_size_feed_forward",
                                          "max_length",
                                          "min_length",
                                          "do_sample",
                                          "early_stopping",
                                          "num_beams",
                                          "num_beam_groups",
                                          "diversity_penalty",
                                          "temperature",
                                          "top_k",
                                          "top_p",
                                          "typical_p",
                                          "repetition_penalty",
                                          "length_penalty",
                                          "no_repeat_ngram_size",
                                          "encoder_no_repeat_ngram_size",
                                          "bad_words_ids",
                                          "num_return_sequences",
                                          "forced_bos_token_id",
                                          "forced_eos_token_id",
                                          "remove_invalid_values",
                                          "exponential_decay_length_penalty",
                                          "suppress_tokens",
                                          "begin_suppress_tokens",
                                          NULL};

static const tri_hf_family families[] = {
    {.name = "gpt2",
     .architecture = "GPT2LMHeadModel",
     .prefix = "transformer.",
     .head = "lm_head.weight",
     .embedding = "transformer.wte.weight",
     .buffers = gpt2_buffers,
     .keys = gpt2_keys,
     .fixed = gpt2_fixed,
     .rotary = false,
     .idle = gpt2_idle,
     .dropouts = gpt2_dropouts,
     .attention_dropout = "attn_pdrop"       },
    {.name = "llama",
     .architecture = "LlamaForCausalLM",
     .prefix = "model.",
     .head = "lm_head.weight",
     .embedding = "model.embed_tokens.weight",
     .buffers = llama_buffers,
     .keys = llama_keys,
     .fixed = llama_fixed,
     .rotary = true,
     .idle = llama_idle,
     .dropouts = llama_dropouts,
     .attention_dropout = "attention_dropout"},
};

const tri_hf_family *tri_hf_family_find(const char *name)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (strcmp(families[i].name, name) == 0) return &families[i];
    return NULL;
}

static bool is_in(const char *const *list, const char *name)
{
    for (; *list; list++)
        if (strcmp(*list, name) == 0) return true;
    return false;
}

bool tri_hf_is_idle(const tri_hf_family *family, const char *key)
{
    return key[0] == '_' || is_in(common_idle, key) || is_in(family->idle, key);
}

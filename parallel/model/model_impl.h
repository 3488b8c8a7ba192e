// SPDX-License-Identifier: Apache-2.0
/* Inside of tri_model, shared by parallel/model.c and parallel/model/: pre-norm transformer blocks. A
 * family says by a few traits which kind of norm, position, MLP and bias its blocks have, and what
 * its tensors are called elsewhere; the rest is common.
 */
#ifndef TRI_PARALLEL_MODEL_MODEL_IMPL_H
#define TRI_PARALLEL_MODEL_MODEL_IMPL_H

#include "parallel/layer/attention.h"
#include "parallel/layer/embed.h"
#include "parallel/layer/loss.h"
#include "parallel/layer/mlp.h"
#include "parallel/layer/norm.h"
#include "parallel/model.h"

/* Every tensor that a model may have: id, our name (of a block's tensors: behind "layers.N."). In the
 * order of export. Parts that one product reads (q, k, v; gate, up; and their biases) follow one
 * another from the last to the first: a flat buffer in the order of backward, which is the reverse,
 * then holds them as one matrix from the first to the last. */
#define TRI_MODEL_TENSOR_MAP(X)                \
    X(EMBED_TOKEN, "embed.token.weight")       \
    X(EMBED_POSITION, "embed.position.weight") \
    X(NORM1_WEIGHT, "norm1.weight")            \
    X(NORM1_BIAS, "norm1.bias")                \
    X(V_WEIGHT, "attention.v.weight")          \
    X(K_WEIGHT, "attention.k.weight")          \
    X(Q_WEIGHT, "attention.q.weight")          \
    X(V_BIAS, "attention.v.bias")              \
    X(K_BIAS, "attention.k.bias")              \
    X(Q_BIAS, "attention.q.bias")              \
    X(OUT_WEIGHT, "attention.out.weight")      \
    X(OUT_BIAS, "attention.out.bias")          \
    X(NORM2_WEIGHT, "norm2.weight")            \
    X(NORM2_BIAS, "norm2.bias")                \
    X(UP_WEIGHT, "mlp.up.weight")              \
    X(GATE_WEIGHT, "mlp.gate.weight")          \
    X(UP_BIAS, "mlp.up.bias")                  \
    X(DOWN_WEIGHT, "mlp.down.weight")          \
    X(DOWN_BIAS, "mlp.down.bias")              \
    X(NORM_WEIGHT, "norm.weight")              \
    X(NORM_BIAS, "norm.bias")                  \
    X(HEAD_WEIGHT, "head.weight")

typedef enum tri_model_tensor {
#define X(id, name) TRI_MODEL_##id,
    TRI_MODEL_TENSOR_MAP(X)
#undef X
        TRI_MODEL_TENSORS
} tri_model_tensor;

/* A family of models: one file in parallel/model/, one row in parallel/model/list.c. */
typedef struct tri_model_family {
    const char *name;
    const char *doc;
    bool layer_norm; /* layer norm with bias; else RMS norm */
    bool rotary;     /* rotary positions; else learned ones */
    bool gated;      /* SwiGLU; else GELU */
    bool bias;       /* of all linear layers but the head */
    bool tied;       /* the default */
    /* Names in Hugging Face's files, by the grammar of tri_row.external; '#' stands for the layer's
     * number, '@i' for the range i*C:(i+1)*C; NULL: has no such tensor. */
    const char *external[TRI_MODEL_TENSORS];
    /* Check the keys that only this family cares about and fill in its defaults. */
    tri_status (*resolve)(tri_model_config *config);
} tri_model_family;

/* The family called `name`, NULL if there is none. Not collective. */
const tri_model_family *tri_model_family_find(const char *name);

/* What forward of one block leaves to backward. x of norm 2 is x of norm 1 + attention. */
typedef struct tri_model_store {
    tri_norm_store norm1, norm2;
    tri_attention_store attention;
    tri_mlp_store mlp;
} tri_model_store;

typedef struct tri_model_block {
    tri_norm_layer norm1, norm2;
    tri_attention_layer attention;
    tri_mlp_layer mlp;
    tri_attention_cache cache; /* not training */
    tri_model_store own;       /* training */
} tri_model_block;

/* Gradients of activations while backward runs. C wide, but `wide`: as the widest activation; `branch`
 * only with dropout. */
typedef struct tri_model_scratch {
    void *residual, *branch, *inner, *wide;
} tri_model_scratch;

struct tri_model {
    tri_model_config config;
    const tri_model_family *family;
    tri_model_args args;
    int n_params;
    tri_row *rows;     /* [n_params] */
    tri_param *params; /* [n_params] */
    tri_embed_layer embed;
    tri_model_block *blocks; /* [layers] */
    tri_norm_layer norm;
    tri_loss_layer loss;
    /* buffers */
    tri_norm_store final;   /* of the last norm; x is the shared store's where not training */
    tri_model_store shared; /* of all blocks, not training */
    tri_model_scratch scratch;
    float *rope;
    float *reduction;
    void *attention_workspace;
    /* state */
    bool is_ready; /* parameters joined, tables filled */
    int64_t n_cached;
};

/* Keeps what forward of block `layer` leaves. Not collective. */
tri_model_store *tri_model_store_of(tri_model *model, int64_t layer);

/* Describe all parameters: rows, params and the layers' pointers to them. Not collective. */
TRI_MUST_USE tri_status tri_model_describe(tri_model *model);

/* Check that all is bound, and do what is done once after that. Not collective. */
TRI_MUST_USE tri_status tri_model_begin(tri_model *model);

/* A call on a batch of this size without dropout. Not collective. */
tri_layer_call tri_model_call(const tri_model *model, int64_t sequences, int64_t length);

/* Is a batch of this size one that the buffers hold? Not collective. Errors: TRI_EINVAL. */
TRI_MUST_USE tri_status tri_model_check_batch(const tri_model *model, int64_t sequences,
                                              int64_t length);

/* Hidden states, normed, of the last norm's store->y: all blocks of one batch. Not collective.
 * With `cached` the keys and values go through the blocks' caches. */
TRI_MUST_USE tri_status tri_model_forward(tri_model *model, const tri_layer_call *call,
                                          const int32_t *tokens, bool cached);

#endif

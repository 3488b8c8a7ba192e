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
#include "parallel/tensor.h"
#include "runtime/base/int.h"

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

/* How a tensor begins, and how fast it learns (parallel/model/parameterization.c). */
typedef struct tri_model_scaling {
    double std;                  /* of a matrix */
    double sign_lr, gradient_lr; /* as in tri_row */
} tri_model_scaling;

/* The same of a tensor, by the parameterization of a resolved config. Not collective. */
tri_model_scaling tri_model_scaling_of(const tri_model_config *config, tri_model_tensor tensor);

/* The family called `name`, NULL if there is none. Not collective. */
const tri_model_family *tri_model_family_find(const char *name);

/* What forward of one block leaves to backward. x of norm 2 is x of norm 1 + attention. What backward
 * computes again lies in buffers that all blocks share. */
typedef struct tri_model_store {
    tri_norm_store norm1, norm2;
    tri_attention_store attention;
    tri_mlp_store mlp;
    tri_attention_scratch
        dattention;       /* gradients of activations that backward of the weights reads: */
    tri_mlp_scratch dmlp; /* own where the two parts of backward are apart, else shared */
} tri_model_store;

typedef struct tri_model_block {
    int stage, unit; /* unit -1: on another rank */
    tri_norm_layer norm1, norm2;
    tri_attention_layer attention;
    tri_mlp_layer mlp;
    tri_attention_cache cache; /* not training */
} tri_model_block;

/* Activations of one micro-batch in one chunk. */
typedef struct tri_model_slot {
    tri_model_store *blocks; /* [layers of the chunk] */
    void *output;            /* [outer rows, C]; NULL behind the last stage */
    tri_norm_store final;    /* of the last norm, last stage alone; its y turns into its gradient */
} tri_model_slot;

/* This rank's part of the model on one virtual stage. */
typedef struct tri_model_chunk {
    int stage;
    int64_t first, layers;
    int64_t recomputed; /* blocks, from the first, that keep less than all */
    int first_unit, n_units;
    bool has_embed, has_head;
    int n_slots;
    tri_model_slot *slots;
} tri_model_chunk;

/* Gradients of activations while backward runs, [outer rows, C]; `branch` only with dropout, `spare`
 * where q, k and v lie apart: [rows, C]. */
typedef struct tri_model_scratch {
    void *residual, *branch, *inner, *spare;
} tri_model_scratch;

struct tri_model {
    tri_model_config config;
    const tri_model_family *family;
    tri_model_args args;
    int n_stages;
    tri_model_stage *stages; /* [n_stages] */
    int n_params;
    tri_row *rows;     /* [n_params] */
    tri_param *params; /* [n_params] */
    int *unit_of;      /* [n_params] of this rank; -1: not here */
    int n_units;
    int embed_unit, head_unit; /* -1: not here */
    tri_embed_layer embed;
    tri_model_block *blocks; /* [layers], those of other ranks too */
    tri_norm_layer norm;
    tri_loss_layer loss;
    tri_tensor_axis tensor;
    int n_chunks;
    tri_model_chunk *chunks;
    /* buffers */
    tri_model_store shared; /* of recomputed blocks; of all where not training */
    tri_model_scratch scratch;
    float *rope;
    float *reduction;
    void *attention_workspace;
    /* state */
    bool is_ready; /* tables filled */
    int64_t n_cached;
};

/* Describe all parameters: rows, params and the layers' pointers to them. Not collective. */
TRI_MUST_USE tri_status tri_model_describe(tri_model *model);

/* Fill tables, once. Not collective. */
void tri_model_begin(tri_model *model);

/* A call on a batch without dropout. Not collective. */
tri_layer_call tri_model_call(const tri_model *model, const tri_micro_batch *batch);

/* The largest call: what buffers are made for. Not collective. */
tri_layer_call tri_model_largest_call(const tri_model *model);

/* Tokens of a sequence on this rank. Not collective. */
int64_t tri_model_length(const tri_model *model);

/* Does backward compute again what block `i` of a chunk left out? Not collective. */
static inline tri_recompute tri_model_recompute_of(const tri_model *model,
                                                   const tri_model_chunk *chunk, int64_t i)
{
    return i < chunk->recomputed ? model->args.recompute : TRI_RECOMPUTE_NONE;
}

#endif

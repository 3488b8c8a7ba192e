// SPDX-License-Identifier: Apache-2.0
/* A model: rows in the state table, and forward and backward of one micro-batch.
 *
 * The model owns no weights: it declares its parameters as rows, and is told where the compute copy
 * and the fp32 gradient of each lie (tri_model_bind). Who shards, reduces or updates them is not its
 * business. Gradients accumulate (+=); they are those of (sum of token losses) * loss_scale.
 * Families are rows of parallel/model/list.c.
 */
#ifndef TRI_PARALLEL_MODEL_H
#define TRI_PARALLEL_MODEL_H

#include "kernels/kernels.h"
#include "runtime/arena.h"
#include "runtime/state.h"

/* The keys of `model:` in a job spec. */
typedef struct tri_model_config {
    char family[16]; /* gpt2, llama */
    int64_t layers;
    int64_t hidden; /* C */
    int64_t heads;
    int64_t kv_heads; /* llama; 0: as heads */
    int64_t ffn;      /* width of the MLP; 0: 4 C (gpt2), 8/3 C rounded up to 64 (llama) */
    int64_t context;  /* T: tokens of a training sequence, and learned positions */
    int64_t vocab;
    int tied; /* head shares the token embedding: 1, 0, or -1: the family's own (gpt2 1, llama 0) */
    double dropout; /* gpt2: after embedding and after each residual branch */
    double rope_theta;
    double norm_epsilon;
    double init_std; /* residual projections get init_std / sqrt(2 layers) */
} tri_model_config;

typedef struct tri_model tri_model;

typedef struct tri_model_args {
    const tri_model_config *config; /* copied */
    tri_kernels *kernels;           /* asked for workspace sizes on paper; NULL: export only */
    const tri_mesh *mesh;
    tri_dtype compute;   /* fp32 or bf16 */
    int64_t micro_batch; /* sequences of the largest batch */
    bool training;       /* false: no buffers for backward */
    uint64_t seed;       /* of dropout */
} tri_model_args;

/* One micro-batch on this rank. tokens, targets [sequences, length] row-major; a target < 0 does not
 * count. sample [sequences]: numbers in the job's data order, which key dropout. */
typedef struct tri_batch {
    int64_t sequences, length;
    const int32_t *tokens, *targets;
    const int64_t *sample;
} tri_batch;

/* Called in backward when the gradient of parameter `index` is complete for this micro-batch. */
typedef tri_status (*tri_model_ready_fn)(void *arg, int index);

/* Check a config and fill in what is 0 or -1. Not collective. Errors: TRI_EINVAL with the key. */
TRI_MUST_USE tri_status tri_model_config_resolve(tri_model_config *config);

/* Names of the families, NULL-terminated. Not collective. */
const char *const *tri_model_families(void);

/* Make a model of a resolved config. Not collective. Keeps: kernels, mesh. */
TRI_MUST_USE tri_status tri_model_create(const tri_model_args *args, tri_model **out);
void tri_model_destroy(tri_model **model);

/* Add the parameters' rows (names "param/...") to the table, in the order forward uses them; backward
 * completes their gradients in the reverse order (a tied embedding last). Parameter `index` below is
 * the position in this order. Not collective. */
TRI_MUST_USE tri_status tri_model_export(tri_model *model, tri_state *state);
int tri_model_params(const tri_model *model);

/* Units: the embedding, each block, the last norm with the head; in the order of forward. The unit of a
 * parameter. Not collective. */
int tri_model_units(const tri_model *model);
int tri_model_unit_of(const tri_model *model, int index);

/* Declare activations and workspace: the bytes depend on the config, the micro-batch and the kernels'
 * threads. Not collective. Keeps: pointers into the model. Errors: TRI_EBUG without kernels. */
TRI_MUST_USE tri_status tri_model_declare(tri_model *model, tri_arena *arena);

/* Say where parameter `index` lies: compute copy (type `compute`) and fp32 gradient (NULL where not
 * training), both of the whole local box. Not collective. Keeps: both. */
void tri_model_bind(tri_model *model, int index, const void *weight, float *gradient);

/* Create the matrix primitives of a batch of this size, so that the first step allocates them all.
 * Not collective. */
TRI_MUST_USE tri_status tri_model_prepare(tri_model *model, int64_t sequences, int64_t length);

/* Forward and backward: gradients += , *loss += sum of token losses, *counted += their number.
 * Not collective in this version. `ready` may be NULL. */
TRI_MUST_USE tri_status tri_model_train(tri_model *model, const tri_batch *batch, float loss_scale,
                                        tri_model_ready_fn ready, void *arg, double *loss,
                                        int64_t *counted);

/* Forward alone, no dropout: *loss +=, *counted +=. Not collective in this version. */
TRI_MUST_USE tri_status tri_model_evaluate(tri_model *model, const tri_batch *batch, double *loss,
                                           int64_t *counted);

/* Text generation with a key/value cache, one sequence: feed `n` tokens at positions n_cached ... and
 * get the logits [vocab] fp32 of the last one. reset starts a new sequence. The cache is declared by
 * tri_model_declare of a model that is not training (context tokens). Not collective.
 * Errors: TRI_EINVAL beyond the context. */
TRI_MUST_USE tri_status tri_model_decode(tri_model *model, bool reset, const int32_t *tokens,
                                         int64_t n, float *logits);

/* Multiply-add operations * 2 of one training step per token: 6 * matrix parameters + attention
 * (PaLM, arXiv:2204.02311, appendix B; causal halves counted as executed in full). Not collective. */
double tri_model_flops_per_token(const tri_model *model, int64_t length);

#endif

// SPDX-License-Identifier: Apache-2.0
/* A model: rows in the state table, and passes of one micro-batch through this rank's part of it.
 *
 * The blocks lie on virtual stages, one after the other; a rank has one stage or several (chunks), with
 * the embedding in front of the first and the last norm and the head behind the last. Every rank
 * exports all rows of the whole model, placed on the mesh; it has memory for its own. A chunk keeps the
 * activations of several micro-batches, one in each of its slots.
 *
 * The model owns no weights: it is told where the compute copy and the fp32 gradient of each parameter
 * lie (tri_model_bind). Who shards, reduces or updates them is not its business: it says before it
 * reads the weights of a unit (the embedding, a block, the head) and when the unit's gradients are
 * complete. Gradients accumulate (+=); they are those of (sum of token losses) * loss_scale.
 * Families are rows of parallel/model/list.c.
 */
#ifndef TRI_PARALLEL_MODEL_H
#define TRI_PARALLEL_MODEL_H

#include "kernels/kernels.h"
#include "parallel/context.h"
#include "parallel/model_config.h"
#include "parallel/unit.h"
#include "runtime/arena.h"
#include "runtime/state.h"

typedef struct tri_model tri_model;

/* What backward computes again in place of keeping it from forward. */
typedef enum tri_recompute {
    TRI_RECOMPUTE_NONE,
    TRI_RECOMPUTE_SELECTIVE, /* norms, the attention kernel, the MLP's activation: all but products */
    TRI_RECOMPUTE_FULL       /* the whole block, from its input */
} tri_recompute;

/* A virtual stage: where it lies, and which blocks it has. */
typedef struct tri_model_stage {
    int rank;  /* coordinate on the pipeline axis */
    int slots; /* micro-batches whose activations it keeps at once */
    int64_t first, layers;
} tri_model_stage;

typedef struct tri_model_args {
    const tri_model_config *config; /* copied */
    tri_kernels *kernels;           /* asked for workspace sizes on paper; NULL: export only */
    const tri_mesh *mesh;
    tri_dtype compute;             /* fp32 or bf16 */
    int64_t micro_batch;           /* sequences of the largest batch */
    bool training;                 /* false: no buffers for backward */
    uint64_t seed;                 /* of dropout */
    int n_stages;                  /* 0: one stage, on every rank */
    const tri_model_stage *stages; /* [n_stages], copied */
    bool split_backward;           /* backward of inputs and of weights are called apart */
    tri_recompute recompute;
    int64_t recompute_layers; /* of each chunk, from its first; 0: all */
    bool tensor_sequence;     /* the outer region of the tensor axis is shared out */
    int tensor_chunks;        /* pieces in which its products and collectives overlap; 0: as 1 */
    tri_context *context;     /* attention over the context axis; NULL: sequences are whole; kept */
} tri_model_args;

/* One micro-batch on this rank: rows of sequences * length tokens, where length is the rank's part of a
 * sequence. target < 0 does not count. */
typedef struct tri_micro_batch {
    int64_t sequences, length;
    const int32_t *tokens, *targets; /* [sequences, length] */
    const int64_t *sample;   /* [sequences]: numbers in the job's data order, which key dropout */
    const int32_t *index;    /* [length] place in the whole sequence of each token; NULL: itself */
    const int32_t *position; /* [sequences, length] place in the document; NULL: as index says */
    const int32_t *visible;  /* [sequences, whole length] first place that each one sees; NULL: 0 */
} tri_micro_batch;

/* What a pass tells: before it uses a unit (`next`: the one whose weights come after, -1: unknown), and
 * when the unit's gradients are complete for the micro-batch, but for those of vectors, which are with
 * the last unit of the chunk. */
typedef struct tri_model_hooks {
    void *arg;
    tri_status (*use)(void *arg, int unit, tri_unit_need need, int next);
    tri_status (*ready)(void *arg, int unit, bool last);
} tri_model_hooks;

/* One pass of a micro-batch through a chunk. */
typedef struct tri_model_pass {
    int chunk, slot;
    tri_micro_batch batch;
    bool dropout; /* a training pass */
    bool
        gradients; /* forward through the head computes the gradient of its input, and the head's */
    float loss_scale;
    bool last;                    /* gradients of this kind are complete for the step after it */
    const tri_model_hooks *hooks; /* NULL: weights lie still and nobody is told */
    double *loss;                 /* += sum of token losses, by the head */
    int64_t *counted;             /* += their number */
} tri_model_pass;

/* Make a model of a resolved config. Not collective. Keeps: kernels, mesh. */
TRI_MUST_USE tri_status tri_model_create(const tri_model_args *args, tri_model **out);
void tri_model_destroy(tri_model **model);

/* Add the rows of all parameters of the whole model (names "param/...") to the table, in the order forward
 * uses them. Parameter `index` below is the position in this order. Not collective. */
TRI_MUST_USE tri_status tri_model_export(tri_model *model, tri_state *state);
int tri_model_params(const tri_model *model);

/* Unit of this rank to which a parameter belongs, -1: it is not here; number of units; ranks of the
 * tensor axis next to one another over which its gradient is to be summed (1: none). A tied embedding
 * that only the head reads here (tri_model_is_guest) belongs to no unit. Not collective. */
int tri_model_unit(const tri_model *model, int index);
int tri_model_units(const tri_model *model);
int tri_model_tensor_sum(const tri_model *model, int index);

/* Index of the tied embedding if embedding and head lie on different ranks of the pipeline, else -1; is
 * this rank the head's? its head's unit. Not collective. */
int tri_model_tied(const tri_model *model);
bool tri_model_is_guest(const tri_model *model);
int tri_model_head_unit(const tri_model *model);

/* Declare activations and workspace: the bytes depend on the config, the micro-batch, the stages and the
 * kernels' threads. Not collective. Keeps: pointers into the model. Errors: TRI_EBUG without kernels. */
TRI_MUST_USE tri_status tri_model_declare(tri_model *model, tri_arena *arena);

/* Say where parameter `index` lies: compute copy (type `compute`) and fp32 gradient (NULL where not
 * training), both of the whole local box. Not collective. Keeps: both. */
void tri_model_bind(tri_model *model, int index, const void *weight, float *gradient);

/* Chunks of this rank, and the virtual stage of each. Not collective. */
int tri_model_chunks(const tri_model *model);
int tri_model_stage_of(const tri_model *model, int chunk);

/* The residual stream that goes into a chunk and comes out of it, [outer rows, C] of `compute`: written
 * before forward (not for the first stage), readable after it (not for the last). Backward finds the
 * gradient of the output where the output was, and leaves that of the input where the input was. Not
 * collective. NULL where there is none. */
void *tri_model_input(const tri_model *model, int chunk, int slot);
void *tri_model_output(const tri_model *model, int chunk, int slot);
int64_t tri_model_stream_elements(const tri_model *model, int64_t sequences, int64_t length);

typedef enum tri_model_pass_kind {
    TRI_MODEL_FORWARD,
    TRI_MODEL_BACKWARD,
    TRI_MODEL_BACKWARD_INPUT,
    TRI_MODEL_BACKWARD_WEIGHT
} tri_model_pass_kind;

/* The units that a pass that trains will visit, in order: its calls of hooks, foretold. Not collective.
 * Writes: out (room for tri_model_units + 1). Returns: their number. */
int tri_model_visits(const tri_model *model, int chunk, tri_model_pass_kind kind,
                     tri_unit_visit *out);

/* Forward of a chunk. Collective over the tensor and context axes, as all passes are. Errors: TRI_EINVAL
 * a batch larger than the buffers, ids outside the vocabulary. */
TRI_MUST_USE tri_status tri_model_forward(tri_model *model, const tri_model_pass *pass);

/* Backward of a chunk after its forward, collective as that is: gradients of parameters += and that of the input =. */
TRI_MUST_USE tri_status tri_model_backward(tri_model *model, const tri_model_pass *pass);

/* The same, and as collective, in two parts: first that of the input, later the products that give the matrices' gradients.
 * Recomputed blocks do both in the first part. */
TRI_MUST_USE tri_status tri_model_backward_input(tri_model *model, const tri_model_pass *pass);
TRI_MUST_USE tri_status tri_model_backward_weight(tri_model *model, const tri_model_pass *pass);

/* Text generation with a key/value cache, one sequence: feed `n` tokens at positions n_cached ... and
 * get the logits [vocab] fp32 of the last one. reset starts a new sequence. The cache is declared by
 * tri_model_declare of a model that is not training (context tokens), on one rank. Not collective.
 * Errors: TRI_EINVAL beyond the context. */
TRI_MUST_USE tri_status tri_model_decode(tri_model *model, bool reset, const int32_t *tokens,
                                         int64_t n, float *logits);

/* Multiply-add operations * 2 of one training step per token: 6 * matrix parameters + attention
 * (PaLM, arXiv:2204.02311, appendix B; causal halves counted as executed in full). Not collective. */
double tri_model_flops_per_token(const tri_model *model, int64_t length);

/* Share the blocks out over virtual stages so that the largest cost of a stage is least: operations of a
 * block, of the head, and the bytes of the embedding at `flops_per_byte`. Not collective. Writes: first
 * and layers of stages [n]. Errors: TRI_EINVAL fewer layers than stages. */
TRI_MUST_USE tri_status tri_model_partition(const tri_model_config *config, int n,
                                            tri_model_stage *stages);

/* Add the messages of `forwards` and `backwards` passes of a batch through all chunks of this rank, but
 * those between stages. Not collective. */
void tri_model_traffic(const tri_model *model, const tri_micro_batch *batch, int64_t passes,
                       tri_traffic_list *list);

#endif

// SPDX-License-Identifier: Apache-2.0
/* The job spec: one struct, one table of keys (launch/spec_table.c) from which come the parser, the
 * overrides, `trireme help spec`, the reference page and the dump stored in each checkpoint.
 */
#ifndef TRI_LAUNCH_SPEC_H
#define TRI_LAUNCH_SPEC_H

#include "launch/stability.h"
#include "optim/batch.h"
#include "optim/lr.h"
#include "optim/optim.h"
#include "parallel/model.h"
#include "runtime/data/loader.h"

typedef struct tri_spec {
    char name[64];
    uint64_t seed;
    tri_model_config model;
    tri_data_config data;
    struct {
        int64_t sequences; /* global batch, of the first step where it varies */
        int64_t micro;     /* sequences of one forward pass of a replica */
        int64_t
            round; /* what all replicas take through the schedule once; a step is one round or more;
                              resolved by tri_spec_check */
        tri_batch_adaptive adaptive;
        tri_batch_ramp ramp;
    } batch;
    struct {
        int data; /* 0: auto = what the other axes leave of the ranks */
        int tensor, pipeline, context;
        int expert;       /* 1 in this version */
        int zero_stage;   /* 0 to 3; -1: the spec gave the groups below */
        int zero[3];      /* ranks that share weights, gradients, optimizer states; 0: not yet
                              resolved (tri_spec_check makes the groups of a stage) */
        double bucket_mb; /* gradient bucket, MiB */
        int prefetch;     /* units gathered ahead */
        int quantize_weights, quantize_gradients; /* 0 none, 1 int8, 2 int4 */
        char schedule[16];                        /* of the pipeline */
        int chunks;                               /* pieces of the model on one pipeline rank */
        int tensor_sequence;  /* 1: norms and residuals are shared out over the tensor axis */
        int tensor_chunks;    /* pieces of a product that overlap with their collectives */
        int context_mode;     /* 0 ring, 1 ulysses, 2 allgather */
        int ulysses;          /* ranks of the context axis that share heads; resolved for mode 1 */
        int recompute;        /* 0 none, 1 selective, 2 full */
        int recompute_layers; /* first blocks of each chunk; 0: all */
    } parallel;
    tri_optim_config optimizer;
    tri_lr_config schedule;
    tri_dtype precision; /* fp32 or bf16 */
    struct {
        int64_t steps, eval_every, eval_batches, log_every;
        int threads;         /* 0: auto = cores / ranks of this host */
        double hang_seconds; /* 0: never */
        int64_t trace;       /* steps in trace.json; 0: none */
    } train;
    tri_stability_config stability;
    struct {
        int64_t every;        /* steps; 0: only at the end */
        double every_seconds; /* 0: never for the time that has passed */
        int keep;             /* newest checkpoints kept; 0: all */
        int64_t keep_every;   /* steps whose checkpoints are kept; 0: none */
        int async;            /* 1: written beside the steps that follow */
        int files;            /* 0 one for each rank, 1 one for each node */
        char dir[512];        /* "": RUN/ckpt */
        char optimizer[16];   /* restore, fresh */
        int verify_replicas;  /* 1: a save compares what several ranks hold */
        int resize_vocab;     /* 1: a checkpoint may have another number of token ids */
        char init_from[512];  /* weights that a new run begins with; "": initialisers */
    } checkpoint;
    struct {
        char dir[512]; /* "": runs/NAME */
    } run;
} tri_spec;

/* Read a spec file and apply `key=value` overrides (dotted keys). Not collective.
 *
 * Paths in the file become relative to the file; paths in overrides to the current folder. Unknown
 * key, wrong type, out of range, missing required key: TRI_EINVAL "FILE:LINE: ..." with the nearest
 * known key or the range. Values that contradict one another (heads that do not divide ...) are
 * found by tri_spec_check.
 */
TRI_MUST_USE tri_status tri_spec_read(const char *path, int n_overrides,
                                      const char *const *overrides, tri_spec *out);

/* The same from text, for checkpoints and tests; `origin` names it in messages. Not collective. */
TRI_MUST_USE tri_status tri_spec_parse(const char *text, size_t n_bytes, const char *origin,
                                       tri_spec *out);

/* Apply `key=value` overrides to a spec. Not collective. Errors: TRI_EINVAL; the spec is as it was. */
TRI_MUST_USE tri_status tri_spec_override(tri_spec *spec, int n_overrides,
                                          const char *const *overrides);

/* Fill in what is automatic for `n_ranks` ranks and check what one key alone cannot tell: mesh
 * product, batch = parts * micro * accumulation, model, optimizer, schedule. Not collective.
 * Errors: TRI_EINVAL with keys, reason and the nearest legal values. */
TRI_MUST_USE tri_status tri_spec_check(tri_spec *spec, int n_ranks);

/* What a spec says of its batches; resolved after tri_spec_check. Not collective. */
tri_batch_config tri_spec_batch(const tri_spec *spec);

/* The learning-rate schedule of a spec, laid out. Not collective. Errors: those of tri_lr_make, none for a
 * checked spec. */
TRI_MUST_USE tri_status tri_spec_lr(const tri_spec *spec, tri_lr *out);

/* Forget the layout: one model on one rank, replicas for all ranks. For commands that read a job's
 * state elsewhere. tri_spec_check comes next. Not collective. */
void tri_spec_reset_layout(tri_spec *spec);

/* tri_spec_read and tri_spec_check by rank 0, the result for all. Collective: world.
 * Errors: theirs, on rank 0; TRI_EPEER on the others. */
TRI_MUST_USE tri_status tri_spec_load(const char *path, int n_overrides,
                                      const char *const *overrides, tri_comm *world, tri_spec *out);

/* The resolved spec as YAML; freed by TRI_FREE. Not collective. */
TRI_MUST_USE tri_status tri_spec_dump(const tri_spec *spec, char **out);

/* The reference of all keys (docs/job-spec.md is this text), to a stdio stream. Not collective. */
void tri_spec_reference(void *stdio_stream);

#endif

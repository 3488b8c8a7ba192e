// SPDX-License-Identifier: Apache-2.0
/* A job on this rank: everything a command needs, built in order and closed in the reverse order.
 * The root owner: whatever owns a communicator is closed here and nowhere else.
 */
#ifndef TRI_LAUNCH_JOB_H
#define TRI_LAUNCH_JOB_H

#include "checkpoint/saver.h"
#include "launch/spec.h"
#include "parallel/stage.h"
#include "runtime/agree.h"

/* Counters of a job, a row of the state table ("job/counters"). */
typedef struct tri_job_counters {
    int64_t step;    /* batches consumed: updates, and skipped ones */
    int64_t samples; /* sequences consumed by these */
    int64_t tokens;  /* target tokens likewise */
    int64_t
        updates; /* that the optimizer's states have seen: fewer than step where some were skipped,
                        or the states began anew */
} tri_job_counters;

typedef enum tri_job_use {
    TRI_JOB_TRAIN,    /* everything */
    TRI_JOB_EVALUATE, /* weights and forward buffers, no gradients, moments or training data */
    TRI_JOB_GENERATE  /* the same with a key/value cache in place of data */
} tri_job_use;

typedef struct tri_job {
    tri_spec spec; /* resolved */
    tri_job_use use;
    tri_comm *world; /* borrowed; NULL on paper */
    tri_mesh *mesh;
    tri_kernels *kernels;
    tri_state *state;
    tri_schedule *schedule;
    tri_context *context; /* NULL: sequences are whole */
    tri_model *model;
    tri_zero *zero;
    tri_stage *stage;
    tri_optim *optim;
    tri_optim_segment *segments;
    tri_batch *batch; /* NULL: it is the same in all steps */
    tri_saver *saver; /* training */
    tri_arena *arena;
    tri_lr lr;
    tri_loader *loader;     /* training part */
    tri_loader *validation; /* held-out part */
    tri_job_counters counters;
    tri_stability stability; /* rows "stability/counts" and "stability/mean" */
} tri_job;

enum { TRI_JOB_MAX_STAGES = 1024 };

/* What a job will need and move, on one rank. */
typedef struct tri_job_plan {
    int64_t params;      /* elements of the model */
    int64_t body_params; /* of them, those of neither embeddings nor head */
    size_t bytes[TRI_MEM_KINDS];
    tri_traffic_list messages;      /* of the first step, without a test of the batch */
    tri_traffic_list test_messages; /* of the same with a test; none: there are no tests */
    int64_t accumulation;           /* micro-batches of the first step */
    int64_t step_tokens;            /* of its global batch */
    double flops_per_token;
    tri_lr lr;
    double bubble; /* share of a step in which ranks wait for one another, with equal stages */
    int n_stages;  /* virtual ones */
    tri_model_stage stages[TRI_JOB_MAX_STAGES];
} tri_job_plan;

/* Give a spec whose job is only looked at (evaluated, sampled) a layout for `n_ranks` ranks: its own where
 * that fits them, else replicas alone. tri_spec_check is still to be called. Not collective. */
void tri_job_lay_out(tri_spec *spec, int n_ranks);

/* Build a job of a checked spec for the ranks of `world`. Collective: world. Keeps: world.
 *
 * Memory is allocated, weights are not yet set: tri_job_initialise, or a load. Errors: those of the
 * parts, agreed on by all ranks.
 */
TRI_MUST_USE tri_status tri_job_open(const tri_spec *spec, tri_job_use use, tri_comm *world,
                                     tri_job **out);

/* Close in order. Collective: world; NULL is fine. Not called on an error path of a multi-rank job:
 * there the process ends. */
void tri_job_close(tri_job **out);

/* How a step works its batch off: in rounds, of which groups of equally many are reduced. */
typedef struct tri_job_step {
    int64_t batch;  /* sequences, over all ranks */
    int64_t rounds; /* of the schedule */
    int groups;     /* more than one: they are compared, as a test of the batch */
} tri_job_step;

/* Work off `batch` sequences, a multiple of the round; with a test if there are such. Not collective. */
tri_job_step tri_job_step_of(const tri_job *job, int64_t batch, bool has_test);

/* The next step. Not collective. */
tri_job_step tri_job_next_step(const tri_job *job);

/* Add the messages of a step: over all axes, and of the numbers that all ranks share at its end. Not
 * collective. */
void tri_job_messages(const tri_job *job, const tri_job_step *step, tri_traffic_list *out);

/* Weights by their initialisers. Collective: world. */
TRI_MUST_USE tri_status tri_job_initialise(tri_job *job);

/* What is taken from a checkpoint. */
typedef enum tri_job_part {
    TRI_JOB_ALL,           /* all that this use of the job has */
    TRI_JOB_BUT_OPTIMIZER, /* the optimizer's states begin as in a new job */
    TRI_JOB_WEIGHTS        /* parameters alone: counters and data cursor stay as they are */
} tri_job_part;

/* Weights and all else from a checkpoint (its folder), on any mesh; other floating types are cast, another
 * vocabulary is taken if checkpoint.resize_vocab says so. Collective: world. Errors: TRI_EINVAL another
 * model, optimizer or other data, TRI_EFORMAT damage, TRI_EIO. */
TRI_MUST_USE tri_status tri_job_load_part(tri_job *job, const char *path, tri_job_part part);

/* The same, TRI_JOB_ALL. Collective: world. */
TRI_MUST_USE tri_status tri_job_load(tri_job *job, const char *path);

/* Begin to save under `dir`, beside the steps that follow (job->saver). Collective: world. Errors: as
 * tri_saver_begin. */
TRI_MUST_USE tri_status tri_job_save_begin(tri_job *job, const char *dir);

/* Save under `dir`. Collective: world. Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_job_save(tri_job *job, const char *dir);

/* Mean loss over `batches` global batches of the held-out part, from its beginning. Collective:
 * world. Writes: *loss (nats per token), *tokens. */
TRI_MUST_USE tri_status tri_job_evaluate(tri_job *job, int64_t batches, double *loss,
                                         int64_t *tokens);

/* The same declarations on paper, for rank `rank` of `n_ranks` on this host: nothing is committed. Not
 * collective. */
TRI_MUST_USE tri_status tri_job_plan_make(const tri_spec *spec, int n_ranks, int rank,
                                          tri_job_plan *out);

#endif

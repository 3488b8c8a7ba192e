// SPDX-License-Identifier: Apache-2.0
/* A pipeline schedule is a table: per rank a list of operations on (stage, micro-batch), made by a
 * generator, verified before the job starts, run by one executor, drawn by `trireme check`.
 *
 * Stages are virtual: with v chunks per rank there are S = p*v stages, in the order of the model; a
 * generator says where each lies (interleaved: stage s on rank s mod p; zb_v: down and up again).
 * Generators are rows of parallel/schedule/list.c.
 */
#ifndef TRI_PARALLEL_SCHEDULE_H
#define TRI_PARALLEL_SCHEDULE_H

#include "runtime/base/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef enum tri_op_kind {
    TRI_OP_FORWARD,
    TRI_OP_BACKWARD,        /* gradients of input and weights together */
    TRI_OP_BACKWARD_INPUT,  /* where they are split: first this ... */
    TRI_OP_BACKWARD_WEIGHT, /* ... later this */
    TRI_OP_SEND_FORWARD,    /* output of a stage, to the rank of the next stage */
    TRI_OP_RECV_FORWARD,    /* input of a stage: posted here, waited for by its FORWARD */
    TRI_OP_SEND_BACKWARD,   /* gradient of a stage's input, to the rank of the stage before */
    TRI_OP_RECV_BACKWARD, /* gradient of a stage's output: posted here, waited for by its BACKWARD[_INPUT] */
    TRI_OP_KINDS
} tri_op_kind;

/* One operation of one rank. Neighbouring stages of one rank (the turn of zb_v) exchange no messages:
 * the executor's hooks hand the tensor over. */
typedef struct tri_op {
    tri_op_kind kind;
    int stage; /* the one that this operation is for (the sender's own, the receiver's own) */
    int chunk; /* of this rank: index of the stage among the rank's stages, from the front */
    int micro; /* micro-batch */
    int slot; /* of the chunk's activation buffers: taken by FORWARD (or its RECV), free after the last
               * of BACKWARD, BACKWARD_WEIGHT and their sends; who takes it again waits for those sends */
    int peer;  /* pipeline coordinate of the other end; -1: no message */
    bool last; /* of this kind on this chunk in the step */
} tri_op;

typedef struct tri_schedule {
    char name[16];
    int ranks, chunks, micro_batches; /* p, v, m */
    bool split;                       /* backward-input and backward-weight are apart */
    int *rank_of;                     /* [p*v] pipeline coordinate of each stage */
    int *n_ops;                       /* [p] */
    tri_op **ops;                     /* [p][n_ops] */
    int *slots; /* [p*v] activation buffers of each stage: most alive at once */
} tri_schedule;

/* Names for the job spec, NULL-terminated: gpipe 1f1b interleaved zb_h1 zb_v. Not collective. */
const char *const *tri_schedule_names(void);

/* May `name` be used with these sizes? Not collective. Errors: TRI_EINVAL with the spec's key
 * (parallel.schedule, parallel.chunks, batch.sequences ...), the reason and the nearest legal values. */
TRI_MUST_USE tri_status tri_schedule_check(const char *name, int ranks, int chunks,
                                           int micro_batches);

/* Generate, then verify. Not collective; every rank makes the same table. Cost: O(p v m).
 * Errors: tri_schedule_check's; TRI_EBUG where the generator's table does not pass. */
TRI_MUST_USE tri_status tri_schedule_create(const char *name, int ranks, int chunks,
                                            int micro_batches, tri_schedule **out);
void tri_schedule_destroy(tri_schedule **schedule);

/* Verify a table: every (stage, micro-batch) runs forward, backward(, weight) once each and in order;
 * every send is matched by a receive, and per pair of ranks, kind and direction in the same order; no
 * deadlock over all queued operations, sends buffered or not; slots are never used twice at a time.
 * Not collective. Errors: TRI_EBUG, naming rank, position and operation. */
TRI_MUST_USE tri_status tri_schedule_verify(const tri_schedule *schedule);

/* Durations of one micro-batch on one stage, in any unit. */
typedef struct tri_schedule_times {
    double forward, backward_input, backward_weight; /* BACKWARD takes the sum of the last two */
    double message;                                  /* from send to receipt */
    const double *stage_factor;                      /* [p*v] multiplies a stage's; NULL: 1 */
} tri_schedule_times;

typedef struct tri_schedule_outcome {
    double makespan;
    double busy;    /* of the busiest rank */
    double bubble;  /* share of the makespan in which a rank waits, mean over ranks */
    int peak_slots; /* most activations alive at once on one rank, in chunks */
    double *
        begin; /* [sum of n_ops] start of each operation, by rank and position; TRI_FREE; may be NULL */
} tri_schedule_outcome;

/* Simulate by events. Not collective. `with_begin`: fill outcome->begin. */
TRI_MUST_USE tri_status tri_schedule_simulate(const tri_schedule *schedule,
                                              const tri_schedule_times *times, bool with_begin,
                                              tri_schedule_outcome *out);

/* Most activations of `chunk`s alive at once on pipeline rank `rank`. Not collective. */
int tri_schedule_peak(const tri_schedule *schedule, int rank);

/* Draw the table as text: a line per rank, a column per unit of time. Not collective. */
TRI_MUST_USE tri_status tri_schedule_draw(const tri_schedule *schedule,
                                          const tri_schedule_times *times, FILE *stream);

/* What an executor calls; `arg` first. Receives are posted and return at once; each compute hook waits
 * for what it needs. */
typedef struct tri_schedule_hooks {
    tri_status (*run)(void *arg, const tri_op *op);
    /* told when an operation begins (NULL: not): for reports of hangs and failures */
    void (*begin)(void *arg, const tri_op *op);
} tri_schedule_hooks;

/* Run the operations of pipeline rank `rank` in order. Collective over the pipeline axis.
 * Errors: the hooks', with the operation named. */
TRI_MUST_USE tri_status tri_schedule_run(const tri_schedule *schedule, int rank,
                                         const tri_schedule_hooks *hooks, void *arg);

enum { TRI_OP_NAME_BYTES = 128 };

/* "forward of micro-batch 3, stage 2": for messages. Not collective. */
char *tri_op_name(const tri_op *op, char *out, size_t out_bytes);

#endif

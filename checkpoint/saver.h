// SPDX-License-Identifier: Apache-2.0
/* Saving beside training. What a save reads of parameters and optimizer states, it reads where they lie, in
 * a thread of its own, while forward and backward run; what it has not read when the optimizer is about
 * to change them is copied to a host buffer first. Then the ranks need to meet twice, at boundaries of
 * steps: when all have written, so that rank 0 may commit, and when it has.
 *
 *   tri_saver_begin(saver, dir, step, job);             after an update
 *   ... forward, backward, sum of tri_saver_done ...
 *   tri_saver_guard(saver); update;
 *   if (the sum says that all are done) tri_saver_advance(saver, &outcome);
 */
#ifndef TRI_CHECKPOINT_SAVER_H
#define TRI_CHECKPOINT_SAVER_H

#include "checkpoint/ckpt.h"
#include "runtime/arena.h"

typedef struct tri_saver tri_saver;

typedef enum tri_saver_files { TRI_SAVER_FILE_PER_RANK, TRI_SAVER_FILE_PER_NODE } tri_saver_files;

typedef struct tri_saver_args {
    const tri_state *state; /* kept; all rows are in it, and hold memory, by the first begin */
    tri_comm *world;        /* kept; NULL on paper */
    const char *version;    /* kept; of the program */
    bool is_async;          /* with buffers, so that guard need not wait for the disk */
    tri_saver_files files;
    bool trusts_replicas; /* copies of a row are not compared before a save */
    int keep;             /* newest checkpoints to keep; 0: all */
    int64_t keep_every;   /* those of steps that are multiples of it are never deleted; 0: none */
    tri_ckpt_hook hook;   /* this rank's; called by the writer's thread, too */
} tri_saver_args;

/* Not collective. Errors: TRI_ENOMEM. */
TRI_MUST_USE tri_status tri_saver_create(const tri_saver_args *args, tri_saver **out);

/* Wait for what the writer's thread has in hand and free. A save under way is not committed. Not
 * collective; NULL is fine. */
void tri_saver_destroy(tri_saver **saver);

/* Declare the buffers (kind "checkpoint"; none unless async): about as many bytes as this rank writes, which
 * the rows must tell by now. Where it writes more, guard waits for the rest. Not collective. */
TRI_MUST_USE tri_status tri_saver_declare(tri_saver *saver, tri_arena *arena);

/* Start to save the rows as they are now. Collective: world; the same dir, step and job_yaml. No save may
 * be under way.
 *
 * Returns when the folder is made and small rows (of the roles data, job and policy) are copied; the others may
 * change only after tri_saver_guard. The first call also plans: who writes what, and where.
 * Errors: TRI_ECOMM, TRI_EPEER: ranks cannot meet. That the save cannot go on (TRI_EIO no folder can be
 * made, or too little space is free; TRI_EBUG rows that do not cover their tensor, or have no memory; TRI_EDIVERGED replicas that differ) is told
 * by the next advance or finish, like all its failures.
 */
TRI_MUST_USE tri_status tri_saver_begin(tri_saver *saver, const char *dir, int64_t step,
                                        const char *job_yaml);

/* Parameters and optimizer states are about to change. Not collective.
 *
 * Cost: nothing when all is written; else a copy of what is not (not async: waits for the disk). */
void tri_saver_guard(tri_saver *saver);

/* Is a save under way? The same on all ranks. Not collective. */
bool tri_saver_is_busy(const tri_saver *saver);

/* 1 if this rank has done its part of what it has to do before the ranks meet, or nothing is under way, else
 * 0: to be summed over the ranks in a reduction that the step does anyway. Not collective. */
int tri_saver_done(tri_saver *saver);

typedef enum tri_saver_outcome {
    TRI_SAVER_GOES_ON,
    TRI_SAVER_COMMITTED, /* the checkpoint is on the disk, older ones are deleted */
    TRI_SAVER_FAILED     /* it is given up: older ones are as they were */
} tri_saver_outcome;

/* Go on with the save under way. Collective: world; at once when tri_saver_done is 1 on all ranks, else waits.
 *
 * Writes: *outcome, the same on all ranks; if it is FAILED, *failure: its own on the lowest rank that failed,
 * TRI_EPEER with the same message on the others. A save that failed is no error here: the next can begin.
 * Errors: TRI_ECOMM, TRI_EPEER: ranks cannot meet.
 */
TRI_MUST_USE tri_status tri_saver_advance(tri_saver *saver, tri_saver_outcome *outcome,
                                          tri_err *failure);

/* Wait until no save is under way. Collective: world. Otherwise as advance; COMMITTED if none was. */
TRI_MUST_USE tri_status tri_saver_finish(tri_saver *saver, tri_saver_outcome *outcome,
                                         tri_err *failure);

/* Give up the save under way, if any: what it saves is not to be kept. Collective: world.
 *
 * Earlier checkpoints are as they were; the next save can begin. Waits for what the writers have in hand. Not for
 * one that tri_saver_advance has taken on: that may be committed already, and is finished here.
 * Errors: TRI_ECOMM, TRI_EPEER: ranks cannot meet.
 */
TRI_MUST_USE tri_status tri_saver_drop(tri_saver *saver);

/* The step of the save under way, or of the last one; -1: none yet. Not collective. */
int64_t tri_saver_step(const tri_saver *saver);

/* Seconds that callers spent in begin, guard, advance, finish and drop so far. Not collective. */
double tri_saver_stall_s(const tri_saver *saver);

#endif

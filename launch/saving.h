// SPDX-License-Identifier: Apache-2.0
/* When a run saves, and what becomes of it: after some steps, after some time, on a signal, at the end. A
 * save that fails is told and training goes on; only that of the end must succeed.
 *
 * Whether a step's update was any good shows in the step after it. So a save that is written beside training
 * is committed only when a good step has followed: then the newest checkpoint is none of a
 * model that had diverged. For the same reason none begins after a step that is not good.
 */
#ifndef TRI_LAUNCH_SAVING_H
#define TRI_LAUNCH_SAVING_H

#include "launch/train.h"

typedef struct tri_saving {
    tri_job *job;
    const char *dir;
    int64_t last_step; /* of the last save; below 0: none that a wish may belong to */
    double last_s;     /* rank 0's clock decides: others follow its wish */
    double stall_s;    /* of the saver, when last asked */
    int n_failures;
    bool is_postponed; /* one was due after a step that was not good */
} tri_saving;

/* The time of this run begins. Not collective. Keeps: job, dir. */
void tri_saving_init(tri_saving *saving, tri_job *job, const char *dir);

/* Does this rank want a save after the next step (its time has come, or it got the signal)? Not collective. */
bool tri_saving_is_wanted(tri_saving *saving);

/* Save at once and wait for it. Collective: world. Errors: it failed; ranks cannot meet. */
TRI_MUST_USE tri_status tri_saving_now(tri_saving *saving);

/* Before a rollback: finish a save under way; but drop one of the step before the bad one, job->counters.step.
 * Steps that come again may be saved again. Collective: world. A save that fails is a warning. Errors: ranks
 * cannot meet. */
TRI_MUST_USE tri_status tri_saving_settle(tri_saving *saving);

/* After a step: go on with a save under way, begin one if it is due; `is_last`: begin one and wait for it.
 *
 * Collective: world, the same arguments. A save that fails is a warning on rank 0. Errors: the last one
 * failed; ranks cannot meet.
 */
TRI_MUST_USE tri_status tri_saving_step(tri_saving *saving, const tri_step_result *step,
                                        bool is_last);

/* Seconds that training waited for checkpoints since the last call. Not collective. */
double tri_saving_stall_s(tri_saving *saving);

#endif

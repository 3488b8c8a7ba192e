// SPDX-License-Identifier: Apache-2.0
/* Training: the step, and the loop around it. */
#ifndef TRI_LAUNCH_TRAIN_H
#define TRI_LAUNCH_TRAIN_H

#include "launch/job.h"

/* What one step came to; the same on all ranks but for the times, which are this rank's. */
typedef struct tri_step_result {
    tri_verdict verdict;
    double loss;       /* mean over the target tokens of the global batch, nats */
    double grad_norm;  /* global, before clipping */
    double norm_ratio; /* to the mean of those before; 0: there is none yet */
    double lr;         /* 0 where no update was made */
    int64_t batch;     /* sequences */
    bool has_test;     /* of the batch: */
    tri_batch_report test;
    int64_t tokens; /* of the global batch */
    double step_s;
    double comm_exposed_s; /* spent waiting for communication */
    bool stop;             /* some rank wants the job to end */
    bool save;             /* some rank wants a checkpoint */
    bool is_written;       /* a save is under way, and all ranks may go on with it */
} tri_step_result;

/* What a rank may want to happen after a step. */
enum { TRI_STEP_STOP = 1, TRI_STEP_SAVE = 2 };

/* Numbers that all ranks share at the end of a step. */
enum { TRI_STEP_SHARES = 6 };

/* One update of the weights. Collective: world.
 *
 * The `wishes` of any rank become everybody's on the reduction that the step does anyway. If the gradient is not
 * finite or explodes, weights and optimizer states stay as they are, and out->verdict says what is to
 * be done: SKIP: the step counts, its samples are consumed, and the next one can follow. ROLLBACK: nothing
 * counts; the caller settles the save under way and calls tri_resume_back.
 * Errors: TRI_EDIVERGED such a gradient where the policy, or the number of them in a row, stops the job; those of the parts.
 */
TRI_MUST_USE tri_status tri_train_step(tri_job *job, unsigned wishes, tri_step_result *out);

#endif

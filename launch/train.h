// SPDX-License-Identifier: Apache-2.0
/* Training: the step, and the loop around it. */
#ifndef TRI_LAUNCH_TRAIN_H
#define TRI_LAUNCH_TRAIN_H

#include "launch/job.h"

/* What one step came to; the same on all ranks but for the times, which are this rank's. */
typedef struct tri_step_result {
    double loss;      /* mean over the target tokens of the global batch, nats */
    double grad_norm; /* global, before clipping */
    double lr;
    int64_t tokens; /* of the global batch */
    double step_s;
    double comm_exposed_s; /* spent waiting for communication */
    bool stop;             /* some rank was asked to stop */
} tri_step_result;

/* One update of the weights. Collective: world.
 *
 * `stop`: this rank wants the job to end after this step; the wish of any rank becomes everybody's
 * on the reduction that the step does anyway. Errors: TRI_EDIVERGED a loss or gradient that is not
 * finite (weights are as before the step), and those of the parts.
 */
TRI_MUST_USE tri_status tri_train_step(tri_job *job, bool stop, tri_step_result *out);

#endif

// SPDX-License-Identifier: Apache-2.0
/* What the files of a job share: job.c its life, job_layout.c its layout, job_plan.c what it will need.
 */
#ifndef TRI_LAUNCH_JOB_IMPL_H
#define TRI_LAUNCH_JOB_IMPL_H

#include "launch/job.h"

/* The ranks that share gradients and optimizer states. */
enum { TRI_JOB_GROUP = TRI_AXIS_BIT(TRI_AXIS_DATA) | TRI_AXIS_BIT(TRI_AXIS_CONTEXT) };

/* The axes of the ranks that share the tensors of a pipeline stage. Not collective. */
static inline unsigned tri_job_replica(const tri_job *job)
{
    bool is_cut = job->spec.parallel.tensor > 1;
    return TRI_JOB_GROUP | (is_cut ? TRI_AXIS_BIT(TRI_AXIS_TENSOR) : 0);
}

/* Has it gradients and an optimizer? Not collective. */
static inline bool tri_job_trains(const tri_job *job)
{
    return job->use == TRI_JOB_TRAIN;
}

/* The mesh of the spec and the communicators of its axes; on paper if there is no world. Collective:
 * world. */
TRI_MUST_USE tri_status tri_job_open_mesh(tri_job *job, int n_ranks, int rank);

/* Schedule, context, model and its rows, zero, stage. Collective: world (not on paper). */
TRI_MUST_USE tri_status tri_job_open_parallel(tri_job *job);

/* All but data and counters, and all memory declared. Collective: world (not on paper). */
TRI_MUST_USE tri_status tri_job_open_layout(tri_job *job);

/* The blocks on the stages of the schedule [ranks * chunks]. Not collective. */
TRI_MUST_USE tri_status tri_job_place_stages(const tri_job *job, tri_model_stage *stages);

/* Micro-batches of a round in one data part. Not collective. */
int64_t tri_job_micro_batches(const tri_job *job);

#endif

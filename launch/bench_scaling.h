// SPDX-License-Identifier: Apache-2.0
/* `trireme bench scaling`: one data-parallel job against independent jobs. */
#ifndef TRI_LAUNCH_BENCH_SCALING_H
#define TRI_LAUNCH_BENCH_SCALING_H

#include "launch/bench.h"

/* Tokens per second of one job over all ranks; the limit is the sum of what independent one-rank jobs,
 * one on each rank, reach at the same time, in slices that alternate. Model and batch: a GPT-2 of 124
 * million parameters, or the options of launch/bench_job.h.
 *
 * Collective: world, at least two ranks. Errors: TRI_EINVAL options or one rank alone, TRI_ENOMEM,
 * TRI_EBUG a share above 1.02.
 */
TRI_MUST_USE tri_status tri_bench_scaling(const tri_bench_args *args);

#endif

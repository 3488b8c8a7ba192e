// SPDX-License-Identifier: Apache-2.0
/* `trireme bench step`: a whole training step against its own matrix products. */
#ifndef TRI_LAUNCH_BENCH_STEP_H
#define TRI_LAUNCH_BENCH_STEP_H

#include "launch/bench.h"

/* Seconds of a step (forward, backward, update) of a GPT-2 of 124 million parameters on random
 * tokens, or of the model that the options of launch/bench_job.h say. The limit is the sum of the
 * times of the step's own products, each shape timed alone, between the steps of the same run. Further
 * lines: tokens per second, share of the square product's rate, and where the time goes.
 *
 * Collective: world (each rank adds a batch). Errors: TRI_EINVAL options, TRI_ENOMEM, TRI_EBUG a share
 * above 1.02.
 */
TRI_MUST_USE tri_status tri_bench_step(const tri_bench_args *args);

#endif

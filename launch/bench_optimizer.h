// SPDX-License-Identifier: Apache-2.0
/* `trireme bench optimizer`: whole steps of every optimizer against the memory bandwidth. */
#ifndef TRI_LAUNCH_BENCH_OPTIMIZER_H
#define TRI_LAUNCH_BENCH_OPTIMIZER_H

#include "launch/bench.h"

/* A step (tri_optim_step) of every optimizer on the parameters of a model (the 124M GPT-2 unless options
 * say otherwise), with and without a bf16 compute copy, and with bf16 moments where it has moments of
 * elements: GB/s of the memory traffic that no implementation can avoid. The limit is a loop that reads
 * and writes the same streams, in as many passes, without the arithmetic: the best of several ways, on
 * the same memory and threads. Each line tells the sums over ranks of a step on 2 x 2 ranks.
 *
 * Not collective: every rank measures, rank 0 reports. Errors: TRI_EINVAL options, TRI_ENOMEM,
 * TRI_EBUG a share above 1.15 (all rows are printed before), more than two all-reduces in a step.
 */
TRI_MUST_USE tri_status tri_bench_optimizer(const tri_bench_args *args);

#endif

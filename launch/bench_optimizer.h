// SPDX-License-Identifier: Apache-2.0
/* `trireme bench optimizer`: updates against the memory bandwidth. */
#ifndef TRI_LAUNCH_BENCH_OPTIMIZER_H
#define TRI_LAUNCH_BENCH_OPTIMIZER_H

#include "launch/bench.h"

/* AdamW and SGD on fp32 weights (as many as the argument says, 64 Mi by default), with and without
 * a bf16 compute copy, in GB/s of memory traffic. The limit is the best of several loops that read
 * and write the same streams without the arithmetic, on the same memory and threads.
 *
 * Not collective: every rank measures, rank 0 reports. Errors: TRI_EINVAL options, TRI_ENOMEM,
 * TRI_EBUG a share above 1.02.
 */
TRI_MUST_USE tri_status tri_bench_optimizer(const tri_bench_args *args);

#endif

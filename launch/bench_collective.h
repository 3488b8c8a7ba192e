// SPDX-License-Identifier: Apache-2.0
/* `trireme bench collective`: reductions and gathers against memory traffic and against MPI's own. */
#ifndef TRI_LAUNCH_BENCH_COLLECTIVE_H
#define TRI_LAUNCH_BENCH_COLLECTIVE_H

#include "launch/bench.h"

/* All-reduce, reduce-scatter and all-gather of fp32 over the world, on memory that its ranks share
 * and on private memory, 64 MiB, and all-reduce of 4 KiB and 64 KiB. Rates are of the call's larger
 * argument. The limit is the best of several loops by which all ranks at the same time read and
 * write, in the same memory, the bytes that a call cannot avoid to move. Each row is followed by how
 * many times as fast as MPI's own call that was, on private memory.
 *
 * Collective: world, at least 2 ranks of mpirun. Errors: TRI_EINVAL, TRI_ENOMEM; TRI_EBUG a share
 * above 1.02.
 */
TRI_MUST_USE tri_status tri_bench_collective(const tri_bench_args *args);

#endif

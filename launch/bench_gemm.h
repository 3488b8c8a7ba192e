// SPDX-License-Identifier: Apache-2.0
/* `trireme bench gemm`: matrix products against oneDNN's primitive alone. */
#ifndef TRI_LAUNCH_BENCH_GEMM_H
#define TRI_LAUNCH_BENCH_GEMM_H

#include "launch/bench.h"

/* The three products of each linear layer of the 124M GPT-2. Not collective.
 *
 * A row's share is of the best way in which oneDNN alone makes the same product of the same operands.
 * Errors: TRI_EINVAL arguments, TRI_EBUG a share above 1.02 (all rows are printed before), TRI_ENOMEM.
 */
TRI_MUST_USE tri_status tri_bench_gemm(const tri_bench_args *args);

#endif

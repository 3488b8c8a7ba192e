// SPDX-License-Identifier: Apache-2.0
/* `trireme bench layouts`: the same global batch on other layouts of the same ranks. */
#ifndef TRI_LAUNCH_BENCH_LAYOUTS_H
#define TRI_LAUNCH_BENCH_LAYOUTS_H

#include "launch/bench.h"

/* Tensor and pipeline parallel steps against data parallel ones, and attention over a context axis
 * against one rank with the threads of all. Collective: world, of two ranks or more. Errors: TRI_EINVAL
 * options, those of the jobs. */
TRI_MUST_USE tri_status tri_bench_layouts(const tri_bench_args *args);

#endif

// SPDX-License-Identifier: Apache-2.0
/* The benchmarks of this build, one row each. */
#include "launch/bench.h"

#include "launch/bench_optimizer.h"

const tri_bench *tri_bench_list(void)
{
    static const tri_bench list[] = {
        {"optimizer", "AdamW and SGD against the memory bandwidth", tri_bench_optimizer},
        {NULL,        NULL,                                         NULL               },
    };
    return list;
}

// SPDX-License-Identifier: Apache-2.0
/* The benchmarks of this build, one row each. */
#include "launch/bench.h"

#include "launch/bench_attention.h"
#include "launch/bench_checkpoint.h"
#include "launch/bench_collective.h"
#include "launch/bench_gemm.h"
#include "launch/bench_layouts.h"
#include "launch/bench_optimizer.h"
#include "launch/bench_scaling.h"
#include "launch/bench_schedule.h"
#include "launch/bench_step.h"

const tri_bench *tri_bench_list(void)
{
    static const tri_bench list[] = {
        {"attention",  "attention against the products in it",                  tri_bench_attention },
        {"checkpoint", "save and load against raw files",                       tri_bench_checkpoint},
        {"collective", "sums and gathers against memory and MPI (mpirun -n 2)",
         tri_bench_collective                                                                       },
        {"gemm",       "matrix products against oneDNN alone",                  tri_bench_gemm      },
        {"layouts",    "the same batch on other layouts (mpirun -n 2)",         tri_bench_layouts   },
        {"optimizer",  "steps of every optimizer against the memory bandwidth", tri_bench_optimizer },
        {"scaling",    "one job against independent ones (mpirun -n 2)",        tri_bench_scaling   },
        {"schedule",   "pipeline schedules against the simulator",              tri_bench_schedule  },
        {"step",       "a training step against its own matrix products",       tri_bench_step      },
        {NULL,         NULL,                                                    NULL                },
    };
    return list;
}

// SPDX-License-Identifier: Apache-2.0
/* The rate of square matrix products on all ranks at once. */
#include "launch/peak.h"

#include "kernels/matmul.h"
#include "runtime/agree.h"
#include "runtime/base/alloc.h"
#include "runtime/base/clock.h"

enum { PEAK_SIZE = 1024, PEAK_ROUNDS = 6 };

static tri_status best_time(tri_kernels *kernels, const tri_matmul_args *args, double *best_s)
{
    TRI_TRY(tri_matmul(kernels, args)); /* makes the primitive */
    *best_s = 1e30;
    for (int round = 0; round < PEAK_ROUNDS; round++) {
        double start_s = tri_clock_s();
        TRI_TRY(tri_matmul(kernels, args));
        double time_s = tri_clock_s() - start_s;
        if (time_s < *best_s) *best_s = time_s;
    }
    return TRI_OK;
}

static tri_status measure_here(tri_kernels *kernels, tri_dtype dtype, double *best_s)
{
    float *memory = NULL; /* a, b, c: zeros multiply at the same rate */
    TRI_TRY(TRI_NEW_ARRAY(3LL * PEAK_SIZE * PEAK_SIZE, &memory));
    tri_matmul_args args = {.m = PEAK_SIZE,
                            .n = PEAK_SIZE,
                            .k = PEAK_SIZE,
                            .a = memory,
                            .b = memory + PEAK_SIZE * PEAK_SIZE,
                            .c = memory + 2 * PEAK_SIZE * PEAK_SIZE,
                            .input_type = dtype,
                            .output_type = dtype,
                            .lda = PEAK_SIZE,
                            .ldb = PEAK_SIZE,
                            .ldc = PEAK_SIZE};
    tri_status measured = best_time(kernels, &args, best_s);
    TRI_FREE(memory);
    TRI_TRY(measured);
    return TRI_OK;
}

tri_status tri_peak_measure(tri_kernels *kernels, tri_dtype dtype, tri_comm *world,
                            double *flops_per_s)
{
    double best_s = 1;
    TRI_TRY(tri_barrier(world));
    TRI_TRY(tri_agree(world, measure_here(kernels, dtype, &best_s)));
    double rate = 2.0 * PEAK_SIZE * PEAK_SIZE * PEAK_SIZE / best_s;
    TRI_TRY(tri_allreduce(world, tri_span_make(&rate, 1, TRI_F64), TRI_SUM, NULL));
    *flops_per_s = rate;
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* Softmax cross-entropy: checks, and rows cut for the team. */
#include "kernels/loss.h"

#include "kernels/cpu/simd.h"
#include "kernels/cpu/team.h"
#include "kernels/kernels_impl.h"

#include <math.h>

typedef struct loss_work {
    const tri_simd_loss *simd;
    const tri_cross_entropy_args *args;
} loss_work;

static void stats(const void *work, int64_t begin, int64_t end)
{
    const loss_work *w = work;
    w->simd->stats(w->args, begin, end);
}

static void gradient(const void *work, int64_t begin, int64_t end)
{
    const loss_work *w = work;
    w->simd->gradient(w->args, begin, end);
}

static tri_status run(tri_kernels *kernels, const char *kernel, const tri_cross_entropy_args *args,
                      tri_team_fn fn)
{
    TRI_TRY(tri_team_check(kernel, args->dtype, args->rows, args->width, args->stride));
    loss_work work = {kernels->simd->loss, args};
    /* an exponential costs about as much as 16 bytes of memory */
    tri_team_run(kernels, args->rows, 1, tri_team_grain(args->width * 16), fn, &work);
    return TRI_OK;
}

void tri_cross_entropy_begin(int64_t rows, float *maximum, float *sum, float *picked)
{
    for (int64_t row = 0; row < rows; row++) {
        maximum[row] = -INFINITY;
        sum[row] = 0;
        picked[row] = 0;
    }
}

void tri_cross_entropy_rescale(int64_t rows, const float *all, float *maximum, float *sum)
{
    for (int64_t row = 0; row < rows; row++) {
        /* -inf everywhere: inf - inf is no number */
        if (maximum[row] != all[row]) sum[row] *= expf(maximum[row] - all[row]);
        maximum[row] = all[row];
    }
}

tri_status tri_cross_entropy_stats(tri_kernels *kernels, const tri_cross_entropy_args *args)
{
    TRI_TRY(run(kernels, "cross-entropy statistics", args, stats));
    return TRI_OK;
}

tri_status tri_cross_entropy_gradient(tri_kernels *kernels, const tri_cross_entropy_args *args)
{
    TRI_TRY(run(kernels, "cross-entropy gradient", args, gradient));
    return TRI_OK;
}

void tri_cross_entropy_sum(const tri_cross_entropy_args *args, double *loss, int64_t *counted)
{
    for (int64_t row = 0; row < args->rows; row++) {
        if (args->target[row] < 0) continue;
        *loss +=
            (double)args->maximum[row] + log((double)args->sum[row]) - (double)args->picked[row];
        *counted += 1;
    }
}

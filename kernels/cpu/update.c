// SPDX-License-Identifier: Apache-2.0
/* Optimizer updates: checks, the scalars of a step, and elements cut for the team. */
#include "kernels/update.h"

#include "kernels/cpu/simd.h"
#include "kernels/cpu/team.h"
#include "kernels/kernels_impl.h"

#include <math.h>

enum {
    UNIT = 64,
    /* from here on nothing of the range is in a cache when it is over */
    STREAM_ELEMENTS = 1 << 20
};

typedef struct update_work {
    const tri_simd_update *simd;
    const tri_adamw_args *adamw;
    const tri_sgd_args *sgd;
    const tri_update_traffic_args *traffic;
    tri_simd_adamw scalars;
    bool stream;
} update_work;

static tri_status check(const char *kernel, const tri_update_range *range)
{
    TRI_CHECK(range->n >= 0, TRI_EINVAL, "%s of %lld elements", kernel, (long long)range->n);
    TRI_CHECK(!range->copy || range->copy_type == TRI_BF16, TRI_EINVAL,
              "%s: compute copy of %s; a copy is bf16", kernel, tri_dtype_name(range->copy_type));
    return TRI_OK;
}

static void adamw(const void *work, int64_t begin, int64_t end)
{
    const update_work *w = work;
    w->simd->adamw(w->adamw, &w->scalars, w->stream, begin, end);
}

tri_status tri_update_adamw(tri_kernels *kernels, const tri_adamw_args *args)
{
    TRI_TRY(check("AdamW", &args->range));
    TRI_CHECK(args->step >= 1, TRI_EINVAL, "AdamW at step %lld: the first update is step 1",
              (long long)args->step);
    update_work work = {.simd = kernels->simd->update, .adamw = args};
    work.stream = args->range.n >= STREAM_ELEMENTS;
    double correction1 = 1.0 - pow((double)args->beta1, (double)args->step);
    double correction2 = 1.0 - pow((double)args->beta2, (double)args->step);
    work.scalars = (tri_simd_adamw){
        .decay = (float)(1.0 - (double)args->lr * (double)args->weight_decay),
        .beta1 = args->beta1,
        .beta2 = args->beta2,
        .one_minus_beta1 = (float)(1.0 - (double)args->beta1),
        .one_minus_beta2 = (float)(1.0 - (double)args->beta2),
        .step_size = (float)((double)args->lr / correction1),
        .root_correction = (float)(1.0 / sqrt(correction2)),
        .epsilon = args->epsilon,
    };
    tri_team_run(kernels, args->range.n, UNIT, tri_team_grain(28), adamw, &work);
    return TRI_OK;
}

static void sgd(const void *work, int64_t begin, int64_t end)
{
    const update_work *w = work;
    w->simd->sgd(w->sgd, w->stream, begin, end);
}

tri_status tri_update_sgd(tri_kernels *kernels, const tri_sgd_args *args)
{
    TRI_TRY(check("SGD", &args->range));
    TRI_CHECK(args->momentum_buffer || args->momentum == 0, TRI_EINVAL,
              "SGD with momentum %g but no momentum buffer", (double)args->momentum);
    update_work work = {.simd = kernels->simd->update, .sgd = args};
    work.stream = args->range.n >= STREAM_ELEMENTS;
    tri_team_run(kernels, args->range.n, UNIT, tri_team_grain(16), sgd, &work);
    return TRI_OK;
}

static void traffic(const void *work, int64_t begin, int64_t end)
{
    const update_work *w = work;
    w->simd->traffic(w->traffic, begin, end);
}

tri_status tri_update_traffic(tri_kernels *kernels, const tri_update_traffic_args *args)
{
    TRI_TRY(check("memory traffic", &args->range));
    update_work work = {.simd = kernels->simd->update, .traffic = args};
    tri_team_run(kernels, args->range.n, UNIT, tri_team_grain(16), traffic, &work);
    return TRI_OK;
}

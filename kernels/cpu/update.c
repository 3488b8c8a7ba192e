// SPDX-License-Identifier: Apache-2.0
/* Optimizer updates: checks, the scalars of a step, and elements cut for the team. */
#include "kernels/update.h"

#include "kernels/cpu/simd.h"
#include "kernels/cpu/team.h"
#include "kernels/kernels_impl.h"
#include "runtime/base/int.h"

#include <math.h>

#include <string.h>

enum {
    UNIT = 64,
    /* sums are those of blocks, so that they do not depend on the number of threads */
    SUM_BLOCKS = 256,
    SUM_BLOCK_ELEMENTS = 4096
};

typedef struct update_work {
    const tri_simd_update *simd;
    const tri_update_args *args;
    const tri_update_traffic_args *traffic;
    tri_simd_scalars scalars;
    bool stream;
    int64_t block;
    double (*sums)[2];
} update_work;

static tri_status check(const char *kernel, const tri_update_range *range)
{
    TRI_CHECK(range->n >= 0, TRI_EINVAL, "%s of %lld elements", kernel, (long long)range->n);
    TRI_CHECK(!range->copy || range->copy_type == TRI_BF16, TRI_EINVAL,
              "%s: compute copy of %s; a copy is bf16", kernel, tri_dtype_name(range->copy_type));
    return TRI_OK;
}

int tri_update_moments(tri_update_rule rule)
{
    bool has_second = rule == TRI_UPDATE_ADAM || rule == TRI_UPDATE_ADAMAX ||
                      rule == TRI_UPDATE_ATAN2 || rule == TRI_UPDATE_MOMENTS ||
                      rule == TRI_UPDATE_TRUST;
    return has_second ? 2 : 1;
}

static bool has_sums(tri_update_rule rule)
{
    return rule == TRI_UPDATE_MOMENTS || rule == TRI_UPDATE_VARIANCE;
}

static tri_status check_update(const tri_update_args *args)
{
    TRI_TRY(check("update", &args->range));
    TRI_CHECK(args->rule >= 0 && args->rule < TRI_UPDATE_RULES, TRI_EBUG, "update by rule %d",
              (int)args->rule);
    TRI_CHECK(args->step >= 1, TRI_EINVAL, "update at step %lld: the first is step 1",
              (long long)args->step);
    TRI_CHECK(args->moment_type == TRI_F32 || args->moment_type == TRI_BF16, TRI_EINVAL,
              "update with moments of %s; they are fp32 or bf16",
              tri_dtype_name(args->moment_type));
    int n = tri_update_moments(args->rule);
    bool needs = args->rule != TRI_UPDATE_SGD || args->beta[0] != 0;
    for (int i = 0; i < n && needs && args->range.n; i++)
        TRI_CHECK(args->moment[i], TRI_EINVAL, "update by rule %d without moment %d",
                  (int)args->rule, i);
    TRI_CHECK(!has_sums(args->rule) || args->sums, TRI_EBUG, "no place for sums");
    return TRI_OK;
}

/* All bits of x in each bit (the end of MurmurHash3, public domain). */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 33) * 0xff51afd7ed558ccdu;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53u;
    return x ^ x >> 33;
}

static tri_simd_scalars scalars_of(const tri_update_args *args)
{
    tri_simd_scalars s = {.keep = (float)(1.0 - (double)args->decay), .key = mix(args->key)};
    double correction[2];
    for (int i = 0; i < 2; i++) {
        s.beta[i] = args->beta[i];
        s.rest[i] = (float)(1.0 - (double)args->beta[i]);
        correction[i] = 1.0 - pow((double)args->beta[i], (double)args->step);
    }
    s.correction = (float)(1.0 / correction[0]);
    s.step_size = (float)((double)args->rate / correction[0]);
    s.root_correction = (float)(1.0 / sqrt(correction[1]));
    return s;
}

static void update(const void *work, int64_t begin, int64_t end)
{
    const update_work *w = work;
    w->simd->update(w->args, &w->scalars, w->stream, begin, end, NULL);
}

static void update_blocks(const void *work, int64_t begin, int64_t end)
{
    const update_work *w = work;
    for (int64_t b = begin; b < end; b++)
        w->simd->update(w->args, &w->scalars, w->stream, b * w->block,
                        tri_min64((b + 1) * w->block, w->args->range.n), w->sums[b]);
}

/* Blocks instead of equal parts for the threads: each has sums of its own. */
static void update_with_sums(tri_kernels *kernels, update_work *work)
{
    double sums[SUM_BLOCKS][2];
    int64_t n = work->args->range.n;
    memset(sums, 0, sizeof sums);
    work->sums = sums;
    work->block =
        tri_max64(tri_round_up((n + SUM_BLOCKS - 1) / SUM_BLOCKS, UNIT), SUM_BLOCK_ELEMENTS);
    int64_t blocks = (n + work->block - 1) / work->block;
    tri_team_run(kernels, blocks, 1, tri_team_grain(work->block * 24), update_blocks, work);
    for (int64_t b = 0; b < blocks; b++)
        for (int i = 0; i < 2; i++)
            work->args->sums[i] += sums[b][i];
}

tri_status tri_update(tri_kernels *kernels, const tri_update_args *args)
{
    TRI_TRY(check_update(args));
    /* rules with sums write no copy: nothing is cut, and added up, by where copies are aligned */
    bool is_far = args->range.far || args->range.n >= TRI_UPDATE_FAR_ELEMENTS;
    update_work work = {.simd = kernels->simd->update,
                        .args = args,
                        .scalars = scalars_of(args),
                        .stream = is_far && !has_sums(args->rule)};
    if (has_sums(args->rule))
        update_with_sums(kernels, &work);
    else
        tri_team_run(kernels, args->range.n, UNIT, tri_team_grain(24), update, &work);
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
    TRI_CHECK(args->moment_type == TRI_F32 || args->moment_type == TRI_BF16, TRI_EINVAL,
              "memory traffic of moments of %s; they are fp32 or bf16",
              tri_dtype_name(args->moment_type));
    TRI_CHECK(!args->range.copy || args->range.gradient || args->range.weight, TRI_EINVAL,
              "memory traffic: a copy of nothing");
    update_work work = {.simd = kernels->simd->update, .traffic = args};
    tri_team_run(kernels, args->range.n, UNIT, tri_team_grain(16), traffic, &work);
    return TRI_OK;
}

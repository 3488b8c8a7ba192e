// SPDX-License-Identifier: Apache-2.0
/* Checks, and ranges cut in blocks whose number depends on the range alone. */
#include "kernels/scatter.h"

#include "kernels/cpu/simd.h"
#include "kernels/cpu/team.h"
#include "kernels/kernels_impl.h"
#include "runtime/base/int.h"

enum {
    BLOCKS = 128,      /* at most */
    BLOCK_UNIT = 1024, /* elements, at least */
    PANEL = 2048       /* elements of x that stay in the first-level cache for all products */
};

typedef struct scatter_work {
    const tri_simd_scatter *simd;
    int64_t n, block, blocks;
    const tri_scatter_args *args;
    const float *x, *const *y;
    int n_y;
    double (*sums)[TRI_SCATTER_MAX_PRODUCTS];
} scatter_work;

static tri_status work_make(const tri_kernels *kernels, int64_t n, scatter_work *out)
{
    TRI_CHECK(n >= 0, TRI_EINVAL, "scatter of %lld elements", (long long)n);
    int64_t block = tri_round_up(tri_max64((n + BLOCKS - 1) / BLOCKS, 1), BLOCK_UNIT);
    *out = (scatter_work){
        .simd = kernels->simd->scatter, .n = n, .block = block, .blocks = (n + block - 1) / block};
    return TRI_OK;
}

static void add_blocks(const void *work, int64_t begin, int64_t end)
{
    const scatter_work *w = work;
    for (int64_t b = begin; b < end; b++)
        w->sums[b][0] = w->simd->add(w->args, b * w->block, tri_min64((b + 1) * w->block, w->n));
}

tri_status tri_scatter_add(tri_kernels *kernels, const tri_scatter_args *args, double *out)
{
    double sums[BLOCKS][TRI_SCATTER_MAX_PRODUCTS];
    scatter_work work;
    TRI_TRY(work_make(kernels, args->n, &work));
    work.args = args;
    work.sums = sums;
    tri_team_run(kernels, work.blocks, 1, tri_team_grain(work.block * 8), add_blocks, &work);
    double sum = 0;
    for (int64_t b = 0; b < work.blocks; b++)
        sum += sums[b][0];
    *out = sum;
    return TRI_OK;
}

static void ratio_blocks(const void *work, int64_t begin, int64_t end)
{
    const scatter_work *w = work;
    for (int64_t b = begin; b < end; b++) {
        int64_t first = b * w->block;
        w->sums[b][0] =
            w->simd->ratio(tri_min64(w->block, w->n - first), w->y[0] + first, w->x + first);
    }
}

tri_status tri_scatter_ratio(tri_kernels *kernels, int64_t n, const float *squares, const float *x,
                             double *out)
{
    double sums[BLOCKS][TRI_SCATTER_MAX_PRODUCTS];
    scatter_work work;
    TRI_TRY(work_make(kernels, n, &work));
    work.x = x;
    work.y = &squares;
    work.sums = sums;
    tri_team_run(kernels, work.blocks, 1, tri_team_grain(work.block * 8), ratio_blocks, &work);
    double largest = 0;
    for (int64_t b = 0; b < work.blocks; b++)
        if (sums[b][0] > largest) largest = sums[b][0];
    *out = largest;
    return TRI_OK;
}

static void product_blocks(const void *work, int64_t begin, int64_t end)
{
    const scatter_work *w = work;
    for (int64_t b = begin; b < end; b++) {
        int64_t last = tri_min64((b + 1) * w->block, w->n);
        for (int k = 0; k < w->n_y; k++)
            w->sums[b][k] = 0;
        for (int64_t at = b * w->block; at < last; at += PANEL)
            for (int k = 0; k < w->n_y; k++)
                w->sums[b][k] +=
                    w->simd->product(tri_min64(PANEL, last - at), w->x + at, w->y[k] + at);
    }
}

tri_status tri_scatter_products(tri_kernels *kernels, int64_t n, const float *x, int n_y,
                                const float *const *y, double *out)
{
    TRI_CHECK(n_y >= 0 && n_y <= TRI_SCATTER_MAX_PRODUCTS, TRI_EINVAL,
              "%d products in one pass; at most %d", n_y, TRI_SCATTER_MAX_PRODUCTS);
    double sums[BLOCKS][TRI_SCATTER_MAX_PRODUCTS];
    scatter_work work;
    TRI_TRY(work_make(kernels, n, &work));
    work.x = x;
    work.y = y;
    work.n_y = n_y;
    work.sums = sums;
    tri_team_run(kernels, work.blocks, 1, tri_team_grain(work.block * 4 * (n_y + 1)),
                 product_blocks, &work);
    for (int k = 0; k < n_y; k++) {
        out[k] = 0;
        for (int64_t b = 0; b < work.blocks; b++)
            out[k] += sums[b][k];
    }
    return TRI_OK;
}

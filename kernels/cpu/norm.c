// SPDX-License-Identifier: Apache-2.0
/* Layer norm and RMS norm: checks, and rows cut for the team. Gradients of weight and bias are
 * partial sums of up to PARTS blocks of rows, added in the order of the blocks: the same bits on
 * any number of threads.
 */
#include "kernels/norm.h"

#include "kernels/cpu/reduce.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/team.h"
#include "kernels/kernels_impl.h"
#include "runtime/base/int.h"

typedef struct norm_work {
    const tri_simd_norm *simd;
    const tri_norm_args *args;
    const void *branch;
    tri_reduce_grid grid;
} norm_work;

static tri_status check(const char *kernel, const tri_norm_args *args)
{
    TRI_TRY(tri_team_check(kernel, args->dtype, args->rows, args->width, args->width));
    TRI_CHECK(args->mean || !args->bias, TRI_EINVAL,
              "%s: a bias without means; RMS norm (mean NULL) has no bias", kernel);
    return TRI_OK;
}

static void forward(const void *work, int64_t begin, int64_t end)
{
    const norm_work *w = work;
    w->simd->forward(w->args, w->branch, begin, end);
}

static void backward_input(const void *work, int64_t begin, int64_t end)
{
    const norm_work *w = work;
    w->simd->backward_input(w->args, begin, end);
}

static void backward_weight(const void *work, int64_t begin, int64_t end)
{
    const norm_work *w = work;
    for (int64_t cell = begin; cell < end; cell++) {
        tri_simd_panel panel = tri_reduce_panel(&w->grid, cell);
        float *dweight = w->args->workspace + panel.part * 2 * w->args->width;
        w->simd->backward_weight(w->args, &panel, dweight,
                                 w->args->dbias ? dweight + w->args->width : NULL);
    }
}

static tri_status run_forward(tri_kernels *kernels, const tri_norm_args *args, const void *branch)
{
    norm_work work = {.simd = kernels->simd->norm, .args = args, .branch = branch};
    int64_t row_bytes = args->width * (int64_t)tri_dtype_bytes(args->dtype) * 4;
    tri_team_run(kernels, args->rows, 1, tri_team_grain(row_bytes), forward, &work);
    return TRI_OK;
}

tri_status tri_norm_forward(tri_kernels *kernels, const tri_norm_args *args)
{
    TRI_TRY(check("norm forward", args));
    return run_forward(kernels, args, NULL);
}

tri_status tri_norm_forward_residual(tri_kernels *kernels, const tri_norm_args *args,
                                     const void *branch)
{
    TRI_TRY(check("norm forward with residual", args));
    TRI_CHECK(branch, TRI_EINVAL, "norm forward with residual: the branch is NULL");
    return run_forward(kernels, args, branch);
}

tri_status tri_norm_backward_input(tri_kernels *kernels, const tri_norm_args *args)
{
    TRI_TRY(check("norm backward", args));
    norm_work work = {.simd = kernels->simd->norm, .args = args};
    int64_t row_bytes = args->width * (int64_t)tri_dtype_bytes(args->dtype) * 5;
    tri_team_run(kernels, args->rows, 1, tri_team_grain(row_bytes), backward_input, &work);
    return TRI_OK;
}

tri_status tri_norm_backward_weight(tri_kernels *kernels, const tri_norm_args *args)
{
    TRI_TRY(check("norm backward of weights", args));
    TRI_CHECK(args->workspace, TRI_EINVAL,
              "norm backward of weights: no workspace; it needs tri_norm_workspace bytes");
    norm_work work = {.simd = kernels->simd->norm, .args = args};
    work.grid = tri_reduce_grid_make(args->rows, args->width);
    int64_t cell_bytes = tri_reduce_cell_elements(&work.grid) * 4;
    tri_team_run(kernels, work.grid.parts * work.grid.panels, 1, tri_team_grain(cell_bytes),
                 backward_weight, &work);
    for (int64_t part = 0; part < work.grid.parts; part++) {
        const float *sums = args->workspace + part * 2 * args->width;
        kernels->simd->reduce->accumulate(args->width, sums, args->dweight);
        if (args->dbias)
            kernels->simd->reduce->accumulate(args->width, sums + args->width, args->dbias);
    }
    return TRI_OK;
}

size_t tri_norm_workspace(const tri_kernels *kernels, int64_t width)
{
    (void)kernels;
    return (size_t)TRI_REDUCE_PARTS * 2 * (size_t)width * sizeof(float);
}

// SPDX-License-Identifier: Apache-2.0
/* Sums over rows, sums of squares. The order of every sum is a function of the sizes (and of the
 * vector length), never of the number of threads.
 */
#include "kernels/cpu/reduce.h"

#include "kernels/cpu/team.h"
#include "kernels/kernels_impl.h"
#include "runtime/base/int.h"

enum {
    ROWS_OF_A_PART = 32,      /* at least */
    COLUMNS_OF_A_PANEL = 512, /* sums of a panel stay in the first-level cache */
    SQUARES_BLOCKS = 256,     /* at most */
    SQUARES_OF_A_BLOCK = 4096
};

tri_reduce_grid tri_reduce_grid_make(int64_t rows, int64_t width)
{
    return (tri_reduce_grid){
        .rows = rows,
        .width = width,
        .parts = tri_max64(tri_min64(rows / ROWS_OF_A_PART, TRI_REDUCE_PARTS), 1),
        .panels = (width + COLUMNS_OF_A_PANEL - 1) / COLUMNS_OF_A_PANEL,
    };
}

tri_simd_panel tri_reduce_panel(const tri_reduce_grid *grid, int64_t cell)
{
    int64_t part = cell / grid->panels;
    int64_t left = cell % grid->panels * COLUMNS_OF_A_PANEL;
    return (tri_simd_panel){
        .part = part,
        .begin = grid->rows * part / grid->parts,
        .end = grid->rows * (part + 1) / grid->parts,
        .left = left,
        .right = tri_min64(left + COLUMNS_OF_A_PANEL, grid->width),
    };
}

int64_t tri_reduce_cell_elements(const tri_reduce_grid *grid)
{
    return grid->rows / grid->parts * tri_min64(grid->width, COLUMNS_OF_A_PANEL);
}

typedef struct bias_work {
    const tri_simd_reduce *simd;
    tri_reduce_grid grid;
    bool bf16;
    int64_t stride;
    const void *dy;
    float *workspace;
} bias_work;

static void bias_cells(const void *work, int64_t begin, int64_t end)
{
    const bias_work *w = work;
    for (int64_t cell = begin; cell < end; cell++) {
        tri_simd_panel panel = tri_reduce_panel(&w->grid, cell);
        w->simd->sum_rows(w->bf16, w->dy, w->stride, &panel,
                          w->workspace + panel.part * w->grid.width);
    }
}

tri_status tri_bias_backward(tri_kernels *kernels, tri_dtype dtype, int64_t rows, int64_t width,
                             int64_t stride, const void *dy, float *dbias, float *workspace)
{
    TRI_TRY(tri_team_check("bias backward", dtype, rows, width, stride));
    TRI_CHECK(workspace, TRI_EINVAL,
              "bias backward: no workspace; it needs tri_norm_workspace bytes");
    bias_work work = {kernels->simd->reduce,
                      tri_reduce_grid_make(rows, width),
                      dtype == TRI_BF16,
                      stride,
                      dy,
                      workspace};
    int64_t cell_bytes = tri_reduce_cell_elements(&work.grid) * (int64_t)tri_dtype_bytes(dtype);
    tri_team_run(kernels, work.grid.parts * work.grid.panels, 1, tri_team_grain(cell_bytes),
                 bias_cells, &work);
    for (int64_t part = 0; part < work.grid.parts; part++)
        kernels->simd->reduce->accumulate(width, workspace + part * width, dbias);
    return TRI_OK;
}

typedef struct squares_work {
    const tri_simd_reduce *simd;
    int64_t n, block;
    const float *x;
    double *sums;
} squares_work;

static void squares_blocks(const void *work, int64_t begin, int64_t end)
{
    const squares_work *w = work;
    for (int64_t b = begin; b < end; b++) {
        int64_t first = b * w->block;
        w->sums[b] = w->simd->sum_squares(tri_min64(w->block, w->n - first), w->x + first);
    }
}

tri_status tri_sum_squares(tri_kernels *kernels, int64_t n, const float *x, double *out)
{
    TRI_CHECK(n >= 0, TRI_EINVAL, "sum of squares of %lld elements", (long long)n);
    double sums[SQUARES_BLOCKS];
    int64_t block =
        tri_max64(tri_round_up((n + SQUARES_BLOCKS - 1) / SQUARES_BLOCKS, 64), SQUARES_OF_A_BLOCK);
    int64_t blocks = (n + block - 1) / block;
    squares_work work = {kernels->simd->reduce, n, block, x, sums};
    tri_team_run(kernels, blocks, 1, tri_team_grain(block * 4), squares_blocks, &work);
    double sum = 0;
    for (int64_t b = 0; b < blocks; b++)
        sum += sums[b];
    *out = sum;
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* Layer norm and RMS norm (mean NULL). Two passes over a row that is in the first-level cache: the
 * variance is a sum of squared differences, not a difference of sums. Backward, with
 * xhat = (x - mean) rstd and g = dy weight:
 * dx = rstd (g - mean(g) - xhat mean(g xhat)); without mean(g) for RMS norm.
 */
#include "kernels/cpu/simd.h"
#include "kernels/cpu/vector_memory.h"

/* Sum of a row, which first becomes x + branch (as rounded in memory). */
TRI_INLINE float row_sum(char *x, const char *branch, int64_t width, bool bf16)
{
    tri_vf sum = {0};
    for (int64_t i = 0; i < width; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, width);
        tri_vf v = tri_v_load(x, i, lanes, bf16);
        if (branch) {
            v = tri_v_round(v + tri_v_load(branch, i, lanes, bf16), bf16);
            tri_v_store(x, i, lanes, v, bf16);
        }
        sum += v;
    }
    return tri_v_sum(sum);
}

TRI_INLINE float row_squares(const char *x, float mean, int64_t width, bool bf16)
{
    tri_vf sum = {0};
    for (int64_t i = 0; i < width; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, width);
        tri_vf d = tri_v_keep(tri_v_load(x, i, lanes, bf16) - mean, lanes);
        sum += d * d;
    }
    return tri_v_sum(sum);
}

TRI_INLINE void row_write(const tri_norm_args *args, int64_t row, float mean, float rstd, bool bf16)
{
    int64_t at = row * args->width;
    for (int64_t i = 0; i < args->width; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, args->width);
        tri_vf y = (tri_v_load(args->x, at + i, lanes, bf16) - mean) * rstd *
                   tri_v_load(args->weight, i, lanes, bf16);
        if (args->bias) y += tri_v_load(args->bias, i, lanes, bf16);
        tri_v_store(args->y, at + i, lanes, y, bf16);
    }
}

TRI_INLINE void forward_rows(const tri_norm_args *args, const void *branch, int64_t begin,
                             int64_t end, bool bf16)
{
    size_t row_bytes = (size_t)args->width * (bf16 ? 2 : 4);
    for (int64_t row = begin; row < end; row++) {
        size_t at = (size_t)row * row_bytes;
        /* the residual form alone writes x */
        char *x = (char *)(uintptr_t)args->x + at;
        float mean = 0;
        if (branch || args->mean)
            mean = row_sum(x, branch ? (const char *)branch + at : NULL, args->width, bf16) /
                   (float)args->width;
        if (!args->mean) mean = 0;
        float variance = row_squares(x, mean, args->width, bf16) / (float)args->width;
        float rstd = 1.0f / __builtin_sqrtf(variance + args->epsilon);
        row_write(args, row, mean, rstd, bf16);
        if (args->mean) args->mean[row] = mean;
        args->rstd[row] = rstd;
    }
}

static void norm_forward(const tri_norm_args *args, const void *branch, int64_t begin, int64_t end)
{
    if (args->dtype == TRI_BF16)
        forward_rows(args, branch, begin, end, true);
    else
        forward_rows(args, branch, begin, end, false);
}

TRI_INLINE void backward_row(const tri_norm_args *args, int64_t row, bool bf16)
{
    int64_t at = row * args->width;
    float mean = args->mean ? args->mean[row] : 0;
    float rstd = args->rstd[row];
    tri_vf sum = {0};
    tri_vf sum_xhat = {0};
    for (int64_t i = 0; i < args->width; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, args->width);
        tri_vf xhat = (tri_v_load(args->x, at + i, lanes, bf16) - mean) * rstd;
        tri_vf g =
            tri_v_load(args->dy, at + i, lanes, bf16) * tri_v_load(args->weight, i, lanes, bf16);
        sum += g;
        sum_xhat += g * xhat;
    }
    float mean_g = args->mean ? tri_v_sum(sum) / (float)args->width : 0;
    float mean_xhat = tri_v_sum(sum_xhat) / (float)args->width;
    for (int64_t i = 0; i < args->width; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, args->width);
        tri_vf xhat = (tri_v_load(args->x, at + i, lanes, bf16) - mean) * rstd;
        tri_vf g =
            tri_v_load(args->dy, at + i, lanes, bf16) * tri_v_load(args->weight, i, lanes, bf16);
        tri_vf dx = (g - mean_g - xhat * mean_xhat) * rstd;
        if (args->add) dx += tri_v_load(args->add, at + i, lanes, bf16);
        tri_v_store(args->dx, at + i, lanes, dx, bf16);
    }
}

static void norm_backward_input(const tri_norm_args *args, int64_t begin, int64_t end)
{
    if (args->dtype == TRI_BF16)
        for (int64_t row = begin; row < end; row++)
            backward_row(args, row, true);
    else
        for (int64_t row = begin; row < end; row++)
            backward_row(args, row, false);
}

TRI_INLINE void backward_panel(const tri_norm_args *args, const tri_simd_panel *panel,
                               float *dweight, float *dbias, bool bf16)
{
    int64_t n = panel->right - panel->left;
    memset(dweight + panel->left, 0, (size_t)n * sizeof *dweight);
    if (dbias) memset(dbias + panel->left, 0, (size_t)n * sizeof *dbias);
    for (int64_t row = panel->begin; row < panel->end; row++) {
        float mean = args->mean ? args->mean[row] : 0;
        float rstd = args->rstd[row];
        for (int64_t i = panel->left; i < panel->right; i += TRI_V) {
            int64_t lanes = tri_v_lanes(i, panel->right);
            int64_t at = row * args->width + i;
            tri_vf dy = tri_v_load(args->dy, at, lanes, bf16);
            tri_vf xhat = (tri_v_load(args->x, at, lanes, bf16) - mean) * rstd;
            tri_v_store_f32(dweight + i, lanes, tri_v_load_f32(dweight + i, lanes) + dy * xhat);
            if (dbias) tri_v_store_f32(dbias + i, lanes, tri_v_load_f32(dbias + i, lanes) + dy);
        }
    }
}

static void norm_backward_weight(const tri_norm_args *args, const tri_simd_panel *panel,
                                 float *dweight, float *dbias)
{
    if (args->dtype == TRI_BF16)
        backward_panel(args, panel, dweight, dbias, true);
    else
        backward_panel(args, panel, dweight, dbias, false);
}

const tri_simd_norm TRI_ISA_NAME(tri_simd_norm) = {
    .forward = norm_forward,
    .backward_input = norm_backward_input,
    .backward_weight = norm_backward_weight,
};

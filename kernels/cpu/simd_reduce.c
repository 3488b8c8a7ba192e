// SPDX-License-Identifier: Apache-2.0
/* Sums over rows and sums of squares. */
#include "kernels/cpu/simd.h"
#include "kernels/cpu/vector_memory.h"

TRI_INLINE void sum_panel(const void *x, int64_t stride, const tri_simd_panel *panel, float *out,
                          bool bf16)
{
    memset(out + panel->left, 0, (size_t)(panel->right - panel->left) * sizeof *out);
    for (int64_t row = panel->begin; row < panel->end; row++) {
        for (int64_t i = panel->left; i < panel->right; i += TRI_V) {
            int64_t lanes = tri_v_lanes(i, panel->right);
            tri_vf v = tri_v_load(x, row * stride + i, lanes, bf16);
            tri_v_store_f32(out + i, lanes, tri_v_load_f32(out + i, lanes) + v);
        }
    }
}

static void sum_rows(bool bf16, const void *x, int64_t stride, const tri_simd_panel *panel,
                     float *out)
{
    if (bf16)
        sum_panel(x, stride, panel, out, true);
    else
        sum_panel(x, stride, panel, out, false);
}

static double sum_squares(int64_t n, const float *x)
{
    tri_vd even = {0};
    tri_vd odd = {0};
    for (int64_t i = 0; i < n; i += TRI_V) {
        tri_vf v = tri_v_load_f32(x + i, tri_v_lanes(i, n));
        tri_vd wide[2];
        tri_v_widen_f64(v, wide);
        even += wide[0] * wide[0];
        odd += wide[1] * wide[1];
    }
    even += odd;
    double sum = 0;
    for (int l = 0; l < TRI_V / 2; l++)
        sum += even[l];
    return sum;
}

static void accumulate(int64_t n, const float *x, float *out)
{
    for (int64_t i = 0; i < n; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, n);
        tri_v_store_f32(out + i, lanes,
                        tri_v_load_f32(out + i, lanes) + tri_v_load_f32(x + i, lanes));
    }
}

const tri_simd_reduce TRI_ISA_NAME(tri_simd_reduce) = {
    .sum_rows = sum_rows,
    .sum_squares = sum_squares,
    .accumulate = accumulate,
};

// SPDX-License-Identifier: Apache-2.0
/* Sums of squares by rows and columns, and steps scaled by row and column. */
#include "kernels/cpu/simd.h"
#include "kernels/cpu/vector_memory.h"

/* Squares of a vector, widened: even and odd halves. */
TRI_INLINE void widen_squares(tri_vf x, tri_vd out[2])
{
    tri_vf_half half[2];
    memcpy(half, &x, sizeof x);
    for (int h = 0; h < 2; h++) {
        tri_vd wide = __builtin_convertvector(half[h], tri_vd);
        out[h] = wide * wide;
    }
}

TRI_INLINE double add_lanes(tri_vd a)
{
    double sum = 0;
    for (int l = 0; l < TRI_V / 2; l++)
        sum += a[l];
    return sum;
}

/* columns[i ..] += squares */
TRI_INLINE void add_columns(double *columns, int64_t lanes, const tri_vd squares[2])
{
    if (lanes == TRI_V) {
        tri_vd old[2];
        memcpy(old, columns, sizeof old);
        old[0] += squares[0];
        old[1] += squares[1];
        memcpy(columns, old, sizeof old);
        return;
    }
    for (int64_t l = 0; l < lanes; l++)
        columns[l] += squares[l / (TRI_V / 2)][l % (TRI_V / 2)];
}

static void squares(const tri_factor_args *args, int64_t begin, int64_t end, double *row_sums,
                    double *column_sums)
{
    const tri_factor_args a = *args;
    for (int64_t row = begin; row < end; row++) {
        const float *g = a.range.gradient + row * a.columns;
        tri_vd sum = {0};
        for (int64_t i = 0; i < a.columns; i += TRI_V) {
            int64_t lanes = tri_v_lanes(i, a.columns);
            tri_vd part[2];
            widen_squares(tri_v_load_f32(g + i, lanes) * a.range.gradient_scale, part);
            sum += part[0] + part[1];
            if (column_sums) add_columns(column_sums + i, lanes, part);
        }
        if (row_sums) row_sums[row] += add_lanes(sum);
    }
}

/* What a vector of a row is stepped by. */
TRI_INLINE tri_vf step_of(const tri_factor_args *a, const float *g, int64_t i, int64_t lanes,
                          float row_factor)
{
    tri_vf u = tri_v_load_f32(g + i, lanes) * a->range.gradient_scale * row_factor;
    return a->column_factor ? u * tri_v_load_f32(a->column_factor + i, lanes) : u;
}

static double measure(const tri_factor_args *args, int64_t begin, int64_t end)
{
    const tri_factor_args a = *args;
    double sum = 0;
    for (int64_t row = begin; row < end; row++) {
        float factor = a.row_factor ? a.row_factor[row] : 1.0f;
        tri_vd line = {0};
        for (int64_t i = 0; i < a.columns; i += TRI_V) {
            tri_vd part[2];
            widen_squares(step_of(&a, a.range.gradient + row * a.columns, i,
                                  tri_v_lanes(i, a.columns), factor),
                          part);
            line += part[0] + part[1];
        }
        sum += add_lanes(line);
    }
    return sum;
}

static void step(const tri_factor_args *args, int64_t begin, int64_t end)
{
    const tri_factor_args a = *args;
    float keep = 1.0f - a.decay;
    for (int64_t row = begin; row < end; row++) {
        float factor = a.row_factor ? a.row_factor[row] : 1.0f;
        int64_t at = row * a.columns;
        for (int64_t i = 0; i < a.columns; i += TRI_V) {
            int64_t lanes = tri_v_lanes(i, a.columns);
            tri_vf u = step_of(&a, a.range.gradient + at, i, lanes, factor);
            tri_vf w = tri_v_load_f32(a.range.weight + at + i, lanes) * keep - u * a.rate;
            tri_v_store_f32(a.range.weight + at + i, lanes, w);
            if (a.range.copy)
                tri_v_store_bits((tri_bf16 *)a.range.copy + at + i, lanes, tri_v_narrow(w));
        }
    }
}

const tri_simd_factor TRI_ISA_NAME(tri_simd_factor) = {
    .squares = squares,
    .measure = measure,
    .step = step,
};

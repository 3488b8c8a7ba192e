// SPDX-License-Identifier: Apache-2.0
/* Sums of squares by rows and columns, and steps scaled by row and column. */
#include "kernels/cpu/simd.h"
#include "kernels/cpu/vector_memory.h"

/* Squares of a vector: the first half, the second. */
TRI_INLINE void widen_squares(tri_vf x, tri_vd out[2])
{
    tri_v_widen_f64(x, out);
    out[0] *= out[0];
    out[1] *= out[1];
}

TRI_INLINE double add_lanes(tri_vd a)
{
    double sum = 0;
    for (int l = 0; l < TRI_V / 2; l++)
        sum += a[l];
    return sum;
}

/* Sums of some columns, of the first half of a vector and of the second. */
typedef struct column_pair {
    tri_vd first, second;
} column_pair;

TRI_INLINE column_pair load_columns(const double *columns, int64_t lanes)
{
    column_pair out = {{0}, {0}};
    if (lanes == TRI_V) {
        memcpy(&out.first, columns, sizeof out.first);
        memcpy(&out.second, columns + TRI_V / 2, sizeof out.second);
        return out;
    }
    for (int64_t l = 0; l < lanes; l++) {
        if (l < TRI_V / 2)
            out.first[l] = columns[l];
        else
            out.second[l - TRI_V / 2] = columns[l];
    }
    return out;
}

TRI_INLINE void store_columns(double *columns, int64_t lanes, column_pair sums)
{
    if (lanes == TRI_V) {
        memcpy(columns, &sums.first, sizeof sums.first);
        memcpy(columns + TRI_V / 2, &sums.second, sizeof sums.second);
        return;
    }
    for (int64_t l = 0; l < lanes; l++)
        columns[l] = l < TRI_V / 2 ? sums.first[l] : sums.second[l - TRI_V / 2];
}

/* Add a vector's squares to columns, and to what it returns. */
TRI_INLINE tri_vd add_line(tri_vd line, const float *g, int64_t lanes, float scale,
                           column_pair *columns)
{
    tri_vd part[2];
    widen_squares(tri_v_load_f32(g, lanes) * scale, part);
    columns->first += part[0];
    columns->second += part[1];
    return line + (part[0] + part[1]);
}

/* A vector of one row. Returns: the row's sums so far. */
TRI_INLINE tri_vd add_vector(tri_vd line, const float *g, int64_t lanes, float scale,
                             double *columns)
{
    column_pair sums = {{0}, {0}};
    if (columns) sums = load_columns(columns, lanes);
    line = add_line(line, g, lanes, scale, &sums);
    if (columns) store_columns(columns, lanes, sums);
    return line;
}

/* Row after row: taking several together would spare loads and stores of columns, but the processor's
 * prefetching then loses more. Squares of fp32 are exact in fp64, so that sums are the same in both loops
 * over a row. */
static void squares(const tri_factor_args *args, int64_t begin, int64_t end, double *row_sums,
                    double *column_sums)
{
    const tri_factor_args a = *args;
    const float scale = a.range.gradient_scale;
    for (int64_t row = begin; row < end; row++) {
        const float *g = a.range.gradient + row * a.columns;
        tri_vd line = {0};
        int64_t i = 0;
        for (; i + TRI_V <= a.columns; i += TRI_V)
            line = add_vector(line, g + i, TRI_V, scale, column_sums ? column_sums + i : NULL);
        if (i < a.columns)
            line =
                add_vector(line, g + i, a.columns - i, scale, column_sums ? column_sums + i : NULL);
        if (row_sums) row_sums[row] += add_lanes(line);
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
    const bool far = a.range.far || a.range.n >= TRI_UPDATE_FAR_ELEMENTS;
    float keep = 1.0f - a.decay;
    for (int64_t row = begin; row < end; row++) {
        float factor = a.row_factor ? a.row_factor[row] : 1.0f;
        int64_t at = row * a.columns;
        tri_bf16 *copy = a.range.copy ? (tri_bf16 *)a.range.copy + at : NULL;
        bool stream = far && (uintptr_t)copy % sizeof(tri_vh) == 0;
        for (int64_t i = 0; i < a.columns; i += TRI_V) {
            int64_t lanes = tri_v_lanes(i, a.columns);
            tri_vf u = step_of(&a, a.range.gradient + at, i, lanes, factor);
            tri_vf w = tri_v_load_f32(a.range.weight + at + i, lanes) * keep - u * a.rate;
            tri_v_store_f32(a.range.weight + at + i, lanes, w);
            if (copy && stream && lanes == TRI_V)
                tri_v_stream_bits(copy + i, tri_v_narrow(w));
            else if (copy)
                tri_v_store_bits(copy + i, lanes, tri_v_narrow(w));
        }
    }
    if (far) tri_v_fence();
}

const tri_simd_factor TRI_ISA_NAME(tri_simd_factor) = {
    .squares = squares,
    .measure = measure,
    .step = step,
};

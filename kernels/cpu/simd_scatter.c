// SPDX-License-Identifier: Apache-2.0
/* Scatter of groups: sums of squared differences, largest ratio, products; all in fp64. */
#include "kernels/cpu/simd.h"
#include "kernels/cpu/vector_memory.h"

/* A vector in fp64: its halves. */
typedef struct wide {
    tri_vd half[2];
} wide;

TRI_INLINE wide widen(tri_vf x)
{
    tri_vf_half half[2];
    memcpy(half, &x, sizeof x);
    return (wide){
        {__builtin_convertvector(half[0], tri_vd), __builtin_convertvector(half[1], tri_vd)}
    };
}

TRI_INLINE tri_vf narrow(wide x)
{
    tri_vf_half half[2] = {__builtin_convertvector(x.half[0], tri_vf_half),
                           __builtin_convertvector(x.half[1], tri_vf_half)};
    tri_vf out;
    memcpy(&out, half, sizeof out);
    return out;
}

TRI_INLINE double add_lanes(tri_vd a)
{
    double sum = 0;
    for (int l = 0; l < TRI_V / 2; l++)
        sum += a[l];
    return sum;
}

/* squares[i ..] += scale * (part of them, widened) */
TRI_INLINE void add_squares(float *squares, int64_t lanes, double scale, const wide *part)
{
    wide old = widen(tri_v_load_f32(squares, lanes));
    for (int h = 0; h < 2; h++)
        old.half[h] += part->half[h] * scale;
    tri_v_store_f32(squares, lanes, narrow(old));
}

static double add(const tri_scatter_args *args, int64_t begin, int64_t end)
{
    const tri_scatter_args a = *args;
    wide sum = {0};
    for (int64_t i = begin; i < end; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, end);
        tri_vf x = tri_v_load_f32(a.now + i, lanes);
        wide now = widen(x);
        wide before = widen(tri_v_load_f32(a.before + i, lanes));
        wide square;
        for (int h = 0; h < 2; h++) {
            tri_vd difference = now.half[h] - before.half[h] * a.factor;
            square.half[h] = difference * difference;
            sum.half[h] += square.half[h];
        }
        if (a.keep) tri_v_store_f32(a.keep + i, lanes, x);
        if (a.squares) add_squares(a.squares + i, lanes, a.scale, &square);
    }
    return add_lanes(sum.half[0] + sum.half[1]);
}

static double ratio(int64_t n, const float *squares, const float *x)
{
    tri_vd largest = {0};
    for (int64_t i = 0; i < n; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, n);
        wide above = widen(tri_v_load_f32(squares + i, lanes));
        wide below = widen(tri_v_load_f32(x + i, lanes));
        for (int h = 0; h < 2; h++) {
            /* 0 / 0 is no number, and never larger */
            tri_vd r = above.half[h] / (below.half[h] * below.half[h]);
            tri_vq mask = (tri_vq)(r > largest);
            largest = (tri_vd)((mask & (tri_vq)r) | (~mask & (tri_vq)largest));
        }
    }
    double out = 0;
    for (int l = 0; l < TRI_V / 2; l++)
        if (largest[l] > out) out = largest[l];
    return out;
}

static double product(int64_t n, const float *x, const float *y)
{
    wide sum = {0};
    for (int64_t i = 0; i < n; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, n);
        wide a = widen(tri_v_load_f32(x + i, lanes));
        wide b = widen(tri_v_load_f32(y + i, lanes));
        for (int h = 0; h < 2; h++)
            sum.half[h] += a.half[h] * b.half[h];
    }
    return add_lanes(sum.half[0] + sum.half[1]);
}

const tri_simd_scatter TRI_ISA_NAME(tri_simd_scatter) = {
    .add = add,
    .ratio = ratio,
    .product = product,
};

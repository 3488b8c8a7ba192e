// SPDX-License-Identifier: Apache-2.0
/* AdamW and SGD: one pass over weight, gradient and moments; the compute copy is written on the way,
 * in large ranges around the caches (nobody reads it before the range is through). Weights and
 * moments are read before they are written: there, ordinary stores cost no extra read.
 */
#include "kernels/cpu/simd.h"
#include "kernels/cpu/vector_memory.h"

/* Elements before and after which copy + begin .. end can be streamed in whole vectors. */
typedef struct stream_part {
    int64_t begin, end;
} stream_part;

TRI_INLINE stream_part stream_part_of(const void *copy, bool stream, int64_t begin, int64_t end)
{
    if (!copy || !stream) return (stream_part){end, end};
    int64_t bytes = (int64_t)(((uintptr_t)copy + (uintptr_t)begin * 2) & 63u);
    int64_t head = bytes % 2 ? end : begin + (64 - bytes) % 64 / 2;
    if (head >= end) return (stream_part){end, end};
    return (stream_part){head, head + (end - head) / TRI_V * TRI_V};
}

TRI_INLINE void write_weight(const tri_update_range *range, int64_t i, int64_t lanes, tri_vf w,
                             bool stream)
{
    tri_v_store_f32(range->weight + i, lanes, w);
    if (!range->copy) return;
    tri_bf16 *copy = (tri_bf16 *)range->copy + i;
    if (stream)
        tri_v_stream_bits(copy, tri_v_narrow(w));
    else
        tri_v_store_bits(copy, lanes, tri_v_narrow(w));
}

TRI_INLINE void adamw_part(const tri_adamw_args *args, const tri_simd_adamw *scalars, bool stream,
                           int64_t begin, int64_t end)
{
    /* copies: a store of ours could be to args or scalars, for all the compiler knows */
    const tri_update_range range = args->range;
    const tri_simd_adamw s = *scalars;
    float *m_at = args->m;
    float *v_at = args->v;
    for (int64_t i = begin; i < end; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, end);
        tri_vf g = tri_v_load_f32(range.gradient + i, lanes) * range.gradient_scale;
        tri_vf m = tri_v_load_f32(m_at + i, lanes) * s.beta1 + g * s.one_minus_beta1;
        tri_vf v = tri_v_load_f32(v_at + i, lanes) * s.beta2 + g * g * s.one_minus_beta2;
        tri_vf w = tri_v_load_f32(range.weight + i, lanes) * s.decay;
        w -= s.step_size * (m / (tri_v_sqrt(v) * s.root_correction + s.epsilon));
        tri_v_store_f32(m_at + i, lanes, m);
        tri_v_store_f32(v_at + i, lanes, v);
        write_weight(&range, i, lanes, w, stream);
    }
}

static void adamw(const tri_adamw_args *args, const tri_simd_adamw *scalars, bool stream,
                  int64_t begin, int64_t end)
{
    stream_part part = stream_part_of(args->range.copy, stream, begin, end);
    adamw_part(args, scalars, false, begin, part.begin);
    adamw_part(args, scalars, true, part.begin, part.end);
    adamw_part(args, scalars, false, part.end, end);
    if (stream) tri_v_fence();
}

TRI_INLINE void sgd_part(const tri_sgd_args *args, bool stream, int64_t begin, int64_t end)
{
    const tri_sgd_args a = *args;
    for (int64_t i = begin; i < end; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, end);
        tri_vf w = tri_v_load_f32(a.range.weight + i, lanes);
        tri_vf g = tri_v_load_f32(a.range.gradient + i, lanes) * a.range.gradient_scale +
                   w * a.weight_decay;
        if (a.momentum_buffer) {
            tri_vf b = g;
            if (!a.first) b += tri_v_load_f32(a.momentum_buffer + i, lanes) * a.momentum;
            tri_v_store_f32(a.momentum_buffer + i, lanes, b);
            g = a.nesterov ? g + b * a.momentum : b;
        }
        write_weight(&a.range, i, lanes, w - g * a.lr, stream);
    }
}

static void sgd(const tri_sgd_args *args, bool stream, int64_t begin, int64_t end)
{
    stream_part part = stream_part_of(args->range.copy, stream, begin, end);
    sgd_part(args, false, begin, part.begin);
    sgd_part(args, true, part.begin, part.end);
    sgd_part(args, false, part.end, end);
    if (stream) tri_v_fence();
}

/* x ^= bits, which are 0 for all that the compiler does not know. */
TRI_INLINE void flip_at(float *x, int64_t i, int64_t lanes, tri_vu bits, bool stream)
{
    tri_vf flipped = (tri_vf)((tri_vu)tri_v_load_f32(x + i, lanes) ^ bits);
    if (stream)
        tri_v_stream_f32(x + i, flipped);
    else
        tri_v_store_f32(x + i, lanes, flipped);
}

/* All streams side by side. */
TRI_INLINE void traffic_part(const tri_update_traffic_args *args, bool stream, bool stream_copy,
                             int64_t begin, int64_t end)
{
    const tri_update_traffic_args a = *args;
    for (int64_t i = begin; i < end; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, end);
        tri_vf g = tri_v_load_f32(a.range.gradient + i, lanes);
        tri_vu bits = (tri_vu)g & a.flip;
        if (a.m) flip_at(a.m, i, lanes, bits, stream);
        if (a.v) flip_at(a.v, i, lanes, bits, stream);
        flip_at(a.range.weight, i, lanes, bits, stream);
        if (!a.range.copy) continue;
        tri_bf16 *copy = (tri_bf16 *)a.range.copy + i;
        if (stream_copy)
            tri_v_stream_bits(copy, __builtin_convertvector((tri_vu)g >> 16, tri_vh));
        else
            tri_v_store_bits(copy, lanes, __builtin_convertvector((tri_vu)g >> 16, tri_vh));
    }
}

enum { BLOCK = 1024 };

/* One stream after another, block by block. */
static void traffic_blocks(const tri_update_traffic_args *a, int64_t begin, int64_t end)
{
    float *streams[] = {a->m, a->v, a->range.weight};
    const float *gradient = a->range.gradient;
    for (int64_t b = begin; b < end; b += BLOCK) {
        int64_t stop = end - b < BLOCK ? end : b + BLOCK;
        for (int s = 0; s < 3; s++) {
            for (int64_t i = b; streams[s] && i < stop; i += TRI_V) {
                int64_t lanes = tri_v_lanes(i, stop);
                tri_vu bits = (tri_vu)tri_v_load_f32(gradient + i, lanes) & a->flip;
                flip_at(streams[s], i, lanes, bits, false);
            }
        }
        for (int64_t i = b; a->range.copy && i < stop; i += TRI_V) {
            int64_t lanes = tri_v_lanes(i, stop);
            tri_vu g = (tri_vu)tri_v_load_f32(gradient + i, lanes);
            tri_bf16 *copy = (tri_bf16 *)a->range.copy + i;
            tri_v_store_bits(copy, lanes, __builtin_convertvector(g >> 16, tri_vh));
        }
    }
}

/* Is everything that is streamed aligned, and the range whole vectors? */
static bool is_aligned(const tri_update_traffic_args *a, int64_t begin, int64_t end)
{
    uintptr_t all = (uintptr_t)a->m | (uintptr_t)a->v | (uintptr_t)a->range.weight |
                    (uintptr_t)a->range.copy | (uintptr_t)(begin * 2) | (uintptr_t)(end * 2);
    return all % 64 == 0;
}

static void traffic(const tri_update_traffic_args *args, int64_t begin, int64_t end)
{
    bool aligned = is_aligned(args, begin, end);
    if (args->way == TRI_TRAFFIC_BLOCKS)
        traffic_blocks(args, begin, end);
    else if (args->way == TRI_TRAFFIC_STREAM && aligned)
        traffic_part(args, true, true, begin, end);
    else if (args->way == TRI_TRAFFIC_COPY && aligned)
        traffic_part(args, false, true, begin, end);
    else
        traffic_part(args, false, false, begin, end);
    tri_v_fence();
}

const tri_simd_update TRI_ISA_NAME(tri_simd_update) = {
    .adamw = adamw,
    .sgd = sgd,
    .traffic = traffic,
};

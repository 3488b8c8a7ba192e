// SPDX-License-Identifier: Apache-2.0
/* AdamW and SGD: one pass over weight, gradient and moments; the compute copy is written on the
 * way.
 */
#include "kernels/cpu/simd.h"
#include "kernels/cpu/vector_memory.h"

TRI_INLINE void write_weight(const tri_update_range *range, int64_t i, int64_t lanes, tri_vf w)
{
    tri_v_store_f32(range->weight + i, lanes, w);
    if (range->copy) tri_v_store_bits((tri_bf16 *)range->copy + i, lanes, tri_v_narrow(w));
}

static void adamw(const tri_adamw_args *args, const tri_simd_adamw *s, int64_t begin, int64_t end)
{
    const tri_update_range *range = &args->range;
    for (int64_t i = begin; i < end; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, end);
        tri_vf g = tri_v_load_f32(range->gradient + i, lanes) * range->gradient_scale;
        tri_vf m = tri_v_load_f32(args->m + i, lanes) * s->beta1 + g * s->one_minus_beta1;
        tri_vf v = tri_v_load_f32(args->v + i, lanes) * s->beta2 + g * g * s->one_minus_beta2;
        tri_vf w = tri_v_load_f32(range->weight + i, lanes) * s->decay;
        w -= s->step_size * (m / (tri_v_sqrt(v) * s->root_correction + s->epsilon));
        tri_v_store_f32(args->m + i, lanes, m);
        tri_v_store_f32(args->v + i, lanes, v);
        write_weight(range, i, lanes, w);
    }
}

static void sgd(const tri_sgd_args *args, bool stream, int64_t begin, int64_t end)
{
    (void)stream;
    const tri_update_range *range = &args->range;
    for (int64_t i = begin; i < end; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, end);
        tri_vf w = tri_v_load_f32(range->weight + i, lanes);
        tri_vf g = tri_v_load_f32(range->gradient + i, lanes) * range->gradient_scale +
                   w * args->weight_decay;
        if (args->momentum_buffer) {
            tri_vf b = g;
            if (!args->first)
                b += tri_v_load_f32(args->momentum_buffer + i, lanes) * args->momentum;
            tri_v_store_f32(args->momentum_buffer + i, lanes, b);
            g = args->nesterov ? g + b * args->momentum : b;
        }
        write_weight(range, i, lanes, w - g * args->lr);
    }
}

const tri_simd_update TRI_ISA_NAME(tri_simd_update) = {
    .adamw = adamw,
    .sgd = sgd,
};

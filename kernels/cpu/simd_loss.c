// SPDX-License-Identifier: Apache-2.0
/* Softmax cross-entropy of a chunk of the vocabulary. Statistics go through the row in blocks that
 * stay in the first-level cache: maximum of the block, then the sum of exponentials, merged into the
 * row's running pair (online softmax, arXiv:1805.02867).
 */
#include "kernels/cpu/simd.h"
#include "kernels/cpu/vector_math.h"
#include "kernels/cpu/vector_memory.h"

enum { BLOCK = 2048 };

TRI_INLINE float block_maximum(const void *logits, int64_t at, int64_t n, bool bf16)
{
    tri_vf largest = tri_v_set(-__builtin_inff());
    for (int64_t i = 0; i < n; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, n);
        tri_vf v = tri_v_load(logits, at + i, lanes, bf16);
        if (lanes < TRI_V)
            v = tri_v_select(tri_v_index() < (int32_t)lanes, v, tri_v_set(-__builtin_inff()));
        largest = tri_v_max(largest, v);
    }
    return tri_v_maximum(largest);
}

TRI_INLINE float multiplier_of(const tri_cross_entropy_args *args)
{
    return args->multiplier != 0 ? args->multiplier : 1.0f;
}

/* Sum of exp(multiplier * logit - maximum). */
TRI_INLINE float block_sum(const tri_cross_entropy_args *args, int64_t at, int64_t n, float maximum,
                           bool bf16)
{
    float multiplier = multiplier_of(args);
    tri_vf sum = {0};
    for (int64_t i = 0; i < n; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, n);
        tri_vf v = tri_v_load(args->logits, at + i, lanes, bf16);
        tri_vf e = tri_v_exp(v * multiplier - maximum);
        sum += tri_v_keep(e, lanes);
    }
    return tri_v_sum(sum);
}

TRI_INLINE float exp_one(float x)
{
    return tri_v_exp(tri_v_set(x))[0];
}

TRI_INLINE float load_one(const void *p, int64_t i, bool bf16)
{
    return bf16 ? tri_bf16_to_f32(((const tri_bf16 *)p)[i]) : ((const float *)p)[i];
}

TRI_INLINE void stats_row(const tri_cross_entropy_args *args, int64_t row, bool bf16)
{
    int64_t at = row * args->stride;
    float multiplier = multiplier_of(args);
    float maximum = args->maximum[row];
    float sum = args->sum[row];
    for (int64_t i = 0; i < args->width; i += BLOCK) {
        int64_t n = args->width - i < BLOCK ? args->width - i : BLOCK;
        float largest = multiplier * block_maximum(args->logits, at + i, n, bf16);
        if (largest > maximum) {
            sum *= exp_one(maximum - largest);
            maximum = largest;
        }
        /* nothing but -inf (or NaN) so far: inf - inf is no number */
        float offset = maximum == -__builtin_inff() ? 0 : maximum;
        sum += block_sum(args, at + i, n, offset, bf16);
    }
    args->maximum[row] = maximum;
    args->sum[row] = sum;
    int64_t target = args->target[row] - args->first;
    if (args->target[row] >= 0 && target >= 0 && target < args->width)
        args->picked[row] = multiplier * load_one(args->logits, at + target, bf16);
}

static void loss_stats(const tri_cross_entropy_args *args, int64_t begin, int64_t end)
{
    if (args->dtype == TRI_BF16)
        for (int64_t row = begin; row < end; row++)
            stats_row(args, row, true);
    else
        for (int64_t row = begin; row < end; row++)
            stats_row(args, row, false);
}

TRI_INLINE void gradient_row(const tri_cross_entropy_args *args, int64_t row, bool bf16)
{
    int64_t at = row * args->stride;
    float maximum = args->maximum[row];
    float multiplier = multiplier_of(args);
    float scale = multiplier * args->scale;
    float factor = scale / args->sum[row];
    int64_t target = args->target[row] - args->first;
    float own = 0;
    bool here = target >= 0 && target < args->width;
    if (here) {
        float logit = multiplier * load_one(args->logits, at + target, bf16);
        own = (exp_one(logit - maximum) / args->sum[row] - 1.0f) * scale;
    }
    for (int64_t i = 0; i < args->width; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, args->width);
        tri_vf v = tri_v_load(args->logits, at + i, lanes, bf16);
        tri_vf e = tri_v_exp(v * multiplier - maximum);
        tri_v_store(args->logits, at + i, lanes, e * factor, bf16);
    }
    if (here) tri_v_store(args->logits, at + target, 1, tri_v_set(own), bf16);
}

TRI_INLINE void gradient_rows(const tri_cross_entropy_args *args, int64_t begin, int64_t end,
                              bool bf16)
{
    size_t element_bytes = bf16 ? 2 : 4;
    for (int64_t row = begin; row < end; row++) {
        if (args->target[row] >= 0)
            gradient_row(args, row, bf16);
        else
            memset((char *)args->logits + (size_t)(row * args->stride) * element_bytes, 0,
                   (size_t)args->width * element_bytes);
    }
}

static void loss_gradient(const tri_cross_entropy_args *args, int64_t begin, int64_t end)
{
    if (args->dtype == TRI_BF16)
        gradient_rows(args, begin, end, true);
    else
        gradient_rows(args, begin, end, false);
}

const tri_simd_loss TRI_ISA_NAME(tri_simd_loss) = {
    .stats = loss_stats,
    .gradient = loss_gradient,
};

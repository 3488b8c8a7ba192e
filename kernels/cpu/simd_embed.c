// SPDX-License-Identifier: Apache-2.0
/* Token and position embedding. Backward goes over the tokens in order for its columns: the same
 * sums wherever columns are cut.
 */
#include "kernels/cpu/simd.h"
#include "kernels/cpu/vector_memory.h"

TRI_INLINE void forward_tokens(const tri_embed_args *args, int64_t begin, int64_t end, bool bf16)
{
    int64_t width = args->width;
    for (int64_t j = begin; j < end; j++) {
        int64_t from = args->id[j] * width;
        int64_t place = (args->first_position + j % args->period) * width;
        for (int64_t i = 0; i < width; i += TRI_V) {
            int64_t lanes = tri_v_lanes(i, width);
            tri_vf v = tri_v_load(args->table, from + i, lanes, bf16);
            if (args->position) v += tri_v_load(args->position, place + i, lanes, bf16);
            tri_v_store(args->y, j * width + i, lanes, v, bf16);
        }
    }
}

static void embed_forward(const tri_embed_args *args, int64_t begin, int64_t end)
{
    if (args->dtype == TRI_BF16)
        forward_tokens(args, begin, end, true);
    else
        forward_tokens(args, begin, end, false);
}

TRI_INLINE void backward_columns(const tri_embed_args *args, int64_t left, int64_t right, bool bf16)
{
    int64_t width = args->width;
    for (int64_t j = 0; j < args->tokens; j++) {
        float *row = args->dtable + args->id[j] * width;
        float *place = args->dposition;
        if (place) place += (args->first_position + j % args->period) * width;
        for (int64_t i = left; i < right; i += TRI_V) {
            int64_t lanes = tri_v_lanes(i, right);
            tri_vf dy = tri_v_load(args->dy, j * width + i, lanes, bf16);
            tri_v_store_f32(row + i, lanes, tri_v_load_f32(row + i, lanes) + dy);
            if (place) tri_v_store_f32(place + i, lanes, tri_v_load_f32(place + i, lanes) + dy);
        }
    }
}

static void embed_backward(const tri_embed_args *args, int64_t left, int64_t right)
{
    if (args->dtype == TRI_BF16)
        backward_columns(args, left, right, true);
    else
        backward_columns(args, left, right, false);
}

const tri_simd_embed TRI_ISA_NAME(tri_simd_embed) = {
    .forward = embed_forward,
    .backward = embed_backward,
};

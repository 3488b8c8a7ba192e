// SPDX-License-Identifier: Apache-2.0
/* Token and position embedding. Backward goes over the tokens in order for its columns: the same
 * sums wherever columns are cut.
 */
#include "kernels/cpu/simd.h"
#include "kernels/cpu/vector_memory.h"

TRI_INLINE float scale_of(const tri_embed_args *args)
{
    return args->scale != 0 ? args->scale : 1.0f;
}

/* Row of token j's id in the table; negative: not there. */
TRI_INLINE int64_t table_row(const tri_embed_args *args, int64_t j)
{
    int64_t row = args->id[j] - args->first;
    return row < args->vocab ? row : -1;
}

TRI_INLINE int64_t position_row(const tri_embed_args *args, int64_t j)
{
    return args->place ? args->place[j] : args->first_position + j % args->period;
}

TRI_INLINE void forward_tokens(const tri_embed_args *args, int64_t begin, int64_t end, bool bf16)
{
    int64_t width = args->width;
    float scale = scale_of(args);
    for (int64_t j = begin; j < end; j++) {
        int64_t row = table_row(args, j);
        int64_t place = args->position ? position_row(args, j) * width : 0;
        for (int64_t i = 0; i < width; i += TRI_V) {
            int64_t lanes = tri_v_lanes(i, width);
            tri_vf v = {0};
            if (row >= 0) v = tri_v_load(args->table, row * width + i, lanes, bf16);
            if (args->position) v += tri_v_load(args->position, place + i, lanes, bf16);
            tri_v_store(args->y, j * width + i, lanes, v * scale, bf16);
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

/* sums[left .. right) += scale * token j's dy */
TRI_INLINE void add_token(const tri_embed_args *args, int64_t j, int64_t left, int64_t right,
                          float *sums, bool bf16)
{
    float scale = scale_of(args);
    for (int64_t i = left; i < right; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, right);
        tri_vf dy = tri_v_load(args->dy, j * args->width + i, lanes, bf16);
        tri_v_store_f32(sums + i, lanes, tri_v_load_f32(sums + i, lanes) + dy * scale);
    }
}

TRI_INLINE void backward_columns(const tri_embed_args *args, int64_t left, int64_t right, bool bf16)
{
    for (int64_t j = 0; j < args->tokens; j++) {
        int64_t row = args->dtable ? table_row(args, j) : -1;
        if (row >= 0) add_token(args, j, left, right, args->dtable + row * args->width, bf16);
        if (!args->dposition) continue;
        add_token(args, j, left, right, args->dposition + position_row(args, j) * args->width,
                  bf16);
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

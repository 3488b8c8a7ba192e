// SPDX-License-Identifier: Apache-2.0
/* Rotary embedding: checks, tokens cut for the team, and the table of cosines and sines. */
#include "kernels/cpu/simd.h"
#include "kernels/cpu/team.h"
#include "kernels/kernels_impl.h"
#include "kernels/pointwise.h"

#include <math.h>

typedef struct rope_work {
    const tri_simd_pointwise *simd;
    const tri_rope_args *args;
} rope_work;

static void rope(const void *work, int64_t begin, int64_t end)
{
    const rope_work *w = work;
    w->simd->rope(w->args, begin, end);
}

tri_status tri_rope(tri_kernels *kernels, const tri_rope_args *args)
{
    TRI_CHECK(args->heads >= 0 && args->head_size > 0 && args->head_size % 2 == 0, TRI_EINVAL,
              "rotary embedding of %lld heads of size %lld: the size must be even and positive",
              (long long)args->heads, (long long)args->head_size);
    TRI_TRY(tri_team_check("rotary embedding", args->dtype, args->tokens,
                           args->heads * args->head_size, args->stride));
    bool has_period = args->position || (args->period > 0 && args->first_position >= 0);
    TRI_CHECK(has_period && args->table, TRI_EINVAL,
              "rotary embedding: period %lld and first position %lld; it needs positions, or a "
              "period > 0 and a position >= 0, and a table of tri_rope_table",
              (long long)args->period, (long long)args->first_position);
    rope_work work = {kernels->simd->pointwise, args};
    int64_t row_bytes = args->heads * args->head_size * (int64_t)tri_dtype_bytes(args->dtype) * 2;
    tri_team_run(kernels, args->tokens, 1, tri_team_grain(row_bytes), rope, &work);
    return TRI_OK;
}

void tri_rope_table(int64_t positions, int64_t head_size, float theta, float *table)
{
    int64_t half = head_size / 2;
    for (int64_t i = 0; i < half; i++) {
        double frequency = pow(theta, -2.0 * (double)i / (double)head_size);
        for (int64_t p = 0; p < positions; p++) {
            table[p * head_size + i] = (float)cos((double)p * frequency);
            table[p * head_size + half + i] = (float)sin((double)p * frequency);
        }
    }
}

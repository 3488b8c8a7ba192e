// SPDX-License-Identifier: Apache-2.0
/* Token and position embedding: forward cuts tokens for the team, backward cuts the width, so that
 * the rows of a table are summed in token order by whichever thread has the column.
 */
#include "kernels/embed.h"

#include "kernels/cpu/simd.h"
#include "kernels/cpu/team.h"
#include "kernels/kernels_impl.h"

enum { COLUMNS = 16 }; /* a cache line of sums */

typedef struct embed_work {
    const tri_simd_embed *simd;
    const tri_embed_args *args;
} embed_work;

static void forward(const void *work, int64_t begin, int64_t end)
{
    const embed_work *w = work;
    w->simd->forward(w->args, begin, end);
}

static void backward(const void *work, int64_t left, int64_t right)
{
    const embed_work *w = work;
    w->simd->backward(w->args, left, right);
}

static tri_status check(const char *kernel, const tri_embed_args *args)
{
    TRI_TRY(tri_team_check(kernel, args->dtype, args->tokens, args->width, args->width));
    TRI_CHECK(args->place || (args->period > 0 && args->first_position >= 0), TRI_EINVAL,
              "%s with period %lld and first position %lld: the period must be positive, the "
              "position not negative",
              kernel, (long long)args->period, (long long)args->first_position);
    return TRI_OK;
}

tri_status tri_embed_forward(tri_kernels *kernels, const tri_embed_args *args)
{
    TRI_TRY(check("embedding", args));
    embed_work work = {kernels->simd->embed, args};
    int64_t row_bytes = args->width * (int64_t)tri_dtype_bytes(args->dtype) * 3;
    tri_team_run(kernels, args->tokens, 1, tri_team_grain(row_bytes), forward, &work);
    return TRI_OK;
}

tri_status tri_embed_backward(tri_kernels *kernels, const tri_embed_args *args)
{
    TRI_TRY(check("embedding backward", args));
    embed_work work = {kernels->simd->embed, args};
    tri_team_run(kernels, args->width, COLUMNS, tri_team_grain(args->tokens * 12), backward, &work);
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* Dropout: checks, and rows cut for the team. The mask of an element is a function of the sample's
 * number and the element's place in the sample: neither rows per call nor threads matter.
 */
#include "kernels/cpu/simd.h"
#include "kernels/cpu/team.h"
#include "kernels/kernels_impl.h"
#include "kernels/pointwise.h"

typedef struct dropout_work {
    const tri_simd_pointwise *simd;
    const tri_dropout_args *args;
} dropout_work;

static void dropout(const void *work, int64_t begin, int64_t end)
{
    const dropout_work *w = work;
    w->simd->dropout(w->args, begin, end);
}

tri_status tri_dropout(tri_kernels *kernels, const tri_dropout_args *args)
{
    TRI_TRY(tri_team_check("dropout", args->dtype, args->rows, args->width, args->width));
    TRI_CHECK(args->rate >= 0 && args->rate < 1, TRI_EINVAL,
              "dropout with rate %g: the rate must be in [0, 1)", (double)args->rate);
    TRI_CHECK(args->rows_per_sample > 0 && args->sample && args->first_row >= 0, TRI_EINVAL,
              "dropout from row %lld on with %lld rows per sample: there must be at least one, and "
              "the samples' numbers",
              (long long)args->first_row, (long long)args->rows_per_sample);
    dropout_work work = {kernels->simd->pointwise, args};
    /* the mask costs more than the memory */
    int64_t row_bytes = args->width * 16;
    tri_team_run(kernels, args->rows, 1, tri_team_grain(row_bytes), dropout, &work);
    return TRI_OK;
}

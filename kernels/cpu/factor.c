// SPDX-License-Identifier: Apache-2.0
/* Checks, and rows cut in parts whose number depends on the matrix alone. */
#include "kernels/factor.h"

#include "kernels/cpu/simd.h"
#include "kernels/cpu/team.h"
#include "kernels/kernels_impl.h"
#include "runtime/base/int.h"

#include <string.h>

enum { ROWS_OF_A_PART = 16 /* at least */ };

typedef struct factor_work {
    const tri_simd_factor *simd;
    const tri_factor_args *args;
    int64_t parts;
    double *row_sums, *scratch;
    double sums[TRI_FACTOR_PARTS];
} factor_work;

static tri_status check(const tri_factor_args *args)
{
    TRI_CHECK(args->rows >= 0 && args->columns >= 0 && args->range.n == args->rows * args->columns,
              TRI_EINVAL, "a factored update of %lld x %lld elements in a range of %lld",
              (long long)args->rows, (long long)args->columns, (long long)args->range.n);
    TRI_CHECK(!args->range.copy || args->range.copy_type == TRI_BF16, TRI_EINVAL,
              "factored update: compute copy of %s; a copy is bf16",
              tri_dtype_name(args->range.copy_type));
    return TRI_OK;
}

static factor_work work_of(const tri_kernels *kernels, const tri_factor_args *args)
{
    return (factor_work){
        .simd = kernels->simd->factor,
        .args = args,
        .parts = tri_max64(tri_min64(args->rows / ROWS_OF_A_PART, TRI_FACTOR_PARTS), 1)};
}

static int64_t row_of(const factor_work *w, int64_t part)
{
    return w->args->rows * part / w->parts;
}

static int64_t grain_of(const factor_work *w, int64_t element_bytes)
{
    return tri_team_grain(w->args->range.n / w->parts * element_bytes);
}

static void squares_parts(const void *work, int64_t begin, int64_t end)
{
    const factor_work *w = work;
    int64_t columns = w->args->columns;
    for (int64_t part = begin; part < end; part++) {
        double *sums = w->scratch ? w->scratch + part * columns : NULL;
        if (sums) memset(sums, 0, (size_t)columns * sizeof *sums);
        w->simd->squares(w->args, row_of(w, part), row_of(w, part + 1), w->row_sums, sums);
    }
}

tri_status tri_factor_squares(tri_kernels *kernels, const tri_factor_args *args, double *row_sums,
                              double *column_sums, double *scratch)
{
    TRI_TRY(check(args));
    TRI_CHECK(!column_sums || scratch, TRI_EBUG, "sums of columns without scratch");
    factor_work work = work_of(kernels, args);
    work.row_sums = row_sums;
    work.scratch = column_sums ? scratch : NULL;
    tri_team_run(kernels, work.parts, 1, grain_of(&work, 4), squares_parts, &work);
    for (int64_t part = 0; column_sums && part < work.parts; part++)
        for (int64_t i = 0; i < args->columns; i++)
            column_sums[i] += scratch[part * args->columns + i];
    return TRI_OK;
}

static void measure_parts(const void *work, int64_t begin, int64_t end)
{
    const factor_work *w = work;
    for (int64_t part = begin; part < end; part++)
        w->scratch[part] = w->simd->measure(w->args, row_of(w, part), row_of(w, part + 1));
}

tri_status tri_factor_measure(tri_kernels *kernels, const tri_factor_args *args, double *sum)
{
    TRI_TRY(check(args));
    factor_work work = work_of(kernels, args);
    work.scratch = work.sums;
    tri_team_run(kernels, work.parts, 1, grain_of(&work, 4), measure_parts, &work);
    for (int64_t part = 0; part < work.parts; part++)
        *sum += work.sums[part];
    return TRI_OK;
}

static void step_rows(const void *work, int64_t begin, int64_t end)
{
    const factor_work *w = work;
    w->simd->step(w->args, begin, end);
}

tri_status tri_factor_step(tri_kernels *kernels, const tri_factor_args *args)
{
    TRI_TRY(check(args));
    factor_work work = work_of(kernels, args);
    tri_team_run(kernels, args->rows, 1, tri_team_grain(args->columns * 12), step_rows, &work);
    return TRI_OK;
}

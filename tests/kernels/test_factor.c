// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* Sums of squares by rows and columns, and steps scaled by both, against loops in double; the sums do
 * not depend on the number of threads.
 */
#include "kernels/factor.h"
#include "tests/kernels/kernel_cases.h"

#include <math.h>

enum { ROWS = 131, COLUMNS = 77, ELEMENTS = ROWS * COLUMNS };

typedef struct factor_data {
    float weight[ELEMENTS], gradient[ELEMENTS], row[ROWS], column[COLUMNS];
    tri_bf16 copy[ELEMENTS];
    double rows[ROWS], columns[COLUMNS], scratch[TRI_FACTOR_PARTS * COLUMNS];
} factor_data;

static void fill(factor_data *d)
{
    memset(d, 0, sizeof *d);
    for (int i = 0; i < ELEMENTS; i++) {
        d->weight[i] = (float)(i * 7919 % 2003) / 1001.0f - 1.0f;
        d->gradient[i] = (float)(i * 104729 % 1999) / 999.0f - 1.0f;
    }
    for (int i = 0; i < ROWS; i++)
        d->row[i] = 0.5f + (float)(i % 7) / 8.0f;
    for (int i = 0; i < COLUMNS; i++)
        d->column[i] = 1.5f - (float)(i % 5) / 8.0f;
}

static tri_factor_args args_of(factor_data *d)
{
    return (tri_factor_args){
        .range = {.n = ELEMENTS,
                  .weight = d->weight,
                  .gradient = d->gradient,
                  .gradient_scale = 0.5f,
                  .copy = d->copy,
                  .copy_type = TRI_BF16},
        .rows = ROWS,
        .columns = COLUMNS,
        .row_factor = d->row,
        .column_factor = d->column,
        .rate = 0.25f,
        .decay = 0.125f
    };
}

static tri_status factor_case(const kernel_case *c)
{
    static factor_data d, want;
    if (c->dtype != TRI_F32) return TRI_OK;
    fill(&d);
    fill(&want);
    double squares = 0, sum = 0;
    for (int i = 0; i < ELEMENTS; i++) {
        int row = i / COLUMNS, column = i % COLUMNS;
        double g = 0.5 * (double)d.gradient[i];
        double u = g * (double)d.row[row] * (double)d.column[column];
        want.rows[row] += g * g;
        want.columns[column] += g * g;
        squares += u * u;
        want.weight[i] = (float)((double)d.weight[i] * 0.875 - 0.25 * u);
    }
    tri_factor_args args = args_of(&d);
    TRI_TRY(tri_factor_squares(c->kernels, &args, d.rows, d.columns, d.scratch));
    TRI_TRY(tri_factor_measure(c->kernels, &args, &sum));
    TRI_TRY(tri_factor_step(c->kernels, &args));
    double worst = fabs(sum / squares - 1);
    for (int i = 0; i < ROWS; i++)
        worst = fmax(worst, fabs(d.rows[i] / want.rows[i] - 1));
    for (int i = 0; i < COLUMNS; i++)
        worst = fmax(worst, fabs(d.columns[i] / want.columns[i] - 1));
    EXPECT(worst < 1e-6, "%s, %d threads: sums are off by %g", c->isa, c->threads, worst);
    int wrong = 0;
    for (int i = 0; i < ELEMENTS; i++)
        wrong += fabsf(d.weight[i] - want.weight[i]) > 2e-7f ||
                 d.copy[i] != tri_f32_to_bf16(d.weight[i]);
    EXPECT(wrong == 0, "%s, %d threads: %d weights are wrong", c->isa, c->threads, wrong);
    return TRI_OK;
}

TRI_TEST(sums_and_steps)
{
    TRI_TRY(kernel_cases_run(factor_case));
    return TRI_OK;
}

TRI_TEST(sums_do_not_depend_on_threads)
{
    static factor_data d[2];
    double sum[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        TRI_AUTO(kernel_team) *team = NULL;
        TRI_TRY(kernel_team_create(NULL, i + 1, &team));
        fill(&d[i]);
        tri_factor_args args = args_of(&d[i]);
        TRI_TRY(tri_factor_squares(team->kernels, &args, d[i].rows, d[i].columns, d[i].scratch));
        TRI_TRY(tri_factor_measure(team->kernels, &args, &sum[i]));
    }
    EXPECT(sum[0] == sum[1] && !memcmp(d[0].rows, d[1].rows, sizeof d[0].rows) &&
               !memcmp(d[0].columns, d[1].columns, sizeof d[0].columns),
           "one thread and two give other bits");
    return TRI_OK;
}

TRI_TEST(wrong_arguments_are_refused)
{
    static factor_data d;
    TRI_AUTO(kernel_team) *team = NULL;
    TRI_TRY(kernel_team_create(NULL, 1, &team));
    tri_factor_args args = args_of(&d);
    EXPECT_STATUS(tri_factor_squares(team->kernels, &args, NULL, d.columns, NULL), TRI_EBUG,
                  "without scratch");
    args.rows++;
    EXPECT_STATUS(tri_factor_step(team->kernels, &args), TRI_EINVAL, "132 x 77 elements");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(sums_and_steps), TRI_TEST_ROW(sums_do_not_depend_on_threads),
              TRI_TEST_ROW(wrong_arguments_are_refused))

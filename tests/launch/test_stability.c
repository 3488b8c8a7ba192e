// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1
/* Verdicts on steps without a job: what explodes, against a mean computed here with libm; how many in a row;
 * which samples are left out; what a rollback takes over.
 */
#include "launch/stability.h"

#include "tests/test.h"

static tri_stability_config config_of(tri_stability_policy policy, double spike, int64_t window)
{
    return (tri_stability_config){
        .policy = (int)policy, .spike = spike, .window = window, .max_in_row = 2};
}

static tri_verdict judge(tri_stability *s, const tri_stability_config *config, int64_t step,
                         double norm, double *ratio)
{
    tri_stability_step numbers = {.step = step, .loss = 1, .norm = norm};
    return tri_stability_judge(s, config, &numbers, ratio);
}

TRI_TEST(mean_is_geometric_and_forgets)
{
    enum { WINDOW = 8, STEPS = 200 };
    tri_stability s = {0};
    tri_stability_config config = config_of(TRI_STABILITY_SKIP, 1000, WINDOW);
    double mean = 0;
    for (int64_t step = 1; step <= STEPS; step++) {
        double norm = exp(3 * sin((double)step)) * (step > 100 ? 1e-30 : 1e3);
        double ratio = -1;
        double want = step > WINDOW ? norm / exp(mean) : 0;
        if (step == 101) EXPECT(want < 1e-20, "%g: a sudden fall is no harm", want);
        tri_verdict verdict = judge(&s, &config, step, norm, &ratio);
        EXPECT(verdict == TRI_VERDICT_GOOD, "step %lld: %d", (long long)step, (int)verdict);
        EXPECT(fabs(ratio - want) <= 1e-12 * want, "step %lld: ratio %.17g, not %.17g",
               (long long)step, ratio, want);
        double n = step < WINDOW ? (double)step : WINDOW;
        mean += (log(norm) - mean) / n;
    }
    EXPECT(s.spikes == 0 && s.norms == STEPS, "%lld spikes", (long long)s.spikes);
    return TRI_OK;
}

TRI_TEST(limit_is_the_factor)
{
    tri_stability s = {0};
    tri_stability_config config = config_of(TRI_STABILITY_SKIP, 10, 3);
    double ratio = 0;
    EXPECT(judge(&s, &config, 1, 2, &ratio) == TRI_VERDICT_GOOD, "first");
    EXPECT(judge(&s, &config, 2, 1e6, &ratio) == TRI_VERDICT_GOOD, "the mean is not complete");
    EXPECT(judge(&s, &config, 3, 4e-6, &ratio) == TRI_VERDICT_GOOD, "third");
    /* (2 * 1e6 * 4e-6)^(1/3) = 2 */
    EXPECT(judge(&s, &config, 4, 0, &ratio) == TRI_VERDICT_GOOD && s.norms == 3, "zeros count not");
    tri_stability before = s;
    EXPECT(judge(&s, &config, 5, 20.001, &ratio) == TRI_VERDICT_SKIP, "20.001 is above 10 x 2");
    EXPECT(fabs(ratio - 10.0005) < 1e-9, "ratio %.12g", ratio);
    EXPECT(s.norms == before.norms && s.mean_log2 == before.mean_log2, "it went into the mean");
    EXPECT(s.spikes == 1 && s.skipped == 1 && s.in_row == 1, "%lld %lld %lld", (long long)s.spikes,
           (long long)s.skipped, (long long)s.in_row);
    EXPECT(judge(&s, &config, 6, 19.999, &ratio) == TRI_VERDICT_GOOD, "19.999 is below 10 x 2");
    EXPECT(s.in_row == 0 && s.skipped == 1, "a good step ends the row");
    return TRI_OK;
}

TRI_TEST(not_finite_is_never_good)
{
    static const double bad[][2] = {
        {NAN,       1       },
        {1,         NAN     },
        {INFINITY,  1       },
        {1,         INFINITY},
        {-INFINITY, NAN     }
    };
    static const struct {
        tri_stability_policy policy;
        tri_verdict verdict;
    } wants[] = {
        {TRI_STABILITY_STOP,     TRI_VERDICT_STOP    },
        {TRI_STABILITY_SKIP,     TRI_VERDICT_SKIP    },
        {TRI_STABILITY_ROLLBACK, TRI_VERDICT_ROLLBACK}
    };
    for (size_t p = 0; p < sizeof wants / sizeof wants[0]; p++)
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
            tri_stability s = {0};
            tri_stability_config config = config_of(wants[p].policy, 0, 4);
            tri_stability_step step = {.step = 1, .loss = bad[i][0], .norm = bad[i][1]};
            double ratio = -1;
            tri_verdict verdict = tri_stability_judge(&s, &config, &step, &ratio);
            EXPECT(verdict == wants[p].verdict && ratio == 0 && s.spikes == 1 && s.norms == 0,
                   "loss %g, norm %g: verdict %d", step.loss, step.norm, (int)verdict);
        }
    return TRI_OK;
}

TRI_TEST(so_many_in_a_row)
{
    tri_stability s = {0};
    tri_stability_config config = config_of(TRI_STABILITY_ROLLBACK, 0, 4);
    double ratio = 0;
    EXPECT(judge(&s, &config, 9, NAN, &ratio) == TRI_VERDICT_ROLLBACK, "first");
    /* good steps before the one that failed do not end the row: else a job could go round forever */
    for (int64_t step = 5; step < 8; step++)
        EXPECT(judge(&s, &config, step, 1, &ratio) == TRI_VERDICT_GOOD, "good");
    EXPECT(judge(&s, &config, 8, NAN, &ratio) == TRI_VERDICT_ROLLBACK && s.in_row == 2, "second");
    EXPECT(judge(&s, &config, 6, NAN, &ratio) == TRI_VERDICT_STOP, "third");
    tri_stability_step step = {.step = 6, .loss = 1, .norm = NAN};
    s.left_out = 48;
    EXPECT_STATUS(tri_stability_fail(&s, &config, &step, 0), TRI_EDIVERGED,
                  "step 6: loss 1, gradient norm nan; 2 rollbacks in a row (stability.max_in_row) "
                  "were of no help, 48 samples");
    config.policy = TRI_STABILITY_STOP;
    EXPECT_STATUS(tri_stability_fail(&s, &config, &step, 0), TRI_EDIVERGED,
                  "weights are as after step 5");
    config.policy = TRI_STABILITY_ROLLBACK;
    s.in_row = 2;
    EXPECT(judge(&s, &config, 9, 1, &ratio) == TRI_VERDICT_GOOD && s.in_row == 0, "past it");
    return TRI_OK;
}

static void expect_ranges(const tri_stability *s, const int64_t (*want)[2], int64_t n,
                          int64_t left_out)
{
    EXPECT(s->n_ranges == n && s->left_out == left_out, "%lld ranges, %lld samples",
           (long long)s->n_ranges, (long long)s->left_out);
    EXPECT(memcmp(s->range, want, (size_t)n * sizeof want[0]) == 0, "other ranges");
}

TRI_TEST(ranges_are_joined)
{
    tri_stability s = {0};
    tri_stability_leave_out(&s, 16, 24);
    tri_stability_leave_out(&s, 24, 32);
    tri_stability_leave_out(&s, 40, 48);
    expect_ranges(&s,
                  (const int64_t[][2]){
                      {16, 32},
                      {40, 48}
    },
                  2, 24);
    /* a rollback to a checkpoint of before those */
    tri_stability_leave_out(&s, 8, 64);
    expect_ranges(&s,
                  (const int64_t[][2]){
                      {8, 64}
    },
                  1, 56);
    tri_stability_leave_out(&s, 60, 72);
    expect_ranges(&s,
                  (const int64_t[][2]){
                      {8, 72}
    },
                  1, 64);
    for (int64_t i = 0; i < TRI_STABILITY_RANGES + 3; i++)
        tri_stability_leave_out(&s, 100 + 10 * i, 105 + 10 * i);
    EXPECT(s.n_ranges == TRI_STABILITY_RANGES && s.range[0][0] == 130, "the newest are kept");
    EXPECT(s.left_out == 64 + 5 * (TRI_STABILITY_RANGES + 3), "%lld", (long long)s.left_out);
    return TRI_OK;
}

TRI_TEST(rollback_takes_the_curve_and_keeps_the_count)
{
    tri_stability before = {.spikes = 7,
                            .skipped = 4,
                            .rollbacks = 2,
                            .in_row = 1,
                            .reached = 50,
                            .norms = 40,
                            .left_out = 8,
                            .n_ranges = 1,
                            .range = {{8, 16}},
                            .mean_log2 = 3};
    tri_stability s = {
        .spikes = 5, .skipped = 3, .rollbacks = 1, .reached = 30, .norms = 27, .mean_log2 = 2};
    tri_stability_go_on(&s, &before, 80, 400);
    EXPECT(s.skipped == 3 && s.norms == 27 && s.mean_log2 == 2, "of the checkpoint");
    EXPECT(s.spikes == 7 && s.rollbacks == 3 && s.in_row == 1 && s.reached == 50, "of the job");
    expect_ranges(&s,
                  (const int64_t[][2]){
                      {8,  16 },
                      {80, 400}
    },
                  2, 328);
    return TRI_OK;
}

TRI_TEST(what_is_loaded_is_checked)
{
    tri_stability s = {.n_ranges = TRI_STABILITY_RANGES};
    TRI_TRY(tri_stability_restore(&s));
    s.n_ranges++;
    EXPECT_STATUS(tri_stability_restore(&s), TRI_EFORMAT, "33 ranges (0 to 32)");
    s = (tri_stability){.mean_log2 = NAN};
    EXPECT_STATUS(tri_stability_restore(&s), TRI_EFORMAT, "mean 2^nan");
    return TRI_OK;
}

TRI_TEST(factor_is_above_one)
{
    tri_stability_config config = config_of(TRI_STABILITY_SKIP, 0.5, 4);
    EXPECT_STATUS(tri_stability_check(&config), TRI_EINVAL, "stability.spike: 0.5 is not above 1");
    config.spike = 0;
    return tri_stability_check(&config);
}

TRI_TEST_MAIN(TRI_TEST_ROW(mean_is_geometric_and_forgets), TRI_TEST_ROW(limit_is_the_factor),
              TRI_TEST_ROW(not_finite_is_never_good), TRI_TEST_ROW(so_many_in_a_row),
              TRI_TEST_ROW(ranges_are_joined),
              TRI_TEST_ROW(rollback_takes_the_curve_and_keeps_the_count),
              TRI_TEST_ROW(what_is_loaded_is_checked), TRI_TEST_ROW(factor_is_above_one))

// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* Sums of squared differences, largest ratios and products against loops in long double, on every
 * instruction set; the sums do not depend on the number of threads.
 */
#include "kernels/scatter.h"
#include "tests/kernels/kernel_cases.h"

enum { MOST = 300007, PRODUCTS = 3 };

static const int64_t sizes[] = {0, 1, 5, 17, 1031, 4097, MOST};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static float now[MOST], before[MOST], keep[MOST + 1], squares[MOST + 1], y[PRODUCTS][MOST];

static void fill(void)
{
    tri_rng rng = {.seed = 7, .purpose = TRI_RNG_TEST};
    tri_rng_normal(rng, 0, MOST, 1, 1, now);
    rng.stream = 1;
    tri_rng_normal(rng, 0, MOST, 1, 1, before);
    for (int k = 0; k < PRODUCTS; k++) {
        rng.stream = (uint64_t)k + 2;
        tri_rng_normal(rng, 0, MOST, 0.5f, 1, y[k]);
    }
}

static double share(double got, long double want, long double size)
{
    return size > 0 ? (double)(fabsl((long double)got - want) / size) : fabs(got);
}

static tri_status check_add(const kernel_case *c, int64_t n)
{
    long double want = 0;
    double got = -1;
    memset(keep, 0, sizeof keep);
    for (int64_t i = 0; i <= n && i < MOST; i++)
        squares[i] = 2;
    tri_scatter_args args = {.n = n,
                             .now = now,
                             .before = before,
                             .factor = 1.5,
                             .keep = keep,
                             .squares = squares,
                             .scale = 0.25};
    TRI_TRY(tri_scatter_add(c->kernels, &args, &got));
    int wrong = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)now[i] - 1.5 * (double)before[i];
        want += (long double)d * (long double)d;
        wrong += keep[i] != now[i] || fabs(squares[i] - (2 + 0.25 * d * d)) > 1e-7 * squares[i];
    }
    EXPECT(share(got, want, want) < 1e-13, "%s: %lld elements sum to %.17g, not %.17Lg", c->isa,
           (long long)n, got, want);
    EXPECT(wrong == 0 && keep[n] == 0, "%s: %d of %lld elements are wrong", c->isa, wrong,
           (long long)n);
    memcpy(keep, before, (size_t)n * sizeof *keep);
    double again = -1;
    args = (tri_scatter_args){.n = n, .now = now, .before = keep, .factor = 1.5, .keep = keep};
    TRI_TRY(tri_scatter_add(c->kernels, &args, &again));
    EXPECT(again == got && memcmp(keep, now, (size_t)n * sizeof *keep) == 0,
           "%s: in place, %lld elements sum to %.17g, not %.17g", c->isa, (long long)n, again, got);
    return TRI_OK;
}

static tri_status check_products(const kernel_case *c, int64_t n)
{
    const float *const others[PRODUCTS] = {y[0], y[1], y[2]};
    double got[PRODUCTS] = {-1, -1, -1};
    TRI_TRY(tri_scatter_products(c->kernels, n, now, PRODUCTS, others, got));
    for (int k = 0; k < PRODUCTS; k++) {
        long double want = 0, size = 0;
        for (int64_t i = 0; i < n; i++) {
            want += (long double)now[i] * (long double)y[k][i];
            size += fabsl((long double)now[i] * (long double)y[k][i]);
        }
        EXPECT(share(got[k], want, size) < 1e-13, "%s: product %d of %lld elements is %.17g",
               c->isa, k, (long long)n, got[k]);
    }
    return TRI_OK;
}

static tri_status check_ratio(const kernel_case *c, int64_t n)
{
    double got = -1, want = 0;
    for (int64_t i = 0; i < n; i++) {
        squares[i] = y[0][i] * y[0][i];
        want = fmax(want, (double)squares[i] / ((double)now[i] * (double)now[i]));
    }
    TRI_TRY(tri_scatter_ratio(c->kernels, n, squares, now, &got));
    EXPECT(fabs(got - want) <= 1e-13 * want, "%s: largest of %lld ratios is %.17g, not %.17g",
           c->isa, (long long)n, got, want);
    if (n < 17) return TRI_OK;
    float old = now[n - 1];
    now[n - 1] = 0;
    squares[n - 1] = 0;
    TRI_TRY(tri_scatter_ratio(c->kernels, n, squares, now, &got));
    EXPECT(isfinite(got), "%s: 0 / 0 made it %g", c->isa, got);
    squares[n - 1] = 1e-30f;
    TRI_TRY(tri_scatter_ratio(c->kernels, n, squares, now, &got));
    EXPECT(isinf(got), "%s: something / 0 made it %g", c->isa, got);
    now[n - 1] = old;
    return TRI_OK;
}

static tri_status scatter_case(const kernel_case *c)
{
    if (c->dtype != TRI_F32) return TRI_OK;
    for (int s = 0; s < SIZES; s++) {
        TRI_TRY(check_add(c, sizes[s]));
        TRI_TRY(check_products(c, sizes[s]));
        TRI_TRY(check_ratio(c, sizes[s]));
    }
    double got = 0;
    float old = now[3];
    tri_scatter_args args = {.n = 17, .now = now, .before = before, .factor = 2};
    now[3] = INFINITY;
    TRI_TRY(tri_scatter_add(c->kernels, &args, &got));
    EXPECT(isinf(got), "%s: infinity became %g", c->isa, got);
    now[3] = NAN;
    TRI_TRY(tri_scatter_add(c->kernels, &args, &got));
    EXPECT(isnan(got), "%s: NaN became %g", c->isa, got);
    now[3] = old;
    return TRI_OK;
}

TRI_TEST(sums_ratios_and_products)
{
    fill();
    TRI_TRY(kernel_cases_run(scatter_case));
    return TRI_OK;
}

TRI_TEST(sums_ignore_threads)
{
    double sum[2] = {0}, products[2][PRODUCTS] = {{0}};
    const float *const others[PRODUCTS] = {y[0], y[1], y[2]};
    fill();
    for (int t = 0; t < 2; t++) {
        TRI_AUTO(kernel_team) *team = NULL;
        TRI_TRY(kernel_team_create(NULL, t + 1, &team));
        tri_scatter_args args = {.n = MOST, .now = now, .before = before, .factor = 1.25};
        TRI_TRY(tri_scatter_add(team->kernels, &args, &sum[t]));
        TRI_TRY(tri_scatter_products(team->kernels, MOST, now, PRODUCTS, others, products[t]));
    }
    EXPECT(sum[0] == sum[1] && !memcmp(products[0], products[1], sizeof products[0]),
           "one thread and two give other bits");
    return TRI_OK;
}

TRI_TEST(wrong_arguments_are_refused)
{
    TRI_AUTO(kernel_team) *team = NULL;
    TRI_TRY(kernel_team_create(NULL, 1, &team));
    double out = 0;
    EXPECT_STATUS(tri_scatter_ratio(team->kernels, -1, squares, now, &out), TRI_EINVAL,
                  "scatter of -1 elements");
    EXPECT_STATUS(
        tri_scatter_products(team->kernels, 1, now, TRI_SCATTER_MAX_PRODUCTS + 1, NULL, &out),
        TRI_EINVAL, "17 products in one pass; at most 16");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(sums_ratios_and_products), TRI_TEST_ROW(sums_ignore_threads),
              TRI_TEST_ROW(wrong_arguments_are_refused))

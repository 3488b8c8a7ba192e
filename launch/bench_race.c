// SPDX-License-Identifier: Apache-2.0
/* Alternating slices and medians of ratios. */
#include "launch/bench_race.h"

#include "launch/bench.h"
#include "runtime/base/clock.h"

#include <string.h>

static double median_of(int n, const double *values)
{
    double sorted[TRI_BENCH_ROUNDS];
    memcpy(sorted, values, (size_t)n * sizeof *values);
    return tri_bench_median(n, sorted);
}

tri_status tri_bench_race(int n_runners, const tri_bench_runner *runners, int n_rounds,
                          tri_bench_result *out)
{
    TRI_CHECK(n_runners >= 1 && n_runners <= TRI_BENCH_RUNNERS && n_rounds >= 1 &&
                  n_rounds <= TRI_BENCH_ROUNDS,
              TRI_EINVAL, "%d runners in %d rounds: at most %d in %d", n_runners, n_rounds,
              TRI_BENCH_RUNNERS, TRI_BENCH_ROUNDS);
    double times[TRI_BENCH_RUNNERS][TRI_BENCH_ROUNDS];
    for (int round = -1; round < n_rounds; round++)
        for (int i = 0; i < n_runners; i++) {
            int at = (i + round + n_runners) % n_runners; /* nobody always follows the same one */
            if (runners[at].prepare) TRI_TRY(runners[at].prepare(runners[at].arg));
            double start_s = tri_clock_s();
            TRI_TRY(runners[at].run(runners[at].arg));
            if (round >= 0) times[at][round] = tri_clock_s() - start_s;
        }
    tri_bench_result result = {.seconds = median_of(n_rounds, times[0])};
    int best = 0;
    for (int i = 1; i < n_runners; i++) {
        double limit_s = median_of(n_rounds, times[i]);
        if (best == 0 || limit_s < result.limit_s) {
            best = i;
            result.limit_s = limit_s;
        }
    }
    for (int i = 0; i < n_runners; i++) {
        double ratios[TRI_BENCH_ROUNDS];
        for (int round = 0; round < n_rounds; round++)
            ratios[round] = times[i][round] / times[0][round];
        result.shares[i] = tri_bench_median(n_rounds, ratios);
    }
    if (best) {
        result.share = result.shares[best];
        result.detail = runners[best].detail;
    }
    *out = result;
    return TRI_OK;
}

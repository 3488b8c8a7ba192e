// SPDX-License-Identifier: Apache-2.0
/* A workload and the ways of writing its limit take turns in short slices: what the machine does to
 * one it does to all, and the medians of ratios stand.
 */
#ifndef TRI_LAUNCH_BENCH_RACE_H
#define TRI_LAUNCH_BENCH_RACE_H

#include "runtime/base/status.h"

/* One slice of work. */
typedef struct tri_bench_runner {
    tri_status (*run)(void *arg);
    void *arg;
    const char *detail;               /* of a limit: how it is written */
    tri_status (*prepare)(void *arg); /* before each slice, not timed; may be NULL */
} tri_bench_runner;

enum { TRI_BENCH_RUNNERS = 8, TRI_BENCH_ROUNDS = 64 };

typedef struct tri_bench_result {
    double seconds; /* of the workload's slice, median */
    double limit_s; /* of the best limit's, median */
    double share;   /* limit over workload, median of the rounds' ratios */
    const char *detail;
    double shares[TRI_BENCH_RUNNERS]; /* as share, of each limit on its own; 1 of the workload */
} tri_bench_result;

/* Run all in turn, `n_rounds` times after one round that does not count. Not collective.
 *
 * runners[0] is the workload, the others are limits; with none, limit_s and share are 0.
 * Errors: a runner's own; TRI_EINVAL more than TRI_BENCH_RUNNERS or TRI_BENCH_ROUNDS.
 */
TRI_MUST_USE tri_status tri_bench_race(int n_runners, const tri_bench_runner *runners, int n_rounds,
                                       tri_bench_result *out);

#endif

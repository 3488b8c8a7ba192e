// SPDX-License-Identifier: Apache-2.0
/* `trireme bench NAME`: measured against a limit that is measured in the same run. A benchmark is one
 * function in launch/bench_NAME.c and one row in launch/bench_list.c; it alternates slices of limit
 * and workload and reports medians of ratios through tri_bench_report, on rank 0.
 */
#ifndef TRI_LAUNCH_BENCH_H
#define TRI_LAUNCH_BENCH_H

#include "launch/session.h"

/* What a benchmark gets; argv[0] is its name, argv[1 ...] its own options (getopt_long, after
 * optind = 1); --json and --threads are taken out. argv ends in NULL. */
typedef struct tri_bench_args {
    tri_session *session; /* device and world are open */
    bool is_json;
    int argc;
    char **argv;
} tri_bench_args;

/* One result. */
typedef struct tri_bench_line {
    const char *name; /* "gemm.qkv.bf16" */
    double value;
    const char *unit;
    double limit;       /* in the same unit; 0: there is none */
    double share;       /* of the limit, the median over slices; 0: value / limit */
    const char *detail; /* a few words on how it was measured; NULL: none */
    double slack;       /* by which a share may pass 1, where the limit itself varies; 0: 0.02 */
} tri_bench_line;

/* One row of the list. */
typedef struct tri_bench {
    const char *name;
    const char *doc;
    tri_status (*run)(const tri_bench_args *args);
} tri_bench;

/* Print one result: a line of text, or a JSON object. Not collective: rank 0 alone calls it.
 * Errors: TRI_EBUG a share above 1 + slack: the limit is no limit. */
TRI_MUST_USE tri_status tri_bench_report(const tri_bench_args *args, const tri_bench_line *line);

/* The median; sorts the values. Not collective. */
double tri_bench_median(int n, double *values);

/* All benchmarks of this build; the last row has no name. Not collective. */
const tri_bench *tri_bench_list(void);

#endif

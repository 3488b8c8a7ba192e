// SPDX-License-Identifier: Apache-2.0
/* The command `bench`, and how results are printed. */
#include "launch/bench.h"

#include "launch/commands.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

enum { BENCH_NAMES_BYTES = 256 };

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

double tri_bench_median(int n, double *values)
{
    if (n <= 0) return 0;
    qsort(values, (size_t)n, sizeof *values, ascending);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

tri_status tri_bench_report(const tri_bench_args *args, const tri_bench_line *line)
{
    double share = line->share > 0 ? line->share : line->limit > 0 ? line->value / line->limit : 0;
    const char *detail = line->detail ? line->detail : "";
    if (args->is_json) {
        /* names, units and details are ours: no character of theirs needs an escape */
        printf("{\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\"", line->name, line->value,
               line->unit);
        if (line->limit > 0) printf(", \"limit\": %.6g, \"share\": %.4f", line->limit, share);
        if (detail[0]) printf(", \"detail\": \"%s\"", detail);
        printf("}\n");
    } else if (line->limit > 0) {
        printf("%-36s %12.5g %-10s limit %12.5g  share %.3f  %s\n", line->name, line->value,
               line->unit, line->limit, share, detail);
    } else {
        printf("%-36s %12.5g %-10s %s\n", line->name, line->value, line->unit, detail);
    }
    fflush(stdout);
    TRI_CHECK(share <= 1.02, TRI_EBUG, "%s reached %.3f of its limit: the limit is measured wrong",
              line->name, share);
    return TRI_OK;
}

static const tri_bench *find(const char *name)
{
    for (const tri_bench *row = tri_bench_list(); row->name; row++)
        if (strcmp(row->name, name) == 0) return row;
    return NULL;
}

static void list_names(char out[BENCH_NAMES_BYTES])
{
    out[0] = '\0';
    for (const tri_bench *row = tri_bench_list(); row->name; row++) {
        size_t n = strlen(out);
        snprintf(out + n, BENCH_NAMES_BYTES - n, "%s%s", n ? ", " : "", row->name);
    }
}

tri_status tri_cmd_bench(const tri_cmd_args *args)
{
    static const struct option options[] = {
        {"json",    no_argument,       NULL, 'j'},
        {"threads", required_argument, NULL, 't'},
        {NULL,      0,                 NULL, 0  }
    };
    bool is_json = false;
    int64_t threads = 0;
    optind = 1;
    /* options behind NAME's own position are common too: those before `--` or known here */
    for (int c; (c = getopt_long(args->argc, args->argv, ":", options, NULL)) != -1;) {
        if (c == 'j')
            is_json = true;
        else if (c == 't')
            TRI_TRY(tri_option_int("--threads", optarg, 1, 4096, &threads));
        else
            return tri_option_fail(args);
    }
    char names[BENCH_NAMES_BYTES];
    list_names(names);
    TRI_CHECK(optind < args->argc, TRI_EINVAL, "bench takes a name: %s", names);
    const char *name = args->argv[optind];
    const tri_bench *bench = find(name);
    TRI_CHECK(bench, TRI_EINVAL, "bench: '%.40s' is not one of %s", name, names);

    TRI_TRY(tri_session_open(args->session, (int)threads));
    tri_bench_args bench_args = {.session = args->session,
                                 .is_json = is_json,
                                 .argc = args->argc - optind,
                                 .argv = args->argv + optind};
    TRI_TRY(bench->run(&bench_args));
    return TRI_OK;
}

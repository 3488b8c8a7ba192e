// SPDX-License-Identifier: Apache-2.0
/* The command `bench`, and how results are printed. */
#include "launch/bench.h"

#include "launch/commands.h"

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
    TRI_CHECK(share <= 1 + (line->slack > 0 ? line->slack : 0.02), TRI_EBUG,
              "%s reached %.3f of its limit: the limit is measured wrong", line->name, share);
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

/* Take --json and --threads N out of `argv`: they may stand behind NAME too, among its own options. */
static tri_status take_common(int *argc, char **argv, bool *is_json, int64_t *threads)
{
    int kept = 0;
    for (int i = 0; i < *argc; i++) {
        const char *value = NULL;
        if (strcmp(argv[i], "--json") == 0) {
            *is_json = true;
            continue;
        }
        if (strncmp(argv[i], "--threads=", 10) == 0)
            value = argv[i] + 10;
        else if (strcmp(argv[i], "--threads") == 0)
            value = i + 1 < *argc ? argv[++i] : "";
        if (value)
            TRI_TRY(tri_option_int("--threads", value, 1, 4096, threads));
        else
            argv[kept++] = argv[i];
    }
    argv[kept] = NULL;
    *argc = kept;
    return TRI_OK;
}

tri_status tri_cmd_bench(const tri_cmd_args *args)
{
    bool is_json = false;
    int64_t threads = 0;
    int argc = args->argc - 1;
    char **argv = args->argv + 1;
    TRI_TRY(take_common(&argc, argv, &is_json, &threads));
    char names[BENCH_NAMES_BYTES];
    list_names(names);
    TRI_CHECK(argc > 0, TRI_EINVAL, "bench takes a name: %s", names);
    const tri_bench *bench = find(argv[0]);
    TRI_CHECK(bench, TRI_EINVAL, "bench: '%.40s' is not one of %s", argv[0], names);

    TRI_TRY(tri_session_open(args->session, (int)threads));
    tri_bench_args bench_args = {
        .session = args->session, .is_json = is_json, .argc = argc, .argv = argv};
    TRI_TRY(bench->run(&bench_args));
    return TRI_OK;
}

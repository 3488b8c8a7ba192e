// SPDX-License-Identifier: Apache-2.0
/* Updates and the loops they are compared with take turns, each on its own part of one large range,
 * so that nothing is in a cache when its turn comes. The way of writing the loop that has the best
 * median is the limit, and the share is the median of its ratios.
 */
#include "launch/bench_optimizer.h"

#include "kernels/update.h"
#include "launch/commands.h"
#include "runtime/base/alloc.h"
#include "runtime/base/clock.h"
#include "runtime/base/int.h"
#include "runtime/base/rng.h"
#include "runtime/coll.h"

enum {
    PARTS = 16,
    ROUNDS = 8 * PARTS,
    APART = 3, /* parts between two loops of a round */
    LIMITS = TRI_TRAFFIC_WAYS,
    DEFAULT_ELEMENTS = 64 << 20
};

typedef struct optimizer_bench {
    tri_device *device;
    tri_kernels *kernels;
    int64_t n;
    float *weight, *gradient, *m, *v;
    tri_bf16 *copy;
    int64_t step;
} optimizer_bench; /* n is a multiple of PARTS parts of whole cache lines */

/* What one row measures. */
typedef struct optimizer_row {
    const char *name;
    tri_update_rule rule;
    bool has_copy;
    double bytes; /* read and written per element */
} optimizer_row;

static void optimizer_bench_destroy(optimizer_bench **bench)
{
    if (!*bench) return;
    void *memory[] = {(*bench)->weight, (*bench)->gradient, (*bench)->m, (*bench)->v,
                      (*bench)->copy};
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++)
        tri_device_free((*bench)->device, memory[i]);
    tri_kernels_destroy(&(*bench)->kernels);
    TRI_FREE(*bench);
}

static tri_status optimizer_bench_create(tri_device *device, int64_t n, optimizer_bench **out)
{
    TRI_AUTO(optimizer_bench) *bench = NULL;
    TRI_TRY(TRI_NEW(&bench));
    bench->device = device;
    bench->n = n;
    TRI_TRY(tri_kernels_create(device, NULL, &bench->kernels));
    size_t bytes = (size_t)n * sizeof(float);
    TRI_TRY(tri_device_alloc(device, TRI_MEM_WEIGHTS, bytes, (void **)&bench->weight));
    TRI_TRY(tri_device_alloc(device, TRI_MEM_GRADIENTS, bytes, (void **)&bench->gradient));
    TRI_TRY(tri_device_alloc(device, TRI_MEM_OPTIMIZER, bytes, (void **)&bench->m));
    TRI_TRY(tri_device_alloc(device, TRI_MEM_OPTIMIZER, bytes, (void **)&bench->v));
    TRI_TRY(tri_device_alloc(device, TRI_MEM_WEIGHTS, bytes / 2, (void **)&bench->copy));
    tri_rng rng = {.seed = 1, .purpose = TRI_RNG_TEST};
    tri_rng_normal(rng, 0, n, 0, 0.02f, bench->weight);
    tri_rng_normal(rng, (uint64_t)n, n, 0, 0.01f, bench->gradient);
    *out = TRI_MOVE(bench);
    return TRI_OK;
}

static tri_update_range part_of(const optimizer_bench *bench, const optimizer_row *row, int part)
{
    int64_t n = bench->n / PARTS;
    return (tri_update_range){.n = n,
                              .weight = bench->weight + part * n,
                              .gradient = bench->gradient + part * n,
                              .gradient_scale = 1,
                              .copy = row->has_copy ? bench->copy + part * n : NULL,
                              .copy_type = TRI_BF16};
}

static tri_status time_update(optimizer_bench *bench, const optimizer_row *row, int part,
                              double *seconds)
{
    tri_update_range range = part_of(bench, row, part);
    int64_t at = part * range.n;
    double start = tri_clock_s();
    bench->step++;
    tri_update_args args = {
        .rule = row->rule,
        .range = range,
        .moment = {bench->m + at, bench->v + at},
        .moment_type = TRI_F32,
        .rate = 1e-4f,
        .beta = {0.9f,          0.95f        },
        .epsilon = 1e-8f,
        .decay = 1e-5f,
        .step = bench->step
    };
    TRI_TRY(tri_update(bench->kernels, &args));
    *seconds = tri_clock_s() - start;
    return TRI_OK;
}

static tri_status time_limit(optimizer_bench *bench, const optimizer_row *row, int part, int way,
                             double *seconds)
{
    tri_update_range range = part_of(bench, row, part);
    tri_update_traffic_args args = {
        .range = range,
        .m = bench->m + part * range.n,
        .v = tri_update_moments(row->rule) < 2 ? NULL : bench->v + part * range.n,
        .way = (tri_traffic_way)way};
    double start = tri_clock_s();
    TRI_TRY(tri_update_traffic(bench->kernels, &args));
    *seconds = tri_clock_s() - start;
    return TRI_OK;
}

/* The way with the smallest median; *seconds = that median. */
static int best_way(double times[LIMITS][ROUNDS], double *seconds)
{
    int best = 0;
    for (int way = 0; way < LIMITS; way++) {
        double sorted[ROUNDS];
        memcpy(sorted, times[way], sizeof sorted);
        double median = tri_bench_median(ROUNDS, sorted);
        if (way == 0 || median < *seconds) {
            best = way;
            *seconds = median;
        }
    }
    return best;
}

static tri_status measure(optimizer_bench *bench, const optimizer_row *row, tri_bench_line *line)
{
    static const char *const details[LIMITS] = {
        "limit: ordinary stores", "limit: copy around the caches",
        "limit: all stores around the caches", "limit: stream after stream in blocks"};
    double times[ROUNDS], limits[LIMITS][ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        TRI_TRY(time_update(bench, row, round % PARTS, &times[round]));
        for (int way = 0; way < LIMITS; way++)
            TRI_TRY(time_limit(bench, row, (round + (way + 1) * APART) % PARTS, way,
                               &limits[way][round]));
    }
    double limit_s = 0, ratios[ROUNDS];
    int best = best_way(limits, &limit_s);
    for (int round = 0; round < ROUNDS; round++)
        ratios[round] = limits[best][round] / times[round];
    double gigabytes = row->bytes * (double)bench->n / PARTS * 1e-9;
    *line = (tri_bench_line){.name = row->name,
                             .value = gigabytes / tri_bench_median(ROUNDS, times),
                             .unit = "GB/s",
                             .limit = gigabytes / limit_s,
                             .share = tri_bench_median(ROUNDS, ratios),
                             .detail = details[best]};
    return TRI_OK;
}

tri_status tri_bench_optimizer(const tri_bench_args *args)
{
    static const optimizer_row rows[] = {
        {"optimizer.adamw.fp32",           TRI_UPDATE_ADAM,    false, 28},
        {"optimizer.adamw.bf16_copy",      TRI_UPDATE_ADAM,    true,  30},
        {"optimizer.adamax.bf16_copy",     TRI_UPDATE_ADAMAX,  true,  30},
        {"optimizer.adam_atan2.bf16_copy", TRI_UPDATE_ATAN2,   true,  30},
        {"optimizer.sgd.fp32",             TRI_UPDATE_SGD,     false, 20},
        {"optimizer.sgd.bf16_copy",        TRI_UPDATE_SGD,     true,  22},
        {"optimizer.lion.bf16_copy",       TRI_UPDATE_LION,    true,  22},
        {"optimizer.adagrad.bf16_copy",    TRI_UPDATE_ADAGRAD, true,  22},
    };
    int64_t n = DEFAULT_ELEMENTS;
    TRI_CHECK(args->argc <= 2, TRI_EINVAL,
              "bench optimizer takes one argument, a number of weights");
    if (args->argc == 2)
        TRI_TRY(tri_option_int("number of weights", args->argv[1], 1, INT64_C(1) << 40, &n));
    TRI_AUTO(optimizer_bench) *bench = NULL;
    TRI_TRY(optimizer_bench_create(args->session->device, tri_round_up(n, PARTS * 64), &bench));
    tri_status result = TRI_OK;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        tri_bench_line line;
        TRI_TRY(measure(bench, &rows[i], &line));
        if (tri_comm_rank(args->session->world) != 0) continue;
        tri_status rc = tri_bench_report(args, &line);
        if (rc != TRI_OK) result = rc; /* all rows are printed before the command fails */
    }
    return result;
}

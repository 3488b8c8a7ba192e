// SPDX-License-Identifier: Apache-2.0
/* Steps and the loops they are compared with take turns, on the same memory: a model's streams are far
 * larger than the caches, so that nothing is in one when its turn comes. The limit of a pass is the way
 * of writing its loop that has the best median; the share is the median of the ratios of rounds.
 *
 * What counts as a pass: sums of whole tensors are added up over the ranks, for all tensors in one
 * message, before the first weight changes. So whatever the sums are of goes by twice, however the
 * update is written (the table `kinds`).
 */
#include "launch/bench_optimizer.h"

#include "kernels/update.h"
#include "launch/bench_job.h"
#include "launch/commands.h"
#include "launch/job.h"
#include "runtime/base/alloc.h"
#include "runtime/base/clock.h"
#include "runtime/base/int.h"
#include "runtime/base/rng.h"

#include <string.h>

enum {
    MAX_ROUNDS = 64,
    PASSES = 3,   /* at most */
    UNIT = 64,    /* elements: parameters begin on boundaries of cache lines, copies too */
    MESSAGES = 2, /* of a step, at most */
    TENSOR = 2,
    SHARES = 2, /* the layout that messages are counted on */
    NAME_BYTES = 64,
    DETAIL_BYTES = 320
};

/* What a pass does with streams. */
enum {
    READ_GRADIENT = 1,
    READ_WEIGHT = 2,
    CHANGE_WEIGHT = 4, /* the copy is written with it */
    READ_MOMENTS = 8,
    CHANGE_MOMENTS = 16
};
enum { ONE_PASS = READ_GRADIENT | CHANGE_WEIGHT | CHANGE_MOMENTS };

/* The streams of an optimizer: the fewest that its definition allows. */
typedef struct optimizer_kind {
    const char *name;
    const char *option; /* key=value of the job spec; NULL: none */
    int moments;        /* numbers kept for each weight */
    unsigned passes[PASSES];
    const char *why; /* there is more than one pass; NULL: there is one */
} optimizer_kind;

static const optimizer_kind kinds[] = {
    {"sgd",             "optimizer.momentum=0.9", 1, {ONE_PASS},                      NULL   },
    {"adam",            NULL,                     2, {ONE_PASS},                      NULL   },
    {"adamw",           NULL,                     2, {ONE_PASS},                      NULL   },
    {"adamax",          NULL,                     2, {ONE_PASS},                      NULL   },
    {"adam_atan2",      NULL,                     2, {ONE_PASS},                      NULL   },
    {"lamb",
     NULL,                                        2,
     {READ_GRADIENT | READ_WEIGHT | CHANGE_MOMENTS, CHANGE_WEIGHT | READ_MOMENTS},
     "the norms of weights and step come before the step, which moments give again"          },
    {"lars",
     "optimizer.momentum=0.9",                    1,
     {READ_GRADIENT | READ_WEIGHT, ONE_PASS},
     "the norms of weights and gradient come before the step"                                },
    {"adafactor",
     NULL,                                        0,
     {READ_GRADIENT | READ_WEIGHT, READ_GRADIENT, READ_GRADIENT | CHANGE_WEIGHT},
     "sums of rows and columns come before the norm of the step, which comes before the step"},
    {"lion",            NULL,                     1, {ONE_PASS},                      NULL   },
    {"adagrad",         NULL,                     1, {ONE_PASS},                      NULL   },
    {"adagrad_norm",    "optimizer.initial=1",    0, {READ_GRADIENT | CHANGE_WEIGHT}, NULL   },
    {"adagrad_rownorm",
     NULL,                                        0,
     {READ_GRADIENT, READ_GRADIENT | CHANGE_WEIGHT},
     "sums of rows come before the step"                                                     },
};

/* What else a row differs in. */
typedef struct optimizer_variant {
    const char *name;
    bool has_copy;
    tri_dtype moments;
} optimizer_variant;

static const optimizer_variant variants[] = {
    {"fp32",         false, TRI_F32 },
    {"bf16_copy",    true,  TRI_F32 },
    {"bf16_moments", true,  TRI_BF16},
};

/* The parameters of a model on one rank; their streams are laid one after another. */
typedef struct optimizer_bench {
    const tri_bench_args *args;
    tri_bench_job_options options;
    tri_spec spec, sharded; /* of one rank, and of the layout that messages are counted on */
    tri_mesh *mesh;
    tri_kernels *kernels;
    tri_model *model;
    tri_arena *arena;
    float *weight, *gradient;
    tri_bf16 *copy;
    int64_t n;      /* elements of the model, cut to a multiple of UNIT */
    int64_t padded; /* elements of the streams */
} optimizer_bench;

/* One optimizer on them. */
typedef struct optimizer_row {
    optimizer_bench *bench;
    const optimizer_kind *kind;
    const optimizer_variant *variant;
    tri_state *state;
    tri_optim *optim;
    tri_arena *arena;
    tri_optim_segment *segments;
    void *moments; /* all of them */
    int64_t step;
    double times[MAX_ROUNDS];
    double limits[PASSES][TRI_TRAFFIC_WAYS][MAX_ROUNDS];
} optimizer_row;

static void optimizer_bench_destroy(optimizer_bench **bench)
{
    if (!*bench) return;
    tri_arena_destroy(&(*bench)->arena);
    tri_model_destroy(&(*bench)->model);
    tri_kernels_destroy(&(*bench)->kernels);
    tri_mesh_close(&(*bench)->mesh);
    TRI_FREE(*bench);
}

static void optimizer_row_destroy(optimizer_row **row)
{
    if (!*row) return;
    tri_arena_destroy(&(*row)->arena);
    tri_optim_destroy(&(*row)->optim);
    tri_state_destroy(&(*row)->state);
    TRI_FREE((*row)->segments);
    TRI_FREE(*row);
}

/* --- the model */

static tri_status make_specs(optimizer_bench *bench)
{
    char parallel[64];
    tri_bench_job_options cut = bench->options;
    snprintf(parallel, sizeof parallel, "tensor: %d, zero: 1", TENSOR);
    cut.parallel = parallel;
    TRI_TRY(tri_bench_job_spec(&bench->options, 1, 0, &bench->spec));
    TRI_TRY(tri_bench_job_spec(&cut, TENSOR * SHARES, 0, &bench->sharded));
    return TRI_OK;
}

static tri_status make_model(optimizer_bench *bench)
{
    tri_mesh_args mesh = {.n_ranks = 1};
    for (int a = 0; a < TRI_AXES; a++)
        mesh.size[a] = 1;
    TRI_TRY(tri_mesh_create(&mesh, &bench->mesh));
    tri_model_args args = {
        .config = &bench->spec.model, .mesh = bench->mesh, .compute = TRI_F32, .micro_batch = 1};
    TRI_TRY(tri_model_create(&args, &bench->model));
    return TRI_OK;
}

static tri_status make_streams(optimizer_bench *bench)
{
    const struct {
        tri_mem_kind kind;
        tri_dtype dtype;
        void **where;
    } streams[] = {
        {TRI_MEM_WEIGHTS,   TRI_F32,  (void **)&bench->weight  },
        {TRI_MEM_GRADIENTS, TRI_F32,  (void **)&bench->gradient},
        {TRI_MEM_WEIGHTS,   TRI_BF16, (void **)&bench->copy    },
    };
    TRI_TRY(tri_arena_create(&bench->arena));
    for (size_t i = 0; i < sizeof streams / sizeof streams[0]; i++)
        TRI_TRY(tri_arena_add(bench->arena, streams[i].kind, bench->padded, streams[i].dtype,
                              streams[i].where));
    TRI_TRY(tri_arena_commit(bench->arena, bench->args->session->device, NULL));
    tri_rng rng = {.seed = 1, .purpose = TRI_RNG_TEST};
    tri_rng_normal(rng, 0, bench->padded, 0, 0.02f, bench->weight);
    tri_rng_normal(rng, (uint64_t)bench->padded, bench->padded, 0, 0.01f, bench->gradient);
    memset(bench->copy, 0, (size_t)bench->padded * sizeof *bench->copy);
    return TRI_OK;
}

static tri_status optimizer_bench_create(const tri_bench_args *args, optimizer_bench **out)
{
    TRI_AUTO(optimizer_bench) *bench = NULL;
    TRI_TRY(TRI_NEW(&bench));
    bench->args = args;
    bench->options = (tri_bench_job_options){TRI_BENCH_JOB_124M, .sequence = 1024, .batch = 1,
                                             .accumulation = 1, .rounds = 10};
    TRI_TRY(tri_bench_job_parse(args, &bench->options));
    TRI_CHECK(bench->options.rounds <= MAX_ROUNDS, TRI_EINVAL,
              "bench optimizer: --rounds %lld; the most are %d", (long long)bench->options.rounds,
              MAX_ROUNDS);
    TRI_TRY(tri_kernels_create(args->session->device, NULL, &bench->kernels));
    TRI_TRY(make_specs(bench));
    TRI_TRY(make_model(bench));
    *out = TRI_MOVE(bench);
    return TRI_OK;
}

/* --- an optimizer */

/* Where parameters lie, in the order of the model. */
static tri_status make_segments(optimizer_row *row)
{
    optimizer_bench *bench = row->bench;
    int n = tri_model_params(bench->model);
    int64_t elements = 0;
    int64_t at = 0;
    TRI_TRY(TRI_NEW_ARRAY(n, &row->segments));
    for (int i = 0; i < n; i++) {
        int64_t count = tri_row_elements(tri_state_row(row->state, i));
        row->segments[i] = (tri_optim_segment){.row = i, .count = count, .is_counted = true};
        elements += count;
        at += tri_round_up(count, UNIT);
    }
    bench->n = elements / UNIT * UNIT;
    bench->padded = at;
    return TRI_OK;
}

static void place_segments(optimizer_row *row)
{
    const optimizer_bench *bench = row->bench;
    int64_t at = 0;
    for (int i = 0; i < tri_model_params(bench->model); i++) {
        tri_optim_segment *s = &row->segments[i];
        s->weight = bench->weight + at;
        s->gradient = bench->gradient + at;
        s->copy = row->variant->has_copy ? bench->copy + at : NULL;
        at += tri_round_up(s->count, UNIT);
    }
}

/* The optimizer of a job spec with this row's keys. */
static tri_status choose(const optimizer_row *row, tri_spec *spec, int n_ranks)
{
    char name[NAME_BYTES];
    char moments[NAME_BYTES];
    const char *overrides[5] = {name, moments, "optimizer.betas=auto", "optimizer.epsilon=auto",
                                row->kind->option};
    snprintf(name, sizeof name, "optimizer.name=%s", row->kind->name);
    snprintf(moments, sizeof moments, "optimizer.moments=%s",
             tri_dtype_name(row->variant->moments));
    TRI_TRY(tri_spec_override(spec, row->kind->option ? 5 : 4, overrides));
    TRI_TRY(tri_spec_check(spec, n_ranks));
    return TRI_OK;
}

static tri_status open_optimizer(optimizer_row *row)
{
    optimizer_bench *bench = row->bench;
    tri_spec spec = bench->spec;
    TRI_TRY(choose(row, &spec, 1));
    tri_optim_args args = {.config = &spec.optimizer,
                           .kernels = bench->kernels,
                           .state = row->state,
                           .segments = row->segments,
                           .n_segments = tri_model_params(bench->model)};
    TRI_TRY(tri_optim_create(&args, &row->optim));
    TRI_TRY(tri_optim_export(row->optim, row->state));
    TRI_TRY(tri_arena_create(&row->arena));
    TRI_TRY(tri_optim_declare(row->optim, row->arena));
    TRI_TRY(tri_arena_commit(row->arena, bench->args->session->device, NULL));
    place_segments(row);
    TRI_TRY(tri_optim_bind(row->optim, row->segments, row->state));
    tri_optim_initialise(row->optim);
    row->moments = tri_state_row(row->state, tri_model_params(bench->model))->data;
    return TRI_OK;
}

static tri_status optimizer_row_create(optimizer_bench *bench, const optimizer_kind *kind,
                                       const optimizer_variant *variant, optimizer_row **out)
{
    TRI_AUTO(optimizer_row) *row = NULL;
    TRI_TRY(TRI_NEW(&row));
    row->bench = bench;
    row->kind = kind;
    row->variant = variant;
    TRI_TRY(tri_state_create(bench->mesh, &row->state));
    TRI_TRY(tri_model_export(bench->model, row->state));
    TRI_TRY(make_segments(row));
    if (!bench->arena) TRI_TRY(make_streams(bench));
    TRI_TRY(open_optimizer(row));
    *out = TRI_MOVE(row);
    return TRI_OK;
}

/* --- measuring */

static double moment_bytes(const optimizer_row *row)
{
    return row->kind->moments * (double)tri_dtype_bytes(row->variant->moments);
}

/* Of a weight, in one pass. */
static double pass_bytes(const optimizer_row *row, int pass)
{
    unsigned use = row->kind->passes[pass];
    double bytes = 0;
    if (use & READ_GRADIENT) bytes += 4;
    if (use & READ_WEIGHT) bytes += 4;
    if (use & CHANGE_WEIGHT) bytes += row->variant->has_copy ? 10 : 8;
    if (use & READ_MOMENTS) bytes += moment_bytes(row);
    if (use & CHANGE_MOMENTS) bytes += 2 * moment_bytes(row);
    return bytes;
}

static tri_status time_step(optimizer_row *row, double *seconds)
{
    double start_s = tri_clock_s();
    tri_optim_step_args args = {.step = ++row->step, .lr = 1e-4, .gradient_scale = 1, .squares = 1};
    TRI_TRY(tri_optim_step(row->optim, &args));
    *seconds = tri_clock_s() - start_s;
    return TRI_OK;
}

/* Where the moments lie tensor by tensor, the loop has each of them in one piece: the same memory. */
static tri_status time_pass(const optimizer_row *row, int pass, int way, double *seconds)
{
    const optimizer_bench *bench = row->bench;
    unsigned use = row->kind->passes[pass];
    bool has_moments = (use & (READ_MOMENTS | CHANGE_MOMENTS)) != 0;
    bool has_copy = (use & CHANGE_WEIGHT) && row->variant->has_copy;
    char *m = has_moments ? row->moments : NULL;
    int64_t step = bench->n * (int64_t)tri_dtype_bytes(row->variant->moments);
    tri_update_traffic_args args = {
        .range = {.n = bench->n,
                  .weight = use & (READ_WEIGHT | CHANGE_WEIGHT) ? bench->weight : NULL,
                  .gradient = use & READ_GRADIENT ? bench->gradient : NULL,
                  .copy = has_copy ? bench->copy : NULL,
                  .copy_type = TRI_BF16},
        .m = m,
        .v = m && row->kind->moments > 1 ? m + step : NULL,
        .moment_type = row->variant->moments,
        .keeps_weight = (use & CHANGE_WEIGHT) == 0,
        .keeps_moments = (use & CHANGE_MOMENTS) == 0,
        .way = (tri_traffic_way)way
    };
    double start_s = tri_clock_s();
    TRI_TRY(tri_update_traffic(bench->kernels, &args));
    *seconds = tri_clock_s() - start_s;
    return TRI_OK;
}

static tri_status run_round(optimizer_row *row, int round)
{
    TRI_TRY(time_step(row, &row->times[round]));
    for (int way = 0; way < TRI_TRAFFIC_WAYS; way++)
        for (int pass = 0; pass < PASSES && row->kind->passes[pass]; pass++)
            TRI_TRY(time_pass(row, pass, way, &row->limits[pass][way][round]));
    return TRI_OK;
}

static double median_of(int n, const double *values)
{
    double sorted[MAX_ROUNDS];
    memcpy(sorted, values, (size_t)n * sizeof *values);
    return tri_bench_median(n, sorted);
}

/* The way with the smallest median. */
static int best_way(const optimizer_row *row, int pass, int n)
{
    int best = 0;
    for (int way = 1; way < TRI_TRAFFIC_WAYS; way++)
        if (median_of(n, row->limits[pass][way]) < median_of(n, row->limits[pass][best]))
            best = way;
    return best;
}

/* All-reduces of a step on the layout of the heading, and the doubles in all of them. */
static tri_status count_messages(const optimizer_row *row, int64_t *calls, int64_t *doubles)
{
    tri_job_plan plan;
    tri_spec spec = row->bench->sharded;
    TRI_TRY(choose(row, &spec, TENSOR * SHARES));
    TRI_TRY(tri_job_plan_make(&spec, TENSOR * SHARES, 0, &plan));
    *calls = *doubles = 0;
    for (int i = 0; i < plan.messages.n; i++) {
        const tri_traffic *entry = &plan.messages.entry[i];
        if (strcmp(entry->group, "optimizer") != 0) continue;
        *calls += entry->calls;
        *doubles += entry->payload_bytes / (int64_t)sizeof(double);
    }
    TRI_CHECK(*calls <= MESSAGES, TRI_EBUG, "%s adds up sums over ranks %lld times in a step",
              row->kind->name, (long long)*calls);
    return TRI_OK;
}

static int append(char *text, int at, const char *more)
{
    int bytes = snprintf(text + at, (size_t)(DETAIL_BYTES - at), "%s", more);
    return at + bytes < DETAIL_BYTES ? at + bytes : DETAIL_BYTES - 1;
}

/* How it was measured, in words. */
static tri_status describe(const optimizer_row *row, const int best[PASSES], char *out)
{
    static const char *const ways[] = {"ordinary stores", "copy around the caches",
                                       "all stores around the caches",
                                       "stream after stream in blocks"};
    char text[128];
    int64_t calls = 0;
    int64_t doubles = 0;
    int at = append(out, 0, "bytes of a weight: ");
    for (int pass = 0; pass < PASSES && row->kind->passes[pass]; pass++) {
        snprintf(text, sizeof text, "%s%g", pass ? " + " : "", pass_bytes(row, pass));
        at = append(out, at, text);
    }
    if (row->kind->why) at = append(out, at, " (");
    if (row->kind->why) at = append(out, at, row->kind->why);
    at = append(out, at, row->kind->why ? "); limit: " : "; limit: ");
    for (int pass = 0; pass < PASSES && row->kind->passes[pass]; pass++) {
        if (pass && best[pass] == best[pass - 1]) continue;
        if (pass) at = append(out, at, ", then ");
        at = append(out, at, ways[best[pass]]);
    }
    TRI_TRY(count_messages(row, &calls, &doubles));
    snprintf(text, sizeof text,
             "; data %d x tensor %d ranks: %lld all-reduces in a step, %lld doubles in all", SHARES,
             TENSOR, (long long)calls, (long long)doubles);
    append(out, at, text);
    return TRI_OK;
}

/* The memory of a host that others use, too, changes its rate from slice to slice. */
static const double memory_slack = 0.15;

static tri_status measure(optimizer_row *row, tri_bench_line *line, char *detail)
{
    int n = (int)row->bench->options.rounds;
    TRI_TRY(run_round(row, 0)); /* does not count */
    for (int round = 0; round < n; round++)
        TRI_TRY(run_round(row, round));
    double sums[MAX_ROUNDS] = {0};
    double bytes = 0;
    double ratios[MAX_ROUNDS];
    int best[PASSES] = {0};
    for (int pass = 0; pass < PASSES && row->kind->passes[pass]; pass++) {
        best[pass] = best_way(row, pass, n);
        bytes += pass_bytes(row, pass) * (double)row->bench->n;
        for (int round = 0; round < n; round++)
            sums[round] += row->limits[pass][best[pass]][round];
    }
    for (int round = 0; round < n; round++)
        ratios[round] = sums[round] / row->times[round];
    TRI_TRY(describe(row, best, detail));
    line->value = bytes * 1e-9 / median_of(n, row->times);
    line->limit = bytes * 1e-9 / median_of(n, sums);
    line->share = median_of(n, ratios);
    return TRI_OK;
}

static tri_status bench_row(optimizer_bench *bench, const optimizer_kind *kind,
                            const optimizer_variant *variant)
{
    char name[NAME_BYTES];
    char detail[DETAIL_BYTES];
    snprintf(name, sizeof name, "optimizer.%s.%s", kind->name, variant->name);
    if (variant->moments == TRI_BF16 && kind->moments == 0) return TRI_OK;
    if (bench->options.only && !strstr(name, bench->options.only)) return TRI_OK;
    TRI_AUTO(optimizer_row) *row = NULL;
    TRI_TRY(optimizer_row_create(bench, kind, variant, &row));
    tri_bench_line line = {.name = name, .unit = "GB/s", .slack = memory_slack, .detail = detail};
    TRI_TRY(measure(row, &line, detail));
    if (tri_comm_rank(bench->args->session->world) != 0) return TRI_OK;
    return tri_bench_report(bench->args, &line);
}

static tri_status find_kind(const char *name, const optimizer_kind **out)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i].name, name) != 0) continue;
        *out = &kinds[i];
        return TRI_OK;
    }
    TRI_FAIL(TRI_EBUG, "bench optimizer does not know the streams of %s", name);
}

tri_status tri_bench_optimizer(const tri_bench_args *args)
{
    TRI_AUTO(optimizer_bench) *bench = NULL;
    TRI_TRY(optimizer_bench_create(args, &bench));
    tri_status result = TRI_OK;
    for (const char *const *name = tri_optim_names(); *name; name++) {
        const optimizer_kind *kind = NULL;
        TRI_TRY(find_kind(*name, &kind));
        for (size_t v = 0; v < sizeof variants / sizeof variants[0]; v++) {
            tri_status rc = bench_row(bench, kind, &variants[v]);
            if (rc != TRI_OK) result = rc; /* all rows are printed before the command fails */
        }
    }
    return result;
}

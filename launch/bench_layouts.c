// SPDX-License-Identifier: Apache-2.0
/* For each layout two jobs exist side by side: that of the layout, and its limit. Steps of the two
 * alternate, and a step is compared with the mean of the limit's before and after it.
 */
#include "launch/bench_layouts.h"

#include "launch/bench_job.h"
#include "launch/env.h"
#include "launch/train.h"
#include "runtime/agree.h"
#include "runtime/base/alloc.h"
#include "runtime/base/clock.h"
#include "runtime/base/int.h"

#include <string.h>
#include <unistd.h>

enum { LAYOUTS_WARM_UP_STEPS = 1, LAYOUTS_MAX_ROUNDS = 64, LAYOUTS_TEXT_BYTES = 128 };

/* A layout over all ranks: %d is their number. */
typedef struct layout_row {
    const char *name;
    const char *parallel; /* of the spec */
    bool is_long;         /* long sequences, against one rank with all threads */
} layout_row;

static const layout_row layout_rows[] = {
    {"layouts.tensor",          "tensor: %d",                           false},
    {"layouts.tensor.chunked",  "tensor: %d, tensor_chunks: 2",         false},
    {"layouts.pipeline.1f1b",   "pipeline: %d, schedule: 1f1b",         false},
    {"layouts.pipeline.zb_h1",  "pipeline: %d, schedule: zb_h1",        false},
    {"layouts.zero3",           "zero: 3",                              false},
    {"layouts.context.ring",    "context: %d, context_mode: ring",      true },
    {"layouts.context.ulysses", "context: %d, context_mode: ulysses",   true },
    {"layouts.context.gather",  "context: %d, context_mode: allgather", true },
};

/* One layout and its limit. */
typedef struct layout_bench {
    const tri_bench_args *args;
    tri_bench_job_options options;
    const layout_row *row;
    int fd;
    tri_job *job;
    tri_job *limit;   /* of all ranks; with long sequences rank 0's alone */
    tri_device *wide; /* rank 0's, with the threads of all */
    tri_comm *self;
    double rate[LAYOUTS_MAX_ROUNDS], limit_rate[LAYOUTS_MAX_ROUNDS + 1]; /* tokens per second */
    double exposed[LAYOUTS_MAX_ROUNDS];                                  /* share of the step */
} layout_bench;

static tri_status open_job(const layout_bench *b, const tri_bench_job_options *options,
                           tri_comm *comm, tri_job **out)
{
    tri_spec spec;
    TRI_TRY(tri_bench_job_spec(options, tri_comm_size(comm), b->fd, &spec));
    TRI_TRY(tri_job_open(&spec, TRI_JOB_TRAIN, comm, out));
    TRI_TRY(tri_job_initialise(*out));
    return TRI_OK;
}

/* The job of one rank that has the threads of all, for the same global batch. */
static tri_status open_alone(layout_bench *b, const tri_bench_job_options *options)
{
    tri_comm *world = b->args->session->world;
    int ranks = tri_comm_size(world);
    tri_bench_job_options alone = *options;
    alone.accumulation *= ranks;
    tri_device_args device = {.name = "cpu",
                              .n_threads = ranks * tri_device_threads(tri_comm_device(world))};
    TRI_CHECK(tri_env_cores() >= tri_min64(device.n_threads, tri_env_host_cores()), TRI_EINVAL,
              "bench layouts: rank 0 alone is to run %d threads, but is bound to %d core(s): start "
              "it with mpirun --bind-to none",
              device.n_threads, tri_env_cores());
    TRI_TRY(tri_device_create(&device, &b->wide));
    TRI_TRY(tri_comm_open_self(b->wide, &b->self));
    return open_job(b, &alone, b->self, &b->limit);
}

static tri_status layout_open(layout_bench *b)
{
    tri_comm *world = b->args->session->world;
    bool is_root = tri_comm_rank(world) == 0;
    tri_bench_job_options options = b->options;
    char text[LAYOUTS_TEXT_BYTES];
    snprintf(text, sizeof text, b->row->parallel, tri_comm_size(world));
    options.parallel = text;
    if (b->row->is_long) {
        options.sequence = b->options.long_sequence;
        options.batch = 1;
        options.accumulation = 1;
    }
    TRI_TRY(tri_agree(world, tri_bench_job_tokens(&options, tri_comm_size(world), &b->fd)));
    TRI_TRY(open_job(b, &options, world, &b->job));
    options.parallel = "zero: 1";
    if (!b->row->is_long) return open_job(b, &options, world, &b->limit);
    TRI_TRY(tri_agree(world, is_root ? open_alone(b, &options) : TRI_OK));
    return TRI_OK;
}

static void layout_close(layout_bench *b)
{
    tri_job_close(&b->limit);
    tri_comm_close(&b->self);
    tri_device_destroy(&b->wide);
    tri_job_close(&b->job);
    if (b->fd >= 0) close(b->fd);
    b->fd = -1;
}

/* A step of one of the jobs, from barrier to barrier of all ranks. */
static tri_status measure(const layout_bench *b, tri_job *job, double *rate, double *exposed)
{
    tri_comm *world = b->args->session->world;
    tri_step_result step = {0};
    TRI_TRY(tri_barrier(world));
    double start_s = tri_clock_s();
    tri_status rc = job ? tri_train_step(job, 0, &step) : TRI_OK;
    TRI_TRY(tri_agree(world, rc));
    double time_s = tri_clock_s() - start_s;
    *rate = (double)step.tokens / time_s;
    if (exposed) *exposed = step.comm_exposed_s / time_s;
    return TRI_OK;
}

static tri_status layout_measure(layout_bench *b)
{
    for (int i = 0; i < LAYOUTS_WARM_UP_STEPS; i++) {
        TRI_TRY(measure(b, b->job, &b->rate[0], NULL));
        TRI_TRY(measure(b, b->limit, &b->limit_rate[0], NULL));
    }
    TRI_TRY(measure(b, b->limit, &b->limit_rate[0], NULL));
    for (int64_t round = 0; round < b->options.rounds; round++) {
        TRI_TRY(measure(b, b->job, &b->rate[round], &b->exposed[round]));
        TRI_TRY(measure(b, b->limit, &b->limit_rate[round + 1], NULL));
    }
    return TRI_OK;
}

/* The limit is not one that cannot be passed: where layouts save memory traffic the share may be above
 * 1, which is no fault of the measurement. */
static tri_status layout_report(layout_bench *b)
{
    int rounds = (int)b->options.rounds;
    double ratio[LAYOUTS_MAX_ROUNDS];
    for (int i = 0; i < rounds; i++)
        ratio[i] = b->rate[i] / ((b->limit_rate[i] + b->limit_rate[i + 1]) / 2);
    double share = tri_bench_median(rounds, ratio);
    double waits = tri_bench_median(rounds, b->exposed);
    char detail[192];
    snprintf(detail, sizeof detail, "%.3f of %s (%.1f tokens/s); %.1f %% of rank 0's step waits",
             share, b->row->is_long ? "one rank with all threads" : "data parallel",
             tri_bench_median(rounds + 1, b->limit_rate), 100 * waits);
    tri_bench_line line = {.name = b->row->name,
                           .value = tri_bench_median(rounds, b->rate),
                           .unit = "tokens/s",
                           .detail = detail};
    TRI_TRY(tri_bench_report(b->args, &line));
    tri_bench_line relative = {.name = b->row->name, .value = share, .unit = "of peer"};
    return tri_bench_report(b->args, &relative);
}

static tri_status layout_run(layout_bench *b)
{
    tri_comm *world = b->args->session->world;
    /* a failure up to here ends the process: closing is collective */
    TRI_TRY(layout_open(b));
    TRI_TRY(layout_measure(b));
    tri_status rc = tri_agree(world, tri_comm_rank(world) == 0 ? layout_report(b) : TRI_OK);
    layout_close(b);
    TRI_TRY(rc);
    return TRI_OK;
}

tri_status tri_bench_layouts(const tri_bench_args *args)
{
    static const tri_bench_job_options defaults = {TRI_BENCH_JOB_124M,    .sequence = 256,
                                                   .long_sequence = 4096, .batch = 1,
                                                   .accumulation = 8,     .rounds = 3};
    tri_comm *world = args->session->world;
    TRI_CHECK(tri_comm_size(world) > 1, TRI_EINVAL,
              "bench layouts needs ranks to lay a job out on: start it with mpirun -n 2 or more");
    for (size_t i = 0; i < sizeof layout_rows / sizeof layout_rows[0]; i++) {
        layout_bench bench = {.args = args, .options = defaults, .row = &layout_rows[i], .fd = -1};
        TRI_TRY(tri_bench_job_parse(args, &bench.options));
        if (bench.options.only && !strstr(bench.row->name, bench.options.only)) continue;
        TRI_CHECK(bench.options.rounds <= LAYOUTS_MAX_ROUNDS, TRI_EINVAL,
                  "bench layouts: --rounds %lld; the most are %d", (long long)bench.options.rounds,
                  LAYOUTS_MAX_ROUNDS);
        TRI_TRY(layout_run(&bench));
    }
    return TRI_OK;
}

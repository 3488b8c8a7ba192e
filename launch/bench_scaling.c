// SPDX-License-Identifier: Apache-2.0
/* Both jobs exist for the whole run, with their own memory. A slice is a step of one kind: of the
 * joint job, or of the jobs that each rank has to itself and that start together. A joint step is
 * compared with the mean of the independent ones before and after it.
 */
#include "launch/bench_scaling.h"

#include "launch/bench_job.h"
#include "launch/train.h"
#include "runtime/agree.h"
#include "runtime/base/alloc.h"
#include "runtime/base/clock.h"

#include <unistd.h>

enum { WARM_UP_STEPS = 1 };

typedef struct scaling_bench {
    const tri_bench_args *args;
    tri_bench_job_options options;
    int fd;
    tri_comm *self;
    tri_job *joint, *own;
    double *joint_rate; /* [rounds] tokens per second */
    double *own_rate;   /* [rounds + 1] */
    double *exposed;    /* [rounds] share of the joint step spent waiting for communication */
} scaling_bench;

static tri_status open_spec(const scaling_bench *b, int n_ranks, tri_spec *out)
{
    return tri_agree(b->args->session->world, tri_bench_job_spec(&b->options, n_ranks, b->fd, out));
}

static tri_status bench_open(scaling_bench *b)
{
    tri_comm *world = b->args->session->world;
    int n_ranks = tri_comm_size(world);
    TRI_TRY(tri_bench_job_parse(b->args, &b->options));
    TRI_CHECK(
        n_ranks > 1, TRI_EINVAL,
        "bench scaling compares a job of several ranks with jobs of one: start it with mpirun "
        "-n 2 or more");
    TRI_TRY(tri_agree(world, tri_bench_job_tokens(&b->options, n_ranks, &b->fd)));
    tri_spec spec;
    TRI_TRY(open_spec(b, n_ranks, &spec));
    TRI_TRY(tri_job_open(&spec, TRI_JOB_TRAIN, world, &b->joint));
    TRI_TRY(tri_job_initialise(b->joint));

    TRI_TRY(open_spec(b, 1, &spec));
    tri_status opened = tri_comm_open_self(tri_comm_device(world), &b->self);
    if (opened == TRI_OK) opened = tri_job_open(&spec, TRI_JOB_TRAIN, b->self, &b->own);
    if (opened == TRI_OK) opened = tri_job_initialise(b->own);
    TRI_TRY(tri_agree(world, opened));

    int64_t rounds = b->options.rounds;
    TRI_TRY(TRI_NEW_ARRAY(rounds, &b->joint_rate));
    TRI_TRY(TRI_NEW_ARRAY(rounds + 1, &b->own_rate));
    TRI_TRY(TRI_NEW_ARRAY(rounds, &b->exposed));
    return TRI_OK;
}

static void bench_close(scaling_bench *b)
{
    TRI_FREE(b->joint_rate);
    TRI_FREE(b->own_rate);
    TRI_FREE(b->exposed);
    tri_job_close(&b->own);
    tri_comm_close(&b->self);
    tri_job_close(&b->joint);
    if (b->fd >= 0) close(b->fd);
    b->fd = -1;
}

/* A step of all ranks together: over when the last of them is done. */
static tri_status measure_joint(scaling_bench *b, double *tokens_per_s, double *exposed)
{
    tri_comm *world = b->args->session->world;
    tri_step_result step;
    TRI_TRY(tri_barrier(world));
    double start_s = tri_clock_s();
    TRI_TRY(tri_train_step(b->joint, 0, &step));
    TRI_TRY(tri_barrier(world));
    double time_s = tri_clock_s() - start_s;
    *tokens_per_s = (double)step.tokens / time_s;
    *exposed = step.comm_exposed_s / time_s;
    return TRI_OK;
}

/* A step of each rank's own job, all at the same time: the sum of their rates. */
static tri_status measure_own(scaling_bench *b, double *tokens_per_s)
{
    tri_comm *world = b->args->session->world;
    tri_step_result step;
    TRI_TRY(tri_barrier(world));
    double start_s = tri_clock_s();
    tri_status rc = tri_train_step(b->own, 0, &step);
    double time_s = tri_clock_s() - start_s;
    TRI_TRY(tri_agree(world, rc));
    double rate = (double)step.tokens / time_s;
    TRI_TRY(tri_allreduce(world, tri_span_make(&rate, 1, TRI_F64), TRI_SUM, NULL));
    *tokens_per_s = rate;
    return TRI_OK;
}

static tri_status measure(scaling_bench *b)
{
    for (int i = 0; i < WARM_UP_STEPS; i++) {
        TRI_TRY(measure_joint(b, &b->joint_rate[0], &b->exposed[0]));
        TRI_TRY(measure_own(b, &b->own_rate[0]));
    }
    TRI_TRY(measure_own(b, &b->own_rate[0]));
    for (int64_t round = 0; round < b->options.rounds; round++) {
        TRI_TRY(measure_joint(b, &b->joint_rate[round], &b->exposed[round]));
        TRI_TRY(measure_own(b, &b->own_rate[round + 1]));
    }
    return TRI_OK;
}

static tri_status report(const scaling_bench *b)
{
    int rounds = (int)b->options.rounds;
    double *ratio = NULL;
    TRI_TRY(TRI_NEW_ARRAY(rounds, &ratio));
    for (int i = 0; i < rounds; i++)
        ratio[i] = b->joint_rate[i] / ((b->own_rate[i] + b->own_rate[i + 1]) / 2);
    double share = tri_bench_median(rounds, ratio);
    TRI_FREE(ratio);
    char detail[128];
    snprintf(detail, sizeof detail,
             "%d ranks, backend %s; limit: independent jobs at the same time",
             tri_comm_size(b->args->session->world), tri_comm_backend(b->args->session->world));
    tri_bench_line line = {"scaling.tokens",
                           tri_bench_median(rounds, b->joint_rate),
                           "tokens/s",
                           tri_bench_median(rounds + 1, b->own_rate),
                           share,
                           detail,
                           0};
    tri_bench_line exposed = {.name = "scaling.exposed",
                              .value = tri_bench_median(rounds, b->exposed),
                              .unit = "of step",
                              .detail = "waiting for communication, rank 0"};
    tri_status rc = tri_bench_report(b->args, &line);
    TRI_TRY(tri_bench_report(b->args, &exposed));
    return rc;
}

tri_status tri_bench_scaling(const tri_bench_args *args)
{
    scaling_bench bench = {
        .args = args,
        .fd = -1,
        .options = {TRI_BENCH_JOB_124M, .sequence = 256, .batch = 4, .accumulation = 4, .zero = 1,
                    .rounds = 4}
    };
    /* a failure up to here ends the process: closing is collective */
    TRI_TRY(bench_open(&bench));
    TRI_TRY(measure(&bench));
    tri_comm *world = args->session->world;
    tri_status rc = tri_agree(world, tri_comm_rank(world) == 0 ? report(&bench) : TRI_OK);
    bench_close(&bench);
    TRI_TRY(rc);
    return TRI_OK;
}

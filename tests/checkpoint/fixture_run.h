// SPDX-License-Identifier: Apache-2.0
/* Ranks that are threads, each with its own fixture: what fault tests run. */
#ifndef TRI_TESTS_CHECKPOINT_FIXTURE_RUN_H
#define TRI_TESTS_CHECKPOINT_FIXTURE_RUN_H

#include "checkpoint/folder.h"
#include "tests/checkpoint/fixture_io.h"

/* What the ranks of one world do. */
typedef struct fixture_job {
    fixture_layout layout;
    const char *dir;
    int64_t step;
    int64_t scale; /* 0: 1 */
    int keep;
    tri_ckpt_hook hook; /* of rank `hooked` */
    int hooked;
    tri_status (*body)(const struct fixture_job *job, const fixture *f, tri_comm *world);
} fixture_job;

static inline tri_status fixture_rank(tri_comm *world, void *arg)
{
    const fixture_job *job = arg;
    TRI_AUTO(fixture) f = {0};
    TRI_TRY(fixture_create(world, &job->layout, job->scale ? job->scale : 1, &f));
    return job->body(job, &f, world);
}

static inline tri_status fixture_run(fixture_job job)
{
    int ranks = 1;
    for (int a = 0; a < TRI_AXES; a++)
        ranks *= job.layout.size[a];
    tri_device_args device = {.name = "cpu", .n_threads = 1, .yield = true};
    return tri_comm_run_threads(ranks, &device, fixture_rank, &job);
}

/* Bodies: save; restore, which expects job->step (-1: nothing there). */
static inline tri_status fixture_body_save(const fixture_job *job, const fixture *f,
                                           tri_comm *world)
{
    TRI_TRY(fixture_fill(f, job->step));
    tri_ckpt_save_args args = fixture_save_args(f, world, job->dir, job->step, job->keep);
    if (tri_comm_rank(world) == job->hooked) args.hook = job->hook;
    return tri_ckpt_save(&args);
}

static inline tri_status fixture_body_restore(const fixture_job *job, const fixture *f,
                                              tri_comm *world)
{
    int64_t step = 0;
    TRI_TRY(fixture_restore(f, world, job->dir, &step));
    EXPECT(step == job->step, "found step %lld, not %lld", (long long)step, (long long)job->step);
    return TRI_OK;
}

#endif

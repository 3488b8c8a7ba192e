// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=180
/* A process that is killed at any point of a save, waiting for it or training on, leaves the old checkpoint or
 * the new one, whole; what it left half-done is removed by the next save.
 */
#include "checkpoint/saver.h"
#include "tests/checkpoint/fixture_run.h"

#include <signal.h>
#include <sys/wait.h>

static const fixture_layout two = {
    {1, 2, 1, 1},
    HOLD_SHARDS
};
static const fixture_layout one = {
    {1, 1, 1, 1},
    HOLD_WHOLE
};

typedef tri_status (*save_body)(const fixture_job *job, const fixture *f, tri_comm *world);

/* Steps that change every row go on until the save is through. */
static tri_status train_on(tri_saver *saver, const fixture *f, tri_comm *world, int64_t step)
{
    tri_saver_outcome outcome = TRI_SAVER_GOES_ON;
    tri_err failure = {.code = TRI_OK};
    while (tri_saver_is_busy(saver)) {
        int64_t done = tri_saver_done(saver);
        TRI_TRY(tri_allreduce(world, tri_span_make(&done, 1, TRI_I64), TRI_SUM, NULL));
        tri_saver_guard(saver);
        TRI_TRY(fixture_fill(f, ++step));
        if (done == tri_comm_size(world)) TRI_TRY(tri_saver_advance(saver, &outcome, &failure));
    }
    return outcome == TRI_SAVER_FAILED ? tri_err_put(&failure) : TRI_OK;
}

static tri_status save_beside(const fixture_job *job, const fixture *f, tri_comm *world)
{
    tri_saver_args args = {.state = f->state,
                           .world = world,
                           .version = "test 1",
                           .is_async = true,
                           .keep = job->keep};
    if (tri_comm_rank(world) == job->hooked) args.hook = job->hook;
    TRI_AUTO(tri_arena) *arena = NULL;
    TRI_AUTO(tri_saver) *saver = NULL;
    TRI_TRY(tri_saver_create(&args, &saver));
    TRI_TRY(tri_arena_create(&arena));
    TRI_TRY(tri_saver_declare(saver, arena));
    TRI_TRY(tri_arena_commit(arena, tri_comm_device(world), world));
    TRI_TRY(fixture_fill(f, job->step));
    TRI_TRY(tri_saver_begin(saver, job->dir, job->step, "name: test\n"));
    return train_on(saver, f, world, job->step);
}

static void die_at(void *arg, tri_ckpt_point point)
{
    if (point == *(const tri_ckpt_point *)arg) kill(getpid(), SIGKILL);
}

/* Save step 2 in a process of its own, in which rank `rank` is killed at `point`. */
static void save_and_die(const char *dir, save_body body, int rank, tri_ckpt_point point)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        fixture_job job = {.layout = two, .dir = dir, .step = 2, .keep = 1};
        job.hook = (tri_ckpt_hook){die_at, &point};
        job.hooked = rank;
        job.body = body;
        _exit(fixture_run(job) == TRI_OK ? 0 : 3);
    }
    int status = 0;
    EXPECT(waitpid(child, &status, 0) == child, "waiting");
    bool passed = rank == 0 || point <= TRI_CKPT_AT_AGREED || point == TRI_CKPT_AT_DONE;
    if (passed)
        EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "rank %d at %d: status %x", rank,
               (int)point, (unsigned)status);
    else
        EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0, "rank %d at %d: status %x", rank,
               (int)point, (unsigned)status);
}

static tri_status crash_at(save_body body, int rank, tri_ckpt_point point)
{
    char dir[64];
    TRI_TRY(fixture_folder(dir));
    fixture_job job = {.layout = two, .dir = dir, .step = 1, .body = fixture_body_save};
    TRI_TRY(fixture_run(job));
    save_and_die(dir, body, rank, point);

    job.layout = one;
    job.body = fixture_body_restore;
    bool runs_on = rank == 1 && point > TRI_CKPT_AT_AGREED;
    job.step = runs_on || point >= TRI_CKPT_AT_COMMITTED ? 2 : 1;
    TRI_TRY(fixture_run(job));

    job = (fixture_job){.layout = two, .dir = dir, .step = 3, .keep = 1, .body = fixture_body_save};
    TRI_TRY(fixture_run(job));
    TRI_AUTO(tri_folder) folder = {0};
    TRI_TRY(tri_folder_list(dir, &folder));
    EXPECT(folder.n == 1 && folder.entries[0].header.step == 3,
           "rank %d at %d: %lld folders after the next save", rank, (int)point,
           (long long)folder.n);
    job.body = fixture_body_restore;
    TRI_TRY(fixture_run(job));
    fixture_remove(dir, 1);
    return TRI_OK;
}

TRI_TEST(killed_at_every_point)
{
    for (int point = 0; point < TRI_CKPT_POINTS; point++)
        for (int rank = 0; rank < 2; rank++)
            TRI_TRY(crash_at(fixture_body_save, rank, (tri_ckpt_point)point));
    return TRI_OK;
}

TRI_TEST(killed_at_every_point_beside_training)
{
    for (int point = 0; point < TRI_CKPT_POINTS; point++)
        for (int rank = 0; rank < 2; rank++)
            TRI_TRY(crash_at(save_beside, rank, (tri_ckpt_point)point));
    return TRI_OK;
}

/* Save step after step until killed, by turns. */
static void save_for_ever(const char *dir)
{
    for (int64_t step = 2;; step++) {
        fixture_job job = {.layout = two, .dir = dir, .step = step, .keep = 1};
        job.body = step % 2 ? fixture_body_save : save_beside;
        if (fixture_run(job) != TRI_OK) _exit(3);
    }
}

TRI_TEST(killed_at_any_time)
{
    char dir[64];
    TRI_TRY(fixture_folder(dir));
    fixture_job job = {.layout = two, .dir = dir, .step = 1, .body = fixture_body_save};
    TRI_TRY(fixture_run(job));
    for (int round = 0; round < 8; round++) {
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) save_for_ever(dir);
        usleep(20000 + 7919u * (unsigned)round);
        kill(child, SIGKILL);
        int status = 0;
        EXPECT(waitpid(child, &status, 0) == child && WIFSIGNALED(status), "status %x",
               (unsigned)status);
        tri_ckpt_info info = {0};
        TRI_TRY(tri_ckpt_read_info(dir, &info));
        TRI_TRY(tri_ckpt_verify(info.path));
        job = (fixture_job){
            .layout = one, .dir = dir, .step = info.step, .body = fixture_body_restore};
        tri_ckpt_info_fini(&info);
        TRI_TRY(fixture_run(job));
    }
    fixture_remove(dir, 1);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(killed_at_every_point),
              TRI_TEST_ROW(killed_at_every_point_beside_training), TRI_TEST_ROW(killed_at_any_time))

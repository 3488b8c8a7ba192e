// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120
/* Disks that are full, folders that cannot be made, files that vanish: a status on every rank, the
 * older checkpoints as they were, nothing left behind. A full disk is played by a limit on file sizes.
 */
#include "tests/checkpoint/fixture_run.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static const fixture_layout two = {
    {1, 2, 1, 1},
    HOLD_SHARDS
};

/* In a process of its own: save step 2 while no file may be longer than `limit`; then without. The exit
 * code tells what happened: 0 the limit was no obstacle, 1 it was, answered as it should be. */
static int save_limited(const char *dir, rlim_t limit)
{
    struct rlimit bound;
    signal(SIGXFSZ, SIG_IGN);
    alarm(60);
    getrlimit(RLIMIT_FSIZE, &bound);
    rlim_t before = bound.rlim_cur;
    fixture_job job = {.layout = two, .dir = dir, .step = 2, .body = fixture_body_save};
    bound.rlim_cur = limit;
    setrlimit(RLIMIT_FSIZE, &bound);
    tri_status rc = fixture_run(job);
    bound.rlim_cur = before;
    setrlimit(RLIMIT_FSIZE, &bound);
    if (rc == TRI_OK) return 0;
    if (rc != TRI_EIO || !strstr(tri_err_last()->text, dir)) {
        fprintf(stderr, "limit %llu: %s %s\n", (unsigned long long)limit, tri_status_name(rc),
                tri_err_last()->text);
        return 4;
    }
    tri_err_clear();
    TRI_AUTO(tri_folder) folder = {0};
    bool old_alone = tri_folder_list(dir, &folder) == TRI_OK && folder.n == 1 &&
                     folder.entries[0].header.step == 1;
    if (!old_alone) return 5;
    return fixture_run(job) == TRI_OK ? 1 : 6;
}

TRI_TEST(full_disk_at_every_size)
{
    static const rlim_t limits[] = {0,    100,  600,   1000,  2000,  3000,  4000,  5000,
                                    8000, 9000, 10000, 12000, 16000, 24000, 32000, 1 << 20};
    int answered = 0;
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        char dir[64];
        TRI_TRY(fixture_folder(dir));
        fixture_job job = {.layout = two, .dir = dir, .step = 1, .body = fixture_body_save};
        TRI_TRY(fixture_run(job));
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) exit(save_limited(dir, limits[i])); /* HDF5 closes too */
        int status = 0;
        EXPECT(waitpid(child, &status, 0) == child, "waiting");
        EXPECT(WIFEXITED(status) && WEXITSTATUS(status) <= 1, "limit %llu: status %x",
               (unsigned long long)limits[i], (unsigned)status);
        answered += WIFEXITED(status) && WEXITSTATUS(status) == 1;
        job.step = 2;
        job.body = fixture_body_restore;
        TRI_TRY(fixture_run(job));
        fixture_remove(dir, 1);
    }
    EXPECT(answered >= 8 && answered < 16, "%d of 16 limits were an obstacle", answered);
    return TRI_OK;
}

/* Rank 1's file vanishes while its data are written. */
static void lose_shard(void *arg, tri_ckpt_point point)
{
    TRI_AUTO(tri_folder) folder = {0};
    char path[256];
    if (point != TRI_CKPT_AT_HALF || tri_folder_list(arg, &folder) != TRI_OK) return;
    for (int64_t i = 0; i < folder.n; i++) {
        if (folder.entries[i].state != TRI_FOLDER_LEFTOVER) continue;
        snprintf(path, sizeof path, "%s/%s/shard-00001.h5", (const char *)arg,
                 folder.entries[i].name);
        EXPECT(unlink(path) == 0, "removing %s", path);
    }
}

static tri_status save_lost(const fixture_job *job, const fixture *f, tri_comm *world)
{
    tri_status want = tri_comm_rank(world) == 1 ? TRI_EIO : TRI_EPEER;
    EXPECT_STATUS(fixture_body_save(job, f, world), want,
                  "shard-00001.h5 was removed while it was written");
    return TRI_OK;
}

TRI_TEST(all_ranks_learn_of_one_ranks_failure)
{
    char dir[64];
    TRI_TRY(fixture_folder(dir));
    fixture_job job = {.layout = two, .dir = dir, .step = 1, .body = fixture_body_save};
    TRI_TRY(fixture_run(job));
    job.body = save_lost;
    job.hook = (tri_ckpt_hook){lose_shard, dir};
    job.hooked = 1;
    job.step = 2;
    TRI_TRY(fixture_run(job));
    TRI_AUTO(tri_folder) folder = {0};
    TRI_TRY(tri_folder_list(dir, &folder));
    EXPECT(folder.n == 1, "%lld folders", (long long)folder.n);
    job = (fixture_job){.layout = two, .dir = dir, .step = 1, .body = fixture_body_restore};
    TRI_TRY(fixture_run(job));
    fixture_remove(dir, 1);
    return TRI_OK;
}

TRI_TEST(folders_that_cannot_be_are_named)
{
    char dir[64];
    char path[128];
    TRI_TRY(fixture_folder(dir));
    snprintf(path, sizeof path, "%s/file", dir);
    int fd = open(path, O_CREAT | O_WRONLY, 0644);
    EXPECT(fd >= 0 && close(fd) == 0, "%s", path);
    fixture_job job = {.layout = two, .dir = path, .step = 1, .body = fixture_body_save};
    EXPECT_STATUS(fixture_run(job), TRI_EIO, "file: a file of this name is there");
    snprintf(path, sizeof path, "%s/file/below", dir);
    EXPECT_STATUS(fixture_run(job), TRI_EIO, "file/below: Not a directory");
    job.body = fixture_body_restore;
    EXPECT_STATUS(fixture_run(job), TRI_EIO, "file/below: Not a directory");
    job.dir = "/proc/ckpt";
    job.body = fixture_body_save;
    EXPECT_STATUS(fixture_run(job), TRI_EIO, "/proc/ckpt");
    fixture_remove(dir, 0);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(full_disk_at_every_size),
              TRI_TEST_ROW(all_ranks_learn_of_one_ranks_failure),
              TRI_TEST_ROW(folders_that_cannot_be_are_named))

// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=180
/* Flipped bits, cut files, missing files: found, with file and row named, by verify and by load; the
 * newest checkpoint that is whole is the one that is found.
 */
#include "tests/checkpoint/fixture_run.h"

#include <fcntl.h>
#include <sys/stat.h>

static const fixture_layout two = {
    {1, 2, 1, 1},
    HOLD_SHARDS
};
static const fixture_layout three = {
    {1, 1, 1, 3},
    HOLD_WHOLE
};

static const char *const files[] = {"shard-00000.h5", "shard-00001.h5", "universal.h5",
                                    "manifest.h5"};

/* Path of a file of the newest checkpoint in `dir`. */
static tri_status newest_file(const char *dir, const char *name, char out[TRI_CKPT_PATH_BYTES + 64])
{
    tri_ckpt_info info = {0};
    TRI_TRY(tri_ckpt_read_info(dir, &info));
    snprintf(out, TRI_CKPT_PATH_BYTES + 64, "%s/%s", info.path, name);
    tri_ckpt_info_fini(&info);
    return TRI_OK;
}

static void flip(const char *path, off_t at, int bit)
{
    unsigned char byte = 0;
    int fd = open(path, O_RDWR);
    EXPECT(pread(fd, &byte, 1, at) == 1, "reading %s", path);
    byte ^= (unsigned char)(1u << bit);
    EXPECT(pwrite(fd, &byte, 1, at) == 1, "writing %s", path);
    close(fd);
}

static off_t size_of(const char *path)
{
    struct stat about = {.st_size = -1};
    EXPECT(stat(path, &about) == 0, "%s", path);
    return about.st_size;
}

TRI_TEST(a_flipped_bit_anywhere_is_found)
{
    char dir[64];
    char folder[TRI_CKPT_PATH_BYTES + 64];
    TRI_TRY(fixture_folder(dir));
    fixture_job job = {.layout = two, .dir = dir, .step = 1, .body = fixture_body_save};
    TRI_TRY(fixture_run(job));
    TRI_TRY(newest_file(dir, "", folder));
    folder[strlen(folder) - 1] = '\0';
    for (int i = 0; i < 4; i++) {
        char path[TRI_CKPT_PATH_BYTES + 128];
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        off_t bytes = size_of(path);
        for (off_t k = 0; k < 300; k++) {
            off_t at = k < 40 ? k * 13 : bytes * k / 300;
            flip(path, at, (int)k % 8);
            tri_status rc = tri_ckpt_verify(folder);
            EXPECT(rc == TRI_EFORMAT || rc == TRI_EUNSUP, "%s byte %lld: %s", files[i],
                   (long long)at, tri_status_name(rc));
            EXPECT(strstr(tri_err_last()->text, files[i]), "%s byte %lld: %s", files[i],
                   (long long)at, tri_err_last()->text);
            tri_err_clear();
            flip(path, at, (int)k % 8);
        }
    }
    TRI_TRY(tri_ckpt_verify(folder));
    fixture_remove(dir, 1);
    return TRI_OK;
}

/* Find where a row's bytes lie: by looking for its first value in the shards. */
static off_t find_bytes(const char *path, const void *bytes, size_t n)
{
    static char content[1 << 20];
    int fd = open(path, O_RDONLY);
    ssize_t got = read(fd, content, sizeof content);
    close(fd);
    char *at = got > 0 ? memmem(content, (size_t)got, bytes, n) : NULL;
    return at ? at - content : -1;
}

static tri_status load_damaged(const fixture_job *job, const fixture *f, tri_comm *world)
{
    int64_t step = 0;
    tri_status rc = fixture_restore(f, world, job->dir, &step);
    EXPECT(rc == TRI_EFORMAT || rc == TRI_EPEER, "load gave %s", tri_status_name(rc));
    EXPECT(strstr(tri_err_last()->text, "shard-00000.h5 is damaged: row 'param/layers.0.cube'"),
           "message '%s'", tri_err_last()->text);
    tri_err_clear();
    return TRI_OK;
}

TRI_TEST(load_names_file_and_row)
{
    char dir[64];
    char path[TRI_CKPT_PATH_BYTES + 64];
    TRI_TRY(fixture_folder(dir));
    fixture_job job = {.layout = two, .dir = dir, .step = 1, .body = fixture_body_save};
    TRI_TRY(fixture_run(job));
    TRI_TRY(newest_file(dir, "shard-00000.h5", path));
    uint32_t first[3];
    for (int i = 0; i < 3; i++)
        first[i] = (uint32_t)fixture_bits(TRI_F32, fixture_value("param/layers.0.cube", i, 1));
    off_t at = find_bytes(path, first, sizeof first);
    EXPECT(at > 0, "the row is not in %s", path);
    flip(path, at + 5, 3);
    job.layout = three;
    job.body = load_damaged;
    TRI_TRY(fixture_run(job));
    flip(path, at + 5, 3);
    job.body = fixture_body_restore;
    TRI_TRY(fixture_run(job));
    fixture_remove(dir, 1);
    return TRI_OK;
}

/* Step 1 whole, then step 2, of which one file is cut to `bytes` (-1: removed). */
static tri_status fall_back(const char *name, off_t bytes)
{
    char dir[64];
    char path[TRI_CKPT_PATH_BYTES + 64];
    TRI_TRY(fixture_folder(dir));
    fixture_job job = {.layout = two, .dir = dir, .step = 1, .body = fixture_body_save};
    TRI_TRY(fixture_run(job));
    job.step = 2;
    TRI_TRY(fixture_run(job));
    TRI_TRY(newest_file(dir, name, path));
    if (bytes < 0)
        EXPECT(unlink(path) == 0, "%s", path);
    else
        EXPECT(truncate(path, bytes < size_of(path) ? bytes : size_of(path) - 1) == 0, "%s", path);
    job = (fixture_job){.layout = three, .dir = dir, .step = 1, .body = fixture_body_restore};
    TRI_TRY(fixture_run(job));

    /* The next save numbers on, and keeps what it cannot judge. */
    job = (fixture_job){.layout = two, .dir = dir, .step = 3, .keep = 3, .body = fixture_body_save};
    TRI_TRY(fixture_run(job));
    job.body = fixture_body_restore;
    TRI_TRY(fixture_run(job));
    fixture_remove(dir, 1);
    return TRI_OK;
}

TRI_TEST(the_newest_whole_one_is_found)
{
    for (int i = 0; i < 4; i++) {
        TRI_TRY(fall_back(files[i], -1));
        TRI_TRY(fall_back(files[i], 0));
        TRI_TRY(fall_back(files[i], 300));
        TRI_TRY(fall_back(files[i], 1 << 30)); /* the last byte */
    }
    return TRI_OK;
}

static tri_status load_older(const fixture_job *job, const fixture *f, tri_comm *world)
{
    bool found = false;
    tri_ckpt_info info = {0};
    TRI_TRY(tri_ckpt_find_older(job->dir, 2, world, &found, &info));
    EXPECT(found && info.step == 1 && info.sequence == 1, "found step %lld", (long long)info.step);
    tri_ckpt_load_args args = {.path = info.path, .state = f->state, .world = world};
    tri_status rc = tri_ckpt_load(&args);
    tri_ckpt_info_fini(&info);
    TRI_TRY(rc);
    TRI_TRY(fixture_expect(f, 1));
    TRI_TRY(tri_ckpt_find_older(job->dir, 1, world, &found, &info));
    EXPECT(!found, "there is none before the first");
    return TRI_OK;
}

TRI_TEST(an_older_one_can_be_asked_for)
{
    char dir[64];
    TRI_TRY(fixture_folder(dir));
    fixture_job job = {.layout = two, .dir = dir, .step = 1, .body = fixture_body_save};
    TRI_TRY(fixture_run(job));
    job.step = 2;
    TRI_TRY(fixture_run(job));
    job.body = load_older;
    TRI_TRY(fixture_run(job));
    fixture_remove(dir, 1);
    return TRI_OK;
}

static tri_status refuse_newest(const fixture_job *job, const fixture *f, tri_comm *world)
{
    (void)f;
    bool found = false;
    tri_ckpt_info info = {0};
    tri_status rc = tri_ckpt_find_newest(job->dir, world, &found, &info);
    EXPECT(rc == (tri_comm_rank(world) == 0 ? TRI_EFORMAT : TRI_EPEER), "found %d, status %s",
           found, tri_status_name(rc));
    EXPECT(strstr(tri_err_last()->text, "none of the 1 checkpoint(s)"), "message '%s'",
           tri_err_last()->text);
    tri_err_clear();
    return TRI_OK;
}

TRI_TEST(a_job_does_not_begin_anew_by_itself)
{
    char dir[64];
    char path[TRI_CKPT_PATH_BYTES + 64];
    TRI_TRY(fixture_folder(dir));
    fixture_job job = {.layout = two, .dir = dir, .step = 1, .body = fixture_body_save};
    TRI_TRY(fixture_run(job));
    TRI_TRY(newest_file(dir, "manifest.h5", path));
    EXPECT(truncate(path, 300) == 0, "%s", path);
    job.body = refuse_newest;
    TRI_TRY(fixture_run(job));
    fixture_remove(dir, 1);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(a_job_does_not_begin_anew_by_itself),
              TRI_TEST_ROW(a_flipped_bit_anywhere_is_found), TRI_TEST_ROW(load_names_file_and_row),
              TRI_TEST_ROW(the_newest_whole_one_is_found),
              TRI_TEST_ROW(an_older_one_can_be_asked_for))

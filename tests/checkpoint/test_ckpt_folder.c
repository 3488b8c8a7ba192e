// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1
/* A folder of checkpoints among other things: thousands of them, links, manifests of other versions,
 * checkpoints that are deleted while somebody reads.
 */
#include "runtime/base/crc.h"
#include "tests/checkpoint/fixture_run.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const fixture_layout two = {
    {1, 2, 1, 1},
    HOLD_SHARDS
};

/* A manifest of nothing but a header. */
static void make_header(const char *path, int format, int64_t sequence)
{
    char file[TRI_CKPT_PATH_BYTES];
    char text[512] = "";
    int n = snprintf(text, sizeof text,
                     "trireme manifest %d\nuuid %s\nsequence %lld\nstep 1\nbytes 512\n"
                     "crc32c 00000000\n",
                     format, path + strlen(path) - 36, (long long)sequence);
    snprintf(text + n, sizeof text - (size_t)n, "header %08x\n", tri_crc32c(text, (size_t)n));
    snprintf(file, sizeof file, "%s/%s", path, TRI_MANIFEST_NAME);
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    EXPECT(fd >= 0 && write(fd, text, sizeof text) == (ssize_t)sizeof text, "%s", file);
    close(fd);
}

/* DIR/step-STEP.UUID, of which no two are alike. */
static void make_folder(const char *dir, int64_t step, char path[TRI_CKPT_PATH_BYTES])
{
    char uuid[64];
    char name[TRI_FOLDER_NAME_BYTES];
    snprintf(uuid, sizeof uuid, "%08llx-89ab-4def-8123-456789abcdef", (unsigned long long)step);
    tri_folder_name(step, uuid, name);
    snprintf(path, TRI_CKPT_PATH_BYTES, "%s/%s", dir, name);
    EXPECT(mkdir(path, 0777) == 0, "%s", path);
}

TRI_TEST(thousands_are_listed_and_pruned)
{
    enum { MANY = 3000 };
    char dir[64];
    char path[TRI_CKPT_PATH_BYTES];
    TRI_TRY(fixture_folder(dir));
    for (int64_t i = 0; i < MANY; i++) {
        make_folder(dir, i * 7 % MANY, path);
        if (i % 3) make_header(path, TRI_MANIFEST_FORMAT, i);
    }
    TRI_AUTO(tri_folder) folder = {0};
    TRI_TRY(tri_folder_list(dir, &folder));
    EXPECT(folder.n == MANY, "%lld folders", (long long)folder.n);
    for (int64_t i = 0; i < folder.n; i++) {
        bool is_whole = i < MANY / 3 * 2;
        EXPECT(folder.entries[i].state == (is_whole ? TRI_FOLDER_COMMITTED : TRI_FOLDER_LEFTOVER),
               "entry %lld", (long long)i);
        if (i && is_whole)
            EXPECT(folder.entries[i].header.sequence < folder.entries[i - 1].header.sequence,
                   "entry %lld", (long long)i);
    }
    tri_folder_prune(dir, 10, 0, NULL);
    tri_folder_destroy(&folder);
    TRI_TRY(tri_folder_list(dir, &folder));
    EXPECT(folder.n == 10 && folder.entries[0].header.sequence == MANY - 1, "%lld folders",
           (long long)folder.n);
    fixture_remove(dir, 1);
    return TRI_OK;
}

static bool is_there(const char *dir, const char *name)
{
    char path[TRI_CKPT_PATH_BYTES];
    struct stat about;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return lstat(path, &about) == 0;
}

/* What is not ours, or cannot be judged, stays, and keeps nothing else from being removed. */
TRI_TEST(foreign_things_and_later_versions_stay)
{
    char dir[64];
    char other[64];
    char path[TRI_CKPT_PATH_BYTES];
    char file[TRI_CKPT_PATH_BYTES + 32];
    TRI_TRY(fixture_folder(dir));
    TRI_TRY(fixture_folder(other));
    for (int i = 1; i <= 8; i++) {
        make_folder(i == 8 ? other : dir, i, path);
        make_header(path, i == 3 ? TRI_MANIFEST_FORMAT + 1 : TRI_MANIFEST_FORMAT, i);
        snprintf(file, sizeof file, "%s/thesis.txt", path);
        if (i == 2) EXPECT(close(open(file, O_CREAT | O_WRONLY, 0666)) == 0, "%s", file);
    }
    char link[TRI_CKPT_PATH_BYTES];
    snprintf(link, sizeof link, "%s%s", dir, path + strlen(other));
    EXPECT(symlink(path, link) == 0, "%s", link);
    snprintf(file, sizeof file, "%s/step-9.00000009-89ab-4def-8123-456789abcdef", dir);
    EXPECT(symlink("/nowhere", file) == 0, "%s", file);
    TRI_AUTO(tri_folder) folder = {0};
    TRI_TRY(tri_folder_list(dir, &folder));
    EXPECT(folder.n == 8 && folder.entries[0].is_link && folder.entries[0].header.sequence == 8 &&
               folder.entries[7].state == TRI_FOLDER_DAMAGED,
           "%lld folders", (long long)folder.n);
    EXPECT(strstr(folder.entries[7].error.text, "of a later version"), "message '%s'",
           folder.entries[7].error.text);
    tri_manifest_head head = {.step = 10};
    TRI_TRY(tri_folder_begin(dir, &head, path));
    EXPECT(head.sequence == 10, "sequence %lld: a damaged one may be newer",
           (long long)head.sequence);
    tri_folder_prune(dir, 1, 0, NULL);
    tri_folder_prune(dir, 1, 0, NULL);
    static const bool stays[] = {false, true, true, false, false, false, false, true, true};
    for (int i = 1; i <= 9; i++) {
        char name[TRI_FOLDER_NAME_BYTES];
        snprintf(name, sizeof name,
                 i == 9 ? "step-%d.%08x-89ab-4def-8123-456789abcdef"
                        : "step-%06d.%08x-89ab-4def-8123-456789abcdef",
                 i, i);
        EXPECT(is_there(dir, name) == stays[i - 1], "folder %s", name);
    }
    EXPECT(is_there(dir, "step-000002.00000002-89ab-4def-8123-456789abcdef/thesis.txt"),
           "a thesis was removed");
    EXPECT(is_there(other, "step-000008.00000008-89ab-4def-8123-456789abcdef/manifest.h5"),
           "what a link leads to was removed");
    fixture_remove(dir, 1);
    fixture_remove(other, 1);
    return TRI_OK;
}

/* A job saves and deletes in another process; who looks always finds a whole one. */
TRI_TEST(one_that_vanishes_is_not_damaged)
{
    char dir[64];
    TRI_TRY(fixture_folder(dir));
    fixture_job job = {.layout = two, .dir = dir, .keep = 1, .body = fixture_body_save};
    TRI_TRY(fixture_run(job));
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        tri_status rc = TRI_OK;
        for (job.step = 1; job.step <= 40 && rc == TRI_OK; job.step++)
            rc = fixture_run(job);
        _exit(rc != TRI_OK);
    }
    int status = 0;
    int64_t n_found = 0;
    int64_t last = 0;
    while (waitpid(child, &status, WNOHANG) == 0) {
        tri_ckpt_info info = {0};
        tri_status rc = tri_ckpt_read_info(dir, &info);
        EXPECT(rc == TRI_OK && info.step >= last, "after step %lld: %lld %s", (long long)last,
               (long long)info.step, tri_err_last()->text);
        last = info.step;
        n_found++;
        tri_ckpt_info_fini(&info);
        tri_err_clear();
    }
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0 && n_found > 0, "status %x", status);
    fixture_remove(dir, 1);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(thousands_are_listed_and_pruned),
              TRI_TEST_ROW(foreign_things_and_later_versions_stay),
              TRI_TEST_ROW(one_that_vanishes_is_not_damaged))

// SPDX-License-Identifier: Apache-2.0
/* Claiming a run's folder. A folder is ours if its job.yaml begins with our mark (a spec that a person
 * wrote does not) and has the same name.
 */
#include "launch/run_dir.h"

#include "launch/spec_table.h"
#include "runtime/agree.h"
#include "runtime/base/alloc.h"
#include "runtime/base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char spec_file[] = "job.yaml";
static const char spec_mark[] = "# the resolved job of this run, written by trireme train\n";
static const char lock_file[] = "lock";
static const char temporary_file[] = ".new";
static const char finished_file[] = "finished";

static tri_status join(char out[TRI_RUN_PATH_BYTES], const char *folder, const char *name)
{
    int n = snprintf(out, TRI_RUN_PATH_BYTES, "%s%s%s", folder, name[0] ? "/" : "", name);
    TRI_CHECK(n > 0 && n < TRI_RUN_PATH_BYTES, TRI_EINVAL, "the path %.80s... is too long", folder);
    return TRI_OK;
}

/* mkdir -p. */
static tri_status make_folders(const char *path)
{
    char part[TRI_RUN_PATH_BYTES];
    TRI_TRY(join(part, path, ""));
    for (char *slash = part;;) {
        slash = strchr(slash + 1, '/');
        if (slash) *slash = '\0';
        int rc = mkdir(part, 0777);
        TRI_TRY(TRI_SYS(rc == -1 && errno == EEXIST ? 0 : rc, "making the folder %s", part));
        if (!slash) break;
        *slash = '/';
    }
    struct stat status;
    TRI_TRY(TRI_SYS(stat(path, &status), "making the folder %s", path));
    TRI_CHECK(S_ISDIR(status.st_mode), TRI_EINVAL,
              "the run's folder %s is a file: choose another name or run.dir", path);
    return TRI_OK;
}

static bool is_present(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0;
}

/* A run that ended before its first file was whole leaves only these. */
static bool is_incidental(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, lock_file) == 0 ||
           strcmp(name, temporary_file) == 0;
}

/* Does the folder hold anything of note? Writes: entry, the first such name, or "". */
static tri_status has_entries(const char *path, char *entry, size_t entry_bytes)
{
    DIR *folder = opendir(path);
    TRI_TRY(TRI_SYS(folder ? 0 : -1, "reading the folder %s", path));
    entry[0] = '\0';
    for (const struct dirent *e; !entry[0] && (e = readdir(folder));)
        if (!is_incidental(e->d_name)) snprintf(entry, entry_bytes, "%s", e->d_name);
    closedir(folder);
    return TRI_OK;
}

/* One job at a time: the lock is the system's and ends with the process. */
static tri_status take_lock(tri_run_dir *run)
{
    char path[TRI_RUN_PATH_BYTES];
    TRI_TRY(join(path, run->path, lock_file));
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    TRI_TRY(TRI_SYS(fd, "writing in the run's folder %s", run->path));
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        run->lock = fd;
        return TRI_OK;
    }
    int why = errno;
    close(fd);
    TRI_CHECK(why != EWOULDBLOCK, TRI_EINVAL,
              "another job is running in %s: choose another name or run.dir", run->path);
    tri_log(TRI_LOG_WARN, "locking %s: %s; a second job in this folder will not be noticed", path,
            strerror(why));
    return TRI_OK;
}

tri_status tri_run_dir_lock(const char *path, tri_run_dir *out)
{
    tri_run_dir run = {.lock = -1};
    TRI_TRY(join(run.path, path, ""));
    TRI_TRY(take_lock(&run));
    *out = run;
    return TRI_OK;
}

static bool is_marked(const char *path)
{
    char begin[sizeof spec_mark] = "";
    FILE *file = fopen(path, "r");
    if (!file) return false;
    size_t n = fread(begin, 1, sizeof begin - 1, file);
    fclose(file);
    return n == sizeof begin - 1 && memcmp(begin, spec_mark, n) == 0;
}

static tri_status read_old_spec(const tri_run_dir *run, const tri_spec *spec, tri_spec *old)
{
    char path[TRI_RUN_PATH_BYTES];
    char entry[256];
    TRI_TRY(join(path, run->path, spec_file));
    TRI_TRY(has_entries(run->path, entry, sizeof entry));
    TRI_CHECK(is_marked(path), TRI_EINVAL,
              "the run's folder %s is not empty and holds no run (it has '%s'): choose another "
              "name or run.dir",
              run->path, entry);
    tri_status rc = tri_spec_read(path, 0, NULL, old);
    tri_err_clear();
    TRI_CHECK(rc == TRI_OK && strcmp(old->name, spec->name) == 0, TRI_EINVAL,
              "the run's folder %s holds another run ('%s'), not '%s': choose another name or "
              "run.dir",
              run->path, rc == TRI_OK ? old->name : "its job.yaml cannot be read", spec->name);
    return TRI_OK;
}

static tri_status check_finished(const tri_run_dir *run, const tri_spec *spec)
{
    char path[TRI_RUN_PATH_BYTES];
    TRI_TRY(join(path, run->path, finished_file));
    FILE *file = fopen(path, "r");
    if (!file) return TRI_OK;
    char text[32] = "";
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = '\0';
    long long step = strtoll(text, NULL, 10);
    TRI_CHECK(spec->train.steps > step, TRI_EINVAL,
              "%s holds a finished run of %lld steps: choose another name or run.dir, or raise "
              "train.steps above %lld to go on",
              run->path, step, step);
    return TRI_OK;
}

/* Fixed keys that another key sets free: to what they are now. */
static void excuse(const tri_spec *spec, tri_spec *old)
{
    if (strcmp(spec->checkpoint.optimizer, "fresh") == 0)
        memcpy(old->optimizer.name, spec->optimizer.name, sizeof old->optimizer.name);
    if (spec->checkpoint.resize_vocab) old->model.vocab = spec->model.vocab;
}

/* What would set a fixed key free; "" if nothing does. */
static const char *excuse_of(const char *key)
{
    if (strcmp(key, "optimizer.name") == 0)
        return ", or set checkpoint.optimizer: fresh to begin the states of another optimizer";
    if (strcmp(key, "model.vocab") == 0)
        return ", or set checkpoint.resize_vocab: true to fill up or cut the vocabulary";
    return "";
}

/* An unfinished run may go on only as what it was. */
static tri_status check_resumable(const tri_run_dir *run, const tri_spec *spec)
{
    tri_spec old;
    TRI_TRY(read_old_spec(run, spec, &old));
    TRI_TRY(check_finished(run, spec));
    excuse(spec, &old);
    const tri_config *table = tri_spec_table();
    int i = tri_config_differs(table, &old, spec, TRI_FIELD_FIXED);
    if (i < 0) return TRI_OK;
    char was[TRI_CONFIG_VALUE_BYTES];
    char is[TRI_CONFIG_VALUE_BYTES];
    tri_config_format(&table->fields[i], &old, was, sizeof was);
    tri_config_format(&table->fields[i], spec, is, sizeof is);
    TRI_FAIL(
        TRI_EINVAL,
        "%s was begun with %s %.100s, which is now %.100s: a run keeps it; choose another name "
        "or run.dir for a new run%s",
        run->path, table->fields[i].key, was, is, excuse_of(table->fields[i].key));
}

/* Write a small file, `mark` and `text`, so that it is there as a whole or not at all. */
static tri_status write_whole(const char *folder, const char *name, const char *mark,
                              const char *text)
{
    char path[TRI_RUN_PATH_BYTES];
    char temporary[TRI_RUN_PATH_BYTES];
    TRI_TRY(join(path, folder, name));
    TRI_TRY(join(temporary, folder, temporary_file));
    FILE *file = fopen(temporary, "w");
    TRI_TRY(TRI_SYS(file ? 0 : -1, "writing %s", path));
    bool ok = fputs(mark, file) >= 0 && fputs(text, file) >= 0 && fflush(file) == 0 &&
              fsync(fileno(file)) == 0;
    int why = errno;
    if (fclose(file) != 0 && ok) {
        ok = false;
        why = errno;
    }
    errno = why;
    TRI_TRY(TRI_SYS(ok ? 0 : -1, "writing %s", path));
    TRI_TRY(TRI_SYS(rename(temporary, path), "writing %s", path));
    return TRI_OK;
}

static tri_status set_paths(const tri_spec *spec, tri_run_dir *run)
{
    char runs[sizeof spec->name + 8];
    snprintf(runs, sizeof runs, "runs/%s", spec->name);
    TRI_TRY(join(run->path, spec->run.dir[0] ? spec->run.dir : runs, ""));
    TRI_TRY(join(run->metrics, run->path, "metrics.jsonl"));
    TRI_TRY(join(run->log, run->path, "log"));
    if (spec->checkpoint.dir[0])
        TRI_TRY(join(run->checkpoints, spec->checkpoint.dir, ""));
    else
        TRI_TRY(join(run->checkpoints, run->path, "ckpt"));
    return TRI_OK;
}

/* The folder is there and locked. */
static tri_status claim_locked(const tri_spec *spec, tri_run_dir *run)
{
    char entry[256];
    TRI_TRY(has_entries(run->path, entry, sizeof entry));
    if (entry[0]) {
        TRI_TRY(check_resumable(run, spec));
        run->is_resumed = true;
    }
    char *text = NULL;
    TRI_TRY(tri_spec_dump(spec, &text));
    tri_status rc = write_whole(run->path, spec_file, spec_mark, text);
    TRI_FREE(text);
    TRI_TRY(rc);
    char finished[TRI_RUN_PATH_BYTES];
    TRI_TRY(join(finished, run->path, finished_file));
    int gone = unlink(finished); /* a finished run that gets more steps */
    TRI_TRY(TRI_SYS(gone == -1 && errno == ENOENT ? 0 : gone, "removing %s", finished));
    TRI_TRY(make_folders(run->log));
    TRI_TRY(make_folders(run->checkpoints));
    return TRI_OK;
}

tri_status tri_run_dir_claim(const tri_spec *spec, tri_run_dir *out)
{
    tri_run_dir run = {.lock = -1};
    TRI_TRY(set_paths(spec, &run));
    if (is_present(run.path)) {
        char entry[256];
        struct stat status;
        TRI_TRY(TRI_SYS(stat(run.path, &status), "looking at the run's folder %s", run.path));
        TRI_CHECK(S_ISDIR(status.st_mode), TRI_EINVAL,
                  "the run's folder %s is a file: choose another name or run.dir", run.path);
        TRI_TRY(has_entries(run.path, entry, sizeof entry));
        /* nothing, not even a lock, is written into what is not ours */
        tri_spec old;
        if (entry[0]) TRI_TRY(read_old_spec(&run, spec, &old));
    }
    TRI_TRY(make_folders(run.path));
    TRI_TRY(take_lock(&run));
    tri_status rc = claim_locked(spec, &run);
    if (rc != TRI_OK) tri_run_dir_close(&run);
    TRI_TRY(rc);
    *out = run;
    return TRI_OK;
}

tri_status tri_run_dir_open(const tri_spec *spec, tri_comm *world, tri_run_dir *out)
{
    tri_run_dir run = {.lock = -1};
    tri_status mine = tri_comm_rank(world) == 0 ? tri_run_dir_claim(spec, &run) : TRI_OK;
    TRI_TRY(tri_agree(world, mine));
    int lock = run.lock;
    TRI_TRY(tri_broadcast(world, tri_span_make(&run, (int64_t)sizeof run, TRI_U8), 0, NULL));
    run.lock = lock;
    *out = run;
    return TRI_OK;
}

tri_status tri_run_dir_finish(const tri_run_dir *run, int64_t step)
{
    char text[32];
    snprintf(text, sizeof text, "%lld\n", (long long)step);
    TRI_TRY(write_whole(run->path, finished_file, "", text));
    return TRI_OK;
}

void tri_run_dir_close(tri_run_dir *run)
{
    if (run->lock >= 0) close(run->lock);
    run->lock = -1;
}

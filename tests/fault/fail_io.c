// SPDX-License-Identifier: Apache-2.0
/* Fails calls that change files: preloaded into a job, it knows nothing of it but the names of its files.
 * A save begins where a file or folder is made in a folder step-NUMBER.UUID that is not that of the
 * save before; what changes files below the given folder until the next one begins is counted from 1.
 *
 *   TRIREME_FAIL_BELOW   folder (absolute, without links); what lies elsewhere is left alone
 *   TRIREME_FAIL_RANK    the one rank that it happens to (by the launcher's number); none: all
 *   TRIREME_FAIL_SWEEP   errno values, e.g. "28,5": in save 2 k the k-th call fails, with each value in
 *                        turn; odd saves are spared
 *   TRIREME_FAIL_SHORT   any value: each write takes half of what it is given
 *   TRIREME_FAIL_LOG     what failed, in LOG.RANK: save, call's number, errno, call, path. After the
 *                        last call of a save that none failed in: "whole SAVE CALLS"
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, NAME_BYTES = 128, LINE_BYTES = PATH_BYTES + 128, MAX_ERRORS = 8 };

/* Ranks may write from several threads. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct {
    int is_set_up, is_on, is_short;
    char below[PATH_BYTES];
    int errors[MAX_ERRORS], n_errors;
    int log;               /* file descriptor; -1: none */
    char save[NAME_BYTES]; /* folder of the present save */
    int n_saves, n_calls, has_failed;
} shim;

static void note(const char *line)
{
    size_t n = strlen(line);
    ssize_t (*plain)(int, const void *, size_t) = NULL;
    *(void **)&plain = dlsym(RTLD_NEXT, "write");
    if (shim.log >= 0 && plain(shim.log, line, n) != (ssize_t)n) abort();
}

static void open_log(const char *prefix, const char *rank)
{
    char path[PATH_BYTES];
    int (*plain)(const char *, int, ...) = NULL;
    *(void **)&plain = dlsym(RTLD_NEXT, "open");
    snprintf(path, sizeof path, "%s.%s", prefix, rank);
    shim.log = plain(path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0666);
}

static void set_up(void)
{
    const char *below = getenv("TRIREME_FAIL_BELOW");
    const char *wanted = getenv("TRIREME_FAIL_RANK");
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    const char *sweep = getenv("TRIREME_FAIL_SWEEP");
    const char *log = getenv("TRIREME_FAIL_LOG");
    shim.is_set_up = 1;
    shim.log = -1;
    if (!rank) rank = "0";
    shim.is_on = below && (!wanted || strcmp(wanted, rank) == 0);
    if (!shim.is_on) return;
    snprintf(shim.below, sizeof shim.below, "%s", below);
    shim.is_short = getenv("TRIREME_FAIL_SHORT") != NULL;
    while (sweep && *sweep && shim.n_errors < MAX_ERRORS) {
        char *end = NULL;
        shim.errors[shim.n_errors++] = (int)strtol(sweep, &end, 10);
        sweep = *end ? end + 1 : end;
    }
    if (log) open_log(log, rank);
}

/* The absolute path of `path`, as far as it needs no look at the disk. */
static void absolute(const char *path, char out[PATH_BYTES])
{
    char here[PATH_BYTES / 2] = "";
    if (path[0] == '/' || !getcwd(here, sizeof here))
        snprintf(out, PATH_BYTES, "%s", path);
    else
        snprintf(out, PATH_BYTES, "%s/%.2000s", here, path);
}

/* The component step-NUMBER.UUID of a path, "" if there is none. */
static void save_of(const char *path, char out[NAME_BYTES])
{
    const char *at = strstr(path + strlen(shim.below), "/step-");
    size_t n = at ? strcspn(at + 1, "/") : 0;
    snprintf(out, NAME_BYTES, "%.*s", (int)n, at ? at + 1 : "");
}

static void begin_save(const char *path)
{
    char name[NAME_BYTES];
    char line[NAME_BYTES];
    save_of(path, name);
    if (!name[0] || strcmp(name, shim.save) == 0) return;
    if (shim.n_saves > 0 && !shim.has_failed) {
        snprintf(line, sizeof line, "whole %d %d\n", shim.n_saves, shim.n_calls);
        note(line);
    }
    memcpy(shim.save, name, sizeof name);
    shim.n_saves++;
    shim.n_calls = 0;
    shim.has_failed = 0;
}

/* The errno that this call is to fail with; 0: it may go through. Lock held. */
static int judge(const char *call, const char *path, int makes)
{
    char line[LINE_BYTES];
    if (strncmp(path, shim.below, strlen(shim.below)) != 0) return 0;
    if (makes) begin_save(path);
    shim.n_calls++;
    int k = shim.n_saves / 2;
    if (!shim.n_errors || shim.n_saves % 2 != 0 || k == 0 || shim.n_calls != k) return 0;
    int error = shim.errors[k % shim.n_errors];
    snprintf(line, sizeof line, "%d %d %d %s %s\n", shim.n_saves, shim.n_calls, error, call, path);
    note(line);
    shim.has_failed = 1;
    return error;
}

/* -1 with errno set, where the call is to fail. */
static int fails_path(const char *call, const char *path, int makes)
{
    char full[PATH_BYTES];
    int before = errno;
    pthread_mutex_lock(&mutex);
    if (!shim.is_set_up) set_up();
    int error = 0;
    if (shim.is_on) {
        absolute(path, full);
        error = judge(call, full, makes);
    }
    pthread_mutex_unlock(&mutex);
    errno = error ? error : before;
    return error ? -1 : 0;
}

static int fails_file(const char *call, int fd)
{
    char link[64];
    char path[PATH_BYTES];
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    errno = before;
    if (n <= 0 || path[0] != '/') return 0;
    path[n] = '\0';
    return fails_path(call, path, 0);
}

/* Bytes that a write is to take of `n`. */
static size_t taken(int fd, size_t n)
{
    char link[64];
    char path[PATH_BYTES];
    if (!shim.is_on || !shim.is_short || n < 2) return n;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return n;
    path[length] = '\0';
    return strncmp(path, shim.below, strlen(shim.below)) == 0 ? n / 2 : n;
}

/* The function of this name that stands behind ours. */
#define NEXT(type, name, parameters) \
    type(*plain) parameters = NULL;  \
    *(void **)&plain = dlsym(RTLD_NEXT, name)

ssize_t write(int fd, const void *data, size_t n)
{
    NEXT(ssize_t, "write", (int, const void *, size_t));
    return fails_file("write", fd) != 0 ? -1 : plain(fd, data, taken(fd, n));
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t at)
{
    NEXT(ssize_t, "pwrite", (int, const void *, size_t, off_t));
    return fails_file("pwrite", fd) != 0 ? -1 : plain(fd, data, taken(fd, n), at);
}

ssize_t pwrite64(int fd, const void *data, size_t n, off_t at)
{
    NEXT(ssize_t, "pwrite64", (int, const void *, size_t, off_t));
    return fails_file("pwrite64", fd) != 0 ? -1 : plain(fd, data, taken(fd, n), at);
}

int fsync(int fd)
{
    NEXT(int, "fsync", (int));
    return fails_file("fsync", fd) != 0 ? -1 : plain(fd);
}

int fdatasync(int fd)
{
    NEXT(int, "fdatasync", (int));
    return fails_file("fdatasync", fd) != 0 ? -1 : plain(fd);
}

int ftruncate(int fd, off_t n)
{
    NEXT(int, "ftruncate", (int, off_t));
    return fails_file("ftruncate", fd) != 0 ? -1 : plain(fd, n);
}

int ftruncate64(int fd, off_t n)
{
    NEXT(int, "ftruncate64", (int, off_t));
    return fails_file("ftruncate64", fd) != 0 ? -1 : plain(fd, n);
}

int fallocate(int fd, int mode, off_t at, off_t n)
{
    NEXT(int, "fallocate", (int, int, off_t, off_t));
    return fails_file("fallocate", fd) != 0 ? -1 : plain(fd, mode, at, n);
}

int fallocate64(int fd, int mode, off_t at, off_t n)
{
    NEXT(int, "fallocate64", (int, int, off_t, off_t));
    return fails_file("fallocate64", fd) != 0 ? -1 : plain(fd, mode, at, n);
}

/* This one answers with the error itself. */
int posix_fallocate(int fd, off_t at, off_t n)
{
    NEXT(int, "posix_fallocate", (int, off_t, off_t));
    if (fails_file("posix_fallocate", fd) != 0) return errno;
    return plain(fd, at, n);
}

int rename(const char *from, const char *to)
{
    NEXT(int, "rename", (const char *, const char *));
    return fails_path("rename", to, 0) != 0 ? -1 : plain(from, to);
}

int link(const char *from, const char *to)
{
    NEXT(int, "link", (const char *, const char *));
    return fails_path("link", to, 1) != 0 ? -1 : plain(from, to);
}

int unlink(const char *path)
{
    NEXT(int, "unlink", (const char *));
    return fails_path("unlink", path, 0) != 0 ? -1 : plain(path);
}

int rmdir(const char *path)
{
    NEXT(int, "rmdir", (const char *));
    return fails_path("rmdir", path, 0) != 0 ? -1 : plain(path);
}

int mkdir(const char *path, mode_t mode)
{
    NEXT(int, "mkdir", (const char *, mode_t));
    return fails_path("mkdir", path, 1) != 0 ? -1 : plain(path, mode);
}

/* Opening counts where it may change the file. */
static int fails_open(const char *call, const char *path, int flags)
{
    int changes = (flags & (O_CREAT | O_WRONLY | O_RDWR)) != 0;
    return changes ? fails_path(call, path, (flags & O_CREAT) != 0) : 0;
}

int open(const char *path, int flags, ...)
{
    NEXT(int, "open", (const char *, int, ...));
    va_list list;
    va_start(list, flags);
    mode_t mode = flags & O_CREAT ? va_arg(list, mode_t) : 0;
    va_end(list);
    return fails_open("open", path, flags) != 0 ? -1 : plain(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    NEXT(int, "open64", (const char *, int, ...));
    va_list list;
    va_start(list, flags);
    mode_t mode = flags & O_CREAT ? va_arg(list, mode_t) : 0;
    va_end(list);
    return fails_open("open64", path, flags) != 0 ? -1 : plain(path, flags, mode);
}

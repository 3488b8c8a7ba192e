// SPDX-License-Identifier: Apache-2.0
/* metrics.jsonl and the event file. Every row is one write(2) of a whole line to a file opened for
 * appending: a crash leaves at most one line without its end, which the next opening cuts off.
 */
#include "runtime/metrics.h"

#include "runtime/base/alloc.h"
#include "runtime/metrics/tensorboard.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { METRICS_LINE_BYTES = 4096 };
#define X(name, type) +1
_Static_assert(0 TRI_METRICS_MAP(X) + TRI_METRICS_MAX_EXTRA <= TRI_TENSORBOARD_MAX_SCALARS,
               "every number of a row is a scalar");
#undef X

struct tri_metrics {
    char path[PATH_MAX]; /* of metrics.jsonl */
    int fd;
    int64_t end; /* size of the file: whole lines */
    tri_tensorboard *board;
    size_t used;
    char line[METRICS_LINE_BYTES];
};

typedef FILE stream;

static void stream_destroy(stream **file)
{
    if (*file) fclose(*file);
    *file = NULL;
}

/* Step of a line as we write it: {"step":N,... */
static bool line_step(const char *line, int64_t *out)
{
    static const char begin[] = "{\"step\":";
    if (strncmp(line, begin, sizeof begin - 1) != 0) return false;
    char *end = NULL;
    long long step = strtoll(line + sizeof begin - 1, &end, 10);
    *out = step;
    return end != line + sizeof begin - 1 && *end == ',';
}

/* Bytes of the rows that a run resumed from `resume_step` keeps. */
static tri_status metrics_kept(const char *path, int64_t resume_step, int64_t *out)
{
    *out = 0;
    if (access(path, F_OK) != 0) return TRI_OK;
    TRI_AUTO(stream) *file = fopen(path, "re");
    TRI_TRY(TRI_SYS(file ? 0 : -1, "opening %s", path));
    char line[METRICS_LINE_BYTES];
    int64_t kept = 0;
    for (int64_t number = 1; fgets(line, sizeof line, file); number++) {
        int64_t step = 0;
        bool is_whole = strchr(line, '\n') != NULL;
        if (!is_whole && (line[0] == '\0' || feof(file))) break;
        TRI_CHECK(is_whole && line_step(line, &step), TRI_EFORMAT,
                  "%s:%lld is no row of metrics ('{\"step\":N,...}'): move the file away to go on",
                  path, (long long)number);
        if (step > resume_step) break;
        kept += (int64_t)strlen(line);
    }
    TRI_CHECK(!ferror(file), TRI_EIO, "reading %s failed after %lld bytes", path, (long long)kept);
    *out = kept;
    return TRI_OK;
}

tri_status tri_metrics_open(const tri_metrics_args *args, tri_metrics **out)
{
    TRI_AUTO(tri_metrics) *metrics = NULL;
    TRI_TRY(TRI_NEW(&metrics));
    metrics->fd = -1;
    char board[PATH_MAX];
    int n = snprintf(board, sizeof board, "%s/events.out.tfevents.trireme", args->dir);
    TRI_CHECK(n > 0 && (size_t)n < sizeof board, TRI_EINVAL, "run folder %.64s...: path too long",
              args->dir);
    snprintf(metrics->path, sizeof metrics->path, "%s/metrics.jsonl", args->dir);
    TRI_TRY(metrics_kept(metrics->path, args->resume_step, &metrics->end));
    /* Before anything is cut here: a foreign event file leaves this file as it is. */
    TRI_TRY(tri_tensorboard_open(board, args->resume_step, &metrics->board));
    metrics->fd = open(metrics->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    TRI_TRY(TRI_SYS(metrics->fd, "opening %s for writing", metrics->path));
    TRI_TRY(TRI_SYS(ftruncate(metrics->fd, metrics->end), "cutting %s to %lld bytes", metrics->path,
                    (long long)metrics->end));
    *out = TRI_MOVE(metrics);
    return TRI_OK;
}

static void metrics_put(tri_metrics *metrics, const char *format, ...) TRI_PRINTF(2, 3);

static void metrics_put(tri_metrics *metrics, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(metrics->line + metrics->used, sizeof metrics->line - metrics->used, format,
                      args);
    va_end(args);
    if (n > 0) metrics->used += (size_t)n;
}

/* The shortest of 15, 16, 17 digits that reads back to the same bits. */
static void metrics_put_double(tri_metrics *metrics, const char *key, double value)
{
    char text[40];
    if (!isfinite(value)) {
        metrics_put(metrics, ",\"%s\":null", key);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    metrics_put(metrics, ",\"%s\":%s", key, text);
}

static void metrics_put_int64_t(tri_metrics *metrics, const char *key, int64_t value)
{
    metrics_put(metrics, ",\"%s\":%" PRId64, key, value);
}

static tri_status metrics_check_extra(int n, const tri_metrics_extra *extra)
{
    static const char *const taken[] = {"step",
#define X(name, type) #name,
                                        TRI_METRICS_MAP(X)
#undef X
    };
    TRI_CHECK(n >= 0 && n <= TRI_METRICS_MAX_EXTRA, TRI_EINVAL,
              "%d extra metrics; there is room for %d", n, TRI_METRICS_MAX_EXTRA);
    for (int i = 0; i < n; i++) {
        const char *name = extra[i].name;
        size_t good = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "0123456789_/.");
        TRI_CHECK(good > 0 && name[good] == '\0' && good <= TRI_SCALAR_TAG_BYTES, TRI_EINVAL,
                  "metric '%s': names are 1 to %d letters, digits, '_', '/' or '.'", name,
                  TRI_SCALAR_TAG_BYTES);
        for (size_t k = 0; k < sizeof taken / sizeof taken[0]; k++)
            TRI_CHECK(strcmp(name, taken[k]) != 0, TRI_EINVAL,
                      "metric '%s' is a field of every row, not an extra", name);
    }
    return TRI_OK;
}

/* Append the line in one write; a short one (full disk) is cut off again. */
static tri_status metrics_append(tri_metrics *metrics)
{
    ssize_t written = write(metrics->fd, metrics->line, metrics->used);
    if (written != (ssize_t)metrics->used) {
        tri_status rc = TRI_SYS(written < 0 ? -1 : 0, "appending a row of %zu bytes to %s",
                                metrics->used, metrics->path);
        int cut = ftruncate(metrics->fd, metrics->end);
        TRI_TRY(rc);
        TRI_FAIL(TRI_EIO, "appending to %s: %zd of %zu bytes were written (disk full?)%s",
                 metrics->path, written, metrics->used,
                 cut ? "; the rest could not be cut off" : "");
    }
    metrics->end += written;
    return TRI_OK;
}

/* The end of a line, to both files. `scalars` has room for the extra ones behind its first n. */
static tri_status metrics_finish(tri_metrics *metrics, int64_t step, int n_extra,
                                 const tri_metrics_extra *extra, int n, tri_scalar *scalars)
{
    for (int i = 0; i < n_extra; i++) {
        metrics_put_double(metrics, extra[i].name, extra[i].value);
        scalars[n++] = (tri_scalar){extra[i].name, (float)extra[i].value};
    }
    metrics_put(metrics, "}\n");
    TRI_TRY(metrics_append(metrics));
    TRI_TRY(tri_tensorboard_write(metrics->board, step, n, scalars));
    return TRI_OK;
}

tri_status tri_metrics_write(tri_metrics *metrics, const tri_metrics_row *row)
{
    TRI_TRY(metrics_check_extra(row->n_extra, row->extra));
    tri_scalar scalars[TRI_TENSORBOARD_MAX_SCALARS];
    int n = 0;
    metrics->used = 0;
    metrics_put(metrics, "{\"step\":%" PRId64, row->step);
#define X(name, type)                              \
    metrics_put_##type(metrics, #name, row->name); \
    scalars[n++] = (tri_scalar){#name, (float)row->name};
    TRI_METRICS_MAP(X)
#undef X
    return metrics_finish(metrics, row->step, row->n_extra, row->extra, n, scalars);
}

tri_status tri_metrics_note(tri_metrics *metrics, int64_t step, int n,
                            const tri_metrics_extra *numbers)
{
    TRI_TRY(metrics_check_extra(n, numbers));
    tri_scalar scalars[TRI_TENSORBOARD_MAX_SCALARS];
    metrics->used = 0;
    metrics_put(metrics, "{\"step\":%" PRId64, step);
    return metrics_finish(metrics, step, n, numbers, 0, scalars);
}

tri_status tri_metrics_close(tri_metrics **metrics)
{
    TRI_AUTO(tri_metrics) *closing = TRI_MOVE(*metrics);
    if (!closing) return TRI_OK;
    TRI_TRY(TRI_SYS(fsync(closing->fd), "flushing %s to disk", closing->path));
    TRI_TRY(tri_tensorboard_sync(closing->board));
    return TRI_OK;
}

void tri_metrics_destroy(tri_metrics **metrics)
{
    if (!*metrics) return;
    if ((*metrics)->fd >= 0) close((*metrics)->fd);
    tri_tensorboard_destroy(&(*metrics)->board);
    TRI_FREE(*metrics);
}

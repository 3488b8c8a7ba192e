// SPDX-License-Identifier: Apache-2.0
/* Lines are made whole in a buffer and written by one call, so that threads do not mix them. */
#include "runtime/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

enum { LOG_LINE_BYTES = 1024 };

/* The one setting of the process: who prints is decided by launch/, not by objects. */
static _Atomic(const tri_log_sink *) log_sink;

static const char *const log_names[TRI_LOG_LEVELS] = {"error", "warn", "info", "debug", "trace"};

void tri_log_set(const tri_log_sink *sink)
{
    atomic_store_explicit(&log_sink, sink, memory_order_release);
}

static tri_log_sink current(void)
{
    const tri_log_sink *sink = atomic_load_explicit(&log_sink, memory_order_acquire);
    if (sink) return *sink;
    return (tri_log_sink){
        .terminal = stderr, .terminal_level = TRI_LOG_WARN, .file_level = -1, .rank = -1};
}

bool tri_log_is_on(tri_log_level level)
{
    tri_log_sink sink = current();
    return (sink.terminal && (int)level <= sink.terminal_level) ||
           (sink.file && (int)level <= sink.file_level);
}

static void write_terminal(const tri_log_sink *sink, tri_log_level level, const char *text)
{
    char line[LOG_LINE_BYTES + 64];
    char rank[24] = "";
    if (sink->rank > 0 || (sink->rank == 0 && level != TRI_LOG_INFO))
        snprintf(rank, sizeof rank, "rank %d: ", sink->rank);
    const char *name = level == TRI_LOG_INFO ? "" : log_names[level];
    int n = snprintf(line, sizeof line, "%s%s%s%s%s\n", sink->erases_line ? "\r\033[K" : "", name,
                     name[0] ? ": " : "", rank, text);
    if (n > 0) fwrite(line, 1, (size_t)n, sink->terminal);
    fflush(sink->terminal);
}

static void write_file(const tri_log_sink *sink, tri_log_level level, const char *text)
{
    char line[LOG_LINE_BYTES + 64];
    char stamp[32];
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    int n = snprintf(line, sizeof line, "%s.%03dZ %-5s %s\n", stamp, (int)(now.tv_nsec / 1000000),
                     log_names[level], text);
    if (n > 0) fwrite(line, 1, (size_t)n, sink->file);
    fflush(sink->file);
}

void tri_log(tri_log_level level, const char *format, ...)
{
    if (!tri_log_is_on(level)) return;
    tri_log_sink sink = current();
    char text[LOG_LINE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (sink.terminal && (int)level <= sink.terminal_level) write_terminal(&sink, level, text);
    if (sink.file && (int)level <= sink.file_level) write_file(&sink, level, text);
}

const char *tri_log_level_name(tri_log_level level)
{
    return log_names[level];
}

tri_status tri_log_level_find(const char *name, tri_log_level *out)
{
    for (int i = 0; i < TRI_LOG_LEVELS; i++) {
        if (strcmp(log_names[i], name) != 0) continue;
        *out = (tri_log_level)i;
        return TRI_OK;
    }
    TRI_FAIL(TRI_EINVAL, "'%.40s' is not a log level: error, warn, info, debug or trace", name);
}

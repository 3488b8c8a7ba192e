// SPDX-License-Identifier: Apache-2.0
/* Log lines. The library calls tri_log; where lines go is set once by launch/ for the whole process.
 * Levels mean: error the job ends; warn it goes on, but not as asked; info a few lines per job; debug
 * lines in proportion to objects; trace in proportion to events. Errors themselves are statuses.
 */
#ifndef TRI_RUNTIME_BASE_LOG_H
#define TRI_RUNTIME_BASE_LOG_H

#include "runtime/base/status.h"

#include <stdio.h>

typedef enum tri_log_level {
    TRI_LOG_ERROR,
    TRI_LOG_WARN,
    TRI_LOG_INFO,
    TRI_LOG_DEBUG,
    TRI_LOG_TRACE,
    TRI_LOG_LEVELS
} tri_log_level;

/* Where lines go. A level of -1 keeps all of them away. */
typedef struct tri_log_sink {
    FILE *terminal;     /* stderr, or NULL */
    FILE *file;         /* of this rank; NULL: none */
    int terminal_level; /* most detailed level that is shown */
    int file_level;
    int rank;         /* named in lines on the terminal; -1: only one rank */
    bool erases_line; /* the terminal may show a progress line: wipe it first */
} tri_log_sink;

/* Use `sink` from now on; NULL: warnings and errors to stderr, as before the first call. Not
 * collective. Keeps: sink, until the next call; lines of other threads may still use the old one. */
void tri_log_set(const tri_log_sink *sink);

/* Would a line of this level go anywhere? Not collective. */
bool tri_log_is_on(tri_log_level level);

/* One line, without the newline. Not collective; any thread. */
void tri_log(tri_log_level level, const char *format, ...) TRI_PRINTF(2, 3);

/* "warn", ... Not collective. */
const char *tri_log_level_name(tri_log_level level);

/* The level called `name`. Not collective. Errors: TRI_EINVAL, naming the known levels. */
TRI_MUST_USE tri_status tri_log_level_find(const char *name, tri_log_level *out);

#endif

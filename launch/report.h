// SPDX-License-Identifier: Apache-2.0
/* The one error report of a job. */
#ifndef TRI_LAUNCH_REPORT_H
#define TRI_LAUNCH_REPORT_H

#include "launch/session.h"

/* What is reported. */
typedef struct tri_report {
    int rank, n_ranks;
    const char *host;
    int64_t step;          /* -1: none begun */
    const char *operation; /* what it was doing, or "" */
    bool has_frames;
    tri_err err;
} tri_report;

/* Exit code of the program for a status: 0 done, 2 wrong use, 1 all else. Not collective. */
int tri_report_exit_code(tri_status status);

/* Print the report. Not collective. */
void tri_report_print(const tri_report *report, FILE *stream);

/* End the program after a command came to `status` (this thread's error). Not collective: every rank
 * calls it, none waits for another.
 *
 * A rank that failed by itself prints and ends all ranks; the lowest such rank goes first, the others
 * find themselves ended before their turn. A rank that only saw others fail (TRI_EPEER) prints
 * nothing. Returns the exit code where the process is to end by itself.
 */
int tri_report_end(const tri_session *session, tri_status status);

#endif

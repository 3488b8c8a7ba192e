// SPDX-License-Identifier: Apache-2.0
/* trace.json of a run (train.trace): what each rank did and moved in some steps, for Perfetto or Chrome's
 * viewer, all ranks on the clock of rank 0.
 */
#ifndef TRI_LAUNCH_TRACE_FILE_H
#define TRI_LAUNCH_TRACE_FILE_H

#include "runtime/mesh.h"

typedef struct tri_trace_file tri_trace_file;

typedef struct tri_trace_file_args {
    const tri_mesh *mesh; /* kept */
    int64_t steps;        /* to record, after the first of the run; 0: nothing is made */
    int64_t max_events;   /* room on each rank; 0: TRI_TRACE_FILE_EVENTS */
    const char *path;     /* of the file; copied */
} tri_trace_file_args;

enum { TRI_TRACE_FILE_EVENTS = 1 << 16 };

/* Measure the ranks' clocks and make room. Collective: world. *out = NULL where steps is 0.
 *
 * Clocks: some ping-pongs between rank 0 and each other rank; the fastest one counts, so that the error is
 * at most half of the best round trip. Counted as workspace. Errors: TRI_ENOMEM, TRI_ECOMM.
 */
TRI_MUST_USE tri_status tri_trace_file_open(const tri_trace_file_args *args, tri_trace_file **out);

/* A step is done: the first one begins the recording, the last one wanted ends it and writes the file.
 * Collective: world; NULL is fine. Errors: TRI_ECOMM, TRI_EPEER. A file that cannot be written is a
 * warning. */
TRI_MUST_USE tri_status tri_trace_file_step(tri_trace_file *file);

/* Write what was recorded if the run ended before its time. Collective: world; NULL is fine. Errors: as
 * above. */
TRI_MUST_USE tri_status tri_trace_file_finish(tri_trace_file *file);

/* Free. Not collective; NULL is fine. */
void tri_trace_file_destroy(tri_trace_file **out);

/* Counted bytes of the recorder on the rank that has most, rank 0. Not collective. */
size_t tri_trace_file_bytes(int n_ranks, int64_t steps, int64_t max_events);

#endif

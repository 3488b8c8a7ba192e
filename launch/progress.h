// SPDX-License-Identifier: Apache-2.0
/* What a person sees of a training run: one line that is rewritten on a terminal, one line per
 * report elsewhere. Only rank 0 has one; metrics.jsonl is the record.
 */
#ifndef TRI_LAUNCH_PROGRESS_H
#define TRI_LAUNCH_PROGRESS_H

#include "runtime/base/status.h"

#include <stdio.h>

/* The state of the line. */
typedef struct tri_progress {
    FILE *stream;
    bool is_terminal;
    int64_t steps;     /* of the whole run */
    int64_t log_every; /* plain lines */
    double drawn_s;    /* when the terminal was written last */
    double mean_step_s;
} tri_progress;

/* One step. */
typedef struct tri_progress_step {
    int64_t step;
    double loss, grad_norm, lr, step_s, tokens_per_s;
    double mfu; /* share of peak, 0 .. 1; < 0: not known */
} tri_progress_step;

/* Begin. Not collective. `is_terminal`: the stream understands cursor movement. */
void tri_progress_init(tri_progress *progress, FILE *stream, bool is_terminal, int64_t steps,
                       int64_t log_every);

/* Show a step. Not collective. The terminal is rewritten at most ten times a second, and for the last
 * step; plain lines come for the first step, every log_every steps, and the last. */
void tri_progress_show(tri_progress *progress, const tri_progress_step *step);

/* End the line, so that other text may follow. Not collective. */
void tri_progress_end(tri_progress *progress);

/* Seconds as "1:02:03" or "2:03". Not collective. Writes: out, which it returns. */
char *tri_progress_time(double seconds, char *out, size_t out_bytes);

/* A rate or size in three digits: "950", "12.3k", "4.56M". Not collective. Writes: out, returned. */
char *tri_progress_short(double value, char *out, size_t out_bytes);

#endif

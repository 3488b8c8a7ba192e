// SPDX-License-Identifier: Apache-2.0
/* What a run measures, one row per step: metrics.jsonl (one JSON object per line) and a TensorBoard
 * event file beside it. Rank 0 opens them, nobody else.
 *
 * A resumed run appends: rows behind the step it resumes from are cut off first, so that each step
 * has one row, whatever was interrupted.
 */
#ifndef TRI_RUNTIME_METRICS_H
#define TRI_RUNTIME_METRICS_H

#include "runtime/base/status.h"

/* The numbers of every row: struct field, C type; the key in the file is the field's name. */
#define TRI_METRICS_MAP(X)                                                                   \
    X(loss, double)           /* mean over the target tokens of the global batch, nats */    \
    X(grad_norm, double)      /* global norm before clipping */                              \
    X(lr, double)             /* learning rate of this step */                               \
    X(samples, int64_t)       /* consumed since the job began, this step included */         \
    X(tokens, int64_t)        /* the same, tokens */                                         \
    X(tokens_per_s, double)   /* of the whole job, in this step */                           \
    X(mfu, double)            /* model flops utilisation: share of the peak; NaN: unknown */ \
    X(step_s, double)         /* seconds of this step */                                     \
    X(comm_exposed_s, double) /* seconds of it spent waiting for communication */            \
    X(memory_bytes, int64_t)  /* allocated by the runtime on this rank, peak */

enum { TRI_METRICS_MAX_EXTRA = 24 };

/* A number that only some rows have: eval_loss, ... */
typedef struct tri_metrics_extra {
    const char *name; /* letters, digits, '_', '/', '.' */
    double value;
} tri_metrics_extra;

typedef struct tri_metrics_row {
    int64_t step;
#define X(name, type) type name;
    TRI_METRICS_MAP(X)
#undef X
    int n_extra;
    tri_metrics_extra extra[TRI_METRICS_MAX_EXTRA];
} tri_metrics_row;

typedef struct tri_metrics tri_metrics;

typedef struct tri_metrics_args {
    const char *dir;     /* exists: metrics.jsonl and TensorBoard's file are made in it */
    int64_t resume_step; /* rows with step > this are dropped; 0: a new run */
} tri_metrics_args;

/* Open for appending. Not collective; by one rank.
 *
 * Cuts metrics.jsonl behind the last whole row with step <= resume_step; event files of before that
 * hold later steps are rewritten without them. Errors: TRI_EIO with the path; TRI_EFORMAT where
 * metrics.jsonl is not one of ours.
 */
TRI_MUST_USE tri_status tri_metrics_open(const tri_metrics_args *args, tri_metrics **out);

/* Append one row; it is in the files (as far as the system is concerned) on return. Not collective.
 *
 * Numbers are printed so that they read back to the same bits; not finite ones as null, and left
 * out of the event file. No allocation. Errors: TRI_EIO (disk full ...), TRI_EINVAL name of an extra.
 */
TRI_MUST_USE tri_status tri_metrics_write(tri_metrics *metrics, const tri_metrics_row *row);

/* Append a line about something that happened before row `step` is written: {"step":N, and the numbers}. Not
 * collective. A run resumed from a step before it cuts it off like that row. Errors: as tri_metrics_write. */
TRI_MUST_USE tri_status tri_metrics_note(tri_metrics *metrics, int64_t step, int n,
                                         const tri_metrics_extra *numbers);

/* Flush to disk and close. Not collective; NULL is fine. Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_metrics_close(tri_metrics **metrics);

/* Close without a word, for error paths. Not collective; NULL is fine. */
void tri_metrics_destroy(tri_metrics **metrics);

#endif

// SPDX-License-Identifier: Apache-2.0
/* Is a step's update to be made? A gradient that is not finite, or explodes: its norm is far above the mean
 * of those before it, decides. What is done then is the job's policy: stop, skip the update, or go back to
 * a checkpoint and on with other samples (Chowdhery et al., arXiv:2204.02311, sec. 5.1).
 *
 * Pure: the verdict follows from the loss and norm that all ranks have from the step's one reduction, and from a
 * state that is the same on all of them and saved. No clock, no message, no libm (whose code, and last
 * bits, depend on the processor): so all ranks decide alike.
 */
#ifndef TRI_LAUNCH_STABILITY_H
#define TRI_LAUNCH_STABILITY_H

#include "runtime/base/status.h"

typedef enum tri_stability_policy {
    TRI_STABILITY_STOP,
    TRI_STABILITY_SKIP,
    TRI_STABILITY_ROLLBACK
} tri_stability_policy;

/* The keys of `stability:` in a job spec. */
typedef struct tri_stability_config {
    int policy;     /* tri_stability_policy */
    double spike;   /* a norm above so many times the mean explodes; 0: none does */
    int64_t window; /* steps of the mean */
    int max_in_row; /* skips, or rollbacks, that may follow one another */
} tri_stability_config;

enum { TRI_STABILITY_RANGES = 32 };

/* What is remembered and saved: all but the mean are the row "stability/counts". */
typedef struct tri_stability {
    int64_t spikes;  /* steps that were not good, since the job began, also those given up since */
    int64_t skipped; /* of the steps up to now, those without an update */
    int64_t rollbacks; /* since the job began */
    int64_t in_row;    /* skips or rollbacks since a step at or behind `reached` was good */
    int64_t reached;   /* the last step that was not good */
    int64_t norms;     /* that went into the mean */
    int64_t left_out;  /* samples that were consumed, but are in no weight */
    int64_t n_ranges;  /* of them, the newest */
    int64_t range[TRI_STABILITY_RANGES][2]; /* numbers [begin, end) in the job's order, rising */
    double mean_log2; /* mean log2 of the norms of good steps: row "stability/mean" */
} tri_stability;

/* Numbers of the row "stability/counts". */
enum { TRI_STABILITY_NUMBERS = (int)(offsetof(tri_stability, mean_log2) / sizeof(int64_t)) };

/* What is to be done with a step. */
typedef enum tri_verdict {
    TRI_VERDICT_GOOD,     /* update */
    TRI_VERDICT_SKIP,     /* no update; on with the next samples */
    TRI_VERDICT_ROLLBACK, /* no update; back to a checkpoint, then on with the next samples */
    TRI_VERDICT_STOP      /* the job ends */
} tri_verdict;

/* A step before its update; the same on all ranks. */
typedef struct tri_stability_step {
    int64_t step;
    double loss, norm;
} tri_stability_step;

/* Check what a single key's range does not say. Not collective. Errors: TRI_EINVAL with the key. */
TRI_MUST_USE tri_status tri_stability_check(const tri_stability_config *config);

/* Judge a step: a good one's norm goes into the mean, one that is not is counted. Not collective.
 *
 * Writes: the state; *ratio, norm over mean; 0 while there are fewer norms than the window has steps.
 * Until then no finite norm is too large. */
tri_verdict tri_stability_judge(tri_stability *s, const tri_stability_config *config,
                                const tri_stability_step *step, double *ratio);

/* Say in words why a step is not good: "loss nan, gradient norm nan". `ratio` is what judge gave. Not
 * collective. Writes: out. */
void tri_stability_describe(const tri_stability_step *step, const tri_stability_config *config,
                            double ratio, char *out, size_t out_bytes);

/* The error of a step whose verdict is STOP. Not collective. Errors: TRI_EDIVERGED, always. */
TRI_MUST_USE tri_status tri_stability_fail(const tri_stability *s,
                                           const tri_stability_config *config,
                                           const tri_stability_step *step, double ratio);

/* Samples [begin, end) are consumed, but in no weight. Not collective. */
void tri_stability_leave_out(tri_stability *s, int64_t begin, int64_t end);

/* Check a state that was loaded. Not collective. Errors: TRI_EFORMAT it is none that was saved here. */
TRI_MUST_USE tri_status tri_stability_restore(const tri_stability *s);

/* After a rollback has loaded the state `s` of the checkpoint: what belongs to the job and not to its
 * curve goes on from `before`, and samples [begin, end) are left out. Not collective. */
void tri_stability_go_on(tri_stability *s, const tri_stability *before, int64_t begin, int64_t end);

#endif

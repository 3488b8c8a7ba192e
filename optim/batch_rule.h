// SPDX-License-Identifier: Apache-2.0
/* From sums over groups to estimates, and from estimates to the next batch: pure functions. */
#ifndef TRI_OPTIM_BATCH_RULE_H
#define TRI_OPTIM_BATCH_RULE_H

#include "optim/batch.h"

/* Sums over all coordinates, of M groups of b samples: g_m the mean gradient of group m, g their mean. */
typedef struct tri_batch_sums {
    int groups;                           /* M */
    double samples;                       /* M b */
    double scatter;                       /* sum over m of ||g_m - g||^2 */
    double squares;                       /* ||g||^2 */
    double product[TRI_BATCH_MAX_GROUPS]; /* <g_m, g>; inner_product and augmented */
    double ratio;                         /* largest (sum of (g_m - g)_j^2) / g_j^2; coordinate */
} tri_batch_sums;

/* What is averaged over tests: all of them unbiased, or what a test's definition has. */
typedef struct tri_batch_estimates {
    double variance;   /* V = b / (M - 1) * scatter */
    double squares;    /* ||g||^2 */
    double gradient;   /* |G|^2 = ||g||^2 - V / (M b) */
    double parallel;   /* variance of <g_i, g>: b times that of <g_m, g> */
    double orthogonal; /* V - parallel / ||g||^2 */
} tri_batch_estimates;

/* Estimates from sums. Not collective. */
tri_batch_estimates tri_batch_estimate(const tri_batch_sums *sums);

/* Samples that the test asks for; may be infinite. `ratio` is that of the sums of the last test, the rest
 * of them may be averages. Not collective. */
double tri_batch_target(const tri_batch_adaptive *config, const tri_batch_estimates *estimates,
                        const tri_batch_sums *sums);

/* The next batch: `target` rounded up to samples, then to quanta, at least `batch`, within growth and
 * max. Not collective. */
int64_t tri_batch_next(const tri_batch_adaptive *config, int64_t batch, double target);

/* Batch of a ramp after `samples` of the job. Not collective. */
int64_t tri_batch_ramp_at(const tri_batch_config *config, int64_t samples);

#endif

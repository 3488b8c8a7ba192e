// SPDX-License-Identifier: Apache-2.0
/* Softmax cross-entropy, fused with its gradient and chunked over the vocabulary: statistics are
 * merged chunk by chunk (online softmax, arXiv:1805.02867), then each chunk of logits is turned into
 * its gradient in place. The same two calls serve a vocabulary that is split over ranks: each makes
 * the statistics of its ids, the maximum over ranks goes to tri_cross_entropy_rescale, sum and picked
 * are summed over ranks, and each makes the gradient of its ids.
 */
#ifndef TRI_KERNELS_LOSS_H
#define TRI_KERNELS_LOSS_H

#include "kernels/kernels.h"

typedef struct tri_cross_entropy_args {
    int64_t rows;
    int64_t first, width; /* this chunk holds vocabulary ids first .. first + width - 1 */
    int64_t stride;       /* elements between rows of logits */
    tri_dtype dtype;
    void *logits;          /* [rows, width]; gradient: overwritten by the gradient */
    const int32_t *target; /* [rows]; negative: not counted */
    float multiplier;      /* > 0: the softmax is that of l = multiplier * logits; 0: 1 */
    float *maximum;        /* [rows] running maximum of l; start at -INFINITY */
    float *sum;            /* [rows] running sum of exp(l - maximum); start at 0 */
    float *picked;         /* [rows] l of the target, set by the chunk that has it; start at 0 */
    float scale;           /* gradient: multiplies (softmax - onehot), 1 / counted tokens */
} tri_cross_entropy_args;

/* maximum, sum, picked [rows] = what statistics start from: a rank without the target then adds 0 to
 * picked. Not collective. */
void tri_cross_entropy_begin(int64_t rows, float *maximum, float *sum, float *picked);

/* Merge a chunk into maximum, sum, picked. Not collective. */
TRI_MUST_USE tri_status tri_cross_entropy_stats(tri_kernels *kernels,
                                                const tri_cross_entropy_args *args);

/* Make sums refer to `all` [rows], the maximum over ranks, so that they add up over ranks:
 * sum *= exp(maximum - all), maximum = all. Not collective.
 * Source: Megatron-LM (arXiv:1909.08053), vocabulary-parallel cross entropy. */
void tri_cross_entropy_rescale(int64_t rows, const float *all, float *maximum, float *sum);

/* logits = multiplier * scale * (softmax - onehot), the gradient of the logits as they were, 0 for rows
 * that do not count. Not collective. */
TRI_MUST_USE tri_status tri_cross_entropy_gradient(tri_kernels *kernels,
                                                   const tri_cross_entropy_args *args);

/* *loss += sum over counted rows of maximum + log(sum) - picked, in fp64, in row order;
 * *counted += their number. Not collective. */
void tri_cross_entropy_sum(const tri_cross_entropy_args *args, double *loss, int64_t *counted);

#endif

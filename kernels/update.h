// SPDX-License-Identifier: Apache-2.0
/* Optimizer updates: one pass over a flat range of fp32 master weights, gradient and moments, which
 * may write the compute copy of the weights on the way. Every element's arithmetic is the same
 * wherever a shard is cut.
 */
#ifndef TRI_KERNELS_UPDATE_H
#define TRI_KERNELS_UPDATE_H

#include "kernels/kernels.h"

/* From here on, nothing of what a step writes is in a cache when it is over. */
enum { TRI_UPDATE_FAR_ELEMENTS = 1 << 20 };

/* The flat range that every update works on. */
typedef struct tri_update_range {
    int64_t n;
    float *weight;         /* [n] master, updated */
    const float *gradient; /* [n] */
    float gradient_scale;  /* multiplies the gradient (clipping) */
    void *copy;            /* [n] compute copy written too; NULL: none */
    tri_dtype copy_type;   /* bf16 */
    bool
        far; /* part of a step of TRI_UPDATE_FAR_ELEMENTS or more: copies are written around the caches */
} tri_update_range;

/* What is done to an element. g is the scaled gradient, to which l2 * w is added; then w -= decay * w,
 * then the rule's own step. m, v: moments 0 and 1; hats: divided by 1 - beta^step. */
typedef enum tri_update_rule {
    TRI_UPDATE_SGD, /* b = beta0 b + g (b: moment 0, if any); w -= rate (nesterov ? g + beta0 b : b) */
    TRI_UPDATE_ADAM,   /* m, v; w -= rate m^ / (sqrt v^ + epsilon) */
    TRI_UPDATE_ADAMAX, /* m; v = max(beta1 v, |g| + epsilon); w -= rate m^ / v */
    TRI_UPDATE_ATAN2,  /* m, v; w -= rate 4/pi atan2(m^, sqrt v^) */
    TRI_UPDATE_LION, /* w -= rate sign(beta0 m + (1 - beta0) g), then m = beta1 m + (1 - beta1) g */
    TRI_UPDATE_ADAGRAD, /* s += g^2 (s: moment 0); w -= rate g / (sqrt s + epsilon) */
    TRI_UPDATE_MOMENTS, /* m, v alone; the sums of squares of w, and of u = the step of ADAM at rate 1
                         * and decay w, are added to sums[0] and sums[1] */
    TRI_UPDATE_TRUST,   /* w -= rate u of these moments, the second half of LAMB */
    TRI_UPDATE_VARIANCE, /* v = beta0 v + (1 - beta0) (g^2 + epsilon) (v: moment 0) alone; the sums of
                          * squares of w and of g / sqrt v are added to sums[0] and sums[1] */
    TRI_UPDATE_SCALED,   /* w -= rate g / sqrt v, the second half of Adafactor for vectors */
    TRI_UPDATE_RULES
} tri_update_rule;

typedef struct tri_update_args {
    tri_update_rule rule;
    tri_update_range range;
    void *moment[2];       /* [n], updated; NULL where the rule has none */
    tri_dtype moment_type; /* fp32 or bf16, rounded at random, so that small changes are not lost */
    uint64_t index,
        key; /* of bf16: number of the first element in its tensor; of tensor and step */
    float rate, beta[2], epsilon, decay, l2;
    bool nesterov;
    int64_t step; /* 1 for the first update: bias correction */
    double *sums; /* [2], MOMENTS and VARIANCE */
} tri_update_args;

/* Update a range. Not collective. Errors: TRI_EINVAL a moment is missing, step < 1.
 * Cost: reads weight, gradient and moments, writes weight and moments (and copy). */
TRI_MUST_USE tri_status tri_update(tri_kernels *kernels, const tri_update_args *args);

/* Moments of a rule (SGD's is optional). Not collective. */
int tri_update_moments(tri_update_rule rule);

/* How a loop without arithmetic goes over the memory of an update. */
typedef enum tri_traffic_way {
    TRI_TRAFFIC_PLAIN,  /* as the update: all streams side by side, ordinary stores */
    TRI_TRAFFIC_COPY,   /* the same, the compute copy written around the caches */
    TRI_TRAFFIC_STREAM, /* the same, every store around the caches */
    TRI_TRAFFIC_BLOCKS, /* blocks of 4 KiB of one stream after another */
    TRI_TRAFFIC_WAYS
} tri_traffic_way;

/* The streams of one pass of an update; what is NULL is no stream. */
typedef struct tri_update_traffic_args {
    tri_update_range range;           /* gradient: read; weight: read and written; copy: written */
    void *m, *v;                      /* read and written */
    tri_dtype moment_type;            /* fp32 or bf16 */
    bool keeps_weight, keeps_moments; /* they are read alone */
    tri_traffic_way way;
    uint32_t flip; /* bits of the gradient that flip bits of weight and moments; 0: none change */
} tri_update_traffic_args;

/* Read and write the streams of an update, x ^= gradient & flip (its upper half where x is bf16): the limit
 * of memory bandwidth that benchmarks compare updates with. The copy becomes the upper half of the
 * gradient, of the weight where there is no gradient. Not collective. Errors: TRI_EINVAL. */
TRI_MUST_USE tri_status tri_update_traffic(tri_kernels *kernels,
                                           const tri_update_traffic_args *args);

#endif

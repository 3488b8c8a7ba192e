// SPDX-License-Identifier: Apache-2.0
/* Optimizer updates: one pass over a flat range of fp32 master weights, gradient and moments, which
 * may write the compute copy of the weights on the way. Every element's arithmetic is the same
 * wherever a shard is cut.
 */
#ifndef TRI_KERNELS_UPDATE_H
#define TRI_KERNELS_UPDATE_H

#include "kernels/kernels.h"

/* The flat range that every update works on. */
typedef struct tri_update_range {
    int64_t n;
    float *weight;         /* [n] master, updated */
    const float *gradient; /* [n] */
    float gradient_scale;  /* multiplies the gradient (clipping) */
    void *copy;            /* [n] compute copy written too; NULL: none */
    tri_dtype copy_type;   /* bf16 */
} tri_update_range;

typedef struct tri_adamw_args {
    tri_update_range range;
    float *m, *v; /* [n] moments, updated */
    float lr, beta1, beta2, epsilon, weight_decay;
    int64_t step; /* 1 for the first update: bias correction */
} tri_adamw_args;

/* AdamW in torch's convention (Loshchilov & Hutter, arXiv:1711.05101): w *= 1 - lr*weight_decay;
 * m, v; w -= lr * (m/(1-beta1^step)) / (sqrt(v/(1-beta2^step)) + epsilon). Not collective.
 * Cost: reads 16 n, writes 12 n (+2 n) bytes. */
TRI_MUST_USE tri_status tri_update_adamw(tri_kernels *kernels, const tri_adamw_args *args);

typedef struct tri_sgd_args {
    tri_update_range range;
    float *momentum_buffer; /* [n]; NULL without momentum */
    float lr, momentum, weight_decay;
    bool nesterov;
    bool first; /* first update: buffer = gradient (torch) */
} tri_sgd_args;

/* SGD in torch's convention: g += weight_decay*w; b = momentum*b + g; g = nesterov ? g + momentum*b
 * : b; w -= lr*g. Not collective. */
TRI_MUST_USE tri_status tri_update_sgd(tri_kernels *kernels, const tri_sgd_args *args);

/* How a loop without arithmetic goes over the memory of an update. */
typedef enum tri_traffic_way {
    TRI_TRAFFIC_PLAIN,  /* as the update: all streams side by side, ordinary stores */
    TRI_TRAFFIC_COPY,   /* the same, the compute copy written around the caches */
    TRI_TRAFFIC_STREAM, /* the same, every store around the caches */
    TRI_TRAFFIC_BLOCKS, /* blocks of 4 KiB of one stream after another */
    TRI_TRAFFIC_WAYS
} tri_traffic_way;

/* The streams of an update; a moment that is NULL is no stream. */
typedef struct tri_update_traffic_args {
    tri_update_range range;
    float *m, *v;
    tri_traffic_way way;
    uint32_t flip; /* bits of the gradient that flip bits of weight and moments; 0: none change */
} tri_update_traffic_args;

/* Read and write the streams of an update, x ^= gradient & flip: the limit of memory bandwidth that
 * benchmarks compare updates with. The copy becomes the gradient's upper half. Not collective. */
TRI_MUST_USE tri_status tri_update_traffic(tri_kernels *kernels,
                                           const tri_update_traffic_args *args);

#endif

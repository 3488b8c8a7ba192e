// SPDX-License-Identifier: Apache-2.0
/* The vector loops of attention (cpu/simd_attention.c), a part of each instruction set's table.
 */
#ifndef TRI_KERNELS_CPU_ATTENTION_LOOPS_H
#define TRI_KERNELS_CPU_ATTENTION_LOOPS_H

#include "runtime/dtype.h"

/* A block of scores and its place in the running softmax of its rows. */
typedef struct tri_simd_softmax {
    int64_t rows, width, stride; /* stride: elements between rows of scores and of p */
    int64_t visible;             /* row i sees the block's columns < visible + i */
    const int32_t *first;        /* [rows] and whose place is first[i] or more; NULL: all */
    int64_t place;               /* of column 0 */
    float scale;
    bool bf16; /* type of p */
    const float *scores;
    void *p; /* = exp(scale * score - maximum), 0 where not seen; may be scores */
    float *maximum, *sum, *factor; /* [rows] running pair; factor = what older sums shrink by */
} tri_simd_softmax;

/* Rows of activations: `stride` elements apart, bf16 or fp32. */
typedef struct tri_simd_rows {
    int64_t n, width, stride;
    bool bf16;
} tri_simd_rows;

/* Backward through the softmax, rows are keys and columns queries. */
typedef struct tri_simd_softmax_gradient {
    int64_t keys, queries, stride;
    int64_t first;          /* key j is seen by queries >= first + j */
    const int32_t *visible; /* [queries], never falling, and by those with visible[i] <= place + j;
                               NULL: all */
    int64_t place;          /* of key 0 */
    float scale;
    bool bf16;                /* type of p and ds */
    const float *scores;      /* unscaled */
    const float *dp;          /* gradient of p */
    const float *lse, *delta; /* [queries] */
    void *p, *ds;             /* = softmax, = scaled gradient of scores; may be scores and dp */
} tri_simd_softmax_gradient;

/* One query of one head against all its keys. */
typedef struct tri_simd_query {
    int64_t n_key, head_size, k_stride, v_stride;
    float scale;
    bool bf16;
    const void *q, *k, *v;
    void *out;
    float *scores; /* [n_key] scratch */
} tri_simd_query;

typedef struct tri_simd_attention {
    void (*softmax)(const tri_simd_softmax *block);
    /* total = total * factor[row] + part, both [rows, width] dense */
    void (*merge)(int64_t rows, int64_t width, const float *factor, const float *part,
                  float *total);
    /* out = in / divisor[row], in [n, width] dense; divisor NULL: 1; 0 where the divisor is 0 */
    void (*copy)(const tri_simd_rows *rows, const float *divisor, const float *in, void *out);
    /* out += in, in [n, width] dense, out fp32 */
    void (*add)(const tri_simd_rows *rows, const float *in, float *out);
    /* delta[row] = dout . out */
    void (*delta)(const tri_simd_rows *rows, const void *dout, const void *out, float *delta);
    void (*gradient)(const tri_simd_softmax_gradient *block);
    /* returns the log of the sum of exponentials */
    float (*query)(const tri_simd_query *row);
} tri_simd_attention;

#endif

// SPDX-License-Identifier: Apache-2.0
/* Pointwise kernels: activations, rotary embedding, dropout, residual sums, casts, reductions. */
#ifndef TRI_KERNELS_POINTWISE_H
#define TRI_KERNELS_POINTWISE_H

#include "kernels/kernels.h"
#include "runtime/base/rng.h"

/* y = gelu(x), the tanh form (Hendrycks & Gimpel, arXiv:1606.08415). x, y [n]. Not collective. */
TRI_MUST_USE tri_status tri_gelu_forward(tri_kernels *kernels, tri_dtype dtype, int64_t n,
                                         const void *x, void *y);

/* dx = dy * gelu'(x); dx may be dy. Not collective. */
TRI_MUST_USE tri_status tri_gelu_backward(tri_kernels *kernels, tri_dtype dtype, int64_t n,
                                          const void *x, const void *dy, void *dx);

/* y = silu(gate) * up (Shazeer, arXiv:2002.05202). gate, up: [rows, width] with `stride` elements
 * between rows; y [rows, width] dense. Not collective. */
TRI_MUST_USE tri_status tri_swiglu_forward(tri_kernels *kernels, tri_dtype dtype, int64_t rows,
                                           int64_t width, int64_t stride, const void *gate,
                                           const void *up, void *y);

/* dgate, dup = gradients, strides of gate and up; may be gate and up themselves. Not collective. */
typedef struct tri_swiglu_backward_args {
    tri_dtype dtype;
    int64_t rows, width, stride;
    const void *gate, *up, *dy;
    void *dgate, *dup;
} tri_swiglu_backward_args;
TRI_MUST_USE tri_status tri_swiglu_backward(tri_kernels *kernels,
                                            const tri_swiglu_backward_args *args);

/* Rotate pairs (i, i + head_size/2) of every head by position * theta^(-2i/head_size), in place
 * (RoFormer, arXiv:2104.09864, in the half-split order of Llama). inverse: the transposed rotation
 * (backward). x [tokens, stride] with `heads` heads at its start; the position of token j is
 * position[j], or first_position + j % period. Not collective. */
typedef struct tri_rope_args {
    tri_dtype dtype;
    int64_t tokens, period, first_position;
    const int32_t *position; /* [tokens]; NULL: by period */
    int64_t heads, head_size, stride;
    float theta;
    const float *table; /* [positions, head_size]: cos then sin halves; see tri_rope_table */
    bool inverse;
    void *x;
} tri_rope_args;
TRI_MUST_USE tri_status tri_rope(tri_kernels *kernels, const tri_rope_args *args);

/* table [positions, head_size] = cos (first half) and sin (second half). Not collective. */
void tri_rope_table(int64_t positions, int64_t head_size, float theta, float *table);

/* y = x * mask / (1 - rate): element (r, i), with row = first_row + r, is kept by uniform(rng with
 * stream rng.stream + sample[row / rows_per_sample], index place * width + i) >= rate, where place is
 * that of row % rows_per_sample. So the mask of an element of a sequence is the same whichever rows
 * a rank holds. The same call on the gradient is the backward pass. y may be x. Not collective. */
typedef struct tri_dropout_args {
    tri_dtype dtype;
    int64_t rows, width, rows_per_sample;
    int64_t first_row;     /* of the micro-batch, where these are a part of its rows */
    const int64_t *sample; /* number of each sample of the micro-batch in the job's data order */
    const int32_t *index;  /* [rows_per_sample] places in the whole sequence; NULL: 0, 1, ... */
    float rate;
    tri_rng rng;
    const void *x;
    void *y;
} tri_dropout_args;
TRI_MUST_USE tri_status tri_dropout(tri_kernels *kernels, const tri_dropout_args *args);

/* y = a + b; y may be a. Not collective. */
TRI_MUST_USE tri_status tri_add(tri_kernels *kernels, tri_dtype dtype, int64_t n, const void *a,
                                const void *b, void *y);

/* dbias[j] += sum over rows of dy[row, j], in a fixed order. dy [rows, width] with `stride` elements
 * between rows; workspace as tri_norm_workspace(width). Not collective. */
TRI_MUST_USE tri_status tri_bias_backward(tri_kernels *kernels, tri_dtype dtype, int64_t rows,
                                          int64_t width, int64_t stride, const void *dy,
                                          float *dbias, float *workspace);

/* out = in, converted (fp32 <-> bf16, or a plain copy). Not collective. */
TRI_MUST_USE tri_status tri_cast(tri_kernels *kernels, tri_span in, tri_span out);

/* x *= factor (fp32). Not collective. */
TRI_MUST_USE tri_status tri_scale(tri_kernels *kernels, int64_t n, float factor, float *x);

/* *out = sum of squares in fp64, in a fixed order that does not depend on the thread count. inf and
 * nan come through. x [n] fp32. Not collective. */
TRI_MUST_USE tri_status tri_sum_squares(tri_kernels *kernels, int64_t n, const float *x,
                                        double *out);

#endif

// SPDX-License-Identifier: Apache-2.0
/* Causal attention that never stores the T x T matrix (FlashAttention, arXiv:2205.14135): blocks of
 * scores with a running maximum and sum. Multi-head and grouped-query: head h reads key/value head
 * h / (heads / kv_heads).
 */
#ifndef TRI_KERNELS_ATTENTION_H
#define TRI_KERNELS_ATTENTION_H

#include "kernels/kernels.h"

/* Row of token (b, t) and head h of a tensor x lies at x + b*x_batch_stride + t*x_stride + h*head_size
 * (a batch stride of 0: tokens * stride, of n_query or n_key tokens). Queries and keys may be parts of
 * longer sequences: query t has the place q_first + t in its sequence and sees the keys whose place
 * k_first + j lies in visible[b, q_first + t] .. q_first + t. */
typedef struct tri_attention_args {
    int64_t batch;
    int64_t n_query, n_key; /* tokens with queries, with keys */
    int64_t q_first, k_first;
    /* first place that the query at each place sees, never falling: packed documents; NULL: 0 */
    const int32_t *visible;
    int64_t visible_stride; /* elements between samples of visible */
    int64_t heads, kv_heads, head_size;
    tri_dtype dtype;
    float scale; /* of the scores, 1/sqrt(head_size) */
    const void *q, *k, *v;
    int64_t q_stride, k_stride, v_stride;                   /* elements between tokens */
    int64_t q_batch_stride, k_batch_stride, v_batch_stride; /* between samples */
    void *out; /* forward =; backward: input. fp32 with `merge`, else of dtype */
    int64_t out_stride, out_batch_stride; /* of dout too */
    /* [batch, heads, n_query] log of the sum of exponentials; forward =; -INFINITY: saw none */
    float *lse;
    /* between heads, between samples; 0: n_query, heads * lse_stride */
    int64_t lse_stride, lse_batch_stride;
    bool merge; /* forward: out (fp32) and lse hold the result over other keys: merge with it */
    const void *dout;   /* backward, of dtype */
    void *dq, *dk, *dv; /* backward =, strides of q, k, v; `accumulate`: fp32, += */
    bool accumulate;
    void *workspace; /* tri_attention_workspace bytes */
} tri_attention_args;

/* Bytes of workspace that forward and backward of these sizes, dtype and `merge` need. Not
 * collective. */
size_t tri_attention_workspace(const tri_kernels *kernels, const tri_attention_args *args);

/* out, lse = attention: 0 and -INFINITY for a query that sees no key of the call; with `merge` (online
 * softmax, arXiv:1805.02867) such rows stay as they are. Not collective.
 *
 * Errors: TRI_EINVAL. Cost: 4 batch heads head_size for each pair that sees, in blocks of 64 queries
 * by up to 512 keys of which some pair does. What the first call allocates depends on
 * sizes, strides and q_first - k_first: other documents find their products made.
 */
TRI_MUST_USE tri_status tri_attention_forward(tri_kernels *kernels, const tri_attention_args *args);

/* dq, dk, dv = (or +=) gradients of the call's pairs, from out and lse over all keys (of one or many
 * forward calls): the sum over calls is the whole gradient. Not collective. Errors: TRI_EINVAL. */
TRI_MUST_USE tri_status tri_attention_backward(tri_kernels *kernels,
                                               const tri_attention_args *args);

#endif

// SPDX-License-Identifier: Apache-2.0
/* Causal attention that never stores the T x T matrix (FlashAttention, arXiv:2205.14135): blocks of
 * scores with a running maximum and sum. Multi-head and grouped-query: head h reads key/value head
 * h / (heads / kv_heads).
 */
#ifndef TRI_KERNELS_ATTENTION_H
#define TRI_KERNELS_ATTENTION_H

#include "kernels/kernels.h"

/* Row of token (b, t) and head h of a tensor x lies at x + (b*T + t)*x_stride + h*head_size. */
typedef struct tri_attention_args {
    int64_t batch;
    int64_t n_query; /* tokens with queries, T */
    int64_t n_key;   /* tokens with keys, >= n_query; query t sees keys 0 .. n_key - n_query + t */
    int64_t heads, kv_heads, head_size;
    tri_dtype dtype;
    float scale; /* of the scores, 1/sqrt(head_size) */
    const void *q, *k, *v;
    int64_t q_stride, k_stride, v_stride; /* elements between tokens */
    int64_t k_batch_stride; /* elements between samples of k and of v; 0: n_key * stride */
    void *out;              /* forward =; backward: input */
    int64_t out_stride;
    float *lse;         /* [batch, heads, n_query] log of the sum of exponentials; forward = */
    const void *dout;   /* backward, strides of out */
    void *dq, *dk, *dv; /* backward =, strides of q, k, v */
    void *workspace;    /* tri_attention_workspace bytes */
} tri_attention_args;

/* Bytes of workspace that forward and backward of these sizes need. Not collective. */
size_t tri_attention_workspace(const tri_kernels *kernels, const tri_attention_args *args);

/* out, lse = attention. Not collective. Cost: 2 batch heads n_query n_key head_size (causal). */
TRI_MUST_USE tri_status tri_attention_forward(tri_kernels *kernels, const tri_attention_args *args);

/* dq, dk, dv = gradients, from out and lse of forward; n_query = n_key. Not collective. */
TRI_MUST_USE tri_status tri_attention_backward(tri_kernels *kernels,
                                               const tri_attention_args *args);

#endif

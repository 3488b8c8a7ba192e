// SPDX-License-Identifier: Apache-2.0
/* Causal self-attention: one product for q, k and v, rotary embedding where the model has it, the
 * attention kernel, and the output product. Multi-head and grouped-query.
 *
 * Over a tensor axis each rank has heads/size query heads and the key/value heads that they read: with
 * fewer key/value heads than ranks, one that neighbouring ranks share. q, k and v are split by columns,
 * out by rows (split.h). Over a context axis the kernel's place is taken by parallel/context.h.
 */
#ifndef TRI_PARALLEL_LAYER_ATTENTION_H
#define TRI_PARALLEL_LAYER_ATTENTION_H

#include "parallel/layer/split.h"

typedef struct tri_attention_layer {
    int64_t heads, kv_heads, head_size; /* of this rank */
    tri_linear qkv;                     /* parts q, k, v */
    tri_linear out;
    const float *rope; /* [context, head_size] of tri_rope_table; NULL: none */
    float scale;       /* of the scores; 0: 1 / sqrt(head_size) */
} tri_attention_layer;

/* What forward leaves to backward. */
typedef struct tri_attention_store {
    void *qkv;     /* [rows, (heads + 2 kv_heads) head_size], q and k rotated */
    void *mix;     /* [rows, heads head_size]: the kernel's output */
    float *lse;    /* [sequences, heads, length] */
    void *context; /* tri_context_store_bytes, where the call has a context */
} tri_attention_store;

/* Keys and values of the tokens so far of one sequence: [context, kv_heads head_size] each. */
typedef struct tri_attention_cache {
    void *k, *v;
} tri_attention_cache;

/* branch [outer rows, C] = attention of y [outer rows, C]. Collective over the tensor and context axes.
 * With a cache (else NULL): one sequence, whose tokens first_position ... are put into it; all cached
 * ones are seen; no context axis. */
TRI_MUST_USE tri_status tri_attention_layer_forward(const tri_layer_call *call,
                                                    const tri_attention_layer *attention,
                                                    const void *y, const tri_attention_store *store,
                                                    const tri_attention_cache *cache, void *branch);

/* A part of forward, for what backward computes again: mix and lse from q, k and v as they lie in the
 * store. Collective over the context axis. */
TRI_MUST_USE tri_status tri_attention_layer_mix(const tri_layer_call *call,
                                                const tri_attention_layer *attention,
                                                const tri_attention_store *store);

/* Buffers of the backward pass. dbranch and dqkv are kept from backward_input to backward_weight. */
typedef struct tri_attention_scratch {
    void *dbranch; /* [rows, C]: of all rows; backward_input's own argument where that holds them */
    void *dmix;    /* [rows, heads head_size] */
    void *dqkv;    /* [rows, width of qkv] */
} tri_attention_scratch;

/* dy [outer rows, C] = gradient of y from dbranch [outer rows, C]. Collective over the tensor and context
 * axes. dy may be scratch->dmix. Writes: dy, scratch; spare [rows, C] is used where q, k and v lie
 * apart, unless the outer region is shared out. */
TRI_MUST_USE tri_status tri_attention_layer_backward_input(const tri_layer_call *call,
                                                           const tri_attention_layer *attention,
                                                           const tri_attention_store *store,
                                                           const void *dbranch,
                                                           const tri_attention_scratch *scratch,
                                                           void *spare, void *dy);

/* Gradients of the four matrices and biases += , from y [outer rows, C] and what backward_input left in
 * scratch. Collective over the tensor axis. */
TRI_MUST_USE tri_status tri_attention_layer_backward_weight(const tri_layer_call *call,
                                                            const tri_attention_layer *attention,
                                                            const tri_attention_store *store,
                                                            const void *y,
                                                            const tri_attention_scratch *scratch);

/* Bytes of call->attention for batches and caches of up to these sizes. Not collective. */
size_t tri_attention_layer_workspace(const tri_layer_call *call,
                                     const tri_attention_layer *attention);

/* Add the messages over the tensor axis (those over the context axis: tri_context_traffic). Not
 * collective. */
void tri_attention_layer_traffic(const tri_layer_call *call, tri_tensor_passes passes,
                                 tri_traffic_list *list);

#endif

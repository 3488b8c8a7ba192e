// SPDX-License-Identifier: Apache-2.0
/* Causal self-attention: one product for q, k and v, rotary embedding where the model has it, the
 * attention kernel, and the output product. Multi-head and grouped-query.
 */
#ifndef TRI_PARALLEL_LAYER_ATTENTION_H
#define TRI_PARALLEL_LAYER_ATTENTION_H

#include "parallel/layer/linear.h"

typedef struct tri_attention_layer {
    int64_t heads, kv_heads, head_size;
    tri_linear qkv; /* parts q, k, v */
    tri_linear out;
    const float *rope; /* [context, head_size] of tri_rope_table; NULL: none */
} tri_attention_layer;

/* What forward leaves to backward. */
typedef struct tri_attention_store {
    void *qkv;  /* [rows, (heads + 2 kv_heads) head_size], q and k rotated */
    void *mix;  /* [rows, heads head_size]: the kernel's output */
    float *lse; /* [sequences, heads, length] */
} tri_attention_store;

/* Keys and values of the tokens so far of one sequence: [context, kv_heads head_size] each. */
typedef struct tri_attention_cache {
    void *k, *v;
} tri_attention_cache;

/* branch [rows, C] = attention of y [rows, C]. Not collective. With a cache (else NULL): one sequence,
 * whose tokens first_position ... are put into it; all cached ones are seen. */
TRI_MUST_USE tri_status tri_attention_layer_forward(const tri_layer_call *call,
                                                    const tri_attention_layer *attention,
                                                    const void *y, const tri_attention_store *store,
                                                    const tri_attention_cache *cache, void *branch);

/* Buffers of the backward pass. */
typedef struct tri_attention_scratch {
    void *dmix; /* [rows, C] */
    void *dqkv; /* [rows, width of qkv]: kept from backward_input to backward_weight */
} tri_attention_scratch;

/* dy [rows, C] = gradient of y from dbranch. Not collective. dy may be scratch->dmix. Writes: dy,
 * scratch; spare [rows, C] is used where q, k and v lie apart. */
TRI_MUST_USE tri_status tri_attention_layer_backward_input(const tri_layer_call *call,
                                                           const tri_attention_layer *attention,
                                                           const tri_attention_store *store,
                                                           const void *dbranch,
                                                           const tri_attention_scratch *scratch,
                                                           void *spare, void *dy);

/* Gradients of the four matrices and biases += , from y, dbranch and what backward_input left in
 * scratch->dqkv. Not collective. */
TRI_MUST_USE tri_status tri_attention_layer_backward_weight(const tri_layer_call *call,
                                                            const tri_attention_layer *attention,
                                                            const tri_attention_store *store,
                                                            const void *y, const void *dbranch,
                                                            const tri_attention_scratch *scratch);

/* Create all primitives, by running the attention kernel once on whatever the buffers hold. Not
 * collective. Writes: store->mix, lse; where training scratch. */
TRI_MUST_USE tri_status tri_attention_layer_prepare(const tri_layer_call *call,
                                                    const tri_attention_layer *attention,
                                                    const tri_attention_store *store,
                                                    const tri_attention_scratch *scratch,
                                                    bool training);

/* Bytes of call->attention for batches and caches of up to these sizes. Not collective. */
size_t tri_attention_layer_workspace(const tri_layer_call *call,
                                     const tri_attention_layer *attention);

#endif

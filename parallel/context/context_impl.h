// SPDX-License-Identifier: Apache-2.0
/* What the modes of the context axis share; private to parallel/context*.
 *
 * Two stages. Outside, ranks of one ring place exchange tokens for heads (exchange.c; nothing where
 * ulysses is 1). Inside, ring places that each hold their tokens for some heads compute attention over
 * the whole sequence: that is what a tri_context_ops does.
 */
#ifndef TRI_PARALLEL_CONTEXT_CONTEXT_IMPL_H
#define TRI_PARALLEL_CONTEXT_CONTEXT_IMPL_H

#include "parallel/context.h"

/* Tokens of a ring place that are consecutive in the sequence. */
typedef struct tri_context_run {
    int64_t place; /* of the first, in the sequence */
    int64_t local; /* of the first, among the tokens of the ring place */
    int64_t count;
} tri_context_run;

/* Own queries against another place's keys, some of which they see. */
typedef struct tri_context_block {
    tri_context_run q, k;
} tri_context_block;

enum { TRI_CONTEXT_RUNS = 2, TRI_CONTEXT_BLOCKS = TRI_CONTEXT_RUNS * TRI_CONTEXT_RUNS };

/* Attention of a ring place: arguments as of tri_attention_forward and backward with the tokens of the
 * place and all strides filled in. */
typedef struct tri_context_ops {
    const char *name;
    const char *doc;
    tri_status (*forward)(tri_context *context, const tri_attention_args *args);
    tri_status (*backward)(tri_context *context, const tri_attention_args *args);
    /* optional */
    tri_status (*declare)(tri_context *context, tri_arena *arena);
    /* the widest call of the kernel: its heads; tokens are those of blocks */
    void (*kernel_heads)(const tri_context *context, int64_t *heads, int64_t *kv_heads);
    /* optional: messages of batches of `sequences` */
    void (*traffic)(const tri_context *context, int64_t sequences, int64_t forwards,
                    int64_t backwards, tri_traffic_list *list);
} tri_context_ops;

struct tri_context {
    tri_context_args args; /* n_ulysses resolved */
    const tri_context_ops *ops;
    int size;                /* of the axis */
    int n_ring, i_ring;      /* ring places, and which is this rank's */
    int i_ulysses;           /* this rank's place in it */
    int64_t tokens;          /* of a ring place */
    int64_t heads, kv_heads; /* of a rank inside */
    /* exchange.c, where ulysses > 1: of the largest call */
    void *pack; /* a rank's tokens, heads in blocks of their rank */
    void *qkv;  /* gathered q, k, v without a store, and the gradients of q, k, v */
    void *out;  /* gathered out without a store, and its gradient */
    /* inside, where ring > 1 */
    void *q;       /* queries, dense (training) */
    void *kv[2];   /* keys, then values: those being computed with, those under way */
    float *dkv[3]; /* their gradients (training) */
    float *sum;    /* out, in backward dq */
};

extern const tri_context_ops tri_context_ring, tri_context_ulysses, tri_context_allgather;

/* The table of a mode. Not collective. */
const tri_context_ops *tri_context_find(tri_context_mode mode);

/* The ulysses degree that (mode, size, n_ulysses) means. Not collective. */
int tri_context_degree(tri_context_mode mode, int size, int n_ulysses);

/* The runs of a ring place, in order; how many. Not collective. */
int tri_context_runs(const tri_context *context, int place, tri_context_run run[TRI_CONTEXT_RUNS]);

/* The pairs of runs of own queries and of `place`'s keys of which something is seen. Not collective. */
int tri_context_blocks(const tri_context *context, int place,
                       tri_context_block block[TRI_CONTEXT_BLOCKS]);

/* One call of the kernel: `whole` of a ring place, narrowed to a block. Not collective. */
tri_attention_args tri_context_block_args(const tri_attention_args *whole,
                                          const tri_context_block *block);

/* The kernel on all blocks of own queries and `place`'s keys: out (fp32) and lse merged with what
 * they hold; dq, dk, dv (fp32) +=. Not collective. */
TRI_MUST_USE tri_status tri_context_blocks_forward(const tri_context *context,
                                                   const tri_attention_args *args, int place);
TRI_MUST_USE tri_status tri_context_blocks_backward(const tri_context *context,
                                                    const tri_attention_args *args, int place);

/* Begin and end sums over blocks: `args` with out = context->sum, merged from nothing; sum -> out.
 * Not collective. */
void tri_context_sum_begin(const tri_context *context, const tri_attention_args *args,
                           tri_attention_args *sum);
TRI_MUST_USE tri_status tri_context_sum_end(const tri_context *context,
                                            const tri_attention_args *args);

/* Begin and end backward's: `args` with q packed (the fp32 dq has its strides) and dq = context->sum =
 * 0; sum -> dq. Not collective. */
void tri_context_dq_begin(const tri_context *context, const tri_attention_args *args,
                          tri_attention_args *sum);
TRI_MUST_USE tri_status tri_context_dq_end(const tri_context *context,
                                           const tri_attention_args *args);

/* Rows of a tensor [batch, tokens, width]: strides in elements. */
typedef struct tri_context_rows {
    void *data;
    int64_t stride, batch_stride;
} tri_context_rows;

/* Copy [batch, tokens, width] of the context's type. Not collective. */
void tri_context_copy(const tri_context *context, const int64_t shape[3], tri_context_rows from,
                      tri_context_rows to);

/* The same from dense fp32 to the context's type. Not collective. */
TRI_MUST_USE tri_status tri_context_round(const tri_context *context, const int64_t shape[3],
                                          const float *from, tri_context_rows to);

/* Keys, then values of heads [first, first + heads) -> kv: each [batch, tokens, heads * head_size].
 * Not collective. */
void tri_context_pack(const tri_context *context, const tri_attention_args *args, int64_t first,
                      int64_t heads, void *kv);

/* dk, dv of the same heads = their fp32 gradients in that layout. Not collective. */
TRI_MUST_USE tri_status tri_context_unpack(const tri_context *context,
                                           const tri_attention_args *args, int64_t first,
                                           int64_t heads, const float *dkv);

/* `args` reading k, v, and in backward summing dk, dv, of `heads` heads in that layout. Not
 * collective. */
void tri_context_use(const tri_context *context, tri_attention_args *args, int64_t heads,
                     const void *kv, float *dkv);

/* Elements of keys and values of one ring place in that layout. Not collective. */
int64_t tri_context_kv_count(const tri_context *context, int64_t batch, int64_t heads);

/* Declare the buffers inside: kv of `kv_count` elements twice, their gradients n_dkv times of
 * `dkv_count`, q and sums. Not collective. */
TRI_MUST_USE tri_status tri_context_declare_inside(tri_context *context, tri_arena *arena,
                                                   int64_t kv_count, int n_dkv, int64_t dkv_count);

/* Address of element `n` of an array of `dtype`; of no array (NULL) NULL. Not collective. */
static inline void *tri_context_at(const void *base, int64_t n, tri_dtype dtype)
{
    if (!base) return NULL;
    return (void *)((uintptr_t)base + (uintptr_t)n * tri_dtype_bytes(dtype));
}

/* --- exchange.c: tokens for heads among the ulysses ranks of a ring place */

/* Gather q, k, v of this rank's heads and of all tokens of the ring place, run the inside, give out
 * back. Collective over args.ulysses. */
TRI_MUST_USE tri_status tri_context_exchange_forward(tri_context *context,
                                                     const tri_attention_args *args, void *store);
TRI_MUST_USE tri_status tri_context_exchange_backward(tri_context *context,
                                                      const tri_attention_args *args,
                                                      const void *store);

/* What it keeps, its buffers, its messages. Not collective. */
int64_t tri_context_exchange_store_bytes(const tri_context *context);
TRI_MUST_USE tri_status tri_context_exchange_declare(tri_context *context, tri_arena *arena);
void tri_context_exchange_traffic(const tri_context *context, int64_t sequences, int64_t forwards,
                                  int64_t backwards, tri_traffic_list *list);

#endif

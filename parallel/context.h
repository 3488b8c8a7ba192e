// SPDX-License-Identifier: Apache-2.0
/* Sequences shared out over the context axis, and attention over all of them.
 *
 * The axis has size = ring * ulysses. A sequence of T tokens is cut into 2*ring chunks; ring place i
 * takes chunks i and 2*ring-1-i (zig-zag: with a causal mask every place then has the same work), and
 * the ulysses place u of that takes the u-th part of their concatenation. Modes:
 *   ulysses    all-to-all from tokens to heads and back (arXiv:2309.14509); ring = 1, tokens in order
 *   ring       keys and values travel (arXiv:2310.01889), blocks merged by their log-sum-exp
 *   allgather  all keys and values are gathered, their gradients reduce-scattered
 * ring or allgather with ulysses > 1 is both (USP, arXiv:2405.07719): all-to-all among the `ulysses`
 * ranks of a ring place, which are neighbours, then the ring of heads/ulysses heads.
 */
#ifndef TRI_PARALLEL_CONTEXT_H
#define TRI_PARALLEL_CONTEXT_H

#include "kernels/attention.h"
#include "parallel/traffic.h"
#include "runtime/arena.h"
#include "runtime/mesh.h"

typedef enum tri_context_mode {
    TRI_CONTEXT_RING,
    TRI_CONTEXT_ULYSSES,
    TRI_CONTEXT_ALLGATHER
} tri_context_mode;

typedef struct tri_context tri_context;

typedef struct tri_context_args {
    const tri_mesh *mesh;     /* its context axis is shared out; size 1: attention as it is */
    tri_comm *ring, *ulysses; /* sub-groups of the axis; NULL on paper or of size 1 */
    tri_kernels *kernels;
    tri_context_mode mode;
    int n_ulysses;     /* degree; 1: none; mode ulysses: the axis' size, or 1, which means it */
    int64_t sequences; /* of the largest call */
    int64_t length;    /* T: whole sequences */
    int64_t heads, kv_heads, head_size; /* of this tensor rank */
    tri_dtype dtype;
    bool training;
} tri_context_args;

/* Names for the job spec: "ring", "ulysses", "allgather", NULL; index = tri_context_mode. Not
 * collective. */
const char *const *tri_context_modes(void);

/* Is such a split legal? Not collective. heads, kv_heads: per tensor rank. Errors: TRI_EINVAL with the
 * key, the reason and the nearest legal values. ulysses must divide the axis, the heads, and the
 * key/value heads or be a multiple of these (which are then replicated); T must be a multiple of
 * ulysses, with a ring of 2 * ring * ulysses (ulysses even: of ring * ulysses). */
TRI_MUST_USE tri_status tri_context_check(tri_context_mode mode, int size, int n_ulysses,
                                          int64_t length, int64_t heads, int64_t kv_heads);

/* Make the sub-groups' communicators, for args->ring and args->ulysses; the mesh closes them.
 * Collective: world (nothing on paper). */
TRI_MUST_USE tri_status tri_context_split(tri_mesh *mesh, tri_context_mode mode, int n_ulysses,
                                          tri_comm **ring, tri_comm **ulysses);

/* Not collective. Keeps: mesh, communicators, kernels. Errors: tri_context_check's. */
TRI_MUST_USE tri_status tri_context_create(const tri_context_args *args, tri_context **out);
void tri_context_destroy(tri_context **context);

/* True place in the sequence of this rank's local token j, 0 <= j < T/size. Not collective. */
int64_t tri_context_index(const tri_context *context, int64_t j);

/* Declare travelling buffers and fp32 sums, for one layer at a time. Not collective. Keeps: context. */
TRI_MUST_USE tri_status tri_context_declare(tri_context *context, tri_arena *arena);

/* Bytes that one layer of one micro-batch keeps from forward to backward beside q, k, v, out and lse
 * of the local tokens (0 where nothing): with ulysses what was gathered. Not collective. */
int64_t tri_context_store_bytes(const tri_context *context);

/* out, lse of the local tokens over all keys of their sequences that they see. Collective over the
 * axis.
 *
 * args as of tri_attention_forward with n_query = n_key = T/size local tokens (q_first, k_first and
 * merge unset); args->visible, if any, is [batch, T] of whole sequences. lse [batch, heads, n_query],
 * dense, is for the backward pass: with ulysses it holds [batch, heads/ulysses, n_query * ulysses], of
 * this rank's heads.
 * store: tri_context_store_bytes, kept for backward; NULL: there will be none (or 0 bytes).
 * Cost: with C = heads head_size, Ck = max(kv_heads, u) head_size, n = batch T/size: ulysses sends
 * (u-1)/u of n (2 C + 2 Ck) elements, ring and allgather (r-1) times 2 n Ck elements.
 */
TRI_MUST_USE tri_status tri_context_forward(tri_context *context, const tri_attention_args *args,
                                            void *store);

/* dq, dk, dv (of dtype, =) are the gradients of the local tokens' q, k, v; out, lse, store as forward
 * left them. Collective over the axis. Sums over blocks are made in fp32 and rounded once.
 * Cost: ulysses as forward; ring (r-1) key and value blocks and r fp32 blocks of their gradients. */
TRI_MUST_USE tri_status tri_context_backward(tri_context *context, const tri_attention_args *args,
                                             const void *store);

/* Bytes of args->workspace that its calls of the attention kernel need. Not collective. */
size_t tri_context_workspace(const tri_context *context);

/* Add the messages of `forwards` forward and `backwards` backward passes of one layer over batches of
 * `sequences`; of messages from rank to rank the sends. Not collective. */
void tri_context_traffic(const tri_context *context, int64_t sequences, int64_t forwards,
                         int64_t backwards, tri_traffic_list *list);

#endif

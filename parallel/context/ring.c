// SPDX-License-Identifier: Apache-2.0
/* Keys and values travel around the ring (arXiv:2310.01889) while the queries stay: at step s this
 * place has the keys of the place s before it, and sends them on while it computes with them.
 *
 * Backward makes each block's softmax again from the final lse, so blocks are independent. The fp32
 * gradients of a place's keys travel with them, one step behind, and one hop more to come home: at
 * step s this place computes its share while the sum of those before it is under way.
 */
#include "parallel/context/context_impl.h"

#include "kernels/pointwise.h"

#include <stdio.h>
#include <string.h>

/* Neighbours on the ring, and what is under way. */
typedef struct ring_travel {
    tri_context *context;
    int64_t count; /* elements of a block of keys and values */
    int next, before;
    tri_event sent, received; /* keys and values */
    tri_event sum_sent, sum_received;
} ring_travel;

static ring_travel travel_make(tri_context *context, int64_t batch)
{
    int n = context->n_ring;
    return (ring_travel){.context = context,
                         .count = tri_context_kv_count(context, batch, context->kv_heads),
                         .next = (context->i_ring + 1) % n,
                         .before = (context->i_ring + n - 1) % n};
}

/* The place whose keys are here at `step`. */
static int travel_place(const ring_travel *travel, int step)
{
    const tri_context *context = travel->context;
    return (context->i_ring - step + context->n_ring) % context->n_ring;
}

/* Send the keys of `step` on and take those of the next one, if there is one. */
static tri_status travel_start(ring_travel *travel, int step)
{
    tri_context *context = travel->context;
    travel->sent = travel->received = (tri_event){0};
    if (step + 1 == context->n_ring) return TRI_OK;
    tri_dtype dtype = context->args.dtype;
    tri_span here = tri_span_make(context->kv[step % 2], travel->count, dtype);
    tri_span coming = tri_span_make(context->kv[(step + 1) % 2], travel->count, dtype);
    TRI_TRY(tri_send(context->args.ring, here, travel->next, &travel->sent));
    TRI_TRY(tri_recv(context->args.ring, coming, travel->before, &travel->received));
    return TRI_OK;
}

static tri_status travel_wait(ring_travel *travel)
{
    TRI_TRY(tri_event_wait(travel->received));
    TRI_TRY(tri_event_wait(travel->sent));
    return TRI_OK;
}

static tri_status ring_forward(tri_context *context, const tri_attention_args *args)
{
    ring_travel travel = travel_make(context, args->batch);
    tri_attention_args sum;
    tri_context_pack(context, args, 0, context->kv_heads, context->kv[0]);
    tri_context_sum_begin(context, args, &sum);
    for (int step = 0; step < context->n_ring; step++) {
        TRI_TRY(travel_start(&travel, step));
        tri_context_use(context, &sum, context->kv_heads, context->kv[step % 2], NULL);
        TRI_TRY(tri_context_blocks_forward(context, &sum, travel_place(&travel, step)));
        TRI_TRY(travel_wait(&travel));
    }
    return tri_context_sum_end(context, args);
}

/* Take the sum that the place before has sent, or will send, for the keys that are here. */
static tri_status sum_take(ring_travel *travel)
{
    tri_context *context = travel->context;
    tri_span coming = tri_span_make(context->dkv[2], travel->count, TRI_F32);
    return tri_recv(context->args.ring, coming, travel->before, &travel->sum_received);
}

/* Add it to this place's share, made at `step`, and send it on. */
static tri_status sum_pass(ring_travel *travel, int step)
{
    tri_context *context = travel->context;
    float *share = context->dkv[step % 2];
    if (step > 0) {
        TRI_TRY(tri_event_wait(travel->sum_received));
        TRI_TRY(
            tri_add(context->args.kernels, TRI_F32, travel->count, share, context->dkv[2], share));
    }
    TRI_TRY(tri_event_wait(travel->sum_sent)); /* the other share's buffer is free */
    return tri_send(context->args.ring, tri_span_make(share, travel->count, TRI_F32), travel->next,
                    &travel->sum_sent);
}

static tri_status ring_backward(tri_context *context, const tri_attention_args *args)
{
    ring_travel travel = travel_make(context, args->batch);
    tri_attention_args sum;
    tri_context_pack(context, args, 0, context->kv_heads, context->kv[0]);
    tri_context_dq_begin(context, args, &sum);
    for (int step = 0; step < context->n_ring; step++) {
        float *share = context->dkv[step % 2];
        if (step > 0) TRI_TRY(sum_take(&travel)); /* sent before the keys of the next step */
        TRI_TRY(travel_start(&travel, step));
        memset(share, 0, (size_t)travel.count * sizeof *share);
        tri_context_use(context, &sum, context->kv_heads, context->kv[step % 2], share);
        TRI_TRY(tri_context_blocks_backward(context, &sum, travel_place(&travel, step)));
        TRI_TRY(sum_pass(&travel, step));
        TRI_TRY(travel_wait(&travel));
    }
    TRI_TRY(sum_take(&travel)); /* home */
    TRI_TRY(tri_context_dq_end(context, args));
    TRI_TRY(tri_event_wait(travel.sum_received));
    TRI_TRY(tri_event_wait(travel.sum_sent));
    return tri_context_unpack(context, args, 0, context->kv_heads, context->dkv[2]);
}

static tri_status ring_declare(tri_context *context, tri_arena *arena)
{
    int64_t count = tri_context_kv_count(context, context->args.sequences, context->kv_heads);
    return tri_context_declare_inside(context, arena, count, 3, count);
}

static void ring_kernel_heads(const tri_context *context, int64_t *heads, int64_t *kv_heads)
{
    *heads = context->heads;
    *kv_heads = context->kv_heads;
}

static void ring_traffic(const tri_context *context, int64_t sequences, int64_t forwards,
                         int64_t backwards, tri_traffic_list *list)
{
    int64_t count = tri_context_kv_count(context, sequences, context->kv_heads);
    int64_t calls = (context->n_ring - 1) * (forwards + backwards);
    tri_traffic keys = {.group = "context ring",
                        .ranks = context->n_ring,
                        .kind = TRI_COLL_SEND,
                        .what = "keys, values",
                        .calls = calls,
                        .payload_bytes =
                            calls * count * (int64_t)tri_dtype_bytes(context->args.dtype)};
    tri_traffic gradients = keys;
    snprintf(gradients.what, sizeof gradients.what, "their gradients");
    gradients.calls = context->n_ring * backwards;
    gradients.payload_bytes = gradients.calls * count * (int64_t)sizeof(float);
    tri_traffic_add(list, &keys);
    tri_traffic_add(list, &gradients);
}

const tri_context_ops tri_context_ring = {
    .name = "ring",
    .doc = "keys and values travel, blocks are merged by their log-sum-exp",
    .forward = ring_forward,
    .backward = ring_backward,
    .declare = ring_declare,
    .kernel_heads = ring_kernel_heads,
    .traffic = ring_traffic,
};

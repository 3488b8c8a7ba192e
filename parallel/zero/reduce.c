// SPDX-License-Identifier: Apache-2.0
/* Gradients on their way, hop by hop. The first hop begins with the call that completes a bucket; a
 * later one when somebody looks and the one before has passed, but never before the same hop of a bucket
 * that was completed earlier. So each communicator sees the same order on all ranks, however fast
 * they are: a group either carries first hops alone, or one kind of later hop.
 */
#include "kernels/pointwise.h"
#include "parallel/zero/quantize.h"
#include "runtime/base/int.h"

#include <string.h>

static tri_status clear_pools(tri_zero *zero)
{
    for (int b = 0; b < zero->n_buckets; b++) {
        zero_bucket *bucket = &zero->buckets[b];
        TRI_TRY(tri_event_wait(bucket->event));
        bucket->event = (tri_event){0};
        if (bucket->is_queued || bucket->slot[ZERO_GRADIENTS] >= 0)
            tri_zero_slot_release(zero, bucket);
        bucket->is_queued = bucket->is_started = false;
    }
    zero->n_queued = 0;
    return TRI_OK;
}

/* No gradient of what comes is here yet. */
static void begin_group(tri_zero *zero)
{
    for (int b = 0; b < zero->n_buckets; b++)
        zero->buckets[b].n_missing = zero->buckets[b].n_units;
    for (int u = 0; u < zero->args.n_units; u++)
        zero->units[u].is_ready = false;
    zero_guest *guest = &zero->guest;
    if (guest->gradient) memset(guest->gradient, 0, (size_t)guest->count * sizeof(float));
}

tri_status tri_zero_begin(tri_zero *zero)
{
    TRI_CHECK(zero->args.training, TRI_EBUG, "a step begins on weights without gradients");
    TRI_TRY(clear_pools(zero)); /* of a step that was given up */
    begin_group(zero);
    for (int b = 0; b < zero->n_buckets; b++) {
        zero_bucket *bucket = &zero->buckets[b];
        bucket->has_sum = false;
        if (tri_zero_is_pooled(zero, bucket, ZERO_GRADIENTS))
            continue; /* the first sum is stored */
        tri_span kept =
            tri_zero_gradient_span(zero, bucket, tri_zero_begin_of(zero, bucket, ZERO_GRADIENTS),
                                   tri_zero_piece(zero, bucket, ZERO_GRADIENTS));
        memset(kept.data, 0, tri_span_bytes(kept));
    }
    return TRI_OK;
}

/* Elements [begin, end) of a bucket, of what is kept here. */
static void clear_range(const tri_zero *zero, const zero_bucket *bucket, int64_t begin, int64_t end)
{
    if (begin >= end) return;
    tri_span span = tri_zero_gradient_span(zero, bucket, begin, end - begin);
    memset(span.data, 0, tri_span_bytes(span));
}

/* Of those ranks whose gradients of a parameter are added up, is this the one that keeps the sum? They are
 * the replicas of the optimizer group, and neighbours of the tensor axis where their gradients are
 * partial; tensor ranks that all have the same gradient keep it all. */
static bool keeps_sum(const tri_zero *zero, const zero_param *param)
{
    int neighbour = tri_mesh_coord(zero->args.mesh, TRI_AXIS_TENSOR) % param->tensor_sum;
    return neighbour == 0 && zero->index < zero->args.group[ZERO_OPTIMIZER];
}

void tri_zero_next_group(tri_zero *zero)
{
    begin_group(zero);
    for (int b = 0; b < zero->n_buckets; b++) {
        const zero_bucket *bucket = &zero->buckets[b];
        int64_t kept = tri_zero_begin_of(zero, bucket, ZERO_GRADIENTS);
        int64_t n_kept = tri_zero_piece(zero, bucket, ZERO_GRADIENTS);
        int64_t own = tri_zero_begin_of(zero, bucket, ZERO_OPTIMIZER);
        int64_t end = own + tri_zero_piece(zero, bucket, ZERO_OPTIMIZER);
        clear_range(zero, bucket, kept, own);
        clear_range(zero, bucket, end, kept + n_kept);
        for (int k = 0; k < bucket->n_params; k++) {
            const zero_param *param = &zero->params[zero->order[bucket->first + k]];
            if (keeps_sum(zero, param)) continue;
            clear_range(zero, bucket, tri_max64(param->offset, own),
                        tri_min64(param->offset + param->padded, end));
        }
    }
}

/* Begin the hop that a bucket has come to. */
static tri_status start_hop(tri_zero *zero, zero_bucket *bucket)
{
    const zero_split *split = tri_zero_split_of(zero, bucket);
    tri_event *event = &bucket->event;
    int64_t own = tri_zero_begin_of(zero, bucket, ZERO_OPTIMIZER);
    int64_t n_own = tri_zero_piece(zero, bucket, ZERO_OPTIMIZER);
    int64_t kept = tri_zero_begin_of(zero, bucket, ZERO_GRADIENTS);
    int64_t n_kept = tri_zero_piece(zero, bucket, ZERO_GRADIENTS);
    if (bucket->hop == ZERO_HOP_REDUCE && tri_zero_packs(zero, bucket, ZERO_GRADIENTS)) {
        TRI_TRY(tri_zero_send_packed(zero, bucket));
    } else if (bucket->hop == ZERO_HOP_REDUCE) {
        tri_span whole = tri_span_make(bucket->gradient, bucket->count, TRI_F32);
        tri_span sum = bucket->has_sum ? tri_span_part(whole, kept, n_kept)
                                       : tri_zero_gradient_span(zero, bucket, kept, n_kept);
        TRI_TRY(tri_reduce_scatter(split->reduce.comm, whole, sum, event));
    } else if (bucket->hop == ZERO_HOP_FINISH) {
        TRI_TRY(tri_reduce_scatter(split->finish.comm,
                                   tri_zero_gradient_span(zero, bucket, kept, n_kept),
                                   tri_zero_gradient_span(zero, bucket, own, n_own), event));
    } else {
        TRI_TRY(tri_allreduce(zero->replica.comm, tri_zero_gradient_span(zero, bucket, own, n_own),
                              TRI_SUM, event));
    }
    bucket->is_started = true;
    return TRI_OK;
}

/* Does this bucket take this hop? */
static bool takes_hop(const tri_zero *zero, const zero_bucket *bucket, zero_hop hop)
{
    const zero_split *split = tri_zero_split_of(zero, bucket);
    if (hop == ZERO_HOP_REDUCE) return split->reduce.size > 1;
    if (hop == ZERO_HOP_FINISH) return bucket->is_last && split->finish.size > 1;
    return bucket->is_last && zero->replica.size > 1;
}

/* Wait for the hop under way, and do with its result what is to be done. */
static tri_status end_hop(tri_zero *zero, zero_bucket *bucket)
{
    zero_hop hop = bucket->hop++;
    bucket->is_started = false;
    TRI_TRY(tri_event_wait(bucket->event));
    bucket->event = (tri_event){0};
    if (hop != ZERO_HOP_REDUCE) return TRI_OK;
    int64_t kept = tri_zero_begin_of(zero, bucket, ZERO_GRADIENTS);
    int64_t n_kept = tri_zero_piece(zero, bucket, ZERO_GRADIENTS);
    if (tri_zero_packs(zero, bucket, ZERO_GRADIENTS)) {
        TRI_TRY(tri_zero_add_packed(zero, bucket));
    } else if (bucket->has_sum) {
        void *sum = tri_zero_gradient_span(zero, bucket, kept, n_kept).data;
        TRI_TRY(tri_add(zero->args.kernels, TRI_F32, n_kept, sum, bucket->gradient + kept, sum));
    }
    bucket->has_sum = true;
    tri_zero_slot_release(zero, bucket);
    return TRI_OK;
}

/* Take one bucket as far as it goes now. `held`: hops that a bucket before it has yet to begin. */
static tri_status advance_bucket(tri_zero *zero, zero_bucket *bucket, bool held[ZERO_HOP_DONE])
{
    if (bucket->is_started && tri_event_is_done(bucket->event)) TRI_TRY(end_hop(zero, bucket));
    if (!bucket->is_started) {
        while (bucket->hop < ZERO_HOP_DONE && !takes_hop(zero, bucket, bucket->hop))
            bucket->hop++;
        if (bucket->hop < ZERO_HOP_DONE && !held[bucket->hop]) TRI_TRY(start_hop(zero, bucket));
    }
    for (zero_hop hop = bucket->hop + (bucket->is_started ? 1 : 0); hop < ZERO_HOP_DONE; hop++)
        held[hop] = held[hop] || takes_hop(zero, bucket, hop);
    return TRI_OK;
}

tri_status tri_zero_advance(tri_zero *zero)
{
    bool held[ZERO_HOP_DONE] = {false};
    int left = 0;
    for (int q = 0; q < zero->n_queued; q++) {
        zero_bucket *bucket = &zero->buckets[zero->queue[q]];
        TRI_TRY(advance_bucket(zero, bucket, held));
        bucket->is_queued = bucket->hop != ZERO_HOP_DONE;
        if (bucket->is_queued) zero->queue[left++] = zero->queue[q];
    }
    zero->n_queued = left;
    return TRI_OK;
}

/* The other end's part of the tied parameter's gradient, which it has sent before the end of this
 * rank's backward. */
static tri_status add_tied(tri_zero *zero, const zero_bucket *bucket)
{
    const zero_param *param = &zero->params[zero->args.tied_param];
    tri_span tied = tri_span_make(bucket->gradient + param->offset, param->count, TRI_F32);
    TRI_TRY(tri_allreduce(zero->args.ends, tied, TRI_SUM, NULL));
    return TRI_OK;
}

/* All of a bucket's gradients of this micro-batch are there. */
static tri_status complete(tri_zero *zero, int b, bool last)
{
    zero_bucket *bucket = &zero->buckets[b];
    TRI_CHECK(bucket->gradient && !bucket->is_queued, TRI_EBUG,
              "the gradients of bucket %d are complete, but it was not used in backward", b);
    if (last && bucket->is_tied) TRI_TRY(add_tied(zero, bucket));
    bucket->is_last = last;
    bucket->is_queued = true;
    bucket->hop = ZERO_HOP_REDUCE;
    zero->queue[zero->n_queued++] = b;
    TRI_TRY(tri_zero_advance(zero));
    return TRI_OK;
}

/* The far end of a tied parameter sends its gradient on its way; it is waited for at the very end,
 * since the owner's part comes with the end of backward. */
static tri_status send_guest(tri_zero *zero)
{
    zero_guest *guest = &zero->guest;
    TRI_TRY(tri_allreduce(zero->args.ends, tri_span_make(guest->gradient, guest->count, TRI_F32),
                          TRI_SUM, &guest->event));
    return TRI_OK;
}

tri_status tri_zero_ready(tri_zero *zero, int unit, bool last)
{
    TRI_CHECK(unit >= 0 && unit < zero->args.n_units, TRI_EBUG, "unit %d of %d is complete", unit,
              zero->args.n_units);
    zero_unit *of = &zero->units[unit];
    TRI_CHECK(!of->is_ready, TRI_EBUG, "unit %d is complete after its last micro-batch", unit);
    of->is_ready = last;
    for (int b = of->first_bucket; b <= of->last_bucket; b++) {
        zero_bucket *bucket = &zero->buckets[b];
        if (last) bucket->n_missing--;
        bool is_complete =
            tri_zero_is_pooled(zero, bucket, ZERO_GRADIENTS) || (last && bucket->n_missing == 0);
        if (is_complete) TRI_TRY(complete(zero, b, last));
    }
    int vectors = zero->n_buckets - 1;
    bool has_vectors = vectors >= 0 && zero->buckets[vectors].sort == ZERO_VECTORS;
    if (last && has_vectors && --zero->buckets[vectors].n_missing == 0)
        TRI_TRY(complete(zero, vectors, true));
    if (last && zero->guest.count > 0 && unit == zero->args.tied_unit) TRI_TRY(send_guest(zero));
    return TRI_OK;
}

/* Copy this rank's pieces of the gradients that are partial over `ranks` tensor ranks to or from
 * one buffer. */
static void pack_sum(const tri_zero *zero, const zero_sum *sum, bool back)
{
    float *at = sum->packed;
    for (int i = 0; i < zero->args.n_params; i++) {
        if (zero->params[i].tensor_sum != sum->group.size) continue;
        tri_zero_shard shard = tri_zero_shard_at(zero, i);
        if (shard.count == 0) continue;
        size_t bytes = (size_t)shard.count * sizeof(float);
        memcpy(back ? shard.gradient : at, back ? at : shard.gradient, bytes);
        at += shard.count;
    }
}

tri_status tri_zero_reduce_wait(tri_zero *zero)
{
    for (int u = 0; u < zero->args.n_units; u++)
        TRI_CHECK(zero->units[u].is_ready, TRI_EBUG, "the gradients of unit %d never came", u);
    while (zero->n_queued > 0) {
        TRI_TRY(tri_event_wait(zero->buckets[zero->queue[0]].event));
        TRI_TRY(tri_zero_advance(zero));
    }
    for (int s = 0; s < zero->n_sums; s++) {
        const zero_sum *sum = &zero->sums[s];
        if (sum->count == 0) continue;
        pack_sum(zero, sum, false);
        TRI_TRY(tri_allreduce(sum->group.comm, tri_span_make(sum->packed, sum->count, TRI_F32),
                              TRI_SUM, NULL));
        pack_sum(zero, sum, true);
    }
    TRI_TRY(tri_event_wait(zero->guest.event));
    zero->guest.event = (tri_event){0};
    TRI_TRY(tri_zero_units_wait(zero));
    return TRI_OK;
}

/* Sum of squares of elements [low, high) of a bucket, but of those that another rank counts. Runs of
 * parameters that count are summed at once, padding (zeros) included. */
static tri_status sum_range(const tri_zero *zero, const zero_bucket *bucket, int64_t low,
                            int64_t high, double *total)
{
    for (int k = 0; k < bucket->n_params;) {
        const zero_param *param = &zero->params[zero->order[bucket->first + k]];
        int64_t begin = tri_max64(param->offset, low);
        int64_t end = begin;
        for (; k < bucket->n_params; k++) {
            const zero_param *next = &zero->params[zero->order[bucket->first + k]];
            if (!next->counts) break;
            end = tri_min64(next->offset + next->padded, high);
        }
        if (end > begin) {
            double part = 0;
            tri_span run = tri_zero_gradient_span(zero, bucket, begin, end - begin);
            TRI_TRY(tri_sum_squares(zero->args.kernels, run.count, run.data, &part));
            *total += part;
        }
        while (k < bucket->n_params && !zero->params[zero->order[bucket->first + k]].counts)
            k++;
    }
    return TRI_OK;
}

tri_status tri_zero_sum_squares(const tri_zero *zero, double *out)
{
    *out = 0;
    int replica = zero->index / zero->args.group[ZERO_OPTIMIZER];
    for (int b = 0; b < zero->n_buckets; b++) {
        const zero_bucket *bucket = &zero->buckets[b];
        /* replicas hold the same piece: each counts a part of it */
        int64_t own = tri_zero_begin_of(zero, bucket, ZERO_OPTIMIZER);
        int64_t n_own = tri_zero_piece(zero, bucket, ZERO_OPTIMIZER);
        int64_t part = (n_own + zero->replica.size - 1) / zero->replica.size;
        int64_t low = tri_min64(replica * part, n_own);
        int64_t high = tri_min64(low + part, n_own);
        TRI_TRY(sum_range(zero, bucket, own + low, own + high, out));
    }
    return TRI_OK;
}

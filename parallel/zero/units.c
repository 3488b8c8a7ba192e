// SPDX-License-Identifier: Apache-2.0
/* Units come and go: buffers for gathered weights and for gradients not yet reduced.
 */
#include "parallel/zero/quantize.h"

#include <string.h>

void tri_zero_bind_bucket(const tri_zero *zero, zero_bucket *bucket)
{
    bucket->told_weight = bucket->weight;
    bucket->told_gradient = bucket->gradient;
    for (int k = 0; zero->bind && k < bucket->n_params; k++) {
        int i = zero->order[bucket->first + k];
        const zero_param *param = &zero->params[i];
        tri_span weight = {0};
        if (bucket->weight)
            weight = tri_span_part(tri_span_make(bucket->weight, bucket->count, zero->args.compute),
                                   param->offset, param->count);
        zero->bind(zero->bind_arg, i, weight.data,
                   bucket->gradient ? bucket->gradient + param->offset : NULL);
    }
}

/* Take the weights of the bucket in `slot` away from the model, if there are any. */
static tri_status evict(tri_zero *zero, zero_slot *slot)
{
    if (slot->bucket < 0) return TRI_OK;
    TRI_TRY(tri_event_wait(slot->event)); /* gathered ahead and never used */
    zero_bucket *old = &zero->buckets[slot->bucket];
    old->slot[ZERO_WEIGHTS] = -1;
    if (old->weight) {
        old->weight = NULL;
        tri_zero_bind_bucket(zero, old);
    }
    slot->bucket = -1;
    return TRI_OK;
}

tri_status tri_zero_fetch(tri_zero *zero, int b, int keep, int *out)
{
    zero_pool *pool = &zero->pool[ZERO_WEIGHTS];
    zero_bucket *bucket = &zero->buckets[b];
    const zero_group *unit = &tri_zero_split_of(zero, bucket)->unit;
    int s = tri_zero_pool_find(pool, b);
    if (s < 0) {
        s = tri_zero_pool_choose(pool, bucket->count, keep, true);
        *out = s;
        if (s < 0) return TRI_OK; /* only ahead of time: the one buffer is in use */
        zero_slot *slot = &pool->slots[s];
        TRI_TRY(evict(zero, slot));

        tri_span whole = tri_span_make(slot->data, bucket->count, zero->args.compute);
        tri_span mine = tri_zero_kept_span(zero, bucket, ZERO_WEIGHTS);
        slot->is_packed = tri_zero_packs(zero, bucket, ZERO_WEIGHTS);
        if (slot->is_packed) whole = tri_span_make(slot->packed, mine.count * unit->size, TRI_U8);
        TRI_TRY(tri_allgather(unit->comm, mine, whole, &slot->event));
        slot->bucket = b;
        bucket->slot[ZERO_WEIGHTS] = s;
    }
    pool->slots[s].used = ++pool->clock;
    *out = s;
    return TRI_OK;
}

tri_status tri_zero_slot_wait(tri_zero *zero, int s)
{
    zero_slot *slot = &zero->pool[ZERO_WEIGHTS].slots[s];
    TRI_TRY(tri_event_wait(slot->event));
    slot->event = (tri_event){0};
    if (slot->is_packed)
        TRI_TRY(
            tri_zero_unpack_weights(zero, &zero->buckets[slot->bucket], slot->packed, slot->data));
    slot->is_packed = false;
    return TRI_OK;
}

tri_status tri_zero_units_wait(tri_zero *zero)
{
    for (int s = 0; s < zero->pool[ZERO_WEIGHTS].n; s++)
        TRI_TRY(tri_event_wait(zero->pool[ZERO_WEIGHTS].slots[s].event));
    return TRI_OK;
}

/* A cleared buffer for the bucket's gradients, unless it has one to which more may be added. If all are
 * in use, the reduction that began first is waited for; what its own last micro-batch has left, too. */
static tri_status take_gradient(tri_zero *zero, int b)
{
    zero_bucket *bucket = &zero->buckets[b];
    zero_pool *pool = &zero->pool[ZERO_GRADIENTS];
    if (bucket->slot[ZERO_GRADIENTS] >= 0 && !bucket->is_queued) return TRI_OK;
    int s = -1;
    for (;;) {
        if (!bucket->is_queued) s = tri_zero_pool_choose(pool, bucket->count, -1, false);
        if (s >= 0 || zero->n_queued == 0) break;
        TRI_TRY(tri_event_wait(zero->buckets[zero->queue[0]].event));
        TRI_TRY(tri_zero_advance(zero));
    }
    TRI_CHECK(
        s >= 0, TRI_EBUG,
        "backward of a unit of %lld elements, but all its %d gradient buffers hold incomplete "
        "gradients of other units",
        (long long)bucket->count, zero->args.grad_buffers);
    pool->slots[s].bucket = b;
    bucket->slot[ZERO_GRADIENTS] = s;
    bucket->gradient = pool->slots[s].data;
    return TRI_OK;
}

void tri_zero_slot_release(tri_zero *zero, zero_bucket *bucket)
{
    int s = bucket->slot[ZERO_GRADIENTS];
    if (s < 0) return;
    zero_slot *slot = &zero->pool[ZERO_GRADIENTS].slots[s];
    memset(slot->data, 0, (size_t)slot->capacity * sizeof(float));
    slot->bucket = -1;
    bucket->slot[ZERO_GRADIENTS] = -1;
    bucket->gradient = NULL;
    tri_zero_bind_bucket(zero, bucket);
}

tri_status tri_zero_use(tri_zero *zero, int unit, tri_unit_need need, int next)
{
    TRI_CHECK(unit >= 0 && unit < zero->args.n_units && next < zero->args.n_units, TRI_EBUG,
              "use of unit %d and then %d; there are %d", unit, next, zero->args.n_units);
    int b = tri_zero_unit_bucket(zero, unit);
    int ahead = tri_zero_unit_bucket(zero, next);
    bool gathers = (need & TRI_NEED_WEIGHTS) && zero->args.group[ZERO_WEIGHTS] > 1;
    int slot = -1;
    if (gathers && b >= 0) TRI_TRY(tri_zero_fetch(zero, b, -1, &slot));
    int ignored = -1;
    if (gathers && ahead >= 0 && zero->args.prefetch > 0)
        TRI_TRY(tri_zero_fetch(zero, ahead, slot, &ignored));
    if (b < 0) return TRI_OK;

    zero_bucket *bucket = &zero->buckets[b];
    if (need & TRI_NEED_GRADIENTS) TRI_TRY(take_gradient(zero, b));
    if (slot >= 0) {
        TRI_TRY(tri_zero_slot_wait(zero, slot));
        bucket->weight = zero->pool[ZERO_WEIGHTS].slots[slot].data;
    }
    if (bucket->told_weight != bucket->weight || bucket->told_gradient != bucket->gradient)
        tri_zero_bind_bucket(zero, bucket);
    return TRI_OK;
}

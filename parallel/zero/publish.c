// SPDX-License-Identifier: Apache-2.0
/* New weights on their way up: from the piece that a rank updates to its piece of gradients, from
 * there to its piece of weights, and to the far end of a tied parameter.
 */
#include "kernels/pointwise.h"
#include "parallel/zero/quantize.h"

#include <string.h>

/* The levels between which one hop gathers, and who takes part. */
static tri_status gather_hop(tri_zero *zero, zero_bucket *bucket, const zero_group *group,
                             zero_level from)
{
    TRI_TRY(tri_event_wait(bucket->event)); /* the hop below */
    bucket->event = (tri_event){0};
    if (group->size == 1) return TRI_OK;
    zero_level to = from - 1;
    TRI_TRY(tri_allgather(group->comm, tri_zero_kept_span(zero, bucket, from),
                          tri_zero_kept_span(zero, bucket, to), &bucket->event));
    return TRI_OK;
}

/* Units gathered before the update are not to be read any more. */
static void forget_units(tri_zero *zero)
{
    zero_pool *pool = &zero->pool[ZERO_WEIGHTS];
    for (int s = 0; s < pool->n; s++) {
        zero_slot *slot = &pool->slots[s];
        if (slot->bucket < 0) continue;
        zero_bucket *bucket = &zero->buckets[slot->bucket];
        slot->bucket = -1;
        bucket->slot[ZERO_WEIGHTS] = -1;
        bucket->weight = NULL;
        tri_zero_bind_bucket(zero, bucket);
    }
}

/* Bring the tied parameter from its owner to the other end. */
static tri_status send_tied(tri_zero *zero)
{
    const tri_zero_args *args = &zero->args;
    if (args->tied_param < 0) return TRI_OK;
    if (args->is_guest && zero->guest.count > 0) {
        tri_span copy = tri_span_make(zero->guest.weight, zero->guest.count, args->compute);
        TRI_TRY(tri_broadcast(args->ends, copy, 0, NULL));
        return TRI_OK;
    }
    const zero_param *param = &zero->params[args->tied_param];
    if (args->is_guest || param->count == 0) return TRI_OK;
    zero_bucket *bucket = &zero->buckets[param->bucket];
    tri_span whole;
    if (tri_zero_is_pooled(zero, bucket, ZERO_WEIGHTS)) {
        int slot = -1;
        TRI_TRY(tri_zero_fetch(zero, param->bucket, -1, &slot));
        TRI_TRY(tri_zero_slot_wait(zero, slot));
        whole =
            tri_span_make(zero->pool[ZERO_WEIGHTS].slots[slot].data, bucket->count, args->compute);
    } else {
        whole = tri_zero_weight_span(zero, bucket, 0, bucket->count);
    }
    TRI_TRY(tri_broadcast(args->ends, tri_span_part(whole, param->offset, param->count), 0, NULL));
    return TRI_OK;
}

tri_status tri_zero_gather(tri_zero *zero)
{
    forget_units(zero);
    for (int b = 0; b < zero->n_buckets; b++) {
        zero_bucket *bucket = &zero->buckets[b];
        if (tri_zero_packs(zero, bucket, ZERO_WEIGHTS))
            TRI_TRY(tri_zero_pack_weights(zero, bucket));
        TRI_TRY(gather_hop(zero, bucket, &tri_zero_split_of(zero, bucket)->finish, ZERO_OPTIMIZER));
    }
    for (int b = 0; b < zero->n_buckets; b++) {
        zero_bucket *bucket = &zero->buckets[b];
        TRI_TRY(
            gather_hop(zero, bucket, &tri_zero_split_of(zero, bucket)->publish, ZERO_GRADIENTS));
    }
    for (int b = 0; b < zero->n_buckets; b++) {
        zero_bucket *bucket = &zero->buckets[b];
        TRI_TRY(tri_event_wait(bucket->event));
        bucket->event = (tri_event){0};
        if (!tri_zero_packs(zero, bucket, ZERO_WEIGHTS) || !bucket->weight) continue;
        const uint8_t *packed = tri_zero_packed_span(zero, bucket, ZERO_WEIGHTS).data;
        TRI_TRY(tri_zero_unpack_weights(zero, bucket, packed, bucket->weight));
    }
    TRI_TRY(send_tied(zero));
    return TRI_OK;
}

tri_status tri_zero_publish(tri_zero *zero)
{
    TRI_TRY(tri_zero_units_wait(zero));
    for (int i = 0; i < zero->args.n_params; i++) {
        tri_zero_shard shard = tri_zero_shard_at(zero, i);
        if (!shard.copy) continue; /* quantised from the master, or the master itself */
        TRI_TRY(tri_cast(zero->args.kernels, tri_span_make(shard.weight, shard.count, TRI_F32),
                         tri_span_make(shard.copy, shard.count, zero->args.compute)));
    }
    TRI_TRY(tri_zero_gather(zero));
    return TRI_OK;
}

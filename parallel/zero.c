// SPDX-License-Identifier: Apache-2.0
/* Life of a sharded set of parameters: planned, declared, bound. What moves is in parallel/zero/. */
#include "parallel/zero.h"

#include "parallel/zero/quantize.h"
#include "runtime/base/alloc.h"

#include <string.h>

static tri_status check_args(const tri_zero_args *args)
{
    TRI_TRY(tri_zero_check(args->group, tri_mesh_product(args->mesh, ZERO_AXES)));
    TRI_CHECK(args->prefetch >= 0 && args->grad_buffers >= 0 && args->n_visits >= 0, TRI_EBUG,
              "prefetch %d, %d gradient buffers, %lld visits", args->prefetch, args->grad_buffers,
              (long long)args->n_visits);
    TRI_CHECK(args->quantize_weights != TRI_QUANTIZE_INT4, TRI_EINVAL,
              "parallel.quantize_weights is int4: weights travel as they are (none) or as int8");
    bool unit_fits = !args->is_guest || (args->tied_unit >= 0 && args->tied_unit < args->n_units);
    TRI_CHECK(args->tied_param < args->n_params && unit_fits, TRI_EBUG,
              "parameter %d of %d is tied, read by unit %d of %d", args->tied_param, args->n_params,
              args->tied_unit, args->n_units);
    return TRI_OK;
}

/* The caller's arrays are copied. */
static tri_status keep_args(tri_zero *zero, const tri_zero_args *args)
{
    zero->args = *args;
    if (args->grad_buffers == 0) zero->args.grad_buffers = 2;
    TRI_TRY(TRI_NEW_ARRAY(args->n_params, &zero->given));
    memcpy(zero->given, args->params, (size_t)args->n_params * sizeof *zero->given);
    TRI_TRY(TRI_NEW_ARRAY(args->n_visits, &zero->visits));
    if (args->n_visits > 0)
        memcpy(zero->visits, args->visits, (size_t)args->n_visits * sizeof *zero->visits);
    zero->args.params = NULL;
    zero->args.visits = NULL;
    return TRI_OK;
}

tri_status tri_zero_create(const tri_zero_args *args, tri_zero **out)
{
    TRI_TRY(check_args(args));
    TRI_AUTO(tri_zero) *zero = NULL;
    TRI_TRY(TRI_NEW(&zero));
    TRI_TRY(keep_args(zero, args));
    zero->ranks = tri_mesh_product(args->mesh, ZERO_AXES);
    zero->index = tri_mesh_index(args->mesh, ZERO_AXES);
    TRI_TRY(tri_zero_groups_make(zero));
    TRI_TRY(tri_zero_plan(zero));
    tri_zero_bind(zero, NULL, NULL);
    *out = TRI_MOVE(zero);
    return TRI_OK;
}

void tri_zero_destroy(tri_zero **zero)
{
    tri_zero *old = *zero;
    if (!old) return;
    TRI_FREE(old->given);
    TRI_FREE(old->visits);
    TRI_FREE(old->params);
    TRI_FREE(old->buckets);
    TRI_FREE(old->units);
    TRI_FREE(old->order);
    TRI_FREE(old->queue);
    TRI_FREE(old->pool[ZERO_WEIGHTS].slots);
    TRI_FREE(old->pool[ZERO_GRADIENTS].slots);
    TRI_FREE(old->paper.slots);
    TRI_FREE(*zero);
}

/* Buffers of units, and of their messages where these are quantised: of weights one for each rank that
 * updates some, of gradients one for each that keeps some. */
static tri_status declare_pool(tri_zero *zero, tri_arena *arena, zero_level level)
{
    bool is_weights = level == ZERO_WEIGHTS;
    bool packs = is_weights ? zero->args.quantize_weights != TRI_QUANTIZE_NONE
                            : zero->args.quantize_gradients != TRI_QUANTIZE_NONE;
    int messages = zero->args.group[is_weights ? ZERO_OPTIMIZER : ZERO_GRADIENTS];
    for (int s = 0; s < zero->pool[level].n; s++) {
        zero_slot *slot = &zero->pool[level].slots[s];
        TRI_TRY(tri_arena_add_shared(arena, TRI_MEM_WORKSPACE, slot->capacity,
                                     is_weights ? zero->args.compute : TRI_F32, &slot->data));
        if (!packs) continue;
        int64_t bytes = tri_zero_packed_bytes(zero, level, slot->capacity, messages);
        TRI_TRY(
            tri_arena_add_shared(arena, TRI_MEM_WORKSPACE, bytes, TRI_U8, (void **)&slot->packed));
    }
    return TRI_OK;
}

/* The other end of a tied parameter. */
static tri_status declare_guest(tri_zero *zero, tri_arena *arena)
{
    zero_guest *guest = &zero->guest;
    if (guest->count == 0) return TRI_OK;
    TRI_TRY(
        tri_arena_add(arena, TRI_MEM_WEIGHTS, guest->count, zero->args.compute, &guest->weight));
    if (zero->args.training)
        TRI_TRY(tri_arena_add(arena, TRI_MEM_GRADIENTS, guest->count, TRI_F32,
                              (void **)&guest->gradient));
    return TRI_OK;
}

tri_status tri_zero_declare(tri_zero *zero, tri_arena *arena)
{
    const int64_t *elements = zero->elements;
    if (zero->args.training)
        TRI_TRY(tri_arena_add_shared(arena, TRI_MEM_GRADIENTS, elements[ZERO_GRADIENTS], TRI_F32,
                                     (void **)&zero->gradient));
    TRI_TRY(tri_arena_add_shared(arena, TRI_MEM_WEIGHTS, elements[ZERO_WEIGHTS], zero->args.compute,
                                 &zero->weight));
    if (zero->packed_bytes > 0)
        TRI_TRY(tri_arena_add_shared(arena, TRI_MEM_WEIGHTS, zero->packed_bytes, TRI_U8,
                                     (void **)&zero->packed));
    if (elements[ZERO_OPTIMIZER] > 0)
        TRI_TRY(tri_arena_add(arena, TRI_MEM_WEIGHTS, elements[ZERO_OPTIMIZER], TRI_F32,
                              (void **)&zero->master));
    TRI_TRY(declare_pool(zero, arena, ZERO_WEIGHTS));
    TRI_TRY(declare_pool(zero, arena, ZERO_GRADIENTS));
    TRI_TRY(declare_guest(zero, arena));
    for (int s = 0; s < zero->n_sums && zero->args.training; s++)
        if (zero->sums[s].count > 0)
            TRI_TRY(tri_arena_add(arena, TRI_MEM_WORKSPACE, zero->sums[s].count, TRI_F32,
                                  (void **)&zero->sums[s].packed));
    return TRI_OK;
}

/* What lies still. */
static void bind_bucket(const tri_zero *zero, zero_bucket *bucket)
{
    if (zero->weight && !tri_zero_is_pooled(zero, bucket, ZERO_WEIGHTS))
        bucket->weight = tri_zero_weight_span(zero, bucket, 0, bucket->count).data;
    if (zero->gradient && !tri_zero_is_pooled(zero, bucket, ZERO_GRADIENTS))
        bucket->gradient = tri_zero_gradient_span(zero, bucket, 0, bucket->count).data;
    tri_zero_bind_bucket(zero, bucket);
}

void tri_zero_bind(tri_zero *zero, tri_zero_bind_fn bind, void *arg)
{
    zero->bind = bind;
    zero->bind_arg = arg;
    for (int i = 0; i < zero->args.n_params; i++) {
        tri_zero_shard shard = tri_zero_shard_at(zero, i);
        tri_state_hold(zero->args.state, zero->params[i].row, shard.begin, shard.count,
                       shard.weight);
    }
    for (int b = 0; b < zero->n_buckets; b++)
        bind_bucket(zero, &zero->buckets[b]);
    if (bind && zero->guest.count > 0)
        bind(arg, zero->args.tied_param, zero->guest.weight, zero->guest.gradient);
}

int tri_zero_shards(const tri_zero *zero)
{
    return zero->args.n_params;
}

/* Where element `at` of a bucket, which this rank updates, lies in the master. */
static float *master_at(const tri_zero *zero, const zero_bucket *bucket, int64_t at)
{
    if (!tri_zero_has_master(zero, bucket)) return tri_zero_weight_span(zero, bucket, at, 0).data;
    return zero->master + bucket->offset[ZERO_OPTIMIZER] + at -
           tri_zero_begin_of(zero, bucket, ZERO_OPTIMIZER);
}

tri_zero_shard tri_zero_shard_at(const tri_zero *zero, int index)
{
    const zero_param *param = &zero->params[index];
    tri_zero_shard shard = {.param = index};
    tri_zero_owned(zero, param, &shard.begin, &shard.count);
    shard.is_counted = param->counts && zero->index < zero->args.group[ZERO_OPTIMIZER];
    if (!zero->weight || shard.count == 0) return shard;
    const zero_bucket *bucket = &zero->buckets[param->bucket];
    int64_t at = param->offset + shard.begin;
    shard.weight = master_at(zero, bucket, at);
    if (zero->gradient) shard.gradient = tri_zero_gradient_span(zero, bucket, at, 0).data;
    bool has_copy =
        tri_zero_has_master(zero, bucket) && !tri_zero_packs(zero, bucket, ZERO_WEIGHTS);
    if (has_copy) shard.copy = tri_zero_weight_span(zero, bucket, at, 0).data;
    return shard;
}

const void *tri_zero_weight(const tri_zero *zero, int param)
{
    const zero_param *p = &zero->params[param];
    if (p->bucket < 0)
        return zero->guest.count > 0 && param == zero->args.tied_param ? zero->guest.weight : NULL;
    const zero_bucket *bucket = &zero->buckets[p->bucket];
    if (!bucket->weight) return NULL;
    tri_span whole = tri_span_make(bucket->weight, bucket->count, zero->args.compute);
    return tri_span_part(whole, p->offset, 0).data;
}

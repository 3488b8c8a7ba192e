// SPDX-License-Identifier: Apache-2.0
/* The flat layout, its buckets, and the three collectives of a data-parallel step. */
#include "parallel/zero.h"

#include "kernels/pointwise.h"
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"

#include <string.h>

enum {
    ZERO_ALIGN = 32, /* elements: 64 bytes of bf16, so every row and piece is a cache line */
    ZERO_AXES = TRI_AXIS_BIT(TRI_AXIS_DATA) | TRI_AXIS_BIT(TRI_AXIS_CONTEXT)
};

typedef struct zero_param {
    int row;
    int bucket;
    int64_t offset, count; /* in the flat sequence, padding not counted */
} zero_param;

typedef struct zero_bucket {
    int64_t offset, count; /* in the flat sequence; count = ranks * piece */
    int64_t shard_offset;  /* of this rank's piece in the shard-only master */
    int n_params;
    int n_missing; /* parameters not yet complete in this step */
    tri_event reduced;
} zero_bucket;

struct tri_zero {
    tri_zero_args args;
    tri_comm *comm; /* NULL on paper */
    int ranks, index;
    int n_buckets;
    zero_param *params;
    zero_bucket *buckets;
    int64_t elements, shard_elements;
    float *gradient; /* [elements] */
    void *weight;    /* [elements] of args.compute */
    float *master;   /* [elements], or [shard_elements] at stage 1; compute fp32: the weights */
};

static bool has_master(const tri_zero *zero)
{
    return zero->args.compute != TRI_F32;
}

static tri_span weight_span(const tri_zero *zero, int64_t begin, int64_t count)
{
    tri_span all = tri_span_make(zero->weight, zero->elements, zero->args.compute);
    return tri_span_part(all, begin, count);
}

/* Lay the parameters out from the last to the first and close a bucket where it is full. */
static tri_status plan_buckets(tri_zero *zero)
{
    const tri_zero_args *args = &zero->args;
    int64_t full = tri_max64(1, args->bucket_bytes / (int64_t)sizeof(float));
    int64_t unit = (int64_t)zero->ranks * ZERO_ALIGN;
    zero_bucket *bucket = zero->buckets;
    for (int i = args->n_params - 1; i >= 0; i--) {
        const tri_row *row = tri_state_row(args->state, args->first_row + i);
        TRI_CHECK(row->dtype == TRI_F32, TRI_EBUG, "%s is not fp32", row->name);
        zero->params[i] = (zero_param){.row = args->first_row + i,
                                       .bucket = (int)(bucket - zero->buckets),
                                       .offset = bucket->offset + bucket->count,
                                       .count = row->count};
        bucket->count += tri_round_up(row->count, ZERO_ALIGN);
        bucket->n_params++;
        if (bucket->count < full && i > 0) continue;
        bucket->count = tri_round_up(bucket->count, unit);
        zero->elements += bucket->count;
        zero->shard_elements += bucket->count / zero->ranks;
        zero->n_buckets++;
        if (i == 0) break;
        bucket[1].offset = zero->elements;
        bucket[1].shard_offset = zero->shard_elements;
        bucket++;
    }
    return TRI_OK;
}

/* The part of a parameter that this rank owns: begin in the parameter, count. */
static void owned_range(const tri_zero *zero, const zero_param *param, int64_t *begin,
                        int64_t *count)
{
    *begin = 0;
    *count = param->count;
    if (zero->args.stage == 0) return;
    const zero_bucket *bucket = &zero->buckets[param->bucket];
    int64_t piece = bucket->count / zero->ranks;
    int64_t low = bucket->offset + zero->index * piece - param->offset;
    int64_t high = tri_min64(low + piece, param->count);
    *begin = tri_min64(tri_max64(low, 0), param->count);
    *count = tri_max64(high - *begin, 0);
}

/* Where element `begin` of a parameter's owned range lies in the master. */
static float *master_at(const tri_zero *zero, const zero_param *param, int64_t begin)
{
    if (!zero->weight) return NULL;
    if (!has_master(zero)) return (float *)zero->weight + param->offset + begin;
    if (zero->args.stage == 0) return zero->master + param->offset + begin;
    const zero_bucket *bucket = &zero->buckets[param->bucket];
    int64_t piece = bucket->count / zero->ranks;
    int64_t in_bucket = param->offset + begin - bucket->offset;
    return zero->master + bucket->shard_offset + in_bucket - zero->index * piece;
}

tri_status tri_zero_create(const tri_zero_args *args, tri_zero **out)
{
    TRI_CHECK(args->stage == 0 || args->stage == 1, TRI_EINVAL,
              "parallel.zero is %d; this version has 0 and 1", args->stage);
    TRI_AUTO(tri_zero) *zero = NULL;
    TRI_TRY(TRI_NEW(&zero));
    zero->args = *args;
    const tri_mesh *mesh = tri_state_mesh(args->state);
    zero->ranks = tri_mesh_product(mesh, ZERO_AXES);
    zero->index = tri_mesh_index(mesh, ZERO_AXES);
    zero->comm = tri_mesh_comm(mesh, ZERO_AXES);
    TRI_TRY(TRI_NEW_ARRAY(args->n_params, &zero->params));
    TRI_TRY(TRI_NEW_ARRAY(args->n_params, &zero->buckets));
    TRI_TRY(plan_buckets(zero));
    tri_zero_bind(zero);
    *out = TRI_MOVE(zero);
    return TRI_OK;
}

void tri_zero_destroy(tri_zero **zero)
{
    if (!*zero) return;
    TRI_FREE((*zero)->params);
    TRI_FREE((*zero)->buckets);
    TRI_FREE(*zero);
}

tri_status tri_zero_declare(tri_zero *zero, tri_arena *arena)
{
    if (zero->args.training)
        TRI_TRY(tri_arena_add_shared(arena, TRI_MEM_GRADIENTS, zero->elements, TRI_F32,
                                     (void **)&zero->gradient));
    TRI_TRY(tri_arena_add_shared(arena, TRI_MEM_WEIGHTS, zero->elements, zero->args.compute,
                                 &zero->weight));
    if (has_master(zero))
        TRI_TRY(tri_arena_add(arena, TRI_MEM_WEIGHTS,
                              zero->args.stage == 0 ? zero->elements : zero->shard_elements,
                              TRI_F32, (void **)&zero->master));
    return TRI_OK;
}

void tri_zero_bind(tri_zero *zero)
{
    for (int i = 0; i < zero->args.n_params; i++) {
        tri_zero_shard shard = tri_zero_shard_at(zero, i);
        tri_state_hold(zero->args.state, zero->params[i].row, shard.begin, shard.count,
                       shard.weight);
    }
}

void *tri_zero_weight(const tri_zero *zero, int param)
{
    return weight_span(zero, zero->params[param].offset, 0).data;
}

float *tri_zero_gradient(const tri_zero *zero, int param)
{
    return zero->gradient ? zero->gradient + zero->params[param].offset : NULL;
}

int tri_zero_shards(const tri_zero *zero)
{
    return zero->args.n_params;
}

tri_zero_shard tri_zero_shard_at(const tri_zero *zero, int index)
{
    const zero_param *param = &zero->params[index];
    tri_zero_shard shard = {.param = index};
    owned_range(zero, param, &shard.begin, &shard.count);
    if (!zero->weight) return shard;
    int64_t flat = param->offset + shard.begin;
    shard.weight = master_at(zero, param, shard.begin);
    shard.gradient = zero->gradient ? zero->gradient + flat : NULL;
    shard.copy = has_master(zero) ? weight_span(zero, flat, 0).data : NULL;
    return shard;
}

void tri_zero_begin(tri_zero *zero)
{
    memset(zero->gradient, 0, (size_t)zero->elements * sizeof(float));
    for (int b = 0; b < zero->n_buckets; b++)
        zero->buckets[b].n_missing = zero->buckets[b].n_params;
}

tri_status tri_zero_ready(tri_zero *zero, int param)
{
    zero_bucket *bucket = &zero->buckets[zero->params[param].bucket];
    TRI_CHECK(bucket->n_missing > 0, TRI_EBUG, "parameter %d was completed twice", param);
    if (--bucket->n_missing > 0 || zero->ranks == 1) return TRI_OK;
    tri_span all = tri_span_make(zero->gradient + bucket->offset, bucket->count, TRI_F32);
    if (zero->args.stage == 0) {
        TRI_TRY(tri_allreduce(zero->comm, all, TRI_SUM, &bucket->reduced));
        return TRI_OK;
    }
    int64_t piece = bucket->count / zero->ranks;
    tri_span mine = tri_span_part(all, zero->index * piece, piece);
    TRI_TRY(tri_reduce_scatter(zero->comm, all, mine, &bucket->reduced));
    return TRI_OK;
}

tri_status tri_zero_reduce_wait(tri_zero *zero)
{
    for (int b = 0; b < zero->n_buckets; b++) {
        zero_bucket *bucket = &zero->buckets[b];
        TRI_CHECK(bucket->n_missing == 0, TRI_EBUG, "%d gradients of bucket %d never came",
                  bucket->n_missing, b);
        TRI_TRY(tri_event_wait(bucket->reduced));
        bucket->reduced = (tri_event){0};
    }
    return TRI_OK;
}

tri_status tri_zero_sum_squares(const tri_zero *zero, double *out)
{
    double total = 0;
    for (int b = 0; b < zero->n_buckets; b++) {
        const zero_bucket *bucket = &zero->buckets[b];
        int64_t piece = bucket->count / zero->ranks;
        double part = 0;
        TRI_TRY(tri_sum_squares(zero->args.kernels, piece,
                                zero->gradient + bucket->offset + zero->index * piece, &part));
        total += part;
    }
    *out = total;
    return TRI_OK;
}

tri_status tri_zero_gather(tri_zero *zero)
{
    if (zero->args.stage == 0 || zero->ranks == 1) return TRI_OK;
    tri_event gathered = {0};
    for (int b = 0; b < zero->n_buckets; b++) {
        const zero_bucket *bucket = &zero->buckets[b];
        int64_t piece = bucket->count / zero->ranks;
        tri_span all = weight_span(zero, bucket->offset, bucket->count);
        tri_span mine = tri_span_part(all, zero->index * piece, piece);
        TRI_TRY(tri_allgather(zero->comm, mine, all, &gathered));
    }
    TRI_TRY(tri_event_wait(gathered));
    return TRI_OK;
}

tri_status tri_zero_publish(tri_zero *zero)
{
    for (int i = 0; has_master(zero) && i < zero->args.n_params; i++) {
        tri_zero_shard shard = tri_zero_shard_at(zero, i);
        TRI_TRY(tri_cast(zero->args.kernels, tri_span_make(shard.weight, shard.count, TRI_F32),
                         tri_span_make(shard.copy, shard.count, zero->args.compute)));
    }
    TRI_TRY(tri_zero_gather(zero));
    return TRI_OK;
}

tri_zero_traffic tri_zero_step_traffic(const tri_zero *zero)
{
    tri_zero_traffic traffic = {0};
    if (zero->ranks == 1) return traffic;
    traffic.reduce_calls = zero->n_buckets;
    traffic.reduce_bytes = zero->elements * (int64_t)sizeof(float);
    if (zero->args.stage == 1) {
        traffic.gather_calls = zero->n_buckets;
        traffic.gather_bytes = zero->elements * (int64_t)tri_dtype_bytes(zero->args.compute);
    }
    return traffic;
}

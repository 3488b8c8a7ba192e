// SPDX-License-Identifier: Apache-2.0
/* The flat layout: parameters from the last to the first, as backward completes them, in buckets;
 * then units, and pools of buffers for those whose weights or gradients are shared.
 */
#include "parallel/zero/quantize.h"

#include "kernels/quantize.h"
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"

/* Elements of the local box, and of the largest one on the tensor axis: its first rank's, since
 * splits leave the short blocks to the last. All tensor ranks lay out by the largest. */
static tri_status plan_param(tri_zero *zero, int i)
{
    const tri_mesh *mesh = zero->args.mesh;
    int row_index = zero->args.first_row + i;
    const tri_row *row = tri_state_row(zero->args.state, row_index);
    TRI_CHECK(row->dtype == TRI_F32, TRI_EBUG, "%s is not fp32", row->name);
    zero_param *param = &zero->params[i];
    *param = (zero_param){.row = row_index,
                          .unit = zero->given[i].unit,
                          .bucket = -1,
                          .tensor_sum = zero->given[i].tensor_sum,
                          .counts = tri_place_is_first(&row->place, mesh, TRI_AXIS_TENSOR)};
    if (param->unit < 0) return TRI_OK;
    TRI_CHECK(param->unit < zero->args.n_units, TRI_EBUG, "%s is of unit %d, there are %d",
              row->name, param->unit, zero->args.n_units);
    int first = tri_mesh_rank(mesh) - tri_mesh_coord(mesh, TRI_AXIS_TENSOR);
    tri_box box;
    TRI_TRY(tri_place_box(&row->place, mesh, first, row->n_dims, row->shape, &box));
    param->count = row->count;
    param->padded = tri_round_up(tri_box_elements(&box), ZERO_ALIGN);
    return TRI_OK;
}

static bool is_vector(const tri_zero *zero, int i)
{
    return tri_state_row(zero->args.state, zero->params[i].row)->n_dims == 1;
}

static zero_bucket *open_bucket(tri_zero *zero, int sort)
{
    zero_bucket *bucket = &zero->buckets[zero->n_buckets++];
    *bucket = (zero_bucket){
        .sort = sort, .first = zero->n_order, .slot = {-1, -1}
    };
    return bucket;
}

static void close_bucket(tri_zero *zero, zero_bucket *bucket)
{
    const zero_split *split = tri_zero_split_of(zero, bucket);
    bool packs = tri_zero_packs(zero, bucket, ZERO_WEIGHTS);
    bool has_blocks = packs || tri_zero_packs(zero, bucket, ZERO_GRADIENTS);
    int64_t align = has_blocks ? TRI_QUANTIZE_BLOCK : ZERO_ALIGN;
    bucket->count = tri_round_up(bucket->count, split->size[ZERO_OPTIMIZER] * align);
    /* weights: where they are kept quantised, not as they are, unless all of them are kept */
    const bool kept[ZERO_LEVELS] = {!packs || split->size[ZERO_WEIGHTS] == 1, true,
                                    tri_zero_has_master(zero, bucket)};
    for (int level = 0; level < ZERO_LEVELS; level++) {
        bucket->offset[level] = zero->elements[level];
        if (kept[level]) zero->elements[level] += tri_zero_piece(zero, bucket, (zero_level)level);
    }
    bucket->packed_offset = zero->packed_bytes;
    if (packs)
        zero->packed_bytes +=
            tri_zero_packed_bytes(zero, ZERO_WEIGHTS, tri_zero_piece(zero, bucket, ZERO_WEIGHTS),
                                  split->size[ZERO_OPTIMIZER] / split->size[ZERO_WEIGHTS]);
}

static void put_param(tri_zero *zero, zero_bucket *bucket, int i)
{
    zero_param *param = &zero->params[i];
    param->bucket = (int)(bucket - zero->buckets);
    param->offset = bucket->count;
    bucket->count += param->padded;
    bucket->n_params++;
    zero->order[zero->n_order++] = i;
    bool is_tied = i == zero->args.tied_param && !zero->args.is_guest;
    if (is_tied && param->count > 0) bucket->is_tied = true;
}

/* One bucket after another; where weights or gradients are shared, a unit is one. */
static void plan_matrices(tri_zero *zero)
{
    const tri_zero_args *args = &zero->args;
    int64_t full = tri_max64(1, args->bucket_bytes / (int64_t)sizeof(float));
    bool by_unit = args->group[ZERO_GRADIENTS] > 1;
    zero_bucket *bucket = NULL;
    int unit = -1; /* of the parameter before, in this bucket */
    for (int i = args->n_params - 1; i >= 0; i--) {
        const zero_param *param = &zero->params[i];
        if (param->unit < 0 || is_vector(zero, i)) continue;
        bool is_full = bucket && (by_unit ? param->unit != unit : bucket->count >= full);
        if (is_full) {
            close_bucket(zero, bucket);
            bucket = NULL;
        }
        if (!bucket) {
            bucket = open_bucket(zero, ZERO_MATRICES);
            unit = -1;
        }
        bucket->n_units += param->unit != unit;
        unit = param->unit;
        put_param(zero, bucket, i);
        zero_unit *of = &zero->units[unit];
        if (of->first_bucket > of->last_bucket) of->first_bucket = zero->n_buckets - 1;
        of->last_bucket = zero->n_buckets - 1;
    }
    if (bucket) close_bucket(zero, bucket);
}

static void plan_vectors(tri_zero *zero)
{
    zero_bucket *bucket = NULL;
    for (int i = zero->args.n_params - 1; i >= 0; i--) {
        if (zero->params[i].unit < 0 || !is_vector(zero, i)) continue;
        if (!bucket) bucket = open_bucket(zero, ZERO_VECTORS);
        put_param(zero, bucket, i);
    }
    if (!bucket) return;
    bucket->n_units = zero->args.n_units;
    close_bucket(zero, bucket);
}

/* A slot for each bucket of one size, but at most `limit`. */
static tri_status plan_pool(tri_zero *zero, zero_level level, int limit)
{
    zero_pool *pool = &zero->pool[level];
    TRI_TRY(TRI_NEW_ARRAY(zero->n_buckets, &pool->slots));
    for (int b = 0; b < zero->n_buckets; b++) {
        const zero_bucket *bucket = &zero->buckets[b];
        if (!tri_zero_is_pooled(zero, bucket, level)) continue;
        int same = 0;
        for (int s = 0; s < pool->n; s++)
            same += pool->slots[s].capacity == bucket->count;
        if (same < limit)
            pool->slots[pool->n++] = (zero_slot){.capacity = bucket->count, .bucket = -1};
    }
    return TRI_OK;
}

static tri_status plan_guest(tri_zero *zero)
{
    if (zero->args.tied_param < 0 || !zero->args.is_guest) return TRI_OK;
    const tri_mesh *mesh = zero->args.mesh;
    const tri_row *row =
        tri_state_row(zero->args.state, zero->args.first_row + zero->args.tied_param);
    tri_place place =
        row->place; /* as it lies at its stage, on the rank of the same other places */
    place.axis[TRI_AXIS_PIPELINE].kind = TRI_REPLICATED;
    tri_box box;
    TRI_TRY(tri_place_box(&place, mesh, tri_mesh_rank(mesh), row->n_dims, row->shape, &box));
    zero->guest.count = tri_box_elements(&box);
    return TRI_OK;
}

static void plan_sums(tri_zero *zero)
{
    for (int i = 0; i < zero->args.n_params; i++) {
        const zero_param *param = &zero->params[i];
        int64_t begin = 0, count = 0;
        tri_zero_owned(zero, param, &begin, &count);
        for (int s = 0; s < zero->n_sums; s++)
            if (zero->sums[s].group.size == param->tensor_sum) zero->sums[s].count += count;
    }
}

tri_status tri_zero_plan(tri_zero *zero)
{
    const tri_zero_args *args = &zero->args;
    TRI_TRY(TRI_NEW_ARRAY(args->n_params, &zero->params));
    TRI_TRY(TRI_NEW_ARRAY(args->n_params + 1, &zero->buckets));
    TRI_TRY(TRI_NEW_ARRAY(args->n_params, &zero->order));
    TRI_TRY(TRI_NEW_ARRAY(args->n_params + 1, &zero->queue));
    TRI_TRY(TRI_NEW_ARRAY(args->n_units, &zero->units));
    int unit = 0;
    for (int i = 0; i < args->n_params; i++) {
        TRI_TRY(plan_param(zero, i));
        if (zero->params[i].unit < 0) continue;
        TRI_CHECK(zero->params[i].unit >= unit, TRI_EBUG,
                  "parameter %d is of unit %d, one before it of unit %d", i, zero->params[i].unit,
                  unit);
        unit = zero->params[i].unit;
    }
    for (int u = 0; u < args->n_units; u++)
        zero->units[u] = (zero_unit){.first_bucket = 0, .last_bucket = -1};
    plan_matrices(zero);
    plan_vectors(zero);
    plan_sums(zero);
    TRI_TRY(plan_pool(zero, ZERO_WEIGHTS, 1 + args->prefetch));
    TRI_TRY(plan_pool(zero, ZERO_GRADIENTS, args->training ? args->grad_buffers : 0));
    zero->paper.n = zero->pool[ZERO_WEIGHTS].n;
    TRI_TRY(TRI_NEW_ARRAY(zero->paper.n, &zero->paper.slots));
    TRI_TRY(plan_guest(zero));
    return TRI_OK;
}

void tri_zero_owned(const tri_zero *zero, const zero_param *param, int64_t *begin, int64_t *count)
{
    *begin = *count = 0;
    if (param->bucket < 0) return;
    const zero_bucket *bucket = &zero->buckets[param->bucket];
    int64_t low = tri_zero_begin_of(zero, bucket, ZERO_OPTIMIZER) - param->offset;
    int64_t high = tri_min64(low + tri_zero_piece(zero, bucket, ZERO_OPTIMIZER), param->count);
    *begin = tri_min64(tri_max64(low, 0), param->count);
    *count = tri_max64(high - *begin, 0);
}

tri_span tri_zero_weight_span(const tri_zero *zero, const zero_bucket *bucket, int64_t begin,
                              int64_t count)
{
    int64_t at =
        bucket->offset[ZERO_WEIGHTS] + begin - tri_zero_begin_of(zero, bucket, ZERO_WEIGHTS);
    tri_span all = tri_span_make(zero->weight, zero->elements[ZERO_WEIGHTS], zero->args.compute);
    return tri_span_part(all, at, count);
}

tri_span tri_zero_kept_span(const tri_zero *zero, const zero_bucket *bucket, zero_level level)
{
    if (tri_zero_packs(zero, bucket, ZERO_WEIGHTS))
        return tri_zero_packed_span(zero, bucket, level);
    return tri_zero_weight_span(zero, bucket, tri_zero_begin_of(zero, bucket, level),
                                tri_zero_piece(zero, bucket, level));
}

tri_span tri_zero_gradient_span(const tri_zero *zero, const zero_bucket *bucket, int64_t begin,
                                int64_t count)
{
    int64_t at =
        bucket->offset[ZERO_GRADIENTS] + begin - tri_zero_begin_of(zero, bucket, ZERO_GRADIENTS);
    tri_span all = tri_span_make(zero->gradient, zero->elements[ZERO_GRADIENTS], TRI_F32);
    return tri_span_part(all, at, count);
}

int tri_zero_unit_bucket(const tri_zero *zero, int unit)
{
    if (unit < 0 || zero->args.group[ZERO_GRADIENTS] == 1) return -1;
    const zero_unit *of = &zero->units[unit];
    return of->first_bucket <= of->last_bucket ? of->last_bucket : -1;
}

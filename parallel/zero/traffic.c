// SPDX-License-Identifier: Apache-2.0
/* The messages of one step, predicted: the calls of reduce.c and publish.c from the layout, those of
 * units.c by walking its policy through the visits of a step, round by round.
 */
#include "parallel/zero/quantize.h"

#include <stdio.h>

static void add(tri_traffic_list *list, const zero_group *group, tri_coll_kind kind,
                const char *what, int64_t calls, int64_t bytes)
{
    tri_traffic more = {
        .ranks = group->size, .kind = kind, .calls = calls, .payload_bytes = calls * bytes};
    snprintf(more.group, sizeof more.group, "%s", group->name);
    snprintf(more.what, sizeof more.what, "%s", what);
    tri_traffic_add(list, &more);
}

/* Bytes of a piece of weights, as it travels. */
static int64_t weight_bytes(const tri_zero *zero, const zero_bucket *bucket, zero_level level)
{
    const zero_split *split = tri_zero_split_of(zero, bucket);
    int64_t piece = tri_zero_piece(zero, bucket, level);
    if (tri_zero_packs(zero, bucket, ZERO_WEIGHTS))
        return tri_zero_packed_bytes(zero, ZERO_WEIGHTS, piece,
                                     split->size[ZERO_OPTIMIZER] / split->size[level]);
    return piece * (int64_t)tri_dtype_bytes(zero->args.compute);
}

/* A unit is wanted: gathered on paper, unless it is here. */
static int walk_fetch(const tri_zero *zero, zero_pool *pool, int b, int keep,
                      tri_traffic_list *list)
{
    const zero_bucket *bucket = &zero->buckets[b];
    int s = tri_zero_pool_find(pool, b);
    if (s < 0) {
        s = tri_zero_pool_choose(pool, bucket->count, keep, true);
        if (s < 0) return s;
        pool->slots[s].bucket = b;
        add(list, &zero->split[ZERO_MATRICES].unit, TRI_COLL_ALLGATHER, "weights", 1,
            weight_bytes(zero, bucket, ZERO_WEIGHTS));
    }
    pool->slots[s].used = ++pool->clock;
    return s;
}

/* The owner of a tied parameter has it whole where it is sent on from. */
static void walk_start(const tri_zero *zero, zero_pool *pool, tri_traffic_list *list)
{
    const zero_pool *real = &zero->pool[ZERO_WEIGHTS];
    pool->clock = 0;
    for (int s = 0; s < real->n; s++)
        pool->slots[s] = (zero_slot){.capacity = real->slots[s].capacity, .bucket = -1};
    if (zero->args.tied_param < 0 || zero->args.is_guest) return;
    const zero_param *tied = &zero->params[zero->args.tied_param];
    if (tied->count > 0) walk_fetch(zero, pool, tied->bucket, -1, list);
}

static void walk_round(const tri_zero *zero, zero_pool *pool, tri_traffic_list *list)
{
    int64_t n = zero->args.n_visits;
    for (int64_t i = 0; i < n; i++) {
        const tri_unit_visit *visit = &zero->visits[i];
        if (!(visit->need & TRI_NEED_WEIGHTS)) continue;
        bool has_next = i + 1 < n && (visit[1].need & TRI_NEED_WEIGHTS);
        int b = tri_zero_unit_bucket(zero, visit->unit);
        int next = has_next ? tri_zero_unit_bucket(zero, visit[1].unit) : -1;
        int slot = b >= 0 ? walk_fetch(zero, pool, b, -1, list) : -1;
        if (next >= 0 && zero->args.prefetch > 0) walk_fetch(zero, pool, next, slot, list);
    }
}

static void add_units(const tri_zero *zero, int64_t rounds, tri_traffic_list *list)
{
    if (zero->args.group[ZERO_WEIGHTS] == 1) return;
    zero_pool pool = zero->paper;
    walk_start(zero, &pool, list);
    for (int64_t r = 0; r < rounds; r++)
        walk_round(zero, &pool, list);
}

/* Reductions behind each micro-batch. */
static void add_reductions(const tri_zero *zero, int64_t rounds, tri_traffic_list *list)
{
    for (int64_t i = 0; i < zero->args.n_visits; i++) {
        const tri_unit_visit *visit = &zero->visits[i];
        int b = visit->is_ready ? tri_zero_unit_bucket(zero, visit->unit) : -1;
        if (b < 0) continue;
        const zero_bucket *bucket = &zero->buckets[b];
        const zero_group *group = &zero->split[ZERO_MATRICES].reduce;
        if (tri_zero_packs(zero, bucket, ZERO_GRADIENTS))
            add(list, group, TRI_COLL_ALLTOALL, "gradients", rounds,
                tri_zero_packed_bytes(zero, ZERO_GRADIENTS, bucket->count, group->size));
        else
            add(list, group, TRI_COLL_REDUCE_SCATTER, "gradients", rounds,
                bucket->count * (int64_t)sizeof(float));
    }
}

static void add_bucket(const tri_zero *zero, const zero_bucket *bucket, int64_t groups,
                       tri_traffic_list *list)
{
    static const char *const sort[ZERO_SORTS] = {"gradients", "vectors' gradients"};
    static const char *const fresh[ZERO_SORTS] = {"new weights", "new vectors"};
    const zero_split *split = tri_zero_split_of(zero, bucket);
    int64_t piece[ZERO_LEVELS];
    for (int level = 0; level < ZERO_LEVELS; level++)
        piece[level] = tri_zero_piece(zero, bucket, (zero_level)level);
    int64_t gradient = sizeof(float);
    add(list, &split->finish, TRI_COLL_REDUCE_SCATTER, sort[bucket->sort], groups,
        piece[ZERO_GRADIENTS] * gradient);
    add(list, &zero->replica, TRI_COLL_ALLREDUCE, sort[bucket->sort], groups,
        piece[ZERO_OPTIMIZER] * gradient);
    add(list, &split->finish, TRI_COLL_ALLGATHER, fresh[bucket->sort], 1,
        weight_bytes(zero, bucket, ZERO_OPTIMIZER));
    add(list, &split->publish, TRI_COLL_ALLGATHER, fresh[bucket->sort], 1,
        weight_bytes(zero, bucket, ZERO_GRADIENTS));
}

static void add_tied(const tri_zero *zero, int64_t groups, tri_traffic_list *list)
{
    const tri_zero_args *args = &zero->args;
    if (args->tied_param < 0) return;
    int64_t count = args->is_guest ? zero->guest.count : zero->params[args->tied_param].count;
    if (count == 0) return;
    zero_group ends = {.size = 2, .name = "tied ends"};
    add(list, &ends, TRI_COLL_ALLREDUCE, "tied gradient", groups, count * (int64_t)sizeof(float));
    add(list, &ends, TRI_COLL_BROADCAST, "tied weight", 1,
        count * (int64_t)tri_dtype_bytes(args->compute));
}

void tri_zero_traffic(const tri_zero *zero, int64_t rounds, int64_t groups, tri_traffic_list *list)
{
    if (!zero->args.training) return;
    add_units(zero, rounds, list);
    add_reductions(zero, rounds, list);
    for (int b = 0; b < zero->n_buckets; b++)
        add_bucket(zero, &zero->buckets[b], groups, list);
    for (int s = 0; s < zero->n_sums; s++)
        if (zero->sums[s].count > 0)
            add(list, &zero->sums[s].group, TRI_COLL_ALLREDUCE, "partial gradients", groups,
                zero->sums[s].count * (int64_t)sizeof(float));
    add_tied(zero, groups, list);
}

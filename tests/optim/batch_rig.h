// SPDX-License-Identifier: Apache-2.0
/* A batch controller fed with gradients that a test makes: the elements lie on the ranks in odd pieces,
 * some of them twice, where they are counted once.
 */
#ifndef TRI_TESTS_OPTIM_BATCH_RIG_H
#define TRI_TESTS_OPTIM_BATCH_RIG_H

#include "optim/batch.h"
#include "optim/batch_rule.h"
#include "runtime/base/int.h"
#include "tests/test.h"

enum { BATCH_RIG_MAX_PIECES = 64 };

typedef struct batch_rig {
    tri_comm *world;
    int n;
    tri_kernels *kernels;
    tri_batch *batch;
    tri_arena *arena;
    int n_pieces; /* of this rank: a segment each, whose row is the number of its first element */
    tri_optim_segment segments[BATCH_RIG_MAX_PIECES];
    float *gradient; /* [2 n]: of all pieces, one behind another */
} batch_rig;

static inline void batch_rig_add(batch_rig *rig, int64_t begin, int64_t count, bool is_counted)
{
    rig->segments[rig->n_pieces++] = (tri_optim_segment){
        .row = (int)begin, .begin = begin, .count = count, .is_counted = is_counted};
}

/* Pieces of 1, 4, 7, ... elements, dealt out in turn; every other one lies on the next rank, too. */
static inline void batch_rig_deal(batch_rig *rig)
{
    int rank = tri_comm_rank(rig->world);
    int size = tri_comm_size(rig->world);
    int64_t at = 0;
    for (int piece = 0; at < rig->n; piece++) {
        bool is_last = piece == BATCH_RIG_MAX_PIECES / 2 - 1;
        int64_t count = is_last ? rig->n - at : tri_min64(3 * piece + 1, rig->n - at);
        if (piece % size == rank) batch_rig_add(rig, at, count, true);
        if (piece % 2 == 1 && (piece + 1) % size == rank) batch_rig_add(rig, at, count, false);
        at += count;
    }
}

/* Collective: world. */
static inline tri_status batch_rig_open(batch_rig *rig, tri_comm *world, int n,
                                        const tri_batch_config *config)
{
    *rig = (batch_rig){.world = world, .n = n};
    batch_rig_deal(rig);
    TRI_TRY(TRI_NEW_ARRAY(2 * n, &rig->gradient));
    TRI_TRY(tri_kernels_create(tri_comm_device(world), NULL, &rig->kernels));
    tri_batch_args args = {.config = config,
                           .kernels = rig->kernels,
                           .segments = rig->segments,
                           .n_segments = rig->n_pieces};
    TRI_TRY(tri_batch_create(&args, &rig->batch));
    TRI_TRY(tri_arena_create(&rig->arena));
    TRI_TRY(tri_batch_declare(rig->batch, rig->arena));
    TRI_TRY(tri_arena_commit(rig->arena, tri_comm_device(world), NULL));
    int64_t at = 0;
    for (int i = 0; i < rig->n_pieces; i++) {
        rig->segments[i].gradient = rig->gradient + at;
        at += rig->segments[i].count;
    }
    return tri_batch_bind(rig->batch, rig->segments);
}

static inline void batch_rig_close(batch_rig *rig)
{
    tri_arena_destroy(&rig->arena);
    tri_batch_destroy(&rig->batch);
    tri_kernels_destroy(&rig->kernels);
    TRI_FREE(rig->gradient);
}

/* The gradients of this rank behind a group, from whole ones; what is not counted is nonsense. */
static inline void batch_rig_fill(batch_rig *rig, const float *whole)
{
    float *to = rig->gradient;
    for (int i = 0; i < rig->n_pieces; i++) {
        const tri_optim_segment *piece = &rig->segments[i];
        for (int64_t k = 0; k < piece->count; k++)
            *to++ = piece->is_counted ? whole[piece->begin + k] : 1e30f;
    }
}

/* One test, of the means of M groups [M, n]: the gradients that a step adds up, then the decision.
 * Collective: world. */
static inline tri_status batch_rig_test(batch_rig *rig, int groups, const float *means,
                                        tri_batch_report *out)
{
    float *sum = NULL;
    TRI_TRY(TRI_NEW_ARRAY(rig->n, &sum));
    for (int m = 0; m < groups; m++) {
        for (int i = 0; i < rig->n; i++)
            sum[i] += means[(ptrdiff_t)m * rig->n + i] / (float)groups;
        batch_rig_fill(rig, sum);
        TRI_TRY(tri_batch_observe(rig->batch, m));
    }
    TRI_FREE(sum);
    return tri_batch_decide(rig->batch, rig->world, out);
}

#endif

// SPDX-License-Identifier: Apache-2.0
/* ZB-V (Qi 2024, arXiv:2405.15362): two chunks per rank, laid in a V: stage s < p on rank s, then back
 * up, stage 2p-1-s on rank s. The first rank has the first and the last stage, so that its first
 * backward comes early, and no rank waits once it has begun where the three times are equal and there
 * are at least 2p - 1 micro-batches. At most 2p chunks (p micro-batches) are alive on each rank.
 *
 * The order is the static one of the paper's figure, written for at least 2p - 1 micro-batches; those
 * that there are not are left out.
 */
#include "parallel/schedule/schedule_impl.h"
#include "runtime/base/int.h"

/* Operations of one rank, by chunk: how many there are already. */
typedef struct zb_v_rank {
    tri_schedule *schedule;
    int rank;
    int count[TRI_OP_KINDS][2];
} zb_v_rank;

static int zb_v_rank_of(int ranks, int stage)
{
    return stage < ranks ? stage : 2 * ranks - 1 - stage;
}

/* The next operation of this kind on a chunk, unless there is no such micro-batch. */
static void put_next(zb_v_rank *to, tri_op_kind kind, int chunk)
{
    int micro = to->count[kind][chunk]++;
    int stage = chunk == 0 ? to->rank : 2 * to->schedule->ranks - 1 - to->rank;
    if (micro < to->schedule->micro_batches)
        tri_schedule_put(to->schedule, to->rank, kind, stage, micro);
}

static void put_backward(zb_v_rank *to, int chunk)
{
    put_next(to, TRI_OP_BACKWARD_INPUT, chunk);
    put_next(to, TRI_OP_BACKWARD_WEIGHT, chunk);
}

static void zb_v_warm_up(zb_v_rank *to)
{
    int behind = to->schedule->ranks - to->rank;
    for (int i = 0; i < 2 * behind - 1; i++)
        put_next(to, TRI_OP_FORWARD, 0);
    for (int i = 0; i < to->rank; i++) {
        put_next(to, TRI_OP_FORWARD, 1);
        put_next(to, TRI_OP_FORWARD, 0);
    }
    for (int i = 0; i < behind; i++) {
        put_next(to, TRI_OP_FORWARD, 1);
        put_backward(to, 1);
    }
}

/* Backwards first, which others wait for; weight gradients fill up. */
static void zb_v_cool_down(zb_v_rank *to, int n)
{
    for (int i = 0; i < to->rank; i++) {
        put_next(to, TRI_OP_BACKWARD_INPUT, 0);
        put_next(to, TRI_OP_BACKWARD_INPUT, 1);
    }
    for (int i = to->rank; i < to->schedule->ranks; i++)
        put_backward(to, 0);
    for (int chunk = 1; chunk >= 0; chunk--)
        while (to->count[TRI_OP_BACKWARD_WEIGHT][chunk] < n)
            put_next(to, TRI_OP_BACKWARD_WEIGHT, chunk);
}

static void zb_v_order(tri_schedule *schedule)
{
    int n = (int)tri_max64(2 * schedule->ranks - 1, schedule->micro_batches);
    for (int rank = 0; rank < schedule->ranks; rank++) {
        zb_v_rank to = {.schedule = schedule, .rank = rank};
        const int *forwards = to.count[TRI_OP_FORWARD];
        zb_v_warm_up(&to);
        while (forwards[1] < n) {
            if (forwards[0] < n) put_next(&to, TRI_OP_FORWARD, 0);
            put_backward(&to, 0);
            put_next(&to, TRI_OP_FORWARD, 1);
            put_backward(&to, 1);
        }
        zb_v_cool_down(&to, n);
    }
}

const tri_schedule_ops tri_schedule_zb_v = {
    .name = "zb_v",
    .doc = "two chunks per rank, down and up again, weight gradients in the bubble: next to none",
    .split = true,
    .min_chunks = 2,
    .max_chunks = 2,
    .rank_of = zb_v_rank_of,
    .order = zb_v_order,
};

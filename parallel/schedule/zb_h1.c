// SPDX-License-Identifier: Apache-2.0
/* ZB-H1 (Qi 2023, arXiv:2401.10241): 1F1B with the backward cut in two, so that the next rank waits
 * for the input's gradient alone, and weight gradients fill the bubble. A third of 1f1b's bubble where
 * the three times are equal, with no more than p micro-batches alive on any rank.
 *
 * The order is a static rule of our own: rank r lags r micro-batches behind with weight gradients, which
 * gives each rank the same p alive, counted until the weight gradient.
 */
#include "parallel/schedule/schedule_impl.h"
#include "runtime/base/int.h"

static void zb_h1_order(tri_schedule *schedule)
{
    int m = schedule->micro_batches;
    for (int rank = 0; rank < schedule->ranks; rank++) {
        int warm = (int)tri_min64(schedule->ranks - rank - 1, m);
        int weight = 0;
        for (int i = 0; i < warm; i++)
            tri_schedule_put(schedule, rank, TRI_OP_FORWARD, rank, i);
        for (int i = 0; i < m; i++) {
            bool is_steady = warm + i < m;
            if (is_steady) tri_schedule_put(schedule, rank, TRI_OP_FORWARD, rank, warm + i);
            tri_schedule_put(schedule, rank, TRI_OP_BACKWARD_INPUT, rank, i);
            if (!is_steady || i >= rank)
                tri_schedule_put(schedule, rank, TRI_OP_BACKWARD_WEIGHT, rank, weight++);
        }
        while (weight < m)
            tri_schedule_put(schedule, rank, TRI_OP_BACKWARD_WEIGHT, rank, weight++);
    }
}

const tri_schedule_ops tri_schedule_zb_h1 = {
    .name = "zb_h1",
    .doc = "1f1b with weight gradients in the bubble",
    .split = true,
    .min_chunks = 1,
    .max_chunks = 1,
    .rank_of = tri_schedule_rank_around,
    .order = zb_h1_order,
};

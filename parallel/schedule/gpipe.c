// SPDX-License-Identifier: Apache-2.0
/* GPipe (Huang 2019, arXiv:1811.06965): all forwards, then all backwards. The smallest schedule, and
 * the one to copy. All m micro-batches are alive at once; the bubble is that of 1f1b.
 */
#include "parallel/schedule/schedule_impl.h"

static void gpipe_order(tri_schedule *schedule)
{
    for (int rank = 0; rank < schedule->ranks; rank++) {
        for (int i = 0; i < schedule->micro_batches; i++)
            tri_schedule_put(schedule, rank, TRI_OP_FORWARD, rank, i);
        for (int i = 0; i < schedule->micro_batches; i++)
            tri_schedule_put(schedule, rank, TRI_OP_BACKWARD, rank, i);
    }
}

const tri_schedule_ops tri_schedule_gpipe = {
    .name = "gpipe",
    .doc = "all forwards, then all backwards",
    .min_chunks = 1,
    .max_chunks = 1,
    .rank_of = tri_schedule_rank_around,
    .order = gpipe_order,
};

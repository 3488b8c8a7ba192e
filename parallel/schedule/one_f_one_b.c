// SPDX-License-Identifier: Apache-2.0
/* 1F1B with a flush (Narayanan 2019 PipeDream; 2021, arXiv:2104.04473): as many forwards as there are
 * stages behind this one, then a forward and a backward in turn. Rank r has at most p - r micro-batches
 * alive.
 */
#include "parallel/schedule/schedule_impl.h"
#include "runtime/base/int.h"

static void one_f_one_b_order(tri_schedule *schedule)
{
    int m = schedule->micro_batches;
    for (int rank = 0; rank < schedule->ranks; rank++) {
        int warm = (int)tri_min64(schedule->ranks - rank - 1, m);
        for (int i = 0; i < warm; i++)
            tri_schedule_put(schedule, rank, TRI_OP_FORWARD, rank, i);
        for (int i = 0; i < m; i++) {
            if (warm + i < m) tri_schedule_put(schedule, rank, TRI_OP_FORWARD, rank, warm + i);
            tri_schedule_put(schedule, rank, TRI_OP_BACKWARD, rank, i);
        }
    }
}

const tri_schedule_ops tri_schedule_one_f_one_b = {
    .name = "1f1b",
    .doc = "a forward and a backward in turn: at most as many micro-batches alive as ranks",
    .min_chunks = 1,
    .max_chunks = 1,
    .rank_of = tri_schedule_rank_around,
    .order = one_f_one_b_order,
};

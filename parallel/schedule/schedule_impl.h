// SPDX-License-Identifier: Apache-2.0
/* Inside of schedules: what a generator is, and what the common code does around it. A generator says
 * where stages lie and in which order each rank computes; messages, slots and flags follow from that.
 */
#ifndef TRI_PARALLEL_SCHEDULE_IMPL_H
#define TRI_PARALLEL_SCHEDULE_IMPL_H

#include "parallel/schedule.h"

/* One schedule: a file of this folder and a row of list.c. */
typedef struct tri_schedule_ops {
    const char *name; /* in job specs */
    const char *doc;
    bool split; /* backward-input and backward-weight are apart */
    int min_chunks, max_chunks;
    /* Further conditions on sizes that are >= 1, chunks within the bounds. */
    tri_status (*check)(int ranks, int chunks, int micro_batches); /* optional */
    /* Pipeline rank of a stage. */
    int (*rank_of)(int ranks, int stage);
    /* Put the computing operations of all ranks, each rank's in order. */
    void (*order)(tri_schedule *schedule);
} tri_schedule_ops;

/* The schedules of this build; NULL at the end. */
extern const tri_schedule_ops *const tri_schedule_list[];

/* Stage s on rank s mod ranks: chunk c of rank r is stage c * ranks + r. Not collective. */
int tri_schedule_rank_around(int ranks, int stage);

/* Append a computing operation to those of `rank`; there is room for what a step has. Not collective. */
void tri_schedule_put(tri_schedule *schedule, int rank, tri_op_kind kind, int stage, int micro);

/* From the computing operations to the whole table: chunk numbers, slots, messages, `last`.
 *
 * A send follows its computation at once. A receive is posted one computing operation ahead of its
 * use; one that takes a slot not before a slot is free, so that receiving early costs no memory: a
 * stage has as many slots as it has activations alive at once. Not collective. Cost: O(p v m).
 * Errors: TRI_ENOMEM. */
TRI_MUST_USE tri_status tri_schedule_add_messages(tri_schedule *schedule);

#endif

// SPDX-License-Identifier: Apache-2.0
/* The memory in which the ranks of a host show what they do. Private to launch/health*. */
#ifndef TRI_LAUNCH_HEALTH_BOARD_H
#define TRI_LAUNCH_HEALTH_BOARD_H

#include "runtime/coll.h"

/* A rank's place, on cache lines of its own. */
typedef struct tri_board_cell {
    _Alignas(128) tri_activity_cell activity;
    atomic_int pid;       /* 0: a rank of another host */
    atomic_bool has_left; /* it ends by its own will, or has reported by itself */
} tri_board_cell;

typedef struct tri_board_head {
    _Alignas(128) atomic_bool is_reported; /* some rank of this host has printed, or is about to */
} tri_board_head;

typedef struct tri_board {
    uint64_t id; /* of this job, the same on all ranks */
    int rank, size;
    size_t bytes;
    tri_board_head *head;
    tri_board_cell *cells; /* [size] of the world; those of other hosts stay zero */
} tri_board;

/* Map the board and enter this rank. Collective: world. A host without shared memory is a warning:
 * there each rank has a board of its own. Errors: TRI_ENOMEM, TRI_ECOMM. */
TRI_MUST_USE tri_status tri_board_open(tri_comm *world, tri_board *out);
void tri_board_close(tri_board *board);

/* The next rank of this host after this one, cyclic; -1: none. Not collective. */
int tri_board_next(const tri_board *board);

#endif

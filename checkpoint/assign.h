// SPDX-License-Identifier: Apache-2.0
/* Who writes what: the rows of all ranks as one sorted table, and the boxes that this rank writes, so
 * that every element of every row is written once.
 */
#ifndef TRI_CHECKPOINT_ASSIGN_H
#define TRI_CHECKPOINT_ASSIGN_H

#include "checkpoint/share.h"

/* A box of a row that this rank writes; its elements lie contiguously in the row's memory. */
typedef struct tri_assign_piece {
    int32_t row;      /* in rows */
    int32_t local;    /* in the state table */
    int64_t offset;   /* of its first element in what is held there */
    tri_box box;      /* in the global tensor */
    const char *data; /* the same place; NULL where the row had no memory yet */
} tri_assign_piece;

/* Shares of what several ranks hold are not smaller, unless one of them takes it all. */
enum { TRI_ASSIGN_PART_BYTES = 1 << 19 };

typedef struct tri_assign {
    tri_manifest_row *rows; /* by name, the same on all ranks; first_box and n_boxes unset */
    int64_t n_rows;
    tri_assign_piece *pieces; /* by row, then position */
    int64_t n_pieces;
    tri_share_hold *holds; /* of the rows of the state table: what is held, then what is written */
    int64_t n_holds;
} tri_assign;

/* Free; NULL is fine. Not collective. */
void tri_assign_destroy(tri_assign **assign);

/* Decide. Collective: world.
 *
 * What one rank holds alone it writes; what several hold is cut over them so that the largest share of all
 * ranks is as small as can be, and 1 MiB (tri_share_decide) and an innermost line of each row at most above
 * it. Rows need no memory yet.
 * Errors: TRI_EBUG rows of one name differ between ranks, parts overlap without being equal; TRI_ENOMEM.
 * Cost: 256 bytes for each row to all ranks, 40 for each row of each rank to rank 0 and back, which
 * decides: 64 bytes and some 0.3 us for each on rank 0 alone.
 */
TRI_MUST_USE tri_status tri_assign_create(const tri_state *state, tri_comm *world,
                                          tri_assign **out);

/* The steps of it, each of one rank by itself, for ranks on paper: rows of all ranks (as a manifest has
 * them, joined, sorted and merged), what each holds, tri_share_decide over the holds of all, pieces. Not
 * collective. */
tri_manifest_row tri_assign_row(const tri_row *row);
TRI_MUST_USE tri_status tri_assign_merge(tri_manifest_row *rows, int64_t *n_rows);
TRI_MUST_USE tri_status tri_assign_begin(const tri_state *state, const tri_manifest_row *rows,
                                         int64_t n_rows, tri_assign **out);
TRI_MUST_USE tri_status tri_assign_end(tri_assign *assign, const tri_state *state);

#endif

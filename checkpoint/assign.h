// SPDX-License-Identifier: Apache-2.0
/* Who writes what: the rows of all ranks as one sorted table, and the boxes that this rank writes, so
 * that every element of every row is written once.
 */
#ifndef TRI_CHECKPOINT_ASSIGN_H
#define TRI_CHECKPOINT_ASSIGN_H

#include "checkpoint/manifest.h"

/* A box of a row that this rank writes; its elements lie contiguously in the row's memory. */
typedef struct tri_assign_piece {
    int32_t row;      /* in rows */
    int32_t local;    /* in the state table */
    int64_t offset;   /* of its first element in what is held there */
    tri_box box;      /* in the global tensor */
    const char *data; /* the same place; NULL where the row had no memory yet */
} tri_assign_piece;

typedef struct tri_assign {
    tri_manifest_row *rows; /* by name, the same on all ranks; first_box and n_boxes unset */
    int64_t n_rows;
    tri_assign_piece *pieces; /* by row, then position */
    int64_t n_pieces;
} tri_assign;

/* Free; NULL is fine. Not collective. */
void tri_assign_destroy(tri_assign **assign);

/* Decide. Collective: world.
 *
 * A row whose held parts add up to the tensor is written by its holders. A row that is whole on all its
 * replicas is cut evenly over them (over fewer where a part would be below 1 MiB). Otherwise the lowest
 * of the ranks that hold the same part writes it.
 * Rows need no memory yet. Errors: TRI_EBUG rows of one name differ between ranks; TRI_ENOMEM.
 */
TRI_MUST_USE tri_status tri_assign_create(const tri_state *state, tri_comm *world,
                                          tri_assign **out);

#endif

// SPDX-License-Identifier: Apache-2.0
/* Change the placement of a tensor while the job runs: any placement to any other, on the same mesh or
 * between two meshes over the same ranks, in bounded memory.
 *
 * Boxes of both layouts are intersected by arithmetic on coordinates. For every piece the sender is the
 * receiver itself, else a rank of its host, else the holders take turns. Pieces are packed, sent in
 * rounds that fit the buffer, and unpacked; nothing is sent that is already there. (The planner of
 * ReaLHF, arXiv:2406.14088, over placements; docs/layouts.md.)
 */
#ifndef TRI_RUNTIME_REDISTRIBUTE_H
#define TRI_RUNTIME_REDISTRIBUTE_H

#include "runtime/state.h"

enum { TRI_REDISTRIBUTE_BUFFER_BYTES = 8 << 20 };

/* One end of a move: a placed tensor on a mesh; each rank holds flat range [begin, begin + count) of its
 * box (ZeRO cuts there). */
typedef struct tri_layout {
    const tri_mesh *mesh; /* may be one on paper: only its coordinates are used */
    tri_place place;
    int64_t begin, count; /* of this rank; count -1: the whole box */
    void *data;           /* count elements; PARTIAL axes: this rank's addend */
} tri_layout;

typedef struct tri_redistribute_args {
    tri_comm *world; /* of both meshes */
    int n_dims;
    int64_t shape[TRI_MAX_DIMS];
    tri_dtype dtype;
    tri_layout from, to;  /* may not overlap in memory */
    int64_t buffer_bytes; /* most memory for packing, per rank; 0: 8 MiB */
} tri_redistribute_args;

/* Move. Collective: world, same arguments but for begin, count, data.
 *
 * PARTIAL in `from` is summed in the order of coordinates (fp32 for fp32 and bf16, which is rounded
 * once; fp64, int64); PARTIAL in `to` puts the value on coordinate 0 and zeros elsewhere.
 * Cost: every element that a rank lacks is received once (every addend that it lacks, from PARTIAL);
 * besides, 48 bytes a rank are gathered and an integer is reduced.
 * Errors, on all ranks: TRI_EINVAL what no rank holds, wrong arguments; TRI_EBUG arguments differ
 * between ranks; TRI_ENOMEM, TRI_ECOMM.
 */
TRI_MUST_USE tri_status tri_redistribute(const tri_redistribute_args *args);

/* Move all rows of one table to the rows of the same names of another, row by row in the order of
 * `from`. Collective: world, same rows on all ranks. Errors: as above; TRI_EINVAL a row that only one
 * table has, or of another shape or type. */
TRI_MUST_USE tri_status tri_redistribute_state(tri_comm *world, const tri_state *from,
                                               tri_state *to, int64_t buffer_bytes);

#endif

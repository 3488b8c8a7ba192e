// SPDX-License-Identifier: Apache-2.0
/* Placement: how a tensor lies on the mesh, axis by axis, and the boxes of the global tensor that a
 * rank holds. The split/broadcast/partial algebra of OneFlow (arXiv:2110.15032), plus at(c).
 */
#ifndef TRI_RUNTIME_PLACE_H
#define TRI_RUNTIME_PLACE_H

#include "runtime/mesh.h"

enum { TRI_MAX_DIMS = 4, TRI_MAX_BOXES = 2 * TRI_MAX_DIMS - 1 };

typedef enum tri_place_kind {
    TRI_REPLICATED, /* every rank of the axis has it */
    TRI_SPLIT, /* blocks of ceil(n/N) along dimension `arg`, the last ones short or empty; N is the
                     * axis' size, or `parts`: then neighbouring ranks have the same block */
    TRI_PARTIAL, /* the value is the sum over the axis */
    TRI_AT       /* exists only at coordinate `arg` of the axis */
} tri_place_kind;

/* One kind per mesh axis; zeroed = replicated everywhere. A value.
 * An axis of size N split in `parts` blocks is two nested axes: an outer one of `parts` ranks that is
 * split, an inner one of N/parts that is replicated (key/value heads on a wider tensor axis). */
typedef struct tri_place {
    struct {
        tri_place_kind kind;
        int arg;
        int parts; /* of a split: divides the axis' size; 0: as many as the size */
    } axis[TRI_AXES];
} tri_place;

/* A block of a tensor: start and count per dimension. A value. */
typedef struct tri_box {
    int n_dims;
    int64_t start[TRI_MAX_DIMS];
    int64_t count[TRI_MAX_DIMS];
} tri_box;

/* A box that lies contiguously, row-major, in memory from element `offset` of a piece on. */
typedef struct tri_piece_box {
    tri_box box;
    int64_t offset;
} tri_piece_box;

/* Elements of a box. Not collective. */
int64_t tri_box_elements(const tri_box *box);

/* Common part of two boxes; false if there is none. Not collective. */
bool tri_box_intersect(const tri_box *a, const tri_box *b, tri_box *out);

/* Narrow a box to block `coord` of `parts` of its dimension d, as a split does. Not collective. */
void tri_box_split(tri_box *box, int d, int64_t coord, int64_t parts);

/* The box of `shape` that `rank` holds under `place` (before any flat range). Not collective.
 *
 * count is 0 in a dimension where it holds nothing, and everywhere off an at(c).
 * Errors: TRI_EINVAL two axes split one dimension unevenly, a dimension out of range.
 */
TRI_MUST_USE tri_status tri_place_box(const tri_place *place, const tri_mesh *mesh, int rank,
                                      int n_dims, const int64_t *shape, tri_box *out);

/* Cut elements [begin, begin + count) of a box, flattened row-major, into boxes. Not collective.
 *
 * Writes: out, *n_out <= 2*n_dims - 1, disjoint, in flat order, each contiguous in the flat range;
 * offset counts from `begin`. (ByteCheckpoint, NSDI'25: irregular fragments to regular boxes.)
 */
void tri_box_cut(const tri_box *box, int64_t begin, int64_t count, tri_piece_box out[TRI_MAX_BOXES],
                 int *n_out);

/* Is this rank the one of all holders of equal boxes that writes them (coordinate 0 on every
 * replicated axis or inner part of one)? Not collective. */
bool tri_place_is_writer(const tri_place *place, const tri_mesh *mesh);

/* The same, with regard to one axis alone. Not collective. */
bool tri_place_is_first(const tri_place *place, const tri_mesh *mesh, tri_axis axis);

#endif

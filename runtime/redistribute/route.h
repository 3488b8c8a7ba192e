// SPDX-License-Identifier: Apache-2.0
/* Who sends what to whom in a change of placement; private to runtime/redistribute*.
 *
 * Ranks with one box of the old layout are a source; those of them whose flat ranges cover an element
 * hold it, those ranks of the new layout whose boxes meet the source's take it. Both ends of a message
 * compute the same pieces in the same order from the ranges that all ranks told each other.
 */
#ifndef TRI_RUNTIME_REDISTRIBUTE_ROUTE_H
#define TRI_RUNTIME_REDISTRIBUTE_ROUTE_H

#include "runtime/redistribute.h"

/* What a rank tells the others of its side of a move. */
typedef struct tri_route_range {
    int64_t status; /* not TRI_OK: this rank's arguments are wrong, the rest says nothing */
    int64_t digest; /* of the arguments that must be the same everywhere */
    int64_t from_begin, from_count;
    int64_t to_begin, to_count;
} tri_route_range;

/* A box of the tensor that goes to, or comes from, `peer`: this rank, too. */
typedef struct tri_route_piece {
    int peer;
    int part;      /* addend of a partial sum, in the order of coordinates */
    int64_t meet;  /* when the two ranks exchange messages; -1: never, a copy */
    int64_t order; /* of the pieces of one message */
    tri_box box;
} tri_route_piece;

/* A list of them, sorted by (meet, order). */
typedef struct tri_route_pieces {
    tri_route_piece *piece;
    int64_t n, max;
} tri_route_pieces;

typedef struct tri_route tri_route;

/* Find this rank's sources and takers. Not collective. Keeps: args, ranges [ranks]. `turn` is where the
 * holders' turns begin, so that many small tensors do not all come from one rank. Errors: TRI_EINVAL no
 * rank holds an element that this one is to have; TRI_ENOMEM. */
TRI_MUST_USE tri_status tri_route_create(const tri_redistribute_args *args,
                                         const tri_route_range *ranges, int64_t turn,
                                         tri_route **out);
void tri_route_destroy(tri_route **route);

/* Addends of every element, 1 unless `from` is partial. Not collective. */
int tri_route_parts(const tri_route *route);

/* This rank's pieces of elements [slab * most, (slab + 1) * most) of every receiver's flat range. Not
 * collective. Writes: *out (to others), *in (from others and itself), which grow. Errors: TRI_ENOMEM. */
TRI_MUST_USE tri_status tri_route_slab(const tri_route *route, int64_t slab, int64_t most,
                                       tri_route_pieces *out, tri_route_pieces *in);

/* Elements of one rank's box in `layout` on args->world's rank `rank`. Not collective. */
TRI_MUST_USE tri_status tri_route_box(const tri_redistribute_args *args, const tri_layout *layout,
                                      int rank, tri_box *out);

#endif

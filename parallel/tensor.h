// SPDX-License-Identifier: Apache-2.0
/* The tensor axis as layers see it (Megatron-LM, arXiv:1909.08053; sequence-parallel norms: Korthikanti
 * et al., arXiv:2205.05198).
 *
 * A layer works between two regions. In the *outer* region (norms, residual stream, dropout, stage
 * boundaries) a rank holds all rows, or with `sequence` rows [first, first + rows/size) of them: rows
 * of the whole micro-batch, so that each rank's part lies contiguously. In the *inner* region (heads,
 * MLP width, vocabulary) it holds all rows and 1/size of the columns. gather goes from outer to
 * inner, reduce from inner partial sums to outer; each is the other's backward. Products together with
 * their gather or reduce, cut in pieces that overlap, are in parallel/layer/split.h.
 */
#ifndef TRI_PARALLEL_TENSOR_H
#define TRI_PARALLEL_TENSOR_H

#include "parallel/traffic.h"
#include "runtime/arena.h"
#include "runtime/mesh.h"

enum { TRI_TENSOR_MAX_CHUNKS = 64 };

typedef struct tri_tensor_axis {
    tri_comm *comm; /* NULL: on paper, or size 1 */
    int size, index;
    bool sequence; /* the outer region is shared out over the axis */
    int chunks; /* pieces of rows into which products and their collectives are cut to overlap; 1: none */
    int64_t rows;   /* of the largest call (inner) */
    int64_t width;  /* of the outer region (C) */
    void *gathered; /* [rows, width]: what gather made, where size > 1 and `sequence` */
    void *partial;  /* [rows, width]: partial sums on their way, likewise */
} tri_tensor_axis;

/* Describe the mesh's tensor axis (declared on the mesh where its size is above 1) for calls of at most
 * `rows` rows. Not collective. Keeps: the mesh's communicator. Errors: TRI_EINVAL where `sequence` and
 * size does not divide rows, or chunks is not 1 to TRI_TENSOR_MAX_CHUNKS. */
TRI_MUST_USE tri_status tri_tensor_axis_make(const tri_mesh *mesh, bool sequence, int chunks,
                                             int64_t rows, int64_t width, tri_tensor_axis *out);

/* Declare `gathered` and `partial`. Not collective. Keeps: axis. */
TRI_MUST_USE tri_status tri_tensor_axis_declare(tri_tensor_axis *axis, tri_arena *arena,
                                                tri_dtype dtype);

/* This rank's block of n things shared out over the axis: ceil(n/size) each, the last ones short or empty
 * (as TRI_SPLIT places them). Not collective. */
void tri_tensor_block(const tri_tensor_axis *axis, int64_t n, int64_t *first, int64_t *count);

/* Is the outer region shared out among more than one rank? Not collective. */
bool tri_tensor_is_shared(const tri_tensor_axis *axis);

/* Rows of the outer region for a call of `rows` inner rows, and the first of them. Not collective. */
int64_t tri_tensor_outer_rows(const tri_tensor_axis *axis, int64_t rows);
int64_t tri_tensor_outer_first(const tri_tensor_axis *axis, int64_t rows);

/* May a call of `rows` rows be shared out? Not collective. Errors: TRI_EINVAL where size does not divide
 * them or the buffers do not hold them. */
TRI_MUST_USE tri_status tri_tensor_check_rows(const tri_tensor_axis *axis, int64_t rows);

/* *full = all rows of `outer`: outer itself where it holds them, else `into` (axis->gathered where
 * NULL) after an all-gather. Collective over the axis: same rows, dtype. With an event (else NULL)
 * the call returns at once, and *full is there when that has passed. Errors: TRI_EINVAL where the outer
 * region is shared and size does not divide rows. */
TRI_MUST_USE tri_status tri_tensor_gather(const tri_tensor_axis *axis, tri_dtype dtype,
                                          int64_t rows, const void *outer, void *into,
                                          const void **full, tri_event *event);

/* Where partial sums [rows, width] that will be reduced to `outer` are to be written: outer itself
 * where it holds all rows, else axis->partial. Not collective. */
void *tri_tensor_partial(const tri_tensor_axis *axis, void *outer);

/* outer = sum over the axis of what stands in tri_tensor_partial(axis, outer). Collective over the
 * axis. Cost: an all-reduce, or with `sequence` a reduce-scatter, of rows * width elements. */
TRI_MUST_USE tri_status tri_tensor_reduce(const tri_tensor_axis *axis, tri_dtype dtype,
                                          int64_t rows, void *outer);

/* Pieces into which a product of `rows` rows and its collective are cut (axis->chunks, fewer where
 * there are fewer rows), and the outer rows before piece `piece` of them; piece i is that of every
 * rank's outer rows from first(i) to first(i + 1). Not collective. */
int tri_tensor_pieces(const tri_tensor_axis *axis, int64_t rows);
int64_t tri_tensor_piece_first(const tri_tensor_axis *axis, int64_t rows, int piece);

/* Passes of one layer over one micro-batch, for predictions. */
typedef struct tri_tensor_passes {
    int64_t forward, backward;
} tri_tensor_passes;

/* Messages of rows between the regions, of one kind of layer. */
typedef struct tri_tensor_moves {
    const char *what; /* "attention" ... */
    int64_t rows;
    tri_dtype dtype;
    int64_t gathers, reduces;         /* whole, in one message */
    int64_t cut_gathers, cut_reduces; /* cut in pieces */
} tri_tensor_moves;

/* Add messages of group "tensor". Not collective. */
void tri_tensor_traffic(const tri_tensor_axis *axis, const tri_tensor_moves *moves,
                        tri_traffic_list *list);

#endif

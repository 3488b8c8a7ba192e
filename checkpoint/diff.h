// SPDX-License-Identifier: Apache-2.0
/* Two checkpoints compared row by row, however each of them is cut into boxes and files. */
#ifndef TRI_CHECKPOINT_DIFF_H
#define TRI_CHECKPOINT_DIFF_H

#include "checkpoint/manifest.h"

/* What was found for one name. Rows are compared if both have it with the same shape, and the same type or
 * two floating types, whose values are compared in fp64. */
typedef enum tri_diff_kind {
    TRI_DIFF_EQUAL,   /* bit for bit (two floating types: value for value) */
    TRI_DIFF_WITHIN,  /* not equal, but within the tolerance */
    TRI_DIFF_DIFFERS, /* beyond it */
    TRI_DIFF_ONLY_A,
    TRI_DIFF_ONLY_B,
    TRI_DIFF_UNLIKE, /* another shape, or types that cannot be compared */
    TRI_DIFF_KINDS
} tri_diff_kind;

/* One name. Differences are |a - b|; relative ones are divided by the larger of |a| and |b|; between a
 * finite value and one that is not, or two that are not and are unlike, they are infinite. */
typedef struct tri_diff_row {
    tri_diff_kind kind;
    int64_t a, b; /* rows of the manifests; -1: none */
    int64_t elements;
    int64_t n_differing; /* elements that are not equal */
    int64_t n_beyond;    /* the tolerance, among them */
    int64_t first;       /* of those that differ, flattened row-major; -1: none */
    double max_abs, max_rel, rms;
} tri_diff_row;

typedef struct tri_diff {
    tri_manifest *a, *b;
    tri_diff_row *rows; /* by name */
    int64_t n_rows;
    int64_t count[TRI_DIFF_KINDS]; /* rows of each kind */
    int64_t n_bytes;               /* compared, of A */
} tri_diff;

/* Free; NULL is fine. Not collective. */
void tri_diff_destroy(tri_diff **diff);

/* Compare the checkpoints at `path_a` and `path_b`; the ranks share the elements out.
 *
 * Collective: world. Elements are within the tolerance X if |a - b| <= X max(1, |a|, |b|).
 * Writes: *out, complete on all ranks but for the job specs, which rank 0 alone has.
 * Errors: TRI_EFORMAT damaged: names file and row; TRI_EIO.
 * Cost: both read once over the ranks, verified; memory: manifests and up to 72 MiB.
 */
TRI_MUST_USE tri_status tri_diff_create(const char *path_a, const char *path_b, double tolerance,
                                        tri_comm *world, tri_diff **out);

/* Is nothing but within the tolerance different? Not collective. */
bool tri_diff_is_equal(const tri_diff *diff);

#endif

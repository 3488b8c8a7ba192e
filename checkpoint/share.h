// SPDX-License-Identifier: Apache-2.0
/* Who writes what several ranks hold: shares of all ranks as even as their holdings allow. A pure
 * decision over what all ranks hold; who tells whom is assign.c.
 */
#ifndef TRI_CHECKPOINT_SHARE_H
#define TRI_CHECKPOINT_SHARE_H

#include "checkpoint/manifest.h"

/* Elements [begin, begin + count) of a rank's box of a row, flattened; the box begins at element `first`
 * of the tensor. Equal parts are those of equal row, first, begin and count.
 * weight: 0 where nobody else holds the part; else copies - 1 for the first of its holders, -1 for the
 * others (replicas.h). */
typedef struct tri_share_hold {
    int64_t first, begin, count;
    int32_t row, rank;
    int32_t weight, pad;
} tri_share_hold;

/* Cut each part that is held into runs, one for each of some of its holders. Not collective.
 *
 * In: the holds of all ranks, in any order; `part_bytes`: shares of a group of holders are not smaller,
 * unless one of them takes it all. Writes: in place, begin and count of what each holder writes (count 0:
 * nothing), and weight. Every element that is held is written once.
 * Balance: the largest sum of a rank exceeds the least possible largest sum by less than 2 part_bytes and
 * an element for each row; without part_bytes the sums are those of least squares.
 * Errors: TRI_EBUG two ranks hold overlapping parts that are not equal (names row and ranks); TRI_ENOMEM.
 * Cost: n log n for n holds; 32 bytes for each of them (beside the holds).
 */
TRI_MUST_USE tri_status tri_share_decide(const tri_manifest_row *rows, int n_ranks,
                                         int64_t part_bytes, tri_share_hold *holds,
                                         int64_t n_holds);

#endif

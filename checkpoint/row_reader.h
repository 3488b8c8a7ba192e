// SPDX-License-Identifier: Apache-2.0
/* Rows of a checkpoint as flat ranges, whatever boxes they were saved in: what streams through a
 * checkpoint without a job (comparing, statistics, other file formats).
 */
#ifndef TRI_CHECKPOINT_ROW_READER_H
#define TRI_CHECKPOINT_ROW_READER_H

#include "checkpoint/manifest.h"

/* Boxes that may lie side by side in a row for each block to be read once only. */
enum { TRI_ROW_READER_SLOTS = 8 };

typedef struct tri_row_reader tri_row_reader;

/* For the checkpoint at `path` with this manifest. Not collective. Keeps: manifest, path. */
TRI_MUST_USE tri_status tri_row_reader_create(const tri_manifest *manifest, const char *path,
                                              tri_row_reader **out);
void tri_row_reader_destroy(tri_row_reader **reader); /* not collective; NULL is fine */

/* Elements of row `row` of the manifest. Not collective. */
int64_t tri_row_reader_elements(const tri_row_reader *reader, int64_t row);

/* Copy elements [begin, begin + n) of row `row`, flattened row-major, in the row's type to `out`. Not
 * collective. Every block that is read is verified; blocks are kept for the next call, so ranges
 * asked for in order read each block once (with up to TRI_ROW_READER_SLOTS boxes side by side).
 *
 * Errors: TRI_EFORMAT damaged: names file, row and bytes; TRI_EIO; TRI_EINVAL the range.
 * Cost: memory of a block (4 MiB) for each slot in use.
 */
TRI_MUST_USE tri_status tri_row_reader_read(tri_row_reader *reader, int64_t row, int64_t begin,
                                            int64_t n, void *out);

#endif

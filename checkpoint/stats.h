// SPDX-License-Identifier: Apache-2.0
/* What the values of a row are like, read as a stream. */
#ifndef TRI_CHECKPOINT_STATS_H
#define TRI_CHECKPOINT_STATS_H

#include "checkpoint/row_reader.h"

/* Of finite values alone; all 0 where there are none. */
typedef struct tri_stats {
    int64_t n_not_finite;
    double min, max, mean, rms;
} tri_stats;

/* Read row `row` of a checkpoint. Not collective. Shapes: buffer of TRI_MANIFEST_BLOCK_BYTES. Errors: those of
 * tri_row_reader_read. Cost: the row read once. */
TRI_MUST_USE tri_status tri_stats_read(tri_row_reader *reader, int64_t row, tri_dtype dtype,
                                       char *buffer, tri_stats *out);

#endif

// SPDX-License-Identifier: Apache-2.0
/* The table of rows that `trireme checkpoint show` prints. */
#ifndef TRI_LAUNCH_CHECKPOINT_ROWS_H
#define TRI_LAUNCH_CHECKPOINT_ROWS_H

#include "checkpoint/stats.h"

#include <stdio.h>

/* Rows as a table: those that differ only in the number of their layer as one line, or `all`, each on its
 * own. Not collective. `stats`, one for each row, is printed where it is not NULL (with `all`).
 * Errors: TRI_ENOMEM. */
TRI_MUST_USE tri_status tri_checkpoint_rows(const tri_manifest *manifest, bool all,
                                            const tri_stats *stats, FILE *stream);

#endif

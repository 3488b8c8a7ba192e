// SPDX-License-Identifier: Apache-2.0
/* Who wrote which part of a tensor, as a picture of letters. */
#ifndef TRI_LAUNCH_CHECKPOINT_MAP_H
#define TRI_LAUNCH_CHECKPOINT_MAP_H

#include "checkpoint/manifest.h"

#include <stdio.h>

enum { TRI_MAP_LINES = 24, TRI_MAP_COLUMNS = 64 };

/* Draw row `row` of a manifest: its last dimension across, the others folded downwards, scaled to at most
 * TRI_MAP_LINES x TRI_MAP_COLUMNS cells. A letter is a file, `+` a cell whose corners are of several; below,
 * each letter's file, rank and boxes. Not collective. Errors: TRI_ENOMEM. */
TRI_MUST_USE tri_status tri_checkpoint_map(const tri_manifest *manifest, int64_t row, FILE *stream);

#endif

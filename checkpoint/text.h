// SPDX-License-Identifier: Apache-2.0
/* Boxes and shapes as reports write them. */
#ifndef TRI_CHECKPOINT_TEXT_H
#define TRI_CHECKPOINT_TEXT_H

#include "runtime/place.h"

enum { TRI_TEXT_BYTES = 176 };

/* out = "[0:512, 64:128]". Not collective. */
void tri_text_box(const tri_box *box, char out[TRI_TEXT_BYTES]);

/* out = "fp32 [512, 64]". Not collective. */
void tri_text_type(int dtype, int n_dims, const int64_t *shape, char out[TRI_TEXT_BYTES]);

#endif

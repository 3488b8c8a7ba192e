// SPDX-License-Identifier: Apache-2.0
/* Token and position embedding. */
#ifndef TRI_KERNELS_EMBED_H
#define TRI_KERNELS_EMBED_H

#include "kernels/kernels.h"

typedef struct tri_embed_args {
    int64_t tokens, width, vocab;
    int64_t first;  /* the table holds ids first .. first + vocab - 1: a part of the vocabulary */
    int64_t period; /* position of token j: first_position + j % period */
    int64_t first_position;
    const int32_t *place; /* [tokens] position of each token; NULL: by period */
    tri_dtype dtype;
    const int32_t *id;    /* [tokens]: the loader has checked that the vocabulary has them */
    const void *table;    /* [vocab, width] */
    const void *position; /* [positions, width]; NULL: none */
    float scale;          /* of the sum; 0: 1 */
    void *y;              /* [tokens, width] = */
    const void *dy;       /* backward */
    float *dtable;    /* += , rows in token order: the same sums on any thread count; NULL: none */
    float *dposition; /* += ; NULL: none */
} tri_embed_args;

/* y = scale * (table[id - first] + position); the row of an id that this table does not hold is 0. Not
 * collective. */
TRI_MUST_USE tri_status tri_embed_forward(tri_kernels *kernels, const tri_embed_args *args);

/* dtable, dposition += scale * dy; ids that this table does not hold are left out of dtable. Not
 * collective. */
TRI_MUST_USE tri_status tri_embed_backward(tri_kernels *kernels, const tri_embed_args *args);

#endif

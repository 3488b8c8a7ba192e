// SPDX-License-Identifier: Apache-2.0
/* Token and position embedding. */
#ifndef TRI_KERNELS_EMBED_H
#define TRI_KERNELS_EMBED_H

#include "kernels/kernels.h"

typedef struct tri_embed_args {
    int64_t tokens, width, vocab;
    int64_t period; /* position of token j: first_position + j % period */
    int64_t first_position;
    tri_dtype dtype;
    const int32_t *id;    /* [tokens], each in [0, vocab): the loader has checked */
    const void *table;    /* [vocab, width] */
    const void *position; /* [positions, width]; NULL: none */
    void *y;              /* [tokens, width] = */
    const void *dy;       /* backward */
    float *dtable;        /* += , rows in token order: the same sums on any thread count */
    float *dposition;     /* += ; NULL: none */
} tri_embed_args;

/* y = table[id] + position. Not collective. */
TRI_MUST_USE tri_status tri_embed_forward(tri_kernels *kernels, const tri_embed_args *args);

/* dtable, dposition += dy. Not collective. */
TRI_MUST_USE tri_status tri_embed_backward(tri_kernels *kernels, const tri_embed_args *args);

#endif

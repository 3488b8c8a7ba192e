// SPDX-License-Identifier: Apache-2.0
/* The head and its loss: logits = hidden W^T, softmax cross-entropy, and the gradients of both. The
 * logits of all tokens are never held: chunks of tokens go through the whole layer, forward and
 * backward, before the next; within a chunk of tokens, chunks of the vocabulary are multiplied and
 * read again while they are in cache.
 */
#ifndef TRI_PARALLEL_LAYER_LOSS_H
#define TRI_PARALLEL_LAYER_LOSS_H

#include "parallel/layer/layer.h"
#include "runtime/arena.h"

typedef struct tri_loss_layer {
    int64_t width, vocab; /* vocab: columns of this rank; may be 0 */
    int64_t first;        /* id of the first column of this rank */
    tri_param *head;      /* [vocab, width] */
    /* set by tri_loss_layer_declare */
    int64_t chunk_rows, chunk_columns, stride;
    void *logits;                  /* [chunk_rows, stride] */
    float *maximum, *sum, *picked; /* [chunk_rows] */
} tri_loss_layer;

/* What a pass with gradients writes; NULL for a forward pass alone. */
typedef struct tri_loss_backward {
    float scale;   /* of the gradients */
    void *dhidden; /* [rows, width] = */
} tri_loss_backward;

/* Choose the chunks for at most `rows` tokens and declare their buffers. Not collective. Keeps:
 * addresses in `loss`. */
TRI_MUST_USE tri_status tri_loss_layer_declare(tri_loss_layer *loss, tri_arena *arena,
                                               tri_dtype dtype, int64_t rows);

/* *sum += losses of the tokens with target >= 0, *counted += their number; with `backward` also dhidden
 * and the head's gradient (+=). Not collective. hidden [rows, width], target [rows]. */
TRI_MUST_USE tri_status tri_loss_layer_run(const tri_layer_call *call, const tri_loss_layer *loss,
                                           const void *hidden, const int32_t *target,
                                           const tri_loss_backward *backward, double *sum,
                                           int64_t *counted);

/* logits [rows, vocab] fp32 = hidden W^T, for generation. Not collective. */
TRI_MUST_USE tri_status tri_loss_layer_logits(const tri_layer_call *call,
                                              const tri_loss_layer *loss, int64_t rows,
                                              const void *hidden, float *logits);

/* Create all primitives. Not collective. */
TRI_MUST_USE tri_status tri_loss_layer_prepare(const tri_layer_call *call,
                                               const tri_loss_layer *loss, bool training);

#endif

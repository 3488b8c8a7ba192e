// SPDX-License-Identifier: Apache-2.0
/* The head and its loss: logits = multiplier * hidden W^T, softmax cross-entropy, and the gradients of
 * both. The logits of all tokens are never held: chunks of tokens go through the whole layer, forward and
 * backward, before the next; within a chunk of tokens, chunks of the vocabulary are multiplied and
 * read again while they are in cache.
 *
 * Over a tensor axis each rank has a block of the vocabulary. Of a chunk of tokens two small messages
 * travel, never logits: the maximum of each token, then its sum of exponentials and the logit of its
 * target (Megatron-LM, arXiv:1909.08053 sec. 3).
 */
#ifndef TRI_PARALLEL_LAYER_LOSS_H
#define TRI_PARALLEL_LAYER_LOSS_H

#include "parallel/layer/layer.h"
#include "runtime/arena.h"

typedef struct tri_loss_layer {
    int64_t width, vocab; /* vocab: columns of this rank; may be 0 */
    int64_t first;        /* id of the first column of this rank */
    int64_t block;        /* most columns of any rank; 0: vocab (no tensor axis) */
    tri_param *head;      /* [vocab, width] */
    float multiplier;     /* > 0, of the logits; 0: 1 */
    /* set by tri_loss_layer_declare */
    int64_t chunk_rows, chunk_columns, stride;
    void *logits;   /* [chunk_rows, stride] */
    float *maximum; /* [2, chunk_rows]: of this rank's columns, in the end of all; message */
    float *sum;     /* [2, rows of a chunk]: sums, then logits of the targets, one message */
} tri_loss_layer;

/* What a pass with gradients writes; NULL for a forward pass alone. */
typedef struct tri_loss_backward {
    float scale;   /* of the gradients */
    void *dhidden; /* [outer rows, width] = */
} tri_loss_backward;

/* Choose the chunks for at most `rows` tokens, the same on all ranks of the tensor axis, and declare their
 * buffers. Not collective. Keeps: addresses in `loss`. */
TRI_MUST_USE tri_status tri_loss_layer_declare(tri_loss_layer *loss, tri_arena *arena,
                                               tri_dtype dtype, int64_t rows);

/* *sum += losses of the tokens with target >= 0, *counted += their number; with `backward` also dhidden
 * and the head's gradient (+=). Collective over the tensor axis, all of whose ranks get the same sums.
 * hidden [outer rows, width], target [rows]: ids of the whole vocabulary. */
TRI_MUST_USE tri_status tri_loss_layer_run(const tri_layer_call *call, const tri_loss_layer *loss,
                                           const void *hidden, const int32_t *target,
                                           const tri_loss_backward *backward, double *sum,
                                           int64_t *counted);

/* logits [rows, vocab] fp32 = multiplier * hidden W^T, for generation: this rank's columns, whole rows of
 * hidden. Not collective. */
TRI_MUST_USE tri_status tri_loss_layer_logits(const tri_layer_call *call,
                                              const tri_loss_layer *loss, int64_t rows,
                                              const void *hidden, float *logits);

/* Add the messages over the tensor axis of passes.forward runs, of which passes.backward have gradients.
 * Not collective. */
void tri_loss_layer_traffic(const tri_layer_call *call, const tri_loss_layer *loss,
                            tri_tensor_passes passes, tri_traffic_list *list);

#endif

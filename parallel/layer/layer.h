// SPDX-License-Identifier: Apache-2.0
/* What all layers share: how a layer sees a parameter, and the call it works in.
 *
 * A layer has a forward, a backward-input and a backward-weight function (a schedule may run the last
 * two at different times), works on buffers that its caller owns and never allocates. Activations
 * and their gradients are of `dtype`, [rows, width] dense, rows = sequences * length; gradients of
 * parameters are fp32 and accumulate (+=), gradients of activations are overwritten (=).
 */
#ifndef TRI_PARALLEL_LAYER_LAYER_H
#define TRI_PARALLEL_LAYER_LAYER_H

#include "kernels/kernels.h"
#include "parallel/tensor.h"
#include "runtime/base/rng.h"

typedef struct tri_context tri_context; /* parallel/context.h */

/* A parameter as layers see it. */
typedef struct tri_param {
    int index;          /* in the model's order of export */
    int64_t count;      /* of this rank's part */
    const void *weight; /* compute copy */
    float *gradient;    /* NULL where not training */
    int tensor_sum; /* neighbouring tensor ranks over which the gradient must be summed; 0, 1: none */
} tri_param;

/* One pass over one batch: what every layer function is given. A value. */
typedef struct tri_layer_call {
    tri_kernels *kernels;
    tri_dtype dtype;
    int64_t sequences, length; /* tokens of each sequence that are on this rank */
    int64_t first_position; /* of token 0 of each sequence: tokens cached before (decode), else 0 */
    const tri_tensor_axis *tensor; /* NULL: this rank alone holds all */
    tri_context *context; /* attention over a context axis; NULL: sequences are whole here */
    const int32_t
        *position; /* [rows] of each token in its document; NULL: first_position + row % length */
    const int32_t *visible; /* [sequences, whole length] first token that each token sees (packed
                             * documents); NULL: all up to itself */
    int64_t visible_stride; /* between sequences */
    const int32_t *index;   /* [length] place of each token in its whole sequence; NULL: itself */
    float dropout;          /* rate; 0: none */
    uint64_t seed;          /* of dropout */
    const int64_t *sample;  /* [sequences], keys dropout */
    float *reduction;       /* workspace of norm and bias gradients */
    void *attention;        /* workspace of attention */
} tri_layer_call;

/* Rows of the call's activations, and those of the outer region. Not collective. */
static inline int64_t tri_layer_rows(const tri_layer_call *call)
{
    return call->sequences * call->length;
}
int64_t tri_layer_outer_rows(const tri_layer_call *call);

/* The call's tensor axis; where it has none, one of size 1. Not collective. */
const tri_tensor_axis *tri_layer_tensor(const tri_layer_call *call);

/* Address of element `n` of an array of `dtype`; of no array (NULL) on paper. Not collective. */
static inline void *tri_layer_at(const void *base, int64_t n, tri_dtype dtype)
{
    return (void *)((uintptr_t)base + (uintptr_t)n * tri_dtype_bytes(dtype));
}

/* y = dropout of x [outer rows, width] at place `site` of the model, keyed by each sample's number; the same
 * call on the gradient is the backward pass. y may be x. Nothing but a check of the rate when the
 * rate is 0 and y is x. Not collective. */
TRI_MUST_USE tri_status tri_layer_dropout(const tri_layer_call *call, int64_t site, int64_t width,
                                          const void *x, void *y);

#endif

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
#include "runtime/base/rng.h"

/* A parameter as layers see it. */
typedef struct tri_param {
    int index; /* in the model's order of export */
    int64_t count;
    const void *weight; /* compute copy */
    float *gradient;    /* NULL where not training */
} tri_param;

/* One pass over one batch: what every layer function is given. A value. */
typedef struct tri_layer_call {
    tri_kernels *kernels;
    tri_dtype dtype;
    int64_t sequences, length;
    int64_t first_position; /* of token 0 of each sequence: tokens cached before (decode), else 0 */
    float dropout;          /* rate; 0: none */
    uint64_t seed;          /* of dropout */
    const int64_t *sample;  /* [sequences], keys dropout */
    float *reduction;       /* workspace of norm and bias gradients */
    void *attention;        /* workspace of attention */
} tri_layer_call;

/* Rows of the call's activations. Not collective. */
static inline int64_t tri_layer_rows(const tri_layer_call *call)
{
    return call->sequences * call->length;
}

/* Address of element `n` of an array of `dtype`; of no array (NULL) on paper. Not collective. */
static inline void *tri_layer_at(const void *base, int64_t n, tri_dtype dtype)
{
    return (void *)((uintptr_t)base + (uintptr_t)n * tri_dtype_bytes(dtype));
}

/* y = dropout of x [rows, width] at place `site` of the model, keyed by each sample's number; the same
 * call on the gradient is the backward pass. y may be x. Nothing but a check of the rate when the
 * rate is 0 and y is x. Not collective. */
TRI_MUST_USE tri_status tri_layer_dropout(const tri_layer_call *call, int64_t site, int64_t width,
                                          const void *x, void *y);

#endif

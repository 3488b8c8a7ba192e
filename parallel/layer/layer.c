// SPDX-License-Identifier: Apache-2.0
/* Dropout as the layers call it: every place in the model has its own streams of random numbers, one
 * per sample, so that a mask is the same whichever rank and micro-batch a sample falls into.
 */
#include "parallel/layer/layer.h"

#include "kernels/pointwise.h"

#include <assert.h>

/* Streams have 56 bits: 16 for the place, 40 for the sample. */
enum { SITE_SHIFT = 40 };

static const tri_tensor_axis alone = {.size = 1, .chunks = 1};

const tri_tensor_axis *tri_layer_tensor(const tri_layer_call *call)
{
    return call->tensor ? call->tensor : &alone;
}

int64_t tri_layer_outer_rows(const tri_layer_call *call)
{
    return tri_tensor_outer_rows(tri_layer_tensor(call), tri_layer_rows(call));
}

tri_status tri_layer_dropout(const tri_layer_call *call, int64_t site, int64_t width, const void *x,
                             void *y)
{
    if (call->dropout <= 0 && x == y) return TRI_OK;
    assert(call->dropout > 0 && site >= 0 && site < (1 << 16));
    tri_dropout_args args = {
        .dtype = call->dtype,
        .rows = tri_layer_outer_rows(call),
        .width = width,
        .rows_per_sample = call->length,
        .first_row = tri_tensor_outer_first(tri_layer_tensor(call), tri_layer_rows(call)),
        .sample = call->sample,
        .index = call->index,
        .rate = call->dropout,
        .rng = {call->seed, (uint64_t)site << SITE_SHIFT, TRI_RNG_DROPOUT},
        .x = x,
        .y = y,
    };
    return tri_dropout(call->kernels, &args);
}

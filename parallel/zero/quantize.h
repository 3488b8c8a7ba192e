// SPDX-License-Identifier: Apache-2.0
/* Quantised messages: see quantize.c. */
#ifndef TRI_PARALLEL_ZERO_QUANTIZE_H
#define TRI_PARALLEL_ZERO_QUANTIZE_H

#include "parallel/zero/zero_impl.h"

/* Bytes of `parts` messages that carry `count` elements together. Not collective. */
int64_t tri_zero_packed_bytes(const tri_zero *zero, zero_level level, int64_t count, int parts);

/* The kept quantised weights of this rank's piece at `level`. Not collective. */
tri_span tri_zero_packed_span(const tri_zero *zero, const zero_bucket *bucket, zero_level level);

/* Quantise what this rank updates of a bucket; make whole weights of all pieces. Not collective. */
TRI_MUST_USE tri_status tri_zero_pack_weights(tri_zero *zero, const zero_bucket *bucket);
TRI_MUST_USE tri_status tri_zero_unpack_weights(tri_zero *zero, const zero_bucket *bucket,
                                                const uint8_t *packed, void *whole);

/* Exchange quantised gradients over the gradient group; add up what came. Collective; not. */
TRI_MUST_USE tri_status tri_zero_send_packed(tri_zero *zero, zero_bucket *bucket);
TRI_MUST_USE tri_status tri_zero_add_packed(tri_zero *zero, const zero_bucket *bucket);

#endif

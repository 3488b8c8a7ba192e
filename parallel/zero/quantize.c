// SPDX-License-Identifier: Apache-2.0
/* Quantised messages (ZeRO++, arXiv:2306.10209). A message carries one piece: its numbers, then its
 * scales.
 *
 * Weights are quantised once after an update, from the master, by the rank that updates them; what is
 * kept of them is those messages, which every hop passes on as they are. So all ranks, the owner
 * too, compute with the same numbers. Gradients are exchanged, then added up in fp32 in the order of
 * ranks.
 */
#include "parallel/zero/quantize.h"

#include "kernels/quantize.h"

static int bits_of(const tri_zero *zero, zero_level level)
{
    tri_quantize_kind how =
        level == ZERO_WEIGHTS ? zero->args.quantize_weights : zero->args.quantize_gradients;
    return how == TRI_QUANTIZE_INT4 ? 4 : 8;
}

int64_t tri_zero_packed_bytes(const tri_zero *zero, zero_level level, int64_t count, int parts)
{
    int64_t scales = tri_quantize_scales(count / parts) * (int64_t)sizeof(float);
    return parts * (tri_quantize_bytes(count / parts, bits_of(zero, level)) + scales);
}

/* The scales of a message of n numbers: behind them. */
static float *scales_of(const tri_zero *zero, zero_level level, uint8_t *message, int64_t n)
{
    return (float *)(void *)(message + tri_quantize_bytes(n, bits_of(zero, level)));
}

tri_span tri_zero_packed_span(const tri_zero *zero, const zero_bucket *bucket, zero_level level)
{
    const zero_split *split = tri_zero_split_of(zero, bucket);
    int64_t message =
        tri_zero_packed_bytes(zero, ZERO_WEIGHTS, tri_zero_piece(zero, bucket, ZERO_OPTIMIZER), 1);
    int64_t owners = split->size[ZERO_OPTIMIZER];
    int64_t n = owners / split->size[level];
    int64_t kept = owners / split->size[ZERO_WEIGHTS];
    int64_t first = split->at[level] * n - split->at[ZERO_WEIGHTS] * kept;
    return tri_span_make(zero->packed + bucket->packed_offset + first * message, n * message,
                         TRI_U8);
}

tri_status tri_zero_pack_weights(tri_zero *zero, const zero_bucket *bucket)
{
    int64_t n = tri_zero_piece(zero, bucket, ZERO_OPTIMIZER);
    uint8_t *message = tri_zero_packed_span(zero, bucket, ZERO_OPTIMIZER).data;
    TRI_TRY(tri_quantize(zero->args.kernels, TRI_F32, n,
                         zero->master + bucket->offset[ZERO_OPTIMIZER], 8, message,
                         scales_of(zero, ZERO_WEIGHTS, message, n)));
    return TRI_OK;
}

tri_status tri_zero_unpack_weights(tri_zero *zero, const zero_bucket *bucket, const uint8_t *packed,
                                   void *whole)
{
    int64_t n = tri_zero_piece(zero, bucket, ZERO_OPTIMIZER);
    int64_t message = tri_zero_packed_bytes(zero, ZERO_WEIGHTS, n, 1);
    tri_span out = tri_span_make(whole, bucket->count, zero->args.compute);
    for (int p = 0; p < zero->args.group[ZERO_OPTIMIZER]; p++) {
        uint8_t *in = (uint8_t *)(uintptr_t)packed + p * message;
        TRI_TRY(tri_dequantize(zero->args.kernels, n, in, 8, scales_of(zero, ZERO_WEIGHTS, in, n),
                               false, zero->args.compute, tri_span_part(out, p * n, n).data));
    }
    return TRI_OK;
}

/* The buffer itself receives: what it held is in the messages. */
tri_status tri_zero_send_packed(tri_zero *zero, zero_bucket *bucket)
{
    const zero_split *split = tri_zero_split_of(zero, bucket);
    const zero_slot *slot = &zero->pool[ZERO_GRADIENTS].slots[bucket->slot[ZERO_GRADIENTS]];
    int64_t n = tri_zero_piece(zero, bucket, ZERO_GRADIENTS);
    int64_t bytes = tri_zero_packed_bytes(zero, ZERO_GRADIENTS, n, 1);
    int bits = bits_of(zero, ZERO_GRADIENTS);
    for (int p = 0; p < split->reduce.size; p++) {
        uint8_t *message = slot->packed + p * bytes;
        TRI_TRY(tri_quantize(zero->args.kernels, TRI_F32, n, bucket->gradient + p * n, bits,
                             message, scales_of(zero, ZERO_GRADIENTS, message, n)));
    }
    int64_t all = bytes * split->reduce.size;
    TRI_TRY(tri_alltoall(split->reduce.comm, tri_span_make(slot->packed, all, TRI_U8),
                         tri_span_make(slot->data, all, TRI_U8), &bucket->event));
    return TRI_OK;
}

tri_status tri_zero_add_packed(tri_zero *zero, const zero_bucket *bucket)
{
    const zero_split *split = tri_zero_split_of(zero, bucket);
    const zero_slot *slot = &zero->pool[ZERO_GRADIENTS].slots[bucket->slot[ZERO_GRADIENTS]];
    int64_t n = tri_zero_piece(zero, bucket, ZERO_GRADIENTS);
    int64_t bytes = tri_zero_packed_bytes(zero, ZERO_GRADIENTS, n, 1);
    int64_t kept = tri_zero_begin_of(zero, bucket, ZERO_GRADIENTS);
    void *sum = tri_zero_gradient_span(zero, bucket, kept, n).data;
    for (int p = 0; p < split->reduce.size; p++) {
        uint8_t *message = (uint8_t *)slot->data + p * bytes;
        TRI_TRY(tri_dequantize(zero->args.kernels, n, message, bits_of(zero, ZERO_GRADIENTS),
                               scales_of(zero, ZERO_GRADIENTS, message, n),
                               bucket->has_sum || p > 0, TRI_F32, sum));
    }
    return TRI_OK;
}

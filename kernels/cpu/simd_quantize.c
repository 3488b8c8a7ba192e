// SPDX-License-Identifier: Apache-2.0
/* Block quantisation. Products and sums are not contracted in this file (kernels/kernels.cmake), and
 * magnitudes are compared as integers: the same bits on every instruction set.
 */
#include "kernels/cpu/simd.h"
#include "kernels/cpu/vector_memory.h"
#include "kernels/quantize.h"

enum { BLOCK = TRI_QUANTIZE_BLOCK };

/* Magnitudes' bits are in the order of the magnitudes; those of inf and NaN are the largest. */
TRI_INLINE uint32_t largest_bits(const void *in, int64_t at, int64_t n, bool bf16)
{
    tri_vi largest = {0};
    for (int64_t i = 0; i < n; i += TRI_V) {
        tri_vi bits = (tri_vi)tri_v_load(in, at + i, tri_v_lanes(i, n), bf16) & 0x7fffffff;
        tri_vi more = bits > largest;
        largest = (more & bits) | (~more & largest);
    }
    int32_t most = 0;
    for (int l = 0; l < TRI_V; l++)
        most = largest[l] > most ? largest[l] : most;
    return (uint32_t)most;
}

/* number = nearest integers to in * factor, ties to even; |in * factor| < 2^21. */
TRI_INLINE void round_numbers(const void *in, int64_t at, int64_t n, float factor, bool bf16,
                              int8_t number[BLOCK])
{
    typedef int8_t lanes8 __attribute__((vector_size(TRI_V)));
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    for (int64_t i = 0; i < n; i += TRI_V) {
        tri_vf x = tri_v_load(in, at + i, tri_v_lanes(i, n), bf16) * factor;
        tri_vi rounded = (tri_vi)(x + magic) - (tri_vi)tri_v_set(magic);
        lanes8 bytes = __builtin_convertvector(rounded, lanes8);
        memcpy(number + i, &bytes, sizeof bytes);
    }
}

/* Halves of bytes: numbers of odd places above those of even ones. */
TRI_INLINE void pack_halves(const int8_t number[BLOCK], int64_t n, uint8_t *out)
{
    for (int64_t i = 0; i < n / 2; i++)
        out[i] = (uint8_t)((number[2 * i] & 15) | (number[2 * i + 1] & 15) << 4);
    if (n % 2) out[n / 2] = (uint8_t)(number[n - 1] & 15);
}

TRI_INLINE void unpack_halves(const uint8_t *in, int64_t n, int8_t number[BLOCK])
{
    for (int64_t i = 0; i < n / 2; i++) {
        number[2 * i] = (int8_t)(((in[i] & 15) ^ 8) - 8);
        number[2 * i + 1] = (int8_t)((in[i] >> 4 ^ 8) - 8);
    }
    if (n % 2) number[n - 1] = (int8_t)(((in[n / 2] & 15) ^ 8) - 8);
}

TRI_INLINE void quantize_block(const tri_simd_quantized *q, int64_t block, bool bf16)
{
    int64_t at = block * BLOCK;
    int64_t n = q->n - at < BLOCK ? q->n - at : BLOCK;
    uint8_t *out = q->bytes + (q->bits == 4 ? at / 2 : at);
    float most = q->bits == 4 ? 7 : 127;
    uint32_t bits = largest_bits(q->in, at, n, bf16);
    float largest;
    memcpy(&largest, &bits, sizeof largest);
    if (bits >= 0x7f800000u || largest < 127 * 0x1p-126f) {
        memset(out, 0, (size_t)(q->bits == 4 ? (n + 1) / 2 : n));
        q->scales[block] = bits >= 0x7f800000u ? __builtin_nanf("") : 0;
        return;
    }
    int8_t number[BLOCK + TRI_V] = {0};
    round_numbers(q->in, at, n, most / largest, bf16, number);
    q->scales[block] = largest / most;
    if (q->bits == 4)
        pack_halves(number, n, out);
    else
        memcpy(out, number, (size_t)n);
}

static void quantize(const tri_simd_quantized *q, int64_t begin, int64_t end)
{
    for (int64_t block = begin; block < end; block++)
        if (q->bf16)
            quantize_block(q, block, true);
        else
            quantize_block(q, block, false);
}

TRI_INLINE void dequantize_block(const tri_simd_quantized *q, int64_t block, bool bf16)
{
    typedef int8_t lanes8 __attribute__((vector_size(TRI_V)));
    int64_t at = block * BLOCK;
    int64_t n = q->n - at < BLOCK ? q->n - at : BLOCK;
    int8_t number[BLOCK + TRI_V] = {0};
    if (q->bits == 4)
        unpack_halves(q->sent + at / 2, n, number);
    else
        memcpy(number, q->sent + at, (size_t)n);
    float scale = q->sent_scales[block];
    for (int64_t i = 0; i < n; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, n);
        lanes8 bytes;
        memcpy(&bytes, number + i, sizeof bytes);
        tri_vf x = __builtin_convertvector(bytes, tri_vf) * scale;
        if (q->add) x = tri_v_load(q->out, at + i, lanes, bf16) + x;
        if (bf16)
            tri_v_store_bits((tri_bf16 *)q->out + at + i, lanes, tri_v_narrow_exact(x));
        else
            tri_v_store_f32((float *)q->out + at + i, lanes, x);
    }
}

static void dequantize(const tri_simd_quantized *q, int64_t begin, int64_t end)
{
    for (int64_t block = begin; block < end; block++)
        if (q->bf16)
            dequantize_block(q, block, true);
        else
            dequantize_block(q, block, false);
}

const tri_simd_quantize TRI_ISA_NAME(tri_simd_quantize) = {
    .quantize = quantize,
    .dequantize = dequantize,
};

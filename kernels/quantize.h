// SPDX-License-Identifier: Apache-2.0
/* Symmetric block quantisation of what collectives send (ZeRO++, arXiv:2306.10209): blocks of 256
 * numbers share an fp32 scale = largest magnitude / (2^(bits-1) - 1), each is sent as the integer
 * nearest to number / scale.
 *
 * Bytes: bits 8: one two's complement byte each; bits 4: numbers 2i and 2i + 1 are the lower and the
 * upper half of byte i. A block with a number that is not finite has a NaN scale and comes back as
 * NaN; one with magnitudes below 127 * 2^-126 comes back as zeros. The same bits on every instruction
 * set and on any number of threads.
 */
#ifndef TRI_KERNELS_QUANTIZE_H
#define TRI_KERNELS_QUANTIZE_H

#include "kernels/kernels.h"

enum { TRI_QUANTIZE_BLOCK = 256 };

/* Bytes that n numbers of `bits` (8 or 4) bits take, and their scales. Not collective. */
int64_t tri_quantize_bytes(int64_t n, int bits);
int64_t tri_quantize_scales(int64_t n);

/* out, scales = in, quantised: in [n] fp32 or bf16, out [tri_quantize_bytes], scales
 * [tri_quantize_scales]. Not collective.
 *
 * Error of a number: at most half its block's scale, but for rounding. What was dequantised to fp32
 * gives the same bytes again. Errors: TRI_EINVAL other types or bits.
 */
TRI_MUST_USE tri_status tri_quantize(tri_kernels *kernels, tri_dtype dtype, int64_t n,
                                     const void *in, int bits, uint8_t *out, float *scales);

/* out [n] fp32 or bf16 = (with `add`: +=, added in fp32) integer * scale. Not collective. Errors:
 * TRI_EINVAL other types or bits. */
TRI_MUST_USE tri_status tri_dequantize(tri_kernels *kernels, int64_t n, const uint8_t *in, int bits,
                                       const float *scales, bool add, tri_dtype dtype, void *out);

#endif

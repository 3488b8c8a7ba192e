// SPDX-License-Identifier: Apache-2.0
/* Block quantisation: checks, and blocks cut for the team. */
#include "kernels/quantize.h"

#include "kernels/cpu/simd.h"
#include "kernels/cpu/team.h"
#include "kernels/kernels_impl.h"

typedef struct quantize_work {
    const tri_simd_quantize *simd;
    tri_simd_quantized numbers;
} quantize_work;

static void quantize(const void *work, int64_t begin, int64_t end)
{
    const quantize_work *w = work;
    w->simd->quantize(&w->numbers, begin, end);
}

static void dequantize(const void *work, int64_t begin, int64_t end)
{
    const quantize_work *w = work;
    w->simd->dequantize(&w->numbers, begin, end);
}

int64_t tri_quantize_bytes(int64_t n, int bits)
{
    return bits == 4 ? (n + 1) / 2 : n;
}

int64_t tri_quantize_scales(int64_t n)
{
    return (n + TRI_QUANTIZE_BLOCK - 1) / TRI_QUANTIZE_BLOCK;
}

static tri_status run(tri_kernels *kernels, const char *kernel, tri_dtype dtype,
                      const tri_simd_quantized *numbers, tri_team_fn fn)
{
    TRI_TRY(tri_team_check(kernel, dtype, numbers->n, 1, 1));
    TRI_CHECK(numbers->bits == 8 || numbers->bits == 4, TRI_EINVAL,
              "%s of %lld numbers in %d bits: 8 or 4 bits are possible", kernel,
              (long long)numbers->n, numbers->bits);
    quantize_work work = {kernels->simd->quantize, *numbers};
    int64_t block_bytes = TRI_QUANTIZE_BLOCK * (int64_t)tri_dtype_bytes(dtype) * 2;
    tri_team_run(kernels, tri_quantize_scales(numbers->n), 1, tri_team_grain(block_bytes), fn,
                 &work);
    return TRI_OK;
}

tri_status tri_quantize(tri_kernels *kernels, tri_dtype dtype, int64_t n, const void *in, int bits,
                        uint8_t *out, float *scales)
{
    tri_simd_quantized numbers = {.n = n, .bits = bits, .bf16 = dtype == TRI_BF16, .in = in};
    numbers.bytes = out;
    numbers.scales = scales;
    TRI_TRY(run(kernels, "quantisation", dtype, &numbers, quantize));
    return TRI_OK;
}

tri_status tri_dequantize(tri_kernels *kernels, int64_t n, const uint8_t *in, int bits,
                          const float *scales, bool add, tri_dtype dtype, void *out)
{
    tri_simd_quantized numbers = {.n = n,
                                  .bits = bits,
                                  .bf16 = dtype == TRI_BF16,
                                  .add = add,
                                  .sent = in,
                                  .sent_scales = scales,
                                  .out = out};
    TRI_TRY(run(kernels, "dequantisation", dtype, &numbers, dequantize));
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* The instruction sets of this build: kernels/kernels.cmake compiles the same ones. */
#include "kernels/cpu/simd.h"

static const tri_simd_ops *const tables[TRI_ISAS] = {
    [TRI_ISA_BASE] = &tri_simd_base,
#if defined(__x86_64__)
    [TRI_ISA_AVX2] = &tri_simd_avx2,
    [TRI_ISA_AVX512] = &tri_simd_avx512,
    [TRI_ISA_AVX512_BF16] = &tri_simd_avx512_bf16,
#endif
};

const tri_simd_ops *tri_simd_find(tri_isa isa)
{
    return tables[isa];
}

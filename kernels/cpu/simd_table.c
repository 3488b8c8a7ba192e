// SPDX-License-Identifier: Apache-2.0
/* The table of this instruction set. */
#include "kernels/cpu/simd.h"
#include "kernels/cpu/vector.h"

#define TEXT2(x) #x
#define TEXT(x)  TEXT2(x)

const tri_simd_ops TRI_ISA_NAME(tri_simd) = {
    .name = TEXT(TRI_ISA),
    .doc = TEXT(TRI_V) " fp32 lanes",
    .norm = &TRI_ISA_NAME(tri_simd_norm),
    .pointwise = &TRI_ISA_NAME(tri_simd_pointwise),
    .reduce = &TRI_ISA_NAME(tri_simd_reduce),
    .embed = &TRI_ISA_NAME(tri_simd_embed),
    .loss = &TRI_ISA_NAME(tri_simd_loss),
    .update = &TRI_ISA_NAME(tri_simd_update),
    .factor = &TRI_ISA_NAME(tri_simd_factor),
    .attention = &TRI_ISA_NAME(tri_simd_attention),
    .quantize = &TRI_ISA_NAME(tri_simd_quantize),
    .scatter = &TRI_ISA_NAME(tri_simd_scatter),
};

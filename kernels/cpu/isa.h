// SPDX-License-Identifier: Apache-2.0
/* Instruction sets that CPU kernels are built for. Each one includes those before it, so that "is at
 * least" is a comparison.
 */
#ifndef TRI_KERNELS_CPU_ISA_H
#define TRI_KERNELS_CPU_ISA_H

#include "runtime/base/status.h"

/* base: what every processor of the architecture has; avx2: AVX2 + FMA; avx512: F BW DQ VL;
 * avx512_bf16: with VDPBF16PS. */
typedef enum tri_isa {
    TRI_ISA_BASE,
    TRI_ISA_AVX2,
    TRI_ISA_AVX512,
    TRI_ISA_AVX512_BF16,
    TRI_ISAS
} tri_isa;

/* The widest one that this processor and its system run. Not collective. */
tri_isa tri_isa_detect(void);

#endif

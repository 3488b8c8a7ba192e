// SPDX-License-Identifier: Apache-2.0
/* What matmul.c offers to its neighbours in kernels/cpu: products on one thread, for use inside a
 * parallel region, and what bf16 needs where oneDNN has none.
 */
#ifndef TRI_KERNELS_CPU_MATMUL_IMPL_H
#define TRI_KERNELS_CPU_MATMUL_IMPL_H

#include "kernels/kernels_impl.h"
#include "kernels/matmul.h"

/* Does oneDNN lack bf16 products at this instruction set? Not collective. */
static inline bool tri_matmul_widens(const tri_kernels *kernels)
{
    return kernels->isa < TRI_ISA_AVX512;
}

/* Is b of this product packed first, when the team makes it? Not collective. */
bool tri_matmul_packs(const tri_matmul_args *args);

typedef tri_status (*tri_matmul_part_fn)(tri_kernels *kernels, const tri_matmul_args *args);

/* fn on the product, or on parts of its k where b is worth packing and too large for it at once. Not
 * collective. Errors: those of fn. */
TRI_MUST_USE tri_status tri_matmul_in_parts(tri_kernels *kernels, const tri_matmul_args *args,
                                            tri_matmul_part_fn fn);

/* A product of checked, non-empty matrices by the team, as oneDNN has it. Not collective. */
TRI_MUST_USE tri_status tri_matmul_execute(tri_kernels *kernels, const tri_matmul_args *args);

/* A product of bf16 matrices by way of fp32 blocks. Not collective. */
TRI_MUST_USE tri_status tri_matmul_widened(tri_kernels *kernels, const tri_matmul_args *args);

/* Make the one-thread product of these sizes; pointers are not read. Called outside of a parallel
 * region. Not collective. */
TRI_MUST_USE tri_status tri_block_prepare(tri_kernels *kernels, const tri_matmul_args *args);

/* Multiply on the calling thread, which is number `thread` of the team, inside a parallel region;
 * the product was prepared. No bias. Not collective. Errors: TRI_EBUG not prepared, TRI_EDEVICE. */
TRI_MUST_USE tri_status tri_block_matmul(const tri_kernels *kernels, int thread,
                                         const tri_matmul_args *args);

#endif

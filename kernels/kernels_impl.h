// SPDX-License-Identifier: Apache-2.0
/* Inside of tri_kernels, for the files of kernels/ alone. */
#ifndef TRI_KERNELS_KERNELS_IMPL_H
#define TRI_KERNELS_KERNELS_IMPL_H

#include "kernels/cpu/isa.h"
#include "kernels/kernels.h"
#include "kernels/matmul.h"

/* Primitives by shape (cpu/matmul.c). */
typedef struct tri_matmul_cache tri_matmul_cache;

struct tri_kernels {
    tri_device *device;
    int threads; /* of the rank's OpenMP team: `#pragma omp parallel num_threads(kernels->threads)` */
    tri_isa isa;
    const struct tri_simd_ops *simd; /* vector loops of this instruction set (cpu/simd.h) */
    tri_matmul_cache *matmul;
    tri_matmul_observer matmul_observer; /* NULL: none */
    void *matmul_observer_arg;
    float *wide; /* fp32 blocks where oneDNN has no bf16 (cpu/matmul_wide.c) */
};

/* Make and free the cache of a kernels object whose threads and isa are set. Not collective. */
TRI_MUST_USE tri_status tri_matmul_cache_create(const tri_kernels *kernels, tri_matmul_cache **out);
void tri_matmul_cache_destroy(tri_matmul_cache **cache);

#endif

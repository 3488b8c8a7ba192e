// SPDX-License-Identifier: Apache-2.0
/* oneDNN's primitive for one product with nothing of ours around it: the limit that benchmarks
 * compare tri_matmul with.
 */
#ifndef TRI_KERNELS_MATMUL_BARE_H
#define TRI_KERNELS_MATMUL_BARE_H

#include "kernels/matmul.h"

/* What oneDNN is given: b as it lies, or b packed by oneDNN's reorder, which every run repeats. */
typedef enum tri_matmul_way { TRI_MATMUL_PLAIN, TRI_MATMUL_PACKED, TRI_MATMUL_WAYS } tri_matmul_way;

typedef struct tri_matmul_bare tri_matmul_bare;

/* Make the primitive and bind the operands. Not collective.
 *
 * Keeps: kernels, and the operands of args. Errors: TRI_EUNSUP where oneDNN has no such product
 * (bf16 below AVX-512), TRI_EINVAL an empty product, TRI_ENOMEM, TRI_EDEVICE.
 */
TRI_MUST_USE tri_status tri_matmul_bare_create(tri_kernels *kernels, const tri_matmul_args *args,
                                               tri_matmul_way way, tri_matmul_bare **out);
void tri_matmul_bare_destroy(tri_matmul_bare **bare);

/* Bind other operands of the same shapes, types and strides. Not collective. Keeps: the operands.
 * Errors: TRI_EDEVICE. */
TRI_MUST_USE tri_status tri_matmul_bare_point(tri_matmul_bare *bare, const tri_matmul_args *args);

/* Execute n times. Not collective. Errors: TRI_EDEVICE. */
TRI_MUST_USE tri_status tri_matmul_bare_run(const tri_matmul_bare *bare, int64_t n);

#endif

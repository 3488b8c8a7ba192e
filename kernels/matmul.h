// SPDX-License-Identifier: Apache-2.0
/* Matrix products, all through oneDNN; primitives are cached by shape, so that a call repeats none
 * of the set-up.
 */
#ifndef TRI_KERNELS_MATMUL_H
#define TRI_KERNELS_MATMUL_H

#include "kernels/kernels.h"

/* c = a b, or c += a b. Matrices are row-major with a leading dimension in elements. */
typedef struct tri_matmul_args {
    int64_t m, n, k;
    const void *a;         /* [m, k], or [k, m] if a_transposed */
    const void *b;         /* [k, n], or [n, k] if b_transposed */
    void *c;               /* [m, n] */
    const void *bias;      /* [n] of input_type, added to every row; NULL: none */
    tri_dtype input_type;  /* of a and b: fp32 or bf16 */
    tri_dtype output_type; /* of c: fp32, or bf16 with bf16 inputs */
    bool a_transposed, b_transposed;
    bool accumulate; /* c += (fp32 c only) */
    int64_t lda, ldb, ldc;
} tri_matmul_args;

/* Multiply; accumulates in fp32. Not collective.
 *
 * Writes: c (= or +=). Errors: TRI_EINVAL sizes or types, TRI_ENOMEM, TRI_EDEVICE oneDNN's failure.
 * Cost: 2 m n k operations. The first call of a shape creates and keeps a primitive.
 */
TRI_MUST_USE tri_status tri_matmul(tri_kernels *kernels, const tri_matmul_args *args);

/* Told of every product that has been multiplied, and of how long it took. */
typedef void (*tri_matmul_observer)(void *arg, const tri_matmul_args *args, double seconds);

/* Call `observer` after each product of these kernels from now on; NULL: no more. For benchmarks,
 * which thus know a step's own products. Not collective. Keeps: arg. */
void tri_matmul_observe(tri_kernels *kernels, tri_matmul_observer observer, void *arg);

#endif

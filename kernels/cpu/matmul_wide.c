// SPDX-License-Identifier: Apache-2.0
/* bf16 products where oneDNN has none (below AVX-512): c is made block by block, operands widened
 * to fp32 as they are needed, so that the extra memory does not grow with the matrices.
 */
#include "kernels/cpu/matmul_impl.h"
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"

enum { WIDE_ROWS = 512, WIDE_DEPTH = 1024 };

static void block_widen(int64_t rows, int64_t width, const tri_bf16 *in, int64_t stride, float *out)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < width; j++)
            out[i * width + j] = tri_bf16_to_f32(in[i * stride + j]);
}

static void block_narrow(int64_t rows, int64_t width, const float *in, tri_bf16 *out,
                         int64_t stride)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < width; j++)
            out[i * stride + j] = tri_f32_to_bf16(in[i * width + j]);
}

/* Block [i, i + rows) x [j, j + width) of a logical matrix, in the orientation it is stored in. */
static void operand_widen(const tri_bf16 *x, bool transposed, int64_t ld, const int64_t at[4],
                          float *out)
{
    if (transposed)
        block_widen(at[3], at[1], x + at[2] * ld + at[0], ld, out);
    else
        block_widen(at[1], at[3], x + at[0] * ld + at[2], ld, out);
}

/* One block of c: rows i.., columns j.., all of k. */
static tri_status wide_block(tri_kernels *kernels, const tri_matmul_args *args, int64_t i,
                             int64_t j)
{
    float *a = kernels->wide;
    float *b = a + (int64_t)WIDE_ROWS * WIDE_DEPTH;
    float *c = b + (int64_t)WIDE_ROWS * WIDE_DEPTH;
    float *bias = c + (int64_t)WIDE_ROWS * WIDE_ROWS;
    bool narrows = args->output_type == TRI_BF16;
    int64_t m = tri_min64(WIDE_ROWS, args->m - i);
    int64_t n = tri_min64(WIDE_ROWS, args->n - j);
    if (args->bias) block_widen(1, n, (const tri_bf16 *)args->bias + j, n, bias);
    tri_matmul_args part = *args;
    part.m = m;
    part.n = n;
    part.a = a;
    part.b = b;
    part.bias = args->bias ? bias : NULL;
    part.c = narrows ? c : (float *)args->c + i * args->ldc + j;
    part.ldc = narrows ? n : args->ldc;
    part.input_type = TRI_F32;
    part.output_type = TRI_F32;
    for (int64_t l = 0; l < args->k; l += WIDE_DEPTH) {
        part.k = tri_min64(WIDE_DEPTH, args->k - l);
        part.lda = args->a_transposed ? m : part.k;
        part.ldb = args->b_transposed ? part.k : n;
        operand_widen(args->a, args->a_transposed, args->lda, (int64_t[4]){i, m, l, part.k}, a);
        operand_widen(args->b, args->b_transposed, args->ldb, (int64_t[4]){l, part.k, j, n}, b);
        TRI_TRY(tri_matmul_execute(kernels, &part));
        part.accumulate = true;
        part.bias = NULL;
    }
    if (narrows) block_narrow(m, n, c, (tri_bf16 *)args->c + i * args->ldc + j, args->ldc);
    return TRI_OK;
}

tri_status tri_matmul_widened(tri_kernels *kernels, const tri_matmul_args *args)
{
    int64_t n = (int64_t)WIDE_ROWS * (2 * WIDE_DEPTH + WIDE_ROWS + 1);
    if (!kernels->wide) TRI_TRY(TRI_NEW_ARRAY(n, &kernels->wide));
    for (int64_t j = 0; j < args->n; j += WIDE_ROWS)
        for (int64_t i = 0; i < args->m; i += WIDE_ROWS)
            TRI_TRY(wide_block(kernels, args, i, j));
    return TRI_OK;
}

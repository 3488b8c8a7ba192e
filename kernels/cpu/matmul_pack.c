// SPDX-License-Identifier: Apache-2.0
/* When b is packed before a product. Left to itself, oneDNN repacks pieces of b for every block of
 * rows, or (fp32) reads its rows where they lie, a page each; packing all of b once for the team costs
 * one pass over it. The answer depends on the shape alone, so that a product has the same bits in
 * every run.
 *
 * Measured on Zen 4, oneDNN 2.6, bf16 and fp32, one and two threads, k and n 384 to 50257: what is
 * packed here takes 0.70 to 0.98 of the time; smaller shapes gain nothing.
 */
#include "kernels/cpu/matmul_impl.h"
#include "runtime/base/int.h"

enum {
    PACK_BYTES = 32 << 20, /* of packed b, at most */
    DEPTH_UNIT = 64,       /* parts of k are multiples */
    ROWS = 1024,           /* of c from which b, as it lies by rows, is worth a pass */
    ROWS_WIDE = 512,       /* the same in fp32 where its rows are long, or many */
    ROWS_LONG = 768,       /* the same in bf16 where a is transposed and k is long */
    ROWS_TRANSPOSED = 2048,
    WIDE = 2048,
    DEEP = 4096,
    LONG = 2048,
    SHORT = 1024
};

static bool is_worth_packing(const tri_matmul_args *args)
{
    bool half = args->input_type == TRI_BF16;
    bool is_wide = !half && args->n >= WIDE;
    if (args->b_transposed)
        return !args->a_transposed && args->m >= ROWS_TRANSPOSED && args->k <= SHORT;
    if (args->a_transposed && args->m >= ROWS_TRANSPOSED) return true;
    if (args->a_transposed)
        return half ? args->m >= ROWS_LONG && args->k >= LONG : is_wide && args->m >= ROWS_WIDE;
    return args->m >= (is_wide || (!half && args->k >= DEEP) ? ROWS_WIDE : ROWS);
}

/* Largest k whose packed b stays within bounds. */
static int64_t depth_most(const tri_matmul_args *args)
{
    return PACK_BYTES / (int64_t)tri_dtype_bytes(args->input_type) / args->n;
}

bool tri_matmul_packs(const tri_matmul_args *args)
{
    return args->k <= depth_most(args) && is_worth_packing(args);
}

tri_status tri_matmul_in_parts(tri_kernels *kernels, const tri_matmul_args *args,
                               tri_matmul_part_fn fn)
{
    int64_t depth = depth_most(args) / DEPTH_UNIT * DEPTH_UNIT;
    bool adds = args->output_type == TRI_F32 && !args->a_transposed && !args->b_transposed;
    if (!adds || depth < DEEP || args->k <= depth_most(args) || !is_worth_packing(args))
        return fn(kernels, args);
    size_t element_bytes = tri_dtype_bytes(args->input_type);
    tri_matmul_args part = *args;
    for (int64_t k = 0; k < args->k; k += depth) {
        part.k = tri_min64(depth, args->k - k);
        part.a = (const char *)args->a + (size_t)k * element_bytes;
        part.b = (const char *)args->b + (size_t)(k * args->ldb) * element_bytes;
        TRI_TRY(fn(kernels, &part));
        part.accumulate = true;
        part.bias = NULL;
    }
    return TRI_OK;
}

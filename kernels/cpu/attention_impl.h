// SPDX-License-Identifier: Apache-2.0
/* What forward and backward of attention share: the plan of a call, operands of block products, and
 * a thread's share of the workspace.
 */
#ifndef TRI_KERNELS_CPU_ATTENTION_IMPL_H
#define TRI_KERNELS_CPU_ATTENTION_IMPL_H

#include "kernels/attention.h"
#include "kernels/cpu/matmul_impl.h"
#include "kernels/cpu/simd.h"
#include "runtime/base/int.h"

#include <assert.h>
#include <omp.h>

typedef struct tri_attention_plan {
    tri_kernels *kernels;
    const tri_attention_args *args;
    tri_dtype compute; /* type of block operands: bf16 only where it is multiplied as such */
    bool widens;       /* operands are bf16 and are widened to fp32 */
} tri_attention_plan;

/* A block operand: rows `stride` elements apart. */
typedef struct tri_attention_operand {
    const void *data;
    int64_t stride;
} tri_attention_operand;

/* Cuts a workspace into aligned pieces; base NULL: only counts. */
typedef struct tri_attention_cutter {
    char *base;
    size_t bytes;
} tri_attention_cutter;

/* The next piece. Not collective. */
static inline void *tri_attention_cut(tri_attention_cutter *cutter, int64_t count,
                                      size_t element_bytes)
{
    void *piece = cutter->base ? cutter->base + cutter->bytes : NULL;
    cutter->bytes += (size_t)tri_round_up(count * (int64_t)element_bytes, 64);
    return piece;
}

/* Workspace of the calling thread, where each has `bytes`. Not collective. */
static inline void *tri_attention_share(const tri_attention_plan *plan, size_t bytes)
{
    char *workspace = plan->args->workspace;
    assert(workspace);
    return workspace + (size_t)omp_get_thread_num() * bytes;
}

/* First failure of a team: threads other than the caller cannot return one. */
typedef struct tri_attention_failure {
    tri_status rc;
    tri_err err;
} tri_attention_failure;

/* Take this thread's failure, if it is the first. Not collective. */
void tri_attention_note(tri_attention_failure *failure, tri_status rc);

/* Row (b, t), head h of x. Not collective. */
static inline const void *tri_attention_at(const void *x, tri_dtype dtype, int64_t element)
{
    return (const char *)x + element * (int64_t)tri_dtype_bytes(dtype);
}

/* First element of sample b of k or v. Not collective. */
static inline int64_t tri_attention_sample(const tri_attention_args *args, int64_t b,
                                           int64_t stride)
{
    return b * (args->k_batch_stride ? args->k_batch_stride : args->n_key * stride);
}

/* Rows [n, head_size] at x as block products take them; `wide` is where they are widened to, if
 * they are. Not collective. */
tri_attention_operand tri_attention_load(const tri_attention_plan *plan, const void *x,
                                         int64_t stride, int64_t n, float *wide);

/* Bytes of a thread's share in backward. Not collective. */
size_t tri_attention_backward_bytes(const tri_attention_plan *plan);

/* Backward of checked arguments. Not collective. */
TRI_MUST_USE tri_status tri_attention_backward_run(const tri_attention_plan *plan);

#endif

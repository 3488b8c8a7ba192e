// SPDX-License-Identifier: Apache-2.0
/* What forward and backward of attention share: the plan of a call, who sees whom, operands of block
 * products, and a thread's share of the workspace.
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
    const tri_attention_args *args; /* strides that were 0 are filled in */
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

/* Keys or queries begin .. end of a call. */
typedef struct tri_attention_range {
    int64_t begin, end;
} tri_attention_range;

/* First places that sample b's queries from `query` on see; NULL: all see from place 0 on. Not
 * collective. */
static inline const int32_t *tri_attention_visible(const tri_attention_args *args, int64_t b,
                                                   int64_t query)
{
    if (!args->visible) return NULL;
    return args->visible + b * args->visible_stride + args->q_first + query;
}

/* Keys up to the place of the last of `rows` queries from `query` on. Not collective. */
static inline int64_t tri_attention_causal_end(const tri_attention_args *args, int64_t query,
                                               int64_t rows)
{
    int64_t end = args->q_first - args->k_first + query + rows;
    return end < 0 ? 0 : tri_min64(end, args->n_key);
}

/* The first of the queries that are not before `key`. Not collective. */
static inline int64_t tri_attention_causal_begin(const tri_attention_args *args, int64_t key)
{
    int64_t begin = args->k_first - args->q_first + key;
    return begin < 0 ? 0 : tri_min64(begin, args->n_query);
}

/* Keys that one of `rows` queries of sample b from `query` on sees. Not collective. */
tri_attention_range tri_attention_keys(const tri_attention_args *args, int64_t b, int64_t query,
                                       int64_t rows);

/* Queries of sample b that see one of `keys` keys from `key` on. Not collective. */
tri_attention_range tri_attention_queries(const tri_attention_args *args, int64_t b, int64_t key,
                                          int64_t keys);

/* Rows [n, head_size] at x as block products take them; `wide` is where they are widened to, if
 * they are. Not collective. */
tri_attention_operand tri_attention_load(const tri_attention_plan *plan, const void *x,
                                         int64_t stride, int64_t n, float *wide);

/* Bytes of a thread's share in backward. Not collective. */
size_t tri_attention_backward_bytes(const tri_attention_plan *plan);

/* Backward of checked arguments. Not collective. */
TRI_MUST_USE tri_status tri_attention_backward_run(const tri_attention_plan *plan);

#endif

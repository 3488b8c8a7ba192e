// SPDX-License-Identifier: Apache-2.0
/* Attention: arguments, workspace, and the forward pass.
 *
 * A task is a block of queries of one head; it walks over blocks of keys up to the diagonal with a
 * running maximum and sum. Products of blocks are oneDNN's, one thread each; what lies between them
 * is vector code. No task's result depends on another, so any thread may take any task. A few
 * queries (decoding) are taken one by one, without block products: their keys are read once.
 */
#include "kernels/attention.h"

#include "kernels/cpu/attention_impl.h"

#include <math.h>
#include <omp.h>

enum { QUERIES = 64, KEYS = 512, KEYS_UNIT = 64, FEW_QUERIES = 8 };

/* A thread's share of the workspace. */
typedef struct forward_buffers {
    float *scores;                 /* [QUERIES, KEYS] */
    void *p;                       /* [QUERIES, KEYS] compute type */
    float *total, *part;           /* [QUERIES, head_size] */
    float *maximum, *sum, *factor; /* [QUERIES] */
    float *q, *k, *v;              /* widened operands */
} forward_buffers;

/* One block product pair: `rows` queries against `width` keys from `key` on. */
typedef struct forward_block {
    int64_t rows, width, key;
    tri_attention_operand q, k, v;
    float *out; /* [rows, head_size] = p v */
} forward_block;

void tri_attention_note(tri_attention_failure *failure, tri_status rc)
{
    if (rc == TRI_OK) return;
#pragma omp critical(tri_attention)
    {
        if (failure->rc == TRI_OK) {
            failure->rc = rc;
            tri_err_take(&failure->err);
        }
    }
    tri_err_clear();
}

tri_attention_operand tri_attention_load(const tri_attention_plan *plan, const void *x,
                                         int64_t stride, int64_t n, float *wide)
{
    if (!plan->widens) return (tri_attention_operand){x, stride};
    int64_t width = plan->args->head_size;
    for (int64_t i = 0; i < n; i++)
        plan->kernels->simd->pointwise->to_f32(width, (const tri_bf16 *)x + i * stride,
                                               wide + i * width);
    return (tri_attention_operand){wide, width};
}

static forward_buffers forward_cut(const tri_attention_plan *plan, tri_attention_cutter *cutter)
{
    int64_t width = plan->args->head_size;
    forward_buffers b = {0};
    b.scores = tri_attention_cut(cutter, (int64_t)QUERIES * KEYS, 4);
    b.p = plan->compute == TRI_BF16 ? tri_attention_cut(cutter, (int64_t)QUERIES * KEYS, 2)
                                    : b.scores;
    b.total = tri_attention_cut(cutter, QUERIES * width, 4);
    b.part = tri_attention_cut(cutter, QUERIES * width, 4);
    b.maximum = tri_attention_cut(cutter, QUERIES, 4);
    b.sum = tri_attention_cut(cutter, QUERIES, 4);
    b.factor = tri_attention_cut(cutter, QUERIES, 4);
    if (plan->widens) {
        b.q = tri_attention_cut(cutter, QUERIES * width, 4);
        b.k = tri_attention_cut(cutter, KEYS * width, 4);
        b.v = tri_attention_cut(cutter, KEYS * width, 4);
    }
    return b;
}

static tri_attention_plan plan_make(tri_kernels *kernels, const tri_attention_args *args)
{
    bool widens = args->dtype == TRI_BF16 && tri_matmul_widens(kernels);
    return (tri_attention_plan){kernels, args, widens ? TRI_F32 : args->dtype, widens};
}

static size_t forward_bytes(const tri_attention_plan *plan)
{
    tri_attention_cutter cutter = {0};
    if (plan->args->n_query < FEW_QUERIES)
        (void)tri_attention_cut(&cutter, plan->args->n_key, 4);
    else
        (void)forward_cut(plan, &cutter);
    return cutter.bytes;
}

size_t tri_attention_workspace(const tri_kernels *kernels, const tri_attention_args *args)
{
    bool widens = args->dtype == TRI_BF16 && tri_matmul_widens(kernels);
    tri_attention_plan plan = {NULL, args, widens ? TRI_F32 : args->dtype, widens};
    size_t forward = forward_bytes(&plan);
    size_t backward = args->n_query == args->n_key ? tri_attention_backward_bytes(&plan) : 0;
    return (size_t)kernels->threads * (forward > backward ? forward : backward);
}

/* --- blocks */

static tri_matmul_args scores_product(const tri_attention_plan *plan, const forward_block *block,
                                      float *scores)
{
    return (tri_matmul_args){.m = block->rows,
                             .n = block->width,
                             .k = plan->args->head_size,
                             .a = block->q.data,
                             .b = block->k.data,
                             .c = scores,
                             .input_type = plan->compute,
                             .output_type = TRI_F32,
                             .b_transposed = true,
                             .lda = block->q.stride,
                             .ldb = block->k.stride,
                             .ldc = KEYS};
}

static tri_matmul_args values_product(const tri_attention_plan *plan, const forward_block *block,
                                      const void *p)
{
    return (tri_matmul_args){.m = block->rows,
                             .n = plan->args->head_size,
                             .k = block->width,
                             .a = p,
                             .b = block->v.data,
                             .c = block->out,
                             .input_type = plan->compute,
                             .output_type = TRI_F32,
                             .lda = KEYS,
                             .ldb = block->v.stride,
                             .ldc = plan->args->head_size};
}

/* Keys that the last of `rows` queries from `query` on sees. */
static int64_t keys_seen(const tri_attention_args *args, int64_t query, int64_t rows)
{
    return args->q_first - args->k_first + query + rows;
}

static int64_t block_width(const tri_attention_args *args, int64_t key, int64_t seen)
{
    int64_t width = tri_min64(KEYS, tri_round_up(seen - key, KEYS_UNIT));
    return tri_min64(width, args->n_key - key);
}

/* Make the products of all blocks that a head has. */
static tri_status forward_prepare(const tri_attention_plan *plan)
{
    const tri_attention_args *args = plan->args;
    int64_t wide = args->head_size;
    forward_block block = {0};
    block.q.stride = plan->widens ? wide : args->q_stride;
    block.k.stride = plan->widens ? wide : args->k_stride;
    block.v.stride = plan->widens ? wide : args->v_stride;
    for (int64_t query = 0; query < args->n_query; query += QUERIES) {
        block.rows = tri_min64(QUERIES, args->n_query - query);
        int64_t seen = keys_seen(args, query, block.rows);
        for (int64_t key = 0; key < seen; key += KEYS) {
            block.width = block_width(args, key, seen);
            tri_matmul_args scores = scores_product(plan, &block, NULL);
            tri_matmul_args values = values_product(plan, &block, NULL);
            TRI_TRY(tri_block_prepare(plan->kernels, &scores));
            TRI_TRY(tri_block_prepare(plan->kernels, &values));
        }
    }
    return TRI_OK;
}

/* One block of keys: scores, their running softmax, values. */
static tri_status forward_step(const tri_attention_plan *plan, const forward_buffers *buffers,
                               const forward_block *block, int64_t visible)
{
    int thread = omp_get_thread_num();
    tri_matmul_args scores = scores_product(plan, block, buffers->scores);
    TRI_TRY(tri_block_matmul(plan->kernels, thread, &scores));
    tri_simd_softmax softmax = {.rows = block->rows,
                                .width = block->width,
                                .stride = KEYS,
                                .visible = visible,
                                .scale = plan->args->scale,
                                .bf16 = plan->compute == TRI_BF16,
                                .scores = buffers->scores,
                                .p = buffers->p,
                                .maximum = buffers->maximum,
                                .sum = buffers->sum,
                                .factor = buffers->factor};
    plan->kernels->simd->attention->softmax(&softmax);
    tri_matmul_args values = values_product(plan, block, buffers->p);
    TRI_TRY(tri_block_matmul(plan->kernels, thread, &values));
    return TRI_OK;
}

/* The queries from `query` on of head h in sample b. */
static tri_status forward_task(const tri_attention_plan *plan, const forward_buffers *buffers,
                               int64_t b, int64_t h, int64_t query)
{
    const tri_attention_args *args = plan->args;
    const tri_simd_attention *simd = plan->kernels->simd->attention;
    int64_t rows = tri_min64(QUERIES, args->n_query - query);
    int64_t seen = keys_seen(args, query, rows);
    int64_t width = args->head_size;
    int64_t column = h / (args->heads / args->kv_heads) * width;
    int64_t token = b * args->n_query + query;
    int64_t k_at = tri_attention_sample(args, b, args->k_stride) + column;
    int64_t v_at = tri_attention_sample(args, b, args->v_stride) + column;
    forward_block block = {.rows = rows, .out = buffers->total};
    block.q = tri_attention_load(
        plan, tri_attention_at(args->q, args->dtype, token * args->q_stride + h * width),
        args->q_stride, rows, buffers->q);
    for (int64_t i = 0; i < rows; i++) {
        buffers->maximum[i] = -INFINITY;
        buffers->sum[i] = 0;
    }
    for (int64_t key = 0; key < seen; key += KEYS) {
        block.width = block_width(args, key, seen);
        block.k = tri_attention_load(
            plan, tri_attention_at(args->k, args->dtype, k_at + key * args->k_stride),
            args->k_stride, block.width, buffers->k);
        block.v = tri_attention_load(
            plan, tri_attention_at(args->v, args->dtype, v_at + key * args->v_stride),
            args->v_stride, block.width, buffers->v);
        TRI_TRY(forward_step(plan, buffers, &block, seen - rows + 1 - key));
        if (key) simd->merge(rows, width, buffers->factor, buffers->part, buffers->total);
        block.out = buffers->part;
    }
    tri_simd_rows out = {rows, width, args->out_stride, args->dtype == TRI_BF16};
    int64_t out_at = token * args->out_stride + h * width;
    simd->copy(&out, buffers->sum, buffers->total,
               (char *)args->out + out_at * (int64_t)tri_dtype_bytes(args->dtype));
    float *lse = args->lse + (b * args->heads + h) * args->n_query + query;
    for (int64_t i = 0; i < rows; i++)
        lse[i] = buffers->maximum[i] + logf(buffers->sum[i]);
    return TRI_OK;
}

static tri_status forward_blocks(const tri_attention_plan *plan)
{
    const tri_attention_args *args = plan->args;
    TRI_TRY(forward_prepare(plan));
    int64_t blocks = (args->n_query + QUERIES - 1) / QUERIES;
    int64_t tasks = args->batch * args->heads * blocks;
    size_t share = forward_bytes(plan);
    tri_attention_failure failure = {0};
    tri_attention_failure *first = &failure;
#pragma omp parallel num_threads(plan->kernels->threads)
    {
        tri_attention_cutter cutter = {tri_attention_share(plan, share), 0};
        forward_buffers buffers = forward_cut(plan, &cutter);
#pragma omp for schedule(dynamic, 1)
        for (int64_t task = 0; task < tasks; task++) {
            int64_t head = task / blocks;
            int64_t block = blocks - 1 - task % blocks; /* the long ones first */
            tri_attention_note(first, forward_task(plan, &buffers, head / args->heads,
                                                   head % args->heads, block * QUERIES));
        }
    }
    return failure.rc ? tri_err_put(&failure.err) : TRI_OK;
}

/* --- few queries */

static void query_task(const tri_attention_plan *plan, size_t share, int64_t task)
{
    const tri_attention_args *args = plan->args;
    int64_t t = task % args->n_query;
    int64_t h = task / args->n_query % args->heads;
    int64_t b = task / args->n_query / args->heads;
    int64_t width = args->head_size;
    int64_t column = h / (args->heads / args->kv_heads) * width;
    int64_t token = b * args->n_query + t;
    int64_t k_at = tri_attention_sample(args, b, args->k_stride) + column;
    int64_t v_at = tri_attention_sample(args, b, args->v_stride) + column;
    int64_t out_at = token * args->out_stride + h * width;
    tri_simd_query row = {
        .n_key = keys_seen(args, t, 1),
        .head_size = width,
        .k_stride = args->k_stride,
        .v_stride = args->v_stride,
        .scale = args->scale,
        .bf16 = args->dtype == TRI_BF16,
        .q = tri_attention_at(args->q, args->dtype, token * args->q_stride + h * width),
        .k = tri_attention_at(args->k, args->dtype, k_at),
        .v = tri_attention_at(args->v, args->dtype, v_at),
        .out = (char *)args->out + out_at * (int64_t)tri_dtype_bytes(args->dtype),
        .scores = tri_attention_share(plan, share)};
    args->lse[task] = plan->kernels->simd->attention->query(&row);
}

static void forward_queries(const tri_attention_plan *plan)
{
    const tri_attention_args *args = plan->args;
    int64_t tasks = args->batch * args->heads * args->n_query;
    size_t share = forward_bytes(plan);
#pragma omp parallel for num_threads(plan->kernels->threads) schedule(static)
    for (int64_t task = 0; task < tasks; task++)
        query_task(plan, share, task);
}

/* --- the interface */

static tri_status args_check(const tri_attention_args *args)
{
    long long heads = args->heads;
    long long kv_heads = args->kv_heads;
    TRI_CHECK(args->dtype == TRI_F32 || args->dtype == TRI_BF16, TRI_EINVAL,
              "attention on %s: activations are fp32 or bf16", tri_dtype_name(args->dtype));
    TRI_CHECK(
        heads > 0 && kv_heads > 0 && heads % kv_heads == 0, TRI_EINVAL,
        "attention with %lld heads on %lld key/value heads: the latter must divide the former",
        heads, kv_heads);
    TRI_CHECK(args->batch >= 0 && args->n_query >= 0 && args->head_size > 0 &&
                  args->q_first - args->k_first + args->n_query == args->n_key,
              TRI_EINVAL,
              "attention of %lld samples, %lld queries, %lld keys, head size %lld: there must be a "
              "key for each query",
              (long long)args->batch, (long long)args->n_query, (long long)args->n_key,
              (long long)args->head_size);
    int64_t q_width = heads * args->head_size;
    int64_t kv_width = kv_heads * args->head_size;
    TRI_CHECK(args->q_stride >= q_width && args->out_stride >= q_width &&
                  args->k_stride >= kv_width && args->v_stride >= kv_width,
              TRI_EINVAL,
              "attention strides q %lld out %lld (at least %lld), k %lld v %lld (at least %lld)",
              (long long)args->q_stride, (long long)args->out_stride, (long long)q_width,
              (long long)args->k_stride, (long long)args->v_stride, (long long)kv_width);
    TRI_CHECK(args->workspace, TRI_EINVAL, "attention without a workspace");
    return TRI_OK;
}

tri_status tri_attention_forward(tri_kernels *kernels, const tri_attention_args *args)
{
    TRI_TRY(args_check(args));
    if (args->batch == 0 || args->n_query == 0) return TRI_OK;
    tri_attention_plan plan = plan_make(kernels, args);
    if (args->n_query < FEW_QUERIES)
        forward_queries(&plan);
    else
        TRI_TRY(forward_blocks(&plan));
    return TRI_OK;
}

tri_status tri_attention_backward(tri_kernels *kernels, const tri_attention_args *args)
{
    TRI_TRY(args_check(args));
    TRI_CHECK(args->n_query == args->n_key, TRI_EINVAL,
              "attention backward with %lld queries and %lld keys: they must be the same tokens",
              (long long)args->n_query, (long long)args->n_key);
    if (args->batch == 0 || args->n_query == 0) return TRI_OK;
    tri_attention_plan plan = plan_make(kernels, args);
    TRI_TRY(tri_attention_backward_run(&plan));
    return TRI_OK;
}

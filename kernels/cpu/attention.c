// SPDX-License-Identifier: Apache-2.0
/* Attention: arguments, workspace, and the forward pass.
 *
 * A task is a block of queries of one head; it walks over the blocks of keys that one of them sees,
 * with a running maximum and sum, which start at the result over other keys where that is to be
 * merged. Products of blocks are oneDNN's, one thread each; what lies between them is vector code.
 * No task's result depends on another, so any thread may take any task. A few queries (decoding) are
 * taken one by one, without block products: their keys are read once.
 */
#include "kernels/attention.h"

#include "kernels/cpu/attention_impl.h"

#include <math.h>
#include <omp.h>
#include <string.h>

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
    int64_t visible;      /* row i sees the block's columns < visible + i */
    const int32_t *first; /* [rows] and those at this place or behind; NULL: all */
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

/* Are queries taken one by one? */
static bool is_few(const tri_attention_args *args)
{
    return args->n_query < FEW_QUERIES && !args->merge;
}

static size_t forward_bytes(const tri_attention_plan *plan)
{
    tri_attention_cutter cutter = {0};
    if (is_few(plan->args))
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
    size_t backward = tri_attention_backward_bytes(&plan);
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

/* --- who sees whom */

tri_attention_range tri_attention_keys(const tri_attention_args *args, int64_t b, int64_t query,
                                       int64_t rows)
{
    tri_attention_range range = {0, tri_attention_causal_end(args, query, rows)};
    const int32_t *first = tri_attention_visible(args, b, query);
    if (first) range.begin = tri_min64(tri_max64(*first - args->k_first, 0), range.end);
    return range;
}

tri_attention_range tri_attention_queries(const tri_attention_args *args, int64_t b, int64_t key,
                                          int64_t keys)
{
    tri_attention_range range = {tri_attention_causal_begin(args, key), args->n_query};
    const int32_t *first = tri_attention_visible(args, b, 0);
    if (!first) return range;
    int64_t last_place = args->k_first + key + keys - 1;
    int64_t below = range.begin; /* those before it see the last key, those from end on do not */
    while (below < range.end) {
        int64_t middle = below + (range.end - below) / 2;
        if (first[middle] <= last_place)
            below = middle + 1;
        else
            range.end = middle;
    }
    return range;
}

/* Width of the block of keys at `key`, of a row of blocks up to `end`: one of few widths, whatever
 * end is. */
static int64_t block_width(const tri_attention_args *args, int64_t key, int64_t end)
{
    int64_t width = tri_min64(KEYS, tri_round_up(end - key, KEYS_UNIT));
    return tri_min64(width, args->n_key - key);
}

static tri_status pair_prepare(const tri_attention_plan *plan, int64_t rows, int64_t width)
{
    const tri_attention_args *args = plan->args;
    int64_t wide = args->head_size;
    forward_block block = {.rows = rows, .width = width};
    block.q.stride = plan->widens ? wide : args->q_stride;
    block.k.stride = plan->widens ? wide : args->k_stride;
    block.v.stride = plan->widens ? wide : args->v_stride;
    tri_matmul_args scores = scores_product(plan, &block, NULL);
    tri_matmul_args values = values_product(plan, &block, NULL);
    TRI_TRY(tri_block_prepare(plan->kernels, &scores));
    TRI_TRY(tri_block_prepare(plan->kernels, &values));
    return TRI_OK;
}

/* Where documents begin is known late: make the products of every width that they may cut. */
static tri_status documents_prepare(const tri_attention_plan *plan, int64_t rows)
{
    int64_t n_key = plan->args->n_key;
    for (int64_t width = KEYS_UNIT; width <= tri_min64(KEYS, n_key); width += KEYS_UNIT)
        TRI_TRY(pair_prepare(plan, rows, width));
    for (int64_t width = n_key % KEYS_UNIT; width <= tri_min64(KEYS, n_key); width += KEYS_UNIT)
        if (width > 0) TRI_TRY(pair_prepare(plan, rows, width));
    return TRI_OK;
}

/* Make the products of all blocks that a head has. */
static tri_status forward_prepare(const tri_attention_plan *plan)
{
    const tri_attention_args *args = plan->args;
    int64_t rows = tri_min64(QUERIES, args->n_query);
    if (args->visible) {
        TRI_TRY(documents_prepare(plan, rows));
        int64_t rest = args->n_query % QUERIES;
        return rest ? documents_prepare(plan, rest) : TRI_OK;
    }
    for (int64_t query = 0; query < args->n_query; query += QUERIES) {
        rows = tri_min64(QUERIES, args->n_query - query);
        int64_t end = tri_attention_causal_end(args, query, rows);
        for (int64_t key = 0; key < end; key += KEYS)
            TRI_TRY(pair_prepare(plan, rows, block_width(args, key, end)));
    }
    return TRI_OK;
}

/* One block of keys: scores, their running softmax, values. */
static tri_status forward_step(const tri_attention_plan *plan, const forward_buffers *buffers,
                               const forward_block *block)
{
    int thread = omp_get_thread_num();
    tri_matmul_args scores = scores_product(plan, block, buffers->scores);
    TRI_TRY(tri_block_matmul(plan->kernels, thread, &scores));
    tri_simd_softmax softmax = {.rows = block->rows,
                                .width = block->width,
                                .stride = KEYS,
                                .visible = block->visible,
                                .first = block->first,
                                .place = plan->args->k_first + block->key,
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

/* Queries of one head in sample b, and where their results lie. */
typedef struct forward_rows {
    int64_t b, h, query, rows;
    void *out;
    float *lse;
} forward_rows;

/* Start the running softmax: at nothing, or at the result over other keys. */
static void rows_begin(const tri_attention_plan *plan, const forward_buffers *buffers,
                       const forward_rows *task)
{
    const tri_attention_args *args = plan->args;
    int64_t width = args->head_size;
    for (int64_t i = 0; i < task->rows; i++) {
        bool merges = args->merge && task->lse[i] != -INFINITY;
        const float *out = (const float *)task->out + i * args->out_stride;
        buffers->maximum[i] = merges ? task->lse[i] : -INFINITY;
        buffers->sum[i] = merges ? 1 : 0;
        if (merges)
            memcpy(buffers->total + i * width, out, (size_t)width * sizeof *out);
        else if (args->merge)
            memset(buffers->total + i * width, 0, (size_t)width * sizeof *out);
    }
}

/* Write the rows; `started`: their totals hold something. */
static void rows_end(const tri_attention_plan *plan, const forward_buffers *buffers,
                     const forward_rows *task, bool started)
{
    const tri_attention_args *args = plan->args;
    int64_t width = args->head_size;
    if (!started) memset(buffers->total, 0, (size_t)(task->rows * width) * sizeof *buffers->total);
    tri_simd_rows out = {task->rows, width, args->out_stride,
                         args->dtype == TRI_BF16 && !args->merge};
    plan->kernels->simd->attention->copy(&out, buffers->sum, buffers->total, task->out);
    for (int64_t i = 0; i < task->rows; i++)
        task->lse[i] = buffers->maximum[i] + logf(buffers->sum[i]);
}

/* All keys that the rows see, block by block. */
static tri_status rows_run(const tri_attention_plan *plan, const forward_buffers *buffers,
                           const forward_rows *task, tri_attention_range keys)
{
    const tri_attention_args *args = plan->args;
    int64_t width = args->head_size;
    int64_t column = task->h / (args->heads / args->kv_heads) * width;
    int64_t q_at = task->b * args->q_batch_stride + task->query * args->q_stride + task->h * width;
    int64_t k_at = task->b * args->k_batch_stride + column;
    int64_t v_at = task->b * args->v_batch_stride + column;
    const int32_t *first = tri_attention_visible(args, task->b, task->query);
    bool started = args->merge;
    forward_block block = {.rows = task->rows};
    block.q = tri_attention_load(plan, tri_attention_at(args->q, args->dtype, q_at), args->q_stride,
                                 task->rows, buffers->q);
    int64_t key = keys.begin - keys.begin % KEYS_UNIT;
    for (; key < keys.end; key += block.width) {
        block.key = key;
        block.width = block_width(args, key, keys.end);
        block.visible = args->q_first - args->k_first + task->query + 1 - key;
        bool cut = first && first[task->rows - 1] > args->k_first + key;
        block.first = cut ? first : NULL;
        block.k = tri_attention_load(
            plan, tri_attention_at(args->k, args->dtype, k_at + key * args->k_stride),
            args->k_stride, block.width, buffers->k);
        block.v = tri_attention_load(
            plan, tri_attention_at(args->v, args->dtype, v_at + key * args->v_stride),
            args->v_stride, block.width, buffers->v);
        block.out = started ? buffers->part : buffers->total;
        TRI_TRY(forward_step(plan, buffers, &block));
        if (started)
            plan->kernels->simd->attention->merge(task->rows, width, buffers->factor, buffers->part,
                                                  buffers->total);
        started = true;
    }
    return TRI_OK;
}

/* The queries from `query` on of head h in sample b. */
static tri_status forward_task(const tri_attention_plan *plan, const forward_buffers *buffers,
                               int64_t b, int64_t h, int64_t query)
{
    const tri_attention_args *args = plan->args;
    int64_t rows = tri_min64(QUERIES, args->n_query - query);
    tri_attention_range keys = tri_attention_keys(args, b, query, rows);
    bool empty = keys.begin >= keys.end;
    if (empty && args->merge) return TRI_OK;
    int64_t out_at = b * args->out_batch_stride + query * args->out_stride + h * args->head_size;
    forward_rows task = {b, h, query, rows, NULL, NULL};
    task.out =
        (char *)args->out + out_at * (int64_t)tri_dtype_bytes(args->merge ? TRI_F32 : args->dtype);
    task.lse = args->lse + b * args->lse_batch_stride + h * args->lse_stride + query;
    rows_begin(plan, buffers, &task);
    if (!empty) TRI_TRY(rows_run(plan, buffers, &task, keys));
    rows_end(plan, buffers, &task, !empty);
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
    tri_attention_range keys = tri_attention_keys(args, b, t, 1);
    int64_t q_at = b * args->q_batch_stride + t * args->q_stride + h * width;
    int64_t k_at = b * args->k_batch_stride + keys.begin * args->k_stride + column;
    int64_t v_at = b * args->v_batch_stride + keys.begin * args->v_stride + column;
    int64_t out_at = b * args->out_batch_stride + t * args->out_stride + h * width;
    size_t element_bytes = tri_dtype_bytes(args->dtype);
    void *out = (char *)args->out + out_at * (int64_t)element_bytes;
    float *lse = args->lse + b * args->lse_batch_stride + h * args->lse_stride + t;
    if (keys.begin >= keys.end) {
        memset(out, 0, (size_t)width * element_bytes);
        *lse = -INFINITY;
        return;
    }
    tri_simd_query row = {.n_key = keys.end - keys.begin,
                          .head_size = width,
                          .k_stride = args->k_stride,
                          .v_stride = args->v_stride,
                          .scale = args->scale,
                          .bf16 = args->dtype == TRI_BF16,
                          .q = tri_attention_at(args->q, args->dtype, q_at),
                          .k = tri_attention_at(args->k, args->dtype, k_at),
                          .v = tri_attention_at(args->v, args->dtype, v_at),
                          .out = out,
                          .scores = tri_attention_share(plan, share)};
    *lse = plan->kernels->simd->attention->query(&row);
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

/* The places that queries see from must not fall: then a block of queries sees what lies between its
 * first and its last one, and so with keys. */
static tri_status visible_check(const tri_attention_args *args)
{
    if (!args->visible) return TRI_OK;
    TRI_CHECK(args->q_first >= 0, TRI_EINVAL,
              "attention on documents with queries from place %lld on: places begin at 0",
              (long long)args->q_first);
    for (int64_t b = 0; b < args->batch; b++) {
        const int32_t *first = tri_attention_visible(args, b, 0);
        for (int64_t t = 1; t < args->n_query; t++)
            TRI_CHECK(first[t - 1] <= first[t], TRI_EINVAL,
                      "attention on documents: the query at place %lld of sample %lld sees from "
                      "place %d on, the one before it from %d on; this must not fall",
                      (long long)(args->q_first + t), (long long)b, first[t], first[t - 1]);
    }
    return TRI_OK;
}

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
    TRI_CHECK(
        args->batch >= 0 && args->n_query >= 0 && args->n_key >= 0 && args->head_size > 0,
        TRI_EINVAL,
        "attention of %lld samples, %lld queries, %lld keys, head size %lld: sizes must not be "
        "negative",
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
    TRI_CHECK(args->lse_stride == 0 || args->lse_stride >= args->n_query, TRI_EINVAL,
              "attention with %lld elements between the heads of lse: there are %lld queries",
              (long long)args->lse_stride, (long long)args->n_query);
    TRI_CHECK(args->workspace, TRI_EINVAL, "attention without a workspace");
    TRI_TRY(visible_check(args));
    return TRI_OK;
}

/* The arguments with the strides that 0 stands for. */
static tri_attention_args args_fill(const tri_attention_args *args)
{
    tri_attention_args a = *args;
    if (!a.q_batch_stride) a.q_batch_stride = a.n_query * a.q_stride;
    if (!a.k_batch_stride) a.k_batch_stride = a.n_key * a.k_stride;
    if (!a.v_batch_stride) a.v_batch_stride = a.n_key * a.v_stride;
    if (!a.out_batch_stride) a.out_batch_stride = a.n_query * a.out_stride;
    if (!a.lse_stride) a.lse_stride = a.n_query;
    if (!a.lse_batch_stride) a.lse_batch_stride = a.heads * a.lse_stride;
    return a;
}

tri_status tri_attention_forward(tri_kernels *kernels, const tri_attention_args *args)
{
    TRI_TRY(args_check(args));
    if (args->batch == 0 || args->n_query == 0) return TRI_OK;
    tri_attention_args filled = args_fill(args);
    tri_attention_plan plan = plan_make(kernels, &filled);
    if (is_few(args))
        forward_queries(&plan);
    else
        TRI_TRY(forward_blocks(&plan));
    return TRI_OK;
}

tri_status tri_attention_backward(tri_kernels *kernels, const tri_attention_args *args)
{
    TRI_TRY(args_check(args));
    if (args->batch == 0) return TRI_OK;
    tri_attention_args filled = args_fill(args);
    tri_attention_plan plan = plan_make(kernels, &filled);
    TRI_TRY(tri_attention_backward_run(&plan));
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* Attention backward: the softmax is made again from lse (FlashAttention, arXiv:2205.14135,
 * algorithm 4).
 *
 * A task is one key/value head of one sample, so that each sum of dk, dv and dq is made by one
 * thread in one order. Tasks that would leave threads idle are shared by all of them: each takes
 * every n-th block of keys, and the threads' sums of dq are added in the threads' order. Blocks are held transposed, keys by queries: then dv += p dout and
 * dk += ds q are plain products, and only dq += ds^T k reads a block across.
 */
#include "kernels/cpu/attention_impl.h"

#include <omp.h>
#include <string.h>

enum { KEYS = 64, QUERIES = 512, QUERIES_UNIT = 64 };

/* A thread's share of the workspace. */
typedef struct backward_buffers {
    float *scores, *dp;      /* [KEYS, QUERIES] */
    void *p, *ds;            /* [KEYS, QUERIES] compute type */
    float *dq, *dk, *dv;     /* [n_query or n_key, head_size] */
    float *delta;            /* [n_query] sum of dout * out */
    float *q, *k, *v, *dout; /* widened operands */
} backward_buffers;

/* Keys key .. key + keys against queries query .. query + queries of one head. */
typedef struct backward_block {
    int64_t key, keys, query, queries;
    const int32_t *visible; /* [queries] first places they see, where not all see all of the keys */
    tri_attention_operand q, k, v, dout;
} backward_block;

/* What a task is about: offsets in elements. */
typedef struct backward_head {
    int64_t q, k, v, out;
    const float *lse;
    int64_t b;
} backward_head;

static backward_buffers backward_cut(const tri_attention_plan *plan, tri_attention_cutter *cutter)
{
    int64_t width = plan->args->head_size;
    int64_t n_query = plan->args->n_query;
    int64_t n_key = plan->args->n_key;
    int64_t block = (int64_t)KEYS * QUERIES;
    bool bf16 = plan->compute == TRI_BF16;
    backward_buffers b = {0};
    b.scores = tri_attention_cut(cutter, block, 4);
    b.dp = tri_attention_cut(cutter, block, 4);
    b.p = bf16 ? tri_attention_cut(cutter, block, 2) : b.scores;
    b.ds = bf16 ? tri_attention_cut(cutter, block, 2) : b.dp;
    b.dq = tri_attention_cut(cutter, n_query * width, 4);
    b.dk = tri_attention_cut(cutter, n_key * width, 4);
    b.dv = tri_attention_cut(cutter, n_key * width, 4);
    b.delta = tri_attention_cut(cutter, n_query, 4);
    if (plan->widens) {
        b.q = tri_attention_cut(cutter, QUERIES * width, 4);
        b.k = tri_attention_cut(cutter, KEYS * width, 4);
        b.v = tri_attention_cut(cutter, KEYS * width, 4);
        b.dout = tri_attention_cut(cutter, QUERIES * width, 4);
    }
    return b;
}

size_t tri_attention_backward_bytes(const tri_attention_plan *plan)
{
    tri_attention_cutter cutter = {0};
    (void)backward_cut(plan, &cutter);
    return cutter.bytes;
}

/* The five products of a block, in the order they are made. */
static void block_products(const tri_attention_plan *plan, const backward_block *block,
                           const backward_buffers *buffers, tri_matmul_args product[5])
{
    int64_t width = plan->args->head_size;
    tri_matmul_args base = {.input_type = plan->compute, .output_type = TRI_F32};

    tri_matmul_args across = base; /* [keys, queries] = [keys, width] [queries, width]^T */
    across.m = block->keys;
    across.n = block->queries;
    across.k = width;
    across.b_transposed = true;
    across.ldc = QUERIES;
    product[0] = across;
    product[0].a = block->k.data;
    product[0].lda = block->k.stride;
    product[0].b = block->q.data;
    product[0].ldb = block->q.stride;
    product[0].c = buffers->scores;
    product[1] = across;
    product[1].a = block->v.data;
    product[1].lda = block->v.stride;
    product[1].b = block->dout.data;
    product[1].ldb = block->dout.stride;
    product[1].c = buffers->dp;

    tri_matmul_args down = base; /* [keys, width] += [keys, queries] [queries, width] */
    down.m = block->keys;
    down.n = width;
    down.k = block->queries;
    down.accumulate = true;
    down.lda = QUERIES;
    down.ldc = width;
    product[2] = down;
    product[2].a = buffers->p;
    product[2].b = block->dout.data;
    product[2].ldb = block->dout.stride;
    product[3] = down;
    product[3].a = buffers->ds;
    product[3].b = block->q.data;
    product[3].ldb = block->q.stride;

    down.m = block->queries; /* [queries, width] += [keys, queries]^T [keys, width] */
    down.k = block->keys;
    down.a_transposed = true;
    product[4] = down;
    product[4].a = buffers->ds;
    product[4].b = block->k.data;
    product[4].ldb = block->k.stride;

    if (!buffers->dv) return;
    product[2].c = buffers->dv + block->key * width;
    product[3].c = buffers->dk + block->key * width;
    product[4].c = buffers->dq + block->query * width;
}

/* Queries of the block at `query`, of a row of blocks up to `end`: one of few numbers, whatever end
 * is. */
static int64_t block_queries(const tri_attention_args *args, int64_t query, int64_t end)
{
    int64_t queries = tri_min64(QUERIES, tri_round_up(end - query, QUERIES_UNIT));
    return tri_min64(queries, args->n_query - query);
}

static tri_status step_prepare(const tri_attention_plan *plan, int64_t keys, int64_t queries)
{
    const tri_attention_args *args = plan->args;
    int64_t wide = args->head_size;
    backward_buffers buffers = {0};
    backward_block block = {.keys = keys, .queries = queries};
    block.q.stride = plan->widens ? wide : args->q_stride;
    block.k.stride = plan->widens ? wide : args->k_stride;
    block.v.stride = plan->widens ? wide : args->v_stride;
    block.dout.stride = plan->widens ? wide : args->out_stride;
    tri_matmul_args product[5];
    block_products(plan, &block, &buffers, product);
    for (int i = 0; i < 5; i++)
        TRI_TRY(tri_block_prepare(plan->kernels, &product[i]));
    return TRI_OK;
}

/* Make the products of all blocks. Where documents end is known late: with them, those of every
 * number of queries that they may cut. */
static tri_status backward_prepare(const tri_attention_plan *plan)
{
    const tri_attention_args *args = plan->args;
    for (int64_t key = 0; key < args->n_key; key += KEYS) {
        int64_t keys = tri_min64(KEYS, args->n_key - key);
        int64_t query = tri_attention_causal_begin(args, key);
        int64_t queries = 0;
        for (; query < args->n_query; query += queries) {
            queries = block_queries(args, query, args->n_query);
            TRI_TRY(step_prepare(plan, keys, queries));
        }
        bool is_end = key == 0 || keys < KEYS;
        int64_t most = args->visible && is_end ? tri_min64(QUERIES, args->n_query) : 0;
        for (queries = QUERIES_UNIT; queries <= most; queries += QUERIES_UNIT)
            TRI_TRY(step_prepare(plan, keys, queries));
    }
    return TRI_OK;
}

static tri_status backward_step(const tri_attention_plan *plan, const backward_buffers *buffers,
                                const backward_block *block, const float *lse)
{
    int thread = omp_get_thread_num();
    tri_matmul_args product[5];
    block_products(plan, block, buffers, product);
    for (int i = 0; i < 2; i++)
        TRI_TRY(tri_block_matmul(plan->kernels, thread, &product[i]));
    tri_simd_softmax_gradient gradient = {.keys = block->keys,
                                          .queries = block->queries,
                                          .stride = QUERIES,
                                          .first = plan->args->k_first - plan->args->q_first +
                                                   block->key - block->query,
                                          .visible = block->visible,
                                          .place = plan->args->k_first + block->key,
                                          .scale = plan->args->scale,
                                          .bf16 = plan->compute == TRI_BF16,
                                          .scores = buffers->scores,
                                          .dp = buffers->dp,
                                          .lse = lse + block->query,
                                          .delta = buffers->delta + block->query,
                                          .p = buffers->p,
                                          .ds = buffers->ds};
    plan->kernels->simd->attention->gradient(&gradient);
    for (int i = 2; i < 5; i++)
        TRI_TRY(tri_block_matmul(plan->kernels, thread, &product[i]));
    return TRI_OK;
}

static tri_attention_operand load(const tri_attention_plan *plan, const void *x, int64_t at,
                                  int64_t stride, int64_t n, float *wide)
{
    return tri_attention_load(plan, tri_attention_at(x, plan->args->dtype, at), stride, n, wide);
}

/* Keys key .. key + keys of one query head: dk, dv and dq are added to. */
static tri_status backward_keys(const tri_attention_plan *plan, const backward_buffers *buffers,
                                const backward_head *head, int64_t key)
{
    const tri_attention_args *args = plan->args;
    backward_block block = {.key = key, .keys = tri_min64(KEYS, args->n_key - key)};
    tri_attention_range queries = tri_attention_queries(args, head->b, key, block.keys);
    if (queries.begin >= queries.end) return TRI_OK;
    block.k =
        load(plan, args->k, head->k + key * args->k_stride, args->k_stride, block.keys, buffers->k);
    block.v =
        load(plan, args->v, head->v + key * args->v_stride, args->v_stride, block.keys, buffers->v);
    int64_t query = queries.begin;
    for (; query < queries.end; query += block.queries) {
        block.query = query;
        block.queries = block_queries(args, query, queries.end);
        const int32_t *visible = tri_attention_visible(args, head->b, query);
        bool cut = visible && visible[block.queries - 1] > args->k_first + key;
        block.visible = cut ? visible : NULL;
        block.q = load(plan, args->q, head->q + query * args->q_stride, args->q_stride,
                       block.queries, buffers->q);
        block.dout = load(plan, args->dout, head->out + query * args->out_stride, args->out_stride,
                          block.queries, buffers->dout);
        TRI_TRY(backward_step(plan, buffers, &block, head->lse));
    }
    return TRI_OK;
}

/* One query head and every `parts`-th block of keys: dk and dv are added to, dq is made. */
static tri_status backward_head_run(const tri_attention_plan *plan, const backward_buffers *buffers,
                                    const backward_head *head, int64_t part, int64_t parts)
{
    const tri_attention_args *args = plan->args;
    tri_simd_rows rows = {args->n_query, args->head_size, args->out_stride,
                          args->dtype == TRI_BF16};
    plan->kernels->simd->attention->delta(
        &rows, tri_attention_at(args->dout, args->dtype, head->out),
        tri_attention_at(args->out, args->dtype, head->out), buffers->delta);
    memset(buffers->dq, 0, (size_t)(args->n_query * args->head_size) * sizeof *buffers->dq);
    for (int64_t key = part * KEYS; key < args->n_key; key += parts * KEYS)
        TRI_TRY(backward_keys(plan, buffers, head, key));
    return TRI_OK;
}

/* Rows [n, head_size] of a gradient to their place: element `at` of `out`. */
static void gradient_write(const tri_attention_plan *plan, int64_t n, const float *in, void *out,
                           int64_t at, int64_t stride)
{
    const tri_attention_args *args = plan->args;
    const tri_simd_attention *simd = plan->kernels->simd->attention;
    tri_simd_rows rows = {n, args->head_size, stride, args->dtype == TRI_BF16};
    if (args->accumulate)
        simd->add(&rows, in, (float *)out + at);
    else
        simd->copy(&rows, NULL, in, (char *)out + at * (int64_t)tri_dtype_bytes(args->dtype));
}

/* Query head h of sample b. */
static backward_head head_make(const tri_attention_args *args, int64_t b, int64_t h)
{
    int64_t g = h / (args->heads / args->kv_heads);
    return (backward_head){.q = b * args->q_batch_stride + h * args->head_size,
                           .k = b * args->k_batch_stride + g * args->head_size,
                           .v = b * args->v_batch_stride + g * args->head_size,
                           .out = b * args->out_batch_stride + h * args->head_size,
                           .lse = args->lse + b * args->lse_batch_stride + h * args->lse_stride,
                           .b = b};
}

/* Key/value head g of sample b with the query heads that read it. */
static tri_status backward_task(const tri_attention_plan *plan, const backward_buffers *buffers,
                                int64_t b, int64_t g)
{
    const tri_attention_args *args = plan->args;
    int64_t group = args->heads / args->kv_heads;
    size_t bytes = (size_t)(args->n_key * args->head_size) * sizeof *buffers->dk;
    backward_head head = head_make(args, b, g * group);
    memset(buffers->dk, 0, bytes);
    memset(buffers->dv, 0, bytes);
    for (int64_t h = g * group; h < (g + 1) * group; h++) {
        head = head_make(args, b, h);
        TRI_TRY(backward_head_run(plan, buffers, &head, 0, 1));
        gradient_write(plan, args->n_query, buffers->dq, args->dq, head.q, args->q_stride);
    }
    gradient_write(plan, args->n_key, buffers->dk, args->dk, head.k, args->k_stride);
    gradient_write(plan, args->n_key, buffers->dv, args->dv, head.v, args->v_stride);
    return TRI_OK;
}

/* --- a task shared by the team */

static backward_buffers buffers_of(const tri_attention_plan *plan, size_t share, int thread)
{
    char *workspace = plan->args->workspace;
    assert(workspace);
    tri_attention_cutter cutter = {workspace + (size_t)thread * share, 0};
    return backward_cut(plan, &cutter);
}

/* dq of some rows = sum over threads, in their order. */
static void shared_dq(const tri_attention_plan *plan, size_t share, const backward_head *head,
                      int thread, int threads)
{
    const tri_attention_args *args = plan->args;
    int64_t width = args->head_size;
    int64_t begin = args->n_query * thread / threads;
    int64_t rows = args->n_query * (thread + 1) / threads - begin;
    float *sum = buffers_of(plan, share, 0).dq + begin * width;
    for (int t = 1; t < threads; t++)
        plan->kernels->simd->reduce->accumulate(rows * width,
                                                buffers_of(plan, share, t).dq + begin * width, sum);
    gradient_write(plan, rows, sum, args->dq, head->q + begin * args->q_stride, args->q_stride);
}

/* Key/value head g of sample b, by all threads of the team: called by each of them. */
static void backward_shared(const tri_attention_plan *plan, size_t share, int64_t b, int64_t g,
                            tri_attention_failure *failure)
{
    const tri_attention_args *args = plan->args;
    int64_t width = args->head_size;
    int64_t group = args->heads / args->kv_heads;
    int thread = omp_get_thread_num();
    int threads = omp_get_num_threads();
    backward_buffers buffers = buffers_of(plan, share, thread);
    backward_head head = head_make(args, b, g * group);
    memset(buffers.dk, 0, (size_t)(args->n_key * width) * sizeof *buffers.dk);
    memset(buffers.dv, 0, (size_t)(args->n_key * width) * sizeof *buffers.dv);
    for (int64_t h = g * group; h < (g + 1) * group; h++) {
        head = head_make(args, b, h);
        tri_attention_note(failure, backward_head_run(plan, &buffers, &head, thread, threads));
#pragma omp barrier
        shared_dq(plan, share, &head, thread, threads);
#pragma omp barrier
    }
    for (int64_t key = thread * (int64_t)KEYS; key < args->n_key; key += threads * (int64_t)KEYS) {
        int64_t keys = tri_min64(KEYS, args->n_key - key);
        gradient_write(plan, keys, buffers.dk + key * width, args->dk,
                       head.k + key * args->k_stride, args->k_stride);
        gradient_write(plan, keys, buffers.dv + key * width, args->dv,
                       head.v + key * args->v_stride, args->v_stride);
    }
}

/* Does any query see any key? */
static bool sees_any(const tri_attention_args *args)
{
    for (int64_t b = 0; b < args->batch; b++) {
        tri_attention_range queries = tri_attention_queries(args, b, 0, args->n_key);
        if (queries.begin < queries.end) return true;
    }
    return false;
}

tri_status tri_attention_backward_run(const tri_attention_plan *plan)
{
    const tri_attention_args *args = plan->args;
    if (args->accumulate && !sees_any(args)) return TRI_OK;
    TRI_TRY(backward_prepare(plan));
    int64_t tasks = args->batch * args->kv_heads;
    int64_t alone = tasks - tasks % plan->kernels->threads;
    size_t share = tri_attention_backward_bytes(plan);
    tri_attention_failure failure = {0};
    tri_attention_failure *first = &failure;
#pragma omp parallel num_threads(plan->kernels->threads)
    {
        backward_buffers buffers = buffers_of(plan, share, omp_get_thread_num());
#pragma omp for schedule(dynamic, 1)
        for (int64_t task = 0; task < alone; task++)
            tri_attention_note(
                first, backward_task(plan, &buffers, task / args->kv_heads, task % args->kv_heads));
        for (int64_t task = alone; task < tasks; task++)
            backward_shared(plan, share, task / args->kv_heads, task % args->kv_heads, first);
    }
    return failure.rc ? tri_err_put(&failure.err) : TRI_OK;
}

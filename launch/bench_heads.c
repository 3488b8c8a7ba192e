// SPDX-License-Identifier: Apache-2.0
/* A thread has kernels of its own with a team of one, so that its products run beside those of the
 * other threads, as inside the attention kernel. Blocks, scores and sums over queries are the
 * thread's; q, k, v, out and their gradients are those of the layer.
 */
#include "launch/bench_heads.h"

#include "kernels/attention.h"
#include "kernels/matmul.h"
#include "runtime/base/alloc.h"
#include "runtime/base/clock.h"
#include "runtime/base/int.h"
#include "runtime/base/rng.h"

#include <math.h>
#include <stdio.h>

enum { WAY_BLOCKS = 3, WAY_ROUNDS = 3, WAY_BYTES = 64 };

typedef struct heads_way {
    int64_t block; /* queries */
    tri_dtype scores;
    bool across; /* backward: blocks of keys against all queries that see them, not the reverse */
} heads_way;

/* What one thread works with. */
typedef struct heads_thread {
    tri_device *device;
    tri_kernels *kernels;
    void *scores;   /* [block, length] */
    void *weights;  /* [block, length] probabilities, or gradients of scores, as inputs */
    float *dk, *dv; /* [length, head_size] sums over the heads of a group */
    tri_err error;
} heads_thread;

/* Buffers of one layer. */
typedef struct heads_layer {
    void *qkv, *out;
    float *lse;
} heads_layer;

struct tri_bench_heads {
    tri_bench_heads_args args;
    heads_way way;
    char text[WAY_BYTES];
    int n_threads;
    heads_thread *threads;
    heads_layer *layers;
    void *dqkv, *dout, *workspace;
};

static int64_t row_width(const tri_bench_heads_args *args)
{
    return (args->heads + 2 * args->kv_heads) * args->head_size;
}

void tri_bench_heads_destroy(tri_bench_heads **heads)
{
    tri_bench_heads *h = *heads;
    if (!h) return;
    tri_device *device = h->args.device;
    for (int t = 0; h->threads && t < h->n_threads; t++) {
        heads_thread *thread = &h->threads[t];
        void *memory[] = {thread->scores, thread->weights, thread->dk, thread->dv};
        for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++)
            tri_device_free(device, memory[i]);
        tri_kernels_destroy(&thread->kernels);
        tri_device_destroy(&thread->device);
    }
    for (int64_t l = 0; h->layers && l < h->args.layers; l++) {
        tri_device_free(device, h->layers[l].qkv);
        tri_device_free(device, h->layers[l].out);
        tri_device_free(device, h->layers[l].lse);
    }
    tri_device_free(device, h->dqkv);
    tri_device_free(device, h->dout);
    tri_device_free(device, h->workspace);
    TRI_FREE(h->threads);
    TRI_FREE(h->layers);
    TRI_FREE(*heads);
}

static tri_status allocate(const tri_bench_heads *h, int64_t count, tri_dtype dtype, void **out)
{
    size_t bytes = (size_t)count * tri_dtype_bytes(dtype);
    TRI_TRY(tri_device_alloc(h->args.device, TRI_MEM_WORKSPACE, bytes, out));
    return TRI_OK;
}

/* --- products */

static void *at(const void *base, int64_t elements, tri_dtype dtype)
{
    return (char *)(uintptr_t)base + elements * (int64_t)tri_dtype_bytes(dtype);
}

/* One head of one sample: where its rows are. */
typedef struct heads_unit {
    const void *q, *k, *v, *dout;
    void *out, *dq;
    int64_t in_stride, out_stride;
} heads_unit;

static heads_unit unit_of(const tri_bench_heads *h, const heads_layer *layer, int64_t index)
{
    const tri_bench_heads_args *args = &h->args;
    int64_t sample = index / args->heads;
    int64_t head = index % args->heads;
    int64_t kv_head = head / (args->heads / args->kv_heads);
    int64_t in_stride = row_width(args);
    int64_t out_stride = args->heads * args->head_size;
    int64_t in = sample * args->length * in_stride;
    int64_t key = in + (args->heads + kv_head) * args->head_size;
    int64_t out = sample * args->length * out_stride + head * args->head_size;
    return (heads_unit){
        .q = at(layer->qkv, in + head * args->head_size, args->dtype),
        .k = at(layer->qkv, key, args->dtype),
        .v = at(layer->qkv, key + args->kv_heads * args->head_size, args->dtype),
        .dout = at(h->dout, out, args->dtype),
        .out = at(layer->out, out, args->dtype),
        .dq = at(h->dqkv, in + head * args->head_size, args->dtype),
        .in_stride = in_stride,
        .out_stride = out_stride,
    };
}

/* scores = rows keys^T: of q and k, or of dout and v. */
static tri_status multiply_scores(const tri_bench_heads *h, heads_thread *t, const void *rows,
                                  int64_t stride, const void *keys, int64_t key_stride, int64_t m,
                                  int64_t n)
{
    tri_matmul_args args = {.m = m,
                            .n = n,
                            .k = h->args.head_size,
                            .a = rows,
                            .b = keys,
                            .c = t->scores,
                            .input_type = h->args.dtype,
                            .output_type = h->way.scores,
                            .b_transposed = true,
                            .lda = stride,
                            .ldb = key_stride,
                            .ldc = h->args.length};
    return tri_matmul(t->kernels, &args);
}

/* out = weights values: of v into out, or of k into dq. */
static tri_status multiply_rows(const tri_bench_heads *h, heads_thread *t, const void *values,
                                int64_t stride, void *out, int64_t out_stride, int64_t m, int64_t n)
{
    tri_matmul_args args = {.m = m,
                            .n = h->args.head_size,
                            .k = n,
                            .a = t->weights,
                            .b = values,
                            .c = out,
                            .input_type = h->args.dtype,
                            .output_type = h->args.dtype,
                            .lda = h->args.length,
                            .ldb = stride,
                            .ldc = out_stride};
    return tri_matmul(t->kernels, &args);
}

/* sum += weights^T rows: of dout into dv, or of q into dk. */
static tri_status multiply_keys(const tri_bench_heads *h, heads_thread *t, const void *rows,
                                int64_t stride, void *sum, int64_t m, int64_t n)
{
    tri_matmul_args args = {.m = n,
                            .n = h->args.head_size,
                            .k = m,
                            .a = t->weights,
                            .b = rows,
                            .c = sum,
                            .input_type = h->args.dtype,
                            .output_type = TRI_F32,
                            .a_transposed = true,
                            .accumulate = true,
                            .lda = h->args.length,
                            .ldb = stride,
                            .ldc = h->args.head_size};
    return tri_matmul(t->kernels, &args);
}

static tri_status unit_forward(const tri_bench_heads *h, heads_thread *t, const heads_unit *u)
{
    for (int64_t row = 0; row < h->args.length; row += h->way.block) {
        int64_t m = tri_min64(h->way.block, h->args.length - row);
        const void *q = at(u->q, row * u->in_stride, h->args.dtype);
        void *out = at(u->out, row * u->out_stride, h->args.dtype);
        TRI_TRY(multiply_scores(h, t, q, u->in_stride, u->k, u->in_stride, m, row + m));
        TRI_TRY(multiply_rows(h, t, u->v, u->in_stride, out, u->out_stride, m, row + m));
    }
    return TRI_OK;
}

static tri_status unit_backward(const tri_bench_heads *h, heads_thread *t, const heads_unit *u)
{
    for (int64_t row = 0; row < h->args.length; row += h->way.block) {
        int64_t m = tri_min64(h->way.block, h->args.length - row);
        int64_t n = row + m;
        const void *q = at(u->q, row * u->in_stride, h->args.dtype);
        const void *dout = at(u->dout, row * u->out_stride, h->args.dtype);
        void *dq = at(u->dq, row * u->in_stride, h->args.dtype);
        TRI_TRY(multiply_scores(h, t, q, u->in_stride, u->k, u->in_stride, m, n));
        TRI_TRY(multiply_keys(h, t, dout, u->out_stride, t->dv, m, n));
        TRI_TRY(multiply_scores(h, t, dout, u->out_stride, u->v, u->in_stride, m, n));
        TRI_TRY(multiply_rows(h, t, u->k, u->in_stride, dq, u->in_stride, m, n));
        TRI_TRY(multiply_keys(h, t, q, u->in_stride, t->dk, m, n));
    }
    return TRI_OK;
}

/* The same five products with keys as rows: the sums over queries are then the plain ones. */
static tri_status unit_backward_across(const tri_bench_heads *h, heads_thread *t,
                                       const heads_unit *u)
{
    for (int64_t row = 0; row < h->args.length; row += h->way.block) {
        int64_t m = tri_min64(h->way.block, h->args.length - row);
        int64_t n = h->args.length - row;
        const void *q = at(u->q, row * u->in_stride, h->args.dtype);
        const void *k = at(u->k, row * u->in_stride, h->args.dtype);
        const void *v = at(u->v, row * u->in_stride, h->args.dtype);
        const void *dout = at(u->dout, row * u->out_stride, h->args.dtype);
        void *sum = at(u->dq, row * u->in_stride, h->args.dtype);
        TRI_TRY(multiply_scores(h, t, k, u->in_stride, q, u->in_stride, m, n));
        TRI_TRY(multiply_rows(h, t, dout, u->out_stride, sum, u->in_stride, m, n));
        TRI_TRY(multiply_scores(h, t, v, u->in_stride, dout, u->out_stride, m, n));
        TRI_TRY(multiply_rows(h, t, q, u->in_stride, sum, u->in_stride, m, n));
        TRI_TRY(multiply_keys(h, t, k, u->in_stride, t->dk + row * h->args.head_size, m, n));
    }
    return TRI_OK;
}

static tri_status unit_run(const tri_bench_heads *h, heads_thread *t, const heads_unit *u,
                           bool backward)
{
    if (!backward) return unit_forward(h, t, u);
    return h->way.across ? unit_backward_across(h, t, u) : unit_backward(h, t, u);
}

/* This thread's heads of one layer. */
static tri_status thread_run(const tri_bench_heads *h, int index, int64_t layer, bool backward)
{
    heads_thread *t = &h->threads[index];
    int64_t units = h->args.batch * h->args.heads;
    int64_t end = units * (index + 1) / h->n_threads;
    for (int64_t i = units * index / h->n_threads; i < end; i++) {
        heads_unit unit = unit_of(h, &h->layers[layer], i);
        TRI_TRY(unit_run(h, t, &unit, backward));
    }
    return TRI_OK;
}

static tri_status layer_run(tri_bench_heads *h, int64_t layer, bool backward)
{
#pragma omp parallel for num_threads(h->n_threads) schedule(static, 1)
    for (int t = 0; t < h->n_threads; t++)
        if (thread_run(h, t, layer, backward) != TRI_OK) tri_err_take(&h->threads[t].error);
    for (int t = 0; t < h->n_threads; t++)
        if (h->threads[t].error.code != TRI_OK) TRI_TRY(tri_err_put(&h->threads[t].error));
    return TRI_OK;
}

tri_status tri_bench_heads_products(tri_bench_heads *h, tri_bench_heads_pass pass, double *seconds)
{
    double start_s = tri_clock_s();
    for (int64_t l = 0; pass & TRI_BENCH_HEADS_FORWARD && l < h->args.layers; l++)
        TRI_TRY(layer_run(h, l, false));
    for (int64_t l = h->args.layers - 1; pass & TRI_BENCH_HEADS_BACKWARD && l >= 0; l--)
        TRI_TRY(layer_run(h, l, true));
    *seconds = tri_clock_s() - start_s;
    return TRI_OK;
}

/* --- the kernels */

static tri_attention_args kernel_args(const tri_bench_heads *h, const heads_layer *layer)
{
    const tri_bench_heads_args *args = &h->args;
    int64_t stride = row_width(args);
    int64_t k = args->heads * args->head_size;
    int64_t v = k + args->kv_heads * args->head_size;
    return (tri_attention_args){.batch = args->batch,
                                .n_query = args->length,
                                .n_key = args->length,
                                .heads = args->heads,
                                .kv_heads = args->kv_heads,
                                .head_size = args->head_size,
                                .dtype = args->dtype,
                                .scale = 1.0f / sqrtf((float)args->head_size),
                                .q = layer->qkv,
                                .k = at(layer->qkv, k, args->dtype),
                                .v = at(layer->qkv, v, args->dtype),
                                .q_stride = stride,
                                .k_stride = stride,
                                .v_stride = stride,
                                .out = layer->out,
                                .out_stride = args->heads * args->head_size,
                                .lse = layer->lse,
                                .dout = h->dout,
                                .dq = h->dqkv,
                                .dk = at(h->dqkv, k, args->dtype),
                                .dv = at(h->dqkv, v, args->dtype),
                                .workspace = h->workspace};
}

tri_status tri_bench_heads_kernels(tri_bench_heads *h, tri_bench_heads_pass pass, double *seconds)
{
    double start_s = tri_clock_s();
    for (int64_t l = 0; pass & TRI_BENCH_HEADS_FORWARD && l < h->args.layers; l++) {
        tri_attention_args args = kernel_args(h, &h->layers[l]);
        TRI_TRY(tri_attention_forward(h->args.kernels, &args));
    }
    for (int64_t l = h->args.layers - 1; pass & TRI_BENCH_HEADS_BACKWARD && l >= 0; l--) {
        tri_attention_args args = kernel_args(h, &h->layers[l]);
        TRI_TRY(tri_attention_backward(h->args.kernels, &args));
    }
    *seconds = tri_clock_s() - start_s;
    return TRI_OK;
}

/* --- set-up */

/* Small normal deviates: the kernel's exponentials see what a fresh model gives them. */
static tri_status fill(const tri_bench_heads *h, uint64_t stream, int64_t count, void *out)
{
    float *normal = NULL;
    TRI_TRY(TRI_NEW_ARRAY(count, &normal));
    tri_rng rng = {.seed = 1, .stream = stream, .purpose = TRI_RNG_SAMPLE};
    tri_rng_normal(rng, 0, count, 0, 0.5f, normal);
    for (int64_t i = 0; i < count; i++) {
        if (h->args.dtype == TRI_BF16)
            ((tri_bf16 *)out)[i] = tri_f32_to_bf16(normal[i]);
        else
            ((float *)out)[i] = normal[i];
    }
    TRI_FREE(normal);
    return TRI_OK;
}

static tri_status thread_create(const tri_bench_heads *h, int64_t block, heads_thread *t)
{
    tri_device_args device = {.name = "cpu", .n_threads = 1};
    TRI_TRY(tri_device_create(&device, &t->device));
    TRI_TRY(tri_kernels_create(t->device, tri_kernels_isa(h->args.kernels), &t->kernels));
    int64_t scores = block * h->args.length;
    int64_t sums = h->args.length * h->args.head_size;
    TRI_TRY(allocate(h, scores, TRI_F32, &t->scores));
    TRI_TRY(allocate(h, scores, h->args.dtype, &t->weights));
    TRI_TRY(allocate(h, sums, TRI_F32, (void **)&t->dk));
    TRI_TRY(allocate(h, sums, TRI_F32, (void **)&t->dv));
    return TRI_OK;
}

static tri_status buffers_create(tri_bench_heads *h)
{
    const tri_bench_heads_args *args = &h->args;
    int64_t tokens = args->batch * args->length;
    int64_t in = tokens * row_width(args);
    int64_t out = tokens * args->heads * args->head_size;
    TRI_TRY(TRI_NEW_ARRAY(args->layers, &h->layers));
    for (int64_t l = 0; l < args->layers; l++) {
        TRI_TRY(allocate(h, in, args->dtype, &h->layers[l].qkv));
        TRI_TRY(allocate(h, out, args->dtype, &h->layers[l].out));
        TRI_TRY(allocate(h, tokens * args->heads, TRI_F32, (void **)&h->layers[l].lse));
        TRI_TRY(fill(h, (uint64_t)l, in, h->layers[l].qkv));
    }
    TRI_TRY(allocate(h, in, args->dtype, &h->dqkv));
    TRI_TRY(allocate(h, out, args->dtype, &h->dout));
    TRI_TRY(fill(h, (uint64_t)args->layers, out, h->dout));
    tri_attention_args kernel = kernel_args(h, &h->layers[0]);
    size_t bytes = tri_attention_workspace(args->kernels, &kernel);
    if (bytes > 0) TRI_TRY(tri_device_alloc(args->device, TRI_MEM_WORKSPACE, bytes, &h->workspace));
    return TRI_OK;
}

/* Best of several rounds, after one that makes the primitives. */
static tri_status time_way(tri_bench_heads *h, heads_way way, double *best_s)
{
    h->way = way;
    *best_s = INFINITY;
    for (int round = 0; round <= WAY_ROUNDS; round++) {
        double seconds = 0;
        TRI_TRY(tri_bench_heads_products(h, TRI_BENCH_HEADS_BOTH, &seconds));
        if (round > 0 && seconds < *best_s) *best_s = seconds;
    }
    return TRI_OK;
}

static tri_status choose_way(tri_bench_heads *h, const int64_t blocks[WAY_BLOCKS])
{
    heads_way best = {0};
    double best_s = INFINITY;
    int n_types = h->args.dtype == TRI_BF16 ? 2 : 1;
    for (int i = 0; i < WAY_BLOCKS * n_types * 2; i++) {
        heads_way way = {.block = blocks[i / 2 / n_types],
                         .scores = i / 2 % n_types ? TRI_BF16 : TRI_F32,
                         .across = i % 2 != 0};
        double seconds = 0;
        TRI_TRY(time_way(h, way, &seconds));
        if (seconds >= best_s) continue;
        best_s = seconds;
        best = way;
    }
    h->way = best;
    snprintf(h->text, sizeof h->text, "blocks of %lld, %s scores%s", (long long)best.block,
             tri_dtype_name(best.scores), best.across ? ", backward by keys" : "");
    return TRI_OK;
}

tri_status tri_bench_heads_create(const tri_bench_heads_args *args, tri_bench_heads **out)
{
    static const int64_t blocks[WAY_BLOCKS] = {64, 128, 256};
    TRI_AUTO(tri_bench_heads) *h = NULL;
    TRI_TRY(TRI_NEW(&h));
    h->args = *args;
    h->n_threads = tri_kernels_threads(args->kernels);
    TRI_TRY(TRI_NEW_ARRAY(h->n_threads, &h->threads));
    for (int t = 0; t < h->n_threads; t++)
        TRI_TRY(thread_create(h, blocks[WAY_BLOCKS - 1], &h->threads[t]));
    TRI_TRY(buffers_create(h));
    TRI_TRY(choose_way(h, blocks));
    *out = TRI_MOVE(h);
    return TRI_OK;
}

const char *tri_bench_heads_way(const tri_bench_heads *h)
{
    return h->text;
}

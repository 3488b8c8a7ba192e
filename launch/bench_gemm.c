// SPDX-License-Identifier: Apache-2.0
/* Products of GPT-2's linear layers at 2048 tokens (the head: a chunk of 512 rows): tri_matmul and
 * oneDNN's bare primitive, with b as it lies and with b packed first, in turn on the same operands.
 */
#include "launch/bench_gemm.h"

#include "kernels/matmul_bare.h"
#include "kernels/pointwise.h"
#include "launch/bench_race.h"
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"
#include "runtime/base/rng.h"
#include "runtime/coll.h"

#include <stdio.h>
#include <string.h>

enum {
    ROUNDS = 41,
    HEAD_ROUNDS = 21,
    PARTS = 8,
    PART_BYTES = 32 << 20,
    HIDDEN = 768,
    VOCAB = 50257,
    TOKENS = 2048,
    HEAD_ROWS = 512
};

typedef struct gemm_layer {
    const char *name;
    int64_t in, out, tokens;
} gemm_layer;

static const gemm_layer layers[] = {
    {"qkv",  HIDDEN,     3 * HIDDEN, TOKENS   },
    {"proj", HIDDEN,     HIDDEN,     TOKENS   },
    {"up",   HIDDEN,     4 * HIDDEN, TOKENS   },
    {"down", 4 * HIDDEN, HIDDEN,     TOKENS   },
    {"head", HIDDEN,     VOCAB,      HEAD_ROWS},
};
enum { LAYERS = sizeof layers / sizeof layers[0] };

typedef enum gemm_product { FORWARD, BACKWARD_INPUT, BACKWARD_WEIGHT, PRODUCTS } gemm_product;

/* Buffers for the largest layer. */
typedef struct gemm_bench {
    tri_device *device;
    tri_kernels *kernels;
    void *x, *y, *w;
    float *dw;
} gemm_bench;

/* What a slice does. */
typedef struct gemm_slice {
    tri_kernels *kernels;
    tri_matmul_args args;
    tri_matmul_bare *bare[PARTS]; /* one after the other make the product; none: tri_matmul */
    int n_parts;
    int64_t n;
} gemm_slice;

static void gemm_bench_destroy(gemm_bench **bench)
{
    if (!*bench) return;
    void *memory[] = {(*bench)->x, (*bench)->y, (*bench)->w, (*bench)->dw};
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++)
        tri_device_free((*bench)->device, memory[i]);
    tri_kernels_destroy(&(*bench)->kernels);
    TRI_FREE(*bench);
}

static tri_status gemm_bench_create(tri_device *device, gemm_bench **out)
{
    TRI_AUTO(gemm_bench) *bench = NULL;
    TRI_TRY(TRI_NEW(&bench));
    bench->device = device;
    TRI_TRY(tri_kernels_create(device, NULL, &bench->kernels));
    int64_t x = 0;
    int64_t y = 0;
    int64_t w = 0;
    for (int i = 0; i < LAYERS; i++) {
        x = tri_max64(x, layers[i].tokens * layers[i].in);
        y = tri_max64(y, layers[i].tokens * layers[i].out);
        w = tri_max64(w, layers[i].in * layers[i].out);
    }
    TRI_TRY(tri_device_alloc(device, TRI_MEM_ACTIVATIONS, (size_t)x * 4, &bench->x));
    TRI_TRY(tri_device_alloc(device, TRI_MEM_ACTIVATIONS, (size_t)y * 4, &bench->y));
    TRI_TRY(tri_device_alloc(device, TRI_MEM_WEIGHTS, (size_t)w * 4, &bench->w));
    TRI_TRY(tri_device_alloc(device, TRI_MEM_GRADIENTS, (size_t)w * 4, (void **)&bench->dw));
    *out = TRI_MOVE(bench);
    return TRI_OK;
}

/* Normal deviates; dw serves to round them. */
static tri_status fill(gemm_bench *bench, void *data, int64_t n, tri_dtype dtype)
{
    tri_rng rng = {.seed = 1, .purpose = TRI_RNG_TEST};
    tri_rng_normal(rng, 0, n, 0, 0.05F, bench->dw);
    TRI_TRY(tri_cast(bench->kernels, tri_span_make(bench->dw, n, TRI_F32),
                     tri_span_make(data, n, dtype)));
    return TRI_OK;
}

static tri_matmul_args product_args(const gemm_bench *bench, const gemm_layer *layer,
                                    gemm_product product, tri_dtype dtype)
{
    tri_matmul_args args = {.input_type = dtype, .output_type = dtype};
    int64_t in = layer->in;
    int64_t out = layer->out;
    switch (product) {
    case FORWARD: /* y [tokens, out] = x w^T, w [out, in] */
        args.m = layer->tokens, args.n = out, args.k = in;
        args.a = bench->x, args.b = bench->w, args.c = bench->y;
        args.lda = in, args.ldb = in, args.ldc = out;
        args.b_transposed = true;
        break;
    case BACKWARD_INPUT: /* dx [tokens, in] = dy w */
        args.m = layer->tokens, args.n = in, args.k = out;
        args.a = bench->y, args.b = bench->w, args.c = bench->x;
        args.lda = out, args.ldb = in, args.ldc = in;
        break;
    default: /* dw [out, in] += dy^T x */
        args.m = out, args.n = in, args.k = layer->tokens;
        args.a = bench->y, args.b = bench->x, args.c = bench->dw;
        args.lda = out, args.ldb = in, args.ldc = in;
        args.a_transposed = args.accumulate = true;
        args.output_type = TRI_F32;
        break;
    }
    return args;
}

static void gemm_slice_destroy(gemm_slice *slice)
{
    for (int i = 0; i < slice->n_parts; i++)
        tri_matmul_bare_destroy(&slice->bare[i]);
}

/* Make the bare products of a limit: one, or `n_parts` of equal depth that add up. */
static tri_status slice_limit(gemm_slice *slice, tri_matmul_way way, int n_parts)
{
    const tri_matmul_args *whole = &slice->args;
    size_t element_bytes = tri_dtype_bytes(whole->input_type);
    int64_t depth = tri_round_up((whole->k + n_parts - 1) / n_parts, 64);
    for (int64_t k = 0; k < whole->k; k += depth) {
        tri_matmul_args part = *whole;
        part.k = tri_min64(depth, whole->k - k);
        part.a = (const char *)whole->a + (size_t)k * element_bytes;
        part.b = (const char *)whole->b + (size_t)(k * whole->ldb) * element_bytes;
        part.accumulate = whole->accumulate || k > 0;
        TRI_TRY(tri_matmul_bare_create(slice->kernels, &part, way, &slice->bare[slice->n_parts]));
        slice->n_parts++;
    }
    return TRI_OK;
}

/* Parts of k whose packed b stays small, where they can be added up and b is large; else 0. */
static int parts_of(const tri_matmul_args *args)
{
    int64_t bytes = args->k * args->n * (int64_t)tri_dtype_bytes(args->input_type);
    int64_t parts = (bytes + PART_BYTES - 1) / PART_BYTES;
    bool adds = args->output_type == TRI_F32 && !args->a_transposed && !args->b_transposed;
    return adds && parts > 1 && parts <= PARTS ? (int)parts : 0;
}

static tri_status slice_run(void *arg)
{
    const gemm_slice *slice = arg;
    for (int64_t i = 0; i < slice->n; i++) {
        for (int part = 0; part < slice->n_parts; part++)
            TRI_TRY(tri_matmul_bare_run(slice->bare[part], 1));
        if (slice->n_parts == 0) TRI_TRY(tri_matmul(slice->kernels, &slice->args));
    }
    return TRI_OK;
}

/* The workload and its limits in turn; bare products are made and destroyed here. */
static tri_status measure(gemm_bench *bench, const tri_matmul_args *args, bool has_limit, int64_t n,
                          int n_rounds, tri_bench_result *out)
{
    gemm_slice ours = {.kernels = bench->kernels, .args = *args, .n = n};
    TRI_AUTO(gemm_slice) plain = ours;
    TRI_AUTO(gemm_slice) packed = ours;
    TRI_AUTO(gemm_slice) in_parts = ours;
    int n_parts = parts_of(args);
    if (has_limit) {
        TRI_TRY(slice_limit(&plain, TRI_MATMUL_PLAIN, 1));
        TRI_TRY(slice_limit(&packed, TRI_MATMUL_PACKED, 1));
        if (n_parts) TRI_TRY(slice_limit(&in_parts, TRI_MATMUL_PACKED, n_parts));
    }
    const tri_bench_runner runners[] = {
        {slice_run, &ours,     NULL,                            NULL},
        {slice_run, &plain,    "limit: b as it lies",           NULL},
        {slice_run, &packed,   "limit: b packed first",         NULL},
        {slice_run, &in_parts, "limit: b packed in parts of k", NULL}
    };
    TRI_TRY(tri_bench_race(!has_limit ? 1 : n_parts ? 4 : 3, runners, n_rounds, out));
    return TRI_OK;
}

static tri_status row(const tri_bench_args *args, gemm_bench *bench, const gemm_layer *layer,
                      gemm_product product, tri_dtype dtype)
{
    static const char *const names[PRODUCTS] = {"forward", "backward_input", "backward_weight"};
    const double slice_flops = 1e9; /* short: neighbours in time see the same machine */
    tri_matmul_args product_of = product_args(bench, layer, product, dtype);
    double flops = 2.0 * (double)product_of.m * (double)product_of.n * (double)product_of.k;
    int64_t n = 1 + (int64_t)(slice_flops / flops);
    bool has_limit = dtype == TRI_F32 || tri_kernels_has_bf16() ||
                     strcmp(tri_kernels_isa(bench->kernels), "avx512") == 0;
    tri_bench_result result;
    TRI_TRY(measure(bench, &product_of, has_limit, n, layer->out == VOCAB ? HEAD_ROUNDS : ROUNDS,
                    &result));
    if (tri_comm_rank(args->session->world) != 0) return TRI_OK;
    char name[64];
    snprintf(name, sizeof name, "gemm.%s.%s.%s", layer->name, names[product],
             tri_dtype_name(dtype));
    double gigaflops = flops * (double)n * 1e-9;
    tri_bench_line line = {.name = name,
                           .value = gigaflops / result.seconds,
                           .unit = "GF/s",
                           .limit = has_limit ? gigaflops / result.limit_s : 0,
                           .share = result.share,
                           .detail = has_limit ? result.detail : "oneDNN has no bf16 here"};
    return tri_bench_report(args, &line);
}

/* All products of one layer; a share above 1.02 fails the command after the last row. */
static tri_status layer_rows(const tri_bench_args *args, gemm_bench *bench, const gemm_layer *layer,
                             tri_dtype dtype, tri_status *worst)
{
    TRI_TRY(fill(bench, bench->x, layer->tokens * layer->in, dtype));
    TRI_TRY(fill(bench, bench->w, layer->in * layer->out, dtype));
    TRI_TRY(fill(bench, bench->y, layer->tokens * layer->out, dtype));
    for (int product = 0; product < PRODUCTS; product++) {
        tri_status rc = row(args, bench, layer, (gemm_product)product, dtype);
        if (rc == TRI_EBUG)
            *worst = rc;
        else
            TRI_TRY(rc);
    }
    return TRI_OK;
}

tri_status tri_bench_gemm(const tri_bench_args *args)
{
    TRI_CHECK(args->argc <= 1, TRI_EINVAL, "bench gemm takes no arguments");
    TRI_AUTO(gemm_bench) *bench = NULL;
    TRI_TRY(gemm_bench_create(args->session->device, &bench));
    const tri_dtype types[] = {TRI_BF16, TRI_F32};
    tri_status worst = TRI_OK;
    for (int t = 0; t < 2; t++)
        for (int i = 0; i < LAYERS; i++)
            TRI_TRY(layer_rows(args, bench, &layers[i], types[t], &worst));
    return worst;
}

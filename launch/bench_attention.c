// SPDX-License-Identifier: Apache-2.0
/* The attention kernels and the products that are in them take turns on the same activations. */
#include "launch/bench_attention.h"

#include "launch/bench_heads.h"
#include "launch/bench_race.h"
#include "runtime/base/alloc.h"
#include "runtime/coll.h"

#include <stdio.h>

enum { ROUNDS = 15, LAYERS = 2 };

typedef struct attention_size {
    const char *name;
    int64_t batch, length, heads, kv_heads, head_size;
} attention_size;

static const attention_size sizes[] = {
    {"gpt2.512",    4, 512,  12, 12, 64 },
    {"gpt2.1024",   2, 1024, 12, 12, 64 },
    {"grouped.512", 4, 512,  16, 4,  128},
};

typedef struct attention_slice {
    tri_bench_heads *heads;
    tri_bench_heads_pass pass;
    bool is_limit;
} attention_slice;

static tri_status slice_run(void *arg)
{
    const attention_slice *slice = arg;
    double unused_s = 0;
    if (slice->is_limit) return tri_bench_heads_products(slice->heads, slice->pass, &unused_s);
    return tri_bench_heads_kernels(slice->heads, slice->pass, &unused_s);
}

static tri_status row(const tri_bench_args *args, tri_bench_heads *heads,
                      const attention_size *size, tri_bench_heads_pass pass, tri_dtype dtype)
{
    bool is_forward = pass == TRI_BENCH_HEADS_FORWARD;
    attention_slice workload = {heads, pass, false};
    attention_slice limit = {heads, pass, true};
    const tri_bench_runner runners[] = {
        {slice_run, &workload, NULL,                       NULL},
        {slice_run, &limit,    tri_bench_heads_way(heads), NULL}
    };
    tri_bench_result result;
    TRI_TRY(tri_bench_race(2, runners, ROUNDS, &result));
    if (tri_comm_rank(args->session->world) != 0) return TRI_OK;
    double pairs = (double)size->length * ((double)size->length + 1) / 2;
    double product = 2 * pairs * (double)(size->head_size * size->batch * size->heads * LAYERS);
    double gigaflops = product * (is_forward ? 2 : 5) * 1e-9;
    char name[64];
    snprintf(name, sizeof name, "attention.%s.%s.%s", size->name,
             is_forward ? "forward" : "backward", tri_dtype_name(dtype));
    tri_bench_line line = {.name = name,
                           .value = gigaflops / result.seconds,
                           .unit = "GF/s",
                           .limit = gigaflops / result.limit_s,
                           .share = result.share,
                           .detail = result.detail};
    return tri_bench_report(args, &line);
}

static tri_status size_rows(const tri_bench_args *args, tri_kernels *kernels,
                            const attention_size *size, tri_dtype dtype, tri_status *worst)
{
    tri_bench_heads_args heads_args = {.device = args->session->device,
                                       .kernels = kernels,
                                       .layers = LAYERS,
                                       .batch = size->batch,
                                       .length = size->length,
                                       .heads = size->heads,
                                       .kv_heads = size->kv_heads,
                                       .head_size = size->head_size,
                                       .dtype = dtype};
    TRI_AUTO(tri_bench_heads) *heads = NULL;
    TRI_TRY(tri_bench_heads_create(&heads_args, &heads));
    const tri_bench_heads_pass passes[] = {TRI_BENCH_HEADS_FORWARD, TRI_BENCH_HEADS_BACKWARD};
    for (int i = 0; i < 2; i++) {
        tri_status rc = row(args, heads, size, passes[i], dtype);
        if (rc == TRI_EBUG)
            *worst = rc;
        else
            TRI_TRY(rc);
    }
    return TRI_OK;
}

tri_status tri_bench_attention(const tri_bench_args *args)
{
    TRI_CHECK(args->argc <= 1, TRI_EINVAL, "bench attention takes no arguments");
    TRI_AUTO(tri_kernels) *kernels = NULL;
    TRI_TRY(tri_kernels_create(args->session->device, NULL, &kernels));
    const tri_dtype types[] = {TRI_BF16, TRI_F32};
    tri_status worst = TRI_OK;
    for (int t = 0; t < 2; t++)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
            TRI_TRY(size_rows(args, kernels, &sizes[i], types[t], &worst));
    return worst;
}

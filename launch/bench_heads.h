// SPDX-License-Identifier: Apache-2.0
/* The products inside causal attention, as plain matrix products: two per head forward (scores,
 * mix) and five backward (scores again, their gradient, and those of v, k and q), over blocks of
 * queries and the keys that these see. Each thread multiplies the heads that are its own.
 */
#ifndef TRI_LAUNCH_BENCH_HEADS_H
#define TRI_LAUNCH_BENCH_HEADS_H

#include "kernels/kernels.h"

typedef struct tri_bench_heads tri_bench_heads;

typedef struct tri_bench_heads_args {
    tri_device *device;
    tri_kernels *kernels; /* for the attention kernels themselves */
    int64_t layers, batch, length, heads, kv_heads, head_size;
    tri_dtype dtype;
} tri_bench_heads_args;

/* Make activations of all layers, q, k and v side by side as in a model, and choose the way of
 * writing the products that is fastest here: how many queries a block has, the type of the
 * scores, and whether backward goes by queries or by keys. Not collective. Keeps: device, kernels. Errors: TRI_ENOMEM, those of products. */
TRI_MUST_USE tri_status tri_bench_heads_create(const tri_bench_heads_args *args,
                                               tri_bench_heads **out);
void tri_bench_heads_destroy(tri_bench_heads **heads);

/* Which part of a pass, all layers. */
typedef enum tri_bench_heads_pass {
    TRI_BENCH_HEADS_FORWARD = 1,
    TRI_BENCH_HEADS_BACKWARD = 2,
    TRI_BENCH_HEADS_BOTH = 3
} tri_bench_heads_pass;

/* *seconds of the products of a pass. Not collective. */
TRI_MUST_USE tri_status tri_bench_heads_products(tri_bench_heads *heads, tri_bench_heads_pass pass,
                                                 double *seconds);

/* *seconds of the attention kernels in the same pass. Not collective. */
TRI_MUST_USE tri_status tri_bench_heads_kernels(tri_bench_heads *heads, tri_bench_heads_pass pass,
                                                double *seconds);

/* "blocks of 128, bf16 scores, backward by keys". Not collective. */
const char *tri_bench_heads_way(const tri_bench_heads *heads);

#endif

// SPDX-License-Identifier: Apache-2.0
/* The matrix products of a step: recorded from a step, then multiplied again, alone, by shape, on the
 * same operands: the weights, activations and gradients of the job itself, so that what came from
 * memory in the step comes from memory here.
 */
#ifndef TRI_LAUNCH_BENCH_PRODUCTS_H
#define TRI_LAUNCH_BENCH_PRODUCTS_H

#include "kernels/matmul.h"

typedef struct tri_bench_products tri_bench_products;

/* Products of one shape, types, layout and form. */
typedef struct tri_bench_shape {
    tri_matmul_args args; /* of one of them */
    int64_t products;     /* in a step */
    double flops;         /* of all */
    double alone_s;       /* of all, in the last replay */
    double inside_s;      /* of all, in the last step that was watched */
    const char *way;      /* how the replay multiplies: what was fastest */
} tri_bench_shape;

/* Begin to record what these kernels multiply. Not collective. Keeps: kernels. */
TRI_MUST_USE tri_status tri_bench_products_create(tri_kernels *kernels, tri_bench_products **out);
void tri_bench_products_destroy(tri_bench_products **products);

/* One step has passed: from now on steps are only watched. Chooses for each shape the fastest of
 * tri_matmul and the bare primitive's ways. Not collective. Overwrites what a replay does.
 * Errors: TRI_EBUG no product was seen; TRI_ENOMEM; those of products. */
TRI_MUST_USE tri_status tri_bench_products_end(tri_bench_products *products);

/* Begin to watch a step, and end. Not collective. *inside_s = time spent in its products.
 * Errors of end: TRI_EBUG the step multiplied something else than the recorded one. */
void tri_bench_products_watch(tri_bench_products *products);
TRI_MUST_USE tri_status tri_bench_products_watched(tri_bench_products *products, double *inside_s);

/* Multiply all again, shape by shape; *alone_s = time of all. Overwrites activations and gradients of
 * the job, which the next step makes anew. Not collective. */
TRI_MUST_USE tri_status tri_bench_products_replay(tri_bench_products *products, double *alone_s);

/* The shapes, largest work first. Not collective. */
int tri_bench_products_shapes(const tri_bench_products *products);
const tri_bench_shape *tri_bench_products_shape(const tri_bench_products *products, int index);

#endif

// SPDX-License-Identifier: Apache-2.0
/* Comparisons of a layer over a tensor axis with the whole one, and of its messages with the predicted
 * ones (see tensor_rig.h).
 */
#ifndef TRI_TESTS_PARALLEL_TENSOR_EXPECT_H
#define TRI_TESTS_PARALLEL_TENSOR_EXPECT_H

#include "tests/parallel/tensor_rig.h"

/* Relative difference of `n` numbers of the layout's type. */
static inline double difference(rig *r, int64_t n, const void *got, const void *want)
{
    int64_t used = r->used;
    float *a = take(r, n);
    float *b = take(r, n);
    tri_status rc =
        tri_cast(r->kernels, tri_span_make(got, n, r->layout->dtype), tri_span_make(a, n, TRI_F32));
    if (rc == TRI_OK)
        rc = tri_cast(r->kernels, tri_span_make(want, n, r->layout->dtype),
                      tri_span_make(b, n, TRI_F32));
    double d = tri_test_relative(n, a, b);
    memset(a, 0, (size_t)n * sizeof *a);
    memset(b, 0, (size_t)n * sizeof *b);
    r->used = used;
    return rc == TRI_OK ? d : INFINITY;
}

static inline double tolerance(const rig *r)
{
    return r->layout->dtype == TRI_F32 ? 1e-5 : 2e-2;
}

#define EXPECT_CLOSE(r, error, what)                                                 \
    do {                                                                             \
        double error_ = (error);                                                     \
        const layout *l_ = (r)->layout;                                              \
        EXPECT(error_ <= tolerance(r),                                               \
               "%s differs by %.3g (rank %d of %d, sequence %d, %d "                 \
               "chunks, %s, variant %d)",                                            \
               (what), error_, (r)->axis.index, l_->ranks, l_->sequence, l_->chunks, \
               tri_dtype_name(l_->dtype), (int)l_->variant);                         \
    } while (0)

/* The outer rows of `got` are those of all rows of `want`. */
static inline double outer_difference(rig *r, int64_t width, const void *got, const void *want)
{
    int64_t first = tri_tensor_outer_first(&r->axis, ROWS);
    return difference(r, tri_tensor_outer_rows(&r->axis, ROWS) * width, got,
                      tri_layer_at(want, first * width, r->layout->dtype));
}

/* Relative difference of the sum over the ranks of their parts' gradients from the whole one. */
static inline double gradient_difference(rig *r, const cut *c, const float *got, const float *want)
{
    int64_t n = c->rows * c->columns;
    int64_t used = r->used;
    float *sum = take(r, n);
    memset(sum, 0, (size_t)n * sizeof *sum);
    for (int64_t i = 0; i < c->n_rows; i++)
        memcpy(sum + (c->row + i) * c->columns + c->column, got + i * c->n_columns,
               (size_t)c->n_columns * sizeof *sum);
    tri_status rc = tri_allreduce(r->comm, (tri_span){sum, n, TRI_F32}, TRI_SUM, NULL);
    double d = tri_test_relative(n, sum, want);
    memset(sum, 0, (size_t)n * sizeof *sum);
    r->used = used;
    return rc == TRI_OK ? d : INFINITY;
}

/* What the axis has moved since `start_counting` is what the list says, kind by kind. */
static inline void start_counting(rig *r)
{
    r->before = tri_comm_stats(r->comm);
}

static inline void expect_traffic(const rig *r, const tri_traffic_list *list)
{
    tri_coll_stats now = tri_comm_stats(r->comm);
    for (int kind = 0; kind < TRI_COLL_KINDS; kind++) {
        long long calls = 0;
        long long bytes = 0;
        for (int i = 0; i < list->n; i++) {
            if (list->entry[i].kind != (tri_coll_kind)kind) continue;
            calls += list->entry[i].calls;
            bytes += list->entry[i].payload_bytes;
        }
        long long made = now.calls[kind] - r->before.calls[kind];
        long long moved = now.payload_bytes[kind] - r->before.payload_bytes[kind];
        EXPECT(r->layout->ranks == 1 || (calls == made && bytes == moved),
               "kind %d: %lld calls of %lld bytes, predicted %lld of %lld", kind, made, moved,
               calls, bytes);
    }
}

#endif

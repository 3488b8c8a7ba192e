// SPDX-License-Identifier: Apache-2.0
/* A world of sequences (attention_world.h) made, and given to the kernel in parts. */
#ifndef TRI_TESTS_KERNELS_ATTENTION_CALLS_H
#define TRI_TESTS_KERNELS_ATTENTION_CALLS_H

#include "tests/kernels/attention_world.h"

enum { GUARD = 64 };

static inline void documents_draw(world *w)
{
    for (int64_t b = 0; b < w->s.batch; b++) {
        int32_t *visible = w->visible + b * w->s.length;
        int64_t first = 0;
        int64_t end = 1 + draw(w, w->s.document);
        for (int64_t t = 0; t < w->s.length; t++) {
            if (t == end) {
                first = t;
                end = t + 1 + draw(w, w->s.document);
            }
            visible[t] = (int32_t)first;
        }
    }
}

/* out and lse of the whole, as the kernel will be given them in backward. */
static inline tri_status whole_fill(world *w)
{
    TRI_AUTO(answer) *a = NULL;
    const block all = {0, w->s.length, 0, w->s.length};
    TRI_TRY(answer_create(&w->s, &all, &a));
    reference(w, &all, false, a);
    for (int64_t b = 0; b < w->s.batch; b++)
        for (int64_t t = 0; t < w->s.length; t++)
            for (int64_t i = 0; i < w->q_width; i++)
                w->out->value[b * w->q_batch + t * w->q_stride + i] =
                    (float)a->out[(b * w->s.length + t) * w->q_width + i];
    kernel_array_write(w->out);
    for (int64_t i = 0; i < w->s.batch * w->s.heads * w->s.length; i++) {
        w->lse[i] = a->lse[i];
        w->lse_value[i] = (float)a->lse[i];
    }
    return TRI_OK;
}

static inline tri_status world_create(const shape *s, tri_dtype dtype, world **out)
{
    TRI_AUTO(world) *w = NULL;
    TRI_TRY(TRI_NEW(&w));
    *w = (world){.s = *s, .dtype = dtype, .random = 5};
    w->q_width = s->heads * s->head_size;
    w->kv_width = s->kv_heads * s->head_size;
    w->q_stride = w->q_width + PAD;
    w->kv_stride = w->kv_width + 1;
    w->q_batch = (s->length + 1) * w->q_stride;
    w->kv_batch = (s->length + 2) * w->kv_stride;
    TRI_TRY(kernel_array_create(dtype, s->batch * w->q_batch, 1, 1, &w->q));
    TRI_TRY(kernel_array_create(dtype, s->batch * w->kv_batch, 2, 1, &w->k));
    TRI_TRY(kernel_array_create(dtype, s->batch * w->kv_batch, 3, 1, &w->v));
    TRI_TRY(kernel_array_create(dtype, s->batch * w->q_batch, 4, 1, &w->dout));
    TRI_TRY(kernel_array_create(dtype, s->batch * w->q_batch, 0, 0, &w->out));
    TRI_TRY(TRI_NEW_ARRAY(s->batch * s->heads * s->length, &w->lse));
    TRI_TRY(TRI_NEW_ARRAY(s->batch * s->heads * s->length, &w->lse_value));
    if (s->document) {
        TRI_TRY(TRI_NEW_ARRAY(s->batch * s->length, &w->visible));
        documents_draw(w);
    }
    TRI_TRY(whole_fill(w));
    *out = TRI_MOVE(w);
    return TRI_OK;
}

static inline const void *at(const kernel_array *x, int64_t element)
{
    return (const char *)x->data + element * (int64_t)tri_dtype_bytes(x->dtype);
}

static inline tri_attention_args block_args(const world *w, const block *k)
{
    return (tri_attention_args){
        .batch = w->s.batch,
        .n_query = k->n_query,
        .n_key = k->n_key,
        .q_first = k->q_first,
        .k_first = k->k_first,
        .visible = w->visible,
        .visible_stride = w->s.length,
        .heads = w->s.heads,
        .kv_heads = w->s.kv_heads,
        .head_size = w->s.head_size,
        .dtype = w->dtype,
        .scale = scale_of(w),
        .q = at(w->q, k->q_first * w->q_stride),
        .k = at(w->k, k->k_first * w->kv_stride),
        .v = at(w->v, k->k_first * w->kv_stride),
        .q_stride = w->q_stride,
        .k_stride = w->kv_stride,
        .v_stride = w->kv_stride,
        .q_batch_stride = w->q_batch,
        .k_batch_stride = w->kv_batch,
        .v_batch_stride = w->kv_batch,
        .out_stride = w->q_stride,
        .out_batch_stride = w->q_batch,
    };
}

/* One pass with a workspace of just the bytes that were said. */
static inline tri_status pass_run(const kernel_case *c, tri_attention_args *args, bool backward)
{
    char *workspace = NULL;
    size_t bytes = tri_attention_workspace(c->kernels, args);
    TRI_TRY(TRI_NEW_ARRAY((int64_t)bytes + GUARD, &workspace));
    memset(workspace, 0x5a, bytes + GUARD);
    args->workspace = workspace;
    tri_status rc = backward ? tri_attention_backward(c->kernels, args)
                             : tri_attention_forward(c->kernels, args);
    for (int i = 0; i < GUARD; i++)
        EXPECT(workspace[bytes + (size_t)i] == 0x5a, "the workspace is larger than %zu", bytes);
    TRI_FREE(workspace);
    return rc;
}

/* Difference of strided rows from dense ones, over the norm of the whole (1 at least). */
static inline double rows_error(const float *got, int64_t batch, int64_t batch_stride,
                                int64_t tokens, int64_t stride, int64_t width, const double *want)
{
    double difference = 0;
    double norm = 0;
    for (int64_t b = 0; b < batch; b++)
        for (int64_t t = 0; t < tokens; t++)
            for (int64_t i = 0; i < width; i++) {
                double right = want[(b * tokens + t) * width + i];
                double left = (double)got[b * batch_stride + t * stride + i];
                difference += (left - right) * (left - right);
                norm += right * right;
            }
    return sqrt(difference / fmax(norm, 1));
}

static inline void expect_near(const kernel_case *c, const world *w, const block *k,
                               const char *what, double error)
{
    double tolerance = c->dtype == TRI_BF16 ? 1e-2 : 1e-5;
    EXPECT(error <= tolerance,
           "%s on %s, %s, %d threads, head size %lld, documents %lld, queries %lld+%lld, keys "
           "%lld+%lld: %g",
           what, c->isa, tri_dtype_name(c->dtype), c->threads, (long long)w->s.head_size,
           (long long)w->s.document, (long long)k->q_first, (long long)k->n_query,
           (long long)k->k_first, (long long)k->n_key, error);
}

static inline void expect_lse(const float *got, const double *want, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        bool same = isinf(want[i]) ? got[i] == -INFINITY
                                   : fabs((double)got[i] - want[i]) <= 1e-5 * (1 + fabs(want[i]));
        EXPECT(same, "lse %lld is %g, not %g", (long long)i, (double)got[i], want[i]);
    }
}

#endif

// SPDX-License-Identifier: Apache-2.0
/* Whole sequences and dense attention over them in double precision: what all ranks of a context test
 * are compared with.
 */
#ifndef TRI_TESTS_PARALLEL_CONTEXT_WORLD_H
#define TRI_TESTS_PARALLEL_CONTEXT_WORLD_H

#include "parallel/context.h"
#include "runtime/base/rng.h"
#include "tests/test.h"

/* Where documents begin: ONE: only at place 0. RANDOM: lengths from 1 to a third of the sequence.
 * ACROSS: in the middle of every chunk, so that one lies across each border of chunks. ALIGNED: with
 * every chunk. */
typedef enum context_documents { ONE, RANDOM, ACROSS, ALIGNED } context_documents;

/* A layout and sizes. */
typedef struct context_case {
    tri_context_mode mode;
    int data, size, tensor; /* of the mesh: data and tensor ranks do the same */
    int n_ulysses;
    int64_t batch, length, heads, kv_heads, head_size;
    tri_dtype dtype;
    context_documents documents;
    bool evaluates; /* no training */
} context_case;

/* Whole tensors [batch, length, heads * head_size]; fp32 copies of doubles. */
typedef struct context_world {
    context_case c;
    int32_t *visible;          /* [batch, length] */
    float *q, *k, *v, *dout;   /* of the case's dtype exactly */
    float *out, *dq, *dk, *dv; /* truth */
} context_world;

static inline void world_destroy(context_world *w)
{
    TRI_FREE(w->visible);
    TRI_FREE(w->q);
    TRI_FREE(w->k);
    TRI_FREE(w->v);
    TRI_FREE(w->dout);
    TRI_FREE(w->out);
    TRI_FREE(w->dq);
    TRI_FREE(w->dk);
    TRI_FREE(w->dv);
}

static inline int64_t query_width(const context_case *c)
{
    return c->heads * c->head_size;
}

static inline int64_t key_width(const context_case *c)
{
    return c->kv_heads * c->head_size;
}

static inline tri_status world_draw(const context_case *c, uint64_t stream, int64_t n, float **out)
{
    TRI_TRY(TRI_NEW_ARRAY(n, out));
    tri_rng_normal((tri_rng){7, stream, TRI_RNG_TEST}, 0, n, 0, 1, *out);
    for (int64_t i = 0; i < n && c->dtype == TRI_BF16; i++)
        (*out)[i] = tri_bf16_to_f32(tri_f32_to_bf16((*out)[i]));
    return TRI_OK;
}

/* Tokens of the document that begins at `first`. */
static inline int64_t world_document(const context_case *c, tri_rng rng, int64_t first)
{
    int64_t chunk = c->length / (2 * c->size / c->n_ulysses);
    if (c->documents == ACROSS && first == 0) return chunk / 2;
    if (c->documents != RANDOM) return chunk;
    return 1 + (int64_t)(tri_rng_uniform(rng, (uint64_t)first) * (float)c->length / 3);
}

static inline void world_documents(context_world *w)
{
    const context_case *c = &w->c;
    for (int64_t b = 0; b < c->batch; b++) {
        tri_rng rng = {11, (uint64_t)b, TRI_RNG_TEST};
        int64_t first = 0;
        int64_t end = world_document(c, rng, 0);
        for (int64_t t = 0; t < c->length; t++) {
            if (t == end) {
                first = t;
                end = t + world_document(c, rng, t);
            }
            w->visible[b * c->length + t] = (int32_t)first;
        }
    }
}

/* Row t of sample b, head h of a tensor of `heads` heads. */
static inline int64_t world_at(const context_case *c, int64_t heads, int64_t b, int64_t t,
                               int64_t h)
{
    return ((b * c->length + t) * heads + h) * c->head_size;
}

static inline double world_dot(int64_t n, const float *a, const float *b)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

/* Softmax of row t's scores over the keys it sees, first ... t. */
static inline void world_weights(const context_world *w, int64_t b, int64_t h, int64_t t, double *p)
{
    const context_case *c = &w->c;
    int64_t g = h / (c->heads / c->kv_heads);
    int64_t first = w->visible[b * c->length + t];
    double scale = 1 / sqrt((double)c->head_size);
    double most = -INFINITY;
    double sum = 0;
    for (int64_t j = first; j <= t; j++) {
        p[j] = scale * world_dot(c->head_size, w->q + world_at(c, c->heads, b, t, h),
                                 w->k + world_at(c, c->kv_heads, b, j, g));
        most = p[j] > most ? p[j] : most;
    }
    for (int64_t j = first; j <= t; j++)
        sum += p[j] = exp(p[j] - most);
    for (int64_t j = first; j <= t; j++)
        p[j] /= sum;
}

/* One head of one sample: out, dq; dk, dv += in double. */
static inline void world_head(context_world *w, int64_t b, int64_t h, double *p, double *dk,
                              double *dv)
{
    const context_case *c = &w->c;
    int64_t Dh = c->head_size;
    int64_t g = h / (c->heads / c->kv_heads);
    double scale = 1 / sqrt((double)Dh);
    for (int64_t t = 0; t < c->length; t++) {
        int64_t at = world_at(c, c->heads, b, t, h);
        int64_t first = w->visible[b * c->length + t];
        double delta = 0;
        world_weights(w, b, h, t, p);
        for (int64_t i = 0; i < Dh; i++) {
            double out = 0;
            for (int64_t j = first; j <= t; j++)
                out += p[j] * (double)w->v[world_at(c, c->kv_heads, b, j, g) + i];
            w->out[at + i] = (float)out;
            delta += out * (double)w->dout[at + i];
        }
        for (int64_t j = first; j <= t; j++) {
            int64_t key = world_at(c, c->kv_heads, b, j, g);
            double dp = world_dot(Dh, w->dout + at, w->v + key);
            double ds = p[j] * (dp - delta) * scale;
            for (int64_t i = 0; i < Dh; i++) {
                dv[key + i] += p[j] * (double)w->dout[at + i];
                dk[key + i] += ds * (double)w->q[at + i];
                w->dq[at + i] += (float)(ds * (double)w->k[key + i]);
            }
        }
    }
}

static inline tri_status world_create(const context_case *c, context_world *w)
{
    int64_t tokens = c->batch * c->length;
    int64_t n_keys = tokens * key_width(c);
    double *p = NULL;
    double *sums = NULL;
    *w = (context_world){.c = *c};
    TRI_TRY(TRI_NEW_ARRAY(tokens, &w->visible));
    if (c->documents != ONE) world_documents(w);
    TRI_TRY(world_draw(c, 1, tokens * query_width(c), &w->q));
    TRI_TRY(world_draw(c, 2, n_keys, &w->k));
    TRI_TRY(world_draw(c, 3, n_keys, &w->v));
    TRI_TRY(world_draw(c, 4, tokens * query_width(c), &w->dout));
    TRI_TRY(TRI_NEW_ARRAY(tokens * query_width(c), &w->out));
    TRI_TRY(TRI_NEW_ARRAY(tokens * query_width(c), &w->dq));
    TRI_TRY(TRI_NEW_ARRAY(n_keys, &w->dk));
    TRI_TRY(TRI_NEW_ARRAY(n_keys, &w->dv));
    TRI_TRY(TRI_NEW_ARRAY(c->length, &p));
    TRI_TRY(TRI_NEW_ARRAY(2 * n_keys, &sums));
    for (int64_t b = 0; b < c->batch; b++)
        for (int64_t h = 0; h < c->heads; h++)
            world_head(w, b, h, p, sums, sums + n_keys);
    for (int64_t i = 0; i < n_keys; i++) {
        w->dk[i] = (float)sums[i];
        w->dv[i] = (float)sums[n_keys + i];
    }
    TRI_FREE(p);
    TRI_FREE(sums);
    return TRI_OK;
}

#endif

// SPDX-License-Identifier: Apache-2.0
/* Whole sequences with packed documents, and what a block of queries gives on a block of keys by the
 * definition, in double precision.
 */
#ifndef TRI_TESTS_KERNELS_ATTENTION_WORLD_H
#define TRI_TESTS_KERNELS_ATTENTION_WORLD_H

#include "kernels/attention.h"
#include "tests/kernels/kernel_cases.h"

enum { PAD = 3 };

typedef struct shape {
    int64_t batch, length, heads, kv_heads, head_size;
    int64_t document; /* longest document; 0: none */
} shape;

/* A block: queries and keys from these places on. */
typedef struct block {
    int64_t q_first, n_query, k_first, n_key;
} block;

/* Whole sequences, and what attention over all of them is. */
typedef struct world {
    shape s;
    tri_dtype dtype;
    uint64_t random;
    int64_t q_width, kv_width, q_stride, kv_stride, q_batch, kv_batch;
    int32_t *visible;
    kernel_array *q, *k, *v, *dout, *out; /* out: of dtype, [batch, length, q_stride] */
    double *lse;                          /* [batch, heads, length] */
    float *lse_value;
} world;

/* What a block gives: dense, [batch, tokens, heads, head_size] and [batch, heads, tokens]. */
typedef struct answer {
    double *out, *lse, *dq, *dk, *dv;
} answer;

static inline void world_destroy(world **w)
{
    if (!*w) return;
    kernel_array_destroy(&(*w)->q);
    kernel_array_destroy(&(*w)->k);
    kernel_array_destroy(&(*w)->v);
    kernel_array_destroy(&(*w)->dout);
    kernel_array_destroy(&(*w)->out);
    TRI_FREE((*w)->visible);
    TRI_FREE((*w)->lse);
    TRI_FREE((*w)->lse_value);
    TRI_FREE(*w);
}

static inline void answer_destroy(answer **a)
{
    if (!*a) return;
    TRI_FREE((*a)->out);
    TRI_FREE((*a)->lse);
    TRI_FREE((*a)->dq);
    TRI_FREE((*a)->dk);
    TRI_FREE((*a)->dv);
    TRI_FREE(*a);
}

static inline tri_status answer_create(const shape *s, const block *b, answer **out)
{
    TRI_AUTO(answer) *a = NULL;
    TRI_TRY(TRI_NEW(&a));
    int64_t queries = s->batch * b->n_query * s->heads;
    int64_t keys = s->batch * b->n_key * s->kv_heads;
    TRI_TRY(TRI_NEW_ARRAY(queries * s->head_size, &a->out));
    TRI_TRY(TRI_NEW_ARRAY(queries, &a->lse));
    TRI_TRY(TRI_NEW_ARRAY(queries * s->head_size, &a->dq));
    TRI_TRY(TRI_NEW_ARRAY(keys * s->head_size, &a->dk));
    TRI_TRY(TRI_NEW_ARRAY(keys * s->head_size, &a->dv));
    *out = TRI_MOVE(a);
    return TRI_OK;
}

/* A number in [0, n). */
static inline int64_t draw(world *w, int64_t n)
{
    w->random = w->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (int64_t)((w->random >> 33) % (uint64_t)n);
}

static inline double dot(int64_t n, const float *a, const float *b)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* --- the definition */

static inline const float *q_row(const world *w, const kernel_array *x, int64_t b, int64_t t,
                                 int64_t h)
{
    return x->value + b * w->q_batch + t * w->q_stride + h * w->s.head_size;
}

static inline const float *kv_row(const world *w, const kernel_array *x, int64_t b, int64_t j,
                                  int64_t h)
{
    int64_t g = h / (w->s.heads / w->s.kv_heads);
    return x->value + b * w->kv_batch + j * w->kv_stride + g * w->s.head_size;
}

static inline float scale_of(const world *w)
{
    return 1.0F / sqrtf((float)w->s.head_size);
}

static inline bool sees(const world *w, int64_t b, int64_t t, int64_t j)
{
    return j <= t && (!w->visible || j >= w->visible[b * w->s.length + t]);
}

static inline double score(const world *w, int64_t b, int64_t h, int64_t t, int64_t j)
{
    return (double)scale_of(w) *
           dot(w->s.head_size, q_row(w, w->q, b, t, h), kv_row(w, w->k, b, j, h));
}

/* Output of the query at place t over the block's keys; gives the log of the sum. */
static inline double query_forward(const world *w, const block *k, int64_t b, int64_t h, int64_t t,
                                   double *out)
{
    double maximum = -INFINITY;
    double sum = 0;
    for (int64_t j = k->k_first; j < k->k_first + k->n_key; j++)
        if (sees(w, b, t, j)) maximum = fmax(maximum, score(w, b, h, t, j));
    for (int64_t j = k->k_first; j < k->k_first + k->n_key; j++) {
        if (!sees(w, b, t, j)) continue;
        double p = exp(score(w, b, h, t, j) - maximum);
        sum += p;
        const float *v = kv_row(w, w->v, b, j, h);
        for (int64_t d = 0; d < w->s.head_size; d++)
            out[d] += p * (double)v[d];
    }
    for (int64_t d = 0; d < w->s.head_size && sum > 0; d++)
        out[d] /= sum;
    return sum > 0 ? maximum + log(sum) : -INFINITY;
}

/* What the pairs of this query and the block's keys add to the gradients. */
static inline void query_backward(const world *w, const block *k, int64_t b, int64_t h, int64_t t,
                                  answer *a)
{
    int64_t width = w->s.head_size;
    const float *dout = q_row(w, w->dout, b, t, h);
    double delta = dot(width, dout, q_row(w, w->out, b, t, h));
    double *dq = a->dq + ((b * k->n_query + t - k->q_first) * w->s.heads + h) * width;
    for (int64_t j = k->k_first; j < k->k_first + k->n_key; j++) {
        if (!sees(w, b, t, j)) continue;
        double p = exp(score(w, b, h, t, j) - w->lse[(b * w->s.heads + h) * w->s.length + t]);
        const float *key = kv_row(w, w->k, b, j, h);
        double ds = p * (dot(width, dout, kv_row(w, w->v, b, j, h)) - delta) * (double)scale_of(w);
        int64_t row =
            (b * k->n_key + j - k->k_first) * w->s.kv_heads + h / (w->s.heads / w->s.kv_heads);
        for (int64_t d = 0; d < width; d++) {
            dq[d] += ds * (double)key[d];
            a->dk[row * width + d] += ds * (double)q_row(w, w->q, b, t, h)[d];
            a->dv[row * width + d] += p * (double)dout[d];
        }
    }
}

static inline void reference(const world *w, const block *k, bool backward, answer *a)
{
    for (int64_t b = 0; b < w->s.batch; b++)
        for (int64_t h = 0; h < w->s.heads; h++)
            for (int64_t i = 0; i < k->n_query; i++) {
                int64_t t = k->q_first + i;
                double *out = a->out + ((b * k->n_query + i) * w->s.heads + h) * w->s.head_size;
                a->lse[(b * w->s.heads + h) * k->n_query + i] = query_forward(w, k, b, h, t, out);
                if (backward) query_backward(w, k, b, h, t, a);
            }
}

#endif

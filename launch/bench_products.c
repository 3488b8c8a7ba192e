// SPDX-License-Identifier: Apache-2.0
/* Records in the order of the step, replays in the order of shapes. A replay reads and writes the
 * job's buffers where they are: inputs that are outputs of other products change in value, but by
 * two products at most, as every chain passes a norm, an activation or a loss, which are not replayed.
 */
#include "launch/bench_products.h"

#include "kernels/matmul_bare.h"
#include "runtime/base/alloc.h"
#include "runtime/base/clock.h"
#include "runtime/base/int.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CALLS_AT_FIRST = 256, CHOICE_ROUNDS = 2 };

/* Ways of multiplying: oneDNN's primitive alone in its ways, then tri_matmul. */
enum { WAY_OURS = TRI_MATMUL_WAYS, WAYS };
static const char *const way_names[WAYS] = {
    [TRI_MATMUL_PLAIN] = "oneDNN", [TRI_MATMUL_PACKED] = "oneDNN, b packed", [WAY_OURS] = "ours"};

/* What makes two products the same; compared as bytes, hence no padding. */
typedef struct product_key {
    int64_t m, n, k, lda, ldb, ldc;
    int64_t form; /* types, transpositions, accumulation, bias */
} product_key;

typedef struct product_call {
    product_key key;
    tri_matmul_args args;
    int64_t order; /* in the step */
} product_call;

typedef enum products_mode { PRODUCTS_IGNORE, PRODUCTS_RECORD, PRODUCTS_WATCH } products_mode;

struct tri_bench_products {
    tri_kernels *kernels;
    products_mode mode;
    product_call *calls; /* in the step's order while recording, then by shape */
    int64_t n_calls, capacity;
    int *shape_at; /* shape of the product at this place of the step */
    tri_bench_shape *shapes;
    tri_matmul_bare **bare; /* [n_shapes] of the way chosen; NULL: tri_matmul */
    int n_shapes;
    int64_t watched; /* products of this step so far */
    bool differs;    /* the watched step is not the recorded one */
    double inside_s;
    tri_err error; /* of recording */
};

static product_key key_of(const tri_matmul_args *args)
{
    int64_t form = (int64_t)args->input_type | (int64_t)args->output_type << 8 |
                   (int64_t)args->a_transposed << 16 | (int64_t)args->b_transposed << 17 |
                   (int64_t)args->accumulate << 18 | (int64_t)(args->bias != NULL) << 19;
    return (product_key){args->m, args->n, args->k, args->lda, args->ldb, args->ldc, form};
}

static double flops_of(const tri_matmul_args *args)
{
    return 2.0 * (double)args->m * (double)args->n * (double)args->k;
}

static tri_status record(tri_bench_products *p, const tri_matmul_args *args)
{
    if (p->n_calls == p->capacity) {
        int64_t capacity = tri_max64(CALLS_AT_FIRST, 2 * p->capacity);
        void *calls = p->calls;
        TRI_TRY(tri_alloc_grow(&calls, p->capacity, capacity, sizeof *p->calls));
        p->calls = calls;
        p->capacity = capacity;
    }
    p->calls[p->n_calls] = (product_call){key_of(args), *args, p->n_calls};
    p->n_calls++;
    return TRI_OK;
}

static void watch(tri_bench_products *p, const tri_matmul_args *args, double seconds)
{
    p->inside_s += seconds;
    int64_t at = p->watched++;
    if (at >= p->n_calls) {
        p->differs = true;
        return;
    }
    tri_bench_shape *shape = &p->shapes[p->shape_at[at]];
    product_key got = key_of(args);
    product_key want = key_of(&shape->args);
    if (memcmp(&got, &want, sizeof got) != 0) p->differs = true;
    shape->inside_s += seconds;
}

static void observe(void *arg, const tri_matmul_args *args, double seconds)
{
    tri_bench_products *p = arg;
    if (p->mode == PRODUCTS_WATCH) watch(p, args, seconds);
    if (p->mode != PRODUCTS_RECORD || p->error.code != TRI_OK) return;
    if (record(p, args) != TRI_OK) tri_err_take(&p->error);
}

tri_status tri_bench_products_create(tri_kernels *kernels, tri_bench_products **out)
{
    tri_bench_products *p = NULL;
    TRI_TRY(TRI_NEW(&p));
    p->kernels = kernels;
    p->mode = PRODUCTS_RECORD;
    tri_matmul_observe(kernels, observe, p);
    *out = p;
    return TRI_OK;
}

void tri_bench_products_destroy(tri_bench_products **products)
{
    tri_bench_products *p = *products;
    if (!p) return;
    tri_matmul_observe(p->kernels, NULL, NULL);
    for (int i = 0; p->bare && i < p->n_shapes; i++)
        tri_matmul_bare_destroy(&p->bare[i]);
    TRI_FREE(p->bare);
    TRI_FREE(p->calls);
    TRI_FREE(p->shape_at);
    TRI_FREE(p->shapes);
    TRI_FREE(*products);
}

static int by_work(const void *a, const void *b)
{
    const product_call *x = a;
    const product_call *y = b;
    double work = flops_of(&y->args) - flops_of(&x->args);
    int key = memcmp(&x->key, &y->key, sizeof x->key);
    if (work != 0) return work > 0 ? 1 : -1;
    return key ? key : (x->order > y->order) - (x->order < y->order);
}

/* Calls into order of shapes. */
static tri_status group(tri_bench_products *p)
{
    TRI_TRY(TRI_NEW_ARRAY(p->n_calls, &p->shape_at));
    TRI_TRY(TRI_NEW_ARRAY(p->n_calls, &p->shapes));
    qsort(p->calls, (size_t)p->n_calls, sizeof *p->calls, by_work);
    for (int64_t i = 0; i < p->n_calls; i++) {
        const product_call *call = &p->calls[i];
        if (i == 0 || memcmp(&call->key, &p->calls[i - 1].key, sizeof call->key) != 0)
            p->shapes[p->n_shapes++].args = call->args;
        tri_bench_shape *shape = &p->shapes[p->n_shapes - 1];
        shape->products++;
        shape->flops += flops_of(&call->args);
        p->shape_at[call->order] = p->n_shapes - 1;
    }
    return TRI_OK;
}

/* All products of a shape, which begin at `calls`; bare NULL: by tri_matmul. */
static tri_status multiply(const tri_bench_products *p, const product_call *calls, int64_t n,
                           tri_matmul_bare *bare, double *seconds)
{
    double start_s = tri_clock_s();
    for (int64_t i = 0; i < n; i++) {
        if (bare) {
            TRI_TRY(tri_matmul_bare_point(bare, &calls[i].args));
            TRI_TRY(tri_matmul_bare_run(bare, 1));
        } else {
            TRI_TRY(tri_matmul(p->kernels, &calls[i].args));
        }
    }
    *seconds = tri_clock_s() - start_s;
    return TRI_OK;
}

/* The ways take turns on the shape's own products; the first round makes buffers and pages. */
static tri_status race(const tri_bench_products *p, const product_call *calls, int64_t n,
                       tri_matmul_bare *const bare[WAYS], int *best)
{
    double best_s = INFINITY;
    for (int round = 0; round <= CHOICE_ROUNDS; round++) {
        for (int way = 0; way < WAYS; way++) {
            if (way != WAY_OURS && !bare[way]) continue;
            double seconds = 0;
            TRI_TRY(multiply(p, calls, round ? n : 1, bare[way], &seconds));
            if (round == 0 || seconds >= best_s) continue;
            best_s = seconds;
            *best = way;
        }
    }
    return TRI_OK;
}

/* oneDNN has no bf16 on processors below AVX-512: there tri_matmul is alone. */
static tri_status choose(tri_bench_products *p, int index, const product_call *calls)
{
    tri_bench_shape *shape = &p->shapes[index];
    tri_matmul_bare *bare[WAYS] = {NULL};
    int best = WAY_OURS;
    tri_status rc = TRI_OK;
    for (int way = 0; way < WAY_OURS && rc == TRI_OK; way++)
        rc = tri_matmul_bare_create(p->kernels, &calls->args, (tri_matmul_way)way, &bare[way]);
    if (rc == TRI_OK) rc = race(p, calls, shape->products, bare, &best);
    if (rc == TRI_EUNSUP) {
        tri_err_clear();
        rc = TRI_OK;
    }
    p->bare[index] = bare[best];
    shape->way = way_names[best];
    for (int way = 0; way < WAYS; way++)
        if (way != best) tri_matmul_bare_destroy(&bare[way]);
    return rc;
}

tri_status tri_bench_products_end(tri_bench_products *p)
{
    p->mode = PRODUCTS_IGNORE;
    if (p->error.code != TRI_OK) TRI_TRY(tri_err_put(&p->error));
    TRI_CHECK(p->n_calls > 0, TRI_EBUG, "a step without a matrix product");
    TRI_TRY(group(p));
    TRI_TRY(TRI_NEW_ARRAY(p->n_shapes, &p->bare));
    int64_t at = 0;
    for (int i = 0; i < p->n_shapes; i++) {
        TRI_TRY(choose(p, i, &p->calls[at]));
        at += p->shapes[i].products;
    }
    return TRI_OK;
}

void tri_bench_products_watch(tri_bench_products *p)
{
    p->mode = PRODUCTS_WATCH;
    p->watched = 0;
    p->inside_s = 0;
    p->differs = false;
    for (int i = 0; i < p->n_shapes; i++)
        p->shapes[i].inside_s = 0;
}

tri_status tri_bench_products_watched(tri_bench_products *p, double *inside_s)
{
    p->mode = PRODUCTS_IGNORE;
    TRI_CHECK(!p->differs && p->watched == p->n_calls, TRI_EBUG,
              "a step made %lld products where the recorded one made %lld, or others",
              (long long)p->watched, (long long)p->n_calls);
    *inside_s = p->inside_s;
    return TRI_OK;
}

tri_status tri_bench_products_replay(tri_bench_products *p, double *alone_s)
{
    int64_t at = 0;
    double sum_s = 0;
    for (int i = 0; i < p->n_shapes; i++) {
        tri_bench_shape *shape = &p->shapes[i];
        TRI_TRY(multiply(p, &p->calls[at], shape->products, p->bare[i], &shape->alone_s));
        at += shape->products;
        sum_s += shape->alone_s;
    }
    *alone_s = sum_s;
    return TRI_OK;
}

int tri_bench_products_shapes(const tri_bench_products *p)
{
    return p->n_shapes;
}

const tri_bench_shape *tri_bench_products_shape(const tri_bench_products *p, int index)
{
    return &p->shapes[index];
}

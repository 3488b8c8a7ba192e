// SPDX-License-Identifier: Apache-2.0
/* Matrix products through oneDNN, and the only file that knows it (C API of versions 2 and 3).
 *
 * A primitive is made once per shape and kept in a hash table with its memory objects and its
 * argument array; a call looks it up, sets the data pointers and executes: no allocation, and no
 * set-up. Scratch is ours (one buffer, grown to the largest need), because oneDNN's own would belong to the
 * thread that made the primitive. Primitives are made and run with the rank's thread count, so
 * that the same call gives the same bits. oneDNN multiplies bf16 from AVX-512 on; narrower
 * processors take blocks that are widened to fp32.
 */
#include "kernels/matmul.h"

#include "kernels/kernels_impl.h"
#include "runtime/base/alloc.h"
#include "runtime/base/clock.h"
#include "runtime/base/int.h"

#include <oneapi/dnnl/dnnl.h>
#include <oneapi/dnnl/dnnl_debug.h>

#include <omp.h>
#include <string.h>

enum { SLOTS_AT_FIRST = 64, SCRATCH_ALIGN = 64, WIDE_ROWS = 512, WIDE_DEPTH = 1024 };
enum {
    FLAG_BF16_IN = 1,
    FLAG_BF16_OUT = 2,
    FLAG_A_T = 4,
    FLAG_B_T = 8,
    FLAG_SUM = 16,
    FLAG_BIAS = 32
};

/* All that a primitive depends on; compared as bytes, hence no padding. */
typedef struct matmul_key {
    int64_t m, n, k, lda, ldb, ldc, flags;
} matmul_key;

typedef struct matmul_entry {
    matmul_key key;
    dnnl_primitive_t primitive;
    dnnl_memory_t a, b, c, bias, scratch;
    dnnl_exec_arg_t args[5];
    int n_args;
    size_t scratch_bytes;
} matmul_entry;

struct tri_matmul_cache {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    matmul_entry **slots; /* open addressing, at most half full */
    int64_t n_slots, n_entries;
    void *scratch; /* as allocated; used from the next SCRATCH_ALIGN boundary */
    size_t scratch_bytes;
    float *wide; /* fp32 blocks of a, b, c, bias where bf16 is widened */
    bool widens;
    tri_matmul_observer observer; /* NULL: none */
    void *observer_arg;
};

#define TRI_DNNL(call) dnnl_result((call), __LINE__, __func__, #call)

static tri_status dnnl_result(dnnl_status_t rc, int line, const char *function, const char *call)
{
    if (rc == dnnl_success) return TRI_OK;
    return tri_err_raise(rc == dnnl_out_of_memory ? TRI_ENOMEM : TRI_EDEVICE, __FILE__, line,
                         function, "oneDNN %d.%d: %s gave %s", DNNL_VERSION_MAJOR,
                         DNNL_VERSION_MINOR, call, dnnl_status2str(rc));
}

/* --- what differs between the versions: a memory descriptor is a struct in 2, a handle in 3 */
#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t desc_view;

static desc_view desc_look(const dnnl_memory_desc_t *desc)
{
    return *desc;
}

static dnnl_status_t desc_make(dnnl_memory_desc_t *out, const dnnl_dims_t dims,
                               dnnl_data_type_t type, const dnnl_dims_t strides)
{
    return dnnl_memory_desc_create_with_strides(out, 2, dims, type, strides);
}

static void desc_fini(dnnl_memory_desc_t *desc)
{
    if (*desc) dnnl_memory_desc_destroy(*desc);
}

static dnnl_status_t sum_append(dnnl_post_ops_t ops)
{
    return dnnl_post_ops_append_sum(ops, 1.0F, 0, dnnl_data_type_undef);
}

static dnnl_status_t product_describe(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                                      desc_view const desc[4], dnnl_primitive_attr_t attr)
{
    return dnnl_matmul_primitive_desc_create(out, engine, desc[0], desc[1], desc[3], desc[2], attr);
}
#else
typedef const dnnl_memory_desc_t *desc_view;

static desc_view desc_look(const dnnl_memory_desc_t *desc)
{
    return desc;
}

static dnnl_status_t desc_make(dnnl_memory_desc_t *out, const dnnl_dims_t dims,
                               dnnl_data_type_t type, const dnnl_dims_t strides)
{
    return dnnl_memory_desc_init_by_strides(out, 2, dims, type, strides);
}

static void desc_fini(dnnl_memory_desc_t *desc)
{
    (void)desc;
}

static dnnl_status_t sum_append(dnnl_post_ops_t ops)
{
    return dnnl_post_ops_append_sum(ops, 1.0F);
}

static dnnl_status_t product_describe(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                                      desc_view const desc[4], const_dnnl_primitive_attr_t attr)
{
    dnnl_matmul_desc_t product;
    dnnl_status_t rc = dnnl_matmul_desc_init(&product, desc[0], desc[1], desc[3], desc[2]);
    return rc == dnnl_success ? dnnl_primitive_desc_create(out, &product, attr, engine, NULL) : rc;
}
#endif

/* --- a primitive and its arguments */

/* What exists only while a primitive is made. */
typedef struct matmul_recipe {
    dnnl_memory_desc_t desc[4]; /* a, b, c, bias */
    dnnl_post_ops_t ops;
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t product;
} matmul_recipe;

static void matmul_recipe_destroy(matmul_recipe *recipe)
{
    if (recipe->product) dnnl_primitive_desc_destroy(recipe->product);
    if (recipe->attr) dnnl_primitive_attr_destroy(recipe->attr);
    if (recipe->ops) dnnl_post_ops_destroy(recipe->ops);
    for (int i = 0; i < 4; i++)
        desc_fini(&recipe->desc[i]);
}

static void matmul_entry_destroy(matmul_entry **entry)
{
    matmul_entry *e = *entry;
    if (!e) return;
    if (e->primitive) dnnl_primitive_destroy(e->primitive);
    dnnl_memory_t memory[] = {e->a, e->b, e->c, e->bias, e->scratch};
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++)
        if (memory[i]) dnnl_memory_destroy(memory[i]);
    TRI_FREE(*entry);
}

static tri_status recipe_describe(matmul_recipe *r, const matmul_key *key, dnnl_engine_t engine)
{
    dnnl_data_type_t in = key->flags & FLAG_BF16_IN ? dnnl_bf16 : dnnl_f32;
    dnnl_data_type_t out = key->flags & FLAG_BF16_OUT ? dnnl_bf16 : dnnl_f32;
    const dnnl_dims_t a = {key->m, key->k};
    const dnnl_dims_t b = {key->k, key->n};
    const dnnl_dims_t c = {key->m, key->n};
    const dnnl_dims_t bias = {1, key->n};
    const dnnl_dims_t a_strides = {key->lda, 1};
    const dnnl_dims_t at_strides = {1, key->lda};
    const dnnl_dims_t b_strides = {key->ldb, 1};
    const dnnl_dims_t bt_strides = {1, key->ldb};
    const dnnl_dims_t c_strides = {key->ldc, 1};
    const dnnl_dims_t bias_strides = {key->n, 1};
    bool has_bias = (key->flags & FLAG_BIAS) != 0;
    TRI_TRY(
        TRI_DNNL(desc_make(&r->desc[0], a, in, key->flags & FLAG_A_T ? at_strides : a_strides)));
    TRI_TRY(
        TRI_DNNL(desc_make(&r->desc[1], b, in, key->flags & FLAG_B_T ? bt_strides : b_strides)));
    TRI_TRY(TRI_DNNL(desc_make(&r->desc[2], c, out, c_strides)));
    if (has_bias) TRI_TRY(TRI_DNNL(desc_make(&r->desc[3], bias, in, bias_strides)));
    TRI_TRY(TRI_DNNL(dnnl_primitive_attr_create(&r->attr)));
    TRI_TRY(TRI_DNNL(dnnl_primitive_attr_set_scratchpad_mode(r->attr, dnnl_scratchpad_mode_user)));
    if (key->flags & FLAG_SUM) {
        TRI_TRY(TRI_DNNL(dnnl_post_ops_create(&r->ops)));
        TRI_TRY(TRI_DNNL(sum_append(r->ops)));
        TRI_TRY(TRI_DNNL(dnnl_primitive_attr_set_post_ops(r->attr, r->ops)));
    }
    desc_view view[4] = {desc_look(&r->desc[0]), desc_look(&r->desc[1]), desc_look(&r->desc[2]),
                         has_bias ? desc_look(&r->desc[3]) : NULL};
    TRI_TRY(TRI_DNNL(product_describe(&r->product, engine, view, r->attr)));
    return TRI_OK;
}

static tri_status entry_bind(matmul_entry *e, int arg, desc_view desc, dnnl_engine_t engine,
                             dnnl_memory_t *memory)
{
    TRI_TRY(TRI_DNNL(dnnl_memory_create(memory, desc, engine, DNNL_MEMORY_NONE)));
    e->args[e->n_args++] = (dnnl_exec_arg_t){arg, *memory};
    return TRI_OK;
}

static tri_status entry_create(const matmul_key *key, dnnl_engine_t engine, matmul_entry **out)
{
    TRI_AUTO(matmul_entry) *e = NULL;
    TRI_TRY(TRI_NEW(&e));
    e->key = *key;
    TRI_AUTO(matmul_recipe) r = {0};
    TRI_TRY(recipe_describe(&r, key, engine));
    TRI_TRY(TRI_DNNL(dnnl_primitive_create(&e->primitive, r.product)));
    TRI_TRY(entry_bind(e, DNNL_ARG_SRC, desc_look(&r.desc[0]), engine, &e->a));
    TRI_TRY(entry_bind(e, DNNL_ARG_WEIGHTS, desc_look(&r.desc[1]), engine, &e->b));
    TRI_TRY(entry_bind(e, DNNL_ARG_DST, desc_look(&r.desc[2]), engine, &e->c));
    if (key->flags & FLAG_BIAS)
        TRI_TRY(entry_bind(e, DNNL_ARG_BIAS, desc_look(&r.desc[3]), engine, &e->bias));
    desc_view scratch = dnnl_primitive_desc_query_md(r.product, dnnl_query_scratchpad_md, 0);
    e->scratch_bytes = scratch ? dnnl_memory_desc_get_size(scratch) : 0;
    if (e->scratch_bytes) TRI_TRY(entry_bind(e, DNNL_ARG_SCRATCHPAD, scratch, engine, &e->scratch));
    *out = TRI_MOVE(e);
    return TRI_OK;
}

/* --- the cache */

tri_status tri_matmul_cache_create(const tri_kernels *kernels, tri_matmul_cache **out)
{
    TRI_AUTO(tri_matmul_cache) *cache = NULL;
    TRI_TRY(TRI_NEW(&cache));
    cache->n_slots = SLOTS_AT_FIRST;
    cache->widens = kernels->isa < TRI_ISA_AVX512;
    TRI_TRY(TRI_NEW_ARRAY(cache->n_slots, &cache->slots));
    TRI_TRY(TRI_DNNL(dnnl_engine_create(&cache->engine, dnnl_cpu, 0)));
    TRI_TRY(TRI_DNNL(dnnl_stream_create(&cache->stream, cache->engine, dnnl_stream_default_flags)));
    *out = TRI_MOVE(cache);
    return TRI_OK;
}

void tri_matmul_cache_destroy(tri_matmul_cache **cache)
{
    tri_matmul_cache *c = *cache;
    if (!c) return;
    for (int64_t i = 0; c->slots && i < c->n_slots; i++)
        matmul_entry_destroy(&c->slots[i]);
    if (c->stream) dnnl_stream_destroy(c->stream);
    if (c->engine) dnnl_engine_destroy(c->engine);
    TRI_FREE(c->slots);
    TRI_FREE(c->scratch);
    TRI_FREE(c->wide);
    TRI_FREE(*cache);
}

static uint64_t key_hash(const matmul_key *key)
{
    const int64_t word[] = {key->m, key->n, key->k, key->lda, key->ldb, key->ldc, key->flags};
    uint64_t hash = 0;
    for (size_t i = 0; i < sizeof word / sizeof word[0]; i++) {
        hash = (hash ^ (uint64_t)word[i]) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 32;
    }
    return hash;
}

/* The slot of this key: holding it, or the free one where it belongs. */
static matmul_entry **cache_slot(matmul_entry **slots, int64_t n_slots, const matmul_key *key)
{
    uint64_t mask = (uint64_t)n_slots - 1;
    uint64_t i = key_hash(key) & mask;
    while (slots[i] && memcmp(&slots[i]->key, key, sizeof *key) != 0)
        i = (i + 1) & mask;
    return &slots[i];
}

static tri_status cache_grow(tri_matmul_cache *cache)
{
    matmul_entry **slots = NULL;
    int64_t n_slots = cache->n_slots * 2;
    TRI_TRY(TRI_NEW_ARRAY(n_slots, &slots));
    for (int64_t i = 0; i < cache->n_slots; i++)
        if (cache->slots[i]) *cache_slot(slots, n_slots, &cache->slots[i]->key) = cache->slots[i];
    TRI_FREE(cache->slots);
    cache->slots = slots;
    cache->n_slots = n_slots;
    return TRI_OK;
}

static tri_status scratch_reserve(tri_matmul_cache *cache, size_t bytes)
{
    if (bytes <= cache->scratch_bytes) return TRI_OK;
    void *scratch = NULL;
    TRI_TRY(tri_alloc(&scratch, (int64_t)(bytes + SCRATCH_ALIGN), 1));
    TRI_FREE(cache->scratch);
    cache->scratch = scratch;
    cache->scratch_bytes = bytes;
    return TRI_OK;
}

static tri_status cache_find(tri_kernels *kernels, const matmul_key *key, matmul_entry **out)
{
    tri_matmul_cache *cache = kernels->matmul;
    /* oneDNN takes the team's size from the calling thread, when it creates and when it executes */
    if (omp_get_max_threads() != kernels->threads) omp_set_num_threads(kernels->threads);
    matmul_entry **slot = cache_slot(cache->slots, cache->n_slots, key);
    if (!*slot) {
        if (cache->n_entries * 2 >= cache->n_slots) TRI_TRY(cache_grow(cache));
        matmul_entry *made = NULL;
        TRI_TRY(entry_create(key, cache->engine, &made));
        slot = cache_slot(cache->slots, cache->n_slots, key);
        *slot = made;
        cache->n_entries++;
    }
    TRI_TRY(scratch_reserve(cache, (*slot)->scratch_bytes));
    *out = *slot;
    return TRI_OK;
}

static tri_status memory_point(dnnl_memory_t memory, const void *data)
{
    TRI_TRY(TRI_DNNL(dnnl_memory_set_data_handle(memory, (void *)(uintptr_t)data)));
    return TRI_OK;
}

/* --- products */

static matmul_key key_make(const tri_matmul_args *args)
{
    int64_t flags = (args->input_type == TRI_BF16 ? FLAG_BF16_IN : 0) |
                    (args->output_type == TRI_BF16 ? FLAG_BF16_OUT : 0) |
                    (args->a_transposed ? FLAG_A_T : 0) | (args->b_transposed ? FLAG_B_T : 0) |
                    (args->accumulate ? FLAG_SUM : 0) | (args->bias ? FLAG_BIAS : 0);
    return (matmul_key){args->m, args->n, args->k, args->lda, args->ldb, args->ldc, flags};
}

static tri_status product_execute(tri_kernels *kernels, const tri_matmul_args *args)
{
    tri_matmul_cache *cache = kernels->matmul;
    matmul_key key = key_make(args);
    matmul_entry *e = NULL;
    TRI_TRY(cache_find(kernels, &key, &e));
    TRI_TRY(memory_point(e->a, args->a));
    TRI_TRY(memory_point(e->b, args->b));
    TRI_TRY(memory_point(e->c, args->c));
    if (e->bias) TRI_TRY(memory_point(e->bias, args->bias));
    if (e->scratch) {
        uintptr_t base = (uintptr_t)cache->scratch;
        base = (base + SCRATCH_ALIGN - 1) / SCRATCH_ALIGN * SCRATCH_ALIGN;
        TRI_TRY(memory_point(e->scratch, (const void *)base));
    }
    TRI_TRY(TRI_DNNL(dnnl_primitive_execute(e->primitive, cache->stream, e->n_args, e->args)));
    TRI_TRY(TRI_DNNL(dnnl_stream_wait(cache->stream)));
    return TRI_OK;
}

/* k = 0: the product is zero. */
static void product_of_nothing(const tri_matmul_args *args)
{
    if (args->accumulate && !args->bias) return;
    for (int64_t i = 0; i < args->m; i++) {
        for (int64_t j = 0; j < args->n; j++) {
            float x = 0;
            if (args->bias)
                x = args->input_type == TRI_BF16
                        ? tri_bf16_to_f32(((const tri_bf16 *)args->bias)[j])
                        : ((const float *)args->bias)[j];
            int64_t at = i * args->ldc + j;
            if (args->output_type == TRI_BF16)
                ((tri_bf16 *)args->c)[at] = tri_f32_to_bf16(x);
            else
                ((float *)args->c)[at] = args->accumulate ? ((float *)args->c)[at] + x : x;
        }
    }
}

/* --- bf16 on processors where oneDNN has none: blocks in fp32 */

static void block_widen(int64_t rows, int64_t width, const tri_bf16 *in, int64_t stride, float *out)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < width; j++)
            out[i * width + j] = tri_bf16_to_f32(in[i * stride + j]);
}

static void block_narrow(int64_t rows, int64_t width, const float *in, tri_bf16 *out,
                         int64_t stride)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < width; j++)
            out[i * stride + j] = tri_f32_to_bf16(in[i * width + j]);
}

/* Block [i, i + rows) x [j, j + width) of a logical matrix, in the orientation it is stored in. */
static void operand_widen(const tri_bf16 *x, bool transposed, int64_t ld, const int64_t at[4],
                          float *out)
{
    if (transposed)
        block_widen(at[3], at[1], x + at[2] * ld + at[0], ld, out);
    else
        block_widen(at[1], at[3], x + at[0] * ld + at[2], ld, out);
}

/* One block of c: rows i.., columns j.., all of k. */
static tri_status wide_block(tri_kernels *kernels, const tri_matmul_args *args, int64_t i,
                             int64_t j)
{
    float *a = kernels->matmul->wide;
    float *b = a + (int64_t)WIDE_ROWS * WIDE_DEPTH;
    float *c = b + (int64_t)WIDE_ROWS * WIDE_DEPTH;
    float *bias = c + (int64_t)WIDE_ROWS * WIDE_ROWS;
    bool narrows = args->output_type == TRI_BF16;
    int64_t m = tri_min64(WIDE_ROWS, args->m - i);
    int64_t n = tri_min64(WIDE_ROWS, args->n - j);
    if (args->bias) block_widen(1, n, (const tri_bf16 *)args->bias + j, n, bias);
    tri_matmul_args part = *args;
    part.m = m;
    part.n = n;
    part.a = a;
    part.b = b;
    part.bias = args->bias ? bias : NULL;
    part.c = narrows ? c : (float *)args->c + i * args->ldc + j;
    part.ldc = narrows ? n : args->ldc;
    part.input_type = TRI_F32;
    part.output_type = TRI_F32;
    for (int64_t l = 0; l < args->k; l += WIDE_DEPTH) {
        part.k = tri_min64(WIDE_DEPTH, args->k - l);
        part.lda = args->a_transposed ? m : part.k;
        part.ldb = args->b_transposed ? part.k : n;
        operand_widen(args->a, args->a_transposed, args->lda, (int64_t[4]){i, m, l, part.k}, a);
        operand_widen(args->b, args->b_transposed, args->ldb, (int64_t[4]){l, part.k, j, n}, b);
        TRI_TRY(product_execute(kernels, &part));
        part.accumulate = true;
        part.bias = NULL;
    }
    if (narrows) block_narrow(m, n, c, (tri_bf16 *)args->c + i * args->ldc + j, args->ldc);
    return TRI_OK;
}

static tri_status wide_execute(tri_kernels *kernels, const tri_matmul_args *args)
{
    tri_matmul_cache *cache = kernels->matmul;
    int64_t n = (int64_t)WIDE_ROWS * (2 * WIDE_DEPTH + WIDE_ROWS + 1);
    if (!cache->wide) TRI_TRY(TRI_NEW_ARRAY(n, &cache->wide));
    for (int64_t j = 0; j < args->n; j += WIDE_ROWS)
        for (int64_t i = 0; i < args->m; i += WIDE_ROWS)
            TRI_TRY(wide_block(kernels, args, i, j));
    return TRI_OK;
}

/* --- the interface */

static tri_status args_check(const tri_matmul_args *args)
{
    long long m = args->m;
    long long n = args->n;
    long long k = args->k;
    TRI_CHECK(m >= 0 && n >= 0 && k >= 0, TRI_EINVAL, "product of [%lld, %lld] by [%lld, %lld]", m,
              k, k, n);
    bool in_ok = args->input_type == TRI_F32 || args->input_type == TRI_BF16;
    bool out_ok = args->output_type == TRI_F32 ||
                  (args->output_type == TRI_BF16 && args->input_type == TRI_BF16);
    TRI_CHECK(in_ok && out_ok, TRI_EINVAL,
              "product of %s matrices into %s: fp32 to fp32, bf16 to fp32 and bf16 to bf16 exist",
              tri_dtype_name(args->input_type), tri_dtype_name(args->output_type));
    TRI_CHECK(!args->accumulate || args->output_type == TRI_F32, TRI_EINVAL,
              "product that accumulates into %s: sums are kept in fp32",
              tri_dtype_name(args->output_type));
    int64_t need_a = args->a_transposed ? args->m : args->k;
    int64_t need_b = args->b_transposed ? args->k : args->n;
    TRI_CHECK(args->lda >= need_a && args->ldb >= need_b && args->ldc >= args->n, TRI_EINVAL,
              "product of [%lld, %lld] by [%lld, %lld]: leading dimensions %lld %lld %lld are less "
              "than the row lengths %lld %lld %lld",
              m, k, k, n, (long long)args->lda, (long long)args->ldb, (long long)args->ldc,
              (long long)need_a, (long long)need_b, n);
    return TRI_OK;
}

static bool is_empty(const tri_matmul_args *args)
{
    return args->m == 0 || args->n == 0 || args->k == 0;
}

static bool is_widened(const tri_kernels *kernels, const tri_matmul_args *args)
{
    return kernels->matmul->widens && args->input_type == TRI_BF16;
}

static tri_status product_any(tri_kernels *kernels, const tri_matmul_args *args)
{
    if (is_empty(args))
        product_of_nothing(args);
    else if (is_widened(kernels, args))
        TRI_TRY(wide_execute(kernels, args));
    else
        TRI_TRY(product_execute(kernels, args));
    return TRI_OK;
}

tri_status tri_matmul(tri_kernels *kernels, const tri_matmul_args *args)
{
    TRI_TRY(args_check(args));
    tri_matmul_cache *cache = kernels->matmul;
    if (!cache->observer) return product_any(kernels, args);
    double start_s = tri_clock_s();
    TRI_TRY(product_any(kernels, args));
    cache->observer(cache->observer_arg, args, tri_clock_s() - start_s);
    return TRI_OK;
}

void tri_matmul_observe(tri_kernels *kernels, tri_matmul_observer observer, void *arg)
{
    kernels->matmul->observer = observer;
    kernels->matmul->observer_arg = arg;
}

tri_status tri_matmul_prepare(tri_kernels *kernels, const tri_matmul_args *args)
{
    TRI_TRY(args_check(args));
    if (is_empty(args) || is_widened(kernels, args)) return TRI_OK;
    matmul_key key = key_make(args);
    matmul_entry *entry = NULL;
    TRI_TRY(cache_find(kernels, &key, &entry));
    return TRI_OK;
}

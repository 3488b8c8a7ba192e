// SPDX-License-Identifier: Apache-2.0
/* Matrix products through oneDNN, and the only file that knows it (C API of versions 2 and 3).
 *
 * A primitive is made once per shape and kept in a hash table with its memory objects and its
 * argument arrays; a call looks it up, sets the data pointers and executes: no allocation, and no
 * set-up. Scratch is ours (one buffer, grown to the largest need), because oneDNN's own would belong
 * to the thread that made the primitive. Primitives are made and run with the rank's thread count,
 * so that the same call gives the same bits; those of blocks (tri_block_matmul) with one thread, and
 * with arguments for each thread of the team.
 *
 * Where it pays (tri_matmul_packs), b is packed into oneDNN's own layout first, once for the team.
 */
#include "kernels/matmul_bare.h"

#include "kernels/cpu/matmul_impl.h"
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"

#include <oneapi/dnnl/dnnl.h>
#include <oneapi/dnnl/dnnl_debug.h>

#include <omp.h>
#include <string.h>

enum { SLOTS_AT_FIRST = 64, SCRATCH_ALIGN = 64 };
enum {
    FLAG_BF16_IN = 1,
    FLAG_BF16_OUT = 2,
    FLAG_A_T = 4,
    FLAG_B_T = 8,
    FLAG_SUM = 16,
    FLAG_BIAS = 32,
    FLAG_BLOCK = 64,  /* runs on one thread inside a parallel region */
    FLAG_PACKED = 128 /* b is packed first */
};

/* All that a primitive depends on; compared as bytes, hence no padding. */
typedef struct matmul_key {
    int64_t m, n, k, lda, ldb, ldc, flags;
} matmul_key;

/* Memory objects and arguments of one executing thread. */
typedef struct matmul_binding {
    dnnl_memory_t a, b, c, bias, scratch;
    dnnl_exec_arg_t args[5];
    int n_args;
} matmul_binding;

/* b from rows into the layout that the product asked for. */
typedef struct matmul_pack {
    dnnl_primitive_t primitive; /* NULL: b is used as it is */
    dnnl_memory_t rows, scratch;
    dnnl_exec_arg_t args[3];
    int n_args;
    size_t packed_bytes;
} matmul_pack;

typedef struct matmul_entry {
    matmul_key key;
    dnnl_primitive_t primitive;
    matmul_pack pack;
    size_t scratch_bytes; /* of the product and of packing, which run one after the other */
    int n_bindings;       /* 1; a block has one for each thread */
    matmul_binding *bindings;
} matmul_entry;

/* Scratch of one thread (thread 0: also of the team). */
typedef struct matmul_scratch {
    void *memory; /* as allocated; used from the next SCRATCH_ALIGN boundary */
    size_t bytes;
} matmul_scratch;

struct tri_matmul_cache {
    dnnl_engine_t engine;
    int threads;
    dnnl_stream_t *streams;  /* [threads] */
    matmul_scratch *scratch; /* [threads] */
    matmul_entry **slots;    /* open addressing, at most half full */
    int64_t n_slots, n_entries;
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

static dnnl_status_t desc_make_any(dnnl_memory_desc_t *out, const dnnl_dims_t dims,
                                   dnnl_data_type_t type)
{
    return dnnl_memory_desc_create_with_tag(out, 2, dims, type, dnnl_format_tag_any);
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

static dnnl_status_t desc_make_any(dnnl_memory_desc_t *out, const dnnl_dims_t dims,
                                   dnnl_data_type_t type)
{
    return dnnl_memory_desc_init_by_tag(out, 2, dims, type, dnnl_format_tag_any);
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
    dnnl_memory_desc_t a, b, c, bias, any;
    dnnl_post_ops_t ops;
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t product, pack;
} matmul_recipe;

static void matmul_recipe_destroy(matmul_recipe *recipe)
{
    if (recipe->pack) dnnl_primitive_desc_destroy(recipe->pack);
    if (recipe->product) dnnl_primitive_desc_destroy(recipe->product);
    if (recipe->attr) dnnl_primitive_attr_destroy(recipe->attr);
    if (recipe->ops) dnnl_post_ops_destroy(recipe->ops);
    desc_fini(&recipe->a);
    desc_fini(&recipe->b);
    desc_fini(&recipe->c);
    desc_fini(&recipe->bias);
    desc_fini(&recipe->any);
}

static void memory_destroy(dnnl_memory_t memory)
{
    if (memory) dnnl_memory_destroy(memory);
}

static void matmul_entry_destroy(matmul_entry **entry)
{
    matmul_entry *e = *entry;
    if (!e) return;
    if (e->primitive) dnnl_primitive_destroy(e->primitive);
    if (e->pack.primitive) dnnl_primitive_destroy(e->pack.primitive);
    memory_destroy(e->pack.rows);
    memory_destroy(e->pack.scratch);
    for (int i = 0; e->bindings && i < e->n_bindings; i++) {
        memory_destroy(e->bindings[i].a);
        memory_destroy(e->bindings[i].b);
        memory_destroy(e->bindings[i].c);
        memory_destroy(e->bindings[i].bias);
        memory_destroy(e->bindings[i].scratch);
    }
    TRI_FREE(e->bindings);
    TRI_FREE(*entry);
}

/* Row-major [rows, width], or its transpose, as oneDNN is told. */
static tri_status matrix_describe(dnnl_memory_desc_t *out, int64_t rows, int64_t width, bool half,
                                  int64_t row_stride, bool transposed)
{
    const dnnl_dims_t dims = {rows, width};
    const dnnl_dims_t strides = {transposed ? 1 : row_stride, transposed ? row_stride : 1};
    TRI_TRY(TRI_DNNL(desc_make(out, dims, half ? dnnl_bf16 : dnnl_f32, strides)));
    return TRI_OK;
}

static tri_status recipe_describe(matmul_recipe *r, const matmul_key *key, dnnl_engine_t engine)
{
    bool half = (key->flags & FLAG_BF16_IN) != 0;
    bool half_out = (key->flags & FLAG_BF16_OUT) != 0;
    bool has_bias = (key->flags & FLAG_BIAS) != 0;
    TRI_TRY(matrix_describe(&r->a, key->m, key->k, half, key->lda, key->flags & FLAG_A_T));
    TRI_TRY(matrix_describe(&r->b, key->k, key->n, half, key->ldb, key->flags & FLAG_B_T));
    TRI_TRY(matrix_describe(&r->c, key->m, key->n, half_out, key->ldc, false));
    if (has_bias) TRI_TRY(matrix_describe(&r->bias, 1, key->n, half, key->n, false));
    if (key->flags & FLAG_PACKED) {
        const dnnl_dims_t dims = {key->k, key->n};
        TRI_TRY(TRI_DNNL(desc_make_any(&r->any, dims, half ? dnnl_bf16 : dnnl_f32)));
    }
    TRI_TRY(TRI_DNNL(dnnl_primitive_attr_create(&r->attr)));
    TRI_TRY(TRI_DNNL(dnnl_primitive_attr_set_scratchpad_mode(r->attr, dnnl_scratchpad_mode_user)));
    if (key->flags & FLAG_SUM) {
        TRI_TRY(TRI_DNNL(dnnl_post_ops_create(&r->ops)));
        TRI_TRY(TRI_DNNL(sum_append(r->ops)));
        TRI_TRY(TRI_DNNL(dnnl_primitive_attr_set_post_ops(r->attr, r->ops)));
    }
    desc_view view[4] = {desc_look(&r->a), desc_look(key->flags & FLAG_PACKED ? &r->any : &r->b),
                         desc_look(&r->c), has_bias ? desc_look(&r->bias) : NULL};
    TRI_TRY(TRI_DNNL(product_describe(&r->product, engine, view, r->attr)));
    return TRI_OK;
}

static tri_status argument_bind(dnnl_exec_arg_t *args, int *n_args, int arg, desc_view desc,
                                dnnl_engine_t engine, dnnl_memory_t *memory)
{
    TRI_TRY(TRI_DNNL(dnnl_memory_create(memory, desc, engine, DNNL_MEMORY_NONE)));
    args[(*n_args)++] = (dnnl_exec_arg_t){arg, *memory};
    return TRI_OK;
}

/* Memory of what a primitive needs besides its operands; grows *bytes to its size. */
static tri_status scratch_bind(dnnl_exec_arg_t *args, int *n_args, dnnl_primitive_desc_t primitive,
                               dnnl_engine_t engine, dnnl_memory_t *memory, size_t *bytes)
{
    desc_view desc = dnnl_primitive_desc_query_md(primitive, dnnl_query_scratchpad_md, 0);
    size_t need = desc ? dnnl_memory_desc_get_size(desc) : 0;
    if (need == 0) return TRI_OK;
    if (need > *bytes) *bytes = need;
    return argument_bind(args, n_args, DNNL_ARG_SCRATCHPAD, desc, engine, memory);
}

static tri_status binding_fill(matmul_entry *e, matmul_binding *bind, const matmul_recipe *r,
                               dnnl_engine_t engine)
{
    dnnl_exec_arg_t *args = bind->args;
    int *n = &bind->n_args;
    desc_view b = dnnl_primitive_desc_query_md(r->product, dnnl_query_weights_md, 0);
    TRI_TRY(argument_bind(args, n, DNNL_ARG_SRC, desc_look(&r->a), engine, &bind->a));
    TRI_TRY(argument_bind(args, n, DNNL_ARG_WEIGHTS, b, engine, &bind->b));
    TRI_TRY(argument_bind(args, n, DNNL_ARG_DST, desc_look(&r->c), engine, &bind->c));
    if (e->key.flags & FLAG_BIAS)
        TRI_TRY(argument_bind(args, n, DNNL_ARG_BIAS, desc_look(&r->bias), engine, &bind->bias));
    TRI_TRY(scratch_bind(args, n, r->product, engine, &bind->scratch, &e->scratch_bytes));
    return TRI_OK;
}

static tri_status pack_fill(matmul_entry *e, matmul_recipe *r, dnnl_engine_t engine)
{
    desc_view rows = desc_look(&r->b);
    desc_view packed = dnnl_primitive_desc_query_md(r->product, dnnl_query_weights_md, 0);
    if (dnnl_memory_desc_equal(rows, packed)) return TRI_OK;
    matmul_pack *p = &e->pack;
    p->packed_bytes = dnnl_memory_desc_get_size(packed);
    dnnl_primitive_attr_t attr = NULL;
    TRI_TRY(TRI_DNNL(dnnl_primitive_attr_create(&attr)));
    dnnl_status_t rc = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (rc == dnnl_success)
        rc = dnnl_reorder_primitive_desc_create(&r->pack, rows, engine, packed, engine, attr);
    dnnl_primitive_attr_destroy(attr);
    TRI_TRY(TRI_DNNL(rc));
    TRI_TRY(TRI_DNNL(dnnl_primitive_create(&p->primitive, r->pack)));
    TRI_TRY(argument_bind(p->args, &p->n_args, DNNL_ARG_FROM, rows, engine, &p->rows));
    p->args[p->n_args++] = (dnnl_exec_arg_t){DNNL_ARG_TO, e->bindings[0].b};
    TRI_TRY(scratch_bind(p->args, &p->n_args, r->pack, engine, &p->scratch, &e->scratch_bytes));
    return TRI_OK;
}

static tri_status entry_create(const tri_matmul_cache *cache, const matmul_key *key,
                               matmul_entry **out)
{
    TRI_AUTO(matmul_entry) *e = NULL;
    TRI_TRY(TRI_NEW(&e));
    e->key = *key;
    e->n_bindings = key->flags & FLAG_BLOCK ? cache->threads : 1;
    TRI_TRY(TRI_NEW_ARRAY(e->n_bindings, &e->bindings));
    TRI_AUTO(matmul_recipe) r = {0};
    TRI_TRY(recipe_describe(&r, key, cache->engine));
    TRI_TRY(TRI_DNNL(dnnl_primitive_create(&e->primitive, r.product)));
    for (int i = 0; i < e->n_bindings; i++)
        TRI_TRY(binding_fill(e, &e->bindings[i], &r, cache->engine));
    if (key->flags & FLAG_PACKED) TRI_TRY(pack_fill(e, &r, cache->engine));
    *out = TRI_MOVE(e);
    return TRI_OK;
}

/* --- the cache */

tri_status tri_matmul_cache_create(const tri_kernels *kernels, tri_matmul_cache **out)
{
    TRI_AUTO(tri_matmul_cache) *cache = NULL;
    TRI_TRY(TRI_NEW(&cache));
    cache->n_slots = SLOTS_AT_FIRST;
    cache->threads = kernels->threads;
    TRI_TRY(TRI_NEW_ARRAY(cache->n_slots, &cache->slots));
    TRI_TRY(TRI_NEW_ARRAY(cache->threads, &cache->streams));
    TRI_TRY(TRI_NEW_ARRAY(cache->threads, &cache->scratch));
    TRI_TRY(TRI_DNNL(dnnl_engine_create(&cache->engine, dnnl_cpu, 0)));
    for (int i = 0; i < cache->threads; i++)
        TRI_TRY(TRI_DNNL(
            dnnl_stream_create(&cache->streams[i], cache->engine, dnnl_stream_default_flags)));
    *out = TRI_MOVE(cache);
    return TRI_OK;
}

void tri_matmul_cache_destroy(tri_matmul_cache **cache)
{
    tri_matmul_cache *c = *cache;
    if (!c) return;
    for (int64_t i = 0; c->slots && i < c->n_slots; i++)
        matmul_entry_destroy(&c->slots[i]);
    for (int i = 0; c->streams && i < c->threads; i++)
        if (c->streams[i]) dnnl_stream_destroy(c->streams[i]);
    for (int i = 0; c->scratch && i < c->threads; i++)
        TRI_FREE(c->scratch[i].memory);
    if (c->engine) dnnl_engine_destroy(c->engine);
    TRI_FREE(c->slots);
    TRI_FREE(c->streams);
    TRI_FREE(c->scratch);
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

static tri_status scratch_reserve(matmul_scratch *scratch, const matmul_entry *e)
{
    size_t bytes = e->scratch_bytes;
    bytes += (size_t)tri_round_up((int64_t)e->pack.packed_bytes, SCRATCH_ALIGN);
    if (scratch->memory && bytes <= scratch->bytes) return TRI_OK;
    void *memory = NULL;
    TRI_TRY(tri_alloc(&memory, (int64_t)(bytes + SCRATCH_ALIGN), 1));
    TRI_FREE(scratch->memory);
    scratch->memory = memory;
    scratch->bytes = bytes;
    return TRI_OK;
}

static char *scratch_begin(const matmul_scratch *scratch)
{
    char *memory = scratch->memory;
    return memory + (SCRATCH_ALIGN - (uintptr_t)memory % SCRATCH_ALIGN) % SCRATCH_ALIGN;
}

/* oneDNN takes the team's size from the calling thread, when it creates and when it executes. */
static void team_set(int threads)
{
    if (omp_get_max_threads() != threads) omp_set_num_threads(threads);
}

static tri_status cache_add(tri_matmul_cache *cache, const matmul_key *key)
{
    if (cache->n_entries * 2 >= cache->n_slots) TRI_TRY(cache_grow(cache));
    TRI_AUTO(matmul_entry) *made = NULL;
    TRI_TRY(entry_create(cache, key, &made));
    for (int i = 0; i < made->n_bindings; i++)
        TRI_TRY(scratch_reserve(&cache->scratch[i], made));
    *cache_slot(cache->slots, cache->n_slots, key) = TRI_MOVE(made);
    cache->n_entries++;
    return TRI_OK;
}

static matmul_entry *cache_find(const tri_matmul_cache *cache, const matmul_key *key)
{
    return *cache_slot(cache->slots, cache->n_slots, key);
}

static tri_status cache_ensure(tri_kernels *kernels, const matmul_key *key, matmul_entry **out)
{
    tri_matmul_cache *cache = kernels->matmul;
    team_set(kernels->threads);
    *out = cache_find(cache, key);
    if (*out) return TRI_OK;
    TRI_TRY(cache_add(cache, key));
    *out = cache_find(cache, key);
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

/* Point a thread's arguments (0: also the team's) at the operands and at its scratch. */
static tri_status entry_point(const matmul_entry *e, int thread, const tri_matmul_args *args,
                              const char *packed)
{
    const matmul_binding *bind = &e->bindings[thread];
    const char *scratch = packed + tri_round_up((int64_t)e->pack.packed_bytes, SCRATCH_ALIGN);
    TRI_TRY(memory_point(bind->a, args->a));
    TRI_TRY(memory_point(bind->b, e->pack.primitive ? packed : args->b));
    TRI_TRY(memory_point(bind->c, args->c));
    if (bind->bias) TRI_TRY(memory_point(bind->bias, args->bias));
    if (bind->scratch) TRI_TRY(memory_point(bind->scratch, scratch));
    if (e->pack.primitive) TRI_TRY(memory_point(e->pack.rows, args->b));
    if (e->pack.scratch) TRI_TRY(memory_point(e->pack.scratch, scratch));
    return TRI_OK;
}

static tri_status entry_run(const matmul_entry *e, int thread, dnnl_stream_t stream)
{
    const matmul_binding *bind = &e->bindings[thread];
    const matmul_pack *p = &e->pack;
    if (p->primitive)
        TRI_TRY(TRI_DNNL(dnnl_primitive_execute(p->primitive, stream, p->n_args, p->args)));
    TRI_TRY(TRI_DNNL(dnnl_primitive_execute(e->primitive, stream, bind->n_args, bind->args)));
    TRI_TRY(TRI_DNNL(dnnl_stream_wait(stream)));
    return TRI_OK;
}

static tri_status entry_execute(const tri_matmul_cache *cache, const matmul_entry *e, int thread,
                                const tri_matmul_args *args)
{
    TRI_TRY(entry_point(e, thread, args, scratch_begin(&cache->scratch[thread])));
    TRI_TRY(entry_run(e, thread, cache->streams[thread]));
    return TRI_OK;
}

tri_status tri_matmul_execute(tri_kernels *kernels, const tri_matmul_args *args)
{
    matmul_key key = key_make(args);
    if (tri_matmul_packs(args)) key.flags |= FLAG_PACKED;
    matmul_entry *e = NULL;
    TRI_TRY(cache_ensure(kernels, &key, &e));
    TRI_TRY(entry_execute(kernels->matmul, e, 0, args));
    return TRI_OK;
}

tri_status tri_block_prepare(tri_kernels *kernels, const tri_matmul_args *args)
{
    matmul_key key = key_make(args);
    key.flags |= FLAG_BLOCK;
    if (cache_find(kernels->matmul, &key)) return TRI_OK;
    team_set(1);
    tri_status rc = cache_add(kernels->matmul, &key);
    team_set(kernels->threads);
    TRI_TRY(rc);
    return TRI_OK;
}

tri_status tri_block_matmul(const tri_kernels *kernels, int thread, const tri_matmul_args *args)
{
    matmul_key key = key_make(args);
    key.flags |= FLAG_BLOCK;
    const matmul_entry *e = cache_find(kernels->matmul, &key);
    TRI_CHECK(e && thread < e->n_bindings, TRI_EBUG,
              "block product of [%lld, %lld] by [%lld, %lld] on thread %d was not prepared",
              (long long)key.m, (long long)key.k, (long long)key.k, (long long)key.n, thread);
    TRI_TRY(entry_execute(kernels->matmul, e, thread, args));
    return TRI_OK;
}

/* --- primitives alone */

struct tri_matmul_bare {
    matmul_entry *entry;
    dnnl_stream_t stream; /* the cache's */
    matmul_scratch scratch;
};

void tri_matmul_bare_destroy(tri_matmul_bare **bare)
{
    if (!*bare) return;
    matmul_entry_destroy(&(*bare)->entry);
    TRI_FREE((*bare)->scratch.memory);
    TRI_FREE(*bare);
}

tri_status tri_matmul_bare_point(tri_matmul_bare *bare, const tri_matmul_args *args)
{
    TRI_TRY(entry_point(bare->entry, 0, args, scratch_begin(&bare->scratch)));
    return TRI_OK;
}

tri_status tri_matmul_bare_create(tri_kernels *kernels, const tri_matmul_args *args,
                                  tri_matmul_way way, tri_matmul_bare **out)
{
    TRI_CHECK(args->m > 0 && args->n > 0 && args->k > 0, TRI_EINVAL, "bare product of nothing");
    TRI_CHECK(args->input_type == TRI_F32 || !tri_matmul_widens(kernels), TRI_EUNSUP,
              "oneDNN multiplies bf16 from AVX-512 on");
    TRI_AUTO(tri_matmul_bare) *bare = NULL;
    TRI_TRY(TRI_NEW(&bare));
    matmul_key key = key_make(args);
    if (way == TRI_MATMUL_PACKED) key.flags |= FLAG_PACKED;
    team_set(kernels->threads);
    TRI_TRY(entry_create(kernels->matmul, &key, &bare->entry));
    TRI_TRY(scratch_reserve(&bare->scratch, bare->entry));
    TRI_TRY(tri_matmul_bare_point(bare, args));
    bare->stream = kernels->matmul->streams[0];
    *out = TRI_MOVE(bare);
    return TRI_OK;
}

tri_status tri_matmul_bare_run(const tri_matmul_bare *bare, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        TRI_TRY(entry_run(bare->entry, 0, bare->stream));
    return TRI_OK;
}

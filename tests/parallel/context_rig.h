// SPDX-License-Identifier: Apache-2.0
/* One rank of a context test: its tokens of a world, and what it needs to run its part. */
#ifndef TRI_TESTS_PARALLEL_CONTEXT_RIG_H
#define TRI_TESTS_PARALLEL_CONTEXT_RIG_H

#include "kernels/kernels.h"
#include "tests/parallel/context_world.h"

enum { CANARY_BYTES = 64, CANARY = 0xA5 };

typedef struct context_rig {
    tri_mesh *mesh;
    tri_kernels *kernels;
    tri_comm *ring, *ulysses;
    tri_context *context;
    tri_arena *arena;
    tri_attention_args args;
    int64_t tokens, stride; /* local tokens; elements of a row of q, k, v */
    void *qkv, *dqkv, *out, *dout, *store, *workspace;
    float *lse;
} context_rig;

static inline void rig_destroy(context_rig *rig)
{
    tri_arena_destroy(&rig->arena);
    tri_context_destroy(&rig->context);
    tri_kernels_destroy(&rig->kernels);
    tri_mesh_close(&rig->mesh);
    TRI_FREE(rig->qkv);
    TRI_FREE(rig->dqkv);
    TRI_FREE(rig->out);
    TRI_FREE(rig->dout);
    TRI_FREE(rig->store);
    TRI_FREE(rig->workspace);
    TRI_FREE(rig->lse);
}

static inline void rig_put(tri_dtype dtype, void *x, int64_t i, float value)
{
    if (dtype == TRI_F32)
        ((float *)x)[i] = value;
    else
        ((tri_bf16 *)x)[i] = tri_f32_to_bf16(value);
}

static inline float rig_get(tri_dtype dtype, const void *x, int64_t i)
{
    return dtype == TRI_F32 ? ((const float *)x)[i] : tri_bf16_to_f32(((const tri_bf16 *)x)[i]);
}

/* Bytes with a canary behind them. */
static inline tri_status rig_guarded(size_t bytes, void **out)
{
    char *memory = NULL;
    TRI_TRY(TRI_NEW_ARRAY((int64_t)(bytes + CANARY_BYTES + 64), &memory));
    memset(memory + bytes, CANARY, CANARY_BYTES);
    *out = memory;
    return TRI_OK;
}

static inline void rig_check_guard(const char *what, const void *memory, size_t bytes)
{
    const unsigned char *guard = (const unsigned char *)memory + bytes;
    for (int i = 0; i < CANARY_BYTES; i++)
        EXPECT(guard[i] == CANARY, "%s: byte %d behind %zu was written", what, i, bytes);
}

/* Columns [at, at + width) of local rows = true places of a whole tensor of this width. */
static inline void rig_fill(const context_rig *rig, const context_case *c, const float *whole,
                            int64_t width, void *local, int64_t stride)
{
    for (int64_t b = 0; b < c->batch; b++)
        for (int64_t t = 0; t < rig->tokens; t++) {
            int64_t from = (b * c->length + tri_context_index(rig->context, t)) * width;
            for (int64_t i = 0; i < width; i++)
                rig_put(c->dtype, local, (b * rig->tokens + t) * stride + i, whole[from + i]);
        }
}

/* Norm of the difference of local rows from their true places, over the whole truth's norm. */
static inline double rig_error(const context_rig *rig, const context_case *c, const float *whole,
                               int64_t width, const void *local, int64_t stride)
{
    double difference = 0;
    double norm = 0;
    for (int64_t b = 0; b < c->batch; b++)
        for (int64_t t = 0; t < rig->tokens; t++) {
            int64_t from = (b * c->length + tri_context_index(rig->context, t)) * width;
            for (int64_t i = 0; i < width; i++) {
                double want = whole[from + i];
                double got = rig_get(c->dtype, local, (b * rig->tokens + t) * stride + i);
                difference += (got - want) * (got - want);
                norm += want * want;
            }
        }
    return sqrt(difference / norm);
}

static inline void *rig_column(const context_rig *rig, const void *rows, int64_t column)
{
    return (char *)(uintptr_t)rows + (size_t)column * tri_dtype_bytes(rig->args.dtype);
}

static inline tri_status rig_buffers(context_rig *rig, const context_world *w)
{
    const context_case *c = &w->c;
    int64_t bytes = (int64_t)tri_dtype_bytes(c->dtype);
    int64_t rows = c->batch * rig->tokens;
    char *byte[4] = {0};
    TRI_TRY(TRI_NEW_ARRAY(rows * rig->stride * bytes, &byte[0]));
    rig->qkv = byte[0];
    TRI_TRY(TRI_NEW_ARRAY(rows * rig->stride * bytes, &byte[1]));
    rig->dqkv = byte[1];
    TRI_TRY(TRI_NEW_ARRAY(rows * query_width(c) * bytes, &byte[2]));
    rig->out = byte[2];
    TRI_TRY(TRI_NEW_ARRAY(rows * query_width(c) * bytes, &byte[3]));
    rig->dout = byte[3];
    TRI_TRY(TRI_NEW_ARRAY(rows * c->heads, &rig->lse));
    TRI_TRY(rig_guarded((size_t)tri_context_store_bytes(rig->context), &rig->store));
    TRI_TRY(rig_guarded(tri_context_workspace(rig->context), &rig->workspace));
    return TRI_OK;
}

static inline void rig_args(context_rig *rig, const context_world *w)
{
    const context_case *c = &w->c;
    rig->args = (tri_attention_args){.batch = c->batch,
                                     .n_query = rig->tokens,
                                     .n_key = rig->tokens,
                                     .visible = c->documents == ONE ? NULL : w->visible,
                                     .visible_stride = c->length,
                                     .heads = c->heads,
                                     .kv_heads = c->kv_heads,
                                     .head_size = c->head_size,
                                     .dtype = c->dtype,
                                     .scale = 1.0f / sqrtf((float)c->head_size),
                                     .q_stride = rig->stride,
                                     .k_stride = rig->stride,
                                     .v_stride = rig->stride,
                                     .out = rig->out,
                                     .out_stride = query_width(c),
                                     .lse = rig->lse,
                                     .dout = rig->dout,
                                     .workspace = rig->workspace};
    int64_t v = query_width(c) + key_width(c);
    rig->args.q = rig->qkv;
    rig->args.k = rig_column(rig, rig->qkv, query_width(c));
    rig->args.v = rig_column(rig, rig->qkv, v);
    rig->args.dq = rig->dqkv;
    rig->args.dk = rig_column(rig, rig->dqkv, query_width(c));
    rig->args.dv = rig_column(rig, rig->dqkv, v);
}

static inline tri_context_args rig_context_args(const context_rig *rig, const context_case *c)
{
    return (tri_context_args){.mesh = rig->mesh,
                              .ring = rig->ring,
                              .ulysses = rig->ulysses,
                              .kernels = rig->kernels,
                              .mode = c->mode,
                              .n_ulysses = c->n_ulysses,
                              .sequences = c->batch,
                              .length = c->length,
                              .heads = c->heads,
                              .kv_heads = c->kv_heads,
                              .head_size = c->head_size,
                              .dtype = c->dtype,
                              .training = !c->evaluates};
}

static inline tri_status rig_create(tri_comm *world, const context_world *w, context_rig *rig)
{
    const context_case *c = &w->c;
    tri_mesh_args mesh = {
        .world = world, .size = {1, c->data, c->size, c->tensor}
    };
    TRI_TRY(tri_mesh_create(&mesh, &rig->mesh));
    TRI_TRY(tri_context_split(rig->mesh, c->mode, c->n_ulysses, &rig->ring, &rig->ulysses));
    TRI_TRY(tri_kernels_create(tri_comm_device(world), NULL, &rig->kernels));
    tri_context_args args = rig_context_args(rig, c);
    TRI_TRY(tri_context_create(&args, &rig->context));
    rig->tokens = c->length / c->size;
    rig->stride = query_width(c) + 2 * key_width(c);
    TRI_TRY(tri_arena_create(&rig->arena));
    TRI_TRY(tri_context_declare(rig->context, rig->arena));
    TRI_TRY(tri_arena_commit(rig->arena, tri_comm_device(world), NULL));
    TRI_TRY(rig_buffers(rig, w));
    rig_args(rig, w);
    rig_fill(rig, c, w->q, query_width(c), rig->qkv, rig->stride);
    rig_fill(rig, c, w->k, key_width(c), rig_column(rig, rig->qkv, query_width(c)), rig->stride);
    rig_fill(rig, c, w->v, key_width(c), rig_column(rig, rig->qkv, query_width(c) + key_width(c)),
             rig->stride);
    rig_fill(rig, c, w->dout, query_width(c), rig->dout, query_width(c));
    return TRI_OK;
}

#endif

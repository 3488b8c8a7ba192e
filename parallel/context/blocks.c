// SPDX-License-Identifier: Apache-2.0
/* Blocks of a sequence: which queries and keys meet, calls of the kernel on them, sums over them, and
 * keys and values packed for travel.
 */
#include "parallel/context/context_impl.h"

#include "kernels/pointwise.h"

#include <math.h>
#include <string.h>

/* Copies of less are not worth a team of threads. */
static const int64_t blocks_team_bytes = 1 << 20;

int tri_context_runs(const tri_context *context, int place, tri_context_run run[TRI_CONTEXT_RUNS])
{
    int64_t n_ring = context->n_ring;
    int64_t chunk = context->tokens / 2;
    run[0] = (tri_context_run){place * chunk, 0, context->tokens};
    /* chunks place and 2 n_ring - 1 - place: neighbours on the last place (and the only one) */
    if (place == n_ring - 1) return 1;
    run[0].count = chunk;
    run[1] = (tri_context_run){(2 * n_ring - 1 - place) * chunk, chunk, chunk};
    return 2;
}

int tri_context_blocks(const tri_context *context, int place,
                       tri_context_block block[TRI_CONTEXT_BLOCKS])
{
    tri_context_run mine[TRI_CONTEXT_RUNS];
    tri_context_run keys[TRI_CONTEXT_RUNS];
    int n_mine = tri_context_runs(context, context->i_ring, mine);
    int n_keys = tri_context_runs(context, place, keys);
    int n = 0;
    for (int i = 0; i < n_mine; i++)
        for (int j = 0; j < n_keys; j++)
            if (keys[j].place < mine[i].place + mine[i].count)
                block[n++] = (tri_context_block){mine[i], keys[j]};
    return n;
}

tri_attention_args tri_context_block_args(const tri_attention_args *whole,
                                          const tri_context_block *block)
{
    tri_attention_args args = *whole;
    tri_dtype out_type = whole->merge ? TRI_F32 : whole->dtype;
    tri_dtype grad_type = whole->accumulate ? TRI_F32 : whole->dtype;
    int64_t q = block->q.local;
    int64_t k = block->k.local;
    args.n_query = block->q.count;
    args.n_key = block->k.count;
    args.q_first = block->q.place;
    args.k_first = block->k.place;
    args.q = tri_context_at(whole->q, q * whole->q_stride, whole->dtype);
    args.k = tri_context_at(whole->k, k * whole->k_stride, whole->dtype);
    args.v = tri_context_at(whole->v, k * whole->v_stride, whole->dtype);
    args.out = tri_context_at(whole->out, q * whole->out_stride, out_type);
    args.lse = tri_context_at(whole->lse, q, TRI_F32);
    args.dout = tri_context_at(whole->dout, q * whole->out_stride, whole->dtype);
    args.dq = tri_context_at(whole->dq, q * whole->q_stride, grad_type);
    args.dk = tri_context_at(whole->dk, k * whole->k_stride, grad_type);
    args.dv = tri_context_at(whole->dv, k * whole->v_stride, grad_type);
    return args;
}

tri_status tri_context_blocks_forward(const tri_context *context, const tri_attention_args *args,
                                      int place)
{
    tri_context_block block[TRI_CONTEXT_BLOCKS];
    int n = tri_context_blocks(context, place, block);
    for (int i = 0; i < n; i++) {
        tri_attention_args call = tri_context_block_args(args, &block[i]);
        TRI_TRY(tri_attention_forward(context->args.kernels, &call));
    }
    return TRI_OK;
}

tri_status tri_context_blocks_backward(const tri_context *context, const tri_attention_args *args,
                                       int place)
{
    tri_context_block block[TRI_CONTEXT_BLOCKS];
    int n = tri_context_blocks(context, place, block);
    for (int i = 0; i < n; i++) {
        tri_attention_args call = tri_context_block_args(args, &block[i]);
        TRI_TRY(tri_attention_backward(context->args.kernels, &call));
    }
    return TRI_OK;
}

/* --- rows */

void tri_context_copy(const tri_context *context, const int64_t shape[3], tri_context_rows from,
                      tri_context_rows to)
{
    tri_dtype dtype = context->args.dtype;
    size_t bytes = (size_t)shape[2] * tri_dtype_bytes(dtype);
    int64_t rows = shape[0] * shape[1];
#pragma omp parallel for num_threads(tri_kernels_threads(context->args.kernels)) \
    schedule(static) if (rows * (int64_t)bytes >= blocks_team_bytes)
    for (int64_t row = 0; row < rows; row++) {
        int64_t b = row / shape[1];
        int64_t t = row % shape[1];
        memcpy(tri_context_at(to.data, b * to.batch_stride + t * to.stride, dtype),
               tri_context_at(from.data, b * from.batch_stride + t * from.stride, dtype), bytes);
    }
}

tri_status tri_context_round(const tri_context *context, const int64_t shape[3], const float *from,
                             tri_context_rows to)
{
    int64_t width = shape[2];
    tri_dtype dtype = context->args.dtype;
    /* rows that lie together are one */
    bool dense = to.stride == width && (shape[0] == 1 || to.batch_stride == shape[1] * width);
    int64_t rows = dense ? 1 : shape[0] * shape[1];
    int64_t count = dense ? shape[0] * shape[1] * width : width;
    for (int64_t row = 0; row < rows; row++) {
        int64_t at = row / shape[1] * to.batch_stride + row % shape[1] * to.stride;
        TRI_TRY(tri_cast(context->args.kernels, tri_span_make(from + row * count, count, TRI_F32),
                         tri_span_make(tri_context_at(to.data, at, dtype), count, dtype)));
    }
    return TRI_OK;
}

/* --- sums over blocks */

void tri_context_sum_begin(const tri_context *context, const tri_attention_args *args,
                           tri_attention_args *sum)
{
    int64_t width = context->heads * args->head_size;
    int64_t rows = args->batch * context->tokens;
    memset(context->sum, 0, (size_t)(rows * width) * sizeof *context->sum);
    for (int64_t i = 0; i < rows * context->heads; i++)
        args->lse[i] = -INFINITY;
    *sum = *args;
    sum->out = context->sum;
    sum->out_stride = width;
    sum->out_batch_stride = context->tokens * width;
    sum->merge = true;
}

tri_status tri_context_sum_end(const tri_context *context, const tri_attention_args *args)
{
    const int64_t shape[3] = {args->batch, context->tokens, context->heads * args->head_size};
    return tri_context_round(
        context, shape, context->sum,
        (tri_context_rows){args->out, args->out_stride, args->out_batch_stride});
}

void tri_context_dq_begin(const tri_context *context, const tri_attention_args *args,
                          tri_attention_args *sum)
{
    const int64_t shape[3] = {args->batch, context->tokens, context->heads * args->head_size};
    int64_t batch_stride = context->tokens * shape[2];
    tri_context_copy(
        context, shape,
        (tri_context_rows){(void *)(uintptr_t)args->q, args->q_stride, args->q_batch_stride},
        (tri_context_rows){context->q, shape[2], batch_stride});
    memset(context->sum, 0, (size_t)(args->batch * batch_stride) * sizeof *context->sum);
    *sum = *args;
    sum->q = context->q;
    sum->q_stride = shape[2];
    sum->q_batch_stride = batch_stride;
    sum->dq = context->sum;
    sum->accumulate = true;
}

tri_status tri_context_dq_end(const tri_context *context, const tri_attention_args *args)
{
    const int64_t shape[3] = {args->batch, context->tokens, context->heads * args->head_size};
    return tri_context_round(context, shape, context->sum,
                             (tri_context_rows){args->dq, args->q_stride, args->q_batch_stride});
}

/* --- keys and values on their way */

int64_t tri_context_kv_count(const tri_context *context, int64_t batch, int64_t heads)
{
    return 2 * batch * context->tokens * heads * context->args.head_size;
}

void tri_context_pack(const tri_context *context, const tri_attention_args *args, int64_t first,
                      int64_t heads, void *kv)
{
    tri_dtype dtype = args->dtype;
    const int64_t shape[3] = {args->batch, context->tokens, heads * args->head_size};
    int64_t column = first * args->head_size;
    int64_t half = tri_context_kv_count(context, args->batch, heads) / 2;
    int64_t batch_stride = shape[1] * shape[2];
    tri_context_rows k = {tri_context_at(args->k, column, dtype), args->k_stride,
                          args->k_batch_stride};
    tri_context_rows v = {tri_context_at(args->v, column, dtype), args->v_stride,
                          args->v_batch_stride};
    tri_context_copy(context, shape, k, (tri_context_rows){kv, shape[2], batch_stride});
    tri_context_copy(context, shape, v,
                     (tri_context_rows){tri_context_at(kv, half, dtype), shape[2], batch_stride});
}

tri_status tri_context_unpack(const tri_context *context, const tri_attention_args *args,
                              int64_t first, int64_t heads, const float *dkv)
{
    tri_dtype dtype = args->dtype;
    const int64_t shape[3] = {args->batch, context->tokens, heads * args->head_size};
    int64_t column = first * args->head_size;
    tri_context_rows dk = {tri_context_at(args->dk, column, dtype), args->k_stride,
                           args->k_batch_stride};
    tri_context_rows dv = {tri_context_at(args->dv, column, dtype), args->v_stride,
                           args->v_batch_stride};
    TRI_TRY(tri_context_round(context, shape, dkv, dk));
    dkv += tri_context_kv_count(context, args->batch, heads) / 2;
    TRI_TRY(tri_context_round(context, shape, dkv, dv));
    return TRI_OK;
}

void tri_context_use(const tri_context *context, tri_attention_args *args, int64_t heads,
                     const void *kv, float *dkv)
{
    int64_t width = heads * args->head_size;
    int64_t half = tri_context_kv_count(context, args->batch, heads) / 2;
    args->k = kv;
    args->v = tri_context_at(kv, half, args->dtype);
    args->k_stride = args->v_stride = width;
    args->k_batch_stride = args->v_batch_stride = context->tokens * width;
    args->dk = dkv;
    args->dv = tri_context_at(dkv, half, TRI_F32);
}

tri_status tri_context_declare_inside(tri_context *context, tri_arena *arena, int64_t kv_count,
                                      int n_dkv, int64_t dkv_count)
{
    const tri_context_args *args = &context->args;
    int64_t count = args->sequences * context->tokens * context->heads * args->head_size;
    for (int i = 0; i < 2; i++)
        TRI_TRY(tri_arena_add(arena, TRI_MEM_COMM, kv_count, args->dtype, &context->kv[i]));
    TRI_TRY(tri_arena_add(arena, TRI_MEM_WORKSPACE, count, TRI_F32, (void **)&context->sum));
    if (!args->training) return TRI_OK;
    TRI_TRY(tri_arena_add(arena, TRI_MEM_WORKSPACE, count, args->dtype, &context->q));
    for (int i = 0; i < n_dkv; i++)
        TRI_TRY(tri_arena_add(arena, TRI_MEM_COMM, dkv_count, TRI_F32, (void **)&context->dkv[i]));
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* The attention layer. q, k and v of a token lie side by side in one row, so one rotation serves q
 * and k, and the kernel reads all three in place by stride.
 */
#include "parallel/layer/attention.h"

#include "kernels/attention.h"
#include "kernels/pointwise.h"
#include "parallel/context.h"

#include <assert.h>
#include <math.h>

static int64_t key_width(const tri_attention_layer *attention)
{
    return attention->kv_heads * attention->head_size;
}

static int64_t query_width(const tri_attention_layer *attention)
{
    return attention->heads * attention->head_size;
}

/* Columns of k and v in a row of qkv, or of its gradient. */
static void *keys_of(const tri_attention_layer *attention, const void *qkv, tri_dtype dtype)
{
    return tri_layer_at(qkv, query_width(attention), dtype);
}

static void *values_of(const tri_attention_layer *attention, const void *qkv, tri_dtype dtype)
{
    return tri_layer_at(qkv, query_width(attention) + key_width(attention), dtype);
}

static float scale_of(const tri_attention_layer *attention)
{
    return attention->scale != 0 ? attention->scale : 1.0f / sqrtf((float)attention->head_size);
}

static tri_attention_args args_of(const tri_layer_call *call, const tri_attention_layer *attention,
                                  const tri_attention_store *store)
{
    int64_t stride = tri_linear_out(&attention->qkv);
    return (tri_attention_args){
        .batch = call->sequences,
        .n_query = call->length,
        .n_key = call->length,
        .visible = call->visible,
        .visible_stride = call->visible_stride,
        .heads = attention->heads,
        .kv_heads = attention->kv_heads,
        .head_size = attention->head_size,
        .dtype = call->dtype,
        .scale = scale_of(attention),
        .q = store->qkv,
        .k = keys_of(attention, store->qkv, call->dtype),
        .v = values_of(attention, store->qkv, call->dtype),
        .q_stride = stride,
        .k_stride = stride,
        .v_stride = stride,
        .out = store->mix,
        .out_stride = query_width(attention),
        .lse = store->lse,
        .workspace = call->attention,
    };
}

/* Rotate q and k, which are the first heads of each row. */
static tri_status rotate(const tri_layer_call *call, const tri_attention_layer *attention,
                         void *qkv, bool inverse)
{
    if (!attention->rope) return TRI_OK;
    tri_rope_args args = {
        .dtype = call->dtype,
        .tokens = tri_layer_rows(call),
        .period = call->length,
        .first_position = call->first_position,
        .position = call->position,
        .heads = attention->heads + attention->kv_heads,
        .head_size = attention->head_size,
        .stride = tri_linear_out(&attention->qkv),
        .table = attention->rope,
        .inverse = inverse,
        .x = qkv,
    };
    return tri_rope(call->kernels, &args);
}

/* Copy the new tokens' keys and values behind the cached ones, and let the kernel read the cache. */
static void use_cache(const tri_layer_call *call, const tri_attention_layer *attention,
                      const tri_attention_cache *cache, tri_attention_args *args)
{
    assert(call->sequences == 1 && !call->context);
    int64_t width = key_width(attention);
    int64_t stride = tri_linear_out(&attention->qkv);
    size_t row_bytes = (size_t)width * tri_dtype_bytes(call->dtype);
    for (int64_t t = 0; t < call->length; t++) {
        int64_t to = (call->first_position + t) * width;
        memcpy(tri_layer_at(cache->k, to, call->dtype),
               tri_layer_at(args->k, t * stride, call->dtype), row_bytes);
        memcpy(tri_layer_at(cache->v, to, call->dtype),
               tri_layer_at(args->v, t * stride, call->dtype), row_bytes);
    }
    args->k = cache->k;
    args->v = cache->v;
    args->k_stride = width;
    args->v_stride = width;
    args->n_key = call->first_position + call->length;
    args->q_first = call->first_position;
}

/* The kernel, or over a context axis what takes its place. */
static tri_status kernel_forward(const tri_layer_call *call, const tri_attention_args *args,
                                 const tri_attention_store *store)
{
    if (call->context) return tri_context_forward(call->context, args, store->context);
    return tri_attention_forward(call->kernels, args);
}

tri_status tri_attention_layer_mix(const tri_layer_call *call, const tri_attention_layer *attention,
                                   const tri_attention_store *store)
{
    tri_attention_args args = args_of(call, attention, store);
    return kernel_forward(call, &args, store);
}

tri_status tri_attention_layer_forward(const tri_layer_call *call,
                                       const tri_attention_layer *attention, const void *y,
                                       const tri_attention_store *store,
                                       const tri_attention_cache *cache, void *branch)
{
    TRI_TRY(tri_split_columns_forward(call, &attention->qkv, y, store->qkv));
    TRI_TRY(rotate(call, attention, store->qkv, false));
    tri_attention_args args = args_of(call, attention, store);
    if (cache) use_cache(call, attention, cache, &args);
    TRI_TRY(kernel_forward(call, &args, store));
    return tri_split_rows_forward(call, &attention->out, store->mix, branch);
}

static tri_status kernel_backward(const tri_layer_call *call, const tri_attention_layer *attention,
                                  const tri_attention_store *store,
                                  const tri_attention_scratch *scratch)
{
    tri_attention_args args = args_of(call, attention, store);
    args.dout = scratch->dmix;
    args.dq = scratch->dqkv;
    args.dk = keys_of(attention, scratch->dqkv, call->dtype);
    args.dv = values_of(attention, scratch->dqkv, call->dtype);
    if (call->context) return tri_context_backward(call->context, &args, store->context);
    return tri_attention_backward(call->kernels, &args);
}

tri_status tri_attention_layer_backward_input(const tri_layer_call *call,
                                              const tri_attention_layer *attention,
                                              const tri_attention_store *store, const void *dbranch,
                                              const tri_attention_scratch *scratch, void *spare,
                                              void *dy)
{
    TRI_TRY(tri_split_rows_backward_input(call, &attention->out, dbranch, scratch->dbranch,
                                          scratch->dmix));
    TRI_TRY(kernel_backward(call, attention, store, scratch));
    TRI_TRY(rotate(call, attention, scratch->dqkv, true));
    return tri_split_columns_backward_input(call, &attention->qkv, scratch->dqkv, dy, spare);
}

tri_status tri_attention_layer_backward_weight(const tri_layer_call *call,
                                               const tri_attention_layer *attention,
                                               const tri_attention_store *store, const void *y,
                                               const tri_attention_scratch *scratch)
{
    tri_split_before out = {&attention->out, store->mix, scratch->dbranch};
    return tri_split_columns_backward_weight(call, &attention->qkv, y, scratch->dqkv, &out);
}

size_t tri_attention_layer_workspace(const tri_layer_call *call,
                                     const tri_attention_layer *attention)
{
    if (call->context) return tri_context_workspace(call->context);
    tri_attention_args args = args_of(call, attention, &(tri_attention_store){0});
    size_t bytes = tri_attention_workspace(call->kernels, &args);
    args.batch = 1; /* generation: one query, all keys */
    args.n_query = 1;
    size_t one_bytes = tri_attention_workspace(call->kernels, &args);
    return bytes > one_bytes ? bytes : one_bytes;
}

void tri_attention_layer_traffic(const tri_layer_call *call, tri_tensor_passes passes,
                                 tri_traffic_list *list)
{
    tri_split_traffic(call, "attention", passes, list);
}

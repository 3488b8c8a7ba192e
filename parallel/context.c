// SPDX-License-Identifier: Apache-2.0
/* The context axis: who holds which tokens, and the two stages of its attention. */
#include "parallel/context.h"

#include "parallel/context/context_impl.h"

#include "runtime/base/alloc.h"

#include <assert.h>

tri_status tri_context_split(tri_mesh *mesh, tri_context_mode mode, int n_ulysses, tri_comm **ring,
                             tri_comm **ulysses)
{
    unsigned axis = TRI_AXIS_BIT(TRI_AXIS_CONTEXT);
    int size = tri_mesh_size(mesh, TRI_AXIS_CONTEXT);
    int n = tri_context_degree(mode, size, n_ulysses);
    TRI_CHECK(n >= 1 && size % n == 0, TRI_EINVAL,
              "parallel.ulysses %d does not divide parallel.context %d", n, size);
    *ring = *ulysses = NULL;
    if (size == 1) return TRI_OK;
    if (n == 1 || n == size) { /* one group: the axis */
        TRI_TRY(tri_mesh_declare(mesh, axis));
        *(n == 1 ? ring : ulysses) = tri_mesh_comm(mesh, axis);
        return TRI_OK;
    }
    int others = tri_mesh_index(mesh, ~axis & (TRI_AXIS_BIT(TRI_AXES) - 1));
    int coord = tri_mesh_coord(mesh, TRI_AXIS_CONTEXT);
    TRI_TRY(tri_mesh_group(mesh, n, others * (size / n) + coord / n, coord % n, ulysses));
    TRI_TRY(tri_mesh_group(mesh, size / n, others * n + coord % n, coord / n, ring));
    tri_comm_set_name(*ulysses, "context ulysses");
    tri_comm_set_name(*ring, "context ring");
    return TRI_OK;
}

static tri_status comm_check(const char *what, const tri_comm *comm, int size, int rank)
{
    if (!comm) return TRI_OK;
    TRI_CHECK(tri_comm_size(comm) == size && tri_comm_rank(comm) == rank, TRI_EBUG,
              "the %s communicator has rank %d of %d, not %d of %d", what, tri_comm_rank(comm),
              tri_comm_size(comm), rank, size);
    return TRI_OK;
}

tri_status tri_context_create(const tri_context_args *args, tri_context **out)
{
    int size = tri_mesh_size(args->mesh, TRI_AXIS_CONTEXT);
    int coord = tri_mesh_coord(args->mesh, TRI_AXIS_CONTEXT);
    TRI_TRY(tri_context_check(args->mode, size, args->n_ulysses, args->length, args->heads,
                              args->kv_heads));
    TRI_CHECK(args->dtype == TRI_F32 || args->dtype == TRI_BF16, TRI_EINVAL,
              "attention over the context axis on %s: activations are fp32 or bf16",
              tri_dtype_name(args->dtype));
    int n = tri_context_degree(args->mode, size, args->n_ulysses);
    bool real = tri_mesh_world(args->mesh) != NULL;
    TRI_CHECK(!real || ((n == 1 || args->ulysses) && (n == size || args->ring)), TRI_EBUG,
              "a context axis of %d ranks without the communicators of tri_context_split", size);
    TRI_TRY(comm_check("ulysses", args->ulysses, n, coord % n));
    TRI_TRY(comm_check("ring", args->ring, size / n, coord / n));
    tri_context *context = NULL;
    TRI_TRY(TRI_NEW(&context));
    context->args = *args;
    context->args.n_ulysses = n;
    context->size = size;
    context->n_ring = size / n;
    context->i_ring = coord / n;
    context->i_ulysses = coord % n;
    context->ops = tri_context_find(n == size ? TRI_CONTEXT_ULYSSES : args->mode);
    context->tokens = args->length / context->n_ring;
    context->heads = args->heads / n;
    context->kv_heads = args->kv_heads > n ? args->kv_heads / n : 1;
    *out = context;
    return TRI_OK;
}

void tri_context_destroy(tri_context **context)
{
    TRI_FREE(*context);
}

int64_t tri_context_index(const tri_context *context, int64_t j)
{
    int64_t tokens = context->tokens;
    int64_t local = context->i_ulysses * (tokens / context->args.n_ulysses) + j;
    tri_context_run run[TRI_CONTEXT_RUNS];
    int n = tri_context_runs(context, context->i_ring, run);
    assert(local >= 0 && local < tokens);
    const tri_context_run *r = &run[n > 1 && local >= run[1].local ? 1 : 0];
    return r->place + local - r->local;
}

tri_status tri_context_declare(tri_context *context, tri_arena *arena)
{
    if (context->args.n_ulysses > 1) TRI_TRY(tri_context_exchange_declare(context, arena));
    if (context->ops->declare) TRI_TRY(context->ops->declare(context, arena));
    return TRI_OK;
}

int64_t tri_context_store_bytes(const tri_context *context)
{
    bool keeps = context->args.n_ulysses > 1 && context->args.training;
    return keeps ? tri_context_exchange_store_bytes(context) : 0;
}

/* The caller's arguments with all strides filled in. */
static tri_status args_resolve(const tri_context *context, const tri_attention_args *args,
                               tri_attention_args *out)
{
    const tri_context_args *mine = &context->args;
    int64_t tokens = mine->length / context->size;
    TRI_CHECK(
        args->n_query == tokens && args->n_key == tokens && args->batch >= 0 &&
            args->batch <= mine->sequences && args->heads == mine->heads &&
            args->kv_heads == mine->kv_heads && args->head_size == mine->head_size &&
            args->dtype == mine->dtype,
        TRI_EBUG,
        "attention over the context axis of %lld sequences, %lld queries, %lld keys, %lld on "
        "%lld heads of %lld in %s: made for %lld sequences, %lld tokens, %lld on %lld heads of "
        "%lld in %s",
        (long long)args->batch, (long long)args->n_query, (long long)args->n_key,
        (long long)args->heads, (long long)args->kv_heads, (long long)args->head_size,
        tri_dtype_name(args->dtype), (long long)mine->sequences, (long long)tokens,
        (long long)mine->heads, (long long)mine->kv_heads, (long long)mine->head_size,
        tri_dtype_name(mine->dtype));
    TRI_CHECK(!args->merge && !args->accumulate && args->q_first == 0 && args->k_first == 0 &&
                  (args->lse_stride == 0 || args->lse_stride == tokens) &&
                  (args->lse_batch_stride == 0 || args->lse_batch_stride == args->heads * tokens),
              TRI_EBUG, "attention over the context axis places, merges and sums by itself");
    *out = *args;
    if (!out->q_batch_stride) out->q_batch_stride = tokens * args->q_stride;
    if (!out->k_batch_stride) out->k_batch_stride = tokens * args->k_stride;
    if (!out->v_batch_stride) out->v_batch_stride = tokens * args->v_stride;
    if (!out->out_batch_stride) out->out_batch_stride = tokens * args->out_stride;
    out->lse_stride = tokens;
    out->lse_batch_stride = args->heads * tokens;
    return TRI_OK;
}

tri_status tri_context_forward(tri_context *context, const tri_attention_args *args, void *store)
{
    tri_attention_args resolved;
    TRI_TRY(args_resolve(context, args, &resolved));
    if (args->batch == 0) return TRI_OK;
    if (context->args.n_ulysses > 1)
        TRI_TRY(tri_context_exchange_forward(context, &resolved, store));
    else
        TRI_TRY(context->ops->forward(context, &resolved));
    return TRI_OK;
}

tri_status tri_context_backward(tri_context *context, const tri_attention_args *args,
                                const void *store)
{
    tri_attention_args resolved;
    TRI_TRY(args_resolve(context, args, &resolved));
    TRI_CHECK(context->args.training, TRI_EBUG,
              "attention backward over a context axis that was not made for training");
    if (args->batch == 0) return TRI_OK;
    if (context->args.n_ulysses > 1)
        TRI_TRY(tri_context_exchange_backward(context, &resolved, store));
    else
        TRI_TRY(context->ops->backward(context, &resolved));
    return TRI_OK;
}

size_t tri_context_workspace(const tri_context *context)
{
    bool merges = context->n_ring > 1;
    tri_attention_args whole = {.batch = context->args.sequences,
                                .n_query = context->tokens,
                                .n_key = context->tokens,
                                .head_size = context->args.head_size,
                                .dtype = context->args.dtype,
                                .merge = merges,
                                .accumulate = merges};
    context->ops->kernel_heads(context, &whole.heads, &whole.kv_heads);
    size_t most = 0;
    for (int place = 0; place < context->n_ring; place++) {
        tri_context_block block[TRI_CONTEXT_BLOCKS];
        int n = tri_context_blocks(context, place, block);
        for (int i = 0; i < n; i++) {
            tri_attention_args args = tri_context_block_args(&whole, &block[i]);
            size_t bytes = tri_attention_workspace(context->args.kernels, &args);
            if (bytes > most) most = bytes;
        }
    }
    return most;
}

void tri_context_traffic(const tri_context *context, int64_t sequences, int64_t forwards,
                         int64_t backwards, tri_traffic_list *list)
{
    if (sequences == 0) return;
    if (context->args.n_ulysses > 1)
        tri_context_exchange_traffic(context, sequences, forwards, backwards, list);
    if (context->ops->traffic) context->ops->traffic(context, sequences, forwards, backwards, list);
}

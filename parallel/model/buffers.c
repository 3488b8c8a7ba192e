// SPDX-License-Identifier: Apache-2.0
/* The buffers of a model: what each block keeps from forward to backward in each slot, what all share.
 * A block that is computed again keeps less; one whose two parts of backward are apart keeps more.
 */
#include "kernels/norm.h"
#include "parallel/model/model_impl.h"

/* [inner rows of the largest batch, width] of the activations' type. */
static tri_status add_rows(const tri_model *model, tri_arena *arena, int64_t width, void **where)
{
    tri_layer_call call = tri_model_largest_call(model);
    int64_t count = 0;
    TRI_TRY(tri_product(2, (const int64_t[]){tri_layer_rows(&call), width}, &count));
    return tri_arena_add(arena, TRI_MEM_ACTIVATIONS, count, call.dtype, where);
}

/* [outer rows of the largest batch, C] of the activations' type. */
static tri_status add_stream(const tri_model *model, tri_arena *arena, void **where)
{
    tri_layer_call call = tri_model_largest_call(model);
    int64_t count = tri_layer_outer_rows(&call) * model->config.hidden;
    return tri_arena_add(arena, TRI_MEM_ACTIVATIONS, count, call.dtype, where);
}

static tri_status add_statistics(const tri_model *model, tri_arena *arena, int64_t count,
                                 float **where)
{
    (void)model;
    return tri_arena_add(arena, TRI_MEM_ACTIVATIONS, count, TRI_F32, (void **)where);
}

/* What of a norm is asked for: its input, and what it makes of it. */
static tri_status declare_norm(const tri_model *model, tri_arena *arena, bool x, bool y,
                               tri_norm_store *store)
{
    tri_layer_call call = tri_model_largest_call(model);
    int64_t rows = tri_layer_outer_rows(&call);
    if (x) TRI_TRY(add_stream(model, arena, &store->x));
    if (!y) return TRI_OK;
    TRI_TRY(add_stream(model, arena, &store->y));
    if (model->family->layer_norm) TRI_TRY(add_statistics(model, arena, rows, &store->mean));
    return add_statistics(model, arena, rows, &store->rstd);
}

static tri_status declare_mix(const tri_model *model, tri_arena *arena, tri_attention_store *store)
{
    const tri_attention_layer *attention = &model->blocks[0].attention;
    tri_layer_call call = tri_model_largest_call(model);
    TRI_TRY(add_rows(model, arena, attention->heads * attention->head_size, &store->mix));
    TRI_TRY(add_statistics(model, arena, tri_layer_rows(&call) * attention->heads, &store->lse));
    if (!call.context) return TRI_OK;
    return tri_arena_add(arena, TRI_MEM_ACTIVATIONS, tri_context_store_bytes(call.context), TRI_U8,
                         &store->context);
}

/* The parts of a store that are named by what computes them: `inputs` of a block, results of its wide
 * `products`, and all that follows from these (`rest`). */
static tri_status declare_store(const tri_model *model, tri_arena *arena, bool inputs,
                                bool products, bool rest, tri_model_store *store)
{
    const tri_model_block *block = &model->blocks[0];
    TRI_TRY(declare_norm(model, arena, inputs, rest, &store->norm1));
    TRI_TRY(declare_norm(model, arena, products, rest, &store->norm2));
    if (products) {
        TRI_TRY(
            add_rows(model, arena, tri_linear_out(&block->attention.qkv), &store->attention.qkv));
        TRI_TRY(add_rows(model, arena, tri_linear_out(&block->mlp.up), &store->mlp.wide));
    }
    if (!rest) return TRI_OK;
    TRI_TRY(declare_mix(model, arena, &store->attention));
    return add_rows(model, arena, block->mlp.width, &store->mlp.act);
}

/* Gradients that wait for backward of the weights. */
static tri_status declare_waiting(const tri_model *model, tri_arena *arena, tri_model_store *store)
{
    const tri_model_block *block = &model->blocks[0];
    int64_t C = model->config.hidden;
    int64_t width = block->mlp.width;
    TRI_TRY(add_rows(model, arena, C, &store->dattention.dbranch));
    TRI_TRY(add_rows(model, arena, tri_linear_out(&block->attention.qkv), &store->dattention.dqkv));
    TRI_TRY(add_rows(model, arena, C, &store->dmlp.dbranch));
    return add_rows(model, arena, block->mlp.gated ? tri_max64(width, C) : width,
                    &store->dmlp.dwide);
}

static tri_status declare_slot(const tri_model *model, tri_arena *arena,
                               const tri_model_chunk *chunk, tri_model_slot *slot)
{
    bool training = model->args.training;
    for (int64_t i = 0; training && i < chunk->layers; i++) {
        tri_recompute recompute = tri_model_recompute_of(model, chunk, i);
        TRI_TRY(declare_store(model, arena, true, recompute != TRI_RECOMPUTE_FULL,
                              recompute == TRI_RECOMPUTE_NONE, &slot->blocks[i]));
        if (model->args.split_backward && recompute == TRI_RECOMPUTE_NONE)
            TRI_TRY(declare_waiting(model, arena, &slot->blocks[i]));
    }
    if (!chunk->has_head) return add_stream(model, arena, &slot->output);
    return declare_norm(model, arena, training, true, &slot->final);
}

/* What blocks share, as far as some block has it not of its own. */
static tri_status declare_shared(tri_model *model, tri_arena *arena)
{
    bool training = model->args.training;
    bool some = false; /* of this rank's blocks are computed again */
    for (int c = 0; c < model->n_chunks; c++)
        some = some || model->chunks[c].recomputed > 0;
    bool full = some && model->args.recompute == TRI_RECOMPUTE_FULL;
    if (!training || some)
        TRI_TRY(declare_store(model, arena, !training, !training || full, true, &model->shared));
    if (!training || (model->args.split_backward && !some)) return TRI_OK;
    const tri_model_block *block = &model->blocks[0];
    int64_t wide = tri_max64(tri_linear_out(&block->attention.qkv), block->mlp.width);
    if (block->mlp.gated) wide = tri_max64(wide, model->config.hidden);
    if (model->tensor.size > 1 && model->tensor.sequence)
        TRI_TRY(add_rows(model, arena, model->config.hidden, &model->shared.dattention.dbranch));
    return add_rows(model, arena, wide, &model->shared.dattention.dqkv);
}

static tri_status declare_scratch(tri_model *model, tri_arena *arena)
{
    TRI_TRY(add_stream(model, arena, &model->scratch.residual));
    if (model->config.dropout > 0) TRI_TRY(add_stream(model, arena, &model->scratch.branch));
    TRI_TRY(add_stream(model, arena, &model->scratch.inner));
    /* else the output of the second norm is free when q, k and v need room */
    bool keeps = model->args.split_backward || (model->tensor.size > 1 && model->tensor.sequence);
    return keeps ? add_rows(model, arena, model->config.hidden, &model->scratch.spare) : TRI_OK;
}

static tri_status declare_cache(tri_model *model, tri_arena *arena, tri_attention_cache *cache)
{
    int64_t width = model->config.kv_heads * (model->config.hidden / model->config.heads);
    int64_t count = model->config.context * width;
    TRI_TRY(tri_arena_add(arena, TRI_MEM_ACTIVATIONS, count, model->args.compute, &cache->k));
    return tri_arena_add(arena, TRI_MEM_ACTIVATIONS, count, model->args.compute, &cache->v);
}

/* Generation is on one rank. */
static bool has_cache(const tri_model *model)
{
    return !model->args.training &&
           tri_mesh_ranks(model->args.mesh) == tri_mesh_size(model->args.mesh, TRI_AXIS_DATA);
}

static tri_status declare_workspace(tri_model *model, tri_arena *arena)
{
    const tri_model_block *block = &model->blocks[0];
    tri_layer_call call = tri_model_largest_call(model);
    size_t bytes = call.context ? tri_context_workspace(call.context)
                                : tri_attention_layer_workspace(&call, &block->attention);
    TRI_TRY(tri_arena_add(arena, TRI_MEM_WORKSPACE, (int64_t)bytes, TRI_U8,
                          &model->attention_workspace));
    if (model->family->rotary)
        TRI_TRY(tri_arena_add(arena, TRI_MEM_WORKSPACE,
                              model->config.context * block->attention.head_size, TRI_F32,
                              (void **)&model->rope));
    if (!model->args.training) return TRI_OK;
    int64_t width =
        tri_max64(tri_linear_out(&block->attention.qkv), tri_linear_out(&block->mlp.up));
    width = tri_max64(width, model->config.hidden);
    bytes = tri_norm_workspace(call.kernels, width);
    return tri_arena_add(arena, TRI_MEM_WORKSPACE, (int64_t)bytes, TRI_U8,
                         (void **)&model->reduction);
}

tri_status tri_model_declare(tri_model *model, tri_arena *arena)
{
    TRI_CHECK(model->args.kernels, TRI_EBUG, "a model without kernels cannot tell its workspace");
    tri_layer_call call = tri_model_largest_call(model);
    for (int c = 0; c < model->n_chunks; c++)
        for (int s = 0; s < model->chunks[c].n_slots; s++)
            TRI_TRY(declare_slot(model, arena, &model->chunks[c], &model->chunks[c].slots[s]));
    TRI_TRY(declare_shared(model, arena));
    for (int64_t layer = 0; has_cache(model) && layer < model->config.layers; layer++)
        TRI_TRY(declare_cache(model, arena, &model->blocks[layer].cache));
    if (model->args.training) TRI_TRY(declare_scratch(model, arena));
    TRI_TRY(declare_workspace(model, arena));
    TRI_TRY(tri_tensor_axis_declare(&model->tensor, arena, call.dtype));
    if (call.context) TRI_TRY(tri_context_declare(call.context, arena));
    if (model->head_unit < 0) return TRI_OK;
    return tri_loss_layer_declare(&model->loss, arena, call.dtype, tri_layer_rows(&call));
}

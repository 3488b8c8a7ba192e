// SPDX-License-Identifier: Apache-2.0
/* Life of a model: made from a config, exported as rows, declared as buffers, bound to its weights.
 * Every size comes from the config and the micro-batch, so what is declared on paper is what a run
 * allocates. The passes over a batch are in parallel/model/.
 */
#include "parallel/model.h"

#include "kernels/norm.h"
#include "kernels/pointwise.h"
#include "parallel/model/model_impl.h"
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"

enum { MODEL_MAX_TENSORS_OF_BLOCK = TRI_MODEL_TENSORS };

void tri_model_destroy(tri_model **model)
{
    if (!*model) return;
    TRI_FREE((*model)->rows);
    TRI_FREE((*model)->params);
    TRI_FREE((*model)->blocks);
    TRI_FREE(*model);
}

tri_status tri_model_create(const tri_model_args *args, tri_model **out)
{
    TRI_CHECK(args->compute == TRI_F32 || args->compute == TRI_BF16, TRI_EINVAL,
              "precision %s: models compute in fp32 or bf16", tri_dtype_name(args->compute));
    TRI_CHECK(args->micro_batch >= 1, TRI_EINVAL, "a micro-batch of %lld sequences",
              (long long)args->micro_batch);
    TRI_AUTO(tri_model) *model = NULL;
    TRI_TRY(TRI_NEW(&model));
    model->args = *args;
    model->config = *args->config;
    model->args.config = &model->config;
    TRI_TRY(tri_model_config_resolve(&model->config));
    model->family = tri_model_family_find(model->config.family);

    int64_t layers = model->config.layers;
    int64_t most = (layers + 1) * MODEL_MAX_TENSORS_OF_BLOCK;
    TRI_TRY(TRI_NEW_ARRAY(most, &model->rows));
    TRI_TRY(TRI_NEW_ARRAY(most, &model->params));
    TRI_TRY(TRI_NEW_ARRAY(layers, &model->blocks));
    TRI_TRY(tri_model_describe(model));
    *out = TRI_MOVE(model);
    return TRI_OK;
}

tri_status tri_model_export(tri_model *model, tri_state *state)
{
    for (int i = 0; i < model->n_params; i++)
        TRI_TRY(tri_state_add(state, &model->rows[i], NULL));
    return TRI_OK;
}

int tri_model_params(const tri_model *model)
{
    return model->n_params;
}

int tri_model_units(const tri_model *model)
{
    return (int)model->config.layers + 2;
}

int tri_model_unit_of(const tri_model *model, int index)
{
    if (index >= model->norm.weight->index) return tri_model_units(model) - 1;
    int unit = 0;
    while (unit < model->config.layers && model->blocks[unit].norm1.weight->index <= index)
        unit++;
    return unit;
}

void tri_model_bind(tri_model *model, int index, const void *weight, float *gradient)
{
    model->params[index].weight = weight;
    model->params[index].gradient = gradient;
    model->is_ready = false;
}

tri_model_store *tri_model_store_of(tri_model *model, int64_t layer)
{
    return model->args.training ? &model->blocks[layer].own : &model->shared;
}

tri_layer_call tri_model_call(const tri_model *model, int64_t sequences, int64_t length)
{
    return (tri_layer_call){
        .kernels = model->args.kernels,
        .dtype = model->args.compute,
        .sequences = sequences,
        .length = length,
        .seed = model->args.seed,
        .reduction = model->reduction,
        .attention = model->attention_workspace,
    };
}

/* The largest call: what buffers are made for. */
static tri_layer_call largest_call(const tri_model *model)
{
    return tri_model_call(model, model->args.micro_batch, model->config.context);
}

/* [rows of the largest batch, width] of the activations' type. */
static tri_status add_rows(const tri_model *model, tri_arena *arena, int64_t width, void **where)
{
    tri_layer_call call = largest_call(model);
    int64_t count = 0;
    TRI_TRY(tri_product(3, (const int64_t[]){call.sequences, call.length, width}, &count));
    return tri_arena_add(arena, TRI_MEM_ACTIVATIONS, count, call.dtype, where);
}

/* [rows of the largest batch * per_row] fp32. */
static tri_status add_statistics(const tri_model *model, tri_arena *arena, int64_t per_row,
                                 float **where)
{
    tri_layer_call call = largest_call(model);
    return tri_arena_add(arena, TRI_MEM_ACTIVATIONS, tri_layer_rows(&call) * per_row, TRI_F32,
                         (void **)where);
}

static tri_status declare_norm(const tri_model *model, tri_arena *arena, bool with_x,
                               tri_norm_store *store)
{
    int64_t C = model->config.hidden;
    if (with_x) TRI_TRY(add_rows(model, arena, C, &store->x));
    TRI_TRY(add_rows(model, arena, C, &store->y));
    if (model->family->layer_norm) TRI_TRY(add_statistics(model, arena, 1, &store->mean));
    return add_statistics(model, arena, 1, &store->rstd);
}

static tri_status declare_store(const tri_model *model, tri_arena *arena, tri_model_store *store)
{
    const tri_model_block *block = &model->blocks[0];
    TRI_TRY(declare_norm(model, arena, true, &store->norm1));
    TRI_TRY(declare_norm(model, arena, true, &store->norm2));
    TRI_TRY(add_rows(model, arena, tri_linear_out(&block->attention.qkv), &store->attention.qkv));
    TRI_TRY(add_rows(model, arena, model->config.hidden, &store->attention.mix));
    TRI_TRY(add_statistics(model, arena, model->config.heads, &store->attention.lse));
    TRI_TRY(add_rows(model, arena, tri_linear_out(&block->mlp.up), &store->mlp.wide));
    return add_rows(model, arena, block->mlp.width, &store->mlp.act);
}

static tri_status declare_scratch(tri_model *model, tri_arena *arena)
{
    int64_t C = model->config.hidden;
    int64_t wide = tri_max64(tri_linear_out(&model->blocks[0].attention.qkv), model->config.ffn);
    TRI_TRY(add_rows(model, arena, C, &model->scratch.residual));
    if (model->config.dropout > 0) TRI_TRY(add_rows(model, arena, C, &model->scratch.branch));
    TRI_TRY(add_rows(model, arena, C, &model->scratch.inner));
    return add_rows(model, arena, wide, &model->scratch.wide);
}

static tri_status declare_cache(tri_model *model, tri_arena *arena, tri_attention_cache *cache)
{
    int64_t width = model->config.kv_heads * (model->config.hidden / model->config.heads);
    int64_t count = model->config.context * width;
    TRI_TRY(tri_arena_add(arena, TRI_MEM_ACTIVATIONS, count, model->args.compute, &cache->k));
    return tri_arena_add(arena, TRI_MEM_ACTIVATIONS, count, model->args.compute, &cache->v);
}

static tri_status declare_workspace(tri_model *model, tri_arena *arena)
{
    const tri_model_block *block = &model->blocks[0];
    tri_layer_call call = largest_call(model);
    size_t bytes = tri_attention_layer_workspace(&call, &block->attention);
    TRI_TRY(tri_arena_add(arena, TRI_MEM_WORKSPACE, (int64_t)bytes, TRI_U8,
                          &model->attention_workspace));
    if (model->family->rotary)
        TRI_TRY(tri_arena_add(arena, TRI_MEM_WORKSPACE,
                              model->config.context * block->attention.head_size, TRI_F32,
                              (void **)&model->rope));
    if (!model->args.training) return TRI_OK;
    int64_t width =
        tri_max64(tri_linear_out(&block->attention.qkv), tri_linear_out(&block->mlp.up));
    bytes = tri_norm_workspace(call.kernels, width);
    return tri_arena_add(arena, TRI_MEM_WORKSPACE, (int64_t)bytes, TRI_U8,
                         (void **)&model->reduction);
}

tri_status tri_model_declare(tri_model *model, tri_arena *arena)
{
    TRI_CHECK(model->args.kernels, TRI_EBUG, "a model without kernels cannot tell its workspace");
    int64_t layers = model->config.layers;
    bool training = model->args.training;
    tri_layer_call call = largest_call(model);
    for (int64_t layer = 0; training && layer < layers; layer++)
        TRI_TRY(declare_store(model, arena, &model->blocks[layer].own));
    for (int64_t layer = 0; !training && layer < layers; layer++)
        TRI_TRY(declare_cache(model, arena, &model->blocks[layer].cache));
    if (!training) TRI_TRY(declare_store(model, arena, &model->shared));
    TRI_TRY(declare_norm(model, arena, training, &model->final));
    if (training) TRI_TRY(declare_scratch(model, arena));
    TRI_TRY(declare_workspace(model, arena));
    return tri_loss_layer_declare(&model->loss, arena, call.dtype, tri_layer_rows(&call));
}

tri_status tri_model_begin(tri_model *model)
{
    if (model->is_ready) return TRI_OK;
    for (int i = 0; i < model->n_params; i++) {
        const tri_param *param = &model->params[i];
        TRI_CHECK(param->weight && (param->gradient || !model->args.training), TRI_EBUG,
                  "%s of the model is not bound to a %s", model->rows[i].name,
                  param->weight ? "gradient" : "weight");
    }
    for (int64_t layer = 0; layer < model->config.layers; layer++) {
        tri_model_block *block = &model->blocks[layer];
        tri_linear_join(&block->attention.qkv, model->args.compute);
        tri_linear_join(&block->attention.out, model->args.compute);
        tri_linear_join(&block->mlp.up, model->args.compute);
        tri_linear_join(&block->mlp.down, model->args.compute);
        block->attention.rope = model->rope;
    }
    if (model->rope)
        tri_rope_table(model->config.context, model->blocks[0].attention.head_size,
                       (float)model->config.rope_theta, model->rope);
    if (!model->args.training) model->final.x = model->shared.norm1.x;
    model->is_ready = true;
    return TRI_OK;
}

tri_status tri_model_prepare(tri_model *model, int64_t sequences, int64_t length)
{
    TRI_TRY(tri_model_check_batch(model, sequences, length));
    TRI_TRY(tri_model_begin(model));
    tri_layer_call call = tri_model_call(model, sequences, length);
    bool training = model->args.training;
    tri_attention_scratch scratch = {NULL, model->scratch.inner, model->scratch.wide};
    for (int64_t layer = 0; layer < model->config.layers; layer++) {
        const tri_model_block *block = &model->blocks[layer];
        const tri_model_store *store = tri_model_store_of(model, layer);
        TRI_TRY(tri_mlp_layer_prepare(&call, &block->mlp, training));
        TRI_TRY(tri_attention_layer_prepare(&call, &block->attention, &store->attention, &scratch,
                                            training));
    }
    return tri_loss_layer_prepare(&call, &model->loss, training);
}

double tri_model_flops_per_token(const tri_model *model, int64_t length)
{
    double matrix_elements = 0;
    for (int i = 0; i < model->n_params; i++) {
        const tri_param *param = &model->params[i];
        bool is_table = param == model->embed.token || param == model->embed.position;
        if (model->rows[i].n_dims == 2 && (!is_table || param == model->loss.head))
            matrix_elements += (double)param->count;
    }
    double attention = 12.0 * (double)model->config.layers * (double)model->config.hidden;
    return 6.0 * matrix_elements + attention * (double)length;
}

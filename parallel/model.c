// SPDX-License-Identifier: Apache-2.0
/* Life of a model: made from a config, exported as rows, declared as buffers, bound to its weights.
 * Every size comes from the config, the micro-batch and the stages, so what is declared on paper is
 * what a run allocates. The passes over a batch are in parallel/model/.
 */
#include "parallel/model.h"

#include "kernels/pointwise.h"
#include "parallel/model/model_impl.h"
#include "runtime/base/alloc.h"

#include <string.h>

static void chunks_destroy(tri_model *model)
{
    for (int c = 0; model->chunks && c < model->n_chunks; c++) {
        tri_model_chunk *chunk = &model->chunks[c];
        for (int s = 0; chunk->slots && s < chunk->n_slots; s++)
            TRI_FREE(chunk->slots[s].blocks);
        TRI_FREE(chunk->slots);
    }
    TRI_FREE(model->chunks);
}

void tri_model_destroy(tri_model **model)
{
    if (!*model) return;
    chunks_destroy(*model);
    TRI_FREE((*model)->stages);
    TRI_FREE((*model)->rows);
    TRI_FREE((*model)->params);
    TRI_FREE((*model)->unit_of);
    TRI_FREE((*model)->blocks);
    TRI_FREE(*model);
}

/* The stages of the args, or one that has everything. */
static tri_status copy_stages(tri_model *model)
{
    const tri_model_args *args = &model->args;
    model->n_stages = args->n_stages > 0 ? args->n_stages : 1;
    TRI_TRY(TRI_NEW_ARRAY(model->n_stages, &model->stages));
    model->stages[0] = (tri_model_stage){.slots = 1, .layers = model->config.layers};
    int64_t next = 0;
    for (int s = 0; s < args->n_stages; s++) {
        model->stages[s] = args->stages[s];
        TRI_CHECK(args->stages[s].first == next && args->stages[s].layers >= 1, TRI_EBUG,
                  "stage %d has layers %lld to %lld; it should begin with %lld", s,
                  (long long)args->stages[s].first,
                  (long long)(args->stages[s].first + args->stages[s].layers - 1), (long long)next);
        next += args->stages[s].layers;
    }
    TRI_CHECK(args->n_stages == 0 || next == model->config.layers, TRI_EBUG,
              "the stages have %lld layers, the model %lld", (long long)next,
              (long long)model->config.layers);
    return TRI_OK;
}

static tri_status make_slots(tri_model_chunk *chunk)
{
    TRI_TRY(TRI_NEW_ARRAY(chunk->n_slots, &chunk->slots));
    for (int s = 0; s < chunk->n_slots; s++)
        TRI_TRY(TRI_NEW_ARRAY(chunk->layers, &chunk->slots[s].blocks));
    return TRI_OK;
}

/* This rank's chunk of virtual stage `s`: its units follow those of the chunk before. */
static tri_status make_chunk(tri_model *model, int s, tri_model_chunk *chunk)
{
    const tri_model_stage *stage = &model->stages[s];
    const tri_model_args *args = &model->args;
    int64_t recomputed = args->recompute_layers > 0 ? args->recompute_layers : stage->layers;
    *chunk = (tri_model_chunk){.stage = s,
                               .first = stage->first,
                               .layers = stage->layers,
                               .first_unit = model->n_units,
                               .has_embed = s == 0,
                               .has_head = s == model->n_stages - 1,
                               .n_slots = args->training ? stage->slots : 1};
    if (args->training && args->recompute != TRI_RECOMPUTE_NONE)
        chunk->recomputed = tri_min64(recomputed, stage->layers);
    if (chunk->has_embed) model->embed_unit = model->n_units++;
    for (int64_t i = 0; i < stage->layers; i++)
        model->blocks[stage->first + i].unit = model->n_units++;
    if (chunk->has_head) model->head_unit = model->n_units++;
    chunk->n_units = model->n_units - chunk->first_unit;
    TRI_TRY(make_slots(chunk));
    return TRI_OK;
}

static tri_status make_chunks(tri_model *model)
{
    int here = tri_mesh_coord(model->args.mesh, TRI_AXIS_PIPELINE);
    model->embed_unit = -1;
    model->head_unit = -1;
    for (int s = 0; s < model->n_stages; s++) {
        const tri_model_stage *stage = &model->stages[s];
        for (int64_t i = 0; i < stage->layers; i++) {
            model->blocks[stage->first + i].stage = s;
            model->blocks[stage->first + i].unit = -1;
        }
        model->n_chunks += stage->rank == here;
    }
    TRI_TRY(TRI_NEW_ARRAY(model->n_chunks, &model->chunks));
    int c = 0;
    for (int s = 0; s < model->n_stages; s++)
        if (model->stages[s].rank == here) TRI_TRY(make_chunk(model, s, &model->chunks[c++]));
    return TRI_OK;
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
    int64_t most = (layers + 1) * TRI_MODEL_TENSORS;
    TRI_TRY(TRI_NEW_ARRAY(most, &model->rows));
    TRI_TRY(TRI_NEW_ARRAY(most, &model->params));
    TRI_TRY(TRI_NEW_ARRAY(most, &model->unit_of));
    TRI_TRY(TRI_NEW_ARRAY(layers, &model->blocks));
    TRI_TRY(copy_stages(model));
    model->args.stages = model->stages;
    TRI_TRY(tri_tensor_axis_make(
        args->mesh, args->tensor_sequence, args->tensor_chunks > 0 ? args->tensor_chunks : 1,
        args->micro_batch * tri_model_length(model), model->config.hidden, &model->tensor));
    TRI_TRY(make_chunks(model));
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

int tri_model_unit(const tri_model *model, int index)
{
    return model->unit_of[index];
}

int tri_model_units(const tri_model *model)
{
    return model->n_units;
}

int tri_model_tensor_sum(const tri_model *model, int index)
{
    return model->params[index].tensor_sum;
}

int tri_model_tied(const tri_model *model)
{
    bool apart = model->stages[0].rank != model->stages[model->n_stages - 1].rank;
    return model->config.tied && apart ? model->embed.token->index : -1;
}

bool tri_model_is_guest(const tri_model *model)
{
    return tri_model_tied(model) >= 0 && model->head_unit >= 0;
}

int tri_model_head_unit(const tri_model *model)
{
    return model->head_unit;
}

int tri_model_chunks(const tri_model *model)
{
    return model->n_chunks;
}

int tri_model_stage_of(const tri_model *model, int chunk)
{
    return model->chunks[chunk].stage;
}

void *tri_model_input(const tri_model *model, int chunk, int slot)
{
    const tri_model_chunk *c = &model->chunks[chunk];
    return c->has_embed ? NULL : c->slots[slot].blocks[0].norm1.x;
}

void *tri_model_output(const tri_model *model, int chunk, int slot)
{
    return model->chunks[chunk].slots[slot].output;
}

int64_t tri_model_stream_elements(const tri_model *model, int64_t sequences, int64_t length)
{
    return tri_tensor_outer_rows(&model->tensor, sequences * length) * model->config.hidden;
}

void tri_model_bind(tri_model *model, int index, const void *weight, float *gradient)
{
    model->params[index].weight = weight;
    model->params[index].gradient = gradient;
}

int64_t tri_model_length(const tri_model *model)
{
    return model->config.context / tri_mesh_size(model->args.mesh, TRI_AXIS_CONTEXT);
}

tri_layer_call tri_model_call(const tri_model *model, const tri_micro_batch *batch)
{
    return (tri_layer_call){
        .kernels = model->args.kernels,
        .dtype = model->args.compute,
        .sequences = batch->sequences,
        .length = batch->length,
        .position = batch->position,
        .visible = batch->visible,
        .visible_stride = model->config.context,
        .index = batch->index,
        .sample = batch->sample,
        .seed = model->args.seed,
        .reduction = model->reduction,
        .attention = model->attention_workspace,
        .tensor = &model->tensor,
        .context = model->args.context,
    };
}

tri_layer_call tri_model_largest_call(const tri_model *model)
{
    return tri_model_call(model, &(tri_micro_batch){.sequences = model->args.micro_batch,
                                                    .length = tri_model_length(model)});
}

static void fill_attention(tri_attention_store *store, const tri_attention_store *shared)
{
    if (!store->qkv) store->qkv = shared->qkv;
    if (!store->mix) store->mix = shared->mix;
    if (!store->lse) store->lse = shared->lse;
    if (!store->context) store->context = shared->context;
}

static void fill_norm(tri_norm_store *store, const tri_norm_store *shared)
{
    if (!store->x) store->x = shared->x;
    if (!store->y) store->y = shared->y;
    if (!store->mean) store->mean = shared->mean;
    if (!store->rstd) store->rstd = shared->rstd;
}

/* What a block has no buffer of its own for is in the shared one. */
static void fill_store(tri_model_store *store, const tri_model_store *shared)
{
    fill_norm(&store->norm1, &shared->norm1);
    fill_norm(&store->norm2, &shared->norm2);
    fill_attention(&store->attention, &shared->attention);
    if (!store->mlp.wide) store->mlp.wide = shared->mlp.wide;
    if (!store->mlp.act) store->mlp.act = shared->mlp.act;
    if (!store->dattention.dbranch) store->dattention.dbranch = shared->dattention.dbranch;
    if (!store->dattention.dqkv) store->dattention.dqkv = shared->dattention.dqkv;
    if (!store->dmlp.dbranch) store->dmlp.dbranch = shared->dmlp.dbranch;
    if (!store->dmlp.dwide) store->dmlp.dwide = shared->dmlp.dwide;
    store->dattention.dmix = shared->dattention.dmix;
}

void tri_model_begin(tri_model *model)
{
    if (model->is_ready) return;
    model->is_ready = true;
    tri_model_store *shared = &model->shared;
    shared->dattention.dmix = model->scratch.inner;
    if (!shared->dmlp.dwide) shared->dmlp.dwide = shared->dattention.dqkv;
    if (!shared->dmlp.dbranch) shared->dmlp.dbranch = shared->dattention.dbranch;
    for (int c = 0; c < model->n_chunks; c++) {
        tri_model_chunk *chunk = &model->chunks[c];
        for (int s = 0; s < chunk->n_slots; s++) {
            for (int64_t i = 0; i < chunk->layers; i++)
                fill_store(&chunk->slots[s].blocks[i], shared);
            if (!model->args.training) chunk->slots[s].final.x = shared->norm1.x;
        }
    }
    for (int64_t layer = 0; layer < model->config.layers; layer++)
        model->blocks[layer].attention.rope = model->rope;
    if (model->rope)
        tri_rope_table(model->config.context, model->blocks[0].attention.head_size,
                       (float)model->config.rope_theta, model->rope);
}

double tri_model_flops_per_token(const tri_model *model, int64_t length)
{
    double matrix_elements = 0;
    for (int i = 0; i < model->n_params; i++) {
        const tri_param *param = &model->params[i];
        bool is_table = param == model->embed.token || param == model->embed.position;
        if (model->rows[i].n_dims == 2 && (!is_table || param == model->loss.head))
            matrix_elements += (double)tri_row_elements(&model->rows[i]);
    }
    double attention = 12.0 * (double)model->config.layers * (double)model->config.hidden;
    return 6.0 * matrix_elements + attention * (double)length;
}

void tri_model_traffic(const tri_model *model, const tri_micro_batch *batch, int64_t passes,
                       tri_traffic_list *list)
{
    tri_layer_call call = tri_model_call(model, batch);
    for (int c = 0; c < model->n_chunks; c++) {
        const tri_model_chunk *chunk = &model->chunks[c];
        int64_t again = model->args.recompute == TRI_RECOMPUTE_NONE ? 0 : chunk->recomputed;
        int64_t whole = model->args.recompute == TRI_RECOMPUTE_FULL ? again : 0;
        tri_tensor_passes blocks = {.forward = passes * chunk->layers,
                                    .backward = passes * chunk->layers};
        tri_attention_layer_traffic(&call, blocks, list);
        tri_mlp_layer_traffic(&call, blocks, list);
        /* computed again in full: two gathers, and the sum behind attention; not the MLP's */
        tri_tensor_moves full = {.what = "recomputation",
                                 .rows = tri_layer_rows(&call),
                                 .dtype = call.dtype,
                                 .cut_gathers = 2 * passes * whole,
                                 .cut_reduces = passes * whole};
        tri_tensor_traffic(&model->tensor, &full, list);
        if (call.context)
            tri_context_traffic(call.context, batch->sequences, passes * (chunk->layers + again),
                                blocks.backward, list);
        tri_tensor_passes once = {.forward = passes, .backward = passes};
        if (chunk->has_embed) tri_embed_layer_traffic(&call, once, list);
        if (chunk->has_head) tri_loss_layer_traffic(&call, &model->loss, once, list);
    }
}

int tri_model_visits(const tri_model *model, int chunk, tri_model_pass_kind kind,
                     tri_unit_visit *out)
{
    const tri_unit_need both = TRI_NEED_WEIGHTS | TRI_NEED_GRADIENTS;
    const tri_model_chunk *c = &model->chunks[chunk];
    bool forward = kind == TRI_MODEL_FORWARD;
    bool inputs = kind != TRI_MODEL_BACKWARD_WEIGHT;
    int n = 0;
    if (forward && c->has_embed)
        out[n++] = (tri_unit_visit){model->embed_unit, TRI_NEED_WEIGHTS, false};
    for (int64_t i = 0; forward && i < c->layers; i++)
        out[n++] = (tri_unit_visit){model->blocks[c->first + i].unit, TRI_NEED_WEIGHTS, false};
    /* the head's backward is in its forward */
    if (forward && c->has_head) out[n++] = (tri_unit_visit){model->head_unit, both, true};
    if (forward && c->has_head && model->config.tied && model->embed_unit >= 0)
        out[n++] = (tri_unit_visit){model->embed_unit, both, false};
    for (int64_t i = c->layers - 1; !forward && i >= 0; i--) {
        int unit = model->blocks[c->first + i].unit;
        bool again = i < c->recomputed;
        bool weights = again || kind != TRI_MODEL_BACKWARD_INPUT;
        if (again && !inputs) continue;
        tri_unit_need need = (inputs ? TRI_NEED_WEIGHTS : 0) | (weights ? TRI_NEED_GRADIENTS : 0);
        out[n++] = (tri_unit_visit){unit, need, weights};
    }
    if (!forward && inputs && c->has_embed)
        out[n++] = (tri_unit_visit){model->embed_unit, TRI_NEED_GRADIENTS, true};
    return n;
}

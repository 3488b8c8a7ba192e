// SPDX-License-Identifier: Apache-2.0
/* The parameters of a model as rows: name, shape, placement, start value, name elsewhere; and the
 * pointers by which layers know their local boxes.
 */
#include "parallel/model/model_impl.h"

#include <stdio.h>
#include <string.h>

static const char *const tensor_names[] = {
#define X(id, name) name,
    TRI_MODEL_TENSOR_MAP(X)
#undef X
};

/* A tensor to add: matrices have columns > 0. */
typedef struct tensor_spec {
    tri_model_tensor tensor;
    int64_t layer; /* -1: of no block */
    int64_t rows, columns;
} tensor_spec;

/* Append `text` to `out`; false where it does not fit. */
static bool append(char out[TRI_NAME_BYTES], const char *text)
{
    size_t used = strlen(out);
    int n = snprintf(out + used, TRI_NAME_BYTES - used, "%s", text);
    return n >= 0 && (size_t)n < TRI_NAME_BYTES - used;
}

/* Expand '#' and '@i' of a family's name for this tensor. */
static tri_status expand_external(const tri_model *model, const tensor_spec *spec,
                                  char out[TRI_NAME_BYTES])
{
    const char *template = model->family->external[spec->tensor];
    out[0] = 0;
    bool fits = template != NULL;
    for (const char *p = template; fits && *p; p++) {
        char piece[64] = {*p, 0};
        if (*p == '#') {
            snprintf(piece, sizeof piece, "%lld", (long long)spec->layer);
        } else if (*p == '@') {
            long long part = *++p - '0';
            snprintf(piece, sizeof piece, "%lld:%lld", part * (long long)spec->rows,
                     (part + 1) * (long long)spec->rows);
        }
        fits = append(out, piece);
    }
    TRI_CHECK(fits, TRI_EBUG, "family %s has no name of less than %d bytes for %s",
              model->family->name, TRI_NAME_BYTES, tensor_names[spec->tensor]);
    return TRI_OK;
}

static tri_init init_of(const tri_model_config *config, tri_model_tensor tensor, bool is_matrix)
{
    switch (tensor) {
    case TRI_MODEL_NORM1_WEIGHT:
    case TRI_MODEL_NORM2_WEIGHT:
    case TRI_MODEL_NORM_WEIGHT:
        return (tri_init){TRI_INIT_ONE, 0};
    default:
        if (!is_matrix) return (tri_init){TRI_INIT_ZERO, 0};
        return (tri_init){TRI_INIT_NORMAL, (float)tri_model_scaling_of(config, tensor).std};
    }
}

/* The dimension that the tensor axis splits: columns of what it makes wide, rows of what makes it narrow
 * again (Megatron-LM, arXiv:1909.08053, sec. 3); -1: none. */
static int split_dimension(tri_model_tensor tensor)
{
    switch (tensor) {
    case TRI_MODEL_EMBED_TOKEN:
    case TRI_MODEL_HEAD_WEIGHT:
    case TRI_MODEL_Q_WEIGHT:
    case TRI_MODEL_K_WEIGHT:
    case TRI_MODEL_V_WEIGHT:
    case TRI_MODEL_Q_BIAS:
    case TRI_MODEL_K_BIAS:
    case TRI_MODEL_V_BIAS:
    case TRI_MODEL_UP_WEIGHT:
    case TRI_MODEL_GATE_WEIGHT:
    case TRI_MODEL_UP_BIAS:
        return 0;
    case TRI_MODEL_OUT_WEIGHT:
    case TRI_MODEL_DOWN_WEIGHT:
        return 1;
    default:
        return -1;
    }
}

static bool is_of_keys(tri_model_tensor tensor)
{
    return tensor == TRI_MODEL_K_WEIGHT || tensor == TRI_MODEL_V_WEIGHT ||
           tensor == TRI_MODEL_K_BIAS || tensor == TRI_MODEL_V_BIAS;
}

static bool is_of_norm(tri_model_tensor tensor)
{
    return tensor == TRI_MODEL_NORM1_WEIGHT || tensor == TRI_MODEL_NORM1_BIAS ||
           tensor == TRI_MODEL_NORM2_WEIGHT || tensor == TRI_MODEL_NORM2_BIAS ||
           tensor == TRI_MODEL_NORM_WEIGHT || tensor == TRI_MODEL_NORM_BIAS;
}

/* Virtual stage of a tensor: that of its block, the first for the embedding, the last for the rest. */
static int stage_of(const tri_model *model, const tensor_spec *spec)
{
    if (spec->layer >= 0) return model->blocks[spec->layer].stage;
    bool is_embed =
        spec->tensor == TRI_MODEL_EMBED_TOKEN || spec->tensor == TRI_MODEL_EMBED_POSITION;
    return is_embed ? 0 : model->n_stages - 1;
}

static int unit_of(const tri_model *model, const tensor_spec *spec)
{
    if (spec->layer >= 0) return model->blocks[spec->layer].unit;
    return stage_of(model, spec) == 0 && spec->tensor <= TRI_MODEL_EMBED_POSITION
               ? model->embed_unit
               : model->head_unit;
}

/* Where a tensor lies on the mesh, and what of it is this rank's. */
static tri_status place(const tri_model *model, const tensor_spec *spec, tri_row *row,
                        tri_param *param)
{
    int ranks = model->tensor.size;
    int dimension = split_dimension(spec->tensor);
    param->tensor_sum = 1;
    if (dimension >= 0) {
        row->place.axis[TRI_AXIS_TENSOR].kind = TRI_SPLIT;
        row->place.axis[TRI_AXIS_TENSOR].arg = dimension;
    }
    if (is_of_keys(spec->tensor) && model->config.kv_heads < ranks) {
        row->place.axis[TRI_AXIS_TENSOR].parts = (int)model->config.kv_heads;
        param->tensor_sum = ranks / (int)model->config.kv_heads;
    }
    if (is_of_norm(spec->tensor) && model->tensor.sequence) param->tensor_sum = ranks;
    /* the box as it is on the tensor's own stage: that of a tied embedding is read on two */
    tri_box box;
    TRI_TRY(tri_place_box(&row->place, model->args.mesh, tri_mesh_rank(model->args.mesh),
                          row->n_dims, row->shape, &box));
    param->count = tri_box_elements(&box);
    row->place.axis[TRI_AXIS_PIPELINE].kind = TRI_AT;
    row->place.axis[TRI_AXIS_PIPELINE].arg = model->stages[stage_of(model, spec)].rank;
    return TRI_OK;
}

/* Add one parameter and point *where at it. */
static tri_status add(tri_model *model, tensor_spec spec, tri_param **where)
{
    tri_row *row = &model->rows[model->n_params];
    tri_param *param = &model->params[model->n_params];
    const char *name = tensor_names[spec.tensor];
    if (spec.layer < 0)
        snprintf(row->name, sizeof row->name, "param/%s", name);
    else
        snprintf(row->name, sizeof row->name, "param/layers.%lld.%s", (long long)spec.layer, name);
    TRI_TRY(expand_external(model, &spec, row->external));
    row->role = TRI_ROLE_PARAM;
    row->dtype = TRI_F32;
    row->n_dims = spec.columns > 0 ? 2 : 1;
    row->shape[0] = spec.rows;
    if (spec.columns > 0) row->shape[1] = spec.columns;
    row->init = init_of(&model->config, spec.tensor, spec.columns > 0);
    row->decay = spec.columns > 0;
    tri_model_scaling scaling = tri_model_scaling_of(&model->config, spec.tensor);
    row->sign_lr = scaling.sign_lr;
    row->gradient_lr = scaling.gradient_lr;
    row->vocabulary = spec.tensor == TRI_MODEL_EMBED_TOKEN || spec.tensor == TRI_MODEL_HEAD_WEIGHT;
    /* A constant added to all scores of a query does not change their softmax. */
    row->zero_grad = spec.tensor == TRI_MODEL_K_BIAS && !model->family->rotary;

    model->unit_of[model->n_params] = unit_of(model, &spec);
    param->index = model->n_params++;
    TRI_TRY(place(model, &spec, row, param));
    *where = param;
    return TRI_OK;
}

static tri_status add_norm(tri_model *model, tri_model_tensor weight, int64_t layer,
                           tri_norm_layer *norm)
{
    int64_t width = model->config.hidden;
    norm->width = width;
    norm->epsilon = (float)model->config.norm_epsilon;
    TRI_TRY(add(model, (tensor_spec){weight, layer, width, 0}, &norm->weight));
    if (!model->family->layer_norm) return TRI_OK;
    return add(model, (tensor_spec){weight + 1, layer, width, 0}, &norm->bias);
}

/* Parts from the last to the first (see TRI_MODEL_TENSOR_MAP), matrices and then biases. `weight` is the
 * tensor of the last part; the ids of the other parts follow it, then those of the biases. */
static tri_status add_linear(tri_model *model, tri_model_tensor weight, tri_model_tensor bias,
                             int64_t layer, tri_linear *linear)
{
    int n = linear->n_parts;
    for (int i = 0; i < n; i++) {
        int part = n - 1 - i;
        TRI_TRY(add(model,
                    (tensor_spec){weight + (unsigned)i, layer, linear->out[part], linear->in},
                    &linear->weight[part]));
    }
    for (int i = 0; model->family->bias && i < n; i++) {
        int part = n - 1 - i;
        TRI_TRY(add(model, (tensor_spec){bias + (unsigned)i, layer, linear->out[part], 0},
                    &linear->bias[part]));
    }
    return TRI_OK;
}

/* Heads and widths of this rank: the tensor axis shares them out. With more ranks than key/value heads
 * each has the one that its queries read. */
static tri_status add_block(tri_model *model, int64_t layer, tri_model_block *block)
{
    const tri_model_config *config = &model->config;
    const tri_model_family *family = model->family;
    int64_t ranks = model->tensor.size;
    int64_t C = config->hidden;
    int64_t head_size = C / config->heads;
    int64_t ffn = config->ffn;

    block->attention.heads = config->heads / ranks;
    block->attention.kv_heads = tri_max64(config->kv_heads / ranks, 1);
    block->attention.head_size = head_size;
    block->attention.scale = (float)tri_model_multipliers_of(config).scores;
    /* the sizes of whole tensors, for the rows; those of this rank below */
    block->attention.qkv = (tri_linear){
        .in = C,
        .n_parts = 3,
        .out = {C, config->kv_heads * head_size, config->kv_heads * head_size}
    };
    block->attention.out = (tri_linear){.in = C, .n_parts = 1, .out = {C}};
    block->mlp.width = ffn / ranks;
    block->mlp.gated = family->gated;
    block->mlp.up = (tri_linear){
        .in = C, .n_parts = family->gated ? 2 : 1, .out = {ffn, family->gated ? ffn : 0}
    };
    block->mlp.down = (tri_linear){.in = ffn, .n_parts = 1, .out = {C}};

    TRI_TRY(add_norm(model, TRI_MODEL_NORM1_WEIGHT, layer, &block->norm1));
    TRI_TRY(add_linear(model, TRI_MODEL_V_WEIGHT, TRI_MODEL_V_BIAS, layer, &block->attention.qkv));
    TRI_TRY(
        add_linear(model, TRI_MODEL_OUT_WEIGHT, TRI_MODEL_OUT_BIAS, layer, &block->attention.out));
    TRI_TRY(add_norm(model, TRI_MODEL_NORM2_WEIGHT, layer, &block->norm2));
    TRI_TRY(add_linear(model, TRI_MODEL_UP_WEIGHT, TRI_MODEL_UP_BIAS, layer, &block->mlp.up));
    TRI_TRY(add_linear(model, TRI_MODEL_DOWN_WEIGHT, TRI_MODEL_DOWN_BIAS, layer, &block->mlp.down));

    int64_t key_width = block->attention.kv_heads * head_size;
    block->attention.qkv.out[0] = C / ranks;
    block->attention.qkv.out[1] = key_width;
    block->attention.qkv.out[2] = key_width;
    block->attention.out.in = C / ranks;
    block->mlp.up.out[0] = ffn / ranks;
    if (family->gated) block->mlp.up.out[1] = ffn / ranks;
    block->mlp.down.in = ffn / ranks;
    return TRI_OK;
}

/* The tensor axis must divide what it shares out. */
tri_status tri_model_describe(tri_model *model)
{
    const tri_model_config *config = &model->config;
    int64_t C = config->hidden;
    char text[TRI_MODEL_TEXT_BYTES];
    const char *misfit = tri_model_tensor_misfit(config, model->tensor.size, text);
    TRI_CHECK(!misfit, TRI_EINVAL, "parallel.tensor: %lld ranks %s", (long long)model->tensor.size,
              misfit);
    TRI_TRY(add(model, (tensor_spec){TRI_MODEL_EMBED_TOKEN, -1, config->vocab, C},
                &model->embed.token));
    if (!model->family->rotary)
        TRI_TRY(add(model, (tensor_spec){TRI_MODEL_EMBED_POSITION, -1, config->context, C},
                    &model->embed.position));
    for (int64_t layer = 0; layer < config->layers; layer++)
        TRI_TRY(add_block(model, layer, &model->blocks[layer]));
    TRI_TRY(add_norm(model, TRI_MODEL_NORM_WEIGHT, -1, &model->norm));
    model->loss.head = model->embed.token;
    if (!config->tied)
        TRI_TRY(add(model, (tensor_spec){TRI_MODEL_HEAD_WEIGHT, -1, config->vocab, C},
                    &model->loss.head));
    int64_t vocab_block = (config->vocab + model->tensor.size - 1) / model->tensor.size;
    tri_model_multipliers multipliers = tri_model_multipliers_of(config);
    model->embed.scale = (float)multipliers.embedding;
    model->loss.multiplier = (float)multipliers.logits;
    model->embed.width = C;
    model->embed.vocab = model->embed.token->count / C;
    model->embed.first = model->tensor.index * vocab_block;
    model->loss.width = C;
    model->loss.vocab = model->loss.head->count / C;
    model->loss.block = vocab_block;
    model->loss.first = model->tensor.index * vocab_block;
    return TRI_OK;
}

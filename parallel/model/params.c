// SPDX-License-Identifier: Apache-2.0
/* The parameters of a model as rows: name, shape, start value, name elsewhere; and the pointers by
 * which layers know them.
 */
#include "parallel/model/model_impl.h"

#include <math.h>
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

static tri_init init_of(const tri_model *model, tri_model_tensor tensor, bool is_matrix)
{
    const tri_model_config *config = &model->config;
    switch (tensor) {
    case TRI_MODEL_NORM1_WEIGHT:
    case TRI_MODEL_NORM2_WEIGHT:
    case TRI_MODEL_NORM_WEIGHT:
        return (tri_init){TRI_INIT_ONE, 0};
    case TRI_MODEL_OUT_WEIGHT:
    case TRI_MODEL_DOWN_WEIGHT: /* each block adds two branches to the residual stream */
        return (tri_init){TRI_INIT_NORMAL,
                          (float)(config->init_std / sqrt(2.0 * (double)config->layers))};
    default:
        if (!is_matrix) return (tri_init){TRI_INIT_ZERO, 0};
        return (tri_init){TRI_INIT_NORMAL, (float)config->init_std};
    }
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
    row->init = init_of(model, spec.tensor, spec.columns > 0);
    row->decay = spec.columns > 0;
    /* A constant added to all scores of a query does not change their softmax. */
    row->zero_grad = spec.tensor == TRI_MODEL_K_BIAS && !model->family->rotary;

    param->index = model->n_params++;
    param->count = spec.rows * (spec.columns > 0 ? spec.columns : 1);
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

static tri_status add_block(tri_model *model, int64_t layer, tri_model_block *block)
{
    const tri_model_config *config = &model->config;
    const tri_model_family *family = model->family;
    int64_t C = config->hidden;
    int64_t head_size = C / config->heads;
    int64_t key_width = config->kv_heads * head_size;

    block->attention.heads = config->heads;
    block->attention.kv_heads = config->kv_heads;
    block->attention.head_size = head_size;
    block->attention.qkv = (tri_linear){
        .in = C, .n_parts = 3, .out = {C, key_width, key_width}
    };
    block->attention.out = (tri_linear){.in = C, .n_parts = 1, .out = {C}};
    block->mlp.width = config->ffn;
    block->mlp.gated = family->gated;
    block->mlp.up = (tri_linear){
        .in = C,
        .n_parts = family->gated ? 2 : 1,
        .out = {config->ffn, family->gated ? config->ffn : 0}
    };
    block->mlp.down = (tri_linear){.in = config->ffn, .n_parts = 1, .out = {C}};

    TRI_TRY(add_norm(model, TRI_MODEL_NORM1_WEIGHT, layer, &block->norm1));
    TRI_TRY(add_linear(model, TRI_MODEL_V_WEIGHT, TRI_MODEL_V_BIAS, layer, &block->attention.qkv));
    TRI_TRY(
        add_linear(model, TRI_MODEL_OUT_WEIGHT, TRI_MODEL_OUT_BIAS, layer, &block->attention.out));
    TRI_TRY(add_norm(model, TRI_MODEL_NORM2_WEIGHT, layer, &block->norm2));
    TRI_TRY(add_linear(model, TRI_MODEL_UP_WEIGHT, TRI_MODEL_UP_BIAS, layer, &block->mlp.up));
    return add_linear(model, TRI_MODEL_DOWN_WEIGHT, TRI_MODEL_DOWN_BIAS, layer, &block->mlp.down);
}

tri_status tri_model_describe(tri_model *model)
{
    const tri_model_config *config = &model->config;
    int64_t C = config->hidden;
    model->embed.vocab = config->vocab;
    model->embed.width = C;
    TRI_TRY(add(model, (tensor_spec){TRI_MODEL_EMBED_TOKEN, -1, config->vocab, C},
                &model->embed.token));
    if (!model->family->rotary)
        TRI_TRY(add(model, (tensor_spec){TRI_MODEL_EMBED_POSITION, -1, config->context, C},
                    &model->embed.position));
    for (int64_t layer = 0; layer < config->layers; layer++)
        TRI_TRY(add_block(model, layer, &model->blocks[layer]));
    TRI_TRY(add_norm(model, TRI_MODEL_NORM_WEIGHT, -1, &model->norm));
    model->loss.width = C;
    model->loss.vocab = config->vocab;
    model->loss.head = model->embed.token;
    if (config->tied) return TRI_OK;
    return add(model, (tensor_spec){TRI_MODEL_HEAD_WEIGHT, -1, config->vocab, C},
               &model->loss.head);
}

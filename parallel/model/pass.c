// SPDX-License-Identifier: Apache-2.0
/* Forward and backward of one micro-batch through the whole model, and generation.
 *
 * The residual stream: x_0 is the embedding, x_k = x_(k-1) + branch_k. A branch's last product writes
 * to where x_k will be, and the norm behind it adds x_(k-1) on the way: no pass is spent on the
 * sum. Backward carries one gradient of the stream, to which each norm adds its branch's.
 */
#include "parallel/model/model_impl.h"

#include "runtime/base/int.h"

/* Who is told about complete gradients: all parameters from `next` on have been. */
typedef struct pass_ready {
    tri_model_ready_fn fn;
    void *arg;
    int next;
} pass_ready;

/* Places of dropout: 0 the embedding, then two for each block. */
static int64_t attention_site(int64_t layer)
{
    return 1 + 2 * layer;
}

static int64_t mlp_site(int64_t layer)
{
    return 2 + 2 * layer;
}

/* The parameters down to `param` are complete, in descending order. */
static tri_status complete(pass_ready *ready, const tri_param *param)
{
    while (ready->next > param->index) {
        ready->next--;
        if (ready->fn) TRI_TRY(ready->fn(ready->arg, ready->next));
    }
    return TRI_OK;
}

tri_status tri_model_check_batch(const tri_model *model, int64_t sequences, int64_t length)
{
    TRI_CHECK(sequences >= 1 && sequences <= model->args.micro_batch, TRI_EINVAL,
              "a batch of %lld sequences; the model was made for 1 to %lld", (long long)sequences,
              (long long)model->args.micro_batch);
    TRI_CHECK(length >= 1 && length <= model->config.context, TRI_EINVAL,
              "sequences of %lld tokens; model.context allows 1 to %lld", (long long)length,
              (long long)model->config.context);
    return TRI_OK;
}

/* Ids index tables and must lie in the vocabulary; as targets they may be negative. */
static tri_status check_ids(const tri_model *model, int64_t n, const int32_t *ids, bool is_target)
{
    for (int64_t i = 0; i < n; i++)
        TRI_CHECK(ids[i] < model->config.vocab && (ids[i] >= 0 || is_target), TRI_EINVAL,
                  "%s %lld of the batch is %d; model.vocab has ids 0 to %lld",
                  is_target ? "target" : "token", (long long)i, ids[i],
                  (long long)model->config.vocab - 1);
    return TRI_OK;
}

static tri_status block_forward(tri_model *model, const tri_layer_call *call, int64_t layer,
                                bool cached, void *next_x)
{
    const tri_model_block *block = &model->blocks[layer];
    const tri_model_store *store = tri_model_store_of(model, layer);
    const void *before = layer > 0 ? tri_model_store_of(model, layer - 1)->norm2.x : NULL;
    int64_t C = model->config.hidden;

    TRI_TRY(tri_norm_layer_forward(call, &block->norm1, &store->norm1, before));
    void *branch = store->norm2.x;
    TRI_TRY(tri_attention_layer_forward(call, &block->attention, store->norm1.y, &store->attention,
                                        cached ? &block->cache : NULL, branch));
    TRI_TRY(tri_layer_dropout(call, attention_site(layer), C, branch, branch));
    TRI_TRY(tri_norm_layer_forward(call, &block->norm2, &store->norm2, store->norm1.x));
    TRI_TRY(tri_mlp_layer_forward(call, &block->mlp, store->norm2.y, &store->mlp, next_x));
    return tri_layer_dropout(call, mlp_site(layer), C, next_x, next_x);
}

tri_status tri_model_forward(tri_model *model, const tri_layer_call *call, const int32_t *tokens,
                             bool cached)
{
    int64_t layers = model->config.layers;
    void *x = tri_model_store_of(model, 0)->norm1.x;
    TRI_TRY(tri_embed_layer_forward(call, &model->embed, tokens, x));
    TRI_TRY(tri_layer_dropout(call, 0, model->config.hidden, x, x));
    for (int64_t layer = 0; layer < layers; layer++) {
        x = layer + 1 < layers ? tri_model_store_of(model, layer + 1)->norm1.x : model->final.x;
        TRI_TRY(block_forward(model, call, layer, cached, x));
    }
    const void *before = tri_model_store_of(model, layers - 1)->norm2.x;
    return tri_norm_layer_forward(call, &model->norm, &model->final, before);
}

/* The branch's share of the residual gradient: the gradient itself, or what dropout leaves of it. */
static tri_status branch_gradient(tri_model *model, const tri_layer_call *call, int64_t site,
                                  void **out)
{
    const tri_model_scratch *scratch = &model->scratch;
    *out = call->dropout > 0 ? scratch->branch : scratch->residual;
    return tri_layer_dropout(call, site, model->config.hidden, scratch->residual, *out);
}

static tri_status mlp_backward(tri_model *model, const tri_layer_call *call, int64_t layer,
                               pass_ready *ready)
{
    const tri_model_block *block = &model->blocks[layer];
    const tri_model_store *store = &block->own;
    const tri_model_scratch *scratch = &model->scratch;
    void *dbranch = NULL;
    TRI_TRY(branch_gradient(model, call, mlp_site(layer), &dbranch));
    tri_mlp_scratch inner = {dbranch, scratch->wide};
    TRI_TRY(tri_mlp_layer_backward_input(call, &block->mlp, &store->mlp, dbranch, &inner,
                                         scratch->inner));
    TRI_TRY(tri_mlp_layer_backward_weight(call, &block->mlp, &store->mlp, store->norm2.y, &inner));
    TRI_TRY(tri_norm_layer_backward_weight(call, &block->norm2, &store->norm2, scratch->inner));
    TRI_TRY(complete(ready, block->norm2.weight));
    return tri_norm_layer_backward_input(call, &block->norm2, &store->norm2, scratch->inner,
                                         scratch->residual, scratch->residual);
}

static tri_status attention_backward(tri_model *model, const tri_layer_call *call, int64_t layer,
                                     pass_ready *ready)
{
    const tri_model_block *block = &model->blocks[layer];
    const tri_model_store *store = &block->own;
    const tri_model_scratch *scratch = &model->scratch;
    void *dbranch = NULL;
    TRI_TRY(branch_gradient(model, call, attention_site(layer), &dbranch));
    tri_attention_scratch inner = {dbranch, scratch->inner, scratch->wide};
    /* The MLP's backward has passed: norm2.y is free, and serves where q, k and v lie apart. */
    TRI_TRY(tri_attention_layer_backward_input(call, &block->attention, &store->attention, dbranch,
                                               &inner, store->norm2.y, scratch->inner));
    TRI_TRY(tri_attention_layer_backward_weight(call, &block->attention, &store->attention,
                                                store->norm1.y, &inner));
    TRI_TRY(tri_norm_layer_backward_weight(call, &block->norm1, &store->norm1, scratch->inner));
    TRI_TRY(complete(ready, block->norm1.weight));
    return tri_norm_layer_backward_input(call, &block->norm1, &store->norm1, scratch->inner,
                                         scratch->residual, scratch->residual);
}

/* From the gradient of the last norm's output, in scratch->inner, to the embedding. */
static tri_status backward(tri_model *model, const tri_layer_call *call, const int32_t *tokens,
                           pass_ready *ready)
{
    const tri_model_scratch *scratch = &model->scratch;
    TRI_TRY(tri_norm_layer_backward_weight(call, &model->norm, &model->final, scratch->inner));
    TRI_TRY(complete(ready, model->norm.weight));
    TRI_TRY(tri_norm_layer_backward_input(call, &model->norm, &model->final, scratch->inner, NULL,
                                          scratch->residual));
    for (int64_t layer = model->config.layers - 1; layer >= 0; layer--) {
        TRI_TRY(mlp_backward(model, call, layer, ready));
        TRI_TRY(attention_backward(model, call, layer, ready));
    }
    TRI_TRY(tri_layer_dropout(call, 0, model->config.hidden, scratch->residual, scratch->residual));
    TRI_TRY(tri_embed_layer_backward_weight(call, &model->embed, tokens, scratch->residual));
    return complete(ready, model->embed.token);
}

tri_status tri_model_train(tri_model *model, const tri_batch *batch, float loss_scale,
                           tri_model_ready_fn ready, void *arg, double *loss, int64_t *counted)
{
    TRI_CHECK(model->args.training, TRI_EBUG, "a model without gradients cannot be trained");
    int64_t rows = batch->sequences * batch->length;
    TRI_TRY(tri_model_check_batch(model, batch->sequences, batch->length));
    TRI_TRY(check_ids(model, rows, batch->tokens, false));
    TRI_TRY(check_ids(model, rows, batch->targets, true));
    TRI_TRY(tri_model_begin(model));
    tri_layer_call call = tri_model_call(model, batch->sequences, batch->length);
    call.dropout = (float)model->config.dropout;
    call.sample = batch->sample;

    pass_ready report = {ready, arg, model->n_params};
    tri_loss_backward head = {loss_scale, model->scratch.inner};
    TRI_TRY(tri_model_forward(model, &call, batch->tokens, false));
    TRI_TRY(tri_loss_layer_run(&call, &model->loss, model->final.y, batch->targets, &head, loss,
                               counted));
    if (!model->config.tied) TRI_TRY(complete(&report, model->loss.head));
    return backward(model, &call, batch->tokens, &report);
}

tri_status tri_model_evaluate(tri_model *model, const tri_batch *batch, double *loss,
                              int64_t *counted)
{
    int64_t rows = batch->sequences * batch->length;
    TRI_TRY(tri_model_check_batch(model, batch->sequences, batch->length));
    TRI_TRY(check_ids(model, rows, batch->tokens, false));
    TRI_TRY(check_ids(model, rows, batch->targets, true));
    TRI_TRY(tri_model_begin(model));
    tri_layer_call call = tri_model_call(model, batch->sequences, batch->length);
    TRI_TRY(tri_model_forward(model, &call, batch->tokens, false));
    return tri_loss_layer_run(&call, &model->loss, model->final.y, batch->targets, NULL, loss,
                              counted);
}

tri_status tri_model_decode(tri_model *model, bool reset, const int32_t *tokens, int64_t n,
                            float *logits)
{
    TRI_CHECK(!model->args.training, TRI_EBUG, "a model that trains has no key/value cache");
    int64_t cached = reset ? 0 : model->n_cached;
    TRI_CHECK(n >= 1 && n <= model->config.context - cached, TRI_EINVAL,
              "%lld more tokens after %lld; model.context holds %lld", (long long)n,
              (long long)cached, (long long)model->config.context);
    TRI_TRY(check_ids(model, n, tokens, false));
    TRI_TRY(tri_model_begin(model));
    tri_layer_call call = tri_model_call(model, 1, n);
    call.first_position = cached;
    TRI_TRY(tri_model_forward(model, &call, tokens, true));
    const void *last = tri_layer_at(model->final.y, (n - 1) * model->config.hidden, call.dtype);
    TRI_TRY(tri_loss_layer_logits(&call, &model->loss, 1, last, logits));
    model->n_cached = cached + n;
    return TRI_OK;
}

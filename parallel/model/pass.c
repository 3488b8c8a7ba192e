// SPDX-License-Identifier: Apache-2.0
/* Passes of one micro-batch through a chunk: forward, and backward in one or two parts.
 *
 * The residual stream: x_0 is the embedding, x_k = x_(k-1) + branch_k. A branch's last product writes
 * to where x_k will be, and the norm behind it adds x_(k-1) on the way: no pass is spent on the
 * sum, but at the end of a stage. Backward carries one gradient of the stream, to which each norm
 * adds its branch's; behind the last stage it begins in a scratch buffer, elsewhere it came to
 * where the stage's output was.
 */
#include "kernels/pointwise.h"
#include "parallel/model/model_impl.h"

#include <string.h>

/* Which parts of backward a pass does. */
typedef enum backward_parts {
    BACKWARD_NONE = 0, /* forward */
    BACKWARD_INPUT = 1,
    BACKWARD_WEIGHT = 2,
    BACKWARD_BOTH = 3
} backward_parts;

/* A pass under way. */
typedef struct chunk_pass {
    tri_model *model;
    const tri_model_pass *pass;
    const tri_model_chunk *chunk;
    tri_model_slot *slot;
    tri_layer_call call;
    void *residual; /* gradient of the stream */
} chunk_pass;

/* Places of dropout: 0 the embedding, then two for each block. */
static int64_t attention_site(int64_t layer)
{
    return 1 + 2 * layer;
}

static int64_t mlp_site(int64_t layer)
{
    return 2 + 2 * layer;
}

static tri_status use(const chunk_pass *p, int unit, tri_unit_need need, int next)
{
    const tri_model_hooks *hooks = p->pass->hooks;
    if (hooks && hooks->use) TRI_TRY(hooks->use(hooks->arg, unit, need, next));
    return TRI_OK;
}

static tri_status ready(const chunk_pass *p, int unit)
{
    const tri_model_hooks *hooks = p->pass->hooks;
    if (hooks && hooks->ready) TRI_TRY(hooks->ready(hooks->arg, unit, p->pass->last));
    return TRI_OK;
}

/* Block i is to be used: what it needs is here then. No parts: forward. Do those of its parameters that one
 * product reads lie together? */
static tri_status use_block(const chunk_pass *p, int64_t i, backward_parts parts)
{
    const tri_model_chunk *chunk = p->chunk;
    tri_model_block *block = &p->model->blocks[chunk->first + i];
    int next = parts ? block->unit - 1 : block->unit + 1;
    bool is_here = next >= chunk->first_unit && next < chunk->first_unit + chunk->n_units;
    bool reads = parts != BACKWARD_WEIGHT;
    /* the embedding's backward reads no weights; the gradients of vectors always lie still */
    if (parts && chunk->has_embed && i == 0) is_here = false;
    tri_unit_need need =
        (reads ? TRI_NEED_WEIGHTS : 0) | (parts & BACKWARD_WEIGHT ? TRI_NEED_GRADIENTS : 0);
    TRI_TRY(use(p, block->unit, need, is_here && reads ? next : -1));
    tri_dtype dtype = p->model->args.compute;
    tri_linear_join(&block->attention.qkv, dtype);
    tri_linear_join(&block->attention.out, dtype);
    tri_linear_join(&block->mlp.up, dtype);
    tri_linear_join(&block->mlp.down, dtype);
    return TRI_OK;
}

/* The last norm and the head; the head of a tied model is the embedding's table. */
static tri_status use_head(const chunk_pass *p)
{
    const tri_model *model = p->model;
    bool gradients = p->pass->gradients;
    tri_unit_need need = TRI_NEED_WEIGHTS | (gradients ? TRI_NEED_GRADIENTS : 0);
    int next = gradients ? model->head_unit - 1 : -1; /* the last block, backwards */
    TRI_TRY(use(p, model->head_unit, need, next));
    if (model->config.tied && model->embed_unit >= 0)
        TRI_TRY(use(p, model->embed_unit, need, next));
    return TRI_OK;
}

static tri_status check_batch(const tri_model *model, const tri_micro_batch *batch)
{
    int64_t length = tri_model_length(model);
    TRI_CHECK(batch->sequences >= 1 && batch->sequences <= model->args.micro_batch, TRI_EINVAL,
              "a batch of %lld sequences; the model was made for 1 to %lld",
              (long long)batch->sequences, (long long)model->args.micro_batch);
    TRI_CHECK(batch->length >= 1 && batch->length <= length, TRI_EINVAL,
              "sequences of %lld tokens; model.context allows 1 to %lld", (long long)batch->length,
              (long long)length);
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

static tri_status begin(tri_model *model, const tri_model_pass *pass, chunk_pass *p)
{
    TRI_TRY(check_batch(model, &pass->batch));
    tri_model_begin(model);
    tri_model_chunk *chunk = &model->chunks[pass->chunk];
    *p = (chunk_pass){.model = model,
                      .pass = pass,
                      .chunk = chunk,
                      .slot = &chunk->slots[pass->slot],
                      .call = tri_model_call(model, &pass->batch)};
    if (pass->dropout) p->call.dropout = (float)model->config.dropout;
    p->residual = chunk->has_head ? model->scratch.residual : p->slot->output;
    return TRI_OK;
}

/* Forward of block i of the chunk; `before` is what the stream had when its x was written. */
static tri_status block_forward(const chunk_pass *p, int64_t i, const void *before, bool cached,
                                void *next_x)
{
    tri_model *model = p->model;
    const tri_layer_call *call = &p->call;
    int64_t layer = p->chunk->first + i;
    const tri_model_block *block = &model->blocks[layer];
    const tri_model_store *store = &p->slot->blocks[i];
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

/* Where the stream behind block i goes. */
static void *next_input(const chunk_pass *p, int64_t i)
{
    if (i + 1 < p->chunk->layers) return p->slot->blocks[i + 1].norm1.x;
    return p->chunk->has_head ? p->slot->final.x : p->slot->output;
}

/* All blocks, and the last norm where it is. */
static tri_status chunk_forward(const chunk_pass *p, bool cached)
{
    tri_model *model = p->model;
    const tri_model_chunk *chunk = p->chunk;
    const tri_layer_call *call = &p->call;
    int64_t C = model->config.hidden;
    if (chunk->has_embed) {
        void *x = p->slot->blocks[0].norm1.x;
        TRI_TRY(use(p, model->embed_unit, TRI_NEED_WEIGHTS, model->embed_unit + 1));
        TRI_TRY(tri_embed_layer_forward(call, &model->embed, p->pass->batch.tokens, x));
        TRI_TRY(tri_layer_dropout(call, 0, C, x, x));
    }
    for (int64_t i = 0; i < chunk->layers; i++) {
        const void *before = i > 0 ? p->slot->blocks[i - 1].norm2.x : NULL;
        TRI_TRY(use_block(p, i, BACKWARD_NONE));
        TRI_TRY(block_forward(p, i, before, cached, next_input(p, i)));
    }
    void *before = p->slot->blocks[chunk->layers - 1].norm2.x;
    if (!chunk->has_head)
        return tri_add(call->kernels, call->dtype, tri_layer_outer_rows(call) * C, p->slot->output,
                       before, p->slot->output);
    TRI_TRY(use_head(p));
    return tri_norm_layer_forward(call, &model->norm, &p->slot->final, before);
}

tri_status tri_model_forward(tri_model *model, const tri_model_pass *pass)
{
    TRI_CHECK(model->args.training || !pass->gradients, TRI_EBUG,
              "a model without gradients cannot be trained");
    chunk_pass p;
    TRI_TRY(begin(model, pass, &p));
    int64_t rows = tri_layer_rows(&p.call);
    if (p.chunk->has_embed) TRI_TRY(check_ids(model, rows, pass->batch.tokens, false));
    if (p.chunk->has_head) TRI_TRY(check_ids(model, rows, pass->batch.targets, true));
    TRI_TRY(chunk_forward(&p, false));
    if (!p.chunk->has_head) return TRI_OK;
    /* the gradient takes the place of what it is the gradient of */
    tri_loss_backward head = {pass->loss_scale, p.slot->final.y};
    TRI_TRY(tri_loss_layer_run(&p.call, &model->loss, p.slot->final.y, pass->batch.targets,
                               pass->gradients ? &head : NULL, pass->loss, pass->counted));
    return pass->gradients ? ready(&p, model->head_unit) : TRI_OK;
}

/* Make again what block i did not keep. */
static tri_status recompute(const chunk_pass *p, int64_t i)
{
    tri_model *model = p->model;
    const tri_layer_call *call = &p->call;
    int64_t layer = p->chunk->first + i;
    const tri_model_block *block = &model->blocks[layer];
    const tri_model_store *store = &p->slot->blocks[i];
    tri_recompute mode = tri_model_recompute_of(model, p->chunk, i);
    if (mode == TRI_RECOMPUTE_NONE) return TRI_OK;
    TRI_TRY(tri_norm_layer_forward(call, &block->norm1, &store->norm1, NULL));
    if (mode == TRI_RECOMPUTE_SELECTIVE) {
        TRI_TRY(tri_attention_layer_mix(call, &block->attention, &store->attention));
        TRI_TRY(tri_norm_layer_forward(call, &block->norm2, &store->norm2, NULL));
        return tri_mlp_layer_activate(call, &block->mlp, &store->mlp);
    }
    void *branch = store->norm2.x;
    TRI_TRY(tri_attention_layer_forward(call, &block->attention, store->norm1.y, &store->attention,
                                        NULL, branch));
    TRI_TRY(tri_layer_dropout(call, attention_site(layer), model->config.hidden, branch, branch));
    TRI_TRY(tri_norm_layer_forward(call, &block->norm2, &store->norm2, store->norm1.x));
    return tri_mlp_layer_up(call, &block->mlp, store->norm2.y, &store->mlp);
}

/* The branch's share of the residual gradient: the gradient itself, or what dropout leaves of it. */
static tri_status branch_gradient(const chunk_pass *p, int64_t site, void **out)
{
    *out = p->call.dropout > 0 ? p->model->scratch.branch : p->residual;
    return tri_layer_dropout(&p->call, site, p->model->config.hidden, p->residual, *out);
}

static tri_status mlp_backward(const chunk_pass *p, int64_t i, backward_parts parts)
{
    const tri_model *model = p->model;
    const tri_layer_call *call = &p->call;
    const tri_model_block *block = &model->blocks[p->chunk->first + i];
    const tri_model_store *store = &p->slot->blocks[i];
    tri_mlp_scratch scratch = store->dmlp;
    void *inner = model->scratch.inner;
    if (parts & BACKWARD_INPUT) {
        void *dbranch = NULL;
        TRI_TRY(branch_gradient(p, mlp_site(p->chunk->first + i), &dbranch));
        if (!scratch.dbranch) scratch.dbranch = dbranch;
        TRI_TRY(
            tri_mlp_layer_backward_input(call, &block->mlp, &store->mlp, dbranch, &scratch, inner));
    }
    if (parts & BACKWARD_WEIGHT)
        TRI_TRY(tri_mlp_layer_backward_weight(call, &block->mlp, &store->mlp, store->norm2.y,
                                              &scratch));
    if (!(parts & BACKWARD_INPUT)) return TRI_OK;
    TRI_TRY(tri_norm_layer_backward_weight(call, &block->norm2, &store->norm2, inner));
    return tri_norm_layer_backward_input(call, &block->norm2, &store->norm2, inner, p->residual,
                                         p->residual);
}

static tri_status attention_backward(const chunk_pass *p, int64_t i, backward_parts parts)
{
    const tri_model *model = p->model;
    const tri_layer_call *call = &p->call;
    const tri_model_block *block = &model->blocks[p->chunk->first + i];
    const tri_model_store *store = &p->slot->blocks[i];
    tri_attention_scratch scratch = store->dattention;
    void *inner = model->scratch.inner;
    if (parts & BACKWARD_INPUT) {
        void *dbranch = NULL;
        /* where nothing waits, the MLP's backward has passed and its input serves as room */
        void *spare = model->scratch.spare ? model->scratch.spare : store->norm2.y;
        TRI_TRY(branch_gradient(p, attention_site(p->chunk->first + i), &dbranch));
        if (!scratch.dbranch) scratch.dbranch = dbranch;
        TRI_TRY(tri_attention_layer_backward_input(call, &block->attention, &store->attention,
                                                   dbranch, &scratch, spare, inner));
    }
    if (parts & BACKWARD_WEIGHT)
        TRI_TRY(tri_attention_layer_backward_weight(call, &block->attention, &store->attention,
                                                    store->norm1.y, &scratch));
    if (!(parts & BACKWARD_INPUT)) return TRI_OK;
    TRI_TRY(tri_norm_layer_backward_weight(call, &block->norm1, &store->norm1, inner));
    return tri_norm_layer_backward_input(call, &block->norm1, &store->norm1, inner, p->residual,
                                         p->residual);
}

/* Where the parts are apart, a block that is computed again does both with its input's. */
static tri_status block_backward(const chunk_pass *p, int64_t i, backward_parts parts)
{
    bool again = tri_model_recompute_of(p->model, p->chunk, i) != TRI_RECOMPUTE_NONE;
    if (again && parts == BACKWARD_WEIGHT) return TRI_OK;
    if (again) parts = BACKWARD_BOTH;
    TRI_TRY(use_block(p, i, parts));
    if (again) TRI_TRY(recompute(p, i));
    TRI_TRY(mlp_backward(p, i, parts));
    TRI_TRY(attention_backward(p, i, parts));
    if (!(parts & BACKWARD_WEIGHT)) return TRI_OK;
    return ready(p, p->model->blocks[p->chunk->first + i].unit);
}

/* From the gradient of the last norm's output, where the output was, to that of its input. */
static tri_status head_backward(const chunk_pass *p)
{
    tri_model *model = p->model;
    const tri_norm_store *final = &p->slot->final;
    TRI_TRY(tri_norm_layer_backward_weight(&p->call, &model->norm, final, final->y));
    return tri_norm_layer_backward_input(&p->call, &model->norm, final, final->y, NULL,
                                         p->residual);
}

static tri_status embed_backward(const chunk_pass *p)
{
    tri_model *model = p->model;
    TRI_TRY(use(p, model->embed_unit, TRI_NEED_GRADIENTS, -1));
    TRI_TRY(tri_layer_dropout(&p->call, 0, model->config.hidden, p->residual, p->residual));
    TRI_TRY(tri_embed_layer_backward_weight(&p->call, &model->embed, p->pass->batch.tokens,
                                            p->residual));
    return ready(p, model->embed_unit);
}

static tri_status chunk_backward(tri_model *model, const tri_model_pass *pass, backward_parts parts)
{
    TRI_CHECK(model->args.training, TRI_EBUG, "a model without gradients cannot be trained");
    chunk_pass p;
    TRI_TRY(begin(model, pass, &p));
    bool inputs = parts & BACKWARD_INPUT;
    if (inputs && p.chunk->has_head) TRI_TRY(head_backward(&p));
    for (int64_t i = p.chunk->layers - 1; i >= 0; i--)
        TRI_TRY(block_backward(&p, i, parts));
    if (!inputs) return TRI_OK;
    if (p.chunk->has_embed) return embed_backward(&p);
    int64_t count = tri_layer_outer_rows(&p.call) * model->config.hidden;
    memcpy(p.slot->blocks[0].norm1.x, p.residual, (size_t)count * tri_dtype_bytes(p.call.dtype));
    return TRI_OK;
}

tri_status tri_model_backward(tri_model *model, const tri_model_pass *pass)
{
    return chunk_backward(model, pass, BACKWARD_BOTH);
}

tri_status tri_model_backward_input(tri_model *model, const tri_model_pass *pass)
{
    return chunk_backward(model, pass, BACKWARD_INPUT);
}

tri_status tri_model_backward_weight(tri_model *model, const tri_model_pass *pass)
{
    return chunk_backward(model, pass, BACKWARD_WEIGHT);
}

tri_status tri_model_decode(tri_model *model, bool reset, const int32_t *tokens, int64_t n,
                            float *logits)
{
    TRI_CHECK(!model->args.training && model->blocks[0].cache.k, TRI_EBUG,
              "a model that trains, or lies on several ranks, has no key/value cache");
    int64_t cached = reset ? 0 : model->n_cached;
    TRI_CHECK(n >= 1 && n <= model->config.context - cached, TRI_EINVAL,
              "%lld more tokens after %lld; model.context holds %lld", (long long)n,
              (long long)cached, (long long)model->config.context);
    TRI_TRY(check_ids(model, n, tokens, false));
    tri_model_pass pass = {
        .batch = {.sequences = 1, .length = n, .tokens = tokens}
    };
    chunk_pass p;
    TRI_TRY(begin(model, &pass, &p));
    p.call.first_position = cached;
    TRI_TRY(chunk_forward(&p, true));
    const void *last = tri_layer_at(p.slot->final.y, (n - 1) * model->config.hidden, p.call.dtype);
    TRI_TRY(tri_loss_layer_logits(&p.call, &model->loss, 1, last, logits));
    model->n_cached = cached + n;
    return TRI_OK;
}

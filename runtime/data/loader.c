// SPDX-License-Identifier: Apache-2.0
/* Two buffers: one lent to the caller, one that the thread fills with the batch that follows. The
 * thread works on request only, so a seek has nothing to unwind: it waits for the read in progress
 * and asks for another one. Nothing is allocated after create.
 *
 * What a batch is follows from its position in the job's order alone, never from the ranks.
 */
#include "runtime/data/loader.h"

#include "runtime/base/alloc.h"
#include "runtime/base/crc.h"
#include "runtime/base/int.h"
#include "runtime/base/thread.h"
#include "runtime/data/order.h"

#include <math.h>
#include <string.h>

typedef struct loader_slot {
    int64_t position; /* of the global batch: samples before it */
    int32_t *tokens, *targets;
    int64_t *sample;
    tri_err err; /* code TRI_OK: the slot is filled */
} loader_slot;

struct tri_loader {
    tri_device *device;
    tri_tokens *tokens;
    uint64_t seed;
    int64_t length, vocab;
    int64_t sequences, own;   /* of the global batch, of this part */
    int64_t offset;           /* of this part in the global batch */
    int64_t first, n_samples; /* samples of the file that are ours */
    bool validation, has_locks;
    char path[512];
    uint64_t fingerprint;
    int64_t consumed;
    int64_t cursor[2]; /* the row's data: a copy of consumed and fingerprint */
    void *memory;
    int32_t *scratch; /* [length + 1], the thread's */
    loader_slot slot[2];
    tri_thread *thread;
    tri_mutex lock; /* of what follows; a busy slot is the thread's alone */
    tri_cond changed;
    int ahead; /* the slot that is not lent */
    bool busy; /* the slot `ahead` is to be filled or being filled */
    bool stop;
};

enum { LOADER_ALIGN = 64 };

/* Bytes of the pieces of one slot, each rounded up. */
static int64_t loader_ids_bytes(int64_t sequences, int64_t length)
{
    return tri_round_up(sequences * length * (int64_t)sizeof(int32_t), LOADER_ALIGN);
}

static int64_t loader_sample_bytes(int64_t sequences)
{
    return tri_round_up(sequences * (int64_t)sizeof(int64_t), LOADER_ALIGN);
}

size_t tri_loader_bytes(int64_t sequences, int64_t length)
{
    int64_t slot = 2 * loader_ids_bytes(sequences, length) + loader_sample_bytes(sequences);
    return (size_t)(2 * slot + loader_ids_bytes(1, length + 1));
}

/* Sample of the file at a position of the job's order. */
static int64_t loader_sample_at(const tri_loader *loader, int64_t position)
{
    int64_t index = position % loader->n_samples;
    if (loader->validation) return loader->first + index;
    uint64_t epoch = (uint64_t)(position / loader->n_samples);
    return loader->first + tri_order_sample(loader->n_samples, loader->seed, epoch, index);
}

static tri_status loader_fill(tri_loader *loader, loader_slot *slot)
{
    int64_t length = loader->length;
    for (int64_t i = 0; i < loader->own; i++) {
        int64_t position = slot->position + loader->offset + i;
        int64_t begin = loader_sample_at(loader, position) * length;
        TRI_TRY(tri_tokens_read(loader->tokens, begin, length + 1, loader->vocab, loader->scratch));
        memcpy(slot->tokens + i * length, loader->scratch, (size_t)length * sizeof(int32_t));
        memcpy(slot->targets + i * length, loader->scratch + 1, (size_t)length * sizeof(int32_t));
        slot->sample[i] = position;
    }
    return TRI_OK;
}

static void loader_run(void *arg)
{
    tri_loader *loader = arg;
    tri_mutex_lock(&loader->lock);
    for (;;) {
        while (!loader->busy && !loader->stop)
            tri_cond_wait(&loader->changed, &loader->lock);
        if (loader->stop) break;
        loader_slot *slot = &loader->slot[loader->ahead];
        tri_mutex_unlock(&loader->lock);
        if (loader_fill(loader, slot) == TRI_OK) tri_err_clear();
        tri_err_take(&slot->err);
        tri_mutex_lock(&loader->lock);
        loader->busy = false;
        tri_cond_wake_all(&loader->changed);
    }
    tri_mutex_unlock(&loader->lock);
}

/* With the lock held and the thread idle: fill slot `ahead` from the position where we are. */
static void loader_request(tri_loader *loader)
{
    loader->slot[loader->ahead].position = loader->consumed;
    loader->busy = true;
    tri_cond_wake_all(&loader->changed);
}

static void loader_await(tri_loader *loader)
{
    while (loader->busy)
        tri_cond_wait(&loader->changed, &loader->lock);
}

void tri_loader_destroy(tri_loader **loader)
{
    tri_loader *l = *loader;
    if (!l) return;
    if (l->thread) {
        tri_mutex_lock(&l->lock);
        l->stop = true;
        tri_cond_wake_all(&l->changed);
        tri_mutex_unlock(&l->lock);
        tri_thread_wait(&l->thread);
    }
    if (l->has_locks) {
        tri_cond_fini(&l->changed);
        tri_mutex_fini(&l->lock);
    }
    if (l->memory) tri_device_free(l->device, l->memory);
    tri_tokens_destroy(&l->tokens);
    TRI_FREE(*loader);
}

static tri_status loader_check(const tri_loader_args *args)
{
    TRI_CHECK(args->length > 0 && args->length < INT32_MAX, TRI_EINVAL,
              "sequences of %lld tokens; at least 1 is needed", (long long)args->length);
    TRI_CHECK(args->sequences > 0 && args->parts > 0 && args->part >= 0 &&
                  args->part < args->parts && args->sequences % args->parts == 0,
              TRI_EINVAL,
              "a batch of %lld sequences has no part %d of %d equal parts: batch.sequences must be "
              "a positive multiple of %d",
              (long long)args->sequences, args->part, args->parts, args->parts);
    TRI_CHECK(args->sequences / args->parts <= INT64_MAX / 64 / (args->length + 1), TRI_EINVAL,
              "a batch of %lld sequences of %lld tokens is too large", (long long)args->sequences,
              (long long)args->length);
    TRI_CHECK(args->data->holdout >= 0 && args->data->holdout < 1, TRI_EINVAL,
              "data.holdout is %g; a share from 0 to below 1 is needed", args->data->holdout);
    bool has_validation = args->data->validation[0] || args->data->holdout > 0;
    TRI_CHECK(!args->validation || has_validation, TRI_EINVAL,
              "there is no held-out data: set data.validation (a file) or data.holdout (a share of "
              "data.train)");
    return TRI_OK;
}

/* Which samples of the file are ours: all of them, the first ones, or the held-out last ones. */
static tri_status loader_split(tri_loader *loader, const tri_loader_args *args)
{
    int64_t count = tri_tokens_count(loader->tokens);
    int64_t total = (count - 1) / args->length;
    bool is_shared = args->data->validation[0] == '\0';
    int64_t held = is_shared ? (int64_t)ceil(args->data->holdout * (double)total) : 0;
    loader->n_samples = args->validation && is_shared ? held : total - held;
    loader->first = args->validation && is_shared ? total - held : 0;
    TRI_CHECK(loader->n_samples >= args->sequences, TRI_EINVAL,
              "%s: %lld tokens are %lld samples of %lld tokens and the next, of which %lld are for "
              "%s: fewer than one batch of %lld sequences. Use a smaller batch or context, more "
              "data, or another data.holdout (now %g)",
              loader->path, (long long)count, (long long)total, (long long)args->length,
              (long long)loader->n_samples, args->validation ? "validation" : "training",
              (long long)args->sequences, args->data->holdout);
    return TRI_OK;
}

/* 24 bits of the number of tokens, 24 of their contents, 16 of what else decides which tokens a
 * sample number means: length, seed and split. So a resumed run can say what changed. */
static uint64_t loader_print(const tri_loader *loader)
{
    uint64_t data = tri_tokens_fingerprint(loader->tokens);
    uint64_t rest[3] = {(uint64_t)loader->length, loader->seed, (uint64_t)loader->n_samples};
    uint64_t order = tri_crc32c(rest, sizeof rest);
    return (data >> 32 & 0xffffff) << 40 | (data & 0xffffff) << 16 | (order & 0xffff);
}

static tri_status loader_open(tri_loader *loader, const tri_loader_args *args)
{
    const tri_data_config *data = args->data;
    bool own_file = args->validation && data->validation[0];
    memcpy(loader->path, own_file ? data->validation : data->train, sizeof loader->path);
    tri_tokens_args source = {.path = loader->path,
                              .format = data->format,
                              .tokenizer = data->tokenizer,
                              .dataset = data->dataset};
    TRI_TRY(tri_tokens_open(&source, &loader->tokens));
    TRI_TRY(loader_split(loader, args));
    loader->fingerprint = loader_print(loader);
    loader->cursor[1] = (int64_t)loader->fingerprint;
    return TRI_OK;
}

static tri_status loader_allocate(tri_loader *loader)
{
    size_t bytes = tri_loader_bytes(loader->own, loader->length);
    TRI_TRY(tri_device_alloc(loader->device, TRI_MEM_DATA, bytes, &loader->memory));
    char *at = loader->memory;
    for (int i = 0; i < 2; i++) {
        loader->slot[i].tokens = (int32_t *)(void *)at;
        at += loader_ids_bytes(loader->own, loader->length);
        loader->slot[i].targets = (int32_t *)(void *)at;
        at += loader_ids_bytes(loader->own, loader->length);
        loader->slot[i].sample = (int64_t *)(void *)at;
        at += loader_sample_bytes(loader->own);
    }
    loader->scratch = (int32_t *)(void *)at;
    return TRI_OK;
}

static tri_status loader_start(tri_loader *loader)
{
    tri_mutex_init(&loader->lock);
    tri_cond_init(&loader->changed);
    loader->has_locks = true;
    loader_request(loader);
    TRI_TRY(tri_thread_start("data", loader_run, loader, &loader->thread));
    return TRI_OK;
}

tri_status tri_loader_create(const tri_loader_args *args, tri_device *device, tri_loader **out)
{
    TRI_TRY(loader_check(args));
    TRI_AUTO(tri_loader) *loader = NULL;
    TRI_TRY(TRI_NEW(&loader));
    loader->device = device;
    loader->seed = args->seed;
    loader->length = args->length;
    loader->vocab = args->vocab;
    loader->sequences = args->sequences;
    loader->own = args->sequences / args->parts;
    loader->offset = loader->own * args->part;
    loader->validation = args->validation;
    TRI_TRY(loader_open(loader, args));
    TRI_TRY(loader_allocate(loader));
    TRI_TRY(loader_start(loader));
    *out = TRI_MOVE(loader);
    return TRI_OK;
}

tri_status tri_loader_next(tri_loader *loader, tri_loader_batch *out)
{
    tri_mutex_lock(&loader->lock);
    loader_await(loader);
    loader_slot *slot = &loader->slot[loader->ahead];
    if (slot->err.code == TRI_OK) {
        loader->consumed += loader->sequences;
        loader->cursor[0] = loader->consumed;
        loader->ahead = 1 - loader->ahead;
        loader_request(loader);
    }
    tri_mutex_unlock(&loader->lock);
    if (slot->err.code != TRI_OK) TRI_TRY(tri_err_put(&slot->err));
    *out = (tri_loader_batch){.sequences = loader->own,
                              .length = loader->length,
                              .tokens = slot->tokens,
                              .targets = slot->targets,
                              .sample = slot->sample};
    return TRI_OK;
}

int64_t tri_loader_epoch_samples(const tri_loader *loader)
{
    return loader->n_samples;
}

int64_t tri_loader_consumed(const tri_loader *loader)
{
    return loader->consumed;
}

tri_status tri_loader_seek(tri_loader *loader, int64_t consumed)
{
    TRI_CHECK(consumed >= 0 && consumed <= INT64_MAX - 2 * loader->sequences, TRI_EINVAL,
              "data cursor %lld: 0 or more samples can have been consumed", (long long)consumed);
    tri_mutex_lock(&loader->lock);
    loader_await(loader);
    loader->consumed = consumed;
    loader->cursor[0] = consumed;
    loader->cursor[1] = (int64_t)loader->fingerprint;
    loader_request(loader);
    tri_mutex_unlock(&loader->lock);
    return TRI_OK;
}

tri_status tri_loader_export(tri_loader *loader, tri_state *state)
{
    tri_row row = {
        .name = "data/cursor", .role = TRI_ROLE_DATA, .dtype = TRI_I64, .n_dims = 1, .shape = {2}};
    int index = 0;
    TRI_TRY(tri_state_add(state, &row, &index));
    tri_state_hold(state, index, 0, 2, loader->cursor);
    return TRI_OK;
}

tri_status tri_loader_restore(tri_loader *loader)
{
    uint64_t saved = (uint64_t)loader->cursor[1];
    uint64_t changed = saved ^ loader->fingerprint;
    TRI_CHECK(changed >> 40 == 0, TRI_EINVAL,
              "%s is not the data of the saved run: the number of tokens changed (it is %lld now)",
              loader->path, (long long)tri_tokens_count(loader->tokens));
    TRI_CHECK(changed >> 16 == 0, TRI_EINVAL,
              "%s is not the data of the saved run: it has as many tokens (%lld), but other ones",
              loader->path, (long long)tri_tokens_count(loader->tokens));
    TRI_CHECK(
        changed == 0, TRI_EINVAL,
        "%s: the samples are not those of the saved run: seed (now %llu), context length (now "
        "%lld) or the training part (now %lld samples: data.holdout, data.validation) changed",
        loader->path, (unsigned long long)loader->seed, (long long)loader->length,
        (long long)loader->n_samples);
    TRI_TRY(tri_loader_seek(loader, loader->cursor[0]));
    return TRI_OK;
}

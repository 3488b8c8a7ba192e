// SPDX-License-Identifier: Apache-2.0
/* Batches for this rank. Sample s of an epoch is tokens [s*T, s*T + T + 1) of the training part; the
 * order of an epoch is a stateless permutation keyed by (seed, epoch); a batch (of a step, or of one of its
 * rounds) is the next `sequences` numbers of that order, of which a rank takes its consecutive part. So
 * it does not depend on the number of ranks. A thread reads the next batch ahead.
 */
#ifndef TRI_RUNTIME_DATA_LOADER_H
#define TRI_RUNTIME_DATA_LOADER_H

#include "runtime/data/tokens.h"
#include "runtime/device.h"
#include "runtime/state.h"

/* The keys of `data:` in a job spec. */
typedef struct tri_data_config {
    char train[512];      /* path or glob */
    char validation[512]; /* "": the last `holdout` of train */
    char format[16], tokenizer[16];
    char dataset[128];
    double holdout;
    int separator; /* token id that ends a document; -1: none */
} tri_data_config;

typedef struct tri_loader tri_loader;

typedef struct tri_loader_args {
    const tri_data_config *data;
    uint64_t seed;
    int64_t length; /* T */
    int64_t vocab;
    int64_t sequences; /* of a batch, over all parts */
    int part, parts;   /* this rank takes part `part` of `parts` equal parts of the batch */
    bool validation;   /* the held-out part, in its natural order */
} tri_loader_args;

/* Sequences of one rank in one batch: pointers valid until the next tri_loader_next. */
typedef struct tri_loader_batch {
    int64_t sequences, length;
    const int32_t *tokens, *targets; /* [sequences, length] */
    const int64_t *sample;           /* [sequences] number in the job's order, all epochs */
} tri_loader_batch;

/* Open. Not collective. Errors: those of tri_tokens_open; TRI_EINVAL fewer samples than one batch. */
TRI_MUST_USE tri_status tri_loader_create(const tri_loader_args *args, tri_device *device,
                                          tri_loader **out);
void tri_loader_destroy(tri_loader **loader);

/* The batch of samples [consumed, consumed + sequences) of the order; advances the cursor. Not
 * collective. For validation: wraps at the end. Errors: those of tri_tokens_read. */
TRI_MUST_USE tri_status tri_loader_next(tri_loader *loader, tri_loader_batch *out);

/* Samples in one epoch, samples consumed so far. Not collective. */
int64_t tri_loader_epoch_samples(const tri_loader *loader);
int64_t tri_loader_consumed(const tri_loader *loader);

/* Start at another cursor (a resumed run); drops what was read ahead. Not collective. */
TRI_MUST_USE tri_status tri_loader_seek(tri_loader *loader, int64_t consumed);

/* Add the row "data/cursor" (int64 [2]: samples consumed, fingerprint), held by the loader. Not
 * collective. After a load, tri_loader_restore takes it over: TRI_EINVAL where the fingerprint of the
 * data is another. */
TRI_MUST_USE tri_status tri_loader_export(tri_loader *loader, tri_state *state);
TRI_MUST_USE tri_status tri_loader_restore(tri_loader *loader);

/* Bytes of one loader's buffers of this size, for the prediction of `check`. Not collective. */
size_t tri_loader_bytes(int64_t sequences, int64_t length);

#endif

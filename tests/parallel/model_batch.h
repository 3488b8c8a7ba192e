// SPDX-License-Identifier: Apache-2.0
/* Batches for the model of a rig, and passes over them. */
#ifndef TRI_TESTS_PARALLEL_MODEL_BATCH_H
#define TRI_TESTS_PARALLEL_MODEL_BATCH_H

#include "tests/parallel/model_rig.h"

/* A batch of pseudo-random tokens; its arrays live as long as the struct. */
enum { RIG_TOKENS = 4096, RIG_SAMPLES = 64 };

typedef struct rig_batch {
    int32_t tokens[RIG_TOKENS], targets[RIG_TOKENS];
    int64_t sample[RIG_SAMPLES];
    tri_micro_batch batch;
} rig_batch;

/* Fill it: every `skip`-th target does not count (0: all count). */
static inline void rig_batch_fill(rig_batch *out, int64_t sequences, int64_t length, int64_t vocab,
                                  int skip)
{
    tri_rng rng = {3, 0, TRI_RNG_TEST};
    for (int64_t i = 0; i < sequences * length; i++) {
        out->tokens[i] = (int32_t)(tri_rng_word(rng, (uint64_t)(2 * i)) % (uint64_t)vocab);
        out->targets[i] = (int32_t)(tri_rng_word(rng, (uint64_t)(2 * i + 1)) % (uint64_t)vocab);
        if (skip && i % skip == skip - 1) out->targets[i] = -1;
    }
    for (int64_t s = 0; s < sequences; s++)
        out->sample[s] = 1000 + 7 * s;
    out->batch = (tri_micro_batch){.sequences = sequences,
                                   .length = length,
                                   .tokens = out->tokens,
                                   .targets = out->targets,
                                   .sample = out->sample};
}

/* Sequences [first, first + n) of a batch. */
static inline tri_micro_batch rig_batch_part(const tri_micro_batch *batch, int64_t first, int64_t n)
{
    int64_t at = first * batch->length;
    return (tri_micro_batch){.sequences = n,
                             .length = batch->length,
                             .tokens = batch->tokens + at,
                             .targets = batch->targets + at,
                             .sample = batch->sample + first};
}

/* Forward and backward of a batch, in one part or two: gradients += , *loss += , *counted += . */
static inline tri_status rig_train(const model_rig *rig, const tri_micro_batch *batch, float scale,
                                   const tri_model_hooks *hooks, double *loss, int64_t *counted)
{
    tri_model_pass pass = {.batch = *batch,
                           .dropout = true,
                           .gradients = true,
                           .loss_scale = scale,
                           .last = true,
                           .hooks = hooks,
                           .loss = loss,
                           .counted = counted};
    TRI_TRY(tri_model_forward(rig->model, &pass));
    if (!rig->split) return tri_model_backward(rig->model, &pass);
    TRI_TRY(tri_model_backward_input(rig->model, &pass));
    return tri_model_backward_weight(rig->model, &pass);
}

/* Forward alone, without dropout. */
static inline tri_status rig_evaluate(const model_rig *rig, const tri_micro_batch *batch,
                                      double *loss, int64_t *counted)
{
    tri_model_pass pass = {.batch = *batch, .loss = loss, .counted = counted};
    return tri_model_forward(rig->model, &pass);
}

#endif

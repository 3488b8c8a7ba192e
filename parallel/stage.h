// SPDX-License-Identifier: Apache-2.0
/* This rank's stages at work: micro-batches through the chunks of the model in the order of the
 * schedule, messages to the neighbouring stages, weights and gradients through zero. A step is one round
 * of the schedule, or several where its batch is larger than that.
 *
 * Sequences are cut here: with a context axis a rank works on its part of every sequence. Where
 * documents are packed, attention stays within each and positions begin anew.
 */
#ifndef TRI_PARALLEL_STAGE_H
#define TRI_PARALLEL_STAGE_H

#include "parallel/model.h"
#include "parallel/schedule.h"
#include "parallel/zero.h"
#include "runtime/data/loader.h"

typedef struct tri_stage tri_stage;

/* Told of the operations of a step as they begin and end; either may be NULL. */
typedef struct tri_stage_observer {
    void *arg;
    void (*begin)(void *arg, const tri_op *op);
    void (*end)(void *arg, const tri_op *op);
} tri_stage_observer;

typedef struct tri_stage_args {
    tri_model *model; /* these are kept */
    tri_zero *zero;
    tri_mesh *mesh;
    tri_context *context; /* NULL: whole sequences */
    const tri_schedule *schedule;
    tri_dtype compute;
    int64_t micro;     /* sequences of a micro-batch */
    int64_t sequences; /* of this rank's data part in one round: micro * micro-batches */
    int64_t length;    /* tokens of a whole sequence */
    int64_t separator; /* token that ends a document; -1: sequences are not packed */
} tri_stage_args;

/* Make the communicators between neighbouring stages. Collective: the mesh's world (nothing on paper). */
TRI_MUST_USE tri_status tri_stage_create(const tri_stage_args *args, tri_stage **out);
void tri_stage_destroy(tri_stage **stage);

/* Declare the cut sequences. Not collective. Keeps: stage. */
TRI_MUST_USE tri_status tri_stage_declare(tri_stage *stage, tri_arena *arena);

/* From now on tell `observer` (NULL: nobody). Not collective. Copies it. */
void tri_stage_observe(tri_stage *stage, const tri_stage_observer *observer);

/* Forward and backward of a round of micro-batches, whole sequences as the loader gives them: gradients go to zero, which
 * reduces them behind the round that `is_last` (of the step, or of a group of its rounds), *loss += the sum of this rank's
 * token losses and *counted += their number (on the last stage, once per tensor group). Collective over
 * pipeline, tensor and context, and over zero's groups. Errors: with the operation named. */
TRI_MUST_USE tri_status tri_stage_train(tri_stage *stage, const tri_loader_batch *batch,
                                        float loss_scale, bool is_last, double *loss,
                                        int64_t *counted);

/* Forward alone, collective over pipeline, tensor and context; no dropout; sequences may be any multiple of the micro-batch. Otherwise the same. */
TRI_MUST_USE tri_status tri_stage_evaluate(tri_stage *stage, const tri_loader_batch *batch,
                                           double *loss, int64_t *counted);

/* Add the messages between stages of so many rounds. Not collective. */
void tri_stage_traffic(const tri_stage *stage, int64_t rounds, tri_traffic_list *list);

#endif

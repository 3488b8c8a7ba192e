// SPDX-License-Identifier: Apache-2.0
/* Optimizers: a step on plain shards. An optimizer does not know that it is sharded: it gets segments
 * (a flat range of one parameter that this rank updates) and keeps its moments for those.
 * Optimizers are rows of optim/list.c.
 */
#ifndef TRI_OPTIM_OPTIM_H
#define TRI_OPTIM_OPTIM_H

#include "kernels/kernels.h"
#include "runtime/arena.h"
#include "runtime/state.h"

/* The keys of `optimizer:` in a job spec. */
typedef struct tri_optim_config {
    char name[16]; /* sgd, adamw */
    double lr;
    double betas[2];
    double epsilon;
    double weight_decay; /* of rows with row.decay */
    double momentum;
    int nesterov;
    double clip; /* global norm; 0: none */
} tri_optim_config;

/* A flat range of one parameter row that this rank updates. */
typedef struct tri_optim_segment {
    int row;               /* of the parameter in the state table */
    int64_t begin, count;  /* in the row's local box */
    bool decay;            /* weight decay applies */
    float *weight;         /* [count] master */
    const float *gradient; /* [count] */
    void *copy;            /* [count] compute copy to refresh; NULL: none */
} tri_optim_segment;

typedef struct tri_optim tri_optim;

/* Check a config. Not collective. Errors: TRI_EINVAL with the key and the range. */
TRI_MUST_USE tri_status tri_optim_check(const tri_optim_config *config);
const char *const *tri_optim_names(void);

/* Make an optimizer for these parameter rows' local ranges (weight etc. may be NULL still). Not
 * collective. Copies config and segments. */
TRI_MUST_USE tri_status tri_optim_create(const tri_optim_config *config, tri_kernels *kernels,
                                         const tri_optim_segment *segments, int n_segments,
                                         tri_optim **out);
void tri_optim_destroy(tri_optim **optim);

/* Add rows "optim/NAME/MOMENT/PARAM" with the parameters' shapes and placements. Not collective. */
TRI_MUST_USE tri_status tri_optim_export(tri_optim *optim, tri_state *state);

/* Declare the moments. Not collective. */
TRI_MUST_USE tri_status tri_optim_declare(tri_optim *optim, tri_arena *arena);

/* Tell where weights, gradients and copies lie (same segments as at create), and hold the moments'
 * rows in the table: after commit. Not collective. */
TRI_MUST_USE tri_status tri_optim_bind(tri_optim *optim, const tri_optim_segment *segments,
                                       tri_state *state);

/* Update number `step` (1 is the first) with learning rate `lr`; gradients are multiplied by
 * `gradient_scale`. Not collective. */
TRI_MUST_USE tri_status tri_optim_step(tri_optim *optim, int64_t step, double lr,
                                       double gradient_scale);

#endif

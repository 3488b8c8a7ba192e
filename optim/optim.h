// SPDX-License-Identifier: Apache-2.0
/* Optimizers: a step on plain shards. An optimizer gets segments (a flat range of one parameter that
 * this rank updates) and keeps its moments for those. What belongs to a whole tensor, a norm or the
 * sums of rows and columns, is added up over the ranks in one message of doubles, each element counted
 * once: so every optimizer computes what it would on one rank, wherever tensors are cut.
 * Optimizers are rows of optim/list.c.
 */
#ifndef TRI_OPTIM_OPTIM_H
#define TRI_OPTIM_OPTIM_H

#include "kernels/kernels.h"
#include "runtime/arena.h"
#include "runtime/coll.h"
#include "runtime/state.h"

enum { TRI_OPTIM_MAX_GROUPS = 16, TRI_OPTIM_GROUP_BYTES = 128 };

/* The keys of `optimizer:` in a job spec. */
typedef struct tri_optim_config {
    char name[16];
    double lr;
    double betas[2];     /* -1: the optimizer's own */
    double epsilon;      /* 0: the optimizer's own */
    double weight_decay; /* of rows with row.decay */
    double momentum;
    int nesterov;
    double clip;       /* global norm; 0: none */
    tri_dtype moments; /* fp32 or bf16 */
    double trust;      /* lars: step as a share of the weights' norm */
    double trust_max;  /* lamb: largest trust ratio; 0: none */
    double initial;    /* adagrad and its kin: what the sum of squares begins with */
    int relative_step, scale_parameter; /* adafactor */
    double update_clip;                 /* adafactor: largest root mean square of a step */
    uint64_t seed;                      /* of the rounding of bf16 moments */
    /* parameters that are treated in their own way, in the order of the list: "PATTERN [lr FACTOR]
     * [decay NUMBER] [adapt off]"; "": the end */
    char groups[TRI_OPTIM_MAX_GROUPS][TRI_OPTIM_GROUP_BYTES];
} tri_optim_config;

/* A flat range of one parameter row that this rank updates. */
typedef struct tri_optim_segment {
    int row;               /* of the parameter in the state table */
    int64_t begin, count;  /* in the row's local box */
    bool is_counted;       /* in sums over the ranks: true on one of those that hold this range */
    float *weight;         /* [count] master */
    const float *gradient; /* [count] */
    void *copy;            /* [count] compute copy to refresh; NULL: none */
} tri_optim_segment;

typedef struct tri_optim tri_optim;

/* Check a config and fill in what is the optimizer's own. Not collective. Errors: TRI_EINVAL with the
 * key and the range, or what makes no sense together. */
TRI_MUST_USE tri_status tri_optim_resolve(tri_optim_config *config);

/* Does the optimizer take the factors of learning rate that rows carry (tri_row.sign_lr, and gradient_lr
 * where `gradient`)? Not collective. `key` and `value` name what put them there. Errors: TRI_EINVAL its
 * steps are sized by norms, or there are no factors for steps like its own. */
TRI_MUST_USE tri_status tri_optim_check_factors(const tri_optim_config *config, const char *key,
                                                const char *value, bool gradient);

/* Learning rate's factor and weight decay of a parameter: of its row, and on top of that of the last of
 * the config's groups that matches. Not collective. Writes: out; matched[TRI_OPTIM_MAX_GROUPS] of all
 * groups that match (NULL: not wanted). Errors: TRI_EINVAL a group that cannot be read. */
typedef struct tri_optim_rates {
    double lr;
    double weight_decay;
    bool adapts;
} tri_optim_rates;
TRI_MUST_USE tri_status tri_optim_rates_of(const tri_optim_config *config, const tri_row *row,
                                           bool *matched, tri_optim_rates *out);

/* Does the optimizer add up sums over ranks? Not collective. */
bool tri_optim_has_rounds(const tri_optim_config *config);

/* Names of the optimizers, NULL-terminated. Not collective. */
const char *const *tri_optim_names(void);

typedef struct tri_optim_args {
    const tri_optim_config *config; /* resolved; copied */
    tri_kernels *kernels;
    const tri_state *state; /* has the parameters' rows; kept */
    const tri_optim_segment
        *segments; /* one for each parameter of the model; copied; no pointers yet */
    int n_segments;
    tri_comm *
        ranks; /* those that share tensors (data x context x tensor), for sums; NULL: one, or paper */
} tri_optim_args;

/* Make an optimizer for these parameters' local ranges. Not collective. Errors: TRI_EINVAL a group's
 * pattern that matches no parameter. */
TRI_MUST_USE tri_status tri_optim_create(const tri_optim_args *args, tri_optim **out);
void tri_optim_destroy(tri_optim **optim);

/* Add rows "optim/NAME/MOMENT/PARAM": of the parameters' shapes and placements, of their rows' or columns'
 * alone, or one number. Not collective. */
TRI_MUST_USE tri_status tri_optim_export(tri_optim *optim, tri_state *state);

/* Declare the moments and the scratch of sums. Not collective. */
TRI_MUST_USE tri_status tri_optim_declare(tri_optim *optim, tri_arena *arena);

/* Tell where weights, gradients and copies lie (same segments as at create), and hold the moments'
 * rows in the table: after commit. Not collective. */
TRI_MUST_USE tri_status tri_optim_bind(tri_optim *optim, const tri_optim_segment *segments,
                                       tri_state *state);

/* Moments as of no step, where they do not begin with zeros. Not collective: after bind. */
void tri_optim_initialise(tri_optim *optim);

typedef struct tri_optim_step_args {
    int64_t step; /* 1 is the first */
    double lr;
    double gradient_scale; /* multiplies the gradients */
    double squares;        /* sum of squares of all gradients of the model, not scaled */
} tri_optim_step_args;

/* Update. Collective: the ranks that share tensors, as often as tri_optim_messages says. */
TRI_MUST_USE tri_status tri_optim_step(tri_optim *optim, const tri_optim_step_args *args);

/* All-reduces of a step and the doubles in all of them. Not collective. */
int tri_optim_messages(const tri_optim *optim, int64_t *doubles);

#endif

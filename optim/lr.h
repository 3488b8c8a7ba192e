// SPDX-License-Identifier: Apache-2.0
/* Learning-rate schedules: a pure function of the step.
 *
 * A schedule is one phase or two. Each phase is a warm-up from zero, a level (constant, or falling as
 * an inverse square root), and a cooldown over its last steps, whose shape comes down to `final`. The
 * decays are rows that say which of these they have (optim/lr_decay.c).
 */
#ifndef TRI_OPTIM_LR_H
#define TRI_OPTIM_LR_H

#include "runtime/base/status.h"

enum { TRI_LR_PHASES = 2, TRI_LR_NAME_BYTES = 16 };

/* The keys of `schedule:` in a job spec. */
typedef struct tri_lr_config {
    int64_t warmup;                /* steps; update s of the warm-up has factor s / warmup */
    double warmup_share;           /* the same as a share of the phase's steps */
    char decay[TRI_LR_NAME_BYTES]; /* one of tri_lr_decays */
    double final;                  /* last factor of the phase's peak */
    double power;                  /* of the shape `polynomial` */
    double cooldown;               /* share of the phase's steps; 0: the decay's own */
    char cooldown_shape[TRI_LR_NAME_BYTES]; /* one of tri_lr_shapes, for decays without their own */
    double rewarmup_at;                     /* share of all steps after which a second phase begins;
                                               0: there is none */
    int64_t rewarmup;                       /* its warm-up: steps, */
    double rewarmup_share;                  /* or a share of its steps */
    double rewarmup_peak;                   /* its peak as a share of the first one's */
    int64_t scale_from; /* sequences of the batch that rate and shares are given for; 0: this one */
    int scale;          /* tri_rules_scale */
} tri_lr_config;

/* A phase, laid out: updates begin + 1 .. begin + steps. */
typedef struct tri_lr_phase {
    int64_t begin, steps;
    int64_t warmup;   /* first steps */
    int64_t cooldown; /* last steps */
    double peak;      /* share of the schedule's */
} tri_lr_phase;

typedef struct tri_lr_decay tri_lr_decay;
typedef struct tri_lr_shape tri_lr_shape;

/* A schedule, laid out over the steps of a job. */
typedef struct tri_lr {
    tri_lr_config config;
    const tri_lr_decay *decay;
    const tri_lr_shape *shape; /* of the cooldown */
    double peak;               /* learning rate */
    int n_phases;
    tri_lr_phase phase[TRI_LR_PHASES];
} tri_lr;

typedef struct tri_lr_args {
    const tri_lr_config *config;
    double lr;         /* peak, for a batch of config->scale_from sequences if that is given */
    int64_t steps;     /* of the job */
    int64_t sequences; /* of a batch */
} tri_lr_args;

/* Lay a schedule out. Not collective. Errors: TRI_EINVAL with key, value and range, or the keys that
 * contradict one another. */
TRI_MUST_USE tri_status tri_lr_make(const tri_lr_args *args, tri_lr *out);

/* Learning rate of update `step` (1 .. steps; later ones: as the last), and the same as a share of the
 * peak. Not collective. */
double tri_lr_at(const tri_lr *lr, int64_t step);
double tri_lr_factor(const tri_lr *lr, int64_t step);

/* Names of decays and of shapes of the cooldown, NULL-terminated. Not collective. */
const char *const *tri_lr_decays(void);
const char *const *tri_lr_shapes(void);

#endif

// SPDX-License-Identifier: Apache-2.0
/* Learning-rate schedules: warm-up, then a decay; a pure function of the step. */
#ifndef TRI_OPTIM_LR_H
#define TRI_OPTIM_LR_H

#include "runtime/base/status.h"

/* The keys of `schedule:` in a job spec. */
typedef struct tri_lr_config {
    int64_t warmup;  /* steps; update s of the warm-up has factor s / warmup */
    char decay[16];  /* constant, cosine, linear, wsd */
    double final;    /* last factor of the peak */
    double cooldown; /* wsd: the fraction of all steps that decays (linearly) at the end */
} tri_lr_config;

/* Factor of the peak learning rate at update `step` (1 .. steps). Not collective. */
double tri_lr_factor(const tri_lr_config *config, int64_t step, int64_t steps);

/* Check the keys. Not collective. Errors: TRI_EINVAL with the key. */
TRI_MUST_USE tri_status tri_lr_check(const tri_lr_config *config, int64_t steps);

#endif

// SPDX-License-Identifier: Apache-2.0
/* Rows of the two lists of optim/lr_decay.c. */
#ifndef TRI_OPTIM_LR_IMPL_H
#define TRI_OPTIM_LR_IMPL_H

#include "optim/lr.h"

/* How a cooldown falls: from 1 (`along` 0) to exactly 0 (`along` 1). */
struct tri_lr_shape {
    const char *name;
    double (*at)(const tri_lr_config *config, double along);
};

/* What follows the warm-up. */
struct tri_lr_decay {
    const char *name;
    /* share of the peak at a step of the phase that is neither warm-up nor cooldown: 1 at the end of
     * the warm-up */
    double (*level)(const tri_lr_phase *phase, int64_t step);
    double cooldown; /* share of the phase's steps; 1: all after the warm-up */
    const char
        *shape; /* of the cooldown; NULL: that of schedule.cooldown_shape, and schedule.cooldown
                          may replace the share */
};

/* Rows by their names; NULL: there is none. Not collective. */
const tri_lr_decay *tri_lr_decay_find(const char *name);
const tri_lr_shape *tri_lr_shape_find(const char *name);

#endif

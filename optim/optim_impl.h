// SPDX-License-Identifier: Apache-2.0
/* What an optimizer implements: the number and names of its moments, and one segment's update. */
#ifndef TRI_OPTIM_OPTIM_IMPL_H
#define TRI_OPTIM_OPTIM_IMPL_H

#include "optim/optim.h"

enum { TRI_OPTIM_MAX_MOMENTS = 2 };

/* One update of one segment. moment[i] [count] fp32, i < n_moments. */
typedef struct tri_optim_update {
    const tri_optim_config *config;
    tri_kernels *kernels;
    const tri_optim_segment *segment;
    float *moment[TRI_OPTIM_MAX_MOMENTS];
    int64_t step;
    double lr;
    double gradient_scale;
    double weight_decay; /* 0 for rows that do not decay */
} tri_optim_update;

/* A row of optim/list.c. */
typedef struct tri_optim_ops {
    const char *name;
    const char *doc;
    const char *moment_name[TRI_OPTIM_MAX_MOMENTS];
    /* Moments kept under this config. */
    int (*n_moments)(const tri_optim_config *config);
    /* Check the keys of its own. May be NULL. */
    tri_status (*check)(const tri_optim_config *config); /* optional */
    tri_status (*update)(const tri_optim_update *update);
} tri_optim_ops;

/* All optimizers, ended by NULL. */
extern const tri_optim_ops *const tri_optim_list[];

#endif

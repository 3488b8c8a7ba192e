// SPDX-License-Identifier: Apache-2.0
/* The one list of optimizers. */
#include "optim/optim_impl.h"

extern const tri_optim_ops tri_optim_sgd;
extern const tri_optim_ops tri_optim_adamw;

const tri_optim_ops *const tri_optim_list[] = {&tri_optim_sgd, &tri_optim_adamw, NULL};

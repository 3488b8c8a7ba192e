// SPDX-License-Identifier: Apache-2.0
/* The one list of optimizers: NAME stands for the table tri_optim_NAME in optim/NAME.c. */
#include "optim/optim_impl.h"

#define TRI_OPTIM_MAP(X) \
    X(sgd)               \
    X(adam)              \
    X(adamw)             \
    X(adamax)            \
    X(adam_atan2)        \
    X(lamb)              \
    X(lars)              \
    X(adafactor)         \
    X(lion)              \
    X(adagrad)           \
    X(adagrad_norm)      \
    X(adagrad_rownorm)

#define X(name) extern const tri_optim_ops tri_optim_##name;
TRI_OPTIM_MAP(X)
#undef X

#define X(name) &tri_optim_##name,
const tri_optim_ops *const tri_optim_list[] = {TRI_OPTIM_MAP(X) NULL};
#undef X

const char *const *tri_optim_names(void)
{
#define X(name) #name,
    static const char *const names[] = {TRI_OPTIM_MAP(X) NULL};
#undef X
    return names;
}

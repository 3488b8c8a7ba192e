// SPDX-License-Identifier: Apache-2.0
/* SGD with momentum and Nesterov's form, torch's convention: the smallest optimizer, to copy. */
#include "kernels/update.h"
#include "optim/optim_impl.h"

static int sgd_moments(const tri_optim_config *config)
{
    return config->momentum > 0 ? 1 : 0;
}

static tri_status sgd_check(const tri_optim_config *config)
{
    TRI_CHECK(!config->nesterov || config->momentum > 0, TRI_EINVAL,
              "optimizer.nesterov needs optimizer.momentum > 0");
    return TRI_OK;
}

static tri_status sgd_update(const tri_optim_update *u)
{
    const tri_optim_segment *s = u->segment;
    tri_sgd_args args = {
        .range = {.n = s->count,
                  .weight = s->weight,
                  .gradient = s->gradient,
                  .gradient_scale = (float)u->gradient_scale,
                  .copy = s->copy,
                  .copy_type = TRI_BF16},
        .momentum_buffer = u->moment[0],
        .lr = (float)u->lr,
        .momentum = (float)u->config->momentum,
        .weight_decay = (float)u->weight_decay,
        .nesterov = u->config->nesterov != 0,
        .first = u->step == 1,
    };
    TRI_TRY(tri_update_sgd(u->kernels, &args));
    return TRI_OK;
}

const tri_optim_ops tri_optim_sgd = {
    .name = "sgd",
    .doc = "stochastic gradient descent; momentum and Nesterov optional",
    .moment_name = {"momentum"},
    .n_moments = sgd_moments,
    .check = sgd_check,
    .update = sgd_update,
};

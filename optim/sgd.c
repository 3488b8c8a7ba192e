// SPDX-License-Identifier: Apache-2.0
/* SGD with momentum and Nesterov's form of it, torch's convention: weight decay is added to the
 * gradient, momentum is not damped. */
#include "optim/optim_impl.h"

static int sgd_moments(const tri_optim_config *config, const tri_row *row,
                       tri_optim_moment out[TRI_OPTIM_MAX_MOMENTS])
{
    (void)row;
    out[0] = (tri_optim_moment){"momentum", TRI_OPTIM_ELEMENTS};
    return config->momentum > 0;
}

static tri_status sgd_check(const tri_optim_config *config)
{
    TRI_CHECK(!config->nesterov || config->momentum > 0, TRI_EINVAL,
              "optimizer.nesterov needs optimizer.momentum > 0");
    return TRI_OK;
}

static tri_status sgd_update(const tri_optim_tensor *tensor)
{
    tri_update_args args = tri_optim_update_args(tensor, TRI_UPDATE_SGD);
    args.beta[0] = (float)tensor->config->momentum;
    args.nesterov = tensor->config->nesterov != 0;
    args.decay = 0;
    args.l2 = (float)tensor->weight_decay;
    TRI_TRY(tri_optim_run(tensor, &args));
    return TRI_OK;
}

const tri_optim_ops tri_optim_sgd = {
    .name = "sgd",
    .doc = "stochastic gradient descent; momentum and Nesterov optional",
    .steps = TRI_OPTIM_STEPS_GRADIENT,
    .moments = sgd_moments,
    .check = sgd_check,
    .update = sgd_update,
};

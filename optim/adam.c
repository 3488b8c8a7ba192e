// SPDX-License-Identifier: Apache-2.0
/* Adam (Kingma & Ba, arXiv:1412.6980), torch's convention: weight decay is added to the gradient. */
#include "optim/optim_impl.h"

static tri_status adam_update(const tri_optim_tensor *tensor)
{
    tri_update_args args = tri_optim_update_args(tensor, TRI_UPDATE_ADAM);
    args.decay = 0;
    args.l2 = (float)tensor->weight_decay;
    TRI_TRY(tri_optim_run(tensor, &args));
    return TRI_OK;
}

const tri_optim_ops tri_optim_adam = {
    .name = "adam",
    .doc = "Adam; weight decay is added to the gradient",
    .betas = {0.9, 0.999},
    .epsilon = 1e-8,
    .steps = TRI_OPTIM_STEPS_SIGN,
    .moments = tri_optim_two_moments,
    .check = tri_optim_check_betas,
    .update = adam_update,
};

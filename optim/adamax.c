// SPDX-License-Identifier: Apache-2.0
/* AdaMax (Kingma & Ba, arXiv:1412.6980, sec. 7): the second moment is a decaying maximum. Weight decay
 * is added to the gradient. */
#include "optim/optim_impl.h"

static tri_status adamax_update(const tri_optim_tensor *tensor)
{
    tri_update_args args = tri_optim_update_args(tensor, TRI_UPDATE_ADAMAX);
    args.decay = 0;
    args.l2 = (float)tensor->weight_decay;
    TRI_TRY(tri_optim_run(tensor, &args));
    return TRI_OK;
}

const tri_optim_ops tri_optim_adamax = {
    .name = "adamax",
    .doc = "Adam with the largest gradient in place of the second moment",
    .betas = {0.9, 0.999},
    .epsilon = 1e-8,
    .steps = TRI_OPTIM_STEPS_SIGN,
    .moments = tri_optim_two_moments,
    .check = tri_optim_check_betas,
    .update = adamax_update,
};

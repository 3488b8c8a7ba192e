// SPDX-License-Identifier: Apache-2.0
/* AdamW: Adam with decoupled weight decay (Loshchilov & Hutter, arXiv:1711.05101), torch's
 * convention: the decay is multiplied by the learning rate. */
#include "optim/optim_impl.h"

static tri_status adamw_update(const tri_optim_tensor *tensor)
{
    tri_update_args args = tri_optim_update_args(tensor, TRI_UPDATE_ADAM);
    TRI_TRY(tri_optim_run(tensor, &args));
    return TRI_OK;
}

const tri_optim_ops tri_optim_adamw = {
    .name = "adamw",
    .doc = "Adam with decoupled weight decay",
    .betas = {0.9, 0.95},
    .epsilon = 1e-8,
    .steps = TRI_OPTIM_STEPS_SIGN,
    .moments = tri_optim_two_moments,
    .check = tri_optim_check_betas,
    .update = adamw_update,
};

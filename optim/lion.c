// SPDX-License-Identifier: Apache-2.0
/* Lion (Chen et al., arXiv:2302.06675): the sign of an interpolated momentum. Decoupled weight decay. */
#include "optim/optim_impl.h"

static tri_status lion_update(const tri_optim_tensor *tensor)
{
    tri_update_args args = tri_optim_update_args(tensor, TRI_UPDATE_LION);
    TRI_TRY(tri_optim_run(tensor, &args));
    return TRI_OK;
}

const tri_optim_ops tri_optim_lion = {
    .name = "lion",
    .doc = "the sign of a momentum; half the memory of Adam",
    .betas = {0.9, 0.99},
    .steps = TRI_OPTIM_STEPS_SIGN,
    .moments = tri_optim_one_moment,
    .check = tri_optim_check_betas,
    .update = lion_update,
};

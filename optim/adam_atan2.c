// SPDX-License-Identifier: Apache-2.0
/* Adam-atan2 (Everett et al., arXiv:2407.05872): an arc tangent in place of the quotient, so that no
 * epsilon is needed and the step does not depend on the gradient's scale. Decoupled weight decay. */
#include "optim/optim_impl.h"

static tri_status adam_atan2_update(const tri_optim_tensor *tensor)
{
    tri_update_args args = tri_optim_update_args(tensor, TRI_UPDATE_ATAN2);
    TRI_TRY(tri_optim_run(tensor, &args));
    return TRI_OK;
}

const tri_optim_ops tri_optim_adam_atan2 = {
    .name = "adam_atan2",
    .doc = "AdamW without an epsilon: atan2 in place of the quotient",
    .betas = {0.9, 0.99},
    .steps = TRI_OPTIM_STEPS_SIGN,
    .moments = tri_optim_two_moments,
    .check = tri_optim_check_betas,
    .update = adam_atan2_update,
};

// SPDX-License-Identifier: Apache-2.0
/* AdaGrad, diagonal (Duchi et al., JMLR 2011), torch's convention. Weight decay is added to the
 * gradient. */
#include "optim/optim_impl.h"

static double adagrad_initial(const tri_optim_config *config)
{
    return config->initial;
}

static tri_status adagrad_update(const tri_optim_tensor *tensor)
{
    tri_update_args args = tri_optim_update_args(tensor, TRI_UPDATE_ADAGRAD);
    args.decay = 0;
    args.l2 = (float)tensor->weight_decay;
    TRI_TRY(tri_optim_run(tensor, &args));
    return TRI_OK;
}

const tri_optim_ops tri_optim_adagrad = {
    .name = "adagrad",
    .doc = "sums of squared gradients, element by element",
    .epsilon = 1e-10,
    .steps = TRI_OPTIM_STEPS_SIGN,
    .moments = tri_optim_one_moment,
    .initial = adagrad_initial,
    .update = adagrad_update,
};

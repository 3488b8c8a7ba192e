// SPDX-License-Identifier: Apache-2.0
/* AdaGrad-Norm (Ward et al., arXiv:1806.01811): one number for the whole model, the sum of all squared
 * norms of the gradient, which the clipping of the gradient has already added up over the ranks.
 * Decoupled weight decay.
 */
#include "optim/optim_impl.h"

#include <math.h>

static int norm_moments(const tri_optim_config *config, const tri_row *row,
                        tri_optim_moment out[TRI_OPTIM_MAX_MOMENTS])
{
    (void)config, (void)row;
    out[0] = (tri_optim_moment){"squares", TRI_OPTIM_TENSOR};
    return 1;
}

static double norm_initial(const tri_optim_config *config)
{
    return config->initial;
}

static tri_status norm_check(const tri_optim_config *config)
{
    TRI_CHECK(config->initial > 0, TRI_EINVAL,
              "optimizer.initial is %g; it must be > 0: it is what the sum of squares begins with",
              config->initial);
    return TRI_OK;
}

static tri_status norm_absorb(const tri_optim_tensor *tensor, int round)
{
    (void)round;
    *(double *)tensor->moment[0] += tensor->squares;
    return TRI_OK;
}

static tri_status norm_update(const tri_optim_tensor *tensor)
{
    tri_update_args args = tri_optim_update_args(tensor, TRI_UPDATE_SGD);
    args.moment[0] = NULL;
    args.beta[0] = 0;
    args.rate = (float)(tensor->lr / sqrt(*(double *)tensor->moment[0]));
    TRI_TRY(tri_optim_run(tensor, &args));
    return TRI_OK;
}

const tri_optim_ops tri_optim_adagrad_norm = {
    .name = "adagrad_norm",
    .doc = "SGD divided by the norm of all gradients so far",
    .moments = norm_moments,
    .initial = norm_initial,
    .check = norm_check,
    .absorb = norm_absorb,
    .update = norm_update,
};

// SPDX-License-Identifier: Apache-2.0
/* LAMB (You et al., arXiv:1904.00962): the step of AdamW, decay included, in the length of the tensor's
 * weights. Bias-corrected, phi the identity; tensors that do not decay are not scaled, as in NVIDIA's and
 * TensorFlow's versions. The norms are those of the whole tensor: one round of sums.
 */
#include "optim/optim_impl.h"

#include <math.h>

enum { LAMB_WEIGHTS, LAMB_STEP, LAMB_SUMS };

static tri_status lamb_check(const tri_optim_config *config)
{
    TRI_TRY(tri_optim_check_betas(config));
    TRI_CHECK(config->trust_max >= 0, TRI_EINVAL,
              "optimizer.trust_max is %g; it must be >= 0 (0: none)", config->trust_max);
    return TRI_OK;
}

static int64_t lamb_sums(const tri_optim_config *config, const tri_row *row, int round)
{
    (void)config, (void)row;
    return round == 0 ? LAMB_SUMS : 0;
}

static tri_update_args lamb_args(const tri_optim_tensor *tensor, tri_update_rule rule)
{
    tri_update_args args = tri_optim_update_args(tensor, rule);
    args.decay = (float)tensor->weight_decay;
    return args;
}

static tri_status lamb_measure(const tri_optim_tensor *tensor, int round)
{
    (void)round;
    tri_update_args args = lamb_args(tensor, TRI_UPDATE_MOMENTS);
    args.sums = tensor->sums[0];
    TRI_TRY(tri_optim_run(tensor, &args));
    return TRI_OK;
}

static double lamb_trust(const tri_optim_tensor *tensor)
{
    double weights = sqrt(tensor->sums[0][LAMB_WEIGHTS]);
    double step = sqrt(tensor->sums[0][LAMB_STEP]);
    if (!tensor->adapts || tensor->weight_decay == 0 || weights == 0 || step == 0) return 1;
    double most = tensor->config->trust_max;
    return most > 0 ? fmin(weights / step, most) : weights / step;
}

static tri_status lamb_update(const tri_optim_tensor *tensor)
{
    tri_update_args args = lamb_args(tensor, TRI_UPDATE_TRUST);
    args.rate = (float)(tensor->lr * lamb_trust(tensor));
    TRI_TRY(tri_optim_run(tensor, &args));
    return TRI_OK;
}

const tri_optim_ops tri_optim_lamb = {
    .name = "lamb",
    .doc = "AdamW with steps as long as the tensor's weights, for large batches",
    .betas = {0.9, 0.999},
    .epsilon = 1e-6,
    .moments = tri_optim_two_moments,
    .check = lamb_check,
    .sums = lamb_sums,
    .measure = lamb_measure,
    .update = lamb_update,
};

// SPDX-License-Identifier: Apache-2.0
/* AdamW: Adam with decoupled weight decay (Loshchilov & Hutter, arXiv:1711.05101), torch's
 * convention: the decay is multiplied by the learning rate. */
#include "kernels/update.h"
#include "optim/optim_impl.h"

static int adamw_moments(const tri_optim_config *config)
{
    (void)config;
    return 2;
}

static tri_status adamw_check(const tri_optim_config *config)
{
    for (int i = 0; i < 2; i++)
        TRI_CHECK(config->betas[i] >= 0 && config->betas[i] < 1, TRI_EINVAL,
                  "optimizer.betas[%d] is %g; it must be >= 0 and < 1", i, config->betas[i]);
    TRI_CHECK(config->epsilon > 0, TRI_EINVAL, "optimizer.epsilon is %g; it must be > 0",
              config->epsilon);
    return TRI_OK;
}

static tri_status adamw_update(const tri_optim_update *u)
{
    const tri_optim_segment *s = u->segment;
    tri_adamw_args args = {
        .range = {.n = s->count,
                  .weight = s->weight,
                  .gradient = s->gradient,
                  .gradient_scale = (float)u->gradient_scale,
                  .copy = s->copy,
                  .copy_type = TRI_BF16},
        .m = u->moment[0],
        .v = u->moment[1],
        .lr = (float)u->lr,
        .beta1 = (float)u->config->betas[0],
        .beta2 = (float)u->config->betas[1],
        .epsilon = (float)u->config->epsilon,
        .weight_decay = (float)u->weight_decay,
        .step = u->step,
    };
    TRI_TRY(tri_update_adamw(u->kernels, &args));
    return TRI_OK;
}

const tri_optim_ops tri_optim_adamw = {
    .name = "adamw",
    .doc = "Adam with decoupled weight decay",
    .moment_name = {"m", "v"},
    .n_moments = adamw_moments,
    .check = adamw_check,
    .update = adamw_update,
};

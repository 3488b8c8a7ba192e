// SPDX-License-Identifier: Apache-2.0
/* LARS (You et al., arXiv:1708.03888): SGD with momentum whose steps are a share of the length of the
 * tensor's weights. Tensors that do not decay take plain steps. The norms are those of the whole
 * tensor: one round of sums.
 */
#include "kernels/pointwise.h"
#include "optim/optim_impl.h"

#include <math.h>

enum { LARS_WEIGHTS, LARS_GRADIENT, LARS_SUMS };

static int lars_moments(const tri_optim_config *config, const tri_row *row,
                        tri_optim_moment out[TRI_OPTIM_MAX_MOMENTS])
{
    (void)row;
    out[0] = (tri_optim_moment){"momentum", TRI_OPTIM_ELEMENTS};
    return config->momentum > 0;
}

static tri_status lars_check(const tri_optim_config *config)
{
    TRI_CHECK(config->trust > 0, TRI_EINVAL, "optimizer.trust is %g; it must be > 0",
              config->trust);
    TRI_CHECK(!config->nesterov, TRI_EINVAL,
              "optimizer.nesterov: lars has no Nesterov form; set it to false");
    return TRI_OK;
}

static int64_t lars_sums(const tri_optim_config *config, const tri_row *row, int round)
{
    (void)config, (void)row;
    return round == 0 ? LARS_SUMS : 0;
}

static tri_status lars_measure(const tri_optim_tensor *tensor, int round)
{
    (void)round;
    const tri_optim_segment *s = tensor->segment;
    double scale = tensor->gradient_scale;
    double part = 0;
    TRI_TRY(tri_sum_squares(tensor->kernels, s->count, s->weight, &part));
    tensor->sums[0][LARS_WEIGHTS] += part;
    TRI_TRY(tri_sum_squares(tensor->kernels, s->count, s->gradient, &part));
    tensor->sums[0][LARS_GRADIENT] += part * scale * scale;
    return TRI_OK;
}

static double lars_trust(const tri_optim_tensor *tensor)
{
    double weights = sqrt(tensor->sums[0][LARS_WEIGHTS]);
    double gradient = sqrt(tensor->sums[0][LARS_GRADIENT]);
    double decay = tensor->weight_decay;
    if (!tensor->adapts || !tensor->row->decay || weights == 0 || gradient == 0) return 1;
    return tensor->config->trust * weights / (gradient + decay * weights + tensor->config->epsilon);
}

static tri_status lars_update(const tri_optim_tensor *tensor)
{
    double trust = lars_trust(tensor);
    tri_update_args args = tri_optim_update_args(tensor, TRI_UPDATE_SGD);
    args.beta[0] = (float)tensor->config->momentum;
    args.range.gradient_scale = (float)(trust * tensor->gradient_scale);
    args.l2 = (float)(trust * tensor->weight_decay);
    args.decay = 0;
    TRI_TRY(tri_optim_run(tensor, &args));
    return TRI_OK;
}

const tri_optim_ops tri_optim_lars = {
    .name = "lars",
    .doc = "SGD with steps as a share of the tensor's weights, for large batches",
    .epsilon = 1e-8,
    .moments = lars_moments,
    .check = lars_check,
    .sums = lars_sums,
    .measure = lars_measure,
    .update = lars_update,
};

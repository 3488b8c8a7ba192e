// SPDX-License-Identifier: Apache-2.0
/* AdaGrad with one sum of squares for each row of a matrix, and for each element of a vector: between
 * the diagonal form and the one of one number (the form of AdAdaGrad's experiments, arXiv:2402.11215).
 * Rows are those of the whole tensor: one round of sums. Decoupled weight decay.
 */
#include "optim/optim_impl.h"

#include <math.h>

static int rownorm_moments(const tri_optim_config *config, const tri_row *row,
                           tri_optim_moment out[TRI_OPTIM_MAX_MOMENTS])
{
    (void)config;
    out[0] = (tri_optim_moment){"squares",
                                tri_optim_is_matrix(row) ? TRI_OPTIM_ROWS : TRI_OPTIM_ELEMENTS};
    return 1;
}

static double rownorm_initial(const tri_optim_config *config)
{
    return config->initial;
}

static int64_t rownorm_sums(const tri_optim_config *config, const tri_row *row, int round)
{
    (void)config;
    return round == 0 && tri_optim_is_matrix(row) ? row->shape[0] : 0;
}

static tri_status rownorm_measure(const tri_optim_tensor *tensor, int round)
{
    (void)round;
    if (!tri_optim_is_matrix(tensor->row)) return TRI_OK;
    TRI_TRY(tri_optim_factor_squares(tensor, tensor->sums[0], NULL));
    return TRI_OK;
}

static tri_status rownorm_absorb(const tri_optim_tensor *tensor, int round)
{
    (void)round;
    float *squares = tensor->moment[0];
    if (!tri_optim_is_matrix(tensor->row)) return TRI_OK;
    for (int64_t i = 0; i < tensor->box.count[0]; i++)
        squares[i] += (float)tensor->sums[0][tensor->box.start[0] + i];
    return TRI_OK;
}

static tri_status rownorm_update(const tri_optim_tensor *tensor)
{
    if (tri_optim_is_matrix(tensor->row)) {
        float *factor = (float *)tensor->scratch;
        const float *squares = tensor->moment[0];
        for (int64_t i = 0; i < tensor->box.count[0]; i++)
            factor[i] = 1.0f / (sqrtf(squares[i]) + (float)tensor->config->epsilon);
        tri_optim_factor step = {
            .row = factor, .rate = tensor->lr, .decay = tensor->lr * tensor->weight_decay};
        TRI_TRY(tri_optim_factor_step(tensor, &step));
        return TRI_OK;
    }
    tri_update_args args = tri_optim_update_args(tensor, TRI_UPDATE_ADAGRAD);
    TRI_TRY(tri_optim_run(tensor, &args));
    return TRI_OK;
}

static int64_t rownorm_scratch(const tri_box *box)
{
    return box->n_dims == 2 ? box->count[0] : 0;
}

const tri_optim_ops tri_optim_adagrad_rownorm = {
    .name = "adagrad_rownorm",
    .doc = "AdaGrad with one sum of squares for each row",
    .epsilon = 1e-10,
    .moments = rownorm_moments,
    .initial = rownorm_initial,
    .sums = rownorm_sums,
    .scratch = rownorm_scratch,
    .measure = rownorm_measure,
    .absorb = rownorm_absorb,
    .update = rownorm_update,
};

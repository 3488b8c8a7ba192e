// SPDX-License-Identifier: Apache-2.0
/* Adafactor (Shazeer & Stern, arXiv:1804.04235, algorithm 6): the second moment of a matrix is kept as
 * means of its rows and columns, that of a vector as it is; steps are clipped by their root mean square
 * and, unless told otherwise, scaled by that of the weights. No momentum.
 *
 * All of it is of the whole tensor. Round 1 adds up sums of squares of rows, of columns and of weights,
 * round 2 the squares of the step, which needs the first. Weight decay: w -= step size * decay * w.
 */
#include "kernels/factor.h"
#include "kernels/pointwise.h"
#include "optim/optim_impl.h"
#include "runtime/base/int.h"

#include <math.h>

static const double decay_exponent = 0.8;
static const double least_scale = 1e-3; /* of weights: epsilon 2 of the paper */

enum { FACTOR_ROWS, FACTOR_COLUMNS };

static int factor_moments(const tri_optim_config *config, const tri_row *row,
                          tri_optim_moment out[TRI_OPTIM_MAX_MOMENTS])
{
    (void)config;
    if (!tri_optim_is_matrix(row)) {
        out[0] = (tri_optim_moment){"v", TRI_OPTIM_ELEMENTS};
        return 1;
    }
    out[FACTOR_ROWS] = (tri_optim_moment){"rows", TRI_OPTIM_ROWS};
    out[FACTOR_COLUMNS] = (tri_optim_moment){"columns", TRI_OPTIM_COLUMNS};
    return 2;
}

static tri_status factor_check(const tri_optim_config *config)
{
    TRI_CHECK(config->update_clip > 0, TRI_EINVAL,
              "optimizer.update_clip is %g; it must be > 0 (usual: 1)", config->update_clip);
    TRI_CHECK(config->moments == TRI_F32, TRI_EINVAL,
              "optimizer.moments: adafactor keeps few numbers, as fp32; set it to fp32");
    return TRI_OK;
}

/* Round 0 of a vector: weights, step; of a matrix: weights, rows, columns; round 1: its step. */
static int64_t factor_sums(const tri_optim_config *config, const tri_row *row, int round)
{
    (void)config;
    if (!tri_optim_is_matrix(row)) return round == 0 ? 2 : 0;
    return round == 0 ? 1 + row->shape[0] + row->shape[1] : 1;
}

static int64_t factor_scratch(const tri_box *box)
{
    if (box->n_dims != 2) return 0;
    return tri_max64(TRI_FACTOR_PARTS * box->count[1], box->count[0] + box->count[1]);
}

static double beta_of(const tri_optim_tensor *tensor)
{
    return 1 - pow((double)tensor->step, -decay_exponent);
}

/* Root mean square of a tensor with these squares. */
static double rms(const tri_optim_tensor *tensor, double squares)
{
    return sqrt(squares / (double)tri_row_elements(tensor->row));
}

/* The mean of the rows' means: that of the columns' is the same. What is not cut over the tensor axis is
 * whole here. */
static double mean_of(const tri_optim_tensor *tensor)
{
    bool rows_are_whole = tensor->box.count[0] == tensor->row->shape[0];
    const float *means = tensor->moment[rows_are_whole ? FACTOR_ROWS : FACTOR_COLUMNS];
    int64_t n = tensor->box.count[rows_are_whole ? 0 : 1];
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)means[i];
    return sum / (double)n;
}

/* 1 / root of what the second moment is a product of; apart, as the product may be no normal number. */
static tri_optim_factor factors_of(const tri_optim_tensor *tensor)
{
    float *row = (float *)tensor->scratch;
    float *column = row + tensor->box.count[0];
    const float *rows = tensor->moment[FACTOR_ROWS];
    const float *columns = tensor->moment[FACTOR_COLUMNS];
    double mean = mean_of(tensor);
    for (int64_t i = 0; i < tensor->box.count[0]; i++)
        row[i] = (float)sqrt(mean / (double)rows[i]);
    for (int64_t i = 0; i < tensor->box.count[1]; i++)
        column[i] = (float)(1 / sqrt((double)columns[i]));
    return (tri_optim_factor){.row = row, .column = column};
}

static tri_update_args vector_args(const tri_optim_tensor *tensor, tri_update_rule rule)
{
    tri_update_args args = tri_optim_update_args(tensor, rule);
    args.beta[0] = (float)beta_of(tensor);
    return args;
}

static tri_status measure_vector(const tri_optim_tensor *tensor, int round)
{
    if (round != 0) return TRI_OK;
    tri_update_args args = vector_args(tensor, TRI_UPDATE_VARIANCE);
    args.sums = tensor->sums[0];
    TRI_TRY(tri_optim_run(tensor, &args));
    return TRI_OK;
}

static tri_status factor_measure(const tri_optim_tensor *tensor, int round)
{
    const tri_optim_segment *s = tensor->segment;
    if (!tri_optim_is_matrix(tensor->row)) return measure_vector(tensor, round);
    if (round == 1) {
        tri_optim_factor factor = factors_of(tensor);
        factor.sum = tensor->sums[1];
        TRI_TRY(tri_optim_factor_step(tensor, &factor));
        return TRI_OK;
    }
    double weights = 0;
    double *rows = tensor->sums[0] + 1;
    TRI_TRY(tri_sum_squares(tensor->kernels, s->count, s->weight, &weights));
    tensor->sums[0][0] += weights;
    TRI_TRY(tri_optim_factor_squares(tensor, rows, rows + tensor->row->shape[0]));
    return TRI_OK;
}

/* mean = beta mean + (1 - beta) (sum / n + epsilon) */
static void absorb_means(const tri_optim_tensor *tensor, float *means, const double *sums,
                         int64_t count, int64_t n)
{
    double beta = beta_of(tensor);
    for (int64_t i = 0; i < count; i++) {
        double now = sums[i] / (double)n + tensor->config->epsilon;
        means[i] = (float)(beta * (double)means[i] + (1 - beta) * now);
    }
}

static tri_status factor_absorb(const tri_optim_tensor *tensor, int round)
{
    if (round != 0 || !tri_optim_is_matrix(tensor->row)) return TRI_OK;
    const int64_t *shape = tensor->row->shape;
    const double *rows = tensor->sums[0] + 1;
    const double *columns = rows + shape[0];
    absorb_means(tensor, tensor->moment[FACTOR_ROWS], rows + tensor->box.start[0],
                 tensor->box.count[0], shape[1]);
    absorb_means(tensor, tensor->moment[FACTOR_COLUMNS], columns + tensor->box.start[1],
                 tensor->box.count[1], shape[0]);
    return TRI_OK;
}

/* The step's size, as a factor of gradient / root of second moment. */
static double step_size(const tri_optim_tensor *tensor, double step_squares)
{
    const tri_optim_config *config = tensor->config;
    double size = tensor->lr;
    if (config->relative_step) size = fmin(size, 1 / sqrt((double)tensor->step));
    if (config->scale_parameter && tensor->adapts)
        size *= fmax(least_scale, rms(tensor, tensor->sums[0][0]));
    return size / fmax(1, rms(tensor, step_squares) / config->update_clip);
}

static tri_status factor_update(const tri_optim_tensor *tensor)
{
    if (tri_optim_is_matrix(tensor->row)) {
        double size = step_size(tensor, tensor->sums[1][0]);
        tri_optim_factor factor = factors_of(tensor);
        factor.rate = size;
        factor.decay = size * tensor->weight_decay;
        TRI_TRY(tri_optim_factor_step(tensor, &factor));
        return TRI_OK;
    }
    double size = step_size(tensor, tensor->sums[0][1]);
    tri_update_args args = vector_args(tensor, TRI_UPDATE_SCALED);
    args.rate = (float)size;
    args.decay = (float)(size * tensor->weight_decay);
    TRI_TRY(tri_optim_run(tensor, &args));
    return TRI_OK;
}

const tri_optim_ops tri_optim_adafactor = {
    .name = "adafactor",
    .doc = "second moments of matrices by rows and columns: next to no memory",
    .epsilon = 1e-30,
    .steps = TRI_OPTIM_STEPS_ADAFACTOR,
    .moments = factor_moments,
    .check = factor_check,
    .sums = factor_sums,
    .scratch = factor_scratch,
    .measure = factor_measure,
    .absorb = factor_absorb,
    .update = factor_update,
};

// SPDX-License-Identifier: Apache-2.0
/* How start values, multipliers and learning rates depend on the sizes of a model.
 *
 * standard: not at all, but for 1 / sqrt(head size). mup: the maximal update parameterization (Yang et
 * al., arXiv:2203.03466, tables 3 and 8; the form with a multiplier on the readout, which serves a
 * head that is the embedding's table too), relative to a base width n0, r = n / n0: what one step
 * changes in an activation is as large at every width, so that a learning rate found at n0 serves all.
 * The width of the MLP is taken to grow as n does; heads may become larger or more.
 *
 * umup: the unit-scaled one (Blake et al., arXiv:2407.17465), which has no base: each activation begins
 * with a deviation of about 1, and the learning rate's best is about 1 at every width and depth. Its
 * weights are N(0, 1), with a multiplier on each product, and branches join the stream as
 * (x + tau branch) / sqrt(1 + tau^2). Two things are moved here, neither of which changes what is
 * computed: multipliers of products are in the weights (deviation and learning rate are multiplied by
 * them: the same steps for optimizers like Adam), and since all that reads the stream is a norm, it
 * is not divided: tau times the divisors so far is one constant, a / sqrt(layers).
 */
#include "parallel/model/model_impl.h"

#include <math.h>
#include <string.h>

static const char mup[] = "mup";
static const char umup[] = "umup";

const char *const *tri_model_parameterizations(void)
{
    static const char *const names[] = {"standard", mup, umup, NULL};
    return names;
}

bool tri_model_has_base(const tri_model_config *config)
{
    return strcmp(config->parameterization, mup) == 0;
}

bool tri_model_is_unit(const tri_model_config *config)
{
    return strcmp(config->parameterization, umup) == 0;
}

bool tri_model_is_scaled(const tri_model_config *config)
{
    return tri_model_has_base(config) || tri_model_is_unit(config);
}

/* What divides the logits: n / n0; of umup n. */
static double ratio_of(const tri_model_config *config)
{
    if (!tri_model_is_scaled(config)) return 1;
    return (double)config->hidden / (double)(tri_model_is_unit(config) ? 1 : config->base_hidden);
}

tri_model_multipliers tri_model_multipliers_of(const tri_model_config *config)
{
    int64_t head_size = config->hidden / config->heads;
    double scores = 1 / (double)sqrtf((float)head_size);
    if (tri_model_is_scaled(config)) scores = 1 / (double)head_size;
    return (tri_model_multipliers){.embedding = config->embedding_multiplier,
                                   .scores = scores * config->attention_multiplier,
                                   .logits = config->output_multiplier / ratio_of(config)};
}

/* Is it a matrix between two widths that both grow? */
static bool is_hidden(tri_model_tensor tensor)
{
    switch (tensor) {
    case TRI_MODEL_Q_WEIGHT:
    case TRI_MODEL_K_WEIGHT:
    case TRI_MODEL_V_WEIGHT:
    case TRI_MODEL_OUT_WEIGHT:
    case TRI_MODEL_UP_WEIGHT:
    case TRI_MODEL_GATE_WEIGHT:
    case TRI_MODEL_DOWN_WEIGHT:
        return true;
    default:
        return false;
    }
}

/* Between log(low) and log(high). */
static double interpolate(double share, double low, double high)
{
    return exp(share * log(high) + (1 - share) * log(low));
}

/* Deviation of what attention makes of unit values, as it was found by trial: from near even weights over
 * the context to a single one. */
static double attention_deviation(const tri_model_config *config)
{
    int64_t head_size = config->hidden / config->heads;
    double length = (double)config->context;
    double multiplier = config->attention_multiplier;
    double share = 1 / (1 + 4 * (double)head_size / (multiplier * multiplier));
    return length > 1 ? interpolate(share, sqrt(log(length) / length), 1) : 1;
}

/* What a unit-scaled MLP's or attention's last product is multiplied by beside 1 / sqrt(fan in). */
static double branch_of(const tri_model_config *config, tri_model_tensor tensor)
{
    double ratio = config->residual_ratio;
    double mlp = config->residual_multiplier * sqrt(2 / (1 + ratio * ratio));
    double depth = sqrt((double)config->layers);
    if (tensor == TRI_MODEL_OUT_WEIGHT) return ratio * mlp / depth / attention_deviation(config);
    /* 1 / deviation of silu(gate) * up */
    if (tensor == TRI_MODEL_DOWN_WEIGHT) return mlp / depth * interpolate(0.5, 2, sqrt(2));
    return 1;
}

static tri_model_scaling unit_scaling_of(const tri_model_config *config, tri_model_tensor tensor)
{
    double width = (double)config->hidden;
    double depth = 1 / sqrt((double)config->layers);
    if (tensor == TRI_MODEL_EMBED_TOKEN) return (tri_model_scaling){1, 1 / sqrt(width), 0};
    if (tensor == TRI_MODEL_NORM1_WEIGHT || tensor == TRI_MODEL_NORM2_WEIGHT)
        return (tri_model_scaling){1, depth, 0};
    if (!is_hidden(tensor)) return (tri_model_scaling){1, 1, 0};
    double fan_in = tensor == TRI_MODEL_DOWN_WEIGHT ? (double)config->ffn : width;
    double multiplier = branch_of(config, tensor) / sqrt(fan_in);
    return (tri_model_scaling){multiplier, multiplier * depth / sqrt(fan_in), 0};
}

tri_model_scaling tri_model_scaling_of(const tri_model_config *config, tri_model_tensor tensor)
{
    if (tri_model_is_unit(config)) return unit_scaling_of(config, tensor);
    double ratio = ratio_of(config);
    tri_model_scaling scaling = {.std = config->init_std, .sign_lr = 1, .gradient_lr = ratio};
    if (is_hidden(tensor))
        scaling = (tri_model_scaling){
            .std = config->init_std / sqrt(ratio), .sign_lr = 1 / ratio, .gradient_lr = 1};
    /* each block adds two branches to the residual stream */
    if (tensor == TRI_MODEL_OUT_WEIGHT || tensor == TRI_MODEL_DOWN_WEIGHT)
        scaling.std /= sqrt(2.0 * (double)config->layers);
    return scaling;
}

static bool ends_in(const char *name, const char *end)
{
    size_t n = strlen(name);
    size_t m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

double tri_model_folded(const tri_model_config *config, const char *name)
{
    tri_model_multipliers multipliers = tri_model_multipliers_of(config);
    int64_t head_size = config->hidden / config->heads;
    if (ends_in(name, ".attention.q.weight") || ends_in(name, ".attention.q.bias"))
        return config->attention_multiplier /
               (tri_model_is_scaled(config) ? sqrt((double)head_size) : 1);
    if (strncmp(name, "param/embed.", strlen("param/embed.")) == 0) return multipliers.embedding;
    if (strncmp(name, "param/norm.", strlen("param/norm.")) == 0)
        return multipliers.logits / (config->tied ? multipliers.embedding : 1);
    return 1;
}

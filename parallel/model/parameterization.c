// SPDX-License-Identifier: Apache-2.0
/* How start values, multipliers and learning rates depend on the width n of a model.
 *
 * standard: not at all, but for 1 / sqrt(head size). mup: the maximal update parameterization (Yang et
 * al., arXiv:2203.03466, tables 3 and 8; the form with a multiplier on the readout, which serves a
 * head that is the embedding's table too), relative to a base width n0, r = n / n0: what one step
 * changes in an activation is as large at every width, so that a learning rate found at n0 serves all.
 * Head size and width of the MLP are taken to grow as n does, or not at all.
 */
#include "parallel/model/model_impl.h"

#include <math.h>
#include <string.h>

static const char mup[] = "mup";

const char *const *tri_model_parameterizations(void)
{
    static const char *const names[] = {"standard", mup, NULL};
    return names;
}

bool tri_model_is_scaled(const tri_model_config *config)
{
    return strcmp(config->parameterization, mup) == 0;
}

/* n / n0 */
static double ratio_of(const tri_model_config *config)
{
    if (!tri_model_is_scaled(config)) return 1;
    return (double)config->hidden / (double)config->base_hidden;
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

tri_model_scaling tri_model_scaling_of(const tri_model_config *config, tri_model_tensor tensor)
{
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

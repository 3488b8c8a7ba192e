// SPDX-License-Identifier: Apache-2.0
/* The `model:` keys of a job: what fits what, and what is filled in. A refusal names the key, its
 * value, the reason and the nearest values that would be right.
 */
#include "parallel/model/model_impl.h"

#include "runtime/base/int.h"

#include <stdio.h>
#include <string.h>

/* Room for rows of optimizers beside those of a block's parameters in the state table. */
enum { CONFIG_MAX_LAYERS = 1024, CONFIG_TEXT_BYTES = 96 };
static const int64_t config_max_size = INT64_C(1) << 24;
static const int64_t config_max_vocab = INT64_C(1) << 30;

/* "nearest: 6 or 8": the divisors of `n` on both sides of `value`. */
static void nearest_divisors(int64_t n, int64_t value, char text[CONFIG_TEXT_BYTES])
{
    int64_t below = tri_min64(value, n);
    while (below > 1 && n % below != 0)
        below--;
    int64_t above = value;
    while (above < n && n % above != 0)
        above++;
    if (above > n || below == above || value > n)
        snprintf(text, CONFIG_TEXT_BYTES, "nearest: %lld", (long long)below);
    else
        snprintf(text, CONFIG_TEXT_BYTES, "nearest: %lld or %lld", (long long)below,
                 (long long)above);
}

static tri_status check_divides(const char *key, int64_t value, const char *of, int64_t n)
{
    if (n % value == 0) return TRI_OK;
    char nearest[CONFIG_TEXT_BYTES];
    nearest_divisors(n, value, nearest);
    TRI_FAIL(TRI_EINVAL, "%s %lld does not divide %s %lld; %s", key, (long long)value, of,
             (long long)n, nearest);
}

static tri_status check_range(const char *key, int64_t value, int64_t least, int64_t most)
{
    TRI_CHECK(value >= least && value <= most, TRI_EINVAL,
              "%s %lld is out of range; legal: %lld to %lld", key, (long long)value,
              (long long)least, (long long)most);
    return TRI_OK;
}

/* Fill in a real key that is 0, then check that it is positive. */
static tri_status resolve_positive(const char *key, double normal, double *value)
{
    if (*value == 0) *value = normal;
    TRI_CHECK(*value > 0 && *value < 1e30, TRI_EINVAL,
              "%s %g must be greater than 0; the usual value is %g", key, *value, normal);
    return TRI_OK;
}

static tri_status check_sizes(const tri_model_config *config)
{
    TRI_TRY(check_range("model.layers", config->layers, 1, CONFIG_MAX_LAYERS));
    TRI_TRY(check_range("model.hidden", config->hidden, 1, config_max_size));
    TRI_TRY(check_range("model.heads", config->heads, 1, config_max_size));
    TRI_TRY(check_range("model.kv_heads", config->kv_heads, 0, config_max_size));
    TRI_TRY(check_range("model.ffn", config->ffn, 0, config_max_size));
    TRI_TRY(check_range("model.context", config->context, 1, config_max_size));
    TRI_TRY(check_range("model.vocab", config->vocab, 1, config_max_vocab));
    return check_divides("model.heads", config->heads, "model.hidden", config->hidden);
}

static tri_status check_family(const char *name)
{
    if (tri_model_family_find(name)) return TRI_OK;
    char known[CONFIG_TEXT_BYTES] = "";
    for (const char *const *family = tri_model_families(); *family; family++) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", *family);
    }
    TRI_FAIL(TRI_EINVAL, "model.family '%s' is not known; families: %s", name, known);
}

static tri_status check_parameterization(const tri_model_config *config)
{
    char known[CONFIG_TEXT_BYTES] = "";
    for (const char *const *name = tri_model_parameterizations(); *name; name++) {
        if (strcmp(*name, config->parameterization) == 0) return TRI_OK;
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", *name);
    }
    TRI_FAIL(TRI_EINVAL, "model.parameterization '%s' is not known; known: %s",
             config->parameterization, known);
}

/* Unit scales are known for products, SwiGLU and RMS norm, and of a head of its own. */
static tri_status check_unit(const tri_model_config *config)
{
    TRI_CHECK(strcmp(config->family, "llama") == 0, TRI_EINVAL,
              "model.parameterization umup: family %s has biases, positions and a GELU, of which "
              "umup says nothing; use family llama, or mup",
              config->family);
    TRI_CHECK(!config->tied, TRI_EINVAL,
              "model.parameterization umup: embedding and head learn at different rates, and "
              "model.tied makes them one; set it to false, or use mup");
    return TRI_OK;
}

static tri_status resolve_parameterization(tri_model_config *config)
{
    if (!config->parameterization[0])
        snprintf(config->parameterization, sizeof config->parameterization, "standard");
    TRI_TRY(check_parameterization(config));
    TRI_TRY(resolve_positive("model.embedding_multiplier", 1, &config->embedding_multiplier));
    TRI_TRY(resolve_positive("model.attention_multiplier", 1, &config->attention_multiplier));
    TRI_TRY(resolve_positive("model.output_multiplier", 1, &config->output_multiplier));
    TRI_TRY(resolve_positive("model.residual_multiplier", 1, &config->residual_multiplier));
    TRI_TRY(resolve_positive("model.residual_ratio", 1, &config->residual_ratio));
    if (tri_model_is_unit(config)) return check_unit(config);
    TRI_CHECK(config->residual_multiplier == 1 && config->residual_ratio == 1, TRI_EINVAL,
              "model.residual_multiplier %g and model.residual_ratio %g are of "
              "model.parameterization umup; leave them out with %s",
              config->residual_multiplier, config->residual_ratio, config->parameterization);
    bool has_base = tri_model_has_base(config);
    TRI_CHECK(!has_base || config->base_hidden != 0, TRI_EINVAL,
              "model.base_hidden must be given for model.parameterization %s: the width at which "
              "optimizer.lr was found (model.hidden %lld makes this model that one)",
              config->parameterization, (long long)config->hidden);
    return has_base ? check_range("model.base_hidden", config->base_hidden, 1, config_max_size)
                    : TRI_OK;
}

tri_status tri_model_config_resolve(tri_model_config *config)
{
    TRI_TRY(check_family(config->family));
    const tri_model_family *family = tri_model_family_find(config->family);
    tri_model_config resolved = *config;
    TRI_TRY(check_sizes(&resolved));
    TRI_CHECK(resolved.dropout >= 0 && resolved.dropout < 1, TRI_EINVAL,
              "model.dropout %g is out of range; legal: 0 to less than 1", resolved.dropout);
    TRI_CHECK(resolved.tied >= -1 && resolved.tied <= 1, TRI_EINVAL,
              "model.tied %d is out of range; legal: 0 or 1, or -1 for the family's own (%d)",
              resolved.tied, family->tied);
    TRI_TRY(family->resolve(&resolved));
    if (resolved.kv_heads == 0) resolved.kv_heads = resolved.heads;
    TRI_TRY(check_divides("model.kv_heads", resolved.kv_heads, "model.heads", resolved.heads));
    if (resolved.tied < 0) resolved.tied = family->tied;
    TRI_TRY(resolve_positive("model.rope_theta", 10000, &resolved.rope_theta));
    TRI_TRY(resolve_positive("model.norm_epsilon", 1e-5, &resolved.norm_epsilon));
    TRI_TRY(resolve_positive("model.init_std", 0.02, &resolved.init_std));
    TRI_TRY(resolve_parameterization(&resolved));
    *config = resolved;
    return TRI_OK;
}

const char *tri_model_tensor_misfit(const tri_model_config *config, int64_t ranks,
                                    char text[TRI_MODEL_TEXT_BYTES])
{
    int64_t kv_heads = config->kv_heads;
    int64_t block = (config->vocab + ranks - 1) / ranks; /* of ids; the last may be shorter */
    if (config->heads % ranks != 0)
        snprintf(text, TRI_MODEL_TEXT_BYTES, "cannot share model.heads %lld evenly",
                 (long long)config->heads);
    else if (kv_heads % ranks != 0 && ranks % kv_heads != 0)
        snprintf(text, TRI_MODEL_TEXT_BYTES,
                 "cannot share model.kv_heads %lld: one must divide the other",
                 (long long)kv_heads);
    else if (config->ffn % ranks != 0)
        snprintf(text, TRI_MODEL_TEXT_BYTES, "cannot share model.ffn %lld evenly",
                 (long long)config->ffn);
    else if ((ranks - 1) * block >= config->vocab)
        snprintf(text, TRI_MODEL_TEXT_BYTES,
                 "with blocks of %lld leave no part of model.vocab %lld for the last",
                 (long long)block, (long long)config->vocab);
    else
        return NULL;
    return text;
}

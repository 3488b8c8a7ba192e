// SPDX-License-Identifier: Apache-2.0
/* What a model is, in numbers: the keys of `model:` in a job spec, and which of them fit. */
#ifndef TRI_PARALLEL_MODEL_CONFIG_H
#define TRI_PARALLEL_MODEL_CONFIG_H

#include "runtime/base/status.h"

#include <stdint.h>

/* The keys of `model:` in a job spec. */
typedef struct tri_model_config {
    char family[16]; /* gpt2, llama */
    int64_t layers;
    int64_t hidden; /* C */
    int64_t heads;
    int64_t kv_heads; /* llama; 0: as heads */
    int64_t ffn;      /* width of the MLP; 0: 4 C (gpt2), 8/3 C rounded up to 64 (llama) */
    int64_t context;  /* T: tokens of a training sequence, and learned positions */
    int64_t vocab;
    int tied; /* head shares the token embedding: 1, 0, or -1: the family's own (gpt2 1, llama 0) */
    double dropout; /* gpt2: after embedding and after each residual branch */
    double rope_theta;
    double norm_epsilon;
    double init_std;           /* residual projections get init_std / sqrt(2 layers) */
    char parameterization[16]; /* standard, mup, umup; "": standard */
    int64_t base_hidden;       /* mup: the width at which learning rate and init_std were found;
                                  standard does not look at it */
    double embedding_multiplier, attention_multiplier, output_multiplier; /* 0: 1 */
    double residual_multiplier; /* umup: of the branches, against the embedding; 0: 1 */
    double residual_ratio;      /* umup: attention's branches against the MLP's; 0: 1 */
} tri_model_config;

/* Names of the parameterizations, NULL-terminated. Not collective. */
const char *const *tri_model_parameterizations(void);

/* Does the config follow the rules of another than the standard one: of mup, which has a base width, or of
 * umup, which has none? Not collective. */
bool tri_model_is_scaled(const tri_model_config *config);
bool tri_model_has_base(const tri_model_config *config);
bool tri_model_is_unit(const tri_model_config *config);

/* What multiplies on the way forward, of a resolved config. */
typedef struct tri_model_multipliers {
    double embedding; /* of what goes into the first block */
    double scores;    /* of the products of queries and keys */
    double logits;
} tri_model_multipliers;

/* The multipliers of a resolved config. Not collective. */
tri_model_multipliers tri_model_multipliers_of(const tri_model_config *config);

/* By what the values of a parameter row ("param/...") are to be multiplied so that a model without
 * multipliers but 1 / sqrt(head size) of the scores computes the same: an exact rewriting but for one
 * rounding of each value, none where it is a power of 2. Not collective.
 *
 * The multiplier of the scores goes into the queries, that of the embedding into its tables, that of the
 * logits into the last norm, which nothing else reads (where the head is the embedding's table, the
 * latter's is taken out again there).
 */
double tri_model_folded(const tri_model_config *config, const char *name);

/* Check a config and fill in what is 0 or -1. Not collective. Errors: TRI_EINVAL with the key. */
TRI_MUST_USE tri_status tri_model_config_resolve(tri_model_config *config);

/* Can `ranks` ranks of a tensor axis share a model of this config? Not collective. Returns: NULL, or
 * why not: `text`, filled with what stands behind "N ranks " in a sentence. */
enum { TRI_MODEL_TEXT_BYTES = 128 };
const char *tri_model_tensor_misfit(const tri_model_config *config, int64_t ranks,
                                    char text[TRI_MODEL_TEXT_BYTES]);

/* Names of the families, NULL-terminated. Not collective. */
const char *const *tri_model_families(void);

#endif

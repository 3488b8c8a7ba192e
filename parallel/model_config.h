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
    double init_std; /* residual projections get init_std / sqrt(2 layers) */
} tri_model_config;

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

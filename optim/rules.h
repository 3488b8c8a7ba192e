// SPDX-License-Identifier: Apache-2.0
/* Rules of thumb that the literature has for learning rate and batch: how one follows the other, and
 * what a model of a size wants. Pure functions of numbers.
 */
#ifndef TRI_OPTIM_RULES_H
#define TRI_OPTIM_RULES_H

#include "runtime/base/status.h"

/* How the learning rate follows the batch. */
typedef enum tri_rules_scale {
    TRI_RULES_NONE,
    TRI_RULES_LINEAR, /* Goyal 2017 (arXiv:1706.02677): sgd */
    TRI_RULES_SQRT    /* You 2020 (arXiv:1904.00962), Hoffer 2017 (arXiv:1705.08741) */
} tri_rules_scale;

/* Factor of the learning rate for a batch `ratio` times as large. Not collective. */
double tri_rules_lr_factor(tri_rules_scale scale, double ratio);

/* What the Step Law suggests. */
typedef struct tri_rules_suggestion {
    double lr;
    double batch_tokens;
    bool has_params, has_tokens; /* are they inside the range in which the law was fitted? */
} tri_rules_suggestion;

/* That range. */
#define TRI_RULES_STEP_MIN_PARAMS 59e6
#define TRI_RULES_STEP_MAX_PARAMS 1e9
#define TRI_RULES_STEP_MAX_TOKENS 100e9

/* Peak learning rate and batch for a model of `params` weights, embeddings and head not counted, that
 * trains on `tokens`. Both are at least 1. Not collective.
 * Source: Li 2025 (arXiv:2503.04715) eq. 8; AdamW, cosine to a fixed 1e-5. */
tri_rules_suggestion tri_rules_step_law(double params, double tokens);

#endif

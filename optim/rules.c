// SPDX-License-Identifier: Apache-2.0
/* Learning rate and batch: the large-batch rules, and the Step Law (Li 2025, arXiv:2503.04715). */
#include "optim/rules.h"

#include <math.h>

double tri_rules_lr_factor(tri_rules_scale scale, double ratio)
{
    if (scale == TRI_RULES_LINEAR) return ratio;
    return scale == TRI_RULES_SQRT ? sqrt(ratio) : 1;
}

tri_rules_suggestion tri_rules_step_law(double params, double tokens)
{
    return (tri_rules_suggestion){.lr = 1.79 * pow(params, -0.713) * pow(tokens, 0.307),
                                  .batch_tokens = 0.58 * pow(tokens, 0.571),
                                  .has_params = params >= TRI_RULES_STEP_MIN_PARAMS &&
                                                params <= TRI_RULES_STEP_MAX_PARAMS,
                                  .has_tokens = tokens <= TRI_RULES_STEP_MAX_TOKENS};
}

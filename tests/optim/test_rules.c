// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=30
/* The Step Law: its published values, its slopes, and where it was fitted; rates that follow the batch. */
#include "optim/rules.h"
#include "tests/test.h"

TRI_TEST(step_law_values)
{
    static const struct {
        double params, tokens, lr, batch;
        bool has_params, has_tokens;
    } known[] = {
        {1e9, 1e11,   1.632499e-3, 1107715, true,  true },
        {7e9, 1.4e12, 9.165569e-4, 4998815, false, false},
        {6e7, 1e9,    2.951421e-3, 79878,   true,  true },
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        tri_rules_suggestion law = tri_rules_step_law(known[i].params, known[i].tokens);
        EXPECT(fabs(law.lr / known[i].lr - 1) < 1e-6, "%.9g, not %.9g", law.lr, known[i].lr);
        EXPECT(fabs(law.batch_tokens - known[i].batch) < 0.5, "%.9g, not %.9g", law.batch_tokens,
               known[i].batch);
        EXPECT(law.has_params == known[i].has_params && law.has_tokens == known[i].has_tokens,
               "%g, %g", known[i].params, known[i].tokens);
    }
    EXPECT(!tri_rules_step_law(5.8e7, 1e9).has_params, "below the smallest model");
    return TRI_OK;
}

TRI_TEST(lr_follows_the_batch)
{
    EXPECT(tri_rules_lr_factor(TRI_RULES_NONE, 4) == 1, "none");
    EXPECT(0.1 * tri_rules_lr_factor(TRI_RULES_LINEAR, 4) == 0.4, "sgd: 0.1 becomes 0.4");
    EXPECT(3e-4 * tri_rules_lr_factor(TRI_RULES_SQRT, 4) == 6e-4, "adam: 3e-4 becomes 6e-4");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(step_law_values), TRI_TEST_ROW(lr_follows_the_batch))

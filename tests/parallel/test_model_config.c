// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1
/* The `model:` keys: what is filled in, and what a refusal says. */
#include "parallel/model.h"
#include "tests/test.h"

static tri_model_config of_family(const char *family)
{
    tri_model_config config = {
        .layers = 2, .hidden = 384, .heads = 6, .context = 16, .vocab = 256, .tied = -1};
    snprintf(config.family, sizeof config.family, "%s", family);
    return config;
}

TRI_TEST(gpt2_defaults)
{
    tri_model_config config = of_family("gpt2");
    TRI_TRY(tri_model_config_resolve(&config));
    EXPECT(config.ffn == 1536 && config.kv_heads == 6 && config.tied == 1, "%lld %lld %d",
           (long long)config.ffn, (long long)config.kv_heads, config.tied);
    EXPECT(config.norm_epsilon == 1e-5 && config.init_std == 0.02, "%g %g", config.norm_epsilon,
           config.init_std);
    tri_model_config again = config;
    TRI_TRY(tri_model_config_resolve(&again));
    EXPECT(memcmp(&again, &config, sizeof config) == 0, "resolving twice changes it");
    return TRI_OK;
}

TRI_TEST(llama_defaults)
{
    tri_model_config config = of_family("llama");
    config.kv_heads = 2;
    TRI_TRY(tri_model_config_resolve(&config));
    EXPECT(config.ffn == 1024 && config.kv_heads == 2 && config.tied == 0, "%lld %lld %d",
           (long long)config.ffn, (long long)config.kv_heads, config.tied);
    EXPECT(config.rope_theta == 10000, "%g", config.rope_theta);
    return TRI_OK;
}

TRI_TEST(families_are_listed)
{
    int n = 0;
    for (const char *const *name = tri_model_families(); *name; name++, n++) {
        tri_model_config config = of_family(*name);
        TRI_TRY(tri_model_config_resolve(&config));
    }
    EXPECT(n == 2, "%d families", n);
    return TRI_OK;
}

/* One key changed: what the refusal says, and that the config is left as it was. */
#define EXPECT_REFUSED(family, change, part)                                              \
    do {                                                                                  \
        tri_model_config config = of_family(family);                                      \
        config.change;                                                                    \
        tri_model_config kept = config;                                                   \
        EXPECT_STATUS(tri_model_config_resolve(&config), TRI_EINVAL, part);               \
        EXPECT(memcmp(&config, &kept, sizeof kept) == 0, "%s changed a config", #change); \
    } while (0)

TRI_TEST(refusals_name_key_value_reason_and_what_is_right)
{
    EXPECT_REFUSED("gpt2", heads = 7,
                   "model.heads 7 does not divide model.hidden 384; nearest: 6 or 8");
    EXPECT_REFUSED("gpt2", heads = 385,
                   "model.heads 385 does not divide model.hidden 384; nearest: 384");
    EXPECT_REFUSED("llama", kv_heads = 4,
                   "model.kv_heads 4 does not divide model.heads 6; nearest: 3 or 6");
    EXPECT_REFUSED("gpt2", kv_heads = 3, "model.kv_heads 3: family gpt2");
    EXPECT_REFUSED("gpt3", layers = 2, "model.family 'gpt3' is not known; families: gpt2, llama");
    EXPECT_REFUSED("gpt2", layers = 0, "model.layers 0 is out of range; legal: 1 to");
    EXPECT_REFUSED("gpt2", context = -5, "model.context -5 is out of range");
    EXPECT_REFUSED("gpt2", vocab = INT64_C(1) << 40, "model.vocab 1099511627776 is out of range");
    EXPECT_REFUSED("gpt2", dropout = 1.0,
                   "model.dropout 1 is out of range; legal: 0 to less than 1");
    EXPECT_REFUSED("llama", dropout = 0.1, "model.dropout 0.1: family llama has none");
    EXPECT_REFUSED("gpt2", tied = 2, "model.tied 2 is out of range");
    EXPECT_REFUSED("gpt2", init_std = -1, "model.init_std -1 must be greater than 0");
    EXPECT_REFUSED("llama", heads = 128, "model.hidden 384 with model.heads 128 gives heads of 3");
    return TRI_OK;
}

/* Stages cover the layers; a large vocabulary takes blocks from the last one; none is empty. */
TRI_TEST(blocks_are_shared_out_by_cost)
{
    tri_model_stage stages[8];
    for (int n = 1; n <= 8; n++) {
        tri_model_config config = of_family("llama");
        config.layers = 24;
        TRI_TRY(tri_model_config_resolve(&config));
        TRI_TRY(tri_model_partition(&config, n, stages));
        int64_t next = 0;
        for (int s = 0; s < n; s++) {
            EXPECT(stages[s].first == next && stages[s].layers >= 24 / n - 1 &&
                       stages[s].layers <= 24 / n + 1,
                   "%d stages: stage %d has %lld", n, s, (long long)stages[s].layers);
            next += stages[s].layers;
        }
        EXPECT(next == 24, "%d stages have %lld blocks", n, (long long)next);
    }
    tri_model_config wide = of_family("gpt2");
    wide.layers = 12;
    wide.vocab = 50257;
    TRI_TRY(tri_model_config_resolve(&wide));
    TRI_TRY(tri_model_partition(&wide, 4, stages));
    EXPECT(stages[3].layers < stages[2].layers && stages[3].layers >= 1, "%lld and %lld blocks",
           (long long)stages[2].layers, (long long)stages[3].layers);
    EXPECT_STATUS(tri_model_partition(&wide, 13, stages), TRI_EINVAL,
                  "13 stages for model.layers 12");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(gpt2_defaults), TRI_TEST_ROW(llama_defaults),
              TRI_TEST_ROW(families_are_listed), TRI_TEST_ROW(blocks_are_shared_out_by_cost),
              TRI_TEST_ROW(refusals_name_key_value_reason_and_what_is_right))

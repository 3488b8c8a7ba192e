// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=30
/* What check prints for given numbers. */
#include "launch/check.h"
#include "tests/test.h"

static const char text[] = "name: x\n"
                           "model: {family: gpt2, layers: 2, hidden: 64, heads: 4, context: 32}\n"
                           "data: {train: text.txt}\n"
                           "batch: {sequences: 24, micro: 2}\n"
                           "optimizer: {lr: 1.0e-3}\n"
                           "train: {steps: 10}\n";

static tri_status print(int ranks, int zero, char *out, size_t out_bytes)
{
    tri_spec spec;
    TRI_TRY(tri_spec_parse(text, strlen(text), "t", &spec));
    spec.parallel.zero_stage = zero;
    TRI_TRY(tri_spec_check(&spec, ranks));
    tri_job_plan plan = {.params = 123456,
                         .body_params = 98304,
                         .accumulation = 24 / 2 / ranks,
                         .step_tokens = 24 * 32,
                         .flops_per_token = 1e6};
    TRI_TRY(tri_spec_lr(&spec, &plan.lr));
    tri_traffic reduce = {.group = "data x context",
                          .what = "gradients",
                          .ranks = ranks,
                          .kind = zero ? TRI_COLL_REDUCE_SCATTER : TRI_COLL_ALLREDUCE,
                          .calls = 3,
                          .payload_bytes = 5 << 20};
    tri_traffic gather = {.group = "data x context",
                          .what = "weights",
                          .ranks = ranks,
                          .kind = TRI_COLL_ALLGATHER,
                          .calls = zero ? 2 : 0,
                          .payload_bytes = 1536};
    tri_traffic_add(&plan.messages, &reduce);
    tri_traffic_add(&plan.messages, &gather);
    plan.bytes[TRI_MEM_WEIGHTS] = 3 << 20;
    plan.bytes[TRI_MEM_DATA] = 1 << 20;
    FILE *stream = fmemopen(out, out_bytes, "w");
    tri_check_print(&spec, ranks, &plan, stream);
    fclose(stream);
    return TRI_OK;
}

TRI_TEST(numbers_are_there)
{
    char got[4096] = "";
    TRI_TRY(print(2, 1, got, sizeof got));
    static const char *const parts[] = {
        "ranks    2 = data 2 x tensor 1 x pipeline 1 x context 1\n",
        "layout   zero 1; recompute none\n",
        "  data                   2 ranks     1 groups  rank 0 with 1\n",
        "  shared optimizer       2 ranks     1 groups  rank 0 with 1\n",
        "memory of rank 0\n",
        "123k parameters\n",
        "24 sequences = data 2 x micro 2 x 6 accumulated, 768 tokens a step\n",
        "10 steps, 7.68k tokens, 7.68e+09 operations\n",
        "rate     steps 1 to 10: 0 of warm-up to 0.001, cosine, last 0.0001\n",
        "step law learning rate 0.00769, batch 95.9 tokens (3 sequences), for 98.3k parameters ",
        "outside embeddings and head and 7.68k tokens\n",
        "; these parameters are outside: an extrapolation\n",
        "  weights            3.00 MiB\n",
        "  total              4.00 MiB\n",
        "  data x context         2  reduce-scatter gradients                    3     5.00 MiB ",
        "     5.00 MiB     2.50 MiB\n",
        "  data x context         2  all-gather     weights                      2     1.50 KiB ",
        "     1.50 KiB     1.50 KiB\n"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        EXPECT(strstr(got, parts[i]), "no '%s' in\n%s", parts[i], got);
    TRI_TRY(print(2, 0, got, sizeof got));
    EXPECT(strstr(got, "all-reduce     gradients ") && !strstr(got, "all-gather"), "%s", got);
    TRI_TRY(print(1, 1, got, sizeof got));
    EXPECT(strstr(got, "messages of a step: none"), "%s", got);
    return TRI_OK;
}

/* Groups and places of a mesh of four axes. */
TRI_TEST(mesh_and_pipeline_are_shown)
{
    char got[8192] = "";
    tri_spec spec;
    TRI_TRY(tri_spec_parse(text, strlen(text), "t", &spec));
    spec.parallel.tensor = 2;
    spec.parallel.pipeline = 2;
    spec.parallel.context = 2;
    spec.parallel.data = 2;
    spec.parallel.zero_stage = -1;
    spec.parallel.zero[0] = 1;
    spec.parallel.zero[1] = 2;
    spec.parallel.zero[2] = 4;
    spec.parallel.recompute = 1;
    static tri_job_plan plans[2];
    for (int place = 0; place < 2; place++) {
        TRI_TRY(tri_spec_lr(&spec, &plans[place].lr));
        plans[place].bubble = 0.125;
        plans[place].n_stages = 2;
        plans[place].stages[0] = (tri_model_stage){.rank = 0, .slots = 2, .first = 0, .layers = 1};
        plans[place].stages[1] = (tri_model_stage){.rank = 1, .slots = 1, .first = 1, .layers = 1};
        plans[place].bytes[TRI_MEM_WEIGHTS] = (size_t)(1 + place) << 20;
        tri_traffic_add(&plans[place].messages, &(tri_traffic){.group = "pipeline",
                                                               .ranks = 2,
                                                               .kind = TRI_COLL_SEND,
                                                               .what = "activations",
                                                               .calls = 6,
                                                               .payload_bytes = 4096});
    }
    FILE *stream = fmemopen(got, sizeof got, "w");
    tri_check_print(&spec, 16, plans, stream);
    fclose(stream);
    static const char *const parts[] = {
        "layout   zero [1, 2, 4]; schedule 1f1b, 1 chunk; norms shared out over tensor;",
        "; context ring; recompute selective\n",
        "rank = ((pipeline * 2 + data) * 2 + context) * 2 + tensor",
        "  tensor                 2 ranks     8 groups  rank 0 with 1\n",
        "  context                2 ranks     8 groups  rank 0 with 2\n",
        "  data                   2 ranks     8 groups  rank 0 with 4\n",
        "  pipeline               2 ranks     8 groups  rank 0 with 8\n",
        "  data x context         4 ranks     4 groups  rank 0 with 2 4 6\n",
        "  shared gradients       2 ranks     8 groups  rank 0 with 2\n",
        "bubble 12.5 %",
        "      0      0  0-0                  2                    1.00 MiB       4.00 KiB\n",
        "      1      8  1-1                  1                    2.00 MiB       4.00 KiB\n",
        "memory of rank 8, which needs most\n",
        "messages of a step of rank 8\n"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        EXPECT(strstr(got, parts[i]), "no '%s' in\n%s", parts[i], got);
    return TRI_OK;
}

/* Phases, cooldown, scaled batch; a job within the range of the Step Law, and one beyond it. */
TRI_TEST(rate_is_shown)
{
    static const char *const keys[] = {
        "schedule.decay=wsd",       "schedule.warmup_share=0.02", "schedule.rewarmup_at=0.9",
        "schedule.scale_from=6",    "schedule.rewarmup=5",        "schedule.cooldown_shape=1-sqrt",
        "schedule.rewarmup_peak=2", "optimizer.name=lamb",        "train.steps=1000"};
    tri_spec spec;
    tri_job_plan plan = {.body_params = 1000000000, .step_tokens = 100000000};
    TRI_TRY(tri_spec_parse(text, strlen(text), "t", &spec));
    TRI_TRY(tri_spec_override(&spec, sizeof keys / sizeof keys[0], keys));
    TRI_TRY(tri_spec_lr(&spec, &plan.lr));
    char got[2048] = "";
    FILE *stream = fmemopen(got, sizeof got, "w");
    tri_check_rate(&spec, &plan, stream);
    fclose(stream);
    static const char want[] =
        "rate     steps 1 to 900: 72 of warm-up to 0.002, wsd, 180 of cooldown (1-sqrt), last "
        "0.0002\n"
        "         steps 901 to 1000: 5 of warm-up to 0.004, wsd, 20 of cooldown (1-sqrt), last "
        "0.0004\n"
        "         scaled from 0.001 for 6 sequences by the square root rule\n"
        "step law learning rate 0.00163, batch 1.11M tokens (34616 sequences), for 1.00G "
        "parameters "
        "outside embeddings and head and 100G tokens\n"
        "         fitted with adamw, 59M to 1G such parameters, up to 100G tokens; of lamb it "
        "knows "
        "nothing\n";
    EXPECT(strcmp(got, want) == 0, "%s", got);
    plan.step_tokens *= 2;
    snprintf(spec.model.parameterization, sizeof spec.model.parameterization, "mup");
    stream = fmemopen(got, sizeof got, "w");
    tri_check_rate(&spec, &plan, stream);
    fclose(stream);
    EXPECT(strstr(got,
                  "; these tokens are outside: an extrapolation; of lamb it knows nothing; nor "
                  "of model.parameterization mup\n"),
           "%s", got);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(numbers_are_there), TRI_TEST_ROW(rate_is_shown),
              TRI_TEST_ROW(mesh_and_pipeline_are_shown))

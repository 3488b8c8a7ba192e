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
                         .accumulation = 24 / 2 / ranks,
                         .step_tokens = 24 * 32,
                         .flops_per_token = 1e6};
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
        "ranks    2 = data 2 x tensor 1 x pipeline 1 x context 1, zero 1\n",
        "123k parameters\n",
        "24 sequences = data 2 x micro 2 x 6 accumulated, 768 tokens a step\n",
        "10 steps, 7.68k tokens, 7.68e+09 operations\n",
        "  weights            3.00 MiB\n",
        "  total              4.00 MiB\n",
        "  reduce-scatter     3 calls     5.00 MiB  gradients, over data x context (2)\n",
        "  all-gather         2 calls     1.50 KiB  weights, over data x context (2)\n"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        EXPECT(strstr(got, parts[i]), "no '%s' in\n%s", parts[i], got);
    TRI_TRY(print(2, 0, got, sizeof got));
    EXPECT(strstr(got, "  all-reduce         3 calls") && !strstr(got, "all-gather"), "%s", got);
    TRI_TRY(print(1, 1, got, sizeof got));
    EXPECT(strstr(got, "messages of a step: none"), "%s", got);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(numbers_are_there))

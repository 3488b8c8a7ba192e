// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120
/* Plans of jobs against tables of their own: bytes of weights, gradients and optimizer states for every
 * ZeRO setting from the dtypes, activations from the schedule's bound, stages that cover the model.
 */
#include "launch/job.h"
#include "tests/folder.h"
#include "tests/test.h"

enum { RANKS = 8, LAYERS = 8, HIDDEN = 128 };

static tri_status make_spec(const char *parallel, const char *precision, int ranks, int sequences,
                            tri_spec *out)
{
    char text[1024];
    int n = snprintf(text, sizeof text,
                     "name: plan\nprecision: %s\n"
                     "model: {family: gpt2, layers: %d, hidden: %d, heads: 4, context: 64}\n"
                     "data: {train: none.txt}\nbatch: {sequences: %d, micro: 1}\n"
                     "parallel: {%s}\noptimizer: {name: adamw, lr: 1.0e-3}\n"
                     "train: {steps: 1, threads: 1}\n",
                     precision, LAYERS, HIDDEN, sequences, parallel);
    tri_spec spec;
    TRI_TRY(tri_spec_parse(text, (size_t)n, "plan.yaml", &spec));
    TRI_TRY(tri_spec_check(&spec, ranks));
    *out = spec;
    return TRI_OK;
}

static void expect_near(const char *what, double got, double want)
{
    EXPECT(fabs(got - want) <= 0.02 * want, "%s: %.0f bytes, the table says %.0f", what, got, want);
}

/* Bytes of group sizes w | g | o: matrices are shared, vectors whole but for optimizer states. */
static tri_status check_zero(const char *key, const int group[3], const char *precision)
{
    static tri_job_plan plan;
    tri_spec spec;
    char parallel[64];
    char what[128];
    snprintf(parallel, sizeof parallel, "zero: %s", key);
    TRI_TRY(make_spec(parallel, precision, RANKS, RANKS, &spec));
    TRI_TRY(tri_job_plan_make(&spec, RANKS, 3, &plan));
    double all = (double)plan.params;
    double vectors = 13.0 * HIDDEN * LAYERS + 2.0 * HIDDEN;
    double matrices = all - vectors;
    bool is_wide = spec.precision == TRI_F32;
    double element_bytes = is_wide ? 4 : 2;
    double weights = element_bytes * (matrices / group[0] + vectors);
    if (!is_wide) weights += 4 * all / group[2]; /* fp32 weights are their own master */
    const size_t *bytes = plan.bytes;
    snprintf(what, sizeof what, "weights, zero %s, %s", key, precision);
    expect_near(what, (double)bytes[TRI_MEM_WEIGHTS], weights);
    snprintf(what, sizeof what, "gradients, zero %s, %s", key, precision);
    expect_near(what, (double)bytes[TRI_MEM_GRADIENTS], 4 * (matrices / group[1] + vectors));
    snprintf(what, sizeof what, "optimizer, zero %s, %s", key, precision);
    expect_near(what, (double)bytes[TRI_MEM_OPTIMIZER], 8 * all / group[2]);
    return TRI_OK;
}

TRI_TEST(shares_of_zero)
{
    static const struct {
        const char *key;
        int group[3];
    } cases[] = {
        {"0",         {1, 1, 1}},
        {"1",         {1, 1, 8}},
        {"2",         {1, 8, 8}},
        {"3",         {8, 8, 8}},
        {"[2, 4, 8]", {2, 4, 8}},
        {"[4, 4, 4]", {4, 4, 4}},
        {"[1, 2, 8]", {1, 2, 8}},
        {"[2, 2, 2]", {2, 2, 2}}
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        TRI_TRY(check_zero(cases[i].key, cases[i].group, "bf16"));
        TRI_TRY(check_zero(cases[i].key, cases[i].group, "fp32"));
    }
    return TRI_OK;
}

/* Weights outside embeddings and head: a tied head and learned positions, then a head of its own; the same
 * on a rank of a pipeline that has neither. */
TRI_TEST(body_is_blocks_and_last_norm)
{
    static tri_job_plan plan;
    tri_spec spec;
    double matrices = 12.0 * HIDDEN * HIDDEN * LAYERS;
    TRI_TRY(make_spec("pipeline: 4", "bf16", 4, 4, &spec));
    TRI_TRY(tri_job_plan_make(&spec, 4, 1, &plan));
    double body = matrices + 13.0 * HIDDEN * LAYERS + 2.0 * HIDDEN;
    EXPECT((double)plan.body_params == body, "%lld, not %.0f", (long long)plan.body_params, body);
    EXPECT(plan.params - plan.body_params == (256 + 64) * HIDDEN, "%lld", (long long)plan.params);

    TRI_TRY(make_spec("data: 1", "bf16", 1, 1, &spec));
    snprintf(spec.model.family, sizeof spec.model.family, "llama");
    spec.model.tied = 0;
    spec.model.ffn = 4 * HIDDEN;
    TRI_TRY(tri_spec_check(&spec, 1));
    TRI_TRY(tri_job_plan_make(&spec, 1, 0, &plan));
    body = 16.0 * HIDDEN * HIDDEN * LAYERS + 2.0 * HIDDEN * LAYERS + HIDDEN;
    EXPECT((double)plan.body_params == body, "%lld, not %.0f", (long long)plan.body_params, body);
    EXPECT(plan.params - plan.body_params == 2 * 256 * HIDDEN, "%lld", (long long)plan.params);
    return TRI_OK;
}

/* Activation bytes of one rank of a pipeline of 4. */
static tri_status activations(const char *schedule, int micro_batches, int rank, double *out)
{
    static tri_job_plan plan;
    tri_spec spec;
    char parallel[96];
    snprintf(parallel, sizeof parallel, "pipeline: 4, schedule: %s", schedule);
    TRI_TRY(make_spec(parallel, "bf16", 4, micro_batches, &spec));
    TRI_TRY(tri_job_plan_make(&spec, 4, rank, &plan));
    *out = (double)plan.bytes[TRI_MEM_ACTIVATIONS];
    return TRI_OK;
}

/* gpipe keeps m micro-batches, 1f1b min(m, p - r), zb_h1 min(m, p): what each one takes is measured by two
 * plans of gpipe. */
TRI_TEST(activations_follow_the_schedule)
{
    for (int rank = 0; rank < 4; rank++) {
        double few = 0;
        double more = 0;
        double got = 0;
        TRI_TRY(activations("gpipe", 4, rank, &few));
        TRI_TRY(activations("gpipe", 8, rank, &more));
        double each = (more - few) / 4;
        TRI_TRY(activations("1f1b", 8, rank, &got));
        EXPECT(each > 0 && fabs(got - (few + (4 - rank - 4) * each)) < 1,
               "1f1b, rank %d: %.0f bytes, %.0f + %d x %.0f", rank, got, few, -rank, each);
        double split_few = 0;
        TRI_TRY(activations("zb_h1", 4, rank, &split_few));
        TRI_TRY(activations("zb_h1", 8, rank, &got));
        EXPECT(got == split_few, "zb_h1, rank %d: 8 micro-batches take %.0f bytes, 4 %.0f", rank,
               got, split_few);
    }
    return TRI_OK;
}

TRI_TEST(stages_cover_the_model)
{
    static tri_job_plan plan;
    tri_spec spec;
    TRI_TRY(make_spec("pipeline: 2, chunks: 2, schedule: interleaved, data: 2, tensor: 2", "bf16",
                      8, 8, &spec));
    for (int rank = 0; rank < 8; rank++) {
        TRI_TRY(tri_job_plan_make(&spec, 8, rank, &plan));
        int64_t next = 0;
        for (int s = 0; s < plan.n_stages; s++) {
            EXPECT(plan.stages[s].first == next && plan.stages[s].rank == s % 2, "stage %d", s);
            next += plan.stages[s].layers;
        }
        EXPECT(plan.n_stages == 4 && next == LAYERS, "%d stages, %lld blocks", plan.n_stages,
               (long long)next);
        EXPECT(plan.bubble > 0 && plan.bubble < 0.5, "bubble %g", plan.bubble);
        EXPECT(plan.messages.n > 5, "%d kinds of messages", plan.messages.n);
    }
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(shares_of_zero), TRI_TEST_ROW(body_is_blocks_and_last_norm),
              TRI_TEST_ROW(activations_follow_the_schedule), TRI_TEST_ROW(stages_cover_the_model))

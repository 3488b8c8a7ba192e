// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120
/* Whole models against a double-precision reference: the loss, every element of every gradient by
 * central differences of the reference, dropout with its mask, generation; and against themselves:
 * micro-batches, fused and separate products, order of completion.
 */
#include "tests/parallel/model_batch.h"
#include "tests/parallel/model_reference.h"

enum { SEQUENCES = 2, LENGTH = 5, MAX_PARAMS = 64 };

static tri_model_config tiny(const char *family, int64_t kv_heads, int tied, double dropout)
{
    tri_model_config config = {.layers = 2,
                               .hidden = 16,
                               .heads = 4,
                               .kv_heads = kv_heads,
                               .ffn = 32,
                               .context = 8,
                               .vocab = 19,
                               .tied = tied,
                               .dropout = dropout};
    snprintf(config.family, sizeof config.family, "%s", family);
    return config;
}

static tri_status reference_make(const model_rig *rig, double dropout, reference *ref)
{
    ref->rig = rig;
    ref->dropout = dropout;
    TRI_TRY(TRI_NEW_ARRAY(rig->total, &ref->weight));
    for (int64_t i = 0; i < rig->total; i++)
        ref->weight[i] = (double)rig->master[i];
    return TRI_OK;
}

/* Gradient of one parameter: central differences of the reference, one element at a time. */
static void differences(reference *ref, const tri_micro_batch *batch, int param, float *out)
{
    const double h = 1e-5;
    double *weight = ref->weight + ref->rig->offset[param];
    for (int64_t i = 0; i < rig_count(ref->rig, param); i++) {
        double kept = weight[i];
        weight[i] = kept + h;
        double above = ref_loss(ref, batch);
        weight[i] = kept - h;
        double below = ref_loss(ref, batch);
        weight[i] = kept;
        out[i] = (float)((above - below) / (2 * h));
    }
}

static double norm_of(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

/* Every gradient of the model in fp32 against the differences. */
static tri_status check_gradients(const model_rig_args *args)
{
    __attribute__((cleanup(model_rig_destroy))) model_rig rig = {0};
    TRI_TRY(rig_create(args, &rig));
    rig_randomise(&rig, 0.3F);
    static reference ref;
    static rig_batch batch;
    static float want[REF_MAX];
    double dropout = rig.config.dropout;
    TRI_TRY(reference_make(&rig, dropout, &ref));
    rig_batch_fill(&batch, SEQUENCES, LENGTH, rig.config.vocab, 4);

    double loss = 0;
    int64_t counted = 0;
    const float scale = 0.5F;
    TRI_TRY(rig_train(&rig, &batch.batch, scale, NULL, &loss, &counted));
    double want_loss = ref_loss(&ref, &batch.batch);
    EXPECT(counted == 8, "%lld tokens counted", (long long)counted);
    EXPECT(fabs(loss - want_loss) < 2e-6 * want_loss, "loss %.9g, reference %.9g", loss, want_loss);
    double last_norm = 1;
    for (int p = 0; p < rig.n_params; p++) {
        const tri_row *row = rig_row(&rig, p);
        float *got = rig.gradient + rig.offset[p];
        for (int64_t i = 0; i < rig_count(&rig, p); i++)
            got[i] /= scale;
        differences(&ref, &batch.batch, p, want);
        /* a row whose true gradient is zero holds rounding: small against its neighbour */
        double error = row->zero_grad ? norm_of(got, rig_count(&rig, p)) / last_norm
                                      : tri_test_relative(rig_count(&rig, p), got, want);
        last_norm = norm_of(got, rig_count(&rig, p));
        EXPECT(error < 1e-5, "%s: %s differs by %.3g", rig.config.family, row->name, error);
    }
    TRI_FREE(ref.weight);
    return TRI_OK;
}

TRI_TEST(gpt2_gradients)
{
    return check_gradients(&(model_rig_args){
        .config = tiny("gpt2", 0, -1, 0), .micro_batch = SEQUENCES, .compute = TRI_F32});
}

TRI_TEST(gpt2_gradients_with_dropout)
{
    return check_gradients(&(model_rig_args){.config = tiny("gpt2", 0, 0, 0.3),
                                             .micro_batch = SEQUENCES,
                                             .compute = TRI_F32,
                                             .apart = true});
}

/* Multipliers of all three kinds, and a width that is not the base. */
static tri_model_config multiplied(tri_model_config config, const char *parameterization)
{
    snprintf(config.parameterization, sizeof config.parameterization, "%s", parameterization);
    config.base_hidden = 4;
    config.embedding_multiplier = 1.5;
    config.attention_multiplier = 3;
    config.output_multiplier = 2.5;
    return config;
}

TRI_TEST(gradients_with_multipliers)
{
    for (int tied = 0; tied < 2; tied++) {
        model_rig_args gpt2 = {.config = multiplied(tiny("gpt2", 0, tied, 0.2), "mup"),
                               .micro_batch = SEQUENCES,
                               .compute = TRI_F32};
        model_rig_args llama = {.config = multiplied(tiny("llama", 2, tied, 0), "mup"),
                                .micro_batch = SEQUENCES,
                                .compute = TRI_F32};
        TRI_TRY(check_gradients(&gpt2));
        TRI_TRY(check_gradients(&llama));
    }
    model_rig_args standard = {.config = multiplied(tiny("gpt2", 0, -1, 0), "standard"),
                               .micro_batch = SEQUENCES,
                               .compute = TRI_F32};
    return check_gradients(&standard);
}

TRI_TEST(llama_gradients_of_grouped_queries)
{
    return check_gradients(&(model_rig_args){
        .config = tiny("llama", 2, -1, 0), .micro_batch = SEQUENCES, .compute = TRI_F32});
}

TRI_TEST(llama_gradients_tied_and_apart)
{
    return check_gradients(&(model_rig_args){.config = tiny("llama", 1, 1, 0),
                                             .micro_batch = SEQUENCES,
                                             .compute = TRI_F32,
                                             .apart = true});
}

/* Loss and gradients of one way of running a batch, as rows one behind the other. */
typedef struct run_result {
    double loss;
    int64_t counted;
    float gradient[32768];
} run_result;

static tri_status run_split(const model_rig_args *args, const tri_micro_batch *batch, int64_t step,
                            run_result *out)
{
    __attribute__((cleanup(model_rig_destroy))) model_rig rig = {0};
    TRI_TRY(rig_create(args, &rig));
    rig_randomise(&rig, 0.3F);
    out->loss = 0;
    out->counted = 0;
    for (int64_t first = 0; first < batch->sequences; first += step) {
        tri_micro_batch part =
            rig_batch_part(batch, first, tri_min64(step, batch->sequences - first));
        TRI_TRY(rig_train(&rig, &part, 1, NULL, &out->loss, &out->counted));
    }
    int64_t at = 0;
    for (int p = 0; p < rig.n_params; p++) {
        memcpy(out->gradient + at, rig.gradient + rig.offset[p],
               (size_t)rig_count(&rig, p) * sizeof(float));
        at += rig_count(&rig, p);
    }
    return TRI_OK;
}

/* The plain way, whole, against the way that args say, `step` sequences at a time. */
static tri_status compare_runs(model_rig_args args, int64_t step)
{
    static run_result whole, other;
    static rig_batch batch;
    rig_batch_fill(&batch, 4, LENGTH, args.config.vocab, 3);
    args.micro_batch = 4;
    args.compute = TRI_F32;
    model_rig_args plain = {.config = args.config, .compute = TRI_F32, .micro_batch = 4};
    TRI_TRY(run_split(&plain, &batch.batch, 4, &whole));
    TRI_TRY(run_split(&args, &batch.batch, step, &other));
    int64_t n = sizeof whole.gradient / sizeof whole.gradient[0];
    double error = tri_test_relative(n, other.gradient, whole.gradient);
    EXPECT(error < 1e-6, "%s: gradients differ by %.3g", args.config.family, error);
    EXPECT(other.counted == whole.counted, "%lld and %lld tokens", (long long)other.counted,
           (long long)whole.counted);
    EXPECT(fabs(other.loss - whole.loss) < 1e-6 * whole.loss, "losses %.9g and %.9g", other.loss,
           whole.loss);
    return TRI_OK;
}

TRI_TEST(micro_batches_give_the_same_sums)
{
    TRI_TRY(compare_runs((model_rig_args){.config = tiny("gpt2", 0, -1, 0.2)}, 1));
    TRI_TRY(compare_runs((model_rig_args){.config = tiny("gpt2", 0, -1, 0)}, 3));
    return compare_runs((model_rig_args){.config = tiny("llama", 2, 0, 0)}, 1);
}

TRI_TEST(parts_apart_give_what_fused_parts_give)
{
    TRI_TRY(compare_runs((model_rig_args){.config = tiny("gpt2", 0, -1, 0), .apart = true}, 4));
    return compare_runs((model_rig_args){.config = tiny("llama", 2, 0, 0), .apart = true}, 4);
}

/* Recomputed or kept, in one part or two: the same gradients, with dropout too. */
TRI_TEST(recomputation_and_split_backward_change_nothing)
{
    for (int recompute = TRI_RECOMPUTE_NONE; recompute <= TRI_RECOMPUTE_FULL; recompute++)
        for (int split = 0; split < 2; split++) {
            model_rig_args args = {.split = split, .recompute = (tri_recompute)recompute};
            args.config = tiny("gpt2", 0, -1, 0.2);
            TRI_TRY(compare_runs(args, 4));
            args.config = tiny("llama", 2, 0, 0);
            args.apart = true;
            TRI_TRY(compare_runs(args, 2));
        }
    return TRI_OK;
}

/* Units must be used before they are ready, be ready once, in descending order, and their gradients
 * final by then. */
typedef struct ready_log {
    const model_rig *rig;
    int next;
    bool in_order;
    tri_unit_visit visits[64]; /* as foretold */
    int n_visits;
    int at;
    float *copy; /* [total]: gradients as they were when reported */
} ready_log;

static tri_status note_use(void *arg, int unit, tri_unit_need need, int next)
{
    ready_log *log = arg;
    const tri_unit_visit *visit = &log->visits[log->at++];
    log->in_order = log->in_order && log->at <= log->n_visits && visit->unit == unit &&
                    visit->need == need && next < tri_model_units(log->rig->model);
    return TRI_OK;
}

/* What forward and then backward will visit. */
static void foretell(ready_log *log)
{
    const tri_model *model = log->rig->model;
    log->n_visits = tri_model_visits(model, 0, TRI_MODEL_FORWARD, log->visits);
    log->n_visits += tri_model_visits(model, 0, TRI_MODEL_BACKWARD, log->visits + log->n_visits);
}

static tri_status note_ready(void *arg, int unit, bool last)
{
    ready_log *log = arg;
    log->in_order = log->in_order && unit == log->next && last;
    log->next = unit - 1;
    int visit = log->at - 1; /* foretold with the last visit of the unit */
    while (visit > 0 && log->visits[visit].unit != unit)
        visit--;
    log->in_order = log->in_order && log->visits[visit].is_ready;
    for (int i = 0; i < log->rig->n_params; i++) {
        /* vectors are complete with the last unit */
        bool is_matrix = rig_row(log->rig, i)->n_dims == 2;
        if (is_matrix ? tri_model_unit(log->rig->model, i) != unit : unit != 0) continue;
        int64_t at = log->rig->offset[i];
        memcpy(log->copy + at, log->rig->gradient + at,
               (size_t)rig_count(log->rig, i) * sizeof(float));
    }
    return TRI_OK;
}

static tri_status refuse(void *arg, int unit, bool last)
{
    (void)arg;
    (void)last;
    TRI_CHECK(unit != 1, TRI_ECOMM, "no more than %d", unit);
    return TRI_OK;
}

static tri_status check_ready(const char *family, int tied)
{
    __attribute__((cleanup(model_rig_destroy))) model_rig rig = {0};
    static rig_batch batch;
    TRI_TRY(rig_create(&(model_rig_args){.config = tiny(family, 0, tied, 0),
                                         .micro_batch = SEQUENCES,
                                         .compute = TRI_F32},
                       &rig));
    rig_batch_fill(&batch, SEQUENCES, LENGTH, rig.config.vocab, 0);
    ready_log log = {.rig = &rig, .next = tri_model_units(rig.model) - 1, .in_order = true};
    foretell(&log);
    EXPECT(log.next == (int)rig.config.layers + 1, "%d units", log.next + 1);
    TRI_TRY(TRI_NEW_ARRAY(rig.total, &log.copy));
    double loss = 0;
    int64_t counted = 0;
    tri_model_hooks hooks = {&log, note_use, note_ready};
    TRI_TRY(rig_train(&rig, &batch.batch, 1, &hooks, &loss, &counted));
    EXPECT(log.in_order && log.next == -1 && log.at == log.n_visits, "%s: the last but %d", family,
           log.next);
    EXPECT(memcmp(log.copy, rig.gradient, (size_t)rig.total * sizeof(float)) == 0,
           "%s: a gradient changed after it was reported", family);
    TRI_FREE(log.copy);
    hooks = (tri_model_hooks){NULL, NULL, refuse};
    EXPECT_STATUS(rig_train(&rig, &batch.batch, 1, &hooks, &loss, &counted), TRI_ECOMM,
                  "no more than 1");
    return TRI_OK;
}

TRI_TEST(gradients_complete_in_reverse_order)
{
    TRI_TRY(check_ready("gpt2", 1));
    TRI_TRY(check_ready("gpt2", 0));
    TRI_TRY(check_ready("llama", 1));
    return check_ready("llama", 0);
}

/* Evaluation of a model that trains, of one that serves, and what training says, are one number. */
static tri_status check_evaluate(const char *family, int64_t kv_heads)
{
    __attribute__((cleanup(model_rig_destroy))) model_rig rig = {0};
    __attribute__((cleanup(model_rig_destroy))) model_rig serving = {0};
    static rig_batch batch;
    model_rig_args args = {
        .config = tiny(family, kv_heads, -1, 0), .micro_batch = SEQUENCES, .compute = TRI_F32};
    TRI_TRY(rig_create(&args, &rig));
    args.serving = true;
    TRI_TRY(rig_create(&args, &serving));
    rig_randomise(&rig, 0.3F);
    rig_randomise(&serving, 0.3F);
    rig_batch_fill(&batch, SEQUENCES, LENGTH, rig.config.vocab, 4);
    double loss[3] = {0};
    int64_t counted[3] = {0};
    TRI_TRY(rig_evaluate(&rig, &batch.batch, &loss[0], &counted[0]));
    TRI_TRY(rig_evaluate(&serving, &batch.batch, &loss[1], &counted[1]));
    TRI_TRY(rig_train(&rig, &batch.batch, 1, NULL, &loss[2], &counted[2]));
    EXPECT(loss[0] == loss[2] && loss[1] == loss[2], "%s: %.9g %.9g %.9g", family, loss[0], loss[1],
           loss[2]);
    EXPECT(counted[0] == 8 && counted[1] == 8, "%lld %lld", (long long)counted[0],
           (long long)counted[1]);
    EXPECT_STATUS(rig_train(&serving, &batch.batch, 1, NULL, &loss[0], &counted[0]), TRI_EBUG,
                  "without gradients");
    return TRI_OK;
}

TRI_TEST(evaluate_gives_the_training_loss)
{
    TRI_TRY(check_evaluate("gpt2", 0));
    return check_evaluate("llama", 2);
}

/* Prompt, then one token at a time, then from the start again: logits of the reference each time. */
static tri_status check_decode(const tri_model_config *config)
{
    const char *family = config->family;
    __attribute__((cleanup(model_rig_destroy))) model_rig rig = {0};
    static reference ref;
    static rig_batch batch;
    TRI_TRY(rig_create(
        &(model_rig_args){.config = *config, .micro_batch = 1, .compute = TRI_F32, .serving = true},
        &rig));
    rig_randomise(&rig, 0.3F);
    TRI_TRY(reference_make(&rig, 0, &ref));
    int64_t T = rig.config.context;
    int64_t V = rig.config.vocab;
    rig_batch_fill(&batch, 1, T, V, 0);
    ref_loss(&ref, &batch.batch);
    float logits[64];
    float want[64];
    static const int64_t feeds[] = {3, 1, 1, 2, 1};
    for (int round = 0; round < 2; round++) {
        int64_t at = 0;
        for (size_t i = 0; i < sizeof feeds / sizeof feeds[0]; i++) {
            TRI_TRY(tri_model_decode(rig.model, i == 0, batch.tokens + at, feeds[i], logits));
            at += feeds[i];
            for (int64_t v = 0; v < V; v++)
                want[v] = (float)ref.logits[(at - 1) * V + v];
            double error = tri_test_relative(V, logits, want);
            EXPECT(error < 3e-6, "%s: logits after %lld tokens differ by %.3g", family,
                   (long long)at, error);
        }
        EXPECT_STATUS(tri_model_decode(rig.model, false, batch.tokens, 1, logits), TRI_EINVAL,
                      "1 more tokens after 8; model.context holds 8");
    }
    TRI_FREE(ref.weight);
    return TRI_OK;
}

TRI_TEST(decode_gives_the_logits_of_the_whole_sequence)
{
    tri_model_config configs[] = {tiny("gpt2", 0, -1, 0), tiny("llama", 2, -1, 0),
                                  tiny("llama", 0, -1, 0),
                                  multiplied(tiny("gpt2", 0, -1, 0), "mup")};
    for (size_t i = 0; i < sizeof configs / sizeof configs[0]; i++)
        TRI_TRY(check_decode(&configs[i]));
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(gpt2_gradients), TRI_TEST_ROW(gpt2_gradients_with_dropout),
              TRI_TEST_ROW(gradients_with_multipliers),
              TRI_TEST_ROW(llama_gradients_of_grouped_queries),
              TRI_TEST_ROW(llama_gradients_tied_and_apart),
              TRI_TEST_ROW(micro_batches_give_the_same_sums),
              TRI_TEST_ROW(parts_apart_give_what_fused_parts_give),
              TRI_TEST_ROW(recomputation_and_split_backward_change_nothing),
              TRI_TEST_ROW(gradients_complete_in_reverse_order),
              TRI_TEST_ROW(evaluate_gives_the_training_loss),
              TRI_TEST_ROW(decode_gives_the_logits_of_the_whole_sequence))

// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* The numbers of a parameterization: of mup by width, that its base model is the standard one, of umup as
 * its tables have them; and that weights which take the multipliers over compute the same without them.
 */
#include "tests/parallel/model_batch.h"

static tri_model_config config_of(const char *family, int64_t hidden, int tied)
{
    tri_model_config config = {.layers = 2,
                               .hidden = hidden,
                               .heads = 8,
                               .context = 16,
                               .vocab = 61,
                               .tied = tied,
                               .parameterization = "mup",
                               .base_hidden = 128};
    snprintf(config.family, sizeof config.family, "%s", family);
    return config;
}

/* What kind of tensor a row is, said by its name alone. */
typedef enum row_kind { VECTOR, EMBEDDING, HIDDEN, RESIDUAL, READOUT } row_kind;

static row_kind kind_of(const char *name)
{
    if (strstr(name, "head.")) return READOUT;
    if (strstr(name, "embed.")) return EMBEDDING;
    if (strstr(name, "norm") || strstr(name, ".bias")) return VECTOR;
    return strstr(name, ".out.") || strstr(name, ".down.") ? RESIDUAL : HIDDEN;
}

static tri_status expect_rows(const char *family, int tied)
{
    __attribute__((cleanup(model_rig_destroy))) model_rig rig = {0};
    TRI_TRY(rig_create(&(model_rig_args){.config = config_of(family, 1024, tied),
                                         .micro_batch = 1,
                                         .compute = TRI_F32},
                       &rig));
    /* base deviation 0.02, ratio 8: matrices of hidden layers begin as 0.02 / sqrt(8) */
    const double std[] = {0, 0.02, 0.02 / sqrt(8.0), 0.02 / sqrt(8.0) / 2, 0.02};
    const double sign[] = {1, 1, 0.125, 0.125, 1};
    const double gradient[] = {8, 8, 1, 1, 8};
    for (int i = 0; i < rig.n_params; i++) {
        const tri_row *row = rig_row(&rig, i);
        row_kind kind = kind_of(row->name);
        EXPECT(fabs((double)row->init.std - std[kind]) < 1e-9, "%s begins with %g", row->name,
               (double)row->init.std);
        EXPECT(row->sign_lr == sign[kind] && row->gradient_lr == gradient[kind],
               "%s has learning rates x %g and %g", row->name, row->sign_lr, row->gradient_lr);
    }
    tri_model_multipliers m = tri_model_multipliers_of(&rig.config);
    EXPECT(m.embedding == 1 && m.scores == 1.0 / 128 && m.logits == 0.125, "%g %g %g", m.embedding,
           m.scores, m.logits);
    return TRI_OK;
}

TRI_TEST(eight_times_the_base_width)
{
    TRI_TRY(expect_rows("gpt2", 1));
    TRI_TRY(expect_rows("gpt2", 0));
    return expect_rows("llama", 0);
}

/* Weights of one model by the names of the other's rows, times the factor of each. */
static void take_over(const model_rig *from, model_rig *to, bool folds)
{
    for (int i = 0; i < from->n_params; i++) {
        double factor = folds ? tri_model_folded(&from->config, rig_row(from, i)->name) : 1;
        for (int64_t e = 0; e < rig_count(from, i); e++)
            to->master[to->offset[i] + e] =
                (float)(factor * (double)from->master[from->offset[i] + e]);
    }
    rig_publish(to);
}

static tri_status loss_of(model_rig *rig, double *loss)
{
    static rig_batch batch;
    int64_t counted = 0;
    rig_batch_fill(&batch, 2, 8, rig->config.vocab, 4);
    *loss = 0;
    return rig_train(rig, &batch.batch, 1, NULL, loss, &counted);
}

/* The loss of mup's model and of a standard one with the same weights, folded or not. */
static tri_status expect_same(const tri_model_config *config, bool folds, double tolerance)
{
    __attribute__((cleanup(model_rig_destroy))) model_rig mup = {0}, standard = {0};
    model_rig_args args = {.config = *config, .micro_batch = 2, .compute = TRI_F32};
    double loss[2];
    TRI_TRY(rig_create(&args, &mup));
    snprintf(args.config.parameterization, sizeof args.config.parameterization, "standard");
    args.config.embedding_multiplier = 0;
    args.config.attention_multiplier = 0;
    args.config.output_multiplier = 0;
    TRI_TRY(rig_create(&args, &standard));
    rig_randomise(&mup, 0.3F);
    take_over(&mup, &standard, folds);
    TRI_TRY(loss_of(&mup, &loss[0]));
    TRI_TRY(loss_of(&standard, &loss[1]));
    EXPECT(fabs(loss[0] - loss[1]) <= tolerance * loss[1], "%s tied %d: loss %.9g, %.9g",
           config->family, config->tied, loss[0], loss[1]);
    return TRI_OK;
}

TRI_TEST(base_model_is_the_standard_one)
{
    tri_model_config config = config_of("gpt2", 128, -1);
    config.attention_multiplier = 4; /* sqrt(head size): scores / 16 * 4 */
    TRI_TRY(expect_same(&config, false, 0));
    return TRI_OK;
}

TRI_TEST(folded_weights_compute_the_same)
{
    for (int tied = 0; tied < 2; tied++) {
        const char *const families[] = {"gpt2", "llama"};
        for (int f = 0; f < 2; f++) {
            tri_model_config config = config_of(families[f], 64, tied);
            config.embedding_multiplier = 1.7;
            config.attention_multiplier = 3;
            config.output_multiplier = 0.6;
            TRI_TRY(expect_same(&config, true, 2e-6));
        }
    }
    tri_model_config unit = config_of("llama", 64, 0);
    snprintf(unit.parameterization, sizeof unit.parameterization, "umup");
    unit.embedding_multiplier = 0.7;
    unit.attention_multiplier = 2.5;
    TRI_TRY(expect_same(&unit, true, 2e-6));
    return TRI_OK;
}

static tri_model_config unit_config(int64_t hidden, int64_t layers)
{
    tri_model_config config = config_of("llama", hidden, 0);
    snprintf(config.parameterization, sizeof config.parameterization, "umup");
    config.layers = layers;
    return config;
}

/* Learning rate of a weight whose multiplier were outside, as tables of umup have it: that of the row over
 * its deviation, which the multiplier was moved into. */
static double outer_lr(const model_rig *rig, const char *name)
{
    const tri_row *row = tri_state_row(rig->state, tri_state_find(rig->state, name));
    bool is_matrix = row->init.kind == TRI_INIT_NORMAL;
    return row->sign_lr / (is_matrix ? (double)row->init.std : 1);
}

TRI_TEST(unit_scaled_rates)
{
    __attribute__((cleanup(model_rig_destroy))) model_rig rig = {0};
    TRI_TRY(rig_create(
        &(model_rig_args){.config = unit_config(256, 4), .micro_batch = 1, .compute = TRI_F32},
        &rig));
    const struct {
        const char *name;
        double lr;
    } cases[] = {
        {"param/layers.1.attention.q.weight",   1.0 / 32                          },
        {"param/layers.3.attention.out.weight", 1.0 / 32                          },
        {"param/layers.0.mlp.gate.weight",      1.0 / 32                          },
        {"param/layers.0.mlp.down.weight",      0.5 / sqrt((double)rig.config.ffn)},
        {"param/layers.0.norm1.weight",         0.5                               },
        {"param/embed.token.weight",            1.0 / 16                          },
        {"param/norm.weight",                   1                                 },
        {"param/head.weight",                   1                                 }
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        EXPECT(fabs(outer_lr(&rig, cases[i].name) - cases[i].lr) < 1e-6 * cases[i].lr,
               "%s: lr x %g, not %g", cases[i].name, outer_lr(&rig, cases[i].name), cases[i].lr);
    tri_model_multipliers m = tri_model_multipliers_of(&rig.config);
    EXPECT(m.scores == 1.0 / 32 && m.logits == 1.0 / 256, "%g %g", m.scores, m.logits);
    return TRI_OK;
}

/* What the weights hold of branch 0 (attention's) or 1 (the MLP's) beside 1 / sqrt(fan in) and one over the
 * deviation of what their last product reads. */
static double branch_factor(const model_rig *rig, int branch)
{
    const tri_model_config *config = &rig->config;
    const char *name =
        branch == 0 ? "param/layers.0.attention.out.weight" : "param/layers.0.mlp.down.weight";
    const tri_row *row = tri_state_row(rig->state, tri_state_find(rig->state, name));
    double length = (double)config->context;
    double share = 1 / (1 + 4 * (double)config->hidden / (double)config->heads);
    double even = pow(log(length) / length, (1 - share) / 2);
    double deviation = branch == 0 ? even : pow(2, -0.75);
    double fan_in = (double)(branch == 0 ? config->hidden : config->ffn);
    return (double)row->init.std * sqrt(fan_in) * deviation;
}

/* Branches by the published tau, with the stream divided each time, and by the constants that the weights
 * hold, without: the same stream but for its size. */
static tri_status expect_stream(double multiplier, double ratio, const double *want)
{
    enum { LAYERS = 2 };
    __attribute__((cleanup(model_rig_destroy))) model_rig rig = {0};
    tri_model_config config = unit_config(64, LAYERS);
    config.residual_multiplier = multiplier;
    config.residual_ratio = ratio;
    TRI_TRY(rig_create(&(model_rig_args){.config = config, .micro_batch = 1, .compute = TRI_F32},
                       &rig));
    double mlp = multiplier * sqrt(2 / (1 + ratio * ratio));
    const double a[] = {ratio * mlp, mlp};
    double divided = 1, plain = 1, divisor = 1, squares = LAYERS;
    for (int i = 0; i < 2 * LAYERS; i++) {
        double tau = a[i % 2] / sqrt(squares);
        EXPECT(!want || fabs(tau - want[i]) < 1e-7, "tau %d is %.9g", i, tau);
        squares += a[i % 2] * a[i % 2];
        double branch = 0.3 + i;
        divided = (divided + tau * branch) / sqrt(1 + tau * tau);
        divisor *= sqrt(1 + tau * tau);
        plain += branch_factor(&rig, i % 2) * branch;
        EXPECT(fabs(plain - divided * divisor) < 1e-6 * plain,
               "ratio %g, behind branch %d: %.9g, not %.9g", ratio, i, plain, divided * divisor);
    }
    return TRI_OK;
}

TRI_TEST(residuals_of_tau_are_a_constant)
{
    static const double want[] = {0.70710678, 0.57735027, 0.5, 0.4472136};
    TRI_TRY(expect_stream(1, 1, want));
    return expect_stream(0.7, 3, NULL);
}

TRI_TEST(refusals)
{
    tri_model_config config = config_of("gpt2", 128, -1);
    config.base_hidden = 0;
    EXPECT_STATUS(tri_model_config_resolve(&config), TRI_EINVAL,
                  "model.base_hidden must be given for model.parameterization mup");
    config.base_hidden = -3;
    EXPECT_STATUS(tri_model_config_resolve(&config), TRI_EINVAL,
                  "model.base_hidden -3 is out of range; legal: 1 to");
    config = config_of("gpt2", 128, -1);
    config.output_multiplier = -1;
    EXPECT_STATUS(tri_model_config_resolve(&config), TRI_EINVAL,
                  "model.output_multiplier -1 must be greater than 0");
    snprintf(config.parameterization, sizeof config.parameterization, "ntk");
    EXPECT_STATUS(tri_model_config_resolve(&config), TRI_EINVAL,
                  "model.parameterization 'ntk' is not known; known: standard, mup, umup");
    config = config_of("gpt2", 128, 0);
    snprintf(config.parameterization, sizeof config.parameterization, "umup");
    EXPECT_STATUS(tri_model_config_resolve(&config), TRI_EINVAL,
                  "umup: family gpt2 has biases, positions and a GELU");
    config = config_of("gpt2", 128, 0);
    config.residual_ratio = 2;
    EXPECT_STATUS(tri_model_config_resolve(&config), TRI_EINVAL,
                  "model.residual_ratio 2 are of model.parameterization umup");
    config = config_of("llama", 128, 1);
    snprintf(config.parameterization, sizeof config.parameterization, "umup");
    EXPECT_STATUS(tri_model_config_resolve(&config), TRI_EINVAL, "set it to false, or use mup");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(eight_times_the_base_width),
              TRI_TEST_ROW(base_model_is_the_standard_one),
              TRI_TEST_ROW(folded_weights_compute_the_same), TRI_TEST_ROW(unit_scaled_rates),
              TRI_TEST_ROW(residuals_of_tau_are_a_constant), TRI_TEST_ROW(refusals))

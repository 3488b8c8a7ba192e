// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120
/* Optimizers against worked examples that were computed apart, in double, by two implementations; and
 * on shards against one rank: the same bits where an element's step needs that element alone, 1e-6
 * where norms or sums of rows and columns are added up over ranks.
 */
#include "optim/optim.h"

#include "optim/clip.h"
#include "optim/group.h"
#include "tests/optim/optim_rig.h"

#include <math.h>

static const tri_device_args one_thread = {.name = "cpu", .n_threads = 1};

static const rig_layout layouts[] = {
    {1, 1, 1},
    {1, 2, 1}, /* the tensor axis */
    {1, 3, 1},
    {3, 1, 3}, /* flat shards, which cut rows */
    {4, 1, 4},
    {2, 1, 1}, /* copies */
    {2, 2, 2},
    {4, 2, 2}, /* shards, twice */
};
enum { LAYOUTS = sizeof layouts / sizeof layouts[0] };

/* --- worked examples */

enum { EXAMPLE = 6 };
static const float w0[EXAMPLE] = {0.1f, -0.2f, 0.3f, 0.4f, -0.5f, 0.6f};
static const float g1[EXAMPLE] = {0.01f, -0.02f, 0.03f, -0.04f, 0.05f, -0.06f};
static const float g2[EXAMPLE] = {0.02f, 0.01f, -0.03f, 0.04f, -0.01f, 0.05f};

typedef struct example {
    tri_optim_config config;
    double second_scale; /* of the second gradient */
    int n_dims;
    double want[2][EXAMPLE];
} example;

#define OWN .betas = {-1, -1}, .seed = 1, .moments = TRI_F32
static const example examples[] = {
    {{.name = "adam", .lr = 1e-3, OWN},
     1,  2,
     {{0.099, -0.199, 0.299, 0.401, -0.501, 0.601},
      {0.09803482, -0.19873366, 0.29905263, 0.40094737, -0.50151103, 0.60103812}}  },
    {{.name = "adam", .lr = 1e-3, .weight_decay = 0.01, OWN},
     1,  2,
     {{0.099, -0.199, 0.299, 0.401, -0.501, 0.601},
      {0.09802991, -0.19862511, 0.29895305, 0.40084802, -0.50140003, 0.60092911}}  },
    {{.name = "adamw", .lr = 1e-3, .weight_decay = 0.01, .betas = {0.9, 0.999}, .moments = TRI_F32},
     1,  2,
     {{0.098999, -0.198998, 0.298997, 0.400996, -0.500995, 0.600994},
      {0.09803283, -0.19872967, 0.29904664, 0.40093936, -0.50150102, 0.60102611}}  },
    {{.name = "adamax", .lr = 2e-3, OWN},
     1,  2,
     {{0.098, -0.198, 0.298, 0.402, -0.502, 0.602},
      {0.09647369, -0.19757853, 0.29810526, 0.40189474, -0.50273758, 0.60207025}}  },
    {{.name = "adam_atan2", .lr = 1e-3, .betas = {0.9, 0.999}, .moments = TRI_F32},
     1,  2,
     {{0.099, -0.199, 0.299, 0.401, -0.501, 0.601},
      {0.09802256, -0.19866858, 0.29906695, 0.40093305, -0.50160152, 0.60104851}}  },
    {{.name = "lamb", .lr = 0.01, .weight_decay = 0.01, OWN},
     1,  2,
     {{0.09609606, -0.19609197, 0.29608800, 0.40388473, -0.50388085, 0.60387696},
      {0.08788030, -0.19381045, 0.29651040, 0.40340280, -0.50818374, 0.60414979}}  },
    {{.name = "lars", .lr = 1, .momentum = 0.9, .weight_decay = 0.01, .trust = 0.001, OWN},
     1,  2,
     {{0.0999, -0.1998, 0.2997, 0.40032727, -0.50040909, 0.60049091},
      {0.09957247, -0.19971052, 0.29973545, 0.40012407, -0.50060755, 0.60029922}}  },
    {{.name = "adafactor",
      .lr = 0.01,
      .relative_step = 1,
      .scale_parameter = 1,
      .update_clip = 1,
      OWN},
     1,  2,
     {{0.09759188, -0.19631249, 0.29555965, 0.40410730, -0.50393089, 0.60378674},
      {0.09352505, -0.19870784, 0.29980371, 0.40007267, -0.50274271, 0.60027804}}  },
    {{.name = "adafactor",
      .lr = 0.01,
      .relative_step = 1,
      .scale_parameter = 1,
      .update_clip = 1,
      OWN},
     10, 2,
     {{0.09759188, -0.19631249, 0.29555965, 0.40410730, -0.50393089, 0.60378674},
      {0.09418062, -0.20145394, 0.29947731, 0.40018033, -0.50097154, 0.60002848}}  },
    {{.name = "adafactor",
      .lr = 0.01,
      .relative_step = 1,
      .scale_parameter = 1,
      .update_clip = 1,
      OWN},
     1,  1,
     {{0.09783975, -0.19783975, 0.29783975}, {0.09524576, -0.19925812, 0.29998002}}},
    {{.name = "lion", .lr = 0.01, .weight_decay = 0.1, OWN},
     1,  2,
     {{0.0899, -0.1898, 0.2897, 0.4096, -0.5095, 0.6094},
      {0.07981010, -0.19961020, 0.29941030, 0.39919040, -0.49899050, 0.59879060}}  },
    {{.name = "adagrad", .lr = 0.1, OWN},
     1,  2,
     {{0, -0.1, 0.2, 0.5, -0.6, 0.7},
      {-0.08944272, -0.14472136, 0.27071068, 0.42928932, -0.58038839, 0.63598156}} },
    {{.name = "adagrad_norm", .lr = 0.1, .initial = 0.01, OWN},
     1,  2,
     {{0.09276425, -0.18552851, 0.27829276, 0.42894298, -0.53617873, 0.64341448},
      {0.08003856, -0.19189136, 0.29738130, 0.40349159, -0.52981588, 0.61160024}}  },
};
enum { EXAMPLES = sizeof examples / sizeof examples[0] };

typedef struct example_run {
    const example *example;
    rig_layout layout;
    int cut;
} example_run;

static tri_status run_example(tri_comm *world, void *arg)
{
    const example_run *run = arg;
    const example *e = run->example;
    int n = e->n_dims == 2 ? EXAMPLE : 3;
    rig_tensor tensor = {
        e->n_dims, {2, 3},
         run->cut
    };
    if (e->n_dims == 1) tensor.shape[0] = 3;
    optim_rig rig = {.tensors = &tensor, .n = 1};
    tri_optim_config config = e->config;
    TRI_TRY(tri_optim_resolve(&config));
    TRI_TRY(rig_open(&rig, world, &run->layout, &config, false));
    rig_fill(&rig, 0, w0, rig.weight[0]);
    for (int step = 1; step <= 2; step++) {
        float gradient[EXAMPLE];
        double squares = 0;
        for (int i = 0; i < n; i++) {
            gradient[i] = step == 1 ? g1[i] : g2[i] * (float)e->second_scale;
            squares += (double)gradient[i] * (double)gradient[i];
        }
        rig_fill(&rig, 0, gradient, rig.gradient[0]);
        tri_optim_step_args args = {
            .step = step, .lr = config.lr, .gradient_scale = 1, .squares = squares};
        TRI_TRY(tri_optim_step(rig.optim, &args));
        for (int64_t k = 0; k < rig.segments[0].count; k++) {
            int64_t i = rig_global(&rig, 0, rig.segments[0].begin + k);
            double got = (double)rig.weight[0][k];
            EXPECT(fabs(got - e->want[step - 1][i]) < 1e-6,
                   "%s, data %d tensor %d cut %d: element %lld is %.8f after step %d, not %.8f",
                   config.name, run->layout.data, run->layout.tensor, run->cut, (long long)i, got,
                   step, e->want[step - 1][i]);
        }
    }
    rig_close(&rig);
    return TRI_OK;
}

TRI_TEST(worked_examples)
{
    for (int e = 0; e < EXAMPLES; e++) {
        for (int l = 0; l < LAYOUTS; l++) {
            for (int cut = 0; cut < examples[e].n_dims; cut++) {
                if (cut > 0 && layouts[l].tensor == 1) continue;
                if (cut == 0 && layouts[l].tensor > 2) continue;
                example_run run = {&examples[e], layouts[l], layouts[l].tensor > 1 ? cut : -1};
                TRI_TRY(tri_comm_run_threads(layouts[l].data * layouts[l].tensor, &one_thread,
                                             run_example, &run));
            }
        }
    }
    return TRI_OK;
}

/* --- shards against one rank */

enum { STEPS = 10 };
static const rig_tensor tensors[RIG_MAX_ROWS] = {
    {2, {35, 54}, 0 },
    {2, {24, 31}, 1 },
    {1, {77},     -1},
};

static const struct {
    tri_optim_config config;
    bool is_pointwise;
} kinds[] = {
    {{.name = "sgd", .lr = 0.1, .weight_decay = 0.1, .momentum = 0.9, .nesterov = 1, OWN}, true },
    {{.name = "adam", .lr = 0.01, .weight_decay = 0.1, OWN},                               true },
    {{.name = "adamw", .lr = 0.01, .weight_decay = 0.1, OWN},                              true },
    {{.name = "adamw", .lr = 0.01, .betas = {-1, -1}, .moments = TRI_BF16, .seed = 7},     true },
    {{.name = "adamax", .lr = 0.01, OWN},                                                  true },
    {{.name = "adam_atan2", .lr = 0.01, .weight_decay = 0.1, OWN},                         true },
    {{.name = "lion", .lr = 0.01, .weight_decay = 0.1, OWN},                               true },
    {{.name = "lion", .lr = 0.01, .betas = {-1, -1}, .moments = TRI_BF16, .seed = 7},      true },
    {{.name = "adagrad", .lr = 0.1, OWN},                                                  true },
    {{.name = "adagrad_norm", .lr = 0.1, .initial = 0.1, OWN},                             true }, /* squares are given */
    {{.name = "adagrad_rownorm", .lr = 0.1, .initial = 0.01, OWN},                         false},
    {{.name = "lamb", .lr = 0.01, .weight_decay = 0.1, OWN},                               false},
    {{.name = "lamb", .lr = 0.01, .weight_decay = 0.1, .trust_max = 0.5, OWN},             false},
    {{.name = "lars", .lr = 1, .momentum = 0.9, .weight_decay = 0.1, .trust = 0.01, OWN},  false},
    {{.name = "adafactor",
      .lr = 0.01,
      .weight_decay = 0.1,
      .scale_parameter = 1,
      .update_clip = 1,
      OWN},
     false                                                                                      },
    {{.name = "adafactor", .lr = 0.01, .relative_step = 1, .update_clip = 0.5, OWN},       false},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

/* Sums of which are exact: multiples of 1/64 below 2. */
static float dyadic(int tensor, int64_t i, int step)
{
    int64_t x = (tensor + 1) * 7919 + i * 104729 + step * 1299709;
    return (float)(x % 255 - 127) / 64.0f;
}

typedef struct shard_run {
    const tri_optim_config *config;
    rig_layout layout;
    bool alone;
    float *whole[RIG_MAX_ROWS]; /* of one rank, once it ran */
    double *worst;              /* [ranks] */
} shard_run;

static tri_status run_steps(optim_rig *rig, double lr)
{
    for (int step = 1; step <= STEPS; step++) {
        double squares = 0;
        for (int i = 0; i < rig->n; i++) {
            float whole[RIG_MAX_ELEMENTS];
            for (int64_t k = 0; k < rig_elements(&rig->tensors[i]); k++) {
                whole[k] = dyadic(i, k, step);
                squares += (double)whole[k] * (double)whole[k];
            }
            rig_fill(rig, i, whole, rig->gradient[i]);
        }
        tri_optim_step_args args = {
            .step = step, .lr = lr, .gradient_scale = 0.5, .squares = squares};
        TRI_TRY(tri_optim_step(rig->optim, &args));
    }
    return TRI_OK;
}

static tri_status run_shards(tri_comm *world, void *arg)
{
    shard_run *run = arg;
    optim_rig rig = {.tensors = tensors, .n = RIG_MAX_ROWS};
    TRI_TRY(rig_open(&rig, world, &run->layout, run->config, run->alone));
    for (int i = 0; i < rig.n; i++) {
        float whole[RIG_MAX_ELEMENTS];
        for (int64_t k = 0; k < rig_elements(&tensors[i]); k++)
            whole[k] = dyadic(i, k, 100) * 0.1f;
        rig_fill(&rig, i, whole, rig.weight[i]);
    }
    TRI_TRY(run_steps(&rig, run->config->lr));
    bool is_first = tri_comm_size(world) == 1;
    for (int i = 0; i < rig.n; i++) {
        for (int64_t k = 0; k < rig.segments[i].count; k++) {
            float *want = &run->whole[i][rig_global(&rig, i, rig.segments[i].begin + k)];
            if (is_first) *want = rig.weight[i][k];
            double off = fabs((double)*want - (double)rig.weight[i][k]);
            run->worst[tri_comm_rank(world)] = fmax(run->worst[tri_comm_rank(world)], off);
        }
    }
    rig_close(&rig);
    return TRI_OK;
}

/* The largest difference to one rank. */
static tri_status compare(shard_run *run, double *worst)
{
    double of_rank[16] = {0};
    run->worst = of_rank;
    int n = run->layout.data * run->layout.tensor;
    TRI_TRY(tri_comm_run_threads(n, &one_thread, run_shards, run));
    *worst = 0;
    for (int r = 0; r < n; r++)
        *worst = fmax(*worst, of_rank[r]);
    return TRI_OK;
}

TRI_TEST(shards_are_one_rank)
{
    static float whole[RIG_MAX_ROWS][RIG_MAX_ELEMENTS];
    for (int k = 0; k < KINDS; k++) {
        tri_optim_config config = kinds[k].config;
        TRI_TRY(tri_optim_resolve(&config));
        shard_run run = {
            .config = &config, .whole = {whole[0], whole[1], whole[2]}
        };
        for (int l = 0; l < LAYOUTS; l++) {
            double worst = 0;
            run.layout = layouts[l];
            TRI_TRY(compare(&run, &worst));
            double most = kinds[k].is_pointwise ? 0 : 1e-6;
            EXPECT(worst <= most, "%s, data %d tensor %d: off by %g", config.name, layouts[l].data,
                   layouts[l].tensor, worst);
        }
    }
    return TRI_OK;
}

/* Norms of shards in place of norms of tensors: the comparison must see it. */
TRI_TEST(norms_of_shards_are_caught)
{
    static float whole[RIG_MAX_ROWS][RIG_MAX_ELEMENTS];
    int caught = 0;
    for (int k = 0; k < KINDS; k++) {
        if (kinds[k].is_pointwise) continue;
        tri_optim_config config = kinds[k].config;
        TRI_TRY(tri_optim_resolve(&config));
        shard_run run = {
            .config = &config, .whole = {whole[0], whole[1], whole[2]}
        };
        double worst = 0;
        run.layout = layouts[0];
        TRI_TRY(compare(&run, &worst));
        run.layout = layouts[4];
        run.alone = true;
        TRI_TRY(compare(&run, &worst));
        EXPECT(worst > 1e-4, "%s: norms of shards give the same within %g", config.name, worst);
        caught++;
    }
    EXPECT(caught >= 5, "only %d optimizers have norms", caught);
    return TRI_OK;
}

/* --- groups, moments as rows, messages, refusals */

static tri_status look_at_rows(tri_comm *world, void *arg)
{
    (void)arg;
    tri_optim_config config = {.name = "adafactor", .lr = 0.01, .update_clip = 1, OWN};
    TRI_TRY(tri_optim_resolve(&config));
    optim_rig rig = {.tensors = tensors, .n = RIG_MAX_ROWS};
    const rig_layout layout = {2, 2, 2};
    TRI_TRY(rig_open(&rig, world, &layout, &config, false));
    static const struct {
        const char *name;
        int64_t size, held;
    } want[] = {
        {"optim/adafactor/rows/tensor0",    35, 0 }, /* cut with the tensor's rows */
        {"optim/adafactor/columns/tensor0", 54, 54},
        {"optim/adafactor/rows/tensor1",    24, 24},
        {"optim/adafactor/columns/tensor1", 31, 0 },
        {"optim/adafactor/v/tensor2",       77, 0 },
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        int index = tri_state_find(rig.state, want[i].name);
        EXPECT(index >= 0, "there is no row %s", want[i].name);
        if (index < 0) continue;
        const tri_row *row = tri_state_row(rig.state, index);
        EXPECT(row->n_dims == 1 && row->shape[0] == want[i].size && row->data, "row %s has %lld",
               want[i].name, (long long)row->shape[0]);
        EXPECT(want[i].held ? row->count == want[i].held : row->count < want[i].size,
               "row %s: %lld are here", want[i].name, (long long)row->count);
    }
    int64_t doubles = 0;
    int messages = tri_optim_messages(rig.optim, &doubles);
    EXPECT(messages == 2 && doubles == 1 + 35 + 54 + 1 + 24 + 31 + 2 + 2,
           "%d messages of %lld doubles", messages, (long long)doubles);
    rig_close(&rig);
    return TRI_OK;
}

TRI_TEST(moments_are_rows)
{
    return tri_comm_run_threads(4, &one_thread, look_at_rows, NULL);
}

static tri_status look_at_groups(tri_comm *world, void *arg)
{
    (void)arg;
    tri_optim_config config = {.name = "sgd", .lr = 1, .weight_decay = 0.5, OWN};
    snprintf(config.groups[0], TRI_OPTIM_GROUP_BYTES, "*");
    optim_rig rig = {.tensors = tensors, .n = RIG_MAX_ROWS};
    const rig_layout layout = {1, 1, 1};
    EXPECT_STATUS(tri_optim_resolve(&config), TRI_EINVAL, "says nothing");
    snprintf(config.groups[0], TRI_OPTIM_GROUP_BYTES, "tensor[01] lr 0.5 decay 0");
    snprintf(config.groups[1], TRI_OPTIM_GROUP_BYTES, "tensor1 lr 2");
    TRI_TRY(tri_optim_resolve(&config));
    TRI_TRY(rig_open(&rig, world, &layout, &config, false));
    const float want[] = {1 - 0.5f * 2, 1 - 2 * (2 + 0.5f), 1 - (2 + 0.5f)};
    for (int i = 0; i < rig.n; i++)
        for (int64_t k = 0; k < rig.segments[i].count; k++) {
            rig.weight[i][k] = 1;
            rig.gradient[i][k] = 2;
        }
    tri_optim_step_args args = {.step = 1, .lr = 1, .gradient_scale = 1};
    TRI_TRY(tri_optim_step(rig.optim, &args));
    for (int i = 0; i < rig.n; i++)
        EXPECT(rig.weight[i][5] == want[i], "tensor %d: %g, not %g", i, (double)rig.weight[i][5],
               (double)want[i]);
    rig_close(&rig);
    optim_rig other = {.tensors = tensors, .n = RIG_MAX_ROWS};
    snprintf(config.groups[1], TRI_OPTIM_GROUP_BYTES, "tensor9 lr 2");
    EXPECT_STATUS(rig_open(&other, world, &layout, &config, false), TRI_EINVAL,
                  "'tensor9 lr 2' matches no parameter");
    tri_state_destroy(&other.state);
    tri_kernels_destroy(&other.kernels);
    tri_mesh_close(&other.mesh);
    return TRI_OK;
}

TRI_TEST(groups_by_name)
{
    return tri_comm_run_threads(1, &one_thread, look_at_groups, NULL);
}

/* What a row asks for, the groups on top of it, and what a weight loses in a step, which stays. */
TRI_TEST(factors_of_rows)
{
    static const struct {
        tri_optim_config config;
        double lr, weight_decay;
    } cases[] = {
        {{.name = "adamw", .weight_decay = 0.1},                               0.125,  0.8  },
        {{.name = "lion", .weight_decay = 0.1, .groups = {"t* lr 0.5"}},       0.0625, 0.8  },
        {{.name = "adagrad", .weight_decay = 0.1, .groups = {"t* decay 0.5"}}, 0.125,  4    },
        {{.name = "adafactor"},                                                0.125,  0    },
        {{.name = "sgd", .weight_decay = 0.1},                                 4,      0.025},
        {{.name = "lamb", .weight_decay = 0.1},                                1,      0.1  },
    };
    tri_row row = {.name = "param/tensor", .decay = true, .sign_lr = 0.125, .gradient_lr = 4};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tri_optim_rates got;
        TRI_TRY(tri_optim_rates_of(&cases[i].config, &row, NULL, &got));
        EXPECT(got.lr == cases[i].lr && fabs(got.weight_decay - cases[i].weight_decay) < 1e-15,
               "%s: %g, %g", cases[i].config.name, got.lr, got.weight_decay);
    }
    tri_optim_config config = {.name = "lamb"};
    EXPECT_STATUS(tri_optim_check_factors(&config, "model.parameterization", "mup", true),
                  TRI_EINVAL,
                  "model.parameterization mup: optimizer.name lamb sizes its steps by norms");
    config = (tri_optim_config){.name = "adafactor", .scale_parameter = 1};
    EXPECT_STATUS(tri_optim_check_factors(&config, "x", "y", true), TRI_EINVAL,
                  "only with optimizer.scale_parameter false");
    config.scale_parameter = 0;
    TRI_TRY(tri_optim_check_factors(&config, "x", "y", true));
    config = (tri_optim_config){.name = "sgd"};
    TRI_TRY(tri_optim_check_factors(&config, "x", "y", true));
    EXPECT_STATUS(tri_optim_check_factors(&config, "x", "y", false), TRI_EINVAL,
                  "x y is for steps whose size is not the gradient's");
    return TRI_OK;
}

TRI_TEST(refusals)
{
    static const struct {
        tri_optim_config config;
        const char *text;
    } cases[] = {
        {{.name = "adamw", .lr = 0.01, .betas = {0.9, 1}, .moments = TRI_F32},
         "optimizer.betas[1] is 1"                                                                                                  },
        {{.name = "adamw", .lr = 0, OWN},                                                            "optimizer.lr is 0"            },
        {{.name = "sgd", .lr = 0.1, .nesterov = 1, OWN},                                             "optimizer.nesterov needs"     },
        {{.name = "lars", .lr = 0.1, OWN},                                                           "optimizer.trust is 0"         },
        {{.name = "lars", .lr = 0.1, .trust = 1, .nesterov = 1, OWN},                                "no Nesterov form"             },
        {{.name = "adagrad_norm", .lr = 0.1, OWN},                                                   "optimizer.initial is 0"       },
        {{.name = "adafactor", .lr = 0.1, OWN},                                                      "optimizer.update_clip is 0"   },
        {{.name = "adafactor", .lr = 0.1, .update_clip = 1, .betas = {-1, -1}, .moments = TRI_BF16},
         "set it to fp32"                                                                                                           },
        {{.name = "adamv", .lr = 0.1},                                                               "known: sgd, adam, adamw"      },
        {{.name = "sgd", .lr = 0.1, .groups = {"*.bias speed 2"}},                                   "unknown word 'speed'"         },
        {{.name = "sgd", .lr = 0.1, .groups = {"*.bias lr -2"}},                                     "takes a number >= 0, not '-2'"},
        {{.name = "sgd", .lr = 0.1, .groups = {"*.bias adapt"}},                                     "'adapt' takes off"            },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tri_optim_config config = cases[i].config;
        EXPECT_STATUS(tri_optim_resolve(&config), TRI_EINVAL, cases[i].text);
    }
    return TRI_OK;
}

TRI_TEST(clip_factor)
{
    EXPECT(tri_clip_factor(10, 0) == 1, "no clip");
    EXPECT(tri_clip_factor(0.5, 1) == 1, "below the norm nothing changes");
    EXPECT(fabs(tri_clip_factor(4, 1) - 0.25) < 1e-6, "clip to 1");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(worked_examples), TRI_TEST_ROW(shards_are_one_rank),
              TRI_TEST_ROW(norms_of_shards_are_caught), TRI_TEST_ROW(moments_are_rows),
              TRI_TEST_ROW(groups_by_name), TRI_TEST_ROW(factors_of_rows), TRI_TEST_ROW(refusals),
              TRI_TEST_ROW(clip_factor))

// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* The batch controller against worked examples that were computed by hand: four samples of three
 * coordinates; limits of the next batch; ramps; what is refused.
 */
#include "tests/optim/batch_rig.h"

static const tri_device_args one_thread = {.name = "cpu", .n_threads = 1};

/* Samples a, b, c, d and their halves {a, c}, {b, d}. */
enum { COORDINATES = 3 };
static const float samples[4 * COORDINATES] = {1, 0, 0, 1, 2, 0, 0, 1, 1, 2, 1, -1};
static const float halves[2 * COORDINATES] = {0.5f, 0.5f, 0.5f, 1.5f, 1.5f, -0.5f};

static tri_batch_config config_of(tri_batch_test test, int groups)
{
    return (tri_batch_config){
        .sequences = 4,
        .adaptive = {.test = (int)test,
                     .groups = groups,
                     .quantum = 4,
                     .max = 4000,
                     .interval = 1,
                     .eta = 0.3,
                     .theta = 0.2,
                     .nu = 0.5,
                     .growth = 1000}
    };
}

typedef struct example {
    tri_batch_config config;
    const float *means;
    double variance, gradient, wanted;
    int64_t next;
} example;

static tri_status run_example(tri_comm *world, void *arg)
{
    const example *e = arg;
    tri_batch_config config = e->config;
    batch_rig rig;
    tri_batch_report report;
    TRI_TRY(tri_batch_resolve(&config, "adagrad"));
    TRI_TRY(batch_rig_open(&rig, world, COORDINATES, &config));
    TRI_TRY(batch_rig_test(&rig, config.adaptive.groups, e->means, &report));
    const char *name = tri_batch_tests()[config.adaptive.test];
    EXPECT(fabs(report.variance - e->variance) < 1e-6, "%s: V is %.9g, not %.9g", name,
           report.variance, e->variance);
    EXPECT(fabs(report.gradient - e->gradient) < 1e-6, "%s: |G|^2 is %.9g, not %.9g", name,
           report.gradient, e->gradient);
    EXPECT(fabs(report.squares - 2) < 1e-6, "%s: ||g||^2 is %.9g, not 2", name, report.squares);
    double scale = e->variance / e->gradient;
    EXPECT(fabs(report.noise_scale - scale) < 1e-6, "%s: noise scale %.9g, not %.9g", name,
           report.noise_scale, scale);
    EXPECT(fabs(report.wanted - e->wanted) < 1e-5, "%s: wants %.9g, not %.9g", name, report.wanted,
           e->wanted);
    EXPECT(report.before == 4 && report.now == e->next && tri_batch_size(rig.batch, 0) == e->next,
           "%s: %lld -> %lld, not %lld", name, (long long)report.before, (long long)report.now,
           (long long)e->next);
    batch_rig_close(&rig);
    return TRI_OK;
}

TRI_TEST(worked_examples)
{
    example all[] = {
        {config_of(TRI_BATCH_NORM,          4), samples, 2, 1.5,  4,         4   },
        {config_of(TRI_BATCH_NORM,          4), samples, 2, 1.5,  100 / 9.0, 12  },
        {config_of(TRI_BATCH_NORM,          4), samples, 2, 1.5,  100,       100 },
        {config_of(TRI_BATCH_INNER_PRODUCT, 4), samples, 2, 1.5,  25 / 3.0,  12  },
        {config_of(TRI_BATCH_AUGMENTED,     4), samples, 2, 1.5,  25 / 3.0,  12  },
        {config_of(TRI_BATCH_AUGMENTED,     4), samples, 2, 1.5,  8 / 3.0,   4   },
        {config_of(TRI_BATCH_COORDINATE,    4), samples, 2, 1.5,  4000,      4000},
        {config_of(TRI_BATCH_NOISE_SCALE,   4), samples, 2, 1.5,  4 / 3.0,   4   },
        {config_of(TRI_BATCH_NORM,          2), halves,  3, 1.25, 50 / 3.0,  20  },
        {config_of(TRI_BATCH_NOISE_SCALE,   2), halves,  3, 1.25, 2.4,       4   },
    };
    all[0].config.adaptive.eta = 0.5;
    all[2].config.adaptive.eta = 0.1;
    all[5].config.adaptive.theta = 10;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        TRI_TRY(tri_comm_run_threads(1, &one_thread, run_example, &all[i]));
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(worked_examples))

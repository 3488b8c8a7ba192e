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

/* --- estimates */

/* The same sums by brute force, in long double, of means [M, n]. */
static tri_batch_sums sums_of(int groups, double samples_of_all, int n, const float *means)
{
    tri_batch_sums sums = {.groups = groups, .samples = samples_of_all};
    for (int j = 0; j < n; j++) {
        long double mean = 0, scatter = 0;
        for (int m = 0; m < groups; m++)
            mean += (long double)means[m * n + j] / groups;
        for (int m = 0; m < groups; m++) {
            long double difference = (long double)means[m * n + j] - mean;
            scatter += difference * difference;
            sums.product[m] += (double)((long double)means[m * n + j] * mean);
        }
        sums.scatter += (double)scatter;
        sums.squares += (double)(mean * mean);
        sums.ratio = fmax(sums.ratio, (double)(scatter / (mean * mean)));
    }
    return sums;
}

TRI_TEST(variance_is_what_is_along_and_across)
{
    tri_batch_estimates e;
    tri_batch_sums sums = sums_of(4, 4, COORDINATES, samples);
    e = tri_batch_estimate(&sums);
    EXPECT(fabs(e.parallel - 4 / 3.0) < 1e-12, "variance of products is %g", e.parallel);
    EXPECT(fabs(e.orthogonal - 4 / 3.0) < 1e-12, "variance across is %g", e.orthogonal);
    enum { GROUPS = 7, N = 50 };
    float means[GROUPS * N];
    tri_rng_normal((tri_rng){.seed = 3, .purpose = TRI_RNG_TEST}, 0, GROUPS * N, 0.2f, 1, means);
    sums = sums_of(GROUPS, 21, N, means);
    e = tri_batch_estimate(&sums);
    /* variance across g, coordinate by coordinate */
    double across = 0;
    for (int j = 0; j < N; j++) {
        double mean = 0, square = 0, part[GROUPS];
        for (int m = 0; m < GROUPS; m++)
            mean += (double)means[m * N + j] / GROUPS;
        double mean_part = 0;
        for (int m = 0; m < GROUPS; m++) {
            part[m] = (double)means[m * N + j] - sums.product[m] / sums.squares * mean;
            mean_part += part[m] / GROUPS;
        }
        for (int m = 0; m < GROUPS; m++)
            square += (part[m] - mean_part) * (part[m] - mean_part);
        across += 3 * square / (GROUPS - 1);
    }
    EXPECT(fabs(e.orthogonal / across - 1) < 1e-9, "variance across is %.12g, not %.12g",
           e.orthogonal, across);
    EXPECT(fabs((across + e.parallel / e.squares) / e.variance - 1) < 1e-9, "V is %.12g, not %.12g",
           e.variance, across + e.parallel / e.squares);
    return TRI_OK;
}

static tri_status worst_coordinate(tri_comm *world, void *arg)
{
    (void)arg;
    static const float two[8] = {1, 0, 1, 2, 0, 1, 2, 1}; /* the first two coordinates */
    tri_batch_config config = config_of(TRI_BATCH_COORDINATE, 4);
    config.adaptive.smoothing = 0;
    batch_rig rig;
    tri_batch_report report;
    TRI_TRY(tri_batch_resolve(&config, "adagrad"));
    TRI_TRY(batch_rig_open(&rig, world, 2, &config));
    TRI_TRY(batch_rig_test(&rig, 4, two, &report));
    EXPECT(fabs(report.wanted - 2 / 3.0 / 0.09) < 1e-5, "wants %.9g, not 7.407", report.wanted);
    EXPECT(report.now == 8, "next batch is %lld", (long long)report.now);
    batch_rig_close(&rig);
    return TRI_OK;
}

TRI_TEST(the_worst_coordinate_counts)
{
    TRI_TRY(tri_comm_run_threads(1, &one_thread, worst_coordinate, NULL));
    return TRI_OK;
}

/* Noise of 1e-3 of the signal: sums of squares that are subtracted in fp32, or a mean that is rounded
 * before, lose it. */
enum { FINE_GROUPS = 8, FINE_N = 100000 };

static tri_status fine_noise(tri_comm *world, void *arg)
{
    float *means = arg;
    tri_batch_config config = config_of(TRI_BATCH_NORM, FINE_GROUPS);
    config.sequences = config.adaptive.quantum = FINE_GROUPS;
    TRI_TRY(tri_batch_resolve(&config, "adamw"));
    batch_rig rig;
    tri_batch_report report;
    TRI_TRY(batch_rig_open(&rig, world, FINE_N, &config));
    TRI_TRY(batch_rig_test(&rig, FINE_GROUPS, means, &report));
    tri_batch_sums sums = sums_of(FINE_GROUPS, FINE_GROUPS, FINE_N, means);
    double want = tri_batch_estimate(&sums).variance;
    EXPECT(fabs(report.variance / want - 1) < 1e-5, "V is %.9g, not %.9g", report.variance, want);
    batch_rig_close(&rig);
    return TRI_OK;
}

TRI_TEST(small_noise_is_measured)
{
    float *means = NULL;
    TRI_TRY(TRI_NEW_ARRAY((int64_t)FINE_GROUPS * FINE_N, &means));
    tri_rng_normal((tri_rng){.seed = 5, .purpose = TRI_RNG_TEST}, 0, (int64_t)FINE_GROUPS * FINE_N,
                   1, 1e-3f, means);
    TRI_TRY(tri_comm_run_threads(1, &one_thread, fine_noise, means));
    TRI_FREE(means);
    return TRI_OK;
}

/* --- the next batch */

TRI_TEST(limits_of_the_next_batch)
{
    static const struct {
        int64_t quantum, batch;
        double growth, target;
        int64_t next;
    } cases[] = {
        {1, 4,   1000, 4,          4  },
        {1, 4,   1000, 100 / 9.0,  12 },
        {1, 4,   1000, 99.9999999, 100},
        {1, 4,   1000, 100 + 1e-9, 100}, /* rounding of sums is no sample */
        {1, 4,   1000, 100.001,    101},
        {1, 4,   1000, 50 / 3.0,   17 },
        {4, 4,   1000, 50 / 3.0,   20 },
        {8, 8,   1000, 16.5,       24 },
        {1, 4,   2,    100,        8  },
        {4, 8,   1.5,  100,        12 },
        {4, 8,   1.25, 100,        12 }, /* a quantum is always allowed */
        {4, 12,  1.5,  100,        16 }, /* 18 is no multiple */
        {4, 96,  2,    1e9,        100},
        {4, 40,  2,    INFINITY,   80 },
        {4, 96,  2,    INFINITY,   100},
        {4, 40,  2,    0,          40 }, /* never shrinks */
        {4, 40,  2,    39.5,       40 },
        {4, 100, 2,    1000,       100},
        {4, 4,   1e18, 1e300,      100},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tri_batch_adaptive adaptive = {
            .quantum = cases[i].quantum, .max = i < 8 ? 1000 : 100, .growth = cases[i].growth};
        int64_t got = tri_batch_next(&adaptive, cases[i].batch, cases[i].target);
        EXPECT(got == cases[i].next, "case %zu: %lld -> %lld, not %lld", i,
               (long long)cases[i].batch, (long long)got, (long long)cases[i].next);
    }
    return TRI_OK;
}

TRI_TEST(any_test_keeps_within_bounds)
{
    tri_rng rng = {.seed = 11, .purpose = TRI_RNG_TEST};
    int wrong = 0;
    for (uint64_t i = 0; i < 20000; i++) {
        tri_batch_adaptive a = {.quantum = 1 + (int64_t)(tri_rng_word(rng, 5 * i) % 9),
                                .growth = 1 + 3 * (double)tri_rng_uniform(rng, 5 * i + 1)};
        int64_t batch = a.quantum * (1 + (int64_t)(tri_rng_word(rng, 5 * i + 2) % 50));
        a.max = batch + a.quantum * (int64_t)(tri_rng_word(rng, 5 * i + 3) % 50);
        double target = 1000 * pow((double)tri_rng_uniform(rng, 5 * i + 4), 3);
        int64_t next = tri_batch_next(&a, batch, target);
        double limit = fmax(a.growth * (double)batch, (double)(batch + a.quantum));
        wrong += next < batch || next > a.max || next % a.quantum != 0 || (double)next > limit;
        /* enough, unless a bound is in the way */
        bool is_bound = next == a.max || (double)(next + a.quantum) > limit;
        wrong += (double)next < target && !is_bound;
        /* no more than asked for */
        wrong += next > batch && (double)(next - a.quantum) >= target;
    }
    EXPECT(wrong == 0, "%d of 20000 decisions are wrong", wrong);
    return TRI_OK;
}

TRI_TEST(ramps_grow_evenly)
{
    tri_batch_config config = {
        .sequences = 8, .adaptive.quantum = 4, .ramp = {.to = 24, .samples = 1000}
    };
    TRI_TRY(tri_batch_resolve(&config, "adamw"));
    tri_batch_args args = {.config = &config};
    TRI_AUTO(tri_batch) *batch = NULL;
    TRI_TRY(tri_batch_create(&args, &batch));
    static const int64_t want[][2] = {
        {0,    8 },
        {249,  8 },
        {250,  12},
        {499,  12},
        {500,  16},
        {999,  20},
        {1000, 24},
        {9999, 24}
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        EXPECT(tri_batch_size(batch, want[i][0]) == want[i][1], "%lld samples: batch %lld",
               (long long)want[i][0], (long long)tri_batch_size(batch, want[i][0]));
    EXPECT(tri_batch_round(&config) == 4 && tri_batch_groups(&config) == 1 &&
               tri_batch_largest(&config) == 24 && !tri_batch_is_due(batch, 10),
           "rounds of a ramp");
    config.ramp.samples = INT64_MAX;
    EXPECT(tri_batch_ramp_at(&config, INT64_MAX - 1) == 20, "an endless ramp overflows");
    return TRI_OK;
}

TRI_TEST(learning_rate_follows)
{
    tri_batch_config config = config_of(TRI_BATCH_NORM, 4);
    EXPECT(tri_batch_lr_factor(&config, 16) == 1, "none");
    config.adaptive.lr = TRI_RULES_LINEAR;
    EXPECT(fabs(0.1 * tri_batch_lr_factor(&config, 16) - 0.4) < 1e-15, "linear");
    config.adaptive.lr = TRI_RULES_SQRT;
    EXPECT(fabs(3e-4 * tri_batch_lr_factor(&config, 16) - 6e-4) < 1e-18, "square root");
    EXPECT(tri_batch_lr_factor(&config, 4) == 1, "of the first batch");
    return TRI_OK;
}

TRI_TEST(a_constant_batch_is_one_round)
{
    tri_batch_config config = {.sequences = 13};
    TRI_TRY(tri_batch_resolve(&config, "sgd"));
    tri_batch_args args = {.config = &config};
    TRI_AUTO(tri_batch) *batch = NULL;
    TRI_TRY(tri_batch_create(&args, &batch));
    int64_t doubles = -1;
    EXPECT(!tri_batch_varies(&config) && tri_batch_round(&config) == 13 &&
               tri_batch_groups(&config) == 1 && tri_batch_largest(&config) == 13 &&
               tri_batch_size(batch, 1000) == 13 && !tri_batch_is_due(batch, 10) &&
               tri_batch_messages(&config, &doubles) == 0 && doubles == 0,
           "batch %lld", (long long)tri_batch_size(batch, 1000));
    EXPECT_STATUS(tri_batch_observe(batch, 0), TRI_EBUG, "group 0");
    return TRI_OK;
}

/* --- refusals */

TRI_TEST(wrong_keys_are_refused)
{
#define WRONG(change, optimizer, message)                                     \
    do {                                                                      \
        tri_batch_config c = config_of(TRI_BATCH_NORM, 4);                    \
        change;                                                               \
        EXPECT_STATUS(tri_batch_resolve(&c, optimizer), TRI_EINVAL, message); \
    } while (0)
    WRONG(c.adaptive.groups = 1, "adamw",
          "batch.adaptive.groups is 1; it must be between 2 and 16");
    WRONG(c.adaptive.groups = 17, "adamw", "batch.adaptive.groups is 17; it must be between 2");
    WRONG(c.adaptive.groups = 3, "adamw",
          "batch.adaptive.quantum is 4 (0: batch.sequences); batch.adaptive.groups (3) must divide "
          "it: 3 or 6");
    WRONG(c.adaptive.quantum = 8, "adamw",
          "batch.adaptive.quantum is 8; it must be between 1 and batch.sequences (4), or 0");
    WRONG(c.sequences = 6, "adamw",
          "batch.sequences is 6; it must be a multiple of batch.adaptive.quantum (4): 4 or 8");
    WRONG(c.adaptive.max = 0, "adamw",
          "batch.adaptive.max is 0; it must be > batch.sequences (4), with which the job begins");
    WRONG(c.adaptive.max = 4, "adamw", "batch.adaptive.max is 4; it must be > batch.sequences");
    WRONG(
        c.adaptive.max = 30, "adamw",
        "batch.adaptive.max is 30; it must be a multiple of batch.adaptive.quantum (4): 28 or 32");
    WRONG(c.adaptive.eta = 0, "adamw", "batch.adaptive.eta is 0; it must be > 0 and < 1");
    WRONG(c.adaptive.eta = 1, "adamw", "batch.adaptive.eta is 1; it must be > 0 and < 1");
    WRONG((c.adaptive.test = TRI_BATCH_AUGMENTED, c.adaptive.theta = -1), "adamw",
          "batch.adaptive.theta is -1; it must be > 0");
    WRONG((c.adaptive.test = TRI_BATCH_AUGMENTED, c.adaptive.nu = NAN), "adamw",
          "batch.adaptive.nu is nan; it must be > 0");
    WRONG(c.adaptive.growth = 1, "adamw", "batch.adaptive.growth is 1; it must be > 1");
    WRONG(c.adaptive.smoothing = 1, "adamw",
          "batch.adaptive.smoothing is 1; it must be >= 0 and < 1");
    WRONG(c.adaptive.interval = 0, "adamw", "batch.adaptive.interval is 0; it must be >= 1");
    WRONG(c.adaptive.test = TRI_BATCH_COORDINATE, "adamw",
          "batch.adaptive.test: coordinate makes no sense with optimizer.name: adamw");
    WRONG((c.adaptive.test = TRI_BATCH_COORDINATE, c.adaptive.smoothing = 0.5), "adagrad",
          "batch.adaptive.smoothing is 0.5; it must be 0 with test: coordinate");
    WRONG(c.ramp.to = 8, "adamw",
          "batch.adaptive.test: norm and batch.ramp.to: 8 make no sense together");
    WRONG((c.adaptive.test = TRI_BATCH_OFF, c.ramp.samples = 8), "adamw",
          "batch.ramp.samples is 8 without batch.ramp.to");
    WRONG((c.adaptive.test = TRI_BATCH_OFF, c.ramp.to = 8), "adamw",
          "batch.ramp.samples is 0; with batch.ramp.to it must be >= 1");
    WRONG((c.adaptive.test = TRI_BATCH_OFF, c.ramp.to = 4, c.ramp.samples = 8), "adamw",
          "batch.ramp.to is 4; it must be > batch.sequences (4)");
    WRONG((c.adaptive.test = TRI_BATCH_OFF, c.ramp.to = 9, c.ramp.samples = 8), "adamw",
          "batch.ramp.to is 9; it must be a multiple of batch.adaptive.quantum (4): 8 or 12");
    /* what is not used is not checked; the quantum is filled in */
    tri_batch_config c = config_of(TRI_BATCH_NOISE_SCALE, 4);
    c.adaptive.eta = 0;
    c.adaptive.quantum = 0;
    EXPECT_STATUS(tri_batch_resolve(&c, "adamw"), TRI_OK, "");
    EXPECT(c.adaptive.quantum == 4 && tri_batch_round(&c) == 1, "quantum %lld",
           (long long)c.adaptive.quantum);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(worked_examples), TRI_TEST_ROW(variance_is_what_is_along_and_across),
              TRI_TEST_ROW(the_worst_coordinate_counts), TRI_TEST_ROW(small_noise_is_measured),
              TRI_TEST_ROW(limits_of_the_next_batch), TRI_TEST_ROW(any_test_keeps_within_bounds),
              TRI_TEST_ROW(ramps_grow_evenly), TRI_TEST_ROW(learning_rate_follows),
              TRI_TEST_ROW(a_constant_batch_is_one_round), TRI_TEST_ROW(wrong_keys_are_refused))

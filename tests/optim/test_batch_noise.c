// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120
/* The batch controller on a quadratic whose noise is known: half of the sum over j of h_j (w_j - x_j)^2,
 * with samples x of N(0, c_j^2), so that a sample's gradient has mean h_j w_j and variance
 * (h_j c_j)^2. Estimates have no bias and the batch goes to the fixed point of theory, the same one
 * on 1, 2, 4 and 8 ranks, and after a save and a load.
 */
#include "runtime/base/rng.h"
#include "tests/optim/batch_rig.h"

static const tri_device_args one_thread = {.name = "cpu", .n_threads = 1};
static const int worlds[] = {1, 2, 4, 8};
enum { WORLDS = sizeof worlds / sizeof worlds[0] };

static tri_rng draws(uint64_t seed)
{
    return (tri_rng){.seed = seed, .purpose = TRI_RNG_TEST};
}

/* --- no bias */

enum { TRIALS = 2000, GROUPS = 4, SAMPLES = 8 /* of a group */, N = 61 };

typedef struct trials {
    float means[TRIALS][GROUPS * N];
    double variance, gradient; /* true */
    double got[3][TRIALS];     /* V, |G|^2, V / batch; as rank 0 found them */
    double first[TRIALS];      /* V on one rank */
} trials;

static double h_of(int j)
{
    return 0.25 + (double)(j % 7);
}

static double c_of(int j)
{
    return 0.5 + 0.1 * (double)(j % 11);
}

static double w_of(int j)
{
    return 0.4 - 0.15 * (double)(j % 5);
}

/* Gradients of GROUPS * SAMPLES samples, and their means over groups. */
static void draw_trial(trials *t, int trial)
{
    enum { ALL = GROUPS * SAMPLES * N };
    float x[ALL];
    tri_rng_normal(draws(1), (uint64_t)trial * ALL, ALL, 0, 1, x);
    for (int m = 0; m < GROUPS; m++)
        for (int j = 0; j < N; j++) {
            double sum = 0;
            for (int i = 0; i < SAMPLES; i++)
                sum += h_of(j) * (w_of(j) - c_of(j) * (double)x[(m * SAMPLES + i) * N + j]);
            t->means[trial][m * N + j] = (float)(sum / SAMPLES);
        }
}

static tri_batch_config trial_config(void)
{
    return (tri_batch_config){
        .sequences = GROUPS * SAMPLES,
        .adaptive = {.test = TRI_BATCH_NORM,
                     .groups = GROUPS,
                     .max = 1 << 20,
                     .interval = 1,
                     .eta = 0.25,
                     .growth = 2}
    };
}

static tri_status run_trials(tri_comm *world, void *arg)
{
    trials *t = arg;
    tri_batch_config config = trial_config();
    batch_rig rig;
    TRI_TRY(tri_batch_resolve(&config, "adamw"));
    TRI_TRY(batch_rig_open(&rig, world, N, &config));
    for (int trial = 0; trial < TRIALS; trial++) {
        tri_batch_report report;
        tri_batch_initialise(rig.batch);
        TRI_TRY(batch_rig_test(&rig, GROUPS, t->means[trial], &report));
        if (tri_comm_rank(world) > 0) continue;
        t->got[0][trial] = report.variance;
        t->got[1][trial] = report.gradient;
        t->got[2][trial] = report.squares - t->variance / (GROUPS * SAMPLES);
    }
    batch_rig_close(&rig);
    return TRI_OK;
}

/* Is the mean of what was found within 3 standard errors of the truth? */
static void expect_mean(const char *name, int n_ranks, const double *got, double truth)
{
    double mean = 0, square = 0;
    for (int i = 0; i < TRIALS; i++)
        mean += got[i] / TRIALS;
    for (int i = 0; i < TRIALS; i++)
        square += (got[i] - mean) * (got[i] - mean);
    double error = sqrt(square / (TRIALS - 1) / TRIALS);
    EXPECT(fabs(mean - truth) < 3 * error,
           "%d ranks: mean %s is %g, not %g: off by %g errors of %g", n_ranks, name, mean, truth,
           (mean - truth) / error, error);
    EXPECT(error < 0.02 * truth, "%s: an error of %g says nothing about %g", name, error, truth);
}

TRI_TEST(estimates_have_no_bias)
{
    trials *t = NULL;
    TRI_TRY(TRI_NEW(&t));
    for (int j = 0; j < N; j++) {
        t->variance += h_of(j) * h_of(j) * c_of(j) * c_of(j);
        t->gradient += h_of(j) * h_of(j) * w_of(j) * w_of(j);
    }
    for (int trial = 0; trial < TRIALS; trial++)
        draw_trial(t, trial);
    for (int w = 0; w < WORLDS; w++) {
        TRI_TRY(tri_comm_run_threads(worlds[w], &one_thread, run_trials, t));
        expect_mean("V", worlds[w], t->got[0], t->variance);
        expect_mean("|G|^2", worlds[w], t->got[1], t->gradient);
        expect_mean("||g||^2 - V / B", worlds[w], t->got[2], t->gradient);
        double worst = 0;
        for (int i = 0; i < TRIALS; i++) {
            if (w == 0) t->first[i] = t->got[0][i];
            worst = fmax(worst, fabs(t->got[0][i] / t->first[i] - 1));
        }
        EXPECT(worst < 1e-12, "%d ranks: V differs from that of one by %g", worlds[w], worst);
    }
    TRI_FREE(t);
    return TRI_OK;
}

/* --- the fixed point */

enum { WIDE = 4096, TESTS = 120, MOST_RANKS = 8, FIXED_GROUPS = 4 };

typedef struct fixed_case {
    int test;
    double eta, smoothing, growth;
    double noise_scale;                      /* V, as |G|^2 is 1 */
    int64_t first;                           /* batch */
    double fixed;                            /* batch that theory gives */
    int64_t size[WORLDS][MOST_RANKS][TESTS]; /* next batch, as each rank decided */
    tri_batch_report last;
} fixed_case;

static float deviates[TESTS][FIXED_GROUPS * WIDE];

/* All cases share them. */
static void draw_deviates(void)
{
    for (int test = 0; test < TESTS; test++)
        tri_rng_normal(draws(2), (uint64_t)test * FIXED_GROUPS * WIDE, FIXED_GROUPS * WIDE, 0, 1,
                       deviates[test]);
}

static tri_batch_config fixed_config(const fixed_case *f)
{
    return (tri_batch_config){
        .sequences = f->first,
        .adaptive = {.test = f->test,
                     .groups = FIXED_GROUPS,
                     .quantum = 4,
                     .max = 100000,
                     .interval = 1,
                     .eta = f->eta,
                     .theta = 0.01,
                     .nu = f->eta,
                     .growth = f->growth,
                     .smoothing = f->smoothing}
    };
}

/* Means of groups of `samples`, of h = 1, w_j = 1 / sqrt(WIDE), c_j^2 = V / WIDE. */
static void draw_wide(const fixed_case *f, int test, double samples, float *means)
{
    float mean = 1 / sqrtf(WIDE);
    float deviation = (float)sqrt(f->noise_scale / WIDE / samples);
    for (int i = 0; i < FIXED_GROUPS * WIDE; i++)
        means[i] = mean + deviation * deviates[test][i];
}

static tri_status run_fixed(tri_comm *world, void *arg)
{
    fixed_case *f = arg;
    tri_batch_config config = fixed_config(f);
    batch_rig rig;
    float *means = NULL;
    TRI_TRY(TRI_NEW_ARRAY(FIXED_GROUPS * WIDE, &means));
    TRI_TRY(tri_batch_resolve(&config, "adagrad"));
    TRI_TRY(batch_rig_open(&rig, world, WIDE, &config));
    int w = 0;
    while (worlds[w] != tri_comm_size(world))
        w++;
    for (int test = 0; test < TESTS; test++) {
        tri_batch_report report;
        draw_wide(f, test, (double)tri_batch_size(rig.batch, 0) / FIXED_GROUPS, means);
        TRI_TRY(batch_rig_test(&rig, FIXED_GROUPS, means, &report));
        f->size[w][tri_comm_rank(world)][test] = report.now;
        if (tri_comm_rank(world) == 0) f->last = report;
    }
    batch_rig_close(&rig);
    TRI_FREE(means);
    return TRI_OK;
}

static double square(double x)
{
    return x * x;
}

/* Batch that the test asks for at batch B, with Bs = V / |G|^2: the mean of ||g||^2 is |G|^2 + V / B. */
static double target_of(const fixed_case *f, double batch)
{
    if (f->test == TRI_BATCH_NOISE_SCALE) return f->noise_scale;
    return f->noise_scale / square(f->eta) * batch / (batch + f->noise_scale);
}

/* Its relative standard error at this batch, by one test. Variances of sums over n normal deviates: V has
 * 2 / ((M - 1) n) of its square, ||g||^2 has 4 v + 2 n v^2 where v = V / (n B). */
static double error_of(const fixed_case *f, double batch)
{
    double of_variance = 2.0 / ((FIXED_GROUPS - 1) * WIDE);
    double v = f->noise_scale / WIDE / batch;
    double of_squares = 4 * v + 2 * WIDE * v * v;
    if (f->test == TRI_BATCH_NORM)
        return sqrt(of_variance + of_squares / square(1 + f->noise_scale / batch));
    return sqrt(of_variance * square(1 + f->noise_scale / batch) + of_squares);
}

/* The same steps, of the same limits, on all ranks of all worlds. */
static void expect_same(const fixed_case *f)
{
    for (int t = 0; t < TESTS; t++) {
        int64_t before = t > 0 ? f->size[0][0][t - 1] : f->first;
        int64_t now = f->size[0][0][t];
        EXPECT(now >= before && now <= 2 * before && now % 4 == 0, "test %d: batch %lld after %lld",
               t, (long long)now, (long long)before);
    }
    for (int w = 0; w < WORLDS; w++)
        for (int r = 0; r < worlds[w]; r++)
            EXPECT(memcmp(f->size[w][r], f->size[0][0], sizeof f->size[w][r]) == 0,
                   "%s: rank %d of %d decides otherwise than one rank", tri_batch_tests()[f->test],
                   r, worlds[w]);
}

/* The batch never falls: it ends where the largest of its tests has brought it. At the fixed point of the
 * norm test an error of the batch comes back as dT/dB = eta^2 of it. The noise scale does not depend on
 * the batch, so there the first test, which has nothing to be averaged with, is the noisiest. */
static void expect_fixed(const fixed_case *f)
{
    bool is_norm = f->test == TRI_BATCH_NORM;
    const char *name = tri_batch_tests()[f->test];
    double averaged = sqrt((1 - f->smoothing) / (1 + f->smoothing)) * error_of(f, f->fixed);
    double below = 4 * averaged / (is_norm ? 1 - square(f->eta) : 1);
    double above = is_norm ? below : 4 * error_of(f, (double)f->first);
    double last = (double)f->size[0][0][TESTS - 1];
    EXPECT(below < 0.05 && above < 0.25, "%s: an error of %g says nothing", name, above);
    EXPECT(last >= f->fixed * (1 - below) && last < f->fixed * (1 + above) + 4,
           "%s, eta %g: batch %g, not %g - %g + %g", name, f->eta, last, f->fixed, below * f->fixed,
           above * f->fixed);
    /* what the averages ask for in the end */
    double target = target_of(f, last);
    EXPECT(fabs(f->last.wanted / target - 1) < 4 * averaged, "%s, eta %g: wants %g, not %g", name,
           f->eta, f->last.wanted, target);
    expect_same(f);
}

TRI_TEST(the_fixed_point_is_reached_on_any_ranks)
{
    static fixed_case cases[] = {
        {TRI_BATCH_NORM, .eta = 0.5, .noise_scale = 16, .first = 8,               .fixed = 48},
        {TRI_BATCH_NORM,              .eta = 0.5,           .noise_scale = 100,     .first = 8, .fixed = 300},
        {TRI_BATCH_NORM,  .eta = 0.25,            .noise_scale = 16,                .first = 8,                            .fixed = 240},
        {TRI_BATCH_NOISE_SCALE,    .noise_scale = 96,  .first = 64,    .fixed = 96},
    };
    draw_deviates();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cases[i].smoothing = 0.9;
        cases[i].growth = 2;
        for (int w = 0; w < WORLDS; w++)
            TRI_TRY(tri_comm_run_threads(worlds[w], &one_thread, run_fixed, &cases[i]));
        expect_fixed(&cases[i]);
    }
    return TRI_OK;
}

TRI_TEST(other_tests_decide_alike_on_any_ranks)
{
    static const int tests[] = {TRI_BATCH_INNER_PRODUCT, TRI_BATCH_AUGMENTED, TRI_BATCH_COORDINATE};
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        static fixed_case f;
        f = (fixed_case){.test = tests[i], .eta = 0.7, .noise_scale = 16, .growth = 2, .first = 8};
        draw_deviates();
        f.smoothing = tests[i] == TRI_BATCH_COORDINATE ? 0 : 0.5;
        for (int w = 0; w < WORLDS; w++)
            TRI_TRY(tri_comm_run_threads(worlds[w], &one_thread, run_fixed, &f));
        expect_same(&f);
        EXPECT(f.size[0][0][TESTS - 1] > 8, "%s: the batch stays", tri_batch_tests()[f.test]);
    }
    return TRI_OK;
}

/* --- save and load */

enum { SAVED_AFTER = 7, STATE_MOST = 16 };

typedef struct saved {
    fixed_case f;
    double state[STATE_MOST];     /* of the checkpoint */
    tri_batch_report want[TESTS]; /* of the run that went on */
    double end[STATE_MOST];
} saved;

/* A controller whose row is in a state table. */
typedef struct saved_rig {
    batch_rig rig;
    tri_mesh *mesh;
    tri_state *state;
    const tri_row *row;
    float *means;
} saved_rig;

static tri_status saved_open(saved_rig *r, tri_comm *world, tri_batch_config config)
{
    tri_mesh_args args = {
        .world = world, .size = {1, tri_comm_size(world), 1, 1}
    };
    TRI_TRY(tri_batch_resolve(&config, "adamw"));
    TRI_TRY(batch_rig_open(&r->rig, world, WIDE, &config));
    TRI_TRY(TRI_NEW_ARRAY(FIXED_GROUPS * WIDE, &r->means));
    TRI_TRY(tri_mesh_create(&args, &r->mesh));
    TRI_TRY(tri_state_create(r->mesh, &r->state));
    TRI_TRY(tri_batch_export(r->rig.batch, r->state));
    r->row = tri_state_row(r->state, tri_state_find(r->state, "batch/controller"));
    return TRI_OK;
}

static void saved_close(saved_rig *r)
{
    tri_state_destroy(&r->state);
    tri_mesh_close(&r->mesh);
    batch_rig_close(&r->rig);
    TRI_FREE(r->means);
}

static tri_status saved_test(const saved *s, saved_rig *r, int test, tri_batch_report *out)
{
    draw_wide(&s->f, test, (double)tri_batch_size(r->rig.batch, 0) / FIXED_GROUPS, r->means);
    memset(out, 0, sizeof *out);
    return batch_rig_test(&r->rig, FIXED_GROUPS, r->means, out);
}

/* The run that goes on, saved behind a test. */
static tri_status run_on(tri_comm *world, void *arg)
{
    saved *s = arg;
    bool is_first = tri_comm_rank(world) == 0;
    saved_rig r;
    TRI_TRY(saved_open(&r, world, fixed_config(&s->f)));
    size_t bytes = (size_t)r.row->count * sizeof(double);
    EXPECT(r.row->dtype == TRI_F64 && r.row->count == r.row->shape[0] && bytes <= sizeof s->state,
           "a row of %lld", (long long)r.row->count);
    for (int test = 0; test < TESTS; test++) {
        tri_batch_report report;
        TRI_TRY(saved_test(s, &r, test, &report));
        if (!is_first) continue;
        s->want[test] = report;
        if (test == SAVED_AFTER) memcpy(s->state, r.row->data, bytes);
    }
    if (is_first) memcpy(s->end, r.row->data, bytes);
    saved_close(&r);
    return TRI_OK;
}

/* A new controller, loaded: bit for bit on as many ranks, the same decisions on others. */
static tri_status run_loaded(tri_comm *world, void *arg)
{
    const saved *s = arg;
    saved_rig r;
    TRI_TRY(saved_open(&r, world, fixed_config(&s->f)));
    memcpy(r.row->data, s->state, (size_t)r.row->count * sizeof(double));
    TRI_TRY(tri_batch_restore(r.rig.batch));
    for (int test = SAVED_AFTER + 1; test < TESTS; test++) {
        tri_batch_report report;
        TRI_TRY(saved_test(s, &r, test, &report));
        const tri_batch_report *want = &s->want[test];
        bool is_same = tri_comm_size(world) == 2 ? memcmp(&report, want, sizeof report) == 0
                                                 : report.now == want->now;
        EXPECT(is_same, "%d ranks, test %d: V %.17g, not %.17g; batch %lld, not %lld",
               tri_comm_size(world), test, report.variance, want->variance, (long long)report.now,
               (long long)want->now);
    }
    if (tri_comm_size(world) == 2)
        EXPECT(memcmp(r.row->data, s->end, (size_t)r.row->count * sizeof(double)) == 0,
               "states are not the same at the end");
    saved_close(&r);
    return TRI_OK;
}

TRI_TEST(a_loaded_controller_goes_on)
{
    static const int tests[] = {TRI_BATCH_NORM, TRI_BATCH_AUGMENTED, TRI_BATCH_NOISE_SCALE};
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        static saved s;
        draw_deviates();
        s = (saved){
            .f = {.test = tests[i],
                  .eta = 0.3,
                  .smoothing = 0.7,
                  .growth = 1.2,
                  .noise_scale = 80,
                  .first = 8}
        };
        TRI_TRY(tri_comm_run_threads(2, &one_thread, run_on, &s));
        EXPECT(s.want[SAVED_AFTER].now > 8 && s.want[TESTS - 1].now > s.want[SAVED_AFTER].now,
               "nothing happens before or behind the save");
        for (int w = 0; w < WORLDS; w++)
            TRI_TRY(tri_comm_run_threads(worlds[w], &one_thread, run_loaded, &s));
    }
    return TRI_OK;
}

static tri_status load_elsewhere(tri_comm *world, void *arg)
{
    (void)arg;
    fixed_case f = {.test = TRI_BATCH_NORM, .eta = 0.3, .growth = 2, .first = 8};
    tri_batch_config config = fixed_config(&f);
    config.adaptive.max = 100;
    saved_rig r;
    TRI_TRY(saved_open(&r, world, config));
    double *state = r.row->data;
    state[0] = 120;
    EXPECT_STATUS(tri_batch_restore(r.rig.batch), TRI_EINVAL,
                  "batch.adaptive.max is 100, but the batch of the checkpoint has grown to 120");
    state[0] = 30;
    EXPECT_STATUS(tri_batch_restore(r.rig.batch), TRI_EINVAL,
                  "batch.adaptive.quantum is 4, but the batch of the checkpoint is 30");
    state[0] = NAN;
    EXPECT_STATUS(tri_batch_restore(r.rig.batch), TRI_EINVAL, "batch of the checkpoint is nan");
    state[0] = 6; /* of another quantum, too */
    TRI_TRY(tri_batch_restore(r.rig.batch));
    EXPECT(tri_batch_size(r.rig.batch, 0) == 8, "batch.sequences was raised");
    state[0] = 100;
    TRI_TRY(tri_batch_restore(r.rig.batch));
    EXPECT(!tri_batch_is_due(r.rig.batch, 1), "a test at the largest batch");
    tri_batch_initialise(r.rig.batch);
    EXPECT(tri_batch_size(r.rig.batch, 0) == 8 && tri_batch_is_due(r.rig.batch, 1), "begun anew");
    saved_close(&r);
    return TRI_OK;
}

TRI_TEST(a_load_must_fit_the_keys)
{
    TRI_TRY(tri_comm_run_threads(1, &one_thread, load_elsewhere, NULL));
    return TRI_OK;
}

/* A run of the norm test that goes on with another one, which needs products. */
static tri_status change_test(tri_comm *world, void *arg)
{
    saved *s = arg;
    saved_rig r;
    tri_batch_report report[2]; /* of what was loaded, of what begins at the same batch */
    for (int run = 0; run < 3; run++) {
        s->f.test = run == 0 ? TRI_BATCH_NORM : TRI_BATCH_INNER_PRODUCT;
        TRI_TRY(saved_open(&r, world, fixed_config(&s->f)));
        double *state = r.row->data;
        size_t bytes = (size_t)r.row->count * sizeof(double);
        for (int test = 0; test < 4 && run == 0; test++)
            TRI_TRY(saved_test(s, &r, test, &report[0]));
        if (run == 0) memcpy(s->state, state, bytes);
        if (run == 1) {
            memcpy(state, s->state, bytes);
            TRI_TRY(tri_batch_restore(r.rig.batch));
        }
        if (run == 2) state[0] = s->state[0];
        if (run > 0) TRI_TRY(saved_test(s, &r, 5, &report[run - 1]));
        saved_close(&r);
    }
    EXPECT(report[0].wanted == report[1].wanted && report[0].wanted < 1000,
           "wants %g after tests without products, not %g", report[0].wanted, report[1].wanted);
    return TRI_OK;
}

TRI_TEST(averages_are_of_one_test)
{
    static saved s;
    s = (saved){
        .f = {.eta = 0.3, .smoothing = 0.9, .growth = 1.2, .noise_scale = 80, .first = 8}
    };
    draw_deviates();
    TRI_TRY(tri_comm_run_threads(1, &one_thread, change_test, &s));
    return TRI_OK;
}

/* --- steps that do not count, and order */

static tri_status interrupt(tri_comm *world, void *arg)
{
    (void)arg;
    static fixed_case f = {.test = TRI_BATCH_AUGMENTED,
                           .eta = 0.3,
                           .smoothing = 0.5,
                           .growth = 2,
                           .noise_scale = 16,
                           .first = 8};
    draw_deviates();
    tri_batch_config config = fixed_config(&f);
    config.adaptive.interval = 5;
    batch_rig rig;
    float *means = NULL;
    tri_batch_report report;
    TRI_TRY(TRI_NEW_ARRAY(FIXED_GROUPS * WIDE, &means));
    TRI_TRY(tri_batch_resolve(&config, "adamw"));
    TRI_TRY(batch_rig_open(&rig, world, WIDE, &config));
    EXPECT(!tri_batch_is_due(rig.batch, 4) && tri_batch_is_due(rig.batch, 5), "steps with tests");
    EXPECT_STATUS(tri_batch_observe(rig.batch, 1), TRI_EBUG, "group 1 of 4 behind group -1");
    EXPECT_STATUS(tri_batch_decide(rig.batch, world, &report), TRI_EBUG, "a decision behind group");
    draw_wide(&f, 0, 2, means);
    /* a step that is skipped behind its groups, one that has no numbers, and one that counts */
    for (int m = 0; m < FIXED_GROUPS; m++)
        TRI_TRY(tri_batch_observe(rig.batch, m));
    float old = means[WIDE + 7];
    means[WIDE + 7] = NAN;
    TRI_TRY(batch_rig_test(&rig, FIXED_GROUPS, means, &report));
    EXPECT(!report.is_finite && report.now == 8 && tri_batch_size(rig.batch, 0) == 8,
           "not a number made the batch %lld", (long long)report.now);
    means[WIDE + 7] = old;
    TRI_TRY(batch_rig_test(&rig, FIXED_GROUPS, means, &report));
    batch_rig fresh;
    tri_batch_report want;
    TRI_TRY(batch_rig_open(&fresh, world, WIDE, &config));
    TRI_TRY(batch_rig_test(&fresh, FIXED_GROUPS, means, &want));
    EXPECT(report.is_finite && report.wanted == want.wanted && report.now == want.now,
           "wanted %.17g, not %.17g", report.wanted, want.wanted);
    batch_rig_close(&fresh);
    batch_rig_close(&rig);
    TRI_FREE(means);
    return TRI_OK;
}

TRI_TEST(steps_without_an_update_leave_no_trace)
{
    TRI_TRY(tri_comm_run_threads(1, &one_thread, interrupt, NULL));
    return TRI_OK;
}

static tri_status measure_memory(tri_comm *world, void *arg)
{
    (void)arg;
    static const int kept[] = {0, 1, FIXED_GROUPS - 1, FIXED_GROUPS - 1, 2, 1};
    static const int doubles[] = {0, 2, FIXED_GROUPS + 1, FIXED_GROUPS + 1, 3, 2};
    for (int test = 0; test <= TRI_BATCH_NOISE_SCALE; test++) {
        fixed_case f = {.test = test, .eta = 0.5, .growth = 2, .first = 8};
        tri_batch_config config = fixed_config(&f);
        TRI_TRY(tri_batch_resolve(&config, "adagrad"));
        batch_rig rig;
        TRI_TRY(batch_rig_open(&rig, world, WIDE, &config));
        int64_t n = 0;
        int64_t sent = 0;
        for (int i = 0; i < rig.n_pieces; i++)
            if (rig.segments[i].is_counted) n += rig.segments[i].count;
        tri_arena *arena = NULL;
        TRI_TRY(tri_arena_create(&arena));
        TRI_TRY(tri_batch_declare(rig.batch, arena));
        double bytes = (double)tri_arena_bytes(arena, TRI_MEM_OPTIMIZER);
        EXPECT(fabs(bytes - 4.0 * (double)n * kept[test]) <= 64.0 * kept[test],
               "%s: %g bytes for %lld elements", tri_batch_tests()[test], bytes, (long long)n);
        int messages = tri_batch_messages(&config, &sent);
        EXPECT(sent == doubles[test] && messages == (test > 0) + (test == TRI_BATCH_COORDINATE),
               "%s: %lld doubles in %d messages", tri_batch_tests()[test], (long long)sent,
               messages);
        tri_arena_destroy(&arena);
        batch_rig_close(&rig);
    }
    return TRI_OK;
}

TRI_TEST(memory_and_messages)
{
    TRI_TRY(tri_comm_run_threads(2, &one_thread, measure_memory, NULL));
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(estimates_have_no_bias),
              TRI_TEST_ROW(the_fixed_point_is_reached_on_any_ranks),
              TRI_TEST_ROW(other_tests_decide_alike_on_any_ranks),
              TRI_TEST_ROW(a_loaded_controller_goes_on), TRI_TEST_ROW(a_load_must_fit_the_keys),
              TRI_TEST_ROW(averages_are_of_one_test),
              TRI_TEST_ROW(steps_without_an_update_leave_no_trace),
              TRI_TEST_ROW(memory_and_messages))

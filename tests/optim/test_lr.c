// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=30
/* Schedules: against formulas written another way, at their joints and ends, and what is refused. */
#include "optim/lr.h"
#include "optim/rules.h"
#include "tests/test.h"

static const double pi = 3.14159265358979323846;

/* The defaults of a job spec. */
static tri_lr_config config(const char *decay, int64_t warmup, double final)
{
    tri_lr_config c = {.warmup = warmup, .final = final, .power = 1, .rewarmup_peak = 1};
    c.scale = TRI_RULES_SQRT;
    snprintf(c.decay, sizeof c.decay, "%s", decay);
    snprintf(c.cooldown_shape, sizeof c.cooldown_shape, "linear");
    return c;
}

static tri_status make(const tri_lr_config *c, int64_t steps, int64_t sequences, tri_lr *out)
{
    tri_lr_args args = {.config = c, .lr = 3e-4, .steps = steps, .sequences = sequences};
    TRI_TRY(tri_lr_make(&args, out));
    return TRI_OK;
}

static double factor(const tri_lr_config *c, int64_t step, int64_t steps)
{
    tri_lr lr;
    if (make(c, steps, 1, &lr) != TRI_OK) return NAN;
    double got = tri_lr_factor(&lr, step);
    EXPECT(tri_lr_at(&lr, step) == 3e-4 * got, "%g", tri_lr_at(&lr, step));
    return got;
}

static void expect_at(const tri_lr_config *c, int64_t step, double want)
{
    double got = factor(c, step, 100);
    EXPECT(fabs(got - want) < 1e-12, "%s at %lld: %.17g, not %.17g", c->decay, (long long)step, got,
           want);
}

/* --- formulas */

TRI_TEST(decays_have_their_known_values)
{
    tri_lr_config cosine = config("cosine", 10, 0.1);
    expect_at(&cosine, 1, 0.1);
    expect_at(&cosine, 10, 1);
    expect_at(&cosine, 55, 0.55);
    expect_at(&cosine, 100, 0.1);
    tri_lr_config linear = config("linear", 0, 0);
    expect_at(&linear, 1, 0.99);
    expect_at(&linear, 100, 0);
    tri_lr_config constant = config("constant", 4, 0.5);
    expect_at(&constant, 2, 0.5);
    expect_at(&constant, 100, 1);
    tri_lr_config wsd = config("wsd", 10, 0.2);
    wsd.cooldown = 0.25;
    expect_at(&wsd, 75, 1);
    expect_at(&wsd, 80, 0.84);
    expect_at(&wsd, 100, 0.2);
    wsd.cooldown = 0; /* its own: 0.2 */
    expect_at(&wsd, 80, 1);
    expect_at(&wsd, 90, 0.6);
    snprintf(wsd.cooldown_shape, sizeof wsd.cooldown_shape, "1-sqrt");
    expect_at(&wsd, 85, 0.6); /* a quarter of the way: half of the height */
    expect_at(&wsd, 100, 0.2);
    tri_lr_config square = config("polynomial", 0, 0);
    square.power = 2;
    expect_at(&square, 50, 0.25);
    square.power = 0.5;
    expect_at(&square, 75, 0.5);
    tri_lr_config root = config("inverse_sqrt", 4, 0);
    expect_at(&root, 2, 0.5);
    expect_at(&root, 16, 0.5);
    expect_at(&root, 100, 0.2);
    return TRI_OK;
}

/* Each decay as one formula of the step, for many warm-ups and ends. */
static double formula(const tri_lr_config *c, int64_t step, int64_t steps)
{
    double s = (double)step;
    double w = (double)c->warmup;
    double n = (double)steps;
    double f = c->final;
    if (step <= c->warmup) return s / w;
    double left = (n - s) / (n - w);
    if (strcmp(c->decay, "constant") == 0) return 1;
    if (strcmp(c->decay, "linear") == 0) return f * (1 - left) + left;
    /* half the sum of both ends, and half their difference */
    if (strcmp(c->decay, "cosine") == 0) return (1 + f) / 2 - (1 - f) / 2 * cos(pi * left);
    if (strcmp(c->decay, "polynomial") == 0) return f + (1 - f) * exp(c->power * log(left));
    double top = 1;
    double d = c->cooldown;
    bool is_root = strcmp(c->decay, "inverse_sqrt") == 0;
    double rsqrt = pow(fmax(w, 1), 0.5) * fmin(pow(s, -0.5), s * pow(fmax(w, 1), -1.5));
    double begin = n - round(d * n);
    if (is_root) top = pow(fmax(begin, 1) / fmax(w, 1), -0.5);
    if (s <= begin) return is_root ? rsqrt : 1;
    double done = (s - begin) / (n - begin);
    bool is_sqrt = strcmp(c->cooldown_shape, "1-sqrt") == 0;
    return top - (top - f) * (is_sqrt ? pow(done, 0.5) : done);
}

static void expect_formula(const tri_lr_config *c, int64_t steps)
{
    for (int64_t step = 1; step <= steps; step++) {
        double got = factor(c, step, steps);
        double want = formula(c, step, steps);
        EXPECT(fabs(got - want) < 1e-12,
               "%s warm-up %lld final %g, step %lld of %lld: %.17g, not "
               "%.17g",
               c->decay, (long long)c->warmup, c->final, (long long)step, (long long)steps, got,
               want);
    }
}

TRI_TEST(decays_are_their_formulas)
{
    static const int64_t warmups[] = {0, 1, 7, 20};
    static const double finals[] = {0, 0.05, 0.25};
    static const char *const shapes[] = {"linear", "1-sqrt"};
    for (const char *const *name = tri_lr_decays(); *name; name++)
        for (int i = 0; i < 24; i++) {
            tri_lr_config c = config(*name, warmups[i % 4], finals[i / 4 % 3]);
            c.power = i < 12 ? 2 : 0.5;
            c.cooldown = 0.3;
            snprintf(c.cooldown_shape, sizeof c.cooldown_shape, "%s", shapes[i / 12]);
            bool is_root = strcmp(*name, "inverse_sqrt") == 0;
            if (is_root && c.final > 0.05) c.final = 0.01;
            expect_formula(&c, 101);
        }
    tri_lr_config root = config("inverse_sqrt", 0, 0.9);
    for (int64_t step = 1; step <= 50; step++)
        EXPECT(fabs(factor(&root, step, 50) - 1 / sqrt((double)step)) < 1e-15, "step %lld",
               (long long)step);
    return TRI_OK;
}

/* --- joints and ends */

/* After the warm-up nothing rises, nothing jumps (the steepest, a cooldown as 1 - sqrt, falls by
 * sqrt(1 / its steps) at its first), and the last step is exactly the last factor. */
TRI_TEST(joints_are_continuous)
{
    const int64_t steps = 10000;
    for (const char *const *name = tri_lr_decays(); *name; name++)
        for (const char *const *shape = tri_lr_shapes(); *shape; shape++) {
            tri_lr_config c = config(*name, 700, 0.1);
            c.power = 2;
            c.cooldown = 0.3;
            snprintf(c.cooldown_shape, sizeof c.cooldown_shape, "%s", *shape);
            tri_lr lr;
            TRI_TRY(make(&c, steps, 1, &lr));
            EXPECT(tri_lr_factor(&lr, 1) == 1.0 / 700 && tri_lr_factor(&lr, 700) == 1, "%s", *name);
            for (int64_t step = 701; step <= steps; step++) {
                double fall = tri_lr_factor(&lr, step - 1) - tri_lr_factor(&lr, step);
                EXPECT(fall >= -1e-15 && fall < 0.02, "%s, %s at %lld: falls by %g", *name, *shape,
                       (long long)step, fall);
            }
            bool is_constant = strcmp(*name, "constant") == 0;
            EXPECT(tri_lr_factor(&lr, steps) == (is_constant ? 1 : 0.1), "%s, %s ends with %.17g",
                   *name, *shape, tri_lr_factor(&lr, steps));
            EXPECT(tri_lr_factor(&lr, steps + 5) == tri_lr_factor(&lr, steps), "%s", *name);
        }
    return TRI_OK;
}

/* A warm-up that leaves less than the cooldown, or nothing. */
TRI_TEST(warmup_comes_before_cooldown)
{
    tri_lr_config c = config("wsd", 95, 0.5);
    expect_at(&c, 95, 1);
    expect_at(&c, 97, 0.8);
    expect_at(&c, 100, 0.5);
    c.warmup = 100;
    expect_at(&c, 99, 0.99);
    expect_at(&c, 100, 1);
    tri_lr_config one = config("cosine", 0, 0.3);
    EXPECT(factor(&one, 1, 1) == 0.3, "%g", factor(&one, 1, 1));
    return TRI_OK;
}

/* --- two phases */

/* Each phase is a schedule of its own over its own steps. */
TRI_TEST(phases_are_schedules)
{
    for (const char *const *name = tri_lr_decays(); *name; name++) {
        tri_lr_config both = config(*name, 6, 0.02);
        both.cooldown = 0.2;
        both.rewarmup_at = 0.6;
        both.rewarmup = 4;
        both.rewarmup_peak = 0.25;
        tri_lr_config first = config(*name, 6, 0.02);
        tri_lr_config second = config(*name, 4, 0.02);
        first.cooldown = second.cooldown = 0.2;
        for (int64_t step = 1; step <= 200; step++) {
            double want =
                step <= 120 ? factor(&first, step, 120) : 0.25 * factor(&second, step - 120, 80);
            EXPECT(factor(&both, step, 200) == want, "%s at %lld: %g, not %g", *name,
                   (long long)step, factor(&both, step, 200), want);
        }
    }
    return TRI_OK;
}

/* LAMB with a mixed batch: 14,063 + 1,562 steps; and the public recipe for BERT with 7,038 + 1,563
 * steps, warm-ups of 0.2843 and 0.128 and peaks 6e-3 and 4e-3. */
TRI_TEST(phases_of_bert)
{
    tri_lr_config c = config("linear", 0, 0);
    c.rewarmup_at = 0.9;
    tri_lr lr;
    TRI_TRY(make(&c, 15625, 32768, &lr));
    EXPECT(lr.phase[0].steps == 14063 && lr.phase[1].steps == 1562, "%lld",
           (long long)lr.phase[0].steps);
    snprintf(c.decay, sizeof c.decay, "polynomial");
    c.power = 0.5;
    c.warmup_share = 0.2843;
    c.rewarmup_at = 7038.0 / (7038 + 1563);
    c.rewarmup_share = 0.128;
    c.rewarmup_peak = 4.0 / 6;
    TRI_TRY(make(&c, 7038 + 1563, 65536, &lr));
    EXPECT(lr.phase[0].warmup == 2001 && lr.phase[1].warmup == 200, "%lld, %lld",
           (long long)lr.phase[0].warmup, (long long)lr.phase[1].warmup);
    EXPECT(tri_lr_factor(&lr, 2001) == 1 && tri_lr_factor(&lr, 7038) == 0 &&
               tri_lr_factor(&lr, 7038 + 200) == c.rewarmup_peak &&
               tri_lr_factor(&lr, 7038 + 1563) == 0,
           "%g", tri_lr_factor(&lr, 7238));
    return TRI_OK;
}

/* --- large batches */

/* The table of "untuned LAMB": one learning rate and one warm-up, given for batch 512. */
TRI_TEST(large_batch_table)
{
    static const struct {
        int64_t batch, steps, ratio;
        double bert, imagenet, epochs;
    } table[] = {
        {512,   1000000, 320, 6.250000e-4, 5.000000e-3, 0.3125},
        {1024,  500000,  160, 8.838835e-4, 7.071068e-3, 0.625 },
        {2048,  250000,  80,  1.250000e-3, 1.000000e-2, 1.25  },
        {4096,  125000,  40,  1.767767e-3, 1.414214e-2, 2.5   },
        {8192,  62500,   20,  2.500000e-3, 2.000000e-2, 5     },
        {16384, 31250,   10,  3.535534e-3, 2.828427e-2, 10    },
        {32768, 15625,   5,   5.000000e-3, 4.000000e-2, 20    },
    };
    tri_lr_config c = config("linear", 0, 0);
    c.scale_from = 512;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        c.warmup_share = 1.0 / 320;
        tri_lr_args args = {
            .config = &c, .lr = 6.25e-4, .steps = table[i].steps, .sequences = table[i].batch};
        tri_lr lr;
        TRI_TRY(tri_lr_make(&args, &lr));
        EXPECT(fabs(lr.peak / table[i].bert - 1) < 1e-6, "%lld: %.9g", (long long)table[i].batch,
               lr.peak);
        EXPECT(lr.phase[0].warmup == table[i].steps / table[i].ratio, "%lld: %lld",
               (long long)table[i].batch, (long long)lr.phase[0].warmup);
        /* ImageNet: 90 epochs of 1,281,167 images; the share is that of the epochs */
        args.lr = 5e-3;
        c.warmup_share = 0.3125 / 90;
        args.steps = llround(90.0 * 1281167 / (double)table[i].batch);
        TRI_TRY(tri_lr_make(&args, &lr));
        double epochs = 90 * (double)lr.phase[0].warmup / (double)args.steps;
        EXPECT(fabs(lr.peak / table[i].imagenet - 1) < 1e-6, "%.9g", lr.peak);
        EXPECT(fabs(epochs / table[i].epochs - 1) < 1e-3, "%.9g epochs", epochs);
        EXPECT(llabs(lr.phase[0].warmup - 782) <= 1, "%lld steps", (long long)lr.phase[0].warmup);
    }
    return TRI_OK;
}

/* Steps of warm-up are what they are; the linear rule; smaller batches; the second phase's share. */
TRI_TEST(batch_scales_rate_and_share)
{
    tri_lr_config c = config("constant", 30, 0);
    tri_lr lr;
    c.scale_from = 64;
    TRI_TRY(make(&c, 1000, 256, &lr));
    EXPECT(lr.peak == 6e-4 && lr.phase[0].warmup == 30, "%g", lr.peak);
    c.scale = TRI_RULES_LINEAR;
    TRI_TRY(make(&c, 1000, 256, &lr));
    EXPECT(lr.peak == 1.2e-3, "%g", lr.peak);
    c.scale = TRI_RULES_SQRT;
    c.warmup = 0;
    c.warmup_share = 0.08;
    c.rewarmup_at = 0.5;
    c.rewarmup_share = 0.4;
    TRI_TRY(make(&c, 1000, 16, &lr));
    EXPECT(lr.peak == 1.5e-4 && lr.phase[0].warmup == 10 && lr.phase[1].warmup == 50, "%g",
           lr.peak);
    c.scale_from = 0;
    TRI_TRY(make(&c, 1000, 16, &lr));
    EXPECT(lr.peak == 3e-4 && lr.phase[0].warmup == 40 && lr.phase[1].warmup == 200, "%g", lr.peak);
    EXPECT(tri_rules_lr_factor(TRI_RULES_NONE, 4) == 1, "none");
    return TRI_OK;
}

/* --- refusals */

static tri_status refused(const tri_lr_config *c)
{
    tri_lr lr;
    TRI_TRY(make(c, 10, 64, &lr));
    return TRI_OK;
}

#define EXPECT_REFUSED(key, value, part)               \
    do {                                               \
        tri_lr_config c_ = config("wsd", 0, 0);        \
        c_.key = value;                                \
        EXPECT_STATUS(refused(&c_), TRI_EINVAL, part); \
    } while (0)

TRI_TEST(wrong_values_name_key_and_range)
{
    tri_lr_config c = config("cosin", 0, 0);
    EXPECT_STATUS(refused(&c), TRI_EINVAL, "schedule.decay 'cosin' is unknown; known: constant, ");
    c = config("wsd", 0, 0);
    snprintf(c.cooldown_shape, sizeof c.cooldown_shape, "round");
    EXPECT_STATUS(refused(&c), TRI_EINVAL,
                  "schedule.cooldown_shape 'round' is unknown; known: linear, 1-sqrt, ");
    EXPECT_REFUSED(warmup, 11,
                   "schedule.warmup is 11; it must be between 0 and 10, the steps of tr");
    EXPECT_REFUSED(warmup, -1, "schedule.warmup is -1");
    EXPECT_REFUSED(warmup_share, 1.5, "schedule.warmup_share is 1.5; it must be between 0 and 1");
    EXPECT_REFUSED(final, 2, "schedule.final is 2; it must be between 0 and 1");
    EXPECT_REFUSED(final, NAN, "schedule.final");
    EXPECT_REFUSED(power, 0, "schedule.power is 0; it must be above 0 and at most 100");
    EXPECT_REFUSED(cooldown, -0.1, "schedule.cooldown is -0.1");
    EXPECT_REFUSED(rewarmup_at, 1, "schedule.rewarmup_at is 1; it must be above 0 and below 1");
    EXPECT_REFUSED(rewarmup_at, 0.01, "schedule.rewarmup_at is 0.01 of train.steps 10");
    EXPECT_REFUSED(rewarmup_at, 0.99, "each phase needs a step");
    EXPECT_REFUSED(rewarmup_peak, 0, "schedule.rewarmup_peak is 0; it must be above 0");
    EXPECT_REFUSED(scale_from, -3, "schedule.scale_from is -3");
    return TRI_OK;
}

TRI_TEST(contradictions_are_named)
{
    EXPECT_REFUSED(rewarmup, 3,
                   "schedule.rewarmup 3, rewarmup_share 0, rewarmup_peak 1: there is no");
    EXPECT_REFUSED(rewarmup_share, 0.3, "schedule.rewarmup_at says");
    EXPECT_REFUSED(rewarmup_peak, 0.3, "schedule.rewarmup_at says");
    tri_lr_config c = config("linear", 3, 0);
    c.warmup_share = 0.3;
    EXPECT_STATUS(refused(&c), TRI_EINVAL,
                  "schedule.warmup is 3 and schedule.warmup_share 0.3: they say the same");
    c = config("linear", 0, 0);
    c.rewarmup_at = 0.5;
    c.rewarmup = 6;
    EXPECT_STATUS(refused(&c), TRI_EINVAL,
                  "schedule.rewarmup is 6; it must be between 0 and 5, the steps of its phase");
    c = config("linear", 0, 0);
    c.warmup_share = 0.25;
    c.scale_from = 8;
    EXPECT_STATUS(refused(&c), TRI_EINVAL,
                  "schedule.warmup_share is 0.25 for a batch of schedule.scale_from 8, which is 2 "
                  "for batch.sequences 64: at most 1, which is a batch of 32");
    c.scale_from = 16;
    TRI_TRY(refused(&c));
    c = config("inverse_sqrt", 2, 0.6);
    c.cooldown = 0.2;
    EXPECT_STATUS(
        refused(&c), TRI_EINVAL,
        "schedule.final is 0.6, but where the cooldown begins, inverse_sqrt has fallen to "
        "0.5 of the peak");
    c.final = 0.5;
    TRI_TRY(refused(&c));
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(decays_have_their_known_values), TRI_TEST_ROW(decays_are_their_formulas),
              TRI_TEST_ROW(joints_are_continuous), TRI_TEST_ROW(warmup_comes_before_cooldown),
              TRI_TEST_ROW(phases_are_schedules), TRI_TEST_ROW(phases_of_bert),
              TRI_TEST_ROW(large_batch_table), TRI_TEST_ROW(batch_scales_rate_and_share),
              TRI_TEST_ROW(wrong_values_name_key_and_range), TRI_TEST_ROW(contradictions_are_named))

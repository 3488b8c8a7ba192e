// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* Every rule against its formula in double over several steps; an element's bits do not depend on how
 * the range is cut. */
#include "kernels/update.h"
#include "tests/kernels/kernel_cases.h"

enum { N = 40007, STEPS = 4 };

/* Of element 0 in its tensor: places go beyond 2^32 in the middle of a vector. */
static const uint64_t first_place = ((uint64_t)1 << 32) - 10001;

typedef struct update_arrays {
    kernel_array *weight, *gradient, *m, *v, *copy;
    double *want, *want_m, *want_v;
} update_arrays;

static void update_arrays_destroy(update_arrays **a)
{
    if (!*a) return;
    kernel_array_destroy(&(*a)->weight);
    kernel_array_destroy(&(*a)->gradient);
    kernel_array_destroy(&(*a)->m);
    kernel_array_destroy(&(*a)->v);
    kernel_array_destroy(&(*a)->copy);
    TRI_FREE((*a)->want);
    TRI_FREE((*a)->want_m);
    TRI_FREE((*a)->want_v);
    TRI_FREE(*a);
}

static tri_status update_arrays_create(update_arrays **out)
{
    TRI_AUTO(update_arrays) *a = NULL;
    TRI_TRY(TRI_NEW(&a));
    TRI_TRY(kernel_array_create(TRI_F32, N, 1, 1, &a->weight));
    TRI_TRY(kernel_array_create(TRI_F32, N, 2, 1, &a->gradient));
    TRI_TRY(kernel_array_create(TRI_F32, N, 0, 0, &a->m));
    TRI_TRY(kernel_array_create(TRI_F32, N, 0, 0, &a->v));
    TRI_TRY(kernel_array_create(TRI_BF16, N, 0, 0, &a->copy));
    TRI_TRY(TRI_NEW_ARRAY(N, &a->want));
    TRI_TRY(TRI_NEW_ARRAY(N, &a->want_m));
    TRI_TRY(TRI_NEW_ARRAY(N, &a->want_v));
    for (int i = 0; i < N; i++)
        a->want[i] = (double)a->weight->value[i];
    *out = TRI_MOVE(a);
    return TRI_OK;
}

static tri_update_range part_of(const update_arrays *a, int64_t begin, int64_t n)
{
    return (tri_update_range){.n = n,
                              .weight = (float *)a->weight->data + begin,
                              .gradient = (float *)a->gradient->data + begin,
                              .gradient_scale = 0.5f,
                              .copy = (tri_bf16 *)a->copy->data + begin,
                              .copy_type = TRI_BF16};
}

static void expect_copy(const kernel_case *c, update_arrays *a)
{
    kernel_array_read(a->weight);
    int wrong = 0;
    for (int i = 0; i < N; i++)
        wrong += ((tri_bf16 *)a->copy->data)[i] != tri_f32_to_bf16(a->weight->value[i]);
    EXPECT(wrong == 0, "%s: %d elements of the copy differ from the rounded weight", c->isa, wrong);
}

static void expect_values(const kernel_case *c, kernel_array *got, const double *want)
{
    float values[N];
    for (int i = 0; i < N; i++)
        values[i] = (float)want[i];
    EXPECT_NEAR_ARRAY(c, got, values, "after %d steps", STEPS);
}

static const struct {
    tri_update_rule rule;
    float rate, beta[2], epsilon, decay, l2;
    bool nesterov, has_moment;
} rules[] = {
    {TRI_UPDATE_SGD,     0.01f, {0, 0},         0,      0,      0.1f, false, false},
    {TRI_UPDATE_SGD,     0.01f, {0.9f, 0},      0,      0,      0.1f, false, true },
    {TRI_UPDATE_SGD,     0.01f, {0.9f, 0},      0,      0.01f,  0,    true,  true },
    {TRI_UPDATE_ADAM,    0.01f, {0.9f, 0.95f},  1e-8f,  0.001f, 0,    false, true },
    {TRI_UPDATE_ADAM,    0.01f, {0.9f, 0.999f}, 1e-8f,  0,      0.1f, false, true },
    {TRI_UPDATE_ADAMAX,  0.02f, {0.9f, 0.999f}, 1e-8f,  0,      0,    false, true },
    {TRI_UPDATE_ATAN2,   0.01f, {0.9f, 0.99f},  0,      0.001f, 0,    false, true },
    {TRI_UPDATE_LION,    0.01f, {0.9f, 0.99f},  0,      0.001f, 0,    false, true },
    {TRI_UPDATE_ADAGRAD, 0.01f, {0, 0},         1e-10f, 0,      0.1f, false, true },
};
enum { CASES = sizeof rules / sizeof rules[0] };

static tri_update_args args_of(const update_arrays *a, int k, int64_t begin, int64_t n,
                               int64_t step)
{
    tri_update_args args = {
        .rule = rules[k].rule,
        .range = part_of(a, begin, n),
        .moment_type = TRI_F32,
        .index = first_place + (uint64_t)begin,
        .key = 77 + (uint64_t)step,
        .rate = rules[k].rate,
        .beta = {rules[k].beta[0], rules[k].beta[1]},
        .epsilon = rules[k].epsilon,
        .decay = rules[k].decay,
        .l2 = rules[k].l2,
        .nesterov = rules[k].nesterov,
        .step = step
    };
    if (rules[k].has_moment) args.moment[0] = (float *)a->m->data + begin;
    if (tri_update_moments(args.rule) > 1) args.moment[1] = (float *)a->v->data + begin;
    return args;
}

/* One element, in double, as the papers have it. */
static void element(int k, int step, double g, double *w, double *m, double *v)
{
    double rate = (double)rules[k].rate, epsilon = (double)rules[k].epsilon;
    double b0 = (double)rules[k].beta[0], b1 = (double)rules[k].beta[1];
    double c0 = 1 - pow(b0, step), c1 = 1 - pow(b1, step);
    g += (double)rules[k].l2 * *w;
    *w *= 1 - (double)rules[k].decay;
    double old = *m;
    switch (rules[k].rule) {
    case TRI_UPDATE_SGD:
        *m = step == 1 ? g : b0 * *m + g;
        *w -= rate * (!rules[k].has_moment ? g : rules[k].nesterov ? g + b0 * *m : *m);
        break;
    case TRI_UPDATE_ADAM:
    case TRI_UPDATE_ATAN2:
        *m = b0 * *m + (1 - b0) * g;
        *v = b1 * *v + (1 - b1) * g * g;
        *w -= rules[k].rule == TRI_UPDATE_ADAM ? rate * (*m / c0) / (sqrt(*v / c1) + epsilon)
                                               : rate / atan(1) * atan2(*m / c0, sqrt(*v / c1));
        break;
    case TRI_UPDATE_ADAMAX:
        *m = b0 * *m + (1 - b0) * g;
        *v = fmax(b1 * *v, fabs(g) + epsilon);
        *w -= rate / c0 * *m / *v;
        break;
    case TRI_UPDATE_LION: {
        double c = b0 * old + (1 - b0) * g;
        *w -= rate * ((c > 0) - (c < 0));
        *m = b1 * old + (1 - b1) * g;
        break;
    }
    case TRI_UPDATE_ADAGRAD:
        *m += g * g;
        *w -= rate * g / (sqrt(*m) + epsilon);
        break;
    default:
        break;
    }
}

static tri_status rule_case(const kernel_case *c)
{
    if (c->dtype != TRI_F32) return TRI_OK;
    for (int k = 0; k < CASES; k++) {
        TRI_AUTO(update_arrays) *a = NULL;
        TRI_TRY(update_arrays_create(&a));
        for (int step = 1; step <= STEPS; step++) {
            tri_update_args args = args_of(a, k, 0, N, step);
            if (k % 2) args.range.copy = NULL;
            TRI_TRY(tri_update(c->kernels, &args));
            for (int i = 0; i < N; i++)
                element(k, step, 0.5 * (double)a->gradient->value[i], &a->want[i], &a->want_m[i],
                        &a->want_v[i]);
        }
        expect_values(c, a->weight, a->want);
        if (rules[k].has_moment) expect_values(c, a->m, a->want_m);
        if (tri_update_moments(rules[k].rule) > 1) expect_values(c, a->v, a->want_v);
        if (k % 2 == 0) expect_copy(c, a);
    }
    return TRI_OK;
}

TRI_TEST(rules_are_the_papers)
{
    TRI_TRY(kernel_cases_run(rule_case));
    return TRI_OK;
}

/* Moments of both types: the same bits however the range is cut. */
static tri_status cut_case(const kernel_case *c)
{
    const int64_t cuts[] = {0, 1, 18, 100, 4097, 4099, 20000, N};
    for (int k = 0; k < CASES; k++) {
        TRI_AUTO(update_arrays) *whole = NULL, *parts = NULL;
        TRI_TRY(update_arrays_create(&whole));
        TRI_TRY(update_arrays_create(&parts));
        for (int step = 1; step <= 2; step++) {
            tri_update_args args = args_of(whole, k, 0, N, step);
            args.moment_type = c->dtype;
            TRI_TRY(tri_update(c->kernels, &args));
            for (size_t p = 0; p + 1 < sizeof cuts / sizeof cuts[0]; p++) {
                args = args_of(parts, k, cuts[p], cuts[p + 1] - cuts[p], step);
                args.moment_type = c->dtype;
                for (int i = 0; c->dtype == TRI_BF16 && i < 2; i++)
                    if (args.moment[i])
                        args.moment[i] = (tri_bf16 *)(i ? parts->v : parts->m)->data + cuts[p];
                TRI_TRY(tri_update(c->kernels, &args));
            }
        }
        EXPECT(!memcmp(whole->weight->data, parts->weight->data, N * sizeof(float)) &&
                   !memcmp(whole->m->data, parts->m->data, N * sizeof(float)) &&
                   !memcmp(whole->v->data, parts->v->data, N * sizeof(float)) &&
                   !memcmp(whole->copy->data, parts->copy->data, N * sizeof(tri_bf16)),
               "%s, %d threads, case %d: a range that is cut gives other bits", c->isa, c->threads,
               k);
    }
    return TRI_OK;
}

TRI_TEST(cuts_change_nothing)
{
    TRI_TRY(kernel_cases_run(cut_case));
    return TRI_OK;
}

/* A bf16 moment that grows by less than half of its last bit grows in the mean. */
static tri_status random_rounding_case(const kernel_case *c)
{
    if (c->dtype != TRI_BF16) return TRI_OK;
    TRI_AUTO(update_arrays) *a = NULL;
    TRI_TRY(update_arrays_create(&a));
    const float small = 1.0f / 16; /* squared: an eighth of the last bit of 4 */
    for (int i = 0; i < N; i++) {
        ((float *)a->gradient->data)[i] = small;
        ((tri_bf16 *)a->m->data)[i] = tri_f32_to_bf16(4);
    }
    for (int step = 1; step <= 64; step++) {
        tri_update_args args = args_of(a, CASES - 1, 0, N, step);
        args.moment_type = TRI_BF16;
        args.range.gradient_scale = 1;
        args.l2 = 0;
        TRI_TRY(tri_update(c->kernels, &args));
    }
    double mean = 0;
    for (int i = 0; i < N; i++)
        mean += (double)tri_bf16_to_f32(((tri_bf16 *)a->m->data)[i]) / N;
    /* 4.25; each step adds 1/256 +- about 1/90: the mean of N elements is within 5 deviations */
    EXPECT(fabs(mean - 4.25) < 5 * sqrt(64.0) / 90 / sqrt(N), "%s: the mean is %.6f, not 4.25",
           c->isa, mean);
    return TRI_OK;
}

TRI_TEST(bf16_moments_do_not_stand_still)
{
    TRI_TRY(kernel_cases_run(random_rounding_case));
    return TRI_OK;
}

/* Has an element's first moment been rounded up at the first step, its second one at the first step, its
 * first one at the second step, and that of its right neighbour? */
enum { SIGNS = 4 };

static tri_status draw_signs(const kernel_case *c, update_arrays *a, bool (*up)[SIGNS])
{
    for (int i = 0; i < N; i++)
        ((float *)a->gradient->data)[i] = 1 + 3.0f / 1024; /* 3/8 of the last bit of bf16 above 1 */
    for (int step = 1; step <= 2; step++) {
        tri_update_args args = args_of(a, 3, 0, N, step);
        args.moment_type = TRI_BF16;
        args.range.gradient_scale = 1;
        args.beta[0] = args.beta[1] = 0; /* moments: g, and g^2, 3/4 of the bit */
        TRI_TRY(tri_update(c->kernels, &args));
        const tri_bf16 *m = a->m->data;
        const tri_bf16 *v = a->v->data;
        for (int i = 0; i < N; i++) {
            up[i][step == 1 ? 0 : 2] = m[i] > tri_f32_to_bf16(1);
            if (step == 1) up[i][1] = v[i] > tri_f32_to_bf16(1);
            if (step == 1 && i > 0) up[i - 1][3] = up[i][0];
        }
    }
    return TRI_OK;
}

/* Rounding at random keeps the mean, and every element, moment and step has chances of its own. */
static tri_status chance_case(const kernel_case *c)
{
    static const double share[SIGNS] = {0.375, 0.75 + 9.0 / 8192, 0.375, 0.375};
    if (c->dtype != TRI_BF16) return TRI_OK;
    TRI_AUTO(update_arrays) *a = NULL;
    bool(*up)[SIGNS] = NULL;
    TRI_TRY(update_arrays_create(&a));
    TRI_TRY(TRI_NEW_ARRAY(N, &up));
    tri_status rc = draw_signs(c, a, up);
    for (int x = 0; x < SIGNS; x++)
        for (int y = 0; y <= x; y++) { /* of x alone, and of x and y */
            double wanted = x == y ? share[x] : share[x] * share[y];
            double both = 0;
            for (int i = 0; i < N - 1; i++)
                both += up[i][x] && up[i][y];
            EXPECT(fabs(both / (N - 1) - wanted) < 5 * sqrt(wanted * (1 - wanted) / N),
                   "%s, %d and %d: %.5f of all, not %.5f", c->isa, x, y, both / (N - 1), wanted);
        }
    TRI_FREE(up);
    return rc;
}

TRI_TEST(bf16_moments_have_chances_of_their_own)
{
    TRI_TRY(kernel_cases_run(chance_case));
    return TRI_OK;
}

/* A moment that is no number makes a weight that is none, and no other one. */
static tri_status nan_case(const kernel_case *c)
{
    for (int k = 0; k < CASES; k++) {
        if (!rules[k].has_moment) continue;
        TRI_AUTO(update_arrays) *a = NULL;
        TRI_TRY(update_arrays_create(&a));
        tri_update_args args = args_of(a, k, 0, N, 1);
        args.moment_type = c->dtype;
        if (c->dtype == TRI_BF16)
            ((tri_bf16 *)a->m->data)[17] = tri_f32_to_bf16(NAN);
        else
            ((float *)a->m->data)[17] = NAN;
        TRI_TRY(tri_update(c->kernels, &args));
        for (int i = 0; i < N; i++)
            EXPECT(isnan(((float *)a->weight->data)[i]) == (i == 17),
                   "%s, case %d: element %d is %g", c->isa, k, i,
                   (double)((float *)a->weight->data)[i]);
    }
    return TRI_OK;
}

TRI_TEST(nan_stays)
{
    TRI_TRY(kernel_cases_run(nan_case));
    return TRI_OK;
}

/* The two halves of LAMB: moments and sums, then the step. */
static tri_status lamb_case(const kernel_case *c)
{
    if (c->dtype != TRI_F32) return TRI_OK;
    TRI_AUTO(update_arrays) *a = NULL;
    TRI_TRY(update_arrays_create(&a));
    for (int step = 1; step <= STEPS; step++) {
        double want[2] = {0, 0}, sums[2] = {0, 0}, *u = NULL;
        TRI_TRY(TRI_NEW_ARRAY(N, &u));
        for (int i = 0; i < N; i++) {
            double g = 0.5 * (double)a->gradient->value[i];
            a->want_m[i] = 0.9 * a->want_m[i] + (1 - 0.9) * g;
            a->want_v[i] = 0.999 * a->want_v[i] + (1 - 0.999) * g * g;
            double m = a->want_m[i] / (1 - pow(0.9, step));
            double v = a->want_v[i] / (1 - pow(0.999, step));
            u[i] = m / (sqrt(v) + 1e-6) + 0.01 * a->want[i];
            want[0] += a->want[i] * a->want[i];
            want[1] += u[i] * u[i];
        }
        for (int i = 0; i < N; i++)
            a->want[i] -= 0.02 * u[i];
        TRI_FREE(u);
        tri_update_args args = {
            .rule = TRI_UPDATE_MOMENTS,
            .range = part_of(a, 0, N),
            .moment = {a->m->data, a->v->data},
            .moment_type = TRI_F32,
            .rate = 0.02f,
            .beta = {0.9f,       0.999f    },
            .epsilon = 1e-6f,
            .decay = 0.01f,
            .step = step,
            .sums = sums
        };
        TRI_TRY(tri_update(c->kernels, &args));
        for (int i = 0; i < 2; i++)
            EXPECT(fabs(sums[i] / want[i] - 1) < 1e-5, "%s, step %d: sum %d is %.9g, not %.9g",
                   c->isa, step, i, sums[i], want[i]);
        args.rule = TRI_UPDATE_TRUST;
        TRI_TRY(tri_update(c->kernels, &args));
    }
    expect_values(c, a->weight, a->want);
    expect_copy(c, a);
    return TRI_OK;
}

TRI_TEST(lamb_is_two_halves)
{
    TRI_TRY(kernel_cases_run(lamb_case));
    return TRI_OK;
}

/* Sums have the same bits wherever the copy lies, which the first half does not write. */
static tri_status sums_case(const kernel_case *c)
{
    double sums[2][2] = {
        {0, 0},
        {0, 0}
    };
    for (int at = 0; at < 2; at++) {
        TRI_AUTO(update_arrays) *a = NULL;
        TRI_TRY(update_arrays_create(&a));
        tri_update_args args = {
            .rule = TRI_UPDATE_MOMENTS,
            .range = part_of(a, 0, N - 1),
            .moment = {a->m->data, a->v->data},
            .moment_type = c->dtype,
            .beta = {0.9f,       0.999f    },
            .epsilon = 1e-6f,
            .step = 1,
            .sums = sums[at]
        };
        args.range.far = true;
        args.range.copy = (tri_bf16 *)a->copy->data + at;
        TRI_TRY(tri_update(c->kernels, &args));
        for (int i = 0; i < N; i++)
            EXPECT(((tri_bf16 *)a->copy->data)[i] == 0, "element %d of the copy is written", i);
    }
    EXPECT(!memcmp(sums[0], sums[1], sizeof sums[0]), "%s: %.17g, %.17g", c->isa, sums[0][0],
           sums[1][0]);
    return TRI_OK;
}

TRI_TEST(sums_do_not_look_at_copies)
{
    TRI_TRY(kernel_cases_run(sums_case));
    return TRI_OK;
}

/* Every way of the loop without arithmetic does the same, on any alignment, with moments of both types. */
static tri_status traffic_case(const kernel_case *c)
{
    bool bf16 = c->dtype == TRI_BF16;
    for (int way = 0; way < TRI_TRAFFIC_WAYS; way++) {
        TRI_AUTO(update_arrays) *a = NULL;
        TRI_TRY(update_arrays_create(&a));
        const uint32_t *gradient = a->gradient->data;
        for (int64_t begin = 0; begin < 2; begin++) {
            tri_update_traffic_args args = {.range = part_of(a, begin, N - begin),
                                            .m = (float *)a->m->data + begin,
                                            .moment_type = c->dtype,
                                            .way = (tri_traffic_way)way,
                                            .flip = 0xffffffffu};
            if (bf16) args.m = (tri_bf16 *)a->m->data + begin;
            TRI_TRY(tri_update_traffic(c->kernels, &args));
        }
        const uint32_t *m = a->m->data;
        const tri_bf16 *half = a->m->data;
        int wrong = bf16 ? half[0] != gradient[0] >> 16 : m[0] != gradient[0];
        for (int i = 1; i < N; i++) /* flipped twice */
            wrong += bf16 ? half[i] != 0 : m[i] != 0;
        kernel_array_read(a->copy);
        for (int i = 0; i < N; i++)
            wrong += ((tri_bf16 *)a->copy->data)[i] != gradient[i] >> 16;
        EXPECT(wrong == 0, "%s, way %d: %d elements are wrong", c->isa, way, wrong);
    }
    return TRI_OK;
}

TRI_TEST(traffic_flips_bits)
{
    TRI_TRY(kernel_cases_run(traffic_case));
    return TRI_OK;
}

/* What is to be read alone stays as it is; without a gradient the copy is that of the weight. */
static tri_status reading_case(const kernel_case *c)
{
    if (c->dtype != TRI_F32) return TRI_OK;
    for (int way = 0; way < TRI_TRAFFIC_WAYS; way++) {
        TRI_AUTO(update_arrays) *a = NULL;
        TRI_TRY(update_arrays_create(&a));
        tri_update_traffic_args args = {.range = part_of(a, 0, N),
                                        .m = a->m->data,
                                        .moment_type = TRI_F32,
                                        .keeps_weight = true,
                                        .keeps_moments = true,
                                        .way = (tri_traffic_way)way,
                                        .flip = 0xffffffffu};
        args.range.gradient = way % 2 ? NULL : args.range.gradient;
        TRI_TRY(tri_update_traffic(c->kernels, &args));
        const uint32_t *from = way % 2 ? a->weight->data : a->gradient->data;
        int wrong = 0;
        for (int i = 0; i < N; i++) {
            wrong += ((const float *)a->weight->data)[i] != a->weight->value[i];
            wrong += ((const uint32_t *)a->m->data)[i] != 0;
            wrong += ((tri_bf16 *)a->copy->data)[i] != from[i] >> 16;
        }
        EXPECT(wrong == 0, "%s, way %d: %d elements are wrong", c->isa, way, wrong);
    }
    return TRI_OK;
}

TRI_TEST(traffic_reads_alone)
{
    TRI_TRY(kernel_cases_run(reading_case));
    return TRI_OK;
}

/* Ranges that are long enough to be written around the caches, cut anywhere. */
TRI_TEST(long_ranges_have_the_same_bits)
{
    enum { LONG = (1 << 20) + 77, CUT = 100 };
    TRI_AUTO(kernel_team) *team = NULL;
    TRI_TRY(kernel_team_create(NULL, 2, &team));
    TRI_AUTO(kernel_array) *whole = NULL, *parts = NULL, *gradient = NULL, *copy = NULL;
    TRI_TRY(kernel_array_create(TRI_F32, LONG, 1, 1, &whole));
    TRI_TRY(kernel_array_create(TRI_F32, LONG, 1, 1, &parts));
    TRI_TRY(kernel_array_create(TRI_F32, LONG, 2, 1, &gradient));
    TRI_TRY(kernel_array_create(TRI_BF16, LONG, 0, 0, &copy));
    tri_update_args args = {.rate = 0.1f, .moment_type = TRI_F32, .step = 1};
    args.range = (tri_update_range){.n = LONG - 1,
                                    .weight = (float *)whole->data + 1,
                                    .gradient = (float *)gradient->data + 1,
                                    .gradient_scale = 1,
                                    .copy = (tri_bf16 *)copy->data + 1,
                                    .copy_type = TRI_BF16};
    TRI_TRY(tri_update(team->kernels, &args));
    for (int64_t begin = 1; begin < LONG;) {
        int64_t n = begin == 1 ? CUT : LONG - begin;
        args.range.n = n;
        args.range.weight = (float *)parts->data + begin;
        args.range.gradient = (float *)gradient->data + begin;
        args.range.copy = NULL;
        TRI_TRY(tri_update(team->kernels, &args));
        begin += n;
    }
    kernel_array_read(whole);
    kernel_array_read(parts);
    int wrong = 0;
    for (int i = 1; i < LONG; i++)
        wrong += whole->value[i] != parts->value[i] ||
                 ((tri_bf16 *)copy->data)[i] != tri_f32_to_bf16(whole->value[i]);
    EXPECT(wrong == 0, "%d elements differ", wrong);
    EXPECT(((tri_bf16 *)copy->data)[0] == 0, "an element before the range was written");
    return TRI_OK;
}

TRI_TEST(wrong_arguments_are_refused)
{
    TRI_AUTO(kernel_team) *team = NULL;
    TRI_TRY(kernel_team_create(NULL, 1, &team));
    float x = 0;
    tri_update_args args = {.rule = TRI_UPDATE_ADAM, .moment_type = TRI_F32};
    EXPECT_STATUS(tri_update(team->kernels, &args), TRI_EINVAL, "step 0");
    args.range.n = -2;
    EXPECT_STATUS(tri_update(team->kernels, &args), TRI_EINVAL, "-2 elements");
    args.range = (tri_update_range){.n = 1, .weight = &x, .gradient = &x};
    args.step = 1;
    args.moment[0] = &x;
    EXPECT_STATUS(tri_update(team->kernels, &args), TRI_EINVAL, "without moment 1");
    args.rule = TRI_UPDATE_LION;
    args.moment_type = TRI_F16;
    EXPECT_STATUS(tri_update(team->kernels, &args), TRI_EINVAL, "moments of fp16");
    args.moment_type = TRI_F32;
    args.range.copy = &x;
    args.range.copy_type = TRI_F16;
    EXPECT_STATUS(tri_update(team->kernels, &args), TRI_EINVAL, "copy of fp16");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(rules_are_the_papers), TRI_TEST_ROW(cuts_change_nothing),
              TRI_TEST_ROW(bf16_moments_do_not_stand_still),
              TRI_TEST_ROW(bf16_moments_have_chances_of_their_own), TRI_TEST_ROW(nan_stays),
              TRI_TEST_ROW(lamb_is_two_halves), TRI_TEST_ROW(sums_do_not_look_at_copies),
              TRI_TEST_ROW(traffic_flips_bits), TRI_TEST_ROW(traffic_reads_alone),
              TRI_TEST_ROW(long_ranges_have_the_same_bits),
              TRI_TEST_ROW(wrong_arguments_are_refused))

// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* AdamW and SGD against torch's formulas in double over several steps; an element's bits do not
 * depend on how the range is cut. */
#include "kernels/update.h"
#include "tests/kernels/kernel_cases.h"

enum { N = 40007, STEPS = 4 };

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

static tri_adamw_args adamw_args(const update_arrays *a, int64_t begin, int64_t n, int64_t step)
{
    return (tri_adamw_args){.range = part_of(a, begin, n),
                            .m = (float *)a->m->data + begin,
                            .v = (float *)a->v->data + begin,
                            .lr = 0.01f,
                            .beta1 = 0.9f,
                            .beta2 = 0.95f,
                            .epsilon = 1e-8f,
                            .weight_decay = 0.1f,
                            .step = step};
}

static void adamw_reference(update_arrays *a, int step)
{
    for (int i = 0; i < N; i++) {
        double g = 0.5 * (double)a->gradient->value[i];
        a->want[i] *= 1 - 0.01 * 0.1;
        a->want_m[i] = 0.9 * a->want_m[i] + 0.1 * g;
        a->want_v[i] = 0.95 * a->want_v[i] + 0.05 * g * g;
        double m = a->want_m[i] / (1 - pow(0.9, step)), v = a->want_v[i] / (1 - pow(0.95, step));
        a->want[i] -= 0.01 * m / (sqrt(v) + 1e-8);
    }
}

static tri_status adamw_case(const kernel_case *c)
{
    if (c->dtype != TRI_F32) return TRI_OK;
    TRI_AUTO(update_arrays) *a = NULL;
    TRI_TRY(update_arrays_create(&a));
    for (int step = 1; step <= STEPS; step++) {
        tri_adamw_args args = adamw_args(a, 0, N, step);
        TRI_TRY(tri_update_adamw(c->kernels, &args));
        adamw_reference(a, step);
    }
    expect_values(c, a->weight, a->want);
    expect_values(c, a->m, a->want_m);
    expect_values(c, a->v, a->want_v);
    expect_copy(c, a);
    return TRI_OK;
}

TRI_TEST(adamw_is_torchs)
{
    TRI_TRY(kernel_cases_run(adamw_case));
    return TRI_OK;
}

static tri_status adamw_cut_case(const kernel_case *c)
{
    if (c->dtype != TRI_F32) return TRI_OK;
    const int64_t cuts[] = {0, 1, 18, 100, 4097, 4099, 20000, N};
    TRI_AUTO(update_arrays) *whole = NULL, *parts = NULL;
    TRI_TRY(update_arrays_create(&whole));
    TRI_TRY(update_arrays_create(&parts));
    for (int step = 1; step <= 2; step++) {
        tri_adamw_args args = adamw_args(whole, 0, N, step);
        TRI_TRY(tri_update_adamw(c->kernels, &args));
        for (size_t p = 0; p + 1 < sizeof cuts / sizeof cuts[0]; p++) {
            args = adamw_args(parts, cuts[p], cuts[p + 1] - cuts[p], step);
            TRI_TRY(tri_update_adamw(c->kernels, &args));
        }
    }
    EXPECT(!memcmp(whole->weight->data, parts->weight->data, N * sizeof(float)) &&
               !memcmp(whole->v->data, parts->v->data, N * sizeof(float)) &&
               !memcmp(whole->copy->data, parts->copy->data, N * sizeof(tri_bf16)),
           "%s, %d threads: a range that is cut gives other bits", c->isa, c->threads);
    return TRI_OK;
}

TRI_TEST(adamw_ignores_cuts)
{
    TRI_TRY(kernel_cases_run(adamw_cut_case));
    return TRI_OK;
}

typedef struct sgd_kind {
    float momentum;
    bool nesterov, copy;
} sgd_kind;

static void sgd_reference(update_arrays *a, const sgd_kind *kind, bool first)
{
    for (int i = 0; i < N; i++) {
        double g = 0.5 * (double)a->gradient->value[i] + 0.1 * a->want[i];
        double momentum = (double)kind->momentum;
        if (momentum > 0) {
            a->want_m[i] = first ? g : momentum * a->want_m[i] + g;
            g = kind->nesterov ? g + momentum * a->want_m[i] : a->want_m[i];
        }
        a->want[i] -= 0.01 * g;
    }
}

static tri_status sgd_case(const kernel_case *c)
{
    const sgd_kind kinds[] = {
        {0,    false, true },
        {0.9f, false, false},
        {0.9f, true,  true }
    };
    if (c->dtype != TRI_F32) return TRI_OK;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        TRI_AUTO(update_arrays) *a = NULL;
        TRI_TRY(update_arrays_create(&a));
        for (int step = 1; step <= STEPS; step++) {
            tri_sgd_args args = {.range = part_of(a, 0, N),
                                 .momentum_buffer = kinds[k].momentum > 0 ? a->m->data : NULL,
                                 .lr = 0.01f,
                                 .momentum = kinds[k].momentum,
                                 .weight_decay = 0.1f,
                                 .nesterov = kinds[k].nesterov,
                                 .first = step == 1};
            if (!kinds[k].copy) args.range.copy = NULL;
            TRI_TRY(tri_update_sgd(c->kernels, &args));
            sgd_reference(a, &kinds[k], step == 1);
        }
        expect_values(c, a->weight, a->want);
        if (kinds[k].momentum > 0) expect_values(c, a->m, a->want_m);
        if (kinds[k].copy) expect_copy(c, a);
    }
    return TRI_OK;
}

TRI_TEST(sgd_is_torchs)
{
    TRI_TRY(kernel_cases_run(sgd_case));
    return TRI_OK;
}

/* Every way of the loop without arithmetic does the same, on any alignment. */
static tri_status traffic_case(const kernel_case *c)
{
    if (c->dtype != TRI_F32) return TRI_OK;
    for (int way = 0; way < TRI_TRAFFIC_WAYS; way++) {
        TRI_AUTO(update_arrays) *a = NULL;
        TRI_TRY(update_arrays_create(&a));
        const uint32_t *gradient = a->gradient->data;
        for (int64_t begin = 0; begin < 2; begin++) {
            tri_update_traffic_args args = {.range = part_of(a, begin, N - begin),
                                            .m = (float *)a->m->data + begin,
                                            .way = (tri_traffic_way)way,
                                            .flip = 0xffffffffu};
            TRI_TRY(tri_update_traffic(c->kernels, &args));
        }
        const uint32_t *m = a->m->data;
        int wrong = m[0] != gradient[0];
        for (int i = 1; i < N; i++) /* flipped twice */
            wrong += m[i] != 0;
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
    tri_sgd_args args = {.lr = 0.1f};
    args.range = (tri_update_range){.n = LONG - 1,
                                    .weight = (float *)whole->data + 1,
                                    .gradient = (float *)gradient->data + 1,
                                    .gradient_scale = 1,
                                    .copy = (tri_bf16 *)copy->data + 1,
                                    .copy_type = TRI_BF16};
    TRI_TRY(tri_update_sgd(team->kernels, &args));
    for (int64_t begin = 1; begin < LONG;) {
        int64_t n = begin == 1 ? CUT : LONG - begin;
        args.range.n = n;
        args.range.weight = (float *)parts->data + begin;
        args.range.gradient = (float *)gradient->data + begin;
        args.range.copy = NULL;
        TRI_TRY(tri_update_sgd(team->kernels, &args));
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
    tri_adamw_args adamw = {.range = {.n = 0}, .step = 0};
    EXPECT_STATUS(tri_update_adamw(team->kernels, &adamw), TRI_EINVAL, "step 0");
    adamw.range.n = -2;
    EXPECT_STATUS(tri_update_adamw(team->kernels, &adamw), TRI_EINVAL, "-2 elements");
    float x = 0;
    tri_sgd_args sgd = {
        .range = {.n = 1, .weight = &x, .gradient = &x},
          .momentum = 0.9f
    };
    EXPECT_STATUS(tri_update_sgd(team->kernels, &sgd), TRI_EINVAL, "no momentum buffer");
    sgd.range.copy = &x;
    sgd.range.copy_type = TRI_F16;
    EXPECT_STATUS(tri_update_sgd(team->kernels, &sgd), TRI_EINVAL, "copy of fp16");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(adamw_is_torchs), TRI_TEST_ROW(adamw_ignores_cuts),
              TRI_TEST_ROW(sgd_is_torchs), TRI_TEST_ROW(traffic_flips_bits),
              TRI_TEST_ROW(long_ranges_have_the_same_bits),
              TRI_TEST_ROW(wrong_arguments_are_refused))

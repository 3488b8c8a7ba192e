// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* Activations, sums, casts and reductions against plain loops in double. */
#include "kernels/norm.h"
#include "kernels/pointwise.h"
#include "tests/kernels/kernel_cases.h"

TRI_MUST_USE static tri_status floats_create(int64_t n, kernel_array **out)
{
    TRI_TRY(kernel_array_create(TRI_F32, n, 0, 0, out));
    return TRI_OK;
}

static double gelu(double x)
{
    return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
}

static double silu(double x)
{
    return x / (1 + exp(-x));
}

/* Central difference in double: the reference of a gradient. */
static double slope(double (*f)(double), double x)
{
    return (f(x + 1e-5) - f(x - 1e-5)) / 2e-5;
}

static tri_status gelu_case(const kernel_case *c)
{
    const int64_t sizes[] = {1, 15, 16, 33, 40001};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        int64_t n = sizes[s];
        TRI_AUTO(kernel_array) *x = NULL, *y = NULL, *dy = NULL, *want = NULL;
        TRI_TRY(kernel_array_create(c->dtype, n, 1, 3, &x));
        TRI_TRY(kernel_array_create(c->dtype, n, 2, 1, &dy));
        TRI_TRY(kernel_array_create(c->dtype, n + 1, 0, 0, &y));
        TRI_TRY(floats_create(n + 1, &want));
        for (int64_t i = 0; i < n; i++)
            want->value[i] = (float)gelu((double)x->value[i]);
        TRI_TRY(tri_gelu_forward(c->kernels, c->dtype, n, x->data, y->data));
        EXPECT_NEAR_ARRAY(c, y, want->value, "gelu of %d", (int)n);
        EXPECT(y->value[n] == 0, "an element behind the end was written");

        for (int64_t i = 0; i < n; i++)
            want->value[i] = (float)((double)dy->value[i] * slope(gelu, (double)x->value[i]));
        TRI_TRY(tri_gelu_backward(c->kernels, c->dtype, n, x->data, dy->data, y->data));
        EXPECT_NEAR_ARRAY(c, y, want->value, "gelu backward of %d", (int)n);
        TRI_TRY(tri_gelu_backward(c->kernels, c->dtype, n, x->data, dy->data, dy->data));
        EXPECT_NEAR_ARRAY(c, dy, want->value, "gelu backward in place of %d", (int)n);
    }
    return TRI_OK;
}

TRI_TEST(gelu_is_the_formula)
{
    TRI_TRY(kernel_cases_run(gelu_case));
    return TRI_OK;
}

static tri_status extreme_case(const kernel_case *c)
{
    TRI_AUTO(kernel_array) *x = NULL, *y = NULL, *dx = NULL;
    TRI_TRY(kernel_array_create(c->dtype, 4, 0, 0, &x));
    TRI_TRY(kernel_array_create(c->dtype, 4, 0, 0, &y));
    TRI_TRY(kernel_array_create(c->dtype, 4, 0, 0, &dx));
    x->value[0] = 1e4f;
    x->value[1] = -1e4f;
    x->value[2] = 1e20f;
    x->value[3] = NAN;
    kernel_array_write(x);
    for (int i = 0; i < 4; i++)
        y->value[i] = 1;
    kernel_array_write(y);
    TRI_TRY(tri_gelu_backward(c->kernels, c->dtype, 4, x->data, y->data, dx->data));
    TRI_TRY(tri_gelu_forward(c->kernels, c->dtype, 4, x->data, y->data));
    kernel_array_read(y);
    kernel_array_read(dx);
    EXPECT(y->value[0] == x->value[0] && fabsf(y->value[1]) < 1e-30f && y->value[2] == x->value[2],
           "gelu of 1e4, -1e4, 1e20 is %g, %g, %g", (double)y->value[0], (double)y->value[1],
           (double)y->value[2]);
    EXPECT(dx->value[0] == 1 && fabsf(dx->value[1]) < 1e-25f && dx->value[2] == 1,
           "its slope is %g, %g, %g", (double)dx->value[0], (double)dx->value[1],
           (double)dx->value[2]);
    EXPECT(isnan(y->value[3]) && isnan(dx->value[3]), "NaN became %g and %g", (double)y->value[3],
           (double)dx->value[3]);
    return TRI_OK;
}

TRI_TEST(gelu_at_extremes)
{
    TRI_TRY(kernel_cases_run(extreme_case));
    return TRI_OK;
}

enum { ROWS = 67, WIDTH = 301, STRIDE = 640 };

/* gate at column 0, up at column WIDTH + 7 of one buffer: the fused layout. */
static tri_status swiglu_case(const kernel_case *c)
{
    const int64_t second = WIDTH + 7;
    TRI_AUTO(kernel_array) *x = NULL, *y = NULL, *dy = NULL, *want = NULL, *want_dx = NULL;
    TRI_TRY(kernel_array_create(c->dtype, ROWS * STRIDE, 1, 2, &x));
    TRI_TRY(kernel_array_create(c->dtype, ROWS * WIDTH, 0, 0, &y));
    TRI_TRY(kernel_array_create(c->dtype, ROWS * WIDTH, 2, 1, &dy));
    TRI_TRY(floats_create(ROWS * WIDTH, &want));
    TRI_TRY(floats_create(ROWS * STRIDE, &want_dx));
    memcpy(want_dx->value, x->value, ROWS * STRIDE * sizeof(float));
    for (int64_t i = 0; i < ROWS * WIDTH; i++) {
        int64_t at = i / WIDTH * STRIDE + i % WIDTH;
        double gate = (double)x->value[at], up = (double)x->value[at + second];
        want->value[i] = (float)(silu(gate) * up);
        want_dx->value[at] = (float)((double)dy->value[i] * up * slope(silu, gate));
        want_dx->value[at + second] = (float)((double)dy->value[i] * silu(gate));
    }
    char *up = (char *)x->data + (size_t)second * tri_dtype_bytes(c->dtype);
    TRI_TRY(tri_swiglu_forward(c->kernels, c->dtype, ROWS, WIDTH, STRIDE, x->data, up, y->data));
    EXPECT_NEAR_ARRAY(c, y, want->value, "swiglu");
    tri_swiglu_backward_args args = {.dtype = c->dtype,
                                     .rows = ROWS,
                                     .width = WIDTH,
                                     .stride = STRIDE,
                                     .gate = x->data,
                                     .up = up,
                                     .dy = dy->data,
                                     .dgate = x->data,
                                     .dup = up};
    TRI_TRY(tri_swiglu_backward(c->kernels, &args));
    EXPECT_NEAR_ARRAY(c, x, want_dx->value, "swiglu backward, over its inputs");
    return TRI_OK;
}

TRI_TEST(swiglu_is_the_formula)
{
    TRI_TRY(kernel_cases_run(swiglu_case));
    return TRI_OK;
}

static tri_status add_case(const kernel_case *c)
{
    const int64_t n = 30011;
    TRI_AUTO(kernel_array) *a = NULL, *b = NULL, *want = NULL;
    TRI_TRY(kernel_array_create(c->dtype, n, 1, 1, &a));
    TRI_TRY(kernel_array_create(c->dtype, n, 2, 1, &b));
    TRI_TRY(floats_create(n, &want));
    for (int64_t i = 0; i < n; i++)
        want->value[i] = a->value[i] + b->value[i];
    TRI_TRY(tri_add(c->kernels, c->dtype, n, a->data, b->data, a->data));
    EXPECT_NEAR_ARRAY(c, a, want->value, "sum");
    if (c->dtype != TRI_F32) return TRI_OK;
    memcpy(want->value, b->value, (size_t)n * sizeof(float));
    for (int64_t i = 0; i < n; i++)
        want->value[i] *= 0.375f;
    TRI_TRY(tri_scale(c->kernels, n, 0.375f, b->data));
    EXPECT(kernel_same_bits(b->data, want->value, (size_t)n * sizeof(float)), "%s: scaling differs",
           c->isa);
    return TRI_OK;
}

TRI_TEST(sums_and_scaling)
{
    TRI_TRY(kernel_cases_run(add_case));
    return TRI_OK;
}

/* Every kind of number, and a tail: the bits of the scalar conversion. */
static tri_status cast_case(const kernel_case *c)
{
    enum { N = 40013 };
    if (c->dtype != TRI_F32) return TRI_OK;
    TRI_AUTO(kernel_array) *in = NULL, *out = NULL, *back = NULL;
    TRI_TRY(floats_create(N, &in));
    TRI_TRY(floats_create(N, &back));
    TRI_TRY(kernel_array_create(TRI_BF16, N, 0, 0, &out));
    tri_rng rng = {.seed = 1, .purpose = TRI_RNG_TEST};
    uint32_t *bits = in->data;
    for (uint64_t i = 0; i < N; i++)
        bits[i] = tri_rng_word(rng, i);
    const uint32_t special[] = {0,           0x80000000u, 0x7f800000u, 0xff800000u, 0x7fc00000u,
                                0x7f800001u, 0x7f7fffffu, 0x3f808000u, 0x3f818000u, 1};
    memcpy(bits, special, sizeof special);
    TRI_TRY(tri_cast(c->kernels, tri_span_make(in->data, N, TRI_F32),
                     tri_span_make(out->data, N, TRI_BF16)));
    TRI_TRY(tri_cast(c->kernels, tri_span_make(out->data, N, TRI_BF16),
                     tri_span_make(back->data, N, TRI_F32)));
    for (int i = 0; i < N; i++) {
        float x;
        memcpy(&x, bits + i, sizeof x);
        tri_bf16 want = tri_f32_to_bf16(x), got = ((tri_bf16 *)out->data)[i];
        /* the instruction of AVX-512 BF16 knows no subnormal numbers */
        if (fpclassify(x) == FP_SUBNORMAL && !strcmp(c->isa, "avx512_bf16")) want = got & 0x8000u;
        EXPECT(got == want, "%s: %08x became %04x, not %04x", c->isa, bits[i], got, want);
        EXPECT(((uint32_t *)back->data)[i] == (uint32_t)want << 16, "%s: %04x widens to %08x",
               c->isa, want, ((uint32_t *)back->data)[i]);
    }
    TRI_TRY(tri_cast(c->kernels, tri_span_make(in->data, N, TRI_F32),
                     tri_span_make(back->data, N, TRI_F32)));
    EXPECT(kernel_same_bits(in->data, back->data, N * sizeof(float)), "%s: a copy differs", c->isa);
    EXPECT_STATUS(tri_cast(c->kernels, tri_span_make(in->data, N, TRI_F32),
                           tri_span_make(out->data, N - 1, TRI_BF16)),
                  TRI_EINVAL, "cast of 40013 elements into 40012");
    EXPECT_STATUS(tri_cast(c->kernels, tri_span_make(in->data, N, TRI_F32),
                           tri_span_make(out->data, N, TRI_F16)),
                  TRI_EINVAL, "cast of fp32 into fp16");
    return TRI_OK;
}

TRI_TEST(casts_have_the_scalar_bits)
{
    TRI_TRY(kernel_cases_run(cast_case));
    return TRI_OK;
}

static tri_status bias_case(const kernel_case *c)
{
    const int64_t shapes[][3] = {
        {1,   5,    5   },
        {7,   17,   40  },
        {33,  1201, 1300},
        {700, 530,  530 }
    };
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        int64_t rows = shapes[s][0], width = shapes[s][1], stride = shapes[s][2];
        TRI_AUTO(kernel_array) *dy = NULL, *dbias = NULL, *want = NULL, *workspace = NULL;
        TRI_TRY(kernel_array_create(c->dtype, rows * stride, 1, 1, &dy));
        TRI_TRY(kernel_array_create(TRI_F32, width, 2, 1, &dbias));
        TRI_TRY(floats_create(width, &want));
        TRI_TRY(floats_create((int64_t)(tri_norm_workspace(c->kernels, width) / 4), &workspace));
        for (int64_t j = 0; j < width; j++) {
            double sum = (double)dbias->value[j];
            for (int64_t row = 0; row < rows; row++)
                sum += (double)dy->value[row * stride + j];
            want->value[j] = (float)sum;
        }
        TRI_TRY(tri_bias_backward(c->kernels, c->dtype, rows, width, stride, dy->data, dbias->data,
                                  workspace->data));
        EXPECT_NEAR_ARRAY(c, dbias, want->value, "bias of %d rows", (int)rows);
    }
    return TRI_OK;
}

TRI_TEST(bias_gradient_is_the_sum)
{
    TRI_TRY(kernel_cases_run(bias_case));
    return TRI_OK;
}

/* The same bits on one and two threads, for sums of rows and of squares. */
TRI_TEST(sums_ignore_threads)
{
    enum { ROWS_T = 257, WIDTH_T = 1111 };
    static float bias[2][WIDTH_T];
    double squares[2] = {0};
    for (int threads = 1; threads <= 2; threads++) {
        TRI_AUTO(kernel_team) *team = NULL;
        TRI_TRY(kernel_team_create(NULL, threads, &team));
        TRI_AUTO(kernel_array) *x = NULL, *workspace = NULL;
        TRI_TRY(kernel_array_create(TRI_F32, ROWS_T * WIDTH_T, 1, 1, &x));
        TRI_TRY(
            floats_create((int64_t)(tri_norm_workspace(team->kernels, WIDTH_T) / 4), &workspace));
        TRI_TRY(tri_bias_backward(team->kernels, TRI_F32, ROWS_T, WIDTH_T, WIDTH_T, x->data,
                                  bias[threads - 1], workspace->data));
        TRI_TRY(tri_sum_squares(team->kernels, x->n, x->data, &squares[threads - 1]));
    }
    EXPECT(kernel_same_bits(bias[0], bias[1], sizeof bias[0]), "sums of rows differ");
    EXPECT(squares[0] == squares[1], "sums of squares differ: %.17g %.17g", squares[0], squares[1]);
    return TRI_OK;
}

static tri_status squares_case(const kernel_case *c)
{
    if (c->dtype != TRI_F32) return TRI_OK;
    const int64_t sizes[] = {0, 1, 17, 4097, 1200007};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        TRI_AUTO(kernel_array) *x = NULL;
        TRI_TRY(kernel_array_create(TRI_F32, sizes[s], 1, 1, &x));
        long double sum = 0;
        for (int64_t i = 0; i < x->n; i++)
            sum += (long double)x->value[i] * (long double)x->value[i];
        double want = (double)sum, got = -1;
        TRI_TRY(tri_sum_squares(c->kernels, x->n, x->data, &got));
        EXPECT(fabs(got - want) <= 1e-13 * want, "%s: %lld squares sum to %.17g, not %.17g", c->isa,
               (long long)x->n, got, want);
        if (x->n < 17) continue;
        ((float *)x->data)[16] = INFINITY;
        TRI_TRY(tri_sum_squares(c->kernels, x->n, x->data, &got));
        EXPECT(isinf(got), "%s: infinity became %g", c->isa, got);
        ((float *)x->data)[3] = NAN;
        TRI_TRY(tri_sum_squares(c->kernels, x->n, x->data, &got));
        EXPECT(isnan(got), "%s: NaN became %g", c->isa, got);
        for (int64_t i = 0; i < x->n; i++)
            ((float *)x->data)[i] = 1e30f;
        TRI_TRY(tri_sum_squares(c->kernels, x->n, x->data, &got));
        EXPECT(fabs(got / (1e60 * (double)x->n) - 1) < 1e-6, "%s: squares of 1e30 sum to %g",
               c->isa, got);
    }
    return TRI_OK;
}

TRI_TEST(sum_of_squares)
{
    TRI_TRY(kernel_cases_run(squares_case));
    return TRI_OK;
}

TRI_TEST(wrong_arguments_are_refused)
{
    TRI_AUTO(kernel_team) *team = NULL;
    TRI_TRY(kernel_team_create(NULL, 1, &team));
    float x[4] = {0};
    EXPECT_STATUS(tri_gelu_forward(team->kernels, TRI_F16, 4, x, x), TRI_EINVAL, "GELU of fp16");
    EXPECT_STATUS(tri_add(team->kernels, TRI_F32, -1, x, x, x), TRI_EINVAL, "-1 elements");
    EXPECT_STATUS(tri_swiglu_forward(team->kernels, TRI_F32, 1, 4, 3, x, x, x), TRI_EINVAL,
                  "3 between rows");
    EXPECT_STATUS(tri_bias_backward(team->kernels, TRI_F32, 1, 4, 4, x, x, NULL), TRI_EINVAL,
                  "workspace");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(gelu_is_the_formula), TRI_TEST_ROW(gelu_at_extremes),
              TRI_TEST_ROW(swiglu_is_the_formula), TRI_TEST_ROW(sums_and_scaling),
              TRI_TEST_ROW(casts_have_the_scalar_bits), TRI_TEST_ROW(bias_gradient_is_the_sum),
              TRI_TEST_ROW(sums_ignore_threads), TRI_TEST_ROW(sum_of_squares),
              TRI_TEST_ROW(wrong_arguments_are_refused))

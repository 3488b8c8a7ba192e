// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* Layer norm and RMS norm against a plain loop in double, and gradients against differences. */
#include "kernels/norm.h"
#include "tests/kernels/kernel_cases.h"

enum { ROWS = 131, WIDTH = 389 };

/* All arrays of one norm; the references are fp32 values of double arithmetic. */
typedef struct norm_arrays {
    kernel_array *x, *branch, *weight, *bias, *y, *dy, *add, *dx, *dweight, *dbias;
    float *mean, *rstd, *want, *want_weight, *want_bias, *workspace;
} norm_arrays;

static void norm_arrays_destroy(norm_arrays **a)
{
    if (!*a) return;
    kernel_array **arrays[] = {&(*a)->x,       &(*a)->branch, &(*a)->weight, &(*a)->bias,
                               &(*a)->y,       &(*a)->dy,     &(*a)->add,    &(*a)->dx,
                               &(*a)->dweight, &(*a)->dbias};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++)
        kernel_array_destroy(arrays[i]);
    float *floats[] = {(*a)->mean,        (*a)->rstd,      (*a)->want,
                       (*a)->want_weight, (*a)->want_bias, (*a)->workspace};
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++)
        TRI_FREE(floats[i]);
    TRI_FREE(*a);
}

static tri_status norm_arrays_create(const kernel_case *c, norm_arrays **out)
{
    TRI_AUTO(norm_arrays) *a = NULL;
    TRI_TRY(TRI_NEW(&a));
    TRI_TRY(kernel_array_create(c->dtype, ROWS * WIDTH, 1, 2, &a->x));
    TRI_TRY(kernel_array_create(c->dtype, ROWS * WIDTH, 2, 1, &a->branch));
    TRI_TRY(kernel_array_create(c->dtype, WIDTH, 3, 1, &a->weight));
    TRI_TRY(kernel_array_create(c->dtype, WIDTH, 4, 1, &a->bias));
    TRI_TRY(kernel_array_create(c->dtype, ROWS * WIDTH, 0, 0, &a->y));
    TRI_TRY(kernel_array_create(c->dtype, ROWS * WIDTH, 5, 1, &a->dy));
    TRI_TRY(kernel_array_create(c->dtype, ROWS * WIDTH, 6, 1, &a->add));
    TRI_TRY(kernel_array_create(c->dtype, ROWS * WIDTH, 0, 0, &a->dx));
    TRI_TRY(kernel_array_create(TRI_F32, WIDTH, 7, 1, &a->dweight));
    TRI_TRY(kernel_array_create(TRI_F32, WIDTH, 8, 1, &a->dbias));
    TRI_TRY(TRI_NEW_ARRAY(ROWS, &a->mean));
    TRI_TRY(TRI_NEW_ARRAY(ROWS, &a->rstd));
    TRI_TRY(TRI_NEW_ARRAY(ROWS * WIDTH, &a->want));
    TRI_TRY(TRI_NEW_ARRAY(WIDTH, &a->want_weight));
    TRI_TRY(TRI_NEW_ARRAY(WIDTH, &a->want_bias));
    size_t bytes = tri_norm_workspace(c->kernels, WIDTH);
    TRI_TRY(tri_alloc((void **)&a->workspace, (int64_t)bytes, 1));
    /* a mean far from zero, where a difference of sums would lose digits */
    for (int64_t i = 0; i < a->x->n; i++)
        a->x->value[i] += 10;
    kernel_array_write(a->x);
    *out = TRI_MOVE(a);
    return TRI_OK;
}

static tri_norm_args norm_args(const kernel_case *c, const norm_arrays *a, bool rms)
{
    return (tri_norm_args){.rows = ROWS,
                           .width = WIDTH,
                           .dtype = c->dtype,
                           .epsilon = 1e-5f,
                           .x = a->x->data,
                           .weight = a->weight->data,
                           .bias = rms ? NULL : a->bias->data,
                           .y = a->y->data,
                           .mean = rms ? NULL : a->mean,
                           .rstd = a->rstd,
                           .dy = a->dy->data,
                           .add = a->add->data,
                           .dx = a->dx->data,
                           .dweight = a->dweight->data,
                           .dbias = rms ? NULL : a->dbias->data,
                           .workspace = a->workspace};
}

typedef struct row_stats {
    double mean, rstd;
} row_stats;

static row_stats stats_of(const float *x, bool rms)
{
    double sum = 0, squares = 0;
    for (int i = 0; i < WIDTH; i++)
        sum += (double)x[i];
    double mean = rms ? 0 : sum / WIDTH;
    for (int i = 0; i < WIDTH; i++)
        squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    return (row_stats){mean, 1 / sqrt(squares / WIDTH + 1e-5)};
}

static void forward_reference(norm_arrays *a, bool rms)
{
    for (int row = 0; row < ROWS; row++) {
        const float *x = a->x->value + row * WIDTH;
        row_stats s = stats_of(x, rms);
        for (int i = 0; i < WIDTH; i++)
            a->want[row * WIDTH + i] =
                (float)(((double)x[i] - s.mean) * s.rstd * (double)a->weight->value[i] +
                        (rms ? 0 : (double)a->bias->value[i]));
    }
}

static tri_status forward_case(const kernel_case *c)
{
    for (int rms = 0; rms < 2; rms++) {
        TRI_AUTO(norm_arrays) *a = NULL;
        TRI_TRY(norm_arrays_create(c, &a));
        tri_norm_args args = norm_args(c, a, rms);
        TRI_TRY(tri_norm_forward(c->kernels, &args));
        forward_reference(a, rms);
        EXPECT_NEAR_ARRAY(c, a->y, a->want, "forward, rms %d", rms);

        for (int64_t i = 0; i < a->x->n; i++)
            a->want[i] = a->x->value[i] + a->branch->value[i];
        TRI_TRY(tri_norm_forward_residual(c->kernels, &args, a->branch->data));
        EXPECT_NEAR_ARRAY(c, a->x, a->want, "residual sum");
        forward_reference(a, rms);
        EXPECT_NEAR_ARRAY(c, a->y, a->want, "forward with residual, rms %d", rms);
    }
    return TRI_OK;
}

TRI_TEST(forward_is_the_plain_loop)
{
    TRI_TRY(kernel_cases_run(forward_case));
    return TRI_OK;
}

static void backward_reference(norm_arrays *a, bool rms)
{
    for (int row = 0; row < ROWS; row++) {
        const float *x = a->x->value + row * WIDTH;
        const float *dy = a->dy->value + row * WIDTH;
        row_stats s = stats_of(x, rms);
        double mean_g = 0, mean_xhat = 0;
        for (int i = 0; i < WIDTH; i++) {
            double xhat = ((double)x[i] - s.mean) * s.rstd;
            double g = (double)dy[i] * (double)a->weight->value[i];
            mean_g += rms ? 0 : g / WIDTH;
            mean_xhat += g * xhat / WIDTH;
            a->want_weight[i] += (float)((double)dy[i] * xhat);
            a->want_bias[i] += dy[i];
        }
        for (int i = 0; i < WIDTH; i++) {
            double xhat = ((double)x[i] - s.mean) * s.rstd;
            double g = (double)dy[i] * (double)a->weight->value[i];
            a->want[row * WIDTH + i] = (float)(s.rstd * (g - mean_g - xhat * mean_xhat) +
                                               (double)a->add->value[row * WIDTH + i]);
        }
    }
}

static tri_status backward_case(const kernel_case *c)
{
    for (int rms = 0; rms < 2; rms++) {
        TRI_AUTO(norm_arrays) *a = NULL;
        TRI_TRY(norm_arrays_create(c, &a));
        tri_norm_args args = norm_args(c, a, rms);
        TRI_TRY(tri_norm_forward(c->kernels, &args));
        memcpy(a->want_weight, a->dweight->value, WIDTH * sizeof(float));
        memcpy(a->want_bias, a->dbias->value, WIDTH * sizeof(float));
        backward_reference(a, rms);
        TRI_TRY(tri_norm_backward_weight(c->kernels, &args));
        EXPECT_NEAR_ARRAY(c, a->dweight, a->want_weight, "dweight, rms %d", rms);
        if (!rms) EXPECT_NEAR_ARRAY(c, a->dbias, a->want_bias, "dbias");
        TRI_TRY(tri_norm_backward_input(c->kernels, &args));
        EXPECT_NEAR_ARRAY(c, a->dx, a->want, "dx, rms %d", rms);
        args.dx = a->add->data;
        TRI_TRY(tri_norm_backward_input(c->kernels, &args));
        EXPECT_NEAR_ARRAY(c, a->add, a->want, "dx over add, rms %d", rms);
    }
    return TRI_OK;
}

TRI_TEST(backward_is_the_plain_loop)
{
    TRI_TRY(kernel_cases_run(backward_case));
    return TRI_OK;
}

/* Sum of dy * norm(x + step * direction), weight and bias moved alike. */
static tri_status moved_loss(const kernel_case *c, norm_arrays *a, bool rms, float step,
                             double *out)
{
    TRI_AUTO(norm_arrays) *moved = NULL;
    TRI_TRY(norm_arrays_create(c, &moved));
    for (int64_t i = 0; i < ROWS * WIDTH; i++)
        moved->x->value[i] += step * a->branch->value[i];
    for (int i = 0; i < WIDTH; i++) {
        moved->weight->value[i] += step * a->branch->value[i];
        moved->bias->value[i] += step * a->branch->value[WIDTH + i];
    }
    kernel_array_write(moved->x);
    kernel_array_write(moved->weight);
    kernel_array_write(moved->bias);
    tri_norm_args args = norm_args(c, moved, rms);
    TRI_TRY(tri_norm_forward(c->kernels, &args));
    kernel_array_read(moved->y);
    *out = 0;
    for (int64_t i = 0; i < ROWS * WIDTH; i++)
        *out += (double)moved->y->value[i] * (double)a->dy->value[i];
    return TRI_OK;
}

static tri_status difference_case(const kernel_case *c)
{
    if (c->dtype != TRI_F32) return TRI_OK;
    for (int rms = 0; rms < 2; rms++) {
        TRI_AUTO(norm_arrays) *a = NULL;
        TRI_TRY(norm_arrays_create(c, &a));
        tri_norm_args args = norm_args(c, a, rms);
        args.add = NULL;
        memset(args.dweight, 0, WIDTH * sizeof(float));
        if (args.dbias) memset(args.dbias, 0, WIDTH * sizeof(float));
        TRI_TRY(tri_norm_forward(c->kernels, &args));
        TRI_TRY(tri_norm_backward_input(c->kernels, &args));
        TRI_TRY(tri_norm_backward_weight(c->kernels, &args));
        kernel_array_read(a->dx);
        double slope = 0, above = 0, below = 0;
        for (int64_t i = 0; i < ROWS * WIDTH; i++)
            slope += (double)a->dx->value[i] * (double)a->branch->value[i];
        for (int i = 0; i < WIDTH; i++) {
            slope += (double)args.dweight[i] * (double)a->branch->value[i];
            if (!rms) slope += (double)args.dbias[i] * (double)a->branch->value[WIDTH + i];
        }
        TRI_TRY(moved_loss(c, a, rms, 0x1p-7f, &above));
        TRI_TRY(moved_loss(c, a, rms, -0x1p-7f, &below));
        double difference = (above - below) * 0x1p6;
        EXPECT(fabs(slope - difference) < 2e-3 * fabs(slope) + 0.05,
               "%s rms %d: %g, by differences %g", c->isa, rms, slope, difference);
    }
    return TRI_OK;
}

TRI_TEST(backward_is_the_difference)
{
    TRI_TRY(kernel_cases_run(difference_case));
    return TRI_OK;
}

/* The gradient of a weight has the same bits on any number of threads. */
TRI_TEST(weight_gradient_ignores_threads)
{
    float sums[2][2][WIDTH];
    for (int threads = 1; threads <= 2; threads++) {
        TRI_AUTO(kernel_team) *team = NULL;
        TRI_TRY(kernel_team_create(NULL, threads, &team));
        kernel_case c = {.kernels = team->kernels, .dtype = TRI_F32};
        TRI_AUTO(norm_arrays) *a = NULL;
        TRI_TRY(norm_arrays_create(&c, &a));
        tri_norm_args args = norm_args(&c, a, false);
        TRI_TRY(tri_norm_forward(team->kernels, &args));
        TRI_TRY(tri_norm_backward_weight(team->kernels, &args));
        memcpy(sums[threads - 1][0], args.dweight, sizeof sums[0][0]);
        memcpy(sums[threads - 1][1], args.dbias, sizeof sums[0][1]);
    }
    EXPECT(kernel_same_bits(sums[0], sums[1], sizeof sums[0]),
           "one and two threads give other bits");
    return TRI_OK;
}

TRI_TEST(wrong_arguments_are_refused)
{
    TRI_AUTO(kernel_team) *team = NULL;
    TRI_TRY(kernel_team_create(NULL, 1, &team));
    tri_norm_args args = {.rows = 1, .width = 4, .dtype = TRI_I32};
    EXPECT_STATUS(tri_norm_forward(team->kernels, &args), TRI_EINVAL, "norm forward of int32");
    args.dtype = TRI_F32;
    args.width = -4;
    EXPECT_STATUS(tri_norm_forward(team->kernels, &args), TRI_EINVAL, "-4 elements");
    args.width = 4;
    EXPECT_STATUS(tri_norm_backward_weight(team->kernels, &args), TRI_EINVAL, "no workspace");
    EXPECT_STATUS(tri_norm_forward_residual(team->kernels, &args, NULL), TRI_EINVAL, "branch");
    float bias[4];
    args.bias = bias;
    EXPECT_STATUS(tri_norm_forward(team->kernels, &args), TRI_EINVAL, "RMS norm");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(forward_is_the_plain_loop), TRI_TEST_ROW(backward_is_the_plain_loop),
              TRI_TEST_ROW(backward_is_the_difference),
              TRI_TEST_ROW(weight_gradient_ignores_threads),
              TRI_TEST_ROW(wrong_arguments_are_refused))

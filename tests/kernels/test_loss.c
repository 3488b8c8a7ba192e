// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* Cross-entropy against log-sum-exp in double, whatever the chunks; gradients against differences. */
#include "kernels/loss.h"
#include "tests/kernels/kernel_cases.h"

enum { ROWS = 9, VOCAB = 5003, STRIDE = 5010 };

typedef struct loss_rows {
    float maximum[ROWS], sum[ROWS], picked[ROWS];
    int32_t target[ROWS];
} loss_rows;

static void rows_begin(loss_rows *r)
{
    tri_cross_entropy_begin(ROWS, r->maximum, r->sum, r->picked);
    for (int row = 0; row < ROWS; row++)
        r->target[row] = row * 613 % VOCAB;
    r->target[3] = -1;
    r->target[4] = VOCAB - 1;
}

static tri_cross_entropy_args chunk_args(tri_dtype dtype, loss_rows *r, void *logits, int64_t first,
                                         int64_t width)
{
    return (tri_cross_entropy_args){
        .rows = ROWS,
        .first = first,
        .width = width,
        .stride = STRIDE,
        .dtype = dtype,
        .logits = (char *)logits + (size_t)first * tri_dtype_bytes(dtype),
        .target = r->target,
        .maximum = r->maximum,
        .sum = r->sum,
        .picked = r->picked,
        .scale = 0.25f,
    };
}

/* Loss of `logits` in chunks of `width`; gradient too if asked. */
static tri_status loss_of(tri_kernels *kernels, kernel_array *logits, int64_t width, bool gradient,
                          double *loss)
{
    loss_rows r;
    rows_begin(&r);
    int64_t counted = 0;
    *loss = 0;
    for (int64_t first = 0; first < VOCAB; first += width) {
        int64_t n = VOCAB - first < width ? VOCAB - first : width;
        tri_cross_entropy_args args = chunk_args(logits->dtype, &r, logits->data, first, n);
        TRI_TRY(tri_cross_entropy_stats(kernels, &args));
    }
    tri_cross_entropy_args all = chunk_args(logits->dtype, &r, logits->data, 0, VOCAB);
    tri_cross_entropy_sum(&all, loss, &counted);
    EXPECT(counted == ROWS - 1, "%d rows count", (int)counted);
    for (int64_t first = 0; gradient && first < VOCAB; first += width) {
        int64_t n = VOCAB - first < width ? VOCAB - first : width;
        tri_cross_entropy_args args = chunk_args(logits->dtype, &r, logits->data, first, n);
        TRI_TRY(tri_cross_entropy_gradient(kernels, &args));
    }
    return TRI_OK;
}

/* Loss and 0.25 * gradient in double. */
static double reference(const float *logits, float *gradient)
{
    loss_rows r;
    rows_begin(&r);
    double loss = 0;
    for (int row = 0; row < ROWS; row++) {
        const float *x = logits + row * STRIDE;
        double maximum = -INFINITY, sum = 0;
        for (int i = 0; i < VOCAB; i++)
            maximum = fmax(maximum, (double)x[i]);
        for (int i = 0; i < VOCAB; i++)
            sum += exp((double)x[i] - maximum);
        bool counts = r.target[row] >= 0;
        if (counts) loss += maximum + log(sum) - (double)x[r.target[row]];
        for (int i = 0; i < VOCAB; i++) {
            double p = exp((double)x[i] - maximum) / sum - (i == r.target[row]);
            gradient[row * STRIDE + i] = counts ? (float)(0.25 * p) : 0;
        }
    }
    return loss;
}

static tri_status loss_case(const kernel_case *c)
{
    const int64_t widths[] = {VOCAB, 2048, 1000, 137};
    const float scales[] = {2, 40, 1e4f};
    for (size_t s = 0; s < sizeof scales / sizeof scales[0]; s++) {
        for (size_t w = 0; w < sizeof widths / sizeof widths[0]; w++) {
            TRI_AUTO(kernel_array) *logits = NULL, *want = NULL;
            TRI_TRY(kernel_array_create(c->dtype, ROWS * STRIDE, 1, scales[s], &logits));
            TRI_TRY(kernel_array_create(TRI_F32, ROWS * STRIDE, 0, 0, &want));
            memcpy(want->value, logits->value, ROWS * STRIDE * sizeof(float));
            double right = reference(logits->value, want->value), loss = 0;
            TRI_TRY(loss_of(c->kernels, logits, widths[w], true, &loss));
            EXPECT(fabs(loss - right) <= 1e-6 * fabs(right),
                   "%s: chunks of %d: loss %.9g, not %.9g", c->isa, (int)widths[w], loss, right);
            EXPECT_NEAR_ARRAY(c, logits, want->value, "gradient, chunks of %d, logits of %g",
                              (int)widths[w], (double)scales[s]);
        }
    }
    return TRI_OK;
}

TRI_TEST(loss_and_gradient_in_any_chunks)
{
    TRI_TRY(kernel_cases_run(loss_case));
    return TRI_OK;
}

static tri_status difference_case(const kernel_case *c)
{
    if (c->dtype != TRI_F32) return TRI_OK;
    TRI_AUTO(kernel_array) *x = NULL, *direction = NULL;
    TRI_TRY(kernel_array_create(TRI_F32, ROWS * STRIDE, 1, 2, &x));
    TRI_TRY(kernel_array_create(TRI_F32, ROWS * STRIDE, 2, 1, &direction));
    double loss[2];
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < x->n; i++)
            ((float *)x->data)[i] = x->value[i] + (side ? -0x1p-6f : 0x1p-6f) * direction->value[i];
        TRI_TRY(loss_of(c->kernels, x, 1000, false, &loss[side]));
    }
    memcpy(x->data, x->value, (size_t)x->n * sizeof(float));
    double unused, slope = 0, difference = (loss[0] - loss[1]) * 0x1p5;
    TRI_TRY(loss_of(c->kernels, x, 1000, true, &unused));
    for (int row = 0; row < ROWS; row++)
        for (int64_t i = row * STRIDE; i < row * STRIDE + VOCAB; i++)
            slope += (double)((float *)x->data)[i] * (double)direction->value[i] / 0.25;
    EXPECT(fabs(slope - difference) < 1e-3 * fabs(slope) + 1e-3, "%s: %g, by differences %g",
           c->isa, slope, difference);
    return TRI_OK;
}

TRI_TEST(gradient_is_the_difference)
{
    TRI_TRY(kernel_cases_run(difference_case));
    return TRI_OK;
}

/* Masked ids (-inf), also a whole chunk of them, add nothing; NaN comes through. */
static tri_status special_case(const kernel_case *c)
{
    TRI_AUTO(kernel_array) *x = NULL, *want = NULL;
    TRI_TRY(kernel_array_create(c->dtype, ROWS * STRIDE, 1, 2, &x));
    TRI_TRY(kernel_array_create(TRI_F32, ROWS * STRIDE, 0, 0, &want));
    for (int row = 0; row < ROWS; row++)
        for (int i = 0; i < 500; i++)
            x->value[row * STRIDE + i] = -INFINITY;
    x->value[0] = 1; /* the target of row 0 */
    kernel_array_write(x);
    double right = reference(x->value, want->value), loss = 0;
    TRI_TRY(loss_of(c->kernels, x, 250, false, &loss));
    EXPECT(fabs(loss - right) <= 1e-6 * right, "%s: loss %.9g, not %.9g", c->isa, loss, right);
    x->value[VOCAB - 1] = NAN;
    kernel_array_write(x);
    TRI_TRY(loss_of(c->kernels, x, 250, false, &loss));
    EXPECT(isnan(loss), "%s: a NaN logit gives a loss of %g", c->isa, loss);
    return TRI_OK;
}

TRI_TEST(infinite_logits)
{
    TRI_TRY(kernel_cases_run(special_case));
    return TRI_OK;
}

enum { PARTS = 4 };

/* What ranks with a part of the vocabulary each do: begin .. end is a rank's part. */
static tri_status parts_merge(tri_kernels *kernels, kernel_array *logits, loss_rows part[PARTS],
                              const int64_t begin[PARTS + 1])
{
    float all[ROWS];
    tri_cross_entropy_args args[PARTS];
    for (int row = 0; row < ROWS; row++)
        all[row] = -INFINITY;
    for (int p = 0; p < PARTS; p++) {
        rows_begin(&part[p]);
        args[p] =
            chunk_args(logits->dtype, &part[p], logits->data, begin[p], begin[p + 1] - begin[p]);
        TRI_TRY(tri_cross_entropy_stats(kernels, &args[p]));
        for (int row = 0; row < ROWS; row++)
            all[row] = fmaxf(all[row], part[p].maximum[row]);
    }
    for (int p = 0; p < PARTS; p++)
        tri_cross_entropy_rescale(ROWS, all, part[p].maximum, part[p].sum);
    for (int row = 0; row < ROWS; row++) {
        for (int p = 1; p < PARTS; p++) {
            part[0].sum[row] += part[p].sum[row];
            part[0].picked[row] += part[p].picked[row];
        }
        for (int p = 1; p < PARTS; p++)
            part[p].sum[row] = part[0].sum[row];
    }
    for (int p = 0; p < PARTS; p++)
        TRI_TRY(tri_cross_entropy_gradient(kernels, &args[p]));
    return TRI_OK;
}

/* A vocabulary in parts of very different sizes and magnitudes, one of them all masked. */
static tri_status parts_case(const kernel_case *c)
{
    const int64_t begin[PARTS + 1] = {0, 1, 2100, 2200, VOCAB};
    loss_rows part[PARTS];
    TRI_AUTO(kernel_array) *x = NULL, *want = NULL;
    TRI_TRY(kernel_array_create(c->dtype, ROWS * STRIDE, 1, 30, &x));
    TRI_TRY(kernel_array_create(TRI_F32, ROWS * STRIDE, 0, 0, &want));
    for (int row = 0; row < ROWS; row++)
        for (int64_t i = begin[2]; i < begin[3]; i++)
            x->value[row * STRIDE + i] = -INFINITY;
    kernel_array_write(x);
    memcpy(want->value, x->value, ROWS * STRIDE * sizeof(float));
    double right = reference(x->value, want->value), loss = 0;
    TRI_TRY(parts_merge(c->kernels, x, part, begin));
    int64_t counted = 0;
    tri_cross_entropy_args args = chunk_args(c->dtype, &part[0], x->data, 0, 1);
    tri_cross_entropy_sum(&args, &loss, &counted);
    EXPECT(counted == ROWS - 1 && fabs(loss - right) <= 1e-6 * fabs(right),
           "%s: loss %.9g, not %.9g", c->isa, loss, right);
    EXPECT_NEAR_ARRAY(c, x, want->value, "gradient in parts");
    return TRI_OK;
}

TRI_TEST(ranks_with_a_part_of_the_vocabulary_each)
{
    float maximum[2] = {-INFINITY, -INFINITY}, sum[2] = {0, NAN};
    const float all[2] = {-INFINITY, 5};
    tri_cross_entropy_rescale(2, all, maximum, sum);
    EXPECT(sum[0] == 0 && isnan(sum[1]) && maximum[1] == 5, "sums %g and %g", (double)sum[0],
           (double)sum[1]);
    return kernel_cases_run(parts_case);
}

TRI_TEST(wrong_arguments_are_refused)
{
    TRI_AUTO(kernel_team) *team = NULL;
    TRI_TRY(kernel_team_create(NULL, 1, &team));
    tri_cross_entropy_args args = {.rows = 1, .width = 8, .stride = 4, .dtype = TRI_F32};
    EXPECT_STATUS(tri_cross_entropy_stats(team->kernels, &args), TRI_EINVAL, "4 between rows");
    args.dtype = TRI_I64;
    EXPECT_STATUS(tri_cross_entropy_gradient(team->kernels, &args), TRI_EINVAL,
                  "cross-entropy gradient of int64");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(loss_and_gradient_in_any_chunks),
              TRI_TEST_ROW(gradient_is_the_difference), TRI_TEST_ROW(infinite_logits),
              TRI_TEST_ROW(ranks_with_a_part_of_the_vocabulary_each),
              TRI_TEST_ROW(wrong_arguments_are_refused))

// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* Rotary embedding against complex rotation in double; its inverse is its transpose. */
#include "kernels/pointwise.h"
#include "tests/kernels/kernel_cases.h"

enum { TOKENS = 53, PERIOD = 19, FIRST = 5, HEADS = 3, POSITIONS = FIRST + PERIOD };

static tri_rope_args rope_args(const kernel_case *c, int64_t head_size, const float *table,
                               kernel_array *x)
{
    return (tri_rope_args){.dtype = c->dtype,
                           .tokens = TOKENS,
                           .period = PERIOD,
                           .first_position = FIRST,
                           .heads = HEADS,
                           .head_size = head_size,
                           .stride = HEADS * head_size + 3,
                           .theta = 10000,
                           .table = table,
                           .x = x->data};
}

static void rotate_reference(const tri_rope_args *args, const float *x, float *y)
{
    int64_t half = args->head_size / 2;
    memcpy(y, x, (size_t)(args->tokens * args->stride) * sizeof *y);
    for (int64_t i = 0; i < args->tokens * args->heads * half; i++) {
        int64_t token = i / (args->heads * half), pair = i % half;
        int64_t at = token * args->stride + i / half % args->heads * args->head_size + pair;
        double position = args->position ? (double)args->position[token]
                                         : (double)(args->first_position + token % args->period);
        double angle =
            position * pow((double)args->theta, -2.0 * (double)pair / (double)args->head_size);
        if (args->inverse) angle = -angle;
        double a = (double)x[at], b = (double)x[at + half];
        y[at] = (float)(a * cos(angle) - b * sin(angle));
        y[at + half] = (float)(a * sin(angle) + b * cos(angle));
    }
}

static tri_status rope_case(const kernel_case *c)
{
    const int64_t sizes[] = {2, 24, 64, 128};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        TRI_AUTO(kernel_array) *table = NULL, *x = NULL, *want = NULL;
        TRI_TRY(kernel_array_create(TRI_F32, POSITIONS * sizes[s], 0, 0, &table));
        tri_rope_table(POSITIONS, sizes[s], 10000, table->data);
        int64_t n = TOKENS * (HEADS * sizes[s] + 3);
        TRI_TRY(kernel_array_create(c->dtype, n, 1, 1, &x));
        TRI_TRY(kernel_array_create(TRI_F32, n, 0, 0, &want));
        tri_rope_args args = rope_args(c, sizes[s], table->data, x);
        for (int inverse = 0; inverse < 2; inverse++) {
            args.inverse = inverse;
            kernel_array_read(x);
            rotate_reference(&args, x->value, want->value);
            TRI_TRY(tri_rope(c->kernels, &args));
            EXPECT_NEAR_ARRAY(c, x, want->value, "head size %d, inverse %d", (int)sizes[s],
                              inverse);
        }
    }
    return TRI_OK;
}

TRI_TEST(rotation_is_the_formula)
{
    TRI_TRY(kernel_cases_run(rope_case));
    return TRI_OK;
}

/* Tokens at places of their own: the formula, and with the period's places the period's bits. */
static tri_status position_case(const kernel_case *c)
{
    enum { SIZE = 24, N = TOKENS * (HEADS * SIZE + 3) };
    TRI_AUTO(kernel_array) *table = NULL, *x = NULL, *by_period = NULL, *want = NULL;
    TRI_TRY(kernel_array_create(TRI_F32, POSITIONS * SIZE, 0, 0, &table));
    tri_rope_table(POSITIONS, SIZE, 10000, table->data);
    TRI_TRY(kernel_array_create(c->dtype, N, 1, 1, &x));
    TRI_TRY(kernel_array_create(c->dtype, N, 1, 1, &by_period));
    TRI_TRY(kernel_array_create(TRI_F32, N, 0, 0, &want));
    int32_t position[TOKENS];
    for (int j = 0; j < TOKENS; j++)
        position[j] = FIRST + j % PERIOD;
    tri_rope_args args = rope_args(c, SIZE, table->data, by_period);
    TRI_TRY(tri_rope(c->kernels, &args));
    args = rope_args(c, SIZE, table->data, x);
    args.position = position;
    args.period = 0;
    TRI_TRY(tri_rope(c->kernels, &args));
    EXPECT(kernel_same_bits(x->data, by_period->data, N * tri_dtype_bytes(c->dtype)),
           "%s: the same places give other bits", c->isa);
    for (int j = 0; j < TOKENS; j++)
        position[j] = (j * 7 + 3) % POSITIONS;
    kernel_array_read(x);
    rotate_reference(&args, x->value, want->value);
    TRI_TRY(tri_rope(c->kernels, &args));
    EXPECT_NEAR_ARRAY(c, x, want->value, "places of their own");
    return TRI_OK;
}

TRI_TEST(tokens_have_places_of_their_own)
{
    return kernel_cases_run(position_case);
}

/* <rope(x), dy> = <x, inverse(dy)>: the inverse is the gradient. */
static tri_status transpose_case(const kernel_case *c)
{
    if (c->dtype != TRI_F32) return TRI_OK;
    TRI_AUTO(kernel_array) *table = NULL, *x = NULL, *dy = NULL;
    TRI_TRY(kernel_array_create(TRI_F32, POSITIONS * 64, 0, 0, &table));
    tri_rope_table(POSITIONS, 64, 10000, table->data);
    int64_t n = TOKENS * (HEADS * 64 + 3);
    TRI_TRY(kernel_array_create(TRI_F32, n, 1, 1, &x));
    TRI_TRY(kernel_array_create(TRI_F32, n, 2, 1, &dy));
    tri_rope_args args = rope_args(c, 64, table->data, x);
    TRI_TRY(tri_rope(c->kernels, &args));
    args.inverse = true;
    args.x = dy->data;
    TRI_TRY(tri_rope(c->kernels, &args));
    double forward = 0, backward = 0;
    for (int64_t i = 0; i < n; i++) {
        forward += (double)((float *)x->data)[i] * (double)dy->value[i];
        backward += (double)x->value[i] * (double)((float *)dy->data)[i];
    }
    EXPECT(fabs(forward - backward) < 1e-4, "%s: %g, transposed %g", c->isa, forward, backward);
    return TRI_OK;
}

TRI_TEST(inverse_is_the_gradient)
{
    TRI_TRY(kernel_cases_run(transpose_case));
    return TRI_OK;
}

TRI_TEST(wrong_arguments_are_refused)
{
    TRI_AUTO(kernel_team) *team = NULL;
    TRI_TRY(kernel_team_create(NULL, 1, &team));
    tri_rope_args args = {.dtype = TRI_F32, .tokens = 1, .heads = 1, .head_size = 3, .stride = 3};
    EXPECT_STATUS(tri_rope(team->kernels, &args), TRI_EINVAL, "even");
    args.head_size = 4;
    EXPECT_STATUS(tri_rope(team->kernels, &args), TRI_EINVAL, "3 between rows");
    args.stride = 4;
    EXPECT_STATUS(tri_rope(team->kernels, &args), TRI_EINVAL, "period 0");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(rotation_is_the_formula), TRI_TEST_ROW(tokens_have_places_of_their_own),
              TRI_TEST_ROW(inverse_is_the_gradient), TRI_TEST_ROW(wrong_arguments_are_refused))

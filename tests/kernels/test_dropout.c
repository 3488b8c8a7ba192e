// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* The mask of dropout is that of tri_rng_uniform, element by element, however rows are cut over
 * calls and threads. */
#include "kernels/pointwise.h"
#include "tests/kernels/kernel_cases.h"

enum { SAMPLES = 6, ROWS_PER_SAMPLE = 11, ROWS = SAMPLES * ROWS_PER_SAMPLE };

static const int64_t samples[SAMPLES] = {7, 123456789012, 0, 1, 8, 5000000000};

static tri_dropout_args dropout_args(tri_dtype dtype, int64_t width, const void *x, void *y)
{
    return (tri_dropout_args){
        .dtype = dtype,
        .rows = ROWS,
        .width = width,
        .rows_per_sample = ROWS_PER_SAMPLE,
        .sample = samples,
        .rate = 0.3f,
        .rng = {.seed = 99, .stream = (uint64_t)5 << 48, .purpose = TRI_RNG_DROPOUT},
        .x = x,
        .y = y,
    };
}

static tri_status mask_case(const kernel_case *c)
{
    const int64_t widths[] = {1, 7, 255, 258, 769};
    for (size_t w = 0; w < sizeof widths / sizeof widths[0]; w++) {
        int64_t width = widths[w];
        TRI_AUTO(kernel_array) *x = NULL, *y = NULL, *want = NULL;
        TRI_TRY(kernel_array_create(c->dtype, ROWS * width, 1, 1, &x));
        TRI_TRY(kernel_array_create(c->dtype, ROWS * width, 0, 0, &y));
        TRI_TRY(kernel_array_create(TRI_F32, ROWS * width, 0, 0, &want));
        tri_dropout_args args = dropout_args(c->dtype, width, x->data, y->data);
        int64_t wrong = 0, kept = 0;
        TRI_TRY(tri_dropout(c->kernels, &args));
        kernel_array_read(y);
        for (int64_t i = 0; i < ROWS * width; i++) {
            int64_t sample = i / width / ROWS_PER_SAMPLE;
            tri_rng rng = args.rng;
            rng.stream += (uint64_t)samples[sample];
            uint64_t index = (uint64_t)(i - sample * ROWS_PER_SAMPLE * width);
            bool keep = tri_rng_uniform(rng, index) >= args.rate;
            want->value[i] = keep ? x->value[i] / 0.7f : 0;
            wrong += keep != (y->value[i] != 0) && x->value[i] != 0;
            kept += keep;
        }
        EXPECT(wrong == 0, "%s: width %d: %d elements have another mask", c->isa, (int)width,
               (int)wrong);
        EXPECT_NEAR_ARRAY(c, y, want->value, "width %d", (int)width);
        if (width < 769) continue;
        EXPECT(fabs((double)kept / (double)(ROWS * width) - 0.7) < 0.01, "%g are kept",
               (double)kept / (double)(ROWS * width));
    }
    return TRI_OK;
}

TRI_TEST(mask_is_that_of_the_generator)
{
    TRI_TRY(kernel_cases_run(mask_case));
    return TRI_OK;
}

/* One call over all samples, one per sample: the same bits; and the gradient is the same mask. */
static tri_status cut_case(const kernel_case *c)
{
    enum { WIDTH = 413 };
    size_t bytes = tri_dtype_bytes(c->dtype);
    TRI_AUTO(kernel_array) *x = NULL, *whole = NULL, *part = NULL;
    TRI_TRY(kernel_array_create(c->dtype, ROWS * WIDTH, 1, 1, &x));
    TRI_TRY(kernel_array_create(c->dtype, ROWS * WIDTH, 0, 0, &whole));
    TRI_TRY(kernel_array_create(c->dtype, ROWS * WIDTH, 0, 0, &part));
    tri_dropout_args args = dropout_args(c->dtype, WIDTH, x->data, whole->data);
    TRI_TRY(tri_dropout(c->kernels, &args));
    for (int s = 0; s < SAMPLES; s++) {
        size_t at = (size_t)s * ROWS_PER_SAMPLE * WIDTH * bytes;
        args.rows = ROWS_PER_SAMPLE;
        args.sample = samples + s;
        args.x = (char *)x->data + at;
        args.y = (char *)part->data + at;
        TRI_TRY(tri_dropout(c->kernels, &args));
    }
    EXPECT(!memcmp(whole->data, part->data, (size_t)(ROWS * WIDTH) * bytes),
           "%s, %d threads: rows that are cut have another mask", c->isa, c->threads);
    args = dropout_args(c->dtype, WIDTH, x->data, x->data);
    TRI_TRY(tri_dropout(c->kernels, &args));
    EXPECT(!memcmp(whole->data, x->data, (size_t)(ROWS * WIDTH) * bytes), "%s: in place differs",
           c->isa);
    return TRI_OK;
}

TRI_TEST(cuts_do_not_matter)
{
    TRI_TRY(kernel_cases_run(cut_case));
    return TRI_OK;
}

/* Rows from the middle of the micro-batch, and every second token of sequences that are twice as
 * long: the masks of the whole. */
static tri_status part_case(const kernel_case *c)
{
    enum { WIDTH = 50, FIRST_ROW = 17, LOCAL = ROWS_PER_SAMPLE / 2 };
    size_t row_bytes = WIDTH * tri_dtype_bytes(c->dtype);
    TRI_AUTO(kernel_array) *x = NULL, *whole = NULL, *part = NULL;
    TRI_TRY(kernel_array_create(c->dtype, ROWS * WIDTH, 1, 1, &x));
    TRI_TRY(kernel_array_create(c->dtype, ROWS * WIDTH, 0, 0, &whole));
    TRI_TRY(kernel_array_create(c->dtype, ROWS * WIDTH, 0, 0, &part));
    tri_dropout_args args = dropout_args(c->dtype, WIDTH, x->data, whole->data);
    TRI_TRY(tri_dropout(c->kernels, &args));
    args.rows = 30;
    args.first_row = FIRST_ROW;
    args.x = (char *)x->data + FIRST_ROW * row_bytes;
    args.y = part->data;
    TRI_TRY(tri_dropout(c->kernels, &args));
    EXPECT(!memcmp((char *)whole->data + FIRST_ROW * row_bytes, part->data, 30 * row_bytes),
           "%s, %d threads: a part of the rows has another mask", c->isa, c->threads);
    int32_t index[LOCAL];
    for (int j = 0; j < LOCAL; j++) {
        index[j] = 2 * j + 1;
        for (int s = 0; s < SAMPLES; s++)
            memcpy((char *)part->data + (size_t)(s * LOCAL + j) * row_bytes,
                   (char *)x->data + (size_t)(s * ROWS_PER_SAMPLE + index[j]) * row_bytes,
                   row_bytes);
    }
    args = dropout_args(c->dtype, WIDTH, part->data, part->data);
    args.rows = LOCAL * SAMPLES - 3;
    args.rows_per_sample = LOCAL;
    args.first_row = 3;
    args.index = index;
    args.x = (char *)part->data + 3 * row_bytes;
    args.y = (char *)part->data + 3 * row_bytes;
    TRI_TRY(tri_dropout(c->kernels, &args));
    for (int r = 3; r < LOCAL * SAMPLES; r++) {
        int row = r / LOCAL * ROWS_PER_SAMPLE + index[r % LOCAL];
        EXPECT(!memcmp((char *)whole->data + (size_t)row * row_bytes,
                       (char *)part->data + (size_t)r * row_bytes, row_bytes),
               "%s, %d threads: token %d of its sample has another mask", c->isa, c->threads,
               index[r % LOCAL]);
    }
    return TRI_OK;
}

TRI_TEST(parts_of_sequences_have_the_masks_of_the_whole)
{
    return kernel_cases_run(part_case);
}

TRI_TEST(rate_zero_copies)
{
    TRI_AUTO(kernel_team) *team = NULL;
    TRI_TRY(kernel_team_create(NULL, 1, &team));
    TRI_AUTO(kernel_array) *x = NULL, *y = NULL;
    TRI_TRY(kernel_array_create(TRI_F32, ROWS * 20, 1, 1, &x));
    TRI_TRY(kernel_array_create(TRI_F32, ROWS * 20, 0, 0, &y));
    tri_dropout_args args = dropout_args(TRI_F32, 20, x->data, y->data);
    args.rate = 0;
    TRI_TRY(tri_dropout(team->kernels, &args));
    EXPECT(!memcmp(x->data, y->data, ROWS * 20 * sizeof(float)), "rate 0 changes values");
    args.rate = 1;
    EXPECT_STATUS(tri_dropout(team->kernels, &args), TRI_EINVAL, "rate 1");
    args.rate = 0.5f;
    args.first_row = -1;
    EXPECT_STATUS(tri_dropout(team->kernels, &args), TRI_EINVAL, "from row -1");
    args.first_row = 0;
    args.rows_per_sample = 0;
    EXPECT_STATUS(tri_dropout(team->kernels, &args), TRI_EINVAL, "0 rows per sample");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(mask_is_that_of_the_generator), TRI_TEST_ROW(cuts_do_not_matter),
              TRI_TEST_ROW(parts_of_sequences_have_the_masks_of_the_whole),
              TRI_TEST_ROW(rate_zero_copies))

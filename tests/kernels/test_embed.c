// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* Embedding against plain loops; its gradient has the same bits on any number of threads. */
#include "kernels/embed.h"
#include "tests/kernels/kernel_cases.h"

enum { TOKENS = 301, VOCAB = 97, WIDTH = 75, PERIOD = 43, FIRST = 2, POSITIONS = FIRST + PERIOD };

static void draw_ids(int32_t *id)
{
    tri_rng rng = {.seed = 3, .purpose = TRI_RNG_TEST};
    for (uint64_t j = 0; j < TOKENS; j++)
        id[j] = (int32_t)(tri_rng_word(rng, j) % VOCAB);
    for (int j = 100; j < 140; j++)
        id[j] = 5; /* many of one */
}

static tri_status forward_case(const kernel_case *c)
{
    int32_t id[TOKENS];
    draw_ids(id);
    TRI_AUTO(kernel_array) *table = NULL, *position = NULL, *y = NULL, *want = NULL;
    TRI_TRY(kernel_array_create(c->dtype, VOCAB * WIDTH, 1, 1, &table));
    TRI_TRY(kernel_array_create(c->dtype, POSITIONS * WIDTH, 2, 1, &position));
    TRI_TRY(kernel_array_create(c->dtype, TOKENS * WIDTH, 0, 0, &y));
    TRI_TRY(kernel_array_create(TRI_F32, TOKENS * WIDTH, 0, 0, &want));
    tri_embed_args args = {.tokens = TOKENS,
                           .width = WIDTH,
                           .vocab = VOCAB,
                           .period = PERIOD,
                           .first_position = FIRST,
                           .dtype = c->dtype,
                           .id = id,
                           .table = table->data,
                           .y = y->data};
    for (int with = 0; with < 2; with++) {
        args.position = with ? position->data : NULL;
        for (int64_t i = 0; i < TOKENS * WIDTH; i++) {
            int64_t j = i / WIDTH, at = i % WIDTH;
            want->value[i] = table->value[id[j] * WIDTH + at];
            if (with) want->value[i] += position->value[(FIRST + j % PERIOD) * WIDTH + at];
        }
        TRI_TRY(tri_embed_forward(c->kernels, &args));
        EXPECT_NEAR_ARRAY(c, y, want->value, "with positions %d", with);
    }
    return TRI_OK;
}

TRI_TEST(forward_is_the_plain_loop)
{
    TRI_TRY(kernel_cases_run(forward_case));
    return TRI_OK;
}

/* Sums in token order are the same operations as the plain loop's: equal bits. */
static tri_status backward_case(const kernel_case *c)
{
    int32_t id[TOKENS];
    draw_ids(id);
    TRI_AUTO(kernel_array) *dy = NULL, *dtable = NULL, *dposition = NULL;
    TRI_TRY(kernel_array_create(c->dtype, TOKENS * WIDTH, 1, 1, &dy));
    TRI_TRY(kernel_array_create(TRI_F32, VOCAB * WIDTH, 2, 1, &dtable));
    TRI_TRY(kernel_array_create(TRI_F32, POSITIONS * WIDTH, 3, 1, &dposition));
    tri_embed_args args = {.tokens = TOKENS,
                           .width = WIDTH,
                           .vocab = VOCAB,
                           .period = PERIOD,
                           .first_position = FIRST,
                           .dtype = c->dtype,
                           .id = id,
                           .dy = dy->data,
                           .dtable = dtable->data,
                           .dposition = dposition->data};
    TRI_TRY(tri_embed_backward(c->kernels, &args));
    for (int64_t i = 0; i < TOKENS * WIDTH; i++) {
        int64_t j = i / WIDTH, at = i % WIDTH;
        dtable->value[id[j] * WIDTH + at] += dy->value[i];
        dposition->value[(FIRST + j % PERIOD) * WIDTH + at] += dy->value[i];
    }
    EXPECT(kernel_same_bits(dtable->data, dtable->value, VOCAB * WIDTH * sizeof(float)),
           "%s, %d threads: gradient of the table", c->isa, c->threads);
    EXPECT(kernel_same_bits(dposition->data, dposition->value, POSITIONS * WIDTH * sizeof(float)),
           "%s, %d threads: gradient of positions", c->isa, c->threads);
    args.dposition = NULL;
    TRI_TRY(tri_embed_backward(c->kernels, &args));
    args.period = 0;
    EXPECT_STATUS(tri_embed_backward(c->kernels, &args), TRI_EINVAL, "period 0");
    return TRI_OK;
}

TRI_TEST(backward_is_the_plain_loop)
{
    TRI_TRY(kernel_cases_run(backward_case));
    return TRI_OK;
}

enum { PARTS = 3, EACH = (VOCAB + PARTS - 1) / PARTS };

static void part_set(tri_embed_args *args, int part)
{
    args->first = part * EACH;
    args->vocab = VOCAB - args->first < EACH ? VOCAB - args->first : EACH;
}

/* Rows of the tables of all parts of the vocabulary sum to those of the whole; a part without
 * positions gives zeros for ids of others. */
static tri_status part_forward_case(const kernel_case *c)
{
    int32_t id[TOKENS], place[TOKENS];
    draw_ids(id);
    TRI_AUTO(kernel_array) *table = NULL, *position = NULL, *y = NULL;
    TRI_TRY(kernel_array_create(c->dtype, VOCAB * WIDTH, 1, 1, &table));
    TRI_TRY(kernel_array_create(c->dtype, POSITIONS * WIDTH, 2, 1, &position));
    TRI_TRY(kernel_array_create(c->dtype, TOKENS * WIDTH, 3, 1, &y));
    tri_embed_args args = {.tokens = TOKENS,
                           .width = WIDTH,
                           .dtype = c->dtype,
                           .id = id,
                           .place = place,
                           .y = y->data};
    for (int j = 0; j < TOKENS; j++)
        place[j] = (j * 11 + 5) % POSITIONS;
    for (int part = 0; part < PARTS; part++) {
        part_set(&args, part);
        args.table = (char *)table->data + (size_t)args.first * WIDTH * tri_dtype_bytes(c->dtype);
        args.position = part == 1 ? position->data : NULL;
        TRI_TRY(tri_embed_forward(c->kernels, &args));
        kernel_array_read(y);
        int64_t wrong = 0;
        for (int64_t i = 0; i < TOKENS * WIDTH; i++) {
            int64_t j = i / WIDTH, at = i % WIDTH;
            float want = id[j] / EACH == part ? table->value[id[j] * WIDTH + at] : 0;
            if (part == 1) want += position->value[place[j] * WIDTH + at];
            if (c->dtype == TRI_BF16) want = tri_bf16_to_f32(tri_f32_to_bf16(want));
            wrong += y->value[i] != want;
        }
        EXPECT(wrong == 0, "%s: %d elements of part %d are wrong", c->isa, (int)wrong, part);
    }
    return TRI_OK;
}

/* Gradients of the parts lie side by side, with the bits of the whole. */
static tri_status part_backward_case(const kernel_case *c)
{
    int32_t id[TOKENS], place[TOKENS];
    draw_ids(id);
    TRI_AUTO(kernel_array) *dy = NULL, *dtable = NULL, *dposition = NULL;
    TRI_TRY(kernel_array_create(c->dtype, TOKENS * WIDTH, 1, 1, &dy));
    TRI_TRY(kernel_array_create(TRI_F32, VOCAB * WIDTH, 2, 1, &dtable));
    TRI_TRY(kernel_array_create(TRI_F32, POSITIONS * WIDTH, 3, 1, &dposition));
    tri_embed_args args = {.tokens = TOKENS,
                           .width = WIDTH,
                           .dtype = c->dtype,
                           .id = id,
                           .place = place,
                           .dy = dy->data};
    for (int j = 0; j < TOKENS; j++)
        place[j] = (j * 11 + 5) % POSITIONS;
    for (int part = 0; part < PARTS; part++) {
        part_set(&args, part);
        args.dtable = (float *)dtable->data + args.first * WIDTH;
        args.dposition = part == 0 ? dposition->data : NULL;
        TRI_TRY(tri_embed_backward(c->kernels, &args));
    }
    for (int64_t i = 0; i < TOKENS * WIDTH; i++) {
        int64_t j = i / WIDTH, at = i % WIDTH;
        dtable->value[id[j] * WIDTH + at] += dy->value[i];
        dposition->value[place[j] * WIDTH + at] += dy->value[i];
    }
    EXPECT(kernel_same_bits(dtable->data, dtable->value, VOCAB * WIDTH * sizeof(float)),
           "%s, %d threads: gradient of the table in parts", c->isa, c->threads);
    EXPECT(kernel_same_bits(dposition->data, dposition->value, POSITIONS * WIDTH * sizeof(float)),
           "%s, %d threads: gradient of places", c->isa, c->threads);
    return TRI_OK;
}

TRI_TEST(parts_of_the_vocabulary_and_places)
{
    TRI_TRY(kernel_cases_run(part_forward_case));
    TRI_TRY(kernel_cases_run(part_backward_case));
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(forward_is_the_plain_loop), TRI_TEST_ROW(backward_is_the_plain_loop),
              TRI_TEST_ROW(parts_of_the_vocabulary_and_places))

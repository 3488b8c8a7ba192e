// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* Block quantisation against its definition, number by number: the same bytes and scales on every
 * instruction set and any number of threads; bounds, ties, ends of blocks, numbers that are none.
 */
#include "kernels/quantize.h"
#include "tests/kernels/kernel_cases.h"

enum { MOST = 70001, GUARD = 32 };

static const int64_t lengths[] = {0, 1, 2, 7, 255, 256, 257, 511, 1000, MOST};

/* Quantised numbers with room behind them that must stay as it is. */
typedef struct packet {
    uint8_t bytes[MOST + GUARD];
    float scales[MOST / TRI_QUANTIZE_BLOCK + 1 + GUARD];
} packet;

static void packet_destroy(packet **p)
{
    TRI_FREE(*p);
}

static float scale_of(const float *x, int64_t n, int bits)
{
    float largest = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) return NAN;
        largest = fmaxf(largest, fabsf(x[i]));
    }
    return largest < 127 * 0x1p-126f ? 0 : largest / (bits == 4 ? 7.0F : 127.0F);
}

/* The integer that stands for number i. */
static int number_of(const packet *p, int64_t i, int bits)
{
    if (bits == 8) return (int8_t)p->bytes[i];
    int half = p->bytes[i / 2] >> (i % 2 ? 4 : 0) & 15;
    return half < 8 ? half : half - 16;
}

static void check_packet(const kernel_case *c, const packet *p, const float *x, int64_t n, int bits)
{
    int64_t wrong = 0;
    int most = bits == 4 ? 7 : 127;
    for (int64_t i = 0; i < n; i++) {
        int64_t block = i / TRI_QUANTIZE_BLOCK * TRI_QUANTIZE_BLOCK;
        if (i == block) {
            int64_t in_block = n - block < TRI_QUANTIZE_BLOCK ? n - block : TRI_QUANTIZE_BLOCK;
            float want = scale_of(x + block, in_block, bits);
            float got = p->scales[i / TRI_QUANTIZE_BLOCK];
            wrong += !(isnan(want) ? isnan(got) : got == want);
        }
        float scale = p->scales[i / TRI_QUANTIZE_BLOCK];
        int number = number_of(p, i, bits);
        if (isnan(scale) || scale == 0)
            wrong += number != 0;
        else
            wrong += abs(number) > most ||
                     fabs((double)x[i] - number * (double)scale) > (double)scale * (0.5 + 1e-4);
    }
    EXPECT(wrong == 0, "%s, %s, %d threads, %d bits, %lld numbers: %lld are wrong", c->isa,
           tri_dtype_name(c->dtype), c->threads, bits, (long long)n, (long long)wrong);
    int64_t bytes = tri_quantize_bytes(n, bits);
    if (bits == 4 && n % 2) EXPECT(p->bytes[bytes - 1] >> 4 == 0, "half a byte is left over");
    for (int64_t i = 0; i < GUARD; i++)
        EXPECT(p->bytes[bytes + i] == 0x5a, "%lld numbers took more than %lld bytes", (long long)n,
               (long long)bytes);
    EXPECT(isinf(p->scales[tri_quantize_scales(n)]), "%lld numbers: too many scales", (long long)n);
}

static void packet_clear(packet *p)
{
    memset(p->bytes, 0x5a, sizeof p->bytes);
    for (size_t i = 0; i < sizeof p->scales / sizeof p->scales[0]; i++)
        p->scales[i] = INFINITY;
}

/* Back again: each is integer * scale, rounded to its type; or is added so. */
static tri_status check_back(const kernel_case *c, const packet *p, int64_t n, int bits)
{
    for (int add = 0; add < 2; add++) {
        TRI_AUTO(kernel_array) *out = NULL;
        TRI_TRY(kernel_array_create(c->dtype, n + 1, 9, 1, &out));
        float before = out->value[n];
        TRI_TRY(tri_dequantize(c->kernels, n, p->bytes, bits, p->scales, add, c->dtype, out->data));
        int64_t wrong = 0;
        for (int64_t i = 0; i < n; i++) {
            volatile float product =
                (float)number_of(p, i, bits) * p->scales[i / TRI_QUANTIZE_BLOCK];
            float want = add ? out->value[i] + product : product;
            float got = ((float *)out->data)[i];
            if (c->dtype == TRI_BF16) {
                want = tri_bf16_to_f32(tri_f32_to_bf16(want));
                got = tri_bf16_to_f32(((tri_bf16 *)out->data)[i]);
            }
            wrong += isnan(want) ? !isnan(got) : got != want;
        }
        kernel_array_read(out);
        EXPECT(wrong == 0 && out->value[n] == before,
               "%s, %s, %d bits, %lld numbers, add %d: %lld are wrong", c->isa,
               tri_dtype_name(c->dtype), bits, (long long)n, add, (long long)wrong);
    }
    return TRI_OK;
}

static tri_status round_trip(const kernel_case *c, const kernel_array *x, int64_t n, int bits)
{
    TRI_AUTO(packet) *p = NULL;
    TRI_TRY(TRI_NEW(&p));
    packet_clear(p);
    TRI_TRY(tri_quantize(c->kernels, c->dtype, n, x->data, bits, p->bytes, p->scales));
    check_packet(c, p, x->value, n, bits);
    TRI_TRY(check_back(c, p, n, bits));
    return TRI_OK;
}

/* Blocks of all magnitudes, of zeros, of tiny numbers, with NaN and infinities. */
static void numbers_spread(kernel_array *x)
{
    for (int64_t i = 0; i < x->n; i++) {
        int64_t block = i / TRI_QUANTIZE_BLOCK;
        x->value[i] *= ldexpf(1, (int)(block * 37 % 200) - 100);
        if (block % 11 == 3) x->value[i] = 0;
        if (block % 11 == 4) x->value[i] = (float)(i % 5) * 0x1p-140f;
    }
    if (x->n <= 5000) return;
    x->value[256 * 7 + 255] = NAN;
    x->value[256 * 8] = -INFINITY;
    x->value[256 * 9 + 3] = 3e38F;
}

static tri_status definition_case(const kernel_case *c)
{
    for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++) {
        TRI_AUTO(kernel_array) *x = NULL;
        TRI_TRY(kernel_array_create(c->dtype, lengths[l], 1, 1, &x));
        numbers_spread(x);
        kernel_array_write(x);
        TRI_TRY(round_trip(c, x, lengths[l], 8));
        TRI_TRY(round_trip(c, x, lengths[l], 4));
    }
    return TRI_OK;
}

TRI_TEST(numbers_are_those_of_the_definition)
{
    return kernel_cases_run(definition_case);
}

/* Integers times a power of two come back as they were; halves go to even numbers. */
static tri_status exact_case(const kernel_case *c)
{
    for (int bits = 4; bits <= 8; bits += 4) {
        int most = bits == 4 ? 7 : 127;
        TRI_AUTO(kernel_array) *x = NULL, *back = NULL;
        TRI_AUTO(packet) *p = NULL;
        TRI_TRY(TRI_NEW(&p));
        TRI_TRY(kernel_array_create(c->dtype, 600, 1, 0, &x));
        TRI_TRY(kernel_array_create(c->dtype, 600, 1, 1, &back));
        for (int i = 0; i < 600; i++)
            x->value[i] = (float)(i % 256 ? i % (2 * most + 1) - most : most) * 0.25F;
        kernel_array_write(x);
        TRI_TRY(tri_quantize(c->kernels, c->dtype, 600, x->data, bits, p->bytes, p->scales));
        TRI_TRY(tri_dequantize(c->kernels, 600, p->bytes, bits, p->scales, false, c->dtype,
                               back->data));
        kernel_array_read(back);
        for (int i = 0; i < 600; i++)
            EXPECT(back->value[i] == x->value[i], "%s: %g became %g", c->isa, (double)x->value[i],
                   (double)back->value[i]);
        x->value[0] = (float)most; /* scale 1 */
        for (int i = 1; i < 256; i++)
            x->value[i] = (float)(i % (2 * most) - most) + 0.5F;
        kernel_array_write(x);
        TRI_TRY(tri_quantize(c->kernels, c->dtype, 256, x->data, bits, p->bytes, p->scales));
        for (int i = 1; i < 256; i++)
            EXPECT((float)number_of(p, i, bits) == rintf(x->value[i]), "%s: %g became %d", c->isa,
                   (double)x->value[i], number_of(p, i, bits));
    }
    return TRI_OK;
}

TRI_TEST(exact_numbers_stay_and_ties_go_to_even)
{
    return kernel_cases_run(exact_case);
}

/* Every instruction set: the bits of the first; and what came back gives the same bytes again. */
static tri_status bits_of(const char *isa, int threads, int bits, packet *p, float *back)
{
    TRI_AUTO(kernel_team) *team = NULL;
    TRI_AUTO(kernel_array) *x = NULL;
    TRI_AUTO(packet) *again = NULL;
    TRI_TRY(kernel_team_create(isa, threads, &team));
    TRI_TRY(TRI_NEW(&again));
    TRI_TRY(kernel_array_create(TRI_F32, MOST, 1, 1, &x));
    memset(back, 0, MOST * sizeof *back);
    TRI_TRY(tri_quantize(team->kernels, TRI_F32, MOST, x->data, bits, p->bytes, p->scales));
    TRI_TRY(tri_dequantize(team->kernels, MOST, p->bytes, bits, p->scales, false, TRI_F32, back));
    TRI_TRY(tri_quantize(team->kernels, TRI_F32, MOST, back, bits, again->bytes, again->scales));
    EXPECT(kernel_same_bits(p->bytes, again->bytes, (size_t)tri_quantize_bytes(MOST, bits)),
           "%s, %d bits: a second time gives other bytes", isa, bits);
    for (int64_t i = 0; i < MOST; i++)
        back[i] = x->value[i] * 3.7F;
    TRI_TRY(tri_dequantize(team->kernels, MOST, p->bytes, bits, p->scales, true, TRI_F32, back));
    return TRI_OK;
}

TRI_TEST(every_instruction_set_gives_the_same_bits)
{
    const char *const *isas = tri_kernels_isas();
    for (int bits = 4; bits <= 8; bits += 4) {
        TRI_AUTO(packet) *one = NULL, *other = NULL;
        float *back = NULL, *other_back = NULL;
        TRI_TRY(TRI_NEW(&one));
        TRI_TRY(TRI_NEW(&other));
        TRI_TRY(TRI_NEW_ARRAY(MOST, &back));
        TRI_TRY(TRI_NEW_ARRAY(MOST, &other_back));
        TRI_TRY(bits_of(isas[0], 1, bits, one, back));
        for (int i = 0; isas[i]; i++) {
            TRI_TRY(bits_of(isas[i], 2, bits, other, other_back));
            EXPECT(kernel_same_bits(one, other, sizeof *one) &&
                       kernel_same_bits(back, other_back, MOST * sizeof *back),
                   "%s and %s, %d bits: other bits", isas[0], isas[i], bits);
        }
        TRI_FREE(back);
        TRI_FREE(other_back);
    }
    return TRI_OK;
}

TRI_TEST(wrong_arguments_are_refused)
{
    TRI_AUTO(kernel_team) *team = NULL;
    TRI_TRY(kernel_team_create(NULL, 1, &team));
    float x[4] = {0};
    float scale = 0;
    uint8_t bytes[4];
    EXPECT_STATUS(tri_quantize(team->kernels, TRI_F32, 4, x, 5, bytes, &scale), TRI_EINVAL,
                  "4 numbers in 5 bits");
    EXPECT_STATUS(tri_quantize(team->kernels, TRI_F16, 4, x, 8, bytes, &scale), TRI_EINVAL,
                  "quantisation of fp16");
    EXPECT_STATUS(tri_dequantize(team->kernels, 4, bytes, 16, &scale, false, TRI_F32, x),
                  TRI_EINVAL, "in 16 bits");
    EXPECT_STATUS(tri_dequantize(team->kernels, -4, bytes, 8, &scale, false, TRI_F32, x),
                  TRI_EINVAL, "-4 rows");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(numbers_are_those_of_the_definition),
              TRI_TEST_ROW(exact_numbers_stay_and_ties_go_to_even),
              TRI_TEST_ROW(every_instruction_set_gives_the_same_bits),
              TRI_TEST_ROW(wrong_arguments_are_refused))

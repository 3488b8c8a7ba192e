// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* Casts of floating types: every value of the small types survives widening, and what is rounded goes to the
 * nearest of all values of the type, found by search, the even one on a tie.
 */
#include "runtime/dtype.h"
#include "tests/test.h"

#include <float.h>

/* The small types by their definition: sign, exponent bits, digits. */
typedef struct small_type {
    tri_dtype dtype;
    int exponent_bits, digits;
} small_type;

static const small_type small_types[] = {
    {TRI_F16,  5, 10},
    {TRI_BF16, 8, 7 },
};

/* Value of a bit pattern without sign; the first one beyond the largest stands for infinity's place. */
static double value_of(const small_type *type, unsigned bits)
{
    int bias = (1 << (type->exponent_bits - 1)) - 1;
    int exponent = (int)(bits >> type->digits);
    double digits = bits & ((1u << type->digits) - 1);
    if (exponent == 0) return ldexp(digits, 1 - bias - type->digits);
    return ldexp(digits + (1 << type->digits), exponent - bias - type->digits);
}

static unsigned infinity_of(const small_type *type)
{
    return ((1u << type->exponent_bits) - 1) << type->digits;
}

/* Nearest value by bisection over all of them. */
static unsigned nearest(const small_type *type, double x)
{
    unsigned sign = signbit(x) ? 0x8000u : 0;
    unsigned low = 0;
    unsigned high = infinity_of(type);
    double size = fabs(x);
    if (size >= value_of(type, high)) return sign | high;
    while (high - low > 1) {
        unsigned middle = (low + high) / 2;
        if (value_of(type, middle) <= size)
            low = middle;
        else
            high = middle;
    }
    double below = size - value_of(type, low);
    double above = value_of(type, high) - size;
    if (below == above) return sign | (low & 1 ? high : low);
    return sign | (below < above ? low : high);
}

static void expect_cast(const small_type *type, double x)
{
    uint16_t got = 0;
    tri_dtype_cast(TRI_F64, &x, type->dtype, &got, 1);
    EXPECT(got == nearest(type, x), "%a to %s: %04x, not %04x", x, tri_dtype_name(type->dtype), got,
           nearest(type, x));
    float single = (float)x;
    tri_dtype_cast(TRI_F32, &single, type->dtype, &got, 1);
    EXPECT(got == nearest(type, single), "%a of fp32 to %s: %04x, not %04x", (double)single,
           tri_dtype_name(type->dtype), got, nearest(type, single));
}

/* Each value, the middle to the next, and a hair to either side of the middle, which two roundings lose. */
TRI_TEST(rounding_is_to_the_nearest_once)
{
    for (size_t t = 0; t < sizeof small_types / sizeof *small_types; t++) {
        const small_type *type = &small_types[t];
        for (unsigned bits = 0; bits < infinity_of(type); bits++) {
            double x = value_of(type, bits);
            double middle = (x + value_of(type, bits + 1)) / 2;
            for (int sign = -1; sign <= 1; sign += 2) {
                expect_cast(type, sign * x);
                expect_cast(type, sign * middle);
                expect_cast(type, sign * nextafter(middle, 0));
                expect_cast(type, sign * nextafter(middle, DBL_MAX));
            }
        }
        expect_cast(type, DBL_MAX);
        expect_cast(type, -DBL_MIN);
        expect_cast(type, FLT_MAX);
        expect_cast(type, FLT_TRUE_MIN);
    }
    return TRI_OK;
}

TRI_TEST(every_value_survives_a_wider_type)
{
    static const tri_dtype wide[] = {TRI_F32, TRI_F64};
    for (size_t t = 0; t < sizeof small_types / sizeof *small_types; t++) {
        const small_type *type = &small_types[t];
        for (unsigned bits = 0; bits < 0x10000; bits++) {
            uint16_t from = (uint16_t)bits;
            bool is_nan = (bits & 0x7fff) > infinity_of(type);
            for (int w = 0; w < 2; w++) {
                char there[8];
                uint16_t back = 0;
                tri_dtype_cast(type->dtype, &from, wide[w], there, 1);
                tri_dtype_cast(wide[w], there, type->dtype, &back, 1);
                bool ok = is_nan ? (back & 0x7fff) > infinity_of(type) : back == from;
                EXPECT(ok, "%s %04x by way of %s is %04x", tri_dtype_name(type->dtype), from,
                       tri_dtype_name(wide[w]), back);
            }
        }
    }
    return TRI_OK;
}

TRI_TEST(arrays_of_any_length)
{
    enum { MOST = 1000 };
    double from[MOST];
    float single[MOST + 1];
    double back[MOST];
    for (int i = 0; i < MOST; i++)
        from[i] = ldexp(1.0 + i / 1024.0, i % 40 - 20) * (i % 2 ? -1 : 1);
    for (int n = 0; n <= MOST; n += 37) {
        single[n] = 42;
        tri_dtype_cast(TRI_F64, from, TRI_F32, single, n);
        EXPECT(single[n] == 42, "an element too many of %d", n);
        tri_dtype_cast(TRI_F32, single, TRI_F64, back, n);
        EXPECT(memcmp(back, from, (size_t)n * sizeof *from) == 0, "%d elements are other ones", n);
    }
    tri_dtype_cast(TRI_F64, from, TRI_F64, back, MOST);
    EXPECT(memcmp(back, from, sizeof from) == 0, "a copy is none");
    EXPECT(tri_dtype_is_float(TRI_BF16) && !tri_dtype_is_float(TRI_I64), "kinds of types");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(rounding_is_to_the_nearest_once),
              TRI_TEST_ROW(every_value_survives_a_wider_type), TRI_TEST_ROW(arrays_of_any_length))

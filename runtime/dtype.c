// SPDX-License-Identifier: Apache-2.0
/* Names and sizes of element types, and casts between the floating ones: each goes through fp64, which
 * has all their values, so that there is one rounding.
 */
#include "runtime/dtype.h"

#include "runtime/base/int.h"

#include <assert.h>
#include <math.h>

static const struct {
    const char *name;
    size_t bytes;
    bool is_float;
} dtypes[TRI_DTYPES] = {
#define X(id, name, bytes, is_float) [TRI_##id] = {name, bytes, is_float},
    TRI_DTYPE_MAP(X)
#undef X
};

size_t tri_dtype_bytes(tri_dtype dtype)
{
    return dtypes[dtype].bytes;
}

const char *tri_dtype_name(tri_dtype dtype)
{
    return dtypes[dtype].name;
}

tri_status tri_dtype_find(const char *name, tri_dtype *out)
{
    for (int i = 0; i < TRI_DTYPES; i++) {
        if (strcmp(dtypes[i].name, name) == 0) {
            *out = (tri_dtype)i;
            return TRI_OK;
        }
    }
    TRI_FAIL(TRI_EINVAL,
             "'%s' is no element type; known: fp32 bf16 fp16 fp64 uint8 uint16 int32 "
             "int64 uint64",
             name);
}

bool tri_dtype_is_float(tri_dtype dtype)
{
    return dtypes[dtype].is_float;
}

static uint32_t float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float bits_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* fp64 to fp32, the last bit set where anything was lost (round to odd): a second rounding, to a type with at
 * least two bits less, is then as if it were the only one (Boldo and Melquiond, 2008). */
static float round_to_odd(double x)
{
    float near = (float)x;
    if ((double)near == x || isnan(x)) return near;
    uint32_t bits = float_bits(near);
    if (fabs((double)near) > fabs(x)) bits--;
    return bits_float(bits | 1u);
}

static uint16_t f32_to_f16(float x)
{
    uint32_t bits = float_bits(x);
    uint32_t sign = bits >> 16 & 0x8000u;
    uint32_t size = bits & 0x7fffffffu;
    if (size > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (size >> 13 & 0x3ffu)); /* NaN */
    if (size >= 0x47800000u) return (uint16_t)(sign | 0x7c00u); /* from 2^16 on: infinite */
    if (size >= 0x38800000u) {                                  /* from 2^-14 on: normal */
        uint32_t moved = size - 0x38000000u;
        return (uint16_t)(sign | (moved + 0xfffu + (moved >> 13 & 1u)) >> 13);
    }
    if (size < 0x33000000u) return (uint16_t)sign; /* below 2^-25 */
    uint32_t digits = (size & 0x7fffffu) | 0x800000u;
    uint32_t shift = 126u - (size >> 23);
    uint32_t whole = digits >> shift;
    uint32_t rest = digits & ((1u << shift) - 1u);
    uint32_t half = 1u << (shift - 1u);
    return (uint16_t)(sign | (whole + (rest > half || (rest == half && (whole & 1u)))));
}

static float f16_to_f32(uint16_t x)
{
    uint32_t sign = (uint32_t)(x & 0x8000u) << 16;
    uint32_t exponent = x >> 10 & 0x1fu;
    uint32_t digits = x & 0x3ffu;
    if (exponent == 0) { /* units of 2^-24 */
        float size = (float)digits * 0x1p-24f;
        return sign ? -size : size;
    }
    if (exponent == 0x1fu) return bits_float(sign | 0x7f800000u | digits << 13);
    return bits_float(sign | (exponent + 112u) << 23 | digits << 13);
}

static void widen(tri_dtype from, const char *data, int64_t n, double *out)
{
    for (int64_t i = 0; i < n; i++) {
        uint16_t half = 0;
        float single = 0;
        switch (from) {
        case TRI_F32:
            memcpy(&single, data + 4 * i, sizeof single);
            out[i] = single;
            break;
        case TRI_BF16:
            memcpy(&half, data + 2 * i, sizeof half);
            out[i] = tri_bf16_to_f32(half);
            break;
        case TRI_F16:
            memcpy(&half, data + 2 * i, sizeof half);
            out[i] = f16_to_f32(half);
            break;
        default:
            memcpy(&out[i], data + 8 * i, sizeof out[i]);
        }
    }
}

static void narrow(const double *data, int64_t n, tri_dtype to, char *out)
{
    for (int64_t i = 0; i < n; i++) {
        uint16_t half = 0;
        float single = 0;
        switch (to) {
        case TRI_F32:
            single = (float)data[i];
            memcpy(out + 4 * i, &single, sizeof single);
            break;
        case TRI_BF16:
            half = tri_f32_to_bf16(round_to_odd(data[i]));
            memcpy(out + 2 * i, &half, sizeof half);
            break;
        case TRI_F16:
            half = f32_to_f16(round_to_odd(data[i]));
            memcpy(out + 2 * i, &half, sizeof half);
            break;
        default:
            memcpy(out + 8 * i, &data[i], sizeof data[i]);
        }
    }
}

void tri_dtype_cast(tri_dtype from, const void *data, tri_dtype to, void *out, int64_t count)
{
    enum { PIECE = 256 };
    double piece[PIECE];
    assert(tri_dtype_is_float(from) && tri_dtype_is_float(to));
    if (from == to) {
        memcpy(out, data, (size_t)count * tri_dtype_bytes(from));
        return;
    }
    for (int64_t at = 0; at < count; at += PIECE) {
        int64_t n = tri_min64(PIECE, count - at);
        widen(from, (const char *)data + (size_t)at * tri_dtype_bytes(from), n, piece);
        narrow(piece, n, to, (char *)out + (size_t)at * tri_dtype_bytes(to));
    }
}

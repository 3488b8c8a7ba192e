// SPDX-License-Identifier: Apache-2.0
/* Widening. fp16 is taken apart by hand: not every compiler has the type on every processor. */
#include "checkpoint/values.h"

#include <math.h>

bool tri_values_is_float(tri_dtype dtype)
{
    static const bool floats[TRI_DTYPES] = {
#define X(id, name, bytes, is_float) [TRI_##id] = (is_float),
        TRI_DTYPE_MAP(X)
#undef X
    };
    return floats[dtype];
}

static double values_f16(uint16_t bits)
{
    int exponent = bits >> 10 & 0x1f;
    int fraction = bits & 0x3ff;
    double size = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
    if (exponent == 0x1f) size = fraction ? NAN : INFINITY;
    return bits & 0x8000 ? -size : size;
}

#define VALUES_COPY(type, expression)                                \
    for (int64_t i = 0; i < n; i++) {                                \
        type value;                                                  \
        memcpy(&value, in + (size_t)i * sizeof value, sizeof value); \
        out[i] = (double)(expression);                               \
    }                                                                \
    break

void tri_values_widen(tri_dtype dtype, int64_t n, const void *values, double *out)
{
    const char *in = values;
    switch (dtype) {
    case TRI_F32:
        VALUES_COPY(float, value);
    case TRI_BF16:
        VALUES_COPY(tri_bf16, tri_bf16_to_f32(value));
    case TRI_F16:
        VALUES_COPY(uint16_t, values_f16(value));
    case TRI_F64:
        VALUES_COPY(double, value);
    case TRI_U8:
        VALUES_COPY(uint8_t, value);
    case TRI_U16:
        VALUES_COPY(uint16_t, value);
    case TRI_I32:
        VALUES_COPY(int32_t, value);
    case TRI_I64:
        VALUES_COPY(int64_t, value);
    case TRI_U64:
        VALUES_COPY(uint64_t, value);
    case TRI_DTYPES:
        break;
    }
}

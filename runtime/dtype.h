// SPDX-License-Identifier: Apache-2.0
/* Element types, and tri_span: data, element count and type in one value, so that no call can mix
 * bytes and elements up.
 */
#ifndef TRI_RUNTIME_DTYPE_H
#define TRI_RUNTIME_DTYPE_H

#include "runtime/base/status.h"

#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* name in job specs and checkpoints, bytes, is it a floating type */
#define TRI_DTYPE_MAP(X)       \
    X(F32, "fp32", 4, true)    \
    X(BF16, "bf16", 2, true)   \
    X(F16, "fp16", 2, true)    \
    X(F64, "fp64", 8, true)    \
    X(U8, "uint8", 1, false)   \
    X(U16, "uint16", 2, false) \
    X(I32, "int32", 4, false)  \
    X(I64, "int64", 8, false)  \
    X(U64, "uint64", 8, false)

typedef enum tri_dtype {
#define X(id, name, bytes, is_float) TRI_##id,
    TRI_DTYPE_MAP(X)
#undef X
        TRI_DTYPES
} tri_dtype;

/* bfloat16 as bits: the upper half of an fp32. */
typedef uint16_t tri_bf16;

/* `count` elements of `dtype` at `data`. */
typedef struct tri_span {
    void *data;
    int64_t count;
    tri_dtype dtype;
} tri_span;

/* Bytes of one element. Not collective. */
size_t tri_dtype_bytes(tri_dtype dtype);

/* "fp32", "bf16", ... Not collective. */
const char *tri_dtype_name(tri_dtype dtype);

/* The type called `name`. Not collective. Errors: TRI_EINVAL, naming the known types. */
TRI_MUST_USE tri_status tri_dtype_find(const char *name, tri_dtype *out);

/* Is it a floating type? Not collective. */
bool tri_dtype_is_float(tri_dtype dtype);

/* out [count] of type `to` = data [count] of type `from`, each rounded once, to nearest even; NaN stays
 * NaN. Both are floating types and the memory does not overlap. Not collective. */
void tri_dtype_cast(tri_dtype from, const void *data, tri_dtype to, void *out, int64_t count);

/* Make a span. Not collective. */
static inline tri_span tri_span_make(const void *data, int64_t count, tri_dtype dtype)
{
    return (tri_span){(void *)(uintptr_t)data, count, dtype};
}

/* Elements [begin, begin + count) of a span. Not collective. */
static inline tri_span tri_span_part(tri_span span, int64_t begin, int64_t count)
{
    return (tri_span){(char *)span.data + (size_t)begin * tri_dtype_bytes(span.dtype), count,
                      span.dtype};
}

/* Bytes of a span. Not collective. */
static inline size_t tri_span_bytes(tri_span span)
{
    return (size_t)span.count * tri_dtype_bytes(span.dtype);
}

/* Exact widening. Not collective. */
static inline float tri_bf16_to_f32(tri_bf16 x)
{
    uint32_t bits = (uint32_t)x << 16;
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

/* Round to nearest even; NaN stays NaN. Not collective. */
static inline tri_bf16 tri_f32_to_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (tri_bf16)(bits >> 16 | 0x40u);
    return (tri_bf16)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

#ifdef __cplusplus
}
#endif
#endif

// SPDX-License-Identifier: Apache-2.0
/* Sums tile by tile: all ranks' values of a tile are accumulated in the first-level cache and then
 * written to every destination, so that each input is read once and each output written once. Two
 * ranks, the usual case, are summed without a tile: fewer streams of memory stop and go (measured:
 * 13.1 against 17 ms for two times 64 MiB in place).
 *
 * The loops are compiled once per instruction set and chosen at run time. Addition is exact IEEE in
 * all of them, and each element is summed by itself: the variants give the same bits.
 */
#include "runtime/coll/sum.h"

#include "runtime/base/int.h"

#include <assert.h>
#include <string.h>
#if defined(__x86_64__)
#include <emmintrin.h>
#endif

enum { SUM_TILE = 1024 }; /* elements */

typedef union sum_tile {
    _Alignas(64) float f32[SUM_TILE];
    double f64[SUM_TILE];
    int64_t i64[SUM_TILE];
    tri_bf16 bf16[SUM_TILE];
} sum_tile;

#define SUM_INLINE static inline __attribute__((always_inline))

/* out[i] = also[i] = a[i] op b[i], all read before they are written, vector by vector. */
#define SUM_LOOP(name, type, expression)                                                     \
    SUM_INLINE void name(type *out, type *also, const type *a, const type *b, int64_t n)     \
    {                                                                                        \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++) out[i] = also[i] = (expression); \
    }
#define SUM_PAIR(type)                                                                          \
    SUM_LOOP(sum_##type, type, a[i] + b[i])                                                     \
    SUM_LOOP(max_##type, type, b[i] > a[i] ? b[i] : a[i])                                       \
    SUM_LOOP(min_##type, type, b[i] < a[i] ? b[i] : a[i])                                       \
    SUM_INLINE void pair_##type(type *out, type *also, const type *a, const type *b, int64_t n, \
                                tri_redop op)                                                   \
    {                                                                                           \
        if (op == TRI_SUM)                                                                      \
            sum_##type(out, also, a, b, n);                                                     \
        else if (op == TRI_MAX)                                                                 \
            max_##type(out, also, a, b, n);                                                     \
        else                                                                                    \
            min_##type(out, also, a, b, n);                                                     \
    }
SUM_PAIR(float)
SUM_PAIR(double)
SUM_PAIR(int64_t)

SUM_INLINE float bf16_widen(tri_bf16 x)
{
    union {
        uint32_t bits;
        float value;
    } wide = {.bits = (uint32_t)x << 16};
    return wide.value;
}

/* As tri_f32_to_bf16, without a branch. */
SUM_INLINE tri_bf16 bf16_round(float x)
{
    union {
        float value;
        uint32_t bits;
    } wide = {.value = x};
    uint32_t rounded = (wide.bits + 0x7fffu + (wide.bits >> 16 & 1u)) >> 16;
    uint32_t quiet = wide.bits >> 16 | 0x40u;
    return (tri_bf16)((wide.bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

SUM_INLINE void pair_bf16(tri_bf16 *out, tri_bf16 *also, const tri_bf16 *a, const tri_bf16 *b,
                          int64_t n)
{
    _Pragma("omp simd") for (int64_t i = 0; i < n; i++) out[i] = also[i] =
        bf16_round(bf16_widen(a[i]) + bf16_widen(b[i]));
}

/* The sum of two ranks, written to one or two places: one pass over all of it. */
SUM_INLINE void sum_two(tri_dtype dtype, tri_redop op, const void *const *in, int n_out,
                        void *const *out, int64_t n)
{
    void *to = out[0], *also = out[n_out - 1];
    if (dtype == TRI_F32)
        pair_float(to, also, in[0], in[1], n, op);
    else if (dtype == TRI_BF16)
        pair_bf16(to, also, in[0], in[1], n);
    else if (dtype == TRI_F64)
        pair_double(to, also, in[0], in[1], n, op);
    else
        pair_int64_t(to, also, in[0], in[1], n, op);
}

SUM_INLINE void begin_bf16(float *acc, const tri_bf16 *a, const tri_bf16 *b, int n)
{
    _Pragma("omp simd") for (int i = 0; i < n; i++) acc[i] = bf16_widen(a[i]) + bf16_widen(b[i]);
}

SUM_INLINE void add_bf16(float *acc, const tri_bf16 *b, int n)
{
    _Pragma("omp simd") for (int i = 0; i < n; i++) acc[i] += bf16_widen(b[i]);
}

SUM_INLINE void round_bf16(tri_bf16 *out, const float *acc, int n)
{
    _Pragma("omp simd") for (int i = 0; i < n; i++) out[i] = bf16_round(acc[i]);
}

/* The sum, over two or more ranks, of the tile that starts `at` bytes into the inputs; where it
 * lies. */
SUM_INLINE const void *sum_one_tile(tri_dtype dtype, tri_redop op, int n_in, const void *const *in,
                                    size_t at, int n, sum_tile *tile)
{
    assert(n_in >= 2);
    const void *first = (const char *)in[0] + at;
    for (int r = 1; r < n_in; r++) {
        const void *next = (const char *)in[r] + at;
        if (dtype == TRI_F32)
            pair_float(tile[0].f32, tile[0].f32, first, next, n, op);
        else if (dtype == TRI_F64)
            pair_double(tile[0].f64, tile[0].f64, first, next, n, op);
        else if (dtype == TRI_I64)
            pair_int64_t(tile[0].i64, tile[0].i64, first, next, n, op);
        else if (r == 1)
            begin_bf16(tile[0].f32, first, next, n);
        else
            add_bf16(tile[0].f32, next, n);
        first = &tile[0];
    }
    if (dtype != TRI_BF16) return &tile[0];
    round_bf16(tile[1].bf16, tile[0].f32, n);
    return &tile[1];
}

/* Everything, for one instruction set. */
SUM_INLINE void sum_all(tri_dtype dtype, tri_redop op, int n_in, const void *const *in, int n_out,
                        void *const *out, int64_t count, bool past_cache)
{
    if (n_in == 2 && n_out <= 2 && !past_cache) {
        sum_two(dtype, op, in, n_out, out, count);
        return;
    }
    size_t element = tri_dtype_bytes(dtype);
    sum_tile tile[2];
    for (int64_t begin = 0; begin < count; begin += SUM_TILE) {
        int n = (int)tri_min64(SUM_TILE, count - begin);
        size_t at = (size_t)begin * element;
        const void *result = sum_one_tile(dtype, op, n_in, in, at, n, tile);
        for (int o = 0; o < n_out; o++)
            tri_coll_copy((char *)out[o] + at, result, (size_t)n * element, past_cache);
    }
}

typedef void sum_fn(tri_dtype dtype, tri_redop op, int n_in, const void *const *in, int n_out,
                    void *const *out, int64_t count, bool past_cache);

static void sum_plain(tri_dtype dtype, tri_redop op, int n_in, const void *const *in, int n_out,
                      void *const *out, int64_t count, bool past_cache)
{
    sum_all(dtype, op, n_in, in, n_out, out, count, past_cache);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void sum_avx2(tri_dtype dtype, tri_redop op, int n_in,
                                                     const void *const *in, int n_out,
                                                     void *const *out, int64_t count,
                                                     bool past_cache)
{
    sum_all(dtype, op, n_in, in, n_out, out, count, past_cache);
}

__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq"))) static void
sum_avx512(tri_dtype dtype, tri_redop op, int n_in, const void *const *in, int n_out,
           void *const *out, int64_t count, bool past_cache)
{
    sum_all(dtype, op, n_in, in, n_out, out, count, past_cache);
}
#endif

static sum_fn *sum_choose(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        return sum_avx512;
    if (__builtin_cpu_supports("avx2")) return sum_avx2;
#endif
    return sum_plain;
}

void tri_coll_fence(void)
{
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

void tri_coll_copy(void *out, const void *in, size_t bytes, bool past_cache)
{
    size_t done = 0;
#if defined(__x86_64__)
    if (past_cache && (uintptr_t)out % 16 == 0) {
        const char *from = in;
        char *to = out;
        for (; done + 64 <= bytes; done += 64) {
            __m128i a = _mm_loadu_si128((const void *)(from + done));
            __m128i b = _mm_loadu_si128((const void *)(from + done + 16));
            __m128i c = _mm_loadu_si128((const void *)(from + done + 32));
            __m128i d = _mm_loadu_si128((const void *)(from + done + 48));
            _mm_stream_si128((void *)(to + done), a);
            _mm_stream_si128((void *)(to + done + 16), b);
            _mm_stream_si128((void *)(to + done + 32), c);
            _mm_stream_si128((void *)(to + done + 48), d);
        }
    }
#else
    (void)past_cache;
#endif
    memcpy((char *)out + done, (const char *)in + done, bytes - done);
}

void tri_coll_reduce(tri_dtype dtype, tri_redop op, int n_in, const void *const *in, int n_out,
                     void *const *out, int64_t count, bool past_cache)
{
    sum_choose()(dtype, op, n_in, in, n_out, out, count, past_cache);
}

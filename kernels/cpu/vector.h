// SPDX-License-Identifier: Apache-2.0
/* Vectors of one instruction set: the only file with intrinsics of the simd_*.c sources, which are
 * compiled once per instruction set (kernels/kernels.cmake gives the flags and TRI_ISA, the suffix
 * of their tables). TRI_V fp32 lanes; arithmetic is that of GCC's vector extension.
 *
 * The last vector of a row is padded: a partial load gives zeros behind its lanes, a partial store
 * leaves memory behind them alone. So every element sees the same instructions wherever a range is
 * cut.
 */
#ifndef TRI_KERNELS_CPU_VECTOR_H
#define TRI_KERNELS_CPU_VECTOR_H

#include "runtime/dtype.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#ifndef TRI_ISA
#error "compile with -DTRI_ISA=name"
#endif
#define TRI_ISA_JOIN2(a, b) a##_##b
#define TRI_ISA_JOIN(a, b)  TRI_ISA_JOIN2(a, b)
/* tri_simd_norm -> tri_simd_norm_avx2 */
#define TRI_ISA_NAME(name)  TRI_ISA_JOIN(name, TRI_ISA)
#define TRI_INLINE          static inline __attribute__((always_inline, unused))

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define TRI_V       16
#define TRI_ISA_512 1
#elif defined(__AVX2__)
#define TRI_V       8
#define TRI_ISA_256 1
#else
#define TRI_V 4
#endif

/* Lanes: fp32, their bits, bf16 bits, and half as many 64-bit lanes. */
typedef float tri_vf __attribute__((vector_size(TRI_V * 4)));
typedef int32_t tri_vi __attribute__((vector_size(TRI_V * 4)));
typedef uint32_t tri_vu __attribute__((vector_size(TRI_V * 4)));
typedef uint16_t tri_vh __attribute__((vector_size(TRI_V * 2)));
typedef uint64_t tri_vq __attribute__((vector_size(TRI_V * 4)));
typedef double tri_vd __attribute__((vector_size(TRI_V * 4)));
typedef float tri_vf_half __attribute__((vector_size(TRI_V * 2)));

/* Lanes of the vector at i of n elements. Not collective. */
TRI_INLINE int64_t tri_v_lanes(int64_t i, int64_t n)
{
    return n - i < TRI_V ? n - i : TRI_V;
}

/* All lanes = x. Not collective. */
TRI_INLINE tri_vf tri_v_set(float x)
{
    return x - (tri_vf){0};
}

/* 0, 1, 2, ... Not collective. */
TRI_INLINE tri_vi tri_v_index(void)
{
    tri_vi index;
    for (int l = 0; l < TRI_V; l++)
        index[l] = l;
    return index;
}

/* mask ? a : b by lanes, mask as a comparison gives it. Not collective. */
TRI_INLINE tri_vf tri_v_select(tri_vi mask, tri_vf a, tri_vf b)
{
    return (tri_vf)((mask & (tri_vi)a) | (~mask & (tri_vi)b));
}

/* a with the lanes from `lanes` on set to 0. Not collective. */
TRI_INLINE tri_vf tri_v_keep(tri_vf a, int64_t lanes)
{
    if (lanes == TRI_V) return a;
    return (tri_vf)((tri_v_index() < (int32_t)lanes) & (tri_vi)a);
}

/* Larger lanes; b where a is NaN. Not collective. */
TRI_INLINE tri_vf tri_v_max(tri_vf a, tri_vf b)
{
#if defined(TRI_ISA_512)
    return (tri_vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(TRI_ISA_256)
    return (tri_vf)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
    return (tri_vf)_mm_max_ps((__m128)a, (__m128)b);
#else
    return tri_v_select(a > b, a, b);
#endif
}

/* Smaller lanes; b where a is NaN. Not collective. */
TRI_INLINE tri_vf tri_v_min(tri_vf a, tri_vf b)
{
#if defined(TRI_ISA_512)
    return (tri_vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(TRI_ISA_256)
    return (tri_vf)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
    return (tri_vf)_mm_min_ps((__m128)a, (__m128)b);
#else
    return tri_v_select(a < b, a, b);
#endif
}

/* Square roots, correctly rounded. Not collective. */
TRI_INLINE tri_vf tri_v_sqrt(tri_vf a)
{
#if defined(TRI_ISA_512)
    return (tri_vf)_mm512_sqrt_ps((__m512)a);
#elif defined(TRI_ISA_256)
    return (tri_vf)_mm256_sqrt_ps((__m256)a);
#elif defined(__SSE2__)
    return (tri_vf)_mm_sqrt_ps((__m128)a);
#else
    for (int l = 0; l < TRI_V; l++)
        a[l] = __builtin_sqrtf(a[l]);
    return a;
#endif
}

/* 64-bit products of the low halves of 64-bit lanes. Not collective. */
TRI_INLINE tri_vq tri_v_multiply_wide(tri_vq a, tri_vq b)
{
#if defined(TRI_ISA_512)
    return (tri_vq)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(TRI_ISA_256)
    return (tri_vq)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return (tri_vq)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
    return (a & 0xffffffffu) * (b & 0xffffffffu);
#endif
}

/* Sum and maximum of all lanes, halves folded onto one another. Not collective. */
TRI_INLINE float tri_v_sum(tri_vf a)
{
    float lane[TRI_V];
    memcpy(lane, &a, sizeof a);
    for (int w = TRI_V / 2; w > 0; w /= 2)
        for (int l = 0; l < w; l++)
            lane[l] += lane[l + w];
    return lane[0];
}
TRI_INLINE float tri_v_maximum(tri_vf a)
{
    float lane[TRI_V];
    memcpy(lane, &a, sizeof a);
    for (int w = TRI_V / 2; w > 0; w /= 2)
        for (int l = 0; l < w; l++)
            lane[l] = lane[l] > lane[l + w] ? lane[l] : lane[l + w];
    return lane[0];
}

/* Exact widening of bf16. Not collective. */
TRI_INLINE tri_vf tri_v_widen(tri_vh h)
{
#if defined(TRI_ISA_512)
    return (tri_vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)h), 16);
#elif defined(TRI_ISA_256)
    return (tri_vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32((__m128i)h), 16);
#else
    return (tri_vf)(__builtin_convertvector(h, tri_vu) << 16);
#endif
}

/* Lanes in fp64: the first half of them, the second. Not collective. */
TRI_INLINE void tri_v_widen_f64(tri_vf a, tri_vd out[2])
{
    tri_vf_half half[2];
    memcpy(half, &a, sizeof a);
    for (int h = 0; h < 2; h++)
#if defined(TRI_ISA_512) /* gcc 12 takes the conversion apart */
        out[h] = (tri_vd)_mm512_cvtps_pd((__m256)half[h]);
#elif defined(TRI_ISA_256)
        out[h] = (tri_vd)_mm256_cvtps_pd((__m128)half[h]);
#else
        out[h] = __builtin_convertvector(half[h], tri_vd);
#endif
}

/* The upper halves of lanes. Not collective. */
TRI_INLINE tri_vh tri_v_upper(tri_vu a)
{
#if defined(TRI_ISA_512)
    uint16_t odd[2 * TRI_V];
    for (int l = 0; l < 2 * TRI_V; l++)
        odd[l] = (uint16_t)(2 * l + 1);
    return (tri_vh)_mm512_castsi512_si256(
        _mm512_permutexvar_epi16(_mm512_loadu_epi16(odd), (__m512i)a));
#else
    return __builtin_convertvector(a >> 16, tri_vh);
#endif
}

/* The bits of a, with the lower half of b added to them; NaN as it is. Not collective. */
TRI_INLINE tri_vu tri_v_add_below(tri_vf a, tri_vu b)
{
#if defined(TRI_ISA_512)
    __mmask16 number = _mm512_cmp_ps_mask((__m512)a, (__m512)a, _CMP_ORD_Q);
    __m512i low = _mm512_maskz_and_epi32(number, (__m512i)b, _mm512_set1_epi32(0xffff));
    return (tri_vu)a + (tri_vu)low;
#else
    return (tri_vu)a + (b & 0xffffu & (tri_vu)(a == a));
#endif
}

/* Rounding to nearest even with NaN kept: the bits of tri_f32_to_bf16. Not collective. */
TRI_INLINE tri_vh tri_v_narrow_exact(tri_vf a)
{
    tri_vu bits = (tri_vu)a;
    tri_vu rounded = bits + 0x7fffu + (bits >> 16 & 1u);
#if defined(TRI_ISA_512)
    __mmask16 nan = _mm512_cmp_ps_mask((__m512)a, (__m512)a, _CMP_UNORD_Q);
    __m512i kept =
        _mm512_mask_or_epi32((__m512i)rounded, nan, (__m512i)bits, _mm512_set1_epi32(0x400000));
    return (tri_vh)_mm512_cvtepi32_epi16(_mm512_srli_epi32(kept, 16));
#else
    tri_vu nan = (tri_vu)(a != a);
    return __builtin_convertvector(((nan & (bits | 0x400000u)) | (~nan & rounded)) >> 16, tri_vh);
#endif
}

/* The same, but that the instruction of AVX-512 BF16 gives 0 for numbers below 2^-126 (subnormal
 * ones). Not collective. */
TRI_INLINE tri_vh tri_v_narrow(tri_vf a)
{
#if defined(TRI_ISA_512) && defined(__AVX512BF16__)
    return (tri_vh)_mm512_cvtneps_pbh((__m512)a);
#else
    return tri_v_narrow_exact(a);
#endif
}

#endif

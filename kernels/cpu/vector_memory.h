// SPDX-License-Identifier: Apache-2.0
/* Loads and stores of vectors that may be cut short, of fp32 or bf16 arrays. */
#ifndef TRI_KERNELS_CPU_VECTOR_MEMORY_H
#define TRI_KERNELS_CPU_VECTOR_MEMORY_H

#include "kernels/cpu/vector.h"

/* fp32 lanes p[0 .. lanes). Not collective. */
TRI_INLINE tri_vf tri_v_load_f32(const float *p, int64_t lanes)
{
    tri_vf a = {0};
    if (lanes == TRI_V) {
        memcpy(&a, p, sizeof a);
        return a;
    }
#if defined(TRI_ISA_512)
    return (tri_vf)_mm512_maskz_loadu_ps((__mmask16)((1u << lanes) - 1u), p);
#else
    for (int64_t l = 0; l < TRI_V; l++)
        if (l < lanes) a[l] = p[l];
    return a;
#endif
}
TRI_INLINE void tri_v_store_f32(float *p, int64_t lanes, tri_vf a)
{
    if (lanes == TRI_V) {
        memcpy(p, &a, sizeof a);
        return;
    }
#if defined(TRI_ISA_512)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << lanes) - 1u), (__m512)a);
#else
    for (int64_t l = 0; l < TRI_V; l++)
        if (l < lanes) p[l] = a[l];
#endif
}

/* bf16 bits p[0 .. lanes). Not collective. */
TRI_INLINE tri_vh tri_v_load_bits(const tri_bf16 *p, int64_t lanes)
{
    tri_vh h = {0};
    if (lanes == TRI_V) {
        memcpy(&h, p, sizeof h);
        return h;
    }
#if defined(TRI_ISA_512)
    return (tri_vh)_mm256_maskz_loadu_epi16((__mmask16)((1u << lanes) - 1u), p);
#else
    for (int64_t l = 0; l < TRI_V; l++)
        if (l < lanes) h[l] = p[l];
    return h;
#endif
}
TRI_INLINE void tri_v_store_bits(tri_bf16 *p, int64_t lanes, tri_vh h)
{
    if (lanes == TRI_V) {
        memcpy(p, &h, sizeof h);
        return;
    }
#if defined(TRI_ISA_512)
    _mm256_mask_storeu_epi16(p, (__mmask16)((1u << lanes) - 1u), (__m256i)h);
#else
    for (int64_t l = 0; l < TRI_V; l++)
        if (l < lanes) p[l] = h[l];
#endif
}

/* Write whole vectors around the caches; p is aligned to the vector's bytes. Other threads see them
 * after tri_v_fence. Not collective. */
TRI_INLINE void tri_v_stream_bits(tri_bf16 *p, tri_vh h)
{
#if defined(TRI_ISA_512)
    _mm256_stream_si256((__m256i *)(void *)p, (__m256i)h);
#elif defined(TRI_ISA_256)
    _mm_stream_si128((__m128i *)(void *)p, (__m128i)h);
#else
    memcpy(p, &h, sizeof h);
#endif
}
TRI_INLINE void tri_v_stream_f32(float *p, tri_vf a)
{
#if defined(TRI_ISA_512)
    _mm512_stream_ps(p, (__m512)a);
#elif defined(TRI_ISA_256)
    _mm256_stream_ps(p, (__m256)a);
#elif defined(__SSE2__)
    _mm_stream_ps(p, (__m128)a);
#else
    memcpy(p, &a, sizeof a);
#endif
}
TRI_INLINE void tri_v_fence(void)
{
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

/* Elements i .. i + lanes of an array that is bf16 or fp32. Not collective. */
TRI_INLINE tri_vf tri_v_load(const void *p, int64_t i, int64_t lanes, bool bf16)
{
    if (bf16) return tri_v_widen(tri_v_load_bits((const tri_bf16 *)p + i, lanes));
    return tri_v_load_f32((const float *)p + i, lanes);
}
TRI_INLINE void tri_v_store(void *p, int64_t i, int64_t lanes, tri_vf a, bool bf16)
{
    if (bf16)
        tri_v_store_bits((tri_bf16 *)p + i, lanes, tri_v_narrow(a));
    else
        tri_v_store_f32((float *)p + i, lanes, a);
}

/* a as it would come back from memory. Not collective. */
TRI_INLINE tri_vf tri_v_round(tri_vf a, bool bf16)
{
    return bf16 ? tri_v_widen(tri_v_narrow(a)) : a;
}

#endif

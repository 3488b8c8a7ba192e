// SPDX-License-Identifier: Apache-2.0
/* Functions of vectors, without libm. */
#ifndef TRI_KERNELS_CPU_VECTOR_MATH_H
#define TRI_KERNELS_CPU_VECTOR_MATH_H

#include "kernels/cpu/vector.h"

/* exp(x) for x in [-87.33, 88], within 2 units in the last place; NaN stays. The polynomial is
 * Cephes' expf (Moshier). Not collective. */
TRI_INLINE tri_vf tri_v_exp_inside(tri_vf x)
{
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    tri_vf t = x * 1.44269504088896341f + round;
    tri_vf n = t - round;
    tri_vf r = x - n * 0.693359375f - n * -2.12194440e-4f;
    tri_vf p = 1.9875691500e-4f + (tri_vf){0};
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    tri_vu power = ((tri_vu)t << 23) + (127u << 23);
    return p * (tri_vf)power;
}

/* exp(x) for x <= 88, as in a softmax; 0 below -87.33, where it would be no normal number. Not
 * collective. */
TRI_INLINE tri_vf tri_v_exp(tri_vf x)
{
    const float lowest = -87.33f;
    tri_vf e = tri_v_exp_inside(tri_v_max(tri_v_set(lowest), x));
    return (tri_vf)(~(x < lowest) & (tri_vi)e);
}

/* 1 / (1 + exp(-x)), at least 1e-38. Not collective. */
TRI_INLINE tri_vf tri_v_sigmoid(tri_vf x)
{
    tri_vf c = tri_v_max(tri_v_set(-87.0f), tri_v_min(tri_v_set(87.0f), -x));
    return 1.0f / (1.0f + tri_v_exp_inside(c));
}

/* atan2(y, x) for x >= 0, within 4 units in the last place; atan2(0, 0) = 0; NaN if one of them is NaN or
 * both are infinite. The polynomial is that of SLEEF's atan2f (Shibata & Petrogalli, arXiv:2001.09258): one
 * division, no cases. Not collective. */
TRI_INLINE tri_vf tri_v_atan2(tri_vf y, tri_vf x)
{
    const float half = 1.57079632679489662f;
    tri_vf a = (tri_vf)((tri_vu)y & 0x7fffffffu);
    tri_vf large = tri_v_max(x, a); /* NaN in y comes this way, NaN in x by the smaller one */
    tri_vf t = tri_v_min(a, x) / tri_v_max(tri_v_set(0x1p-126f), large);
    tri_vf z = t * t;
    tri_vf p = 0.00282363896258175373077393f * z - 0.0159569028764963150024414f;
    p = p * z + 0.0425049886107444763183594f;
    p = p * z - 0.0748900920152664184570312f;
    p = p * z + 0.106347933411598205566406f;
    p = p * z - 0.142027363181114196777344f;
    p = p * z + 0.199926957488059997558594f;
    p = p * z - 0.333331018686294555664062f;
    p = p * z * t + t;
    p = tri_v_select(a > x, half - p, p);
    return (tri_vf)((tri_vu)p | ((tri_vu)y & 0x80000000u));
}

#endif

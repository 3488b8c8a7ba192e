// SPDX-License-Identifier: Apache-2.0
/* Causal attention in plain loops: the specification of faster ones. */
#include "kernels/attention.h"
#include "kernels/kernels_impl.h"
#include <math.h>
#include <stdlib.h>
static float get(const void *p, tri_dtype d, int64_t i)
{
    return d == TRI_F32 ? ((const float *)p)[i] : tri_bf16_to_f32(((const tri_bf16 *)p)[i]);
}
static void put(void *p, tri_dtype d, int64_t i, float x)
{
    if (d == TRI_F32)
        ((float *)p)[i] = x;
    else
        ((tri_bf16 *)p)[i] = tri_f32_to_bf16(x);
}
size_t tri_attention_workspace(const tri_kernels *k, const tri_attention_args *a)
{
    (void)k;
    (void)a;
    return 64;
}
tri_status tri_attention_forward(tri_kernels *kk, const tri_attention_args *a)
{
    (void)kk;
    int64_t H = a->heads, D = a->head_size, T = a->n_query, S = a->n_key;
    int64_t kb = a->k_batch_stride;
#pragma omp parallel for collapse(2)
    for (int64_t b = 0; b < a->batch; b++)
        for (int64_t h = 0; h < H; h++) {
            int64_t g = h / (H / a->kv_heads);
            float *p = malloc((size_t)S * 4);
            for (int64_t t = 0; t < T; t++) {
                int64_t n = S - T + t + 1;
                float mx = -INFINITY;
                for (int64_t s = 0; s < n; s++) {
                    float x = 0;
                    for (int64_t i = 0; i < D; i++)
                        x += get(a->q, a->dtype, (b * T + t) * a->q_stride + h * D + i) *
                             get(a->k, a->dtype,
                                 b * (kb ? kb : S * a->k_stride) + s * a->k_stride + g * D + i);
                    x *= a->scale;
                    p[s] = x;
                    if (x > mx) mx = x;
                }
                float sum = 0;
                for (int64_t s = 0; s < n; s++) {
                    p[s] = expf(p[s] - mx);
                    sum += p[s];
                }
                for (int64_t i = 0; i < D; i++) {
                    float o = 0;
                    for (int64_t s = 0; s < n; s++)
                        o += p[s] *
                             get(a->v, a->dtype,
                                 b * (kb ? kb : S * a->v_stride) + s * a->v_stride + g * D + i);
                    put(a->out, a->dtype, (b * T + t) * a->out_stride + h * D + i, o / sum);
                }
                if (a->lse) a->lse[(b * H + h) * T + t] = mx + logf(sum);
            }
            free(p);
        }
    return TRI_OK;
}
tri_status tri_attention_backward(tri_kernels *kk, const tri_attention_args *a)
{
    (void)kk;
    int64_t H = a->heads, D = a->head_size, T = a->n_query, R = H / a->kv_heads;
#pragma omp parallel for collapse(2)
    for (int64_t b = 0; b < a->batch; b++)
        for (int64_t g = 0; g < a->kv_heads; g++) {
            float *dk = calloc((size_t)(T * D), 4), *dv = calloc((size_t)(T * D), 4),
                  *dq = calloc((size_t)D, 4);
            for (int64_t h = g * R; h < (g + 1) * R; h++)
                for (int64_t t = 0; t < T; t++) {
                    float dot = 0;
                    for (int64_t i = 0; i < D; i++) {
                        dq[i] = 0;
                        dot += get(a->out, a->dtype, (b * T + t) * a->out_stride + h * D + i) *
                               get(a->dout, a->dtype, (b * T + t) * a->out_stride + h * D + i);
                    }
                    for (int64_t s = 0; s <= t; s++) {
                        float x = 0, dp = 0;
                        for (int64_t i = 0; i < D; i++) {
                            x += get(a->q, a->dtype, (b * T + t) * a->q_stride + h * D + i) *
                                 get(a->k, a->dtype, (b * T + s) * a->k_stride + g * D + i);
                            dp += get(a->dout, a->dtype, (b * T + t) * a->out_stride + h * D + i) *
                                  get(a->v, a->dtype, (b * T + s) * a->v_stride + g * D + i);
                        }
                        float p = expf(x * a->scale - a->lse[(b * H + h) * T + t]),
                              ds = p * (dp - dot) * a->scale;
                        for (int64_t i = 0; i < D; i++) {
                            dv[s * D + i] +=
                                p * get(a->dout, a->dtype, (b * T + t) * a->out_stride + h * D + i);
                            dk[s * D + i] +=
                                ds * get(a->q, a->dtype, (b * T + t) * a->q_stride + h * D + i);
                            dq[i] +=
                                ds * get(a->k, a->dtype, (b * T + s) * a->k_stride + g * D + i);
                        }
                    }
                    for (int64_t i = 0; i < D; i++)
                        put(a->dq, a->dtype, (b * T + t) * a->q_stride + h * D + i, dq[i]);
                }
            for (int64_t s = 0; s < T; s++)
                for (int64_t i = 0; i < D; i++) {
                    put(a->dk, a->dtype, (b * T + s) * a->k_stride + g * D + i, dk[s * D + i]);
                    put(a->dv, a->dtype, (b * T + s) * a->v_stride + g * D + i, dv[s * D + i]);
                }
            free(dk);
            free(dv);
            free(dq);
        }
    return TRI_OK;
}

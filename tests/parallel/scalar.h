// SPDX-License-Identifier: Apache-2.0
/* The parts of a transformer block in plain double precision, one number at a time: what layers and
 * models are compared with. Shares no code with the library.
 */
#ifndef TRI_TESTS_PARALLEL_SCALAR_H
#define TRI_TESTS_PARALLEL_SCALAR_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

enum { SCALAR_MAX_TOKENS = 64 };

/* y [T, out] = x [T, in] w^T + b; shape = {T, in, out}; b may be NULL. */
static inline void scalar_linear(const int64_t shape[3], const double *x, const double *w,
                                 const double *b, double *y)
{
    for (int64_t r = 0; r < shape[0]; r++)
        for (int64_t o = 0; o < shape[2]; o++) {
            double sum = b ? b[o] : 0;
            for (int64_t i = 0; i < shape[1]; i++)
                sum += x[r * shape[1] + i] * w[o * shape[1] + i];
            y[r * shape[2] + o] = sum;
        }
}

/* Layer norm, or RMS norm where b is NULL. shape = {rows, width}. */
static inline void scalar_norm(const int64_t shape[2], double epsilon, const double *x,
                               const double *w, const double *b, double *y)
{
    int64_t C = shape[1];
    for (int64_t r = 0; r < shape[0]; r++) {
        double mean = 0;
        double square = 0;
        /* NOLINTBEGIN(clang-analyzer-core.UndefinedBinaryOperatorResult): x is whole */
        for (int64_t i = 0; b && i < C; i++)
            mean += x[r * C + i] / (double)C;
        for (int64_t i = 0; i < C; i++)
            square += (x[r * C + i] - mean) * (x[r * C + i] - mean) / (double)C;
        for (int64_t i = 0; i < C; i++)
            y[r * C + i] = (x[r * C + i] - mean) / sqrt(square + epsilon) * w[i] + (b ? b[i] : 0);
        /* NOLINTEND(clang-analyzer-core.UndefinedBinaryOperatorResult) */
    }
}

/* x [T, heads * Dh]: pairs (i, i + Dh/2) of each head turned by position. */
static inline void scalar_rotate(int64_t T, int64_t heads, int64_t Dh, double theta, double *x)
{
    for (int64_t row = 0; row < T * heads; row++)
        for (int64_t i = 0; i < Dh / 2; i++) {
            double *p = x + row * Dh + i;
            double angle = (double)(row / heads) * pow(theta, -2.0 * (double)i / (double)Dh);
            double a = p[0];
            double b = p[Dh / 2];
            p[0] = a * cos(angle) - b * sin(angle);
            p[Dh / 2] = a * sin(angle) + b * cos(angle);
        }
}

/* Causal attention of head h: q, out [T, heads * Dh], k, v [T, kv_heads * Dh]; size = {heads, kv_heads,
 * Dh}. */
static inline void scalar_head(int64_t T, int64_t h, const int64_t size[3], double scale,
                               const double *q, const double *k, const double *v, double *out)
{
    int64_t Dh = size[2];
    int64_t g = h / (size[0] / size[1]);
    for (int64_t t = 0; t < T; t++) {
        double score[SCALAR_MAX_TOKENS];
        double most = -INFINITY;
        double sum = 0;
        for (int64_t s = 0; s <= t; s++) {
            score[s] = 0;
            for (int64_t i = 0; i < Dh; i++)
                score[s] += q[(t * size[0] + h) * Dh + i] * k[(s * size[1] + g) * Dh + i];
            score[s] *= scale;
            most = fmax(most, score[s]);
        }
        for (int64_t s = 0; s <= t; s++)
            sum += score[s] = exp(score[s] - most);
        for (int64_t i = 0; i < Dh; i++) {
            double y = 0;
            for (int64_t s = 0; s <= t; s++)
                y += score[s] / sum * v[(s * size[1] + g) * Dh + i];
            out[(t * size[0] + h) * Dh + i] = y;
        }
    }
}

static inline double scalar_gelu(double x)
{
    const double pi = 3.14159265358979323846;
    return 0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x * x * x)));
}

static inline double scalar_swiglu(double gate, double up)
{
    return up * gate / (1 + exp(-gate));
}

#endif

// SPDX-License-Identifier: Apache-2.0
/* What the layer tests share: kernels, a small call, random arrays, central differences. */
#ifndef TRI_TESTS_PARALLEL_LAYER_BENCH_H
#define TRI_TESTS_PARALLEL_LAYER_BENCH_H

#include "kernels/norm.h"
#include "parallel/layer/layer.h"
#include "tests/parallel/scalar.h"
#include "tests/test.h"

enum { SEQUENCES = 2, LENGTH = 3, ROWS = SEQUENCES * LENGTH, C = 16 };

/* Kernels of one thread and a call of SEQUENCES x LENGTH tokens in fp32. */
typedef struct bench {
    tri_device *device;
    tri_kernels *kernels;
    tri_layer_call call;
    float *reduction;
} bench;

static inline void bench_destroy(bench *b)
{
    tri_kernels_destroy(&b->kernels);
    tri_device_destroy(&b->device);
    TRI_FREE(b->reduction);
}

#define BENCH(name) __attribute__((cleanup(bench_destroy))) bench name = {0}

static const int64_t samples[SEQUENCES] = {70, 5};

static inline tri_status bench_create(bench *b)
{
    tri_device_args args = {.name = "cpu", .n_threads = 1};
    TRI_TRY(tri_device_create(&args, &b->device));
    TRI_TRY(tri_kernels_create(b->device, NULL, &b->kernels));
    TRI_TRY(TRI_NEW_ARRAY((int64_t)tri_norm_workspace(b->kernels, 4 * C) / 4, &b->reduction));
    b->call = (tri_layer_call){.kernels = b->kernels,
                               .dtype = TRI_F32,
                               .sequences = SEQUENCES,
                               .length = LENGTH,
                               .seed = 9,
                               .sample = samples,
                               .reduction = b->reduction};
    return TRI_OK;
}

/* n random numbers, in fp32 and the same in double. */
static inline void draw(uint64_t stream, int64_t n, float *out, double *wide)
{
    tri_rng_normal((tri_rng){1, stream, TRI_RNG_TEST}, 0, n, 0, 0.5F, out);
    for (int64_t i = 0; wide && i < n; i++)
        wide[i] = (double)out[i];
}

static inline tri_param param_of(int index, int64_t count, const float *weight, float *gradient)
{
    return (tri_param){.index = index, .count = count, .weight = weight, .gradient = gradient};
}

static inline void narrow(int64_t n, const double *in, float *out)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)in[i];
}

#define EXPECT_NEAR(n, got, want, what)                              \
    do {                                                             \
        double error_ = tri_test_relative((n), (got), (want));       \
        EXPECT(error_ < 3e-6, "%s differs by %.3g", (what), error_); \
    } while (0)

/* A scalar function of the array `x`: what is differentiated. */
typedef double (*objective)(const void *arg);

static inline void differences(objective f, const void *arg, int64_t n, double *x, float *out)
{
    const double h = 1e-5;
    for (int64_t i = 0; i < n; i++) {
        double kept = x[i];
        x[i] = kept + h;
        double above = f(arg);
        x[i] = kept - h;
        double below = f(arg);
        x[i] = kept;
        out[i] = (float)((above - below) / (2 * h));
    }
}

static inline double dot(int64_t n, const double *a, const double *b)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

#endif

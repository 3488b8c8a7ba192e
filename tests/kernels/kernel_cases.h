// SPDX-License-Identifier: Apache-2.0
/* For tests of vector kernels: every instruction set of this processor, one and two threads, fp32
 * and bf16; arrays that are known both as the kernel sees them and as fp32 values.
 */
#ifndef TRI_TESTS_KERNELS_KERNEL_CASES_H
#define TRI_TESTS_KERNELS_KERNEL_CASES_H

#include "kernels/kernels.h"
#include "runtime/base/rng.h"
#include "tests/test.h"

typedef struct kernel_case {
    tri_kernels *kernels;
    tri_dtype dtype;
    const char *isa;
    int threads;
    double tolerance; /* norm of the difference over norm, one kernel */
} kernel_case;

/* A device and its kernels, opened and closed together. */
typedef struct kernel_team {
    tri_device *device;
    tri_kernels *kernels;
} kernel_team;

static inline void kernel_team_destroy(kernel_team **team)
{
    if (!*team) return;
    tri_kernels_destroy(&(*team)->kernels);
    tri_device_destroy(&(*team)->device);
    TRI_FREE(*team);
}

TRI_MUST_USE static inline tri_status kernel_team_create(const char *isa, int threads,
                                                         kernel_team **out)
{
    TRI_AUTO(kernel_team) *team = NULL;
    TRI_TRY(TRI_NEW(&team));
    tri_device_args args = {.name = "cpu", .n_threads = threads};
    TRI_TRY(tri_device_create(&args, &team->device));
    TRI_TRY(tri_kernels_create(team->device, isa, &team->kernels));
    *out = TRI_MOVE(team);
    return TRI_OK;
}

/* Run `test` for every instruction set, thread count and type. */
TRI_MUST_USE static inline tri_status kernel_cases_run(tri_status (*test)(const kernel_case *c))
{
    const char *const *isas = tri_kernels_isas();
    for (int i = 0; isas[i]; i++) {
        for (int threads = 1; threads <= 2; threads++) {
            TRI_AUTO(kernel_team) *team = NULL;
            TRI_TRY(kernel_team_create(isas[i], threads, &team));
            kernel_case c = {team->kernels, TRI_F32, isas[i], threads, 2e-6};
            TRI_TRY(test(&c));
            c.dtype = TRI_BF16;
            c.tolerance = 1e-2;
            TRI_TRY(test(&c));
        }
    }
    return TRI_OK;
}

/* n elements of a kernel's type at `data`; `value` are the same numbers in fp32. */
typedef struct kernel_array {
    int64_t n;
    tri_dtype dtype;
    void *data;
    float *value;
} kernel_array;

static inline void kernel_array_destroy(kernel_array **a)
{
    if (!*a) return;
    TRI_FREE((*a)->data);
    TRI_FREE((*a)->value);
    TRI_FREE(*a);
}

/* value = what data holds. */
static inline void kernel_array_read(kernel_array *a)
{
    for (int64_t i = 0; i < a->n; i++)
        a->value[i] = a->dtype == TRI_BF16 ? tri_bf16_to_f32(((tri_bf16 *)a->data)[i])
                                           : ((float *)a->data)[i];
}

/* data = value (rounded to the type, and value with it). */
static inline void kernel_array_write(kernel_array *a)
{
    for (int64_t i = 0; i < a->n; i++) {
        if (a->dtype == TRI_BF16)
            ((tri_bf16 *)a->data)[i] = tri_f32_to_bf16(a->value[i]);
        else
            ((float *)a->data)[i] = a->value[i];
    }
    kernel_array_read(a);
}

/* Normal deviates times `scale`, number `stream` of the test's streams; scale 0: zeros. */
TRI_MUST_USE static inline tri_status
kernel_array_create(tri_dtype dtype, int64_t n, uint64_t stream, float scale, kernel_array **out)
{
    TRI_AUTO(kernel_array) *a = NULL;
    TRI_TRY(TRI_NEW(&a));
    a->n = n;
    a->dtype = dtype;
    TRI_TRY(tri_alloc(&a->data, n, 4));
    TRI_TRY(TRI_NEW_ARRAY(n, &a->value));
    tri_rng rng = {.seed = 7, .stream = stream, .purpose = TRI_RNG_TEST};
    tri_rng_normal(rng, 0, n, 0, scale, a->value);
    kernel_array_write(a);
    *out = TRI_MOVE(a);
    return TRI_OK;
}

/* Are these the same bytes? (Of numbers: the same bits, not only the same value.) */
static inline bool kernel_same_bits(const void *a, const void *b, size_t bytes)
{
    return memcmp(a, b, bytes) == 0;
}

/* Values of `got` must be near `want`. */
#define EXPECT_NEAR_ARRAY(c, got, want, ...)                                                \
    do {                                                                                    \
        kernel_array_read(got);                                                             \
        double error_ = tri_test_relative((got)->n, (got)->value, (want));                  \
        EXPECT(error_ <= (c)->tolerance, "%s, %s, %d threads: relative error %g", (c)->isa, \
               tri_dtype_name((c)->dtype), (c)->threads, error_);                           \
        if (!(error_ <= (c)->tolerance)) fprintf(stderr, __VA_ARGS__), fputc('\n', stderr); \
    } while (0)

#endif

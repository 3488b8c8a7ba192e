// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=30
/* An observer hears of each product that is multiplied, and of nothing else. */
#include "kernels/matmul.h"
#include "tests/test.h"

typedef struct heard {
    int products;
    tri_matmul_args last;
    double seconds;
} heard;

static void hear(void *arg, const tri_matmul_args *args, double seconds)
{
    heard *h = arg;
    h->products++;
    h->last = *args;
    h->seconds += seconds;
}

TRI_TEST(observer_hears_products)
{
    enum { N = 8 };
    float a[N * N] = {0}, b[N * N] = {0}, c[N * N];
    tri_device *device = NULL;
    TRI_TRY(tri_device_create(&(tri_device_args){.name = "cpu", .n_threads = 1}, &device));
    tri_kernels *kernels = NULL;
    TRI_TRY(tri_kernels_create(device, NULL, &kernels));
    tri_matmul_args args = {.m = N,
                            .n = N,
                            .k = N,
                            .a = a,
                            .b = b,
                            .c = c,
                            .input_type = TRI_F32,
                            .output_type = TRI_F32,
                            .lda = N,
                            .ldb = N,
                            .ldc = N};
    heard h = {0};
    TRI_TRY(tri_matmul(kernels, &args));
    tri_matmul_observe(kernels, hear, &h);
    EXPECT(h.products == 0, "%d products heard of before the first", h.products);
    TRI_TRY(tri_matmul(kernels, &args));
    args.accumulate = true;
    TRI_TRY(tri_matmul(kernels, &args));
    EXPECT(h.products == 2 && h.last.c == c && h.last.accumulate, "%d products heard of",
           h.products);
    EXPECT(h.seconds >= 0, "%g s", h.seconds);
    args.lda = 1;
    EXPECT_STATUS(tri_matmul(kernels, &args), TRI_EINVAL, "leading dimensions");
    EXPECT(h.products == 2, "a product that failed was heard of");
    tri_matmul_observe(kernels, NULL, NULL);
    args.lda = N;
    TRI_TRY(tri_matmul(kernels, &args));
    EXPECT(h.products == 2, "an observer that was taken away heard of a product");
    tri_kernels_destroy(&kernels);
    tri_device_destroy(&device);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(observer_hears_products))

// SPDX-License-Identifier: Apache-2.0
/* Matrix products: arguments are checked, products of nothing answered, the rest dispatched. */
#include "kernels/matmul.h"

#include "kernels/cpu/matmul_impl.h"
#include "runtime/base/clock.h"

static tri_status args_check(const tri_matmul_args *args)
{
    long long m = args->m;
    long long n = args->n;
    long long k = args->k;
    TRI_CHECK(m >= 0 && n >= 0 && k >= 0, TRI_EINVAL, "product of [%lld, %lld] by [%lld, %lld]", m,
              k, k, n);
    bool in_ok = args->input_type == TRI_F32 || args->input_type == TRI_BF16;
    bool out_ok = args->output_type == TRI_F32 ||
                  (args->output_type == TRI_BF16 && args->input_type == TRI_BF16);
    TRI_CHECK(in_ok && out_ok, TRI_EINVAL,
              "product of %s matrices into %s: fp32 to fp32, bf16 to fp32 and bf16 to bf16 exist",
              tri_dtype_name(args->input_type), tri_dtype_name(args->output_type));
    TRI_CHECK(!args->accumulate || args->output_type == TRI_F32, TRI_EINVAL,
              "product that accumulates into %s: sums are kept in fp32",
              tri_dtype_name(args->output_type));
    int64_t need_a = args->a_transposed ? args->m : args->k;
    int64_t need_b = args->b_transposed ? args->k : args->n;
    TRI_CHECK(args->lda >= need_a && args->ldb >= need_b && args->ldc >= args->n, TRI_EINVAL,
              "product of [%lld, %lld] by [%lld, %lld]: leading dimensions %lld %lld %lld are less "
              "than the row lengths %lld %lld %lld",
              m, k, k, n, (long long)args->lda, (long long)args->ldb, (long long)args->ldc,
              (long long)need_a, (long long)need_b, n);
    return TRI_OK;
}

/* k = 0: c is zero, or the bias, or stays. */
static void product_of_nothing(const tri_matmul_args *args)
{
    if (args->accumulate && !args->bias) return;
    for (int64_t i = 0; i < args->m; i++) {
        for (int64_t j = 0; j < args->n; j++) {
            float x = 0;
            if (args->bias)
                x = args->input_type == TRI_BF16
                        ? tri_bf16_to_f32(((const tri_bf16 *)args->bias)[j])
                        : ((const float *)args->bias)[j];
            int64_t at = i * args->ldc + j;
            if (args->output_type == TRI_BF16)
                ((tri_bf16 *)args->c)[at] = tri_f32_to_bf16(x);
            else
                ((float *)args->c)[at] = args->accumulate ? ((float *)args->c)[at] + x : x;
        }
    }
}

static bool is_empty(const tri_matmul_args *args)
{
    return args->m == 0 || args->n == 0 || args->k == 0;
}

static bool is_widened(const tri_kernels *kernels, const tri_matmul_args *args)
{
    return tri_matmul_widens(kernels) && args->input_type == TRI_BF16;
}

static tri_status product_any(tri_kernels *kernels, const tri_matmul_args *args)
{
    if (is_empty(args))
        product_of_nothing(args);
    else if (is_widened(kernels, args))
        TRI_TRY(tri_matmul_widened(kernels, args));
    else
        TRI_TRY(tri_matmul_in_parts(kernels, args, tri_matmul_execute));
    return TRI_OK;
}

tri_status tri_matmul(tri_kernels *kernels, const tri_matmul_args *args)
{
    TRI_TRY(args_check(args));
    if (!kernels->matmul_observer) return product_any(kernels, args);
    double start_s = tri_clock_s();
    TRI_TRY(product_any(kernels, args));
    kernels->matmul_observer(kernels->matmul_observer_arg, args, tri_clock_s() - start_s);
    return TRI_OK;
}

void tri_matmul_observe(tri_kernels *kernels, tri_matmul_observer observer, void *arg)
{
    kernels->matmul_observer = observer;
    kernels->matmul_observer_arg = arg;
}

// SPDX-License-Identifier: Apache-2.0
/* Cuts work for the rank's OpenMP team. Pieces depend on sizes and the number of threads alone. */
#include "kernels/cpu/team.h"

#include "runtime/base/int.h"

void tri_team_run(const tri_kernels *kernels, int64_t n, int64_t unit, int64_t grain,
                  tri_team_fn fn, const void *work)
{
    int64_t units = (n + unit - 1) / unit;
    int64_t threads = tri_min64(tri_kernels_threads(kernels), tri_min64(units, n / grain));
    if (threads <= 1) {
        if (n > 0) fn(work, 0, n);
        return;
    }
#pragma omp parallel for num_threads((int)threads) schedule(static, 1)
    for (int64_t t = 0; t < threads; t++) {
        int64_t begin = units * t / threads * unit;
        int64_t end = tri_min64(units * (t + 1) / threads * unit, n);
        fn(work, begin, end);
    }
}

tri_status tri_team_check(const char *kernel, tri_dtype dtype, int64_t rows, int64_t width,
                          int64_t stride)
{
    TRI_CHECK(dtype == TRI_F32 || dtype == TRI_BF16, TRI_EINVAL,
              "%s of %s elements: activations are fp32 or bf16", kernel, tri_dtype_name(dtype));
    TRI_CHECK(rows >= 0 && width >= 0 && stride >= width, TRI_EINVAL,
              "%s of %lld rows of %lld elements, %lld between rows: sizes must not be negative, "
              "rows must not overlap",
              kernel, (long long)rows, (long long)width, (long long)stride);
    return TRI_OK;
}

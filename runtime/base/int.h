// SPDX-License-Identifier: Apache-2.0
/* Checked narrowing and sizes that cannot overflow unseen. */
#ifndef TRI_RUNTIME_BASE_INT_H
#define TRI_RUNTIME_BASE_INT_H

#include "runtime/base/status.h"

#include <limits.h>

/* Narrow to int. Not collective. Writes: *out on success. Errors: TRI_EINVAL. */
TRI_MUST_USE static inline tri_status tri_int(int64_t value, int *out)
{
    TRI_CHECK(value >= INT_MIN && value <= INT_MAX, TRI_EINVAL, "%lld does not fit 32 bits",
              (long long)value);
    *out = (int)value;
    return TRI_OK;
}

/* Product of `n` non-negative dimensions. Not collective. Errors: TRI_EINVAL on overflow. */
TRI_MUST_USE static inline tri_status tri_product(int n, const int64_t *dims, int64_t *out)
{
    int64_t product = 1;
    for (int i = 0; i < n; i++)
        TRI_CHECK(dims[i] >= 0 && !__builtin_mul_overflow(product, dims[i], &product), TRI_EINVAL,
                  "a tensor of this shape has more than 2^63 elements");
    *out = product;
    return TRI_OK;
}

/* Smallest multiple of `unit` that is >= value (value >= 0, unit > 0). Not collective. */
static inline int64_t tri_round_up(int64_t value, int64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

/* The smaller of two. Not collective. */
static inline int64_t tri_min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The larger of two. Not collective. */
static inline int64_t tri_max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

#endif

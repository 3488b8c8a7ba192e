// SPDX-License-Identifier: Apache-2.0
/* Counted allocation over calloc. */
#include "runtime/base/alloc.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static atomic_llong alloc_live;
static atomic_llong alloc_count;

void tri_alloc_note(int delta)
{
    atomic_fetch_add_explicit(&alloc_live, delta, memory_order_relaxed);
    if (delta > 0) atomic_fetch_add_explicit(&alloc_count, 1, memory_order_relaxed);
}

tri_status tri_alloc(void **out, int64_t count, size_t element_bytes)
{
    size_t total = 0;
    TRI_CHECK(count >= 0 && !__builtin_mul_overflow((size_t)count, element_bytes, &total),
              TRI_ENOMEM, "%lld elements of %zu bytes do not fit the address space",
              (long long)count, element_bytes);
    void *p = calloc(1, total ? total : 1);
    TRI_CHECK(p, TRI_ENOMEM, "allocating %zu bytes of host memory", total);
    tri_alloc_note(1);
    *out = p;
    return TRI_OK;
}

tri_status tri_alloc_grow(void **array, int64_t old_count, int64_t count, size_t element_bytes)
{
    void *grown = NULL;
    TRI_TRY(tri_alloc(&grown, count, element_bytes));
    if (*array) memcpy(grown, *array, (size_t)old_count * element_bytes);
    tri_free(*array);
    *array = grown;
    return TRI_OK;
}

tri_status tri_alloc_string(const char *text, char **out)
{
    size_t n = strlen(text) + 1;
    char *copy = NULL;
    TRI_TRY(TRI_NEW_ARRAY((int64_t)n, &copy));
    memcpy(copy, text, n);
    *out = copy;
    return TRI_OK;
}

void tri_free(void *p)
{
    if (!p) return;
    free(p);
    tri_alloc_note(-1);
}

int64_t tri_alloc_live(void)
{
    return atomic_load(&alloc_live);
}

int64_t tri_alloc_count(void)
{
    return atomic_load(&alloc_count);
}

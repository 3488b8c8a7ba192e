// SPDX-License-Identifier: Apache-2.0
/* Values for tests of collectives. What a rank holds is a function of (rank, index), so that each rank
 * can compute what all the others hold, and sums in the order that runtime/coll.h states.
 */
#ifndef TRI_TESTS_RUNTIME_COLL_VALUES_H
#define TRI_TESTS_RUNTIME_COLL_VALUES_H

#include "runtime/coll.h"
#include "tests/test.h"

/* Where the buffers lie. */
typedef enum check_where { CHECK_PRIVATE, CHECK_SHARED, CHECK_SKEWED, CHECK_PLACES } check_where;

typedef struct check_buffer {
    tri_comm *comm;
    bool shared;
    void *memory;
    tri_span span;
} check_buffer;

static uint32_t check_mix(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ x >> 16;
}

/* Values of very different size: the order of a sum shows in its bits. */
static double check_value(int rank, int64_t i)
{
    uint32_t h = check_mix((uint32_t)i * 2654435761u + (uint32_t)rank * 40503u + 17u);
    double scale = (double)(1u << (h & 15u));
    return ((double)(h >> 8) - 8388608.0) / 8388608.0 * scale;
}

static void check_put(tri_span span, int64_t at, double value)
{
    if (span.dtype == TRI_F32)
        ((float *)span.data)[at] = (float)value;
    else if (span.dtype == TRI_BF16)
        ((tri_bf16 *)span.data)[at] = tri_f32_to_bf16((float)value);
    else if (span.dtype == TRI_F64)
        ((double *)span.data)[at] = value;
    else if (span.dtype == TRI_I64)
        ((int64_t *)span.data)[at] = (int64_t)(value * 1024);
    else
        ((uint8_t *)span.data)[at] = (uint8_t)(int64_t)(value * 1024);
}

static __attribute__((unused)) void check_fill(tri_span span, int rank, int64_t first)
{
    for (int64_t i = 0; i < span.count; i++)
        check_put(span, i, check_value(rank, first + i));
}

static double check_pick(double a, double b, tri_redop op)
{
    return op == TRI_MAX ? (b > a ? b : a) : (b < a ? b : a);
}

/* Ranks of a host where sums are made host by host; 0: not so. One for all ranks of a process. */
static int check_locals;

/* One element while it is summed, in each of the types. */
typedef struct check_sum {
    float f;
    double d;
    int64_t k;
} check_sum;

static check_sum check_addend(tri_dtype dtype, int rank, int64_t i)
{
    double v = check_value(rank, i);
    float f = dtype == TRI_BF16 ? tri_bf16_to_f32(tri_f32_to_bf16((float)v)) : (float)v;
    return (check_sum){f, v, (int64_t)(v * 1024)};
}

static void check_add(check_sum *to, const check_sum *x, tri_redop op)
{
    to->f = op == TRI_SUM ? to->f + x->f : (float)check_pick((double)to->f, (double)x->f, op);
    to->d = op == TRI_SUM ? to->d + x->d : check_pick(to->d, x->d, op);
    bool takes = op == TRI_MAX ? x->k > to->k : x->k < to->k;
    to->k = op == TRI_SUM ? to->k + x->k : takes ? x->k : to->k;
}

/* Element i of ranks [first, first + n), in order. */
static check_sum check_ranks(tri_dtype dtype, int first, int n, int64_t i, tri_redop op)
{
    check_sum sum = check_addend(dtype, first, i);
    for (int r = first + 1; r < first + n; r++) {
        check_sum x = check_addend(dtype, r, i);
        check_add(&sum, &x, op);
    }
    if (dtype == TRI_BF16) sum.f = tri_bf16_to_f32(tri_f32_to_bf16(sum.f));
    return sum;
}

/* The reduction of element `first + i` over n ranks into want[i]. */
static void check_reduce(tri_span want, int n, int64_t first, tri_redop op)
{
    int locals = check_locals && n > check_locals && n % check_locals == 0 ? check_locals : n;
    for (int64_t i = 0; i < want.count; i++) {
        check_sum sum = check_ranks(want.dtype, 0, locals, first + i, op);
        for (int r = locals; r < n; r += locals) {
            check_sum host = check_ranks(want.dtype, r, locals, first + i, op);
            check_add(&sum, &host, op);
        }
        if (want.dtype == TRI_F32)
            ((float *)want.data)[i] = sum.f;
        else if (want.dtype == TRI_BF16)
            ((tri_bf16 *)want.data)[i] = tri_f32_to_bf16(sum.f);
        else if (want.dtype == TRI_F64)
            ((double *)want.data)[i] = sum.d;
        else
            ((int64_t *)want.data)[i] = sum.k;
    }
}

static __attribute__((unused)) tri_status
check_open(tri_comm *comm, check_where where, int64_t count, tri_dtype dtype, check_buffer *out)
{
    size_t bytes = (size_t)(count + 1) * tri_dtype_bytes(dtype);
    *out = (check_buffer){.comm = comm, .shared = where == CHECK_SHARED};
    if (out->shared)
        TRI_TRY(tri_comm_alloc(comm, TRI_MEM_DATA, bytes, &out->memory));
    else
        TRI_TRY(tri_device_alloc(tri_comm_device(comm), TRI_MEM_DATA, bytes, &out->memory));
    out->span = tri_span_make(out->memory, count, dtype);
    if (where == CHECK_SKEWED) out->span.data = (char *)out->span.data + tri_dtype_bytes(dtype);
    return TRI_OK;
}

static __attribute__((unused)) void check_close(check_buffer *buffer)
{
    if (buffer->shared)
        tri_comm_free(buffer->comm, buffer->memory);
    else
        tri_device_free(tri_comm_device(buffer->comm), buffer->memory);
}

static __attribute__((unused)) void check_same(const char *what, tri_comm *comm, tri_span got,
                                               tri_span want)
{
    size_t bytes = tri_dtype_bytes(got.dtype);
    for (int64_t i = 0; i < got.count; i++) {
        const char *a = (const char *)got.data + (size_t)i * bytes;
        const char *b = (const char *)want.data + (size_t)i * bytes;
        if (memcmp(a, b, bytes) == 0) continue;
        uint64_t x = 0, y = 0;
        memcpy(&x, a, bytes);
        memcpy(&y, b, bytes);
        EXPECT(x == y, "%s, backend %s, rank %d of %d: element %lld of %lld %s is %llx, not %llx",
               what, tri_comm_backend(comm), tri_comm_rank(comm), tri_comm_size(comm), (long long)i,
               (long long)got.count, tri_dtype_name(got.dtype), (unsigned long long)x,
               (unsigned long long)y);
        return;
    }
}

#endif

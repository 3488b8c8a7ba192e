// SPDX-License-Identifier: Apache-2.0
/* One collective call each, against what this rank computes by itself: bit equality. */
#ifndef TRI_TESTS_RUNTIME_COLL_CALLS_H
#define TRI_TESTS_RUNTIME_COLL_CALLS_H

#include "runtime/base/clock.h"
#include "tests/runtime/coll_values.h"

static tri_status check_allreduce(tri_comm *comm, check_where where, int64_t n, tri_dtype dtype,
                                  tri_redop op)
{
    check_buffer data, want;
    TRI_TRY(check_open(comm, where, n, dtype, &data));
    TRI_TRY(check_open(comm, CHECK_PRIVATE, n, dtype, &want));
    check_fill(data.span, tri_comm_rank(comm), 0);
    check_reduce(want.span, tri_comm_size(comm), 0, op);
    TRI_TRY(tri_allreduce(comm, data.span, op, NULL));
    check_same("all-reduce", comm, data.span, want.span);
    check_close(&data);
    check_close(&want);
    return TRI_OK;
}

static tri_status check_reduce_scatter(tri_comm *comm, check_where where, int64_t n,
                                       tri_dtype dtype, bool in_place)
{
    int size = tri_comm_size(comm), rank = tri_comm_rank(comm);
    check_buffer in, out, want, before;
    TRI_TRY(check_open(comm, where, n * size, dtype, &in));
    TRI_TRY(check_open(comm, CHECK_PRIVATE, n * size, dtype, &before));
    TRI_TRY(check_open(comm, where, n, dtype, &out));
    TRI_TRY(check_open(comm, CHECK_PRIVATE, n, dtype, &want));
    check_fill(in.span, rank, 0);
    check_fill(before.span, rank, 0);
    check_reduce(want.span, size, n * rank, TRI_SUM);
    tri_span to = in_place ? tri_span_part(in.span, n * rank, n) : out.span;
    TRI_TRY(tri_reduce_scatter(comm, in.span, to, NULL));
    check_same("reduce-scatter", comm, to, want.span);
    for (int r = 0; r < size; r++)
        if (!in_place || r != rank)
            check_same("reduce-scatter's input", comm, tri_span_part(in.span, n * r, n),
                       tri_span_part(before.span, n * r, n));
    check_close(&in);
    check_close(&before);
    check_close(&out);
    check_close(&want);
    return TRI_OK;
}

static tri_status check_allgather(tri_comm *comm, check_where where, int64_t n, tri_dtype dtype,
                                  bool in_place)
{
    int size = tri_comm_size(comm), rank = tri_comm_rank(comm);
    check_buffer in, out, want;
    TRI_TRY(check_open(comm, where, n, dtype, &in));
    TRI_TRY(check_open(comm, where, n * size, dtype, &out));
    TRI_TRY(check_open(comm, CHECK_PRIVATE, n * size, dtype, &want));
    for (int r = 0; r < size; r++)
        check_fill(tri_span_part(want.span, n * r, n), r, 0);
    tri_span from = in_place ? tri_span_part(out.span, n * rank, n) : in.span;
    check_fill(from, rank, 0);
    TRI_TRY(tri_allgather(comm, from, out.span, NULL));
    check_same("all-gather", comm, out.span, want.span);
    check_close(&in);
    check_close(&out);
    check_close(&want);
    return TRI_OK;
}

static tri_status check_alltoall(tri_comm *comm, check_where where, int64_t n, tri_dtype dtype)
{
    int size = tri_comm_size(comm), rank = tri_comm_rank(comm);
    check_buffer in, out, want;
    TRI_TRY(check_open(comm, where, n * size, dtype, &in));
    TRI_TRY(check_open(comm, where, n * size, dtype, &out));
    TRI_TRY(check_open(comm, CHECK_PRIVATE, n * size, dtype, &want));
    check_fill(in.span, rank, 0);
    for (int r = 0; r < size; r++)
        check_fill(tri_span_part(want.span, n * r, n), r, n * rank);
    TRI_TRY(tri_alltoall(comm, in.span, out.span, NULL));
    check_same("all-to-all", comm, out.span, want.span);
    check_close(&in);
    check_close(&out);
    check_close(&want);
    return TRI_OK;
}

static tri_status check_broadcast(tri_comm *comm, check_where where, int64_t n, tri_dtype dtype,
                                  int root)
{
    check_buffer data, want;
    TRI_TRY(check_open(comm, where, n, dtype, &data));
    TRI_TRY(check_open(comm, CHECK_PRIVATE, n, dtype, &want));
    check_fill(data.span, tri_comm_rank(comm), 0);
    check_fill(want.span, root, 0);
    TRI_TRY(tri_broadcast(comm, data.span, root, NULL));
    check_same("broadcast", comm, data.span, want.span);
    check_close(&data);
    check_close(&want);
    return TRI_OK;
}

/* Everybody sends to the right and receives from the left, sends first; then the same again with the
 * buffer just received, queued without waiting. */
static tri_status check_ring(tri_comm *comm, check_where where, int64_t n, tri_dtype dtype)
{
    int size = tri_comm_size(comm), rank = tri_comm_rank(comm);
    if (size == 1) return TRI_OK;
    int right = (rank + 1) % size, left = (rank + size - 1) % size;
    check_buffer a, b, c, want;
    TRI_TRY(check_open(comm, where, n, dtype, &a));
    TRI_TRY(check_open(comm, where, n, dtype, &b));
    TRI_TRY(check_open(comm, where, n, dtype, &c));
    TRI_TRY(check_open(comm, CHECK_PRIVATE, n, dtype, &want));
    check_fill(a.span, rank, 0);
    tri_event sent = {0}, received = {0}, sent_again = {0}, received_again = {0};
    TRI_TRY(tri_send(comm, a.span, right, &sent));
    TRI_TRY(tri_recv(comm, b.span, left, &received));
    TRI_TRY(tri_send(comm, b.span, right, &sent_again));
    TRI_TRY(tri_recv(comm, c.span, left, &received_again));
    TRI_TRY(tri_event_wait(received));
    check_fill(want.span, left, 0);
    check_same("receive", comm, b.span, want.span);
    TRI_TRY(tri_event_wait(received_again));
    check_fill(want.span, (left + size - 1) % size, 0);
    check_same("receive of what was received", comm, c.span, want.span);
    TRI_TRY(tri_event_wait(sent));
    TRI_TRY(tri_event_wait(sent_again));
    check_close(&a);
    check_close(&b);
    check_close(&c);
    check_close(&want);
    return TRI_OK;
}

/* Some ranks' buffers can be reached by their peers and others' cannot. */
static tri_status check_mixed(tri_comm *comm)
{
    enum { COUNT = 50021 };
    int size = tri_comm_size(comm), rank = tri_comm_rank(comm);
    check_buffer shared, private, want;
    TRI_TRY(check_open(comm, CHECK_SHARED, COUNT, TRI_F32, &shared));
    TRI_TRY(check_open(comm, CHECK_PRIVATE, COUNT, TRI_F32, &private));
    TRI_TRY(check_open(comm, CHECK_PRIVATE, COUNT, TRI_F32, &want));
    tri_span mine = rank % 2 ? private.span : shared.span;
    check_fill(mine, rank, 0);
    check_reduce(want.span, size, 0, TRI_SUM);
    TRI_TRY(tri_allreduce(comm, mine, TRI_SUM, NULL));
    check_same("all-reduce of mixed buffers", comm, mine, want.span);
    for (int root = 0; root < 2 && root < size; root++) {
        check_fill(mine, rank, 0);
        check_fill(want.span, root, 0);
        TRI_TRY(tri_broadcast(comm, mine, root, NULL));
        check_same("broadcast of mixed buffers", comm, mine, want.span);
    }
    check_close(&shared);
    check_close(&private);
    check_close(&want);
    return TRI_OK;
}

/* A queued call comes to its end while nobody waits for it. */
static tri_status check_background(tri_comm *comm)
{
    check_buffer data, want;
    TRI_TRY(check_open(comm, CHECK_SHARED, 30011, TRI_F32, &data));
    TRI_TRY(check_open(comm, CHECK_PRIVATE, 30011, TRI_F32, &want));
    check_fill(data.span, tri_comm_rank(comm), 0);
    check_reduce(want.span, tri_comm_size(comm), 0, TRI_SUM);
    tri_event event = {0};
    TRI_TRY(tri_allreduce(comm, data.span, TRI_SUM, &event));
    while (!tri_event_is_done(event))
        tri_clock_sleep(1e-3);
    TRI_TRY(tri_event_wait(event));
    check_same("all-reduce in the background", comm, data.span, want.span);
    check_close(&data);
    check_close(&want);
    return TRI_OK;
}

#endif

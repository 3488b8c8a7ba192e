// SPDX-License-Identifier: Apache-2.0
/* Every collective of a communicator, at all sizes, types and places of buffers; splits, queues,
 * wrong arguments, counters, agreement: what each backend must pass.
 */
#ifndef TRI_TESTS_RUNTIME_COLL_CHECK_H
#define TRI_TESTS_RUNTIME_COLL_CHECK_H

#include "runtime/agree.h"
#include "tests/runtime/coll_calls.h"

/* Many calls of many kinds queued before the first is waited for. */
static tri_status check_queue(tri_comm *comm)
{
    enum { N = 24, COUNT = 3000 };
    int size = tri_comm_size(comm), rank = tri_comm_rank(comm);
    check_buffer buffers[N], want;
    tri_event events[N];
    for (int i = 0; i < N; i++) {
        TRI_TRY(check_open(comm, (check_where)(i % CHECK_PLACES), (1 + i) * COUNT, TRI_F32,
                           &buffers[i]));
        check_fill(buffers[i].span, rank, i);
        if (i % 3 == 2)
            TRI_TRY(tri_broadcast(comm, buffers[i].span, i % size, &events[i]));
        else
            TRI_TRY(tri_allreduce(comm, buffers[i].span, TRI_SUM, &events[i]));
    }
    TRI_TRY(tri_barrier(comm));
    for (int i = N - 1; i >= 0; i--) {
        EXPECT(tri_event_is_done(events[i]), "call %d came before the barrier", i);
        TRI_TRY(tri_event_wait(events[i]));
        TRI_TRY(check_open(comm, CHECK_PRIVATE, (1 + i) * COUNT, TRI_F32, &want));
        if (i % 3 == 2)
            check_fill(want.span, i % size, i);
        else
            check_reduce(want.span, size, i, TRI_SUM);
        check_same("queued call", comm, buffers[i].span, want.span);
        check_close(&want);
    }
    for (int i = N - 1; i >= 0; i--)
        check_close(&buffers[i]);
    return TRI_OK;
}

/* Everything at one size. */
static tri_status check_size(tri_comm *comm, int64_t n, tri_dtype dtype)
{
    for (int w = 0; w < CHECK_PLACES; w++) {
        check_where where = (check_where)w;
        TRI_TRY(check_allreduce(comm, where, n, dtype, TRI_SUM));
        if (dtype != TRI_BF16) {
            TRI_TRY(check_allreduce(comm, where, n, dtype, TRI_MAX));
            TRI_TRY(check_allreduce(comm, where, n, dtype, TRI_MIN));
        }
        for (int in_place = 0; in_place < 2; in_place++) {
            TRI_TRY(check_reduce_scatter(comm, where, n, dtype, in_place));
            TRI_TRY(check_allgather(comm, where, n, dtype, in_place));
        }
        TRI_TRY(check_alltoall(comm, where, n, dtype));
        TRI_TRY(check_broadcast(comm, where, n, dtype, (int)n % tri_comm_size(comm)));
        TRI_TRY(check_ring(comm, where, n, dtype));
    }
    return TRI_OK;
}

/* All of it; `large` is the size that takes many rounds. */
static __attribute__((unused)) tri_status check_all(tri_comm *comm, int64_t large)
{
    static const int64_t sizes[] = {0, 1, 3, 1000, 20011};
    static const tri_dtype dtypes[] = {TRI_BF16, TRI_F64, TRI_F32, TRI_I64};
#ifdef TRI_SANITIZED
    enum { DTYPES = 2 };
#else
    enum { DTYPES = 4 };
#endif
    for (int i = 0; i < 5; i++)
        for (int d = 0; d < DTYPES; d++)
            TRI_TRY(check_size(comm, sizes[i], dtypes[d]));
    TRI_TRY(check_allgather(comm, CHECK_SKEWED, 77777, TRI_U8, true));
    TRI_TRY(check_alltoall(comm, CHECK_SHARED, 77777, TRI_U8));
    for (int w = 0; w < CHECK_PLACES; w++) {
        check_where where = (check_where)w;
        TRI_TRY(check_allreduce(comm, where, large, TRI_F32, TRI_SUM));
        TRI_TRY(check_allreduce(comm, where, large, TRI_BF16, TRI_SUM));
        TRI_TRY(check_reduce_scatter(comm, where, large / tri_comm_size(comm), TRI_F32, true));
        TRI_TRY(check_allgather(comm, where, large / tri_comm_size(comm), TRI_F32, w == 1));
        TRI_TRY(check_broadcast(comm, where, large, TRI_F32, tri_comm_size(comm) - 1));
        TRI_TRY(check_ring(comm, where, large, TRI_F32));
    }
    TRI_TRY(check_queue(comm));
    TRI_TRY(check_mixed(comm));
    TRI_TRY(check_background(comm));
    return TRI_OK;
}

/* Split by halves, backwards, and with ranks that do not join; each part works. */
static __attribute__((unused)) tri_status check_split(tri_comm *comm)
{
    int size = tri_comm_size(comm), rank = tri_comm_rank(comm);
    tri_comm *half = NULL, *back = NULL, *odd = NULL;
    TRI_TRY(tri_comm_split(comm, 2 * rank / size, rank, &half));
    TRI_TRY(check_size(half, 1000, TRI_F32));
    TRI_TRY(tri_comm_split(comm, 7, -rank, &back));
    EXPECT(tri_comm_size(back) == size && tri_comm_rank(back) == size - 1 - rank, "rank %d of %d",
           tri_comm_rank(back), tri_comm_size(back));
    TRI_TRY(check_size(back, 30011, TRI_BF16));
    TRI_TRY(tri_comm_split(comm, rank % 2 ? 1 : -1, 0, &odd));
    EXPECT(!odd == !(rank % 2), "rank %d", rank);
    if (odd) TRI_TRY(check_size(odd, 77, TRI_F32));
    tri_comm_close(&odd);
    tri_comm_close(&back);
    tri_comm_close(&half);
    return TRI_OK;
}

/* Wrong arguments are answered on the rank that gave them, before anything is sent. */
static __attribute__((unused)) tri_status check_wrong(tri_comm *comm)
{
    int size = tri_comm_size(comm);
    float x[8] = {0};
    tri_span one = tri_span_make(x, 1, TRI_F32), two = tri_span_make(x, 2, TRI_F32);
    EXPECT_STATUS(tri_allreduce(comm, tri_span_make(x, -1, TRI_F32), TRI_SUM, NULL), TRI_EINVAL,
                  "-1 elements");
    EXPECT_STATUS(tri_allreduce(comm, tri_span_make(NULL, 1, TRI_F32), TRI_SUM, NULL), TRI_EINVAL,
                  "at NULL");
    EXPECT_STATUS(tri_allreduce(comm, tri_span_make(x, 1, TRI_U8), TRI_SUM, NULL), TRI_EINVAL,
                  "all-reduce of uint8");
    EXPECT_STATUS(tri_allreduce(comm, tri_span_make(x, 1, TRI_BF16), TRI_MAX, NULL), TRI_EINVAL,
                  "all-reduce of bf16");
    EXPECT_STATUS(tri_reduce_scatter(comm, tri_span_make(x, size + 1, TRI_F32), one, NULL),
                  TRI_EINVAL, "1 elements a rank");
    EXPECT_STATUS(tri_allgather(comm, one, tri_span_make(x, size, TRI_BF16), NULL), TRI_EINVAL,
                  "types must be the same");
    EXPECT_STATUS(
        tri_alltoall(comm, tri_span_make(x, size, TRI_F32), tri_span_make(x, size, TRI_F32), NULL),
        TRI_EINVAL, "distinct");
    EXPECT_STATUS(tri_broadcast(comm, two, size, NULL), TRI_EINVAL, "broadcast from rank");
    EXPECT_STATUS(tri_send(comm, two, tri_comm_rank(comm), NULL), TRI_EINVAL, "which is this rank");
    EXPECT_STATUS(tri_recv(comm, two, -1, NULL), TRI_EINVAL, "receive from rank -1");
    return TRI_OK;
}

/* The counters say what was asked for. */
static __attribute__((unused)) tri_status check_stats(tri_comm *comm)
{
    tri_coll_stats before = tri_comm_stats(comm);
    int size = tri_comm_size(comm);
    float x[64] = {0};
    TRI_CHECK(size <= 16, TRI_EINVAL, "at most 16 ranks, not %d", size);
    TRI_TRY(tri_allreduce(comm, tri_span_make(x, 5, TRI_F32), TRI_SUM, NULL));
    TRI_TRY(tri_allgather(comm, tri_span_make(x, 2, TRI_BF16),
                          tri_span_make(x + 16, 2 * size, TRI_BF16), NULL));
    TRI_TRY(tri_barrier(comm));
    tri_coll_stats after = tri_comm_stats(comm);
    EXPECT(after.calls[TRI_COLL_ALLREDUCE] - before.calls[TRI_COLL_ALLREDUCE] == 1, "one call");
    EXPECT(after.payload_bytes[TRI_COLL_ALLREDUCE] - before.payload_bytes[TRI_COLL_ALLREDUCE] == 20,
           "20 bytes");
    EXPECT(after.payload_bytes[TRI_COLL_ALLGATHER] - before.payload_bytes[TRI_COLL_ALLGATHER] == 4,
           "4 bytes");
    EXPECT(after.calls[TRI_COLL_BARRIER] - before.calls[TRI_COLL_BARRIER] == 1, "one barrier");
    return TRI_OK;
}

/* Ranks from `bad` on fail: the lowest keeps its failure, all others hear of it. */
static __attribute__((unused)) tri_status check_agree(tri_comm *comm)
{
    int size = tri_comm_size(comm), rank = tri_comm_rank(comm);
    TRI_TRY(tri_agree(comm, TRI_OK));
    for (int bad = 0; bad < size; bad++) {
        tri_status mine = TRI_OK;
        if (rank >= bad) mine = tri_err_raise(TRI_EFORMAT, "f.c", 1, "f", "shard %d is cut", rank);
        char part[64];
        snprintf(part, sizeof part, rank == bad ? "shard %d is cut" : "rank %d failed: TRI_EFORMAT",
                 bad);
        EXPECT_STATUS(tri_agree(comm, mine), rank == bad ? TRI_EFORMAT : TRI_EPEER, part);
    }
    TRI_TRY(tri_agree_same(comm, INT64_MIN, "seed"));
    if (size > 1)
        EXPECT_STATUS(tri_agree_same(comm, rank == 0 ? 3 : 4, "seed"), TRI_EBUG,
                      "seed differs between ranks: from 3 to 4");
    return TRI_OK;
}

#endif

// SPDX-License-Identifier: Apache-2.0
/* What holds of a communicator of two levels alone: bytes of each level, hosts of ranks, splits. */
#ifndef TRI_TESTS_RUNTIME_COLL_HOSTS_H
#define TRI_TESTS_RUNTIME_COLL_HOSTS_H

#include "runtime/coll/coll_impl.h"
#include "tests/runtime/coll_check.h"

static int64_t level_bytes(const tri_comm *comm, bool is_between)
{
    const tri_coll_stats stats = tri_comm_stats(tri_hier_level(comm, is_between));
    int64_t bytes = 0;
    for (int k = 0; k < TRI_COLL_KINDS; k++)
        bytes += stats.payload_bytes[k];
    return bytes;
}

/* Between hosts goes a share of what there is; arguments of calls, as tri_coll_stats counts. */
static tri_status check_levels(tri_comm *comm, int locals)
{
    enum { COUNT = 8 * 9 * 5 * 7 * 64 };
    int64_t hosts = tri_comm_size(comm) / locals, n = COUNT, bytes = n * (int64_t)sizeof(float);
    check_where where = CHECK_PRIVATE;
    int64_t within = level_bytes(comm, false), between = level_bytes(comm, true);
    TRI_TRY(check_allreduce(comm, where, n, TRI_F32, TRI_SUM));
    within = level_bytes(comm, false) - within;
    between = level_bytes(comm, true) - between;
    EXPECT(between == bytes / locals, "all-reduce: %lld bytes between hosts", (long long)between);
    EXPECT(within == bytes + bytes / locals, "all-reduce: %lld bytes within", (long long)within);

    between = level_bytes(comm, true);
    TRI_TRY(check_reduce_scatter(comm, where, n / tri_comm_size(comm), TRI_F32, false));
    between = level_bytes(comm, true) - between;
    EXPECT(between == bytes / locals, "reduce-scatter: %lld bytes between", (long long)between);

    between = level_bytes(comm, true);
    TRI_TRY(check_allgather(comm, where, n / tri_comm_size(comm), TRI_F32, false));
    between = level_bytes(comm, true) - between;
    EXPECT(between == bytes / locals / hosts, "all-gather: %lld bytes between", (long long)between);
    return TRI_OK;
}

/* Every call on two levels at some sizes, `large` in several rounds of the scratch memory. */
static tri_status check_two_levels(tri_comm *comm, int locals, int64_t large)
{
    TRI_TRY(check_wrong(comm));
    TRI_TRY(check_stats(comm));
    TRI_TRY(check_size(comm, 1, TRI_F32));
    TRI_TRY(check_size(comm, 1003, TRI_BF16));
    TRI_TRY(check_size(comm, 5009, TRI_I64));
    TRI_TRY(check_allreduce(comm, CHECK_SHARED, 20011, TRI_F32, TRI_SUM));
    TRI_TRY(check_allreduce(comm, CHECK_SKEWED, large, TRI_F32, TRI_SUM));
    TRI_TRY(check_reduce_scatter(comm, CHECK_PRIVATE, large, TRI_F32, true));
    TRI_TRY(check_allgather(comm, CHECK_SKEWED, large, TRI_F32, false));
    TRI_TRY(check_broadcast(comm, CHECK_PRIVATE, large, TRI_F32, 1));
    TRI_TRY(check_queue(comm));
    TRI_TRY(check_mixed(comm));
    TRI_TRY(check_background(comm));
    TRI_TRY(check_agree(comm));
    TRI_TRY(check_levels(comm, locals));
    return TRI_OK;
}

/* A rank's host is known; a part of one host has one level. */
static __attribute__((unused)) tri_status check_hosts(tri_comm *comm, int locals)
{
    int rank = tri_comm_rank(comm), size = tri_comm_size(comm);
    for (int r = 0; r < size; r++)
        EXPECT(tri_comm_host(comm, r) == r / locals, "rank %d on host %d", r,
               tri_comm_host(comm, r));
    tri_comm *part = NULL;
    TRI_TRY(tri_comm_split(comm, rank / locals, rank, &part));
    EXPECT(tri_comm_host(part, tri_comm_size(part) - 1) == 0, "one host");
    EXPECT(strcmp(tri_comm_backend(part), "node") == 0, "%s", tri_comm_backend(part));
    tri_comm_close(&part);
    TRI_TRY(tri_comm_split(comm, 0, rank, &part));
    EXPECT(strcmp(tri_comm_backend(part), "hier") == 0, "%s", tri_comm_backend(part));
    TRI_TRY(check_allreduce(part, CHECK_SHARED, 40099, TRI_F32, TRI_SUM));
    tri_comm_close(&part);
    TRI_TRY(tri_comm_split(comm, 0, -rank, &part));
    EXPECT(tri_comm_host(part, 0) == 0 && strcmp(tri_comm_backend(part), "hier") == 0, "%s",
           tri_comm_backend(part)); /* backwards, but still host by host */
    tri_comm_close(&part);
    TRI_TRY(tri_comm_split(comm, 0, rank % locals, &part));
    EXPECT(strcmp(tri_comm_backend(part), "mpi") == 0, "%s", tri_comm_backend(part));
    tri_comm_close(&part);
    return TRI_OK;
}

#endif

// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=240
/* Ranks as threads, and the rank alone: all collectives, splits, failures. The ranks of a crowd are
 * more than the cores. Runs under ThreadSanitizer. */
#include "runtime/mesh.h"
#include "tests/runtime/coll_check.h"
#include "tests/runtime/coll_hosts.h"

#ifdef TRI_SANITIZED
enum { LARGE = 60001, HOSTS_LARGE = 30011 };
#else
enum { LARGE = 1000007, HOSTS_LARGE = 700001 };
#endif

static const tri_device_args cpu = {.name = "cpu", .n_threads = 1, .yield = true};

static tri_status everything(tri_comm *world, void *arg)
{
    (void)arg;
    TRI_TRY(check_wrong(world));
    TRI_TRY(check_stats(world));
    TRI_TRY(check_all(world, LARGE));
    TRI_TRY(check_split(world));
    TRI_TRY(check_agree(world));
    tri_memory memory = tri_device_memory(tri_comm_device(world));
    EXPECT(memory.bytes[TRI_MEM_DATA] == 0, "%zu bytes are left", memory.bytes[TRI_MEM_DATA]);
    return TRI_OK;
}

TRI_TEST(one_rank_alone)
{
    TRI_TRY(tri_comm_run_threads(1, &cpu, everything, NULL));
    return TRI_OK;
}

TRI_TEST(two_ranks)
{
    TRI_TRY(tri_comm_run_threads(2, &(tri_device_args){.name = "cpu", .n_threads = 1}, everything,
                                 NULL));
    return TRI_OK;
}

TRI_TEST(three_ranks)
{
    TRI_TRY(tri_comm_run_threads(3, &cpu, everything, NULL));
    return TRI_OK;
}

TRI_TEST(four_ranks)
{
    TRI_TRY(tri_comm_run_threads(4, &cpu, everything, NULL));
    return TRI_OK;
}

TRI_TEST(eight_ranks)
{
    TRI_TRY(tri_comm_run_threads(8, &cpu, everything, NULL));
    return TRI_OK;
}

/* Two levels, *arg ranks to a host; large buffers take several rounds of the scratch memory. */
static tri_status hosts(tri_comm *world, void *arg)
{
    char name[16];
    int locals = *(const int *)arg;
    snprintf(name, sizeof name, "hier:%d", locals);
    tri_comm *hier = NULL;
    TRI_TRY(tri_comm_split_as(world, name, &hier));
    TRI_TRY(check_two_levels(hier, locals, HOSTS_LARGE));
    tri_comm_close(&hier);
    return TRI_OK;
}

TRI_TEST(hosts_are_two_levels)
{
    static const int cases[][2] = {
        {4, 2},
        {6, 2},
        {8, 4}
    };
    for (int i = 0; i < 3; i++) {
        int locals = check_locals = cases[i][1];
        TRI_TRY(tri_comm_run_threads(cases[i][0], &cpu, hosts, &locals));
    }
    check_locals = 0;
    int locals = 4;
    EXPECT_STATUS(tri_comm_run_threads(6, &cpu, hosts, &locals), TRI_EUNSUP, "'hier:4' of 6 ranks");
    return TRI_OK;
}

/* Rank 2 of 4 fails while the others wait, in a way that depends on *arg. */
static tri_status one_fails(tri_comm *world, void *arg)
{
    float x[100000] = {0};
    int rank = tri_comm_rank(world);
    tri_span all = tri_span_make(x, 100000, TRI_F32);
    TRI_TRY(tri_barrier(world));
    TRI_CHECK(rank != 2, TRI_EFORMAT, "shard of rank %d is cut", rank);
    tri_status rc = TRI_OK;
    switch (*(const int *)arg) {
    case 0:
        rc = tri_barrier(world);
        break;
    case 1:
        rc = tri_allreduce(world, all, TRI_SUM, NULL);
        break;
    case 2:
        rc = tri_recv(world, all, 2, NULL);
        break;
    default: {
        tri_event event = {0};
        rc = tri_allreduce(world, all, TRI_SUM, &event);
        if (rc == TRI_OK) rc = tri_event_wait(event);
        break;
    }
    }
    EXPECT(rc == TRI_EPEER && strstr(tri_err_last()->text, "rank 2 failed"), "rank %d: %s: %s",
           rank, tri_status_name(rc), tri_err_last()->text);
    TRI_TRY(rc);
    return TRI_OK;
}

TRI_TEST(a_failing_rank_ends_the_waits_of_the_others)
{
    for (int how = 0; how < 4; how++)
        EXPECT_STATUS(tri_comm_run_threads(4, &cpu, one_fails, &how), TRI_EFORMAT,
                      "shard of rank 2 is cut");
    return TRI_OK;
}

static tri_status wrong_size(tri_comm *world, void *arg)
{
    (void)arg;
    float x[8] = {0};
    if (tri_comm_rank(world) == 0)
        TRI_TRY(tri_send(world, tri_span_make(x, 5, TRI_F32), 1, NULL));
    else
        TRI_TRY(tri_recv(world, tri_span_make(x, 6, TRI_F32), 0, NULL));
    TRI_TRY(tri_barrier(world));
    return TRI_OK;
}

TRI_TEST(a_message_of_another_size_is_answered)
{
    EXPECT_STATUS(tri_comm_run_threads(2, &cpu, wrong_size, NULL), TRI_EINVAL,
                  "receiving 24 bytes from rank 0, which sent 20");
    EXPECT_STATUS(tri_comm_run_threads(0, &cpu, wrong_size, NULL), TRI_EINVAL, "0 ranks");
    return TRI_OK;
}

static tri_status mesh_groups(tri_comm *world, void *arg)
{
    (void)arg;
    tri_mesh_args args = {
        .world = world, .size = {2, 2, 1, 2}
    };
    tri_mesh *mesh = NULL;
    TRI_TRY(tri_mesh_create(&args, &mesh));
    for (unsigned axes = 0; axes < 1u << TRI_AXES; axes++) {
        TRI_TRY(tri_mesh_declare(mesh, axes));
        tri_comm *comm = tri_mesh_comm(mesh, axes);
        EXPECT(tri_comm_size(comm) == tri_mesh_product(mesh, axes) &&
                   tri_comm_rank(comm) == tri_mesh_index(mesh, axes),
               "axes %x: rank %d of %d", axes, tri_comm_rank(comm), tri_comm_size(comm));
        int32_t mine = tri_mesh_rank(mesh), members[8];
        TRI_TRY(tri_allgather(comm, tri_span_make(&mine, 1, TRI_I32),
                              tri_span_make(members, tri_comm_size(comm), TRI_I32), NULL));
        int n = 0;
        for (int r = 0; r < 8; r++) {
            bool together = true;
            for (int a = 0; a < TRI_AXES; a++)
                together &= (axes & TRI_AXIS_BIT(a)) || tri_mesh_coord_of(mesh, r, (tri_axis)a) ==
                                                            tri_mesh_coord(mesh, (tri_axis)a);
            if (together) {
                EXPECT(members[n] == r, "axes %x: member %d is %d, not %d", axes, n, members[n], r);
                n++;
            }
        }
        EXPECT(n == tri_comm_size(comm), "axes %x: %d members", axes, n);
    }
    tri_mesh_close(&mesh);
    return TRI_OK;
}

TRI_TEST(a_mesh_of_eight_ranks_has_the_right_groups)
{
    TRI_TRY(tri_comm_run_threads(8, &cpu, mesh_groups, NULL));
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(one_rank_alone), TRI_TEST_ROW(two_ranks), TRI_TEST_ROW(three_ranks),
              TRI_TEST_ROW(four_ranks), TRI_TEST_ROW(eight_ranks),
              TRI_TEST_ROW(hosts_are_two_levels),
              TRI_TEST_ROW(a_failing_rank_ends_the_waits_of_the_others),
              TRI_TEST_ROW(a_message_of_another_size_is_answered),
              TRI_TEST_ROW(a_mesh_of_eight_ranks_has_the_right_groups))

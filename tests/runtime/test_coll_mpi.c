// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1,2,3,4,8 timeout=240
// TEST ranks=2 timeout=300 long args=--huge
/* Ranks of mpirun: the same calls through shared memory and through MPI give the same bits. */
#include "runtime/mesh.h"
#include "tests/runtime/coll_check.h"
#include "tests/runtime/coll_hosts.h"

#include <unistd.h>

enum { LARGE = 1000007 };

static tri_device *device;
static tri_comm *world;

static tri_status everything(tri_comm *comm)
{
    TRI_TRY(check_wrong(comm));
    TRI_TRY(check_stats(comm));
    TRI_TRY(check_all(comm, LARGE));
    TRI_TRY(check_agree(comm));
    return TRI_OK;
}

TRI_TEST(the_world_is_what_mpirun_started)
{
    bool crowded = sysconf(_SC_NPROCESSORS_ONLN) < 8;
    TRI_TRY(tri_device_create(&(tri_device_args){.name = "cpu", .n_threads = 1, .yield = crowded},
                              &device));
    TRI_TRY(tri_comm_open_mpi(device, &world));
    bool launched = tri_comm_is_launched();
    EXPECT(launched || tri_comm_size(world) == 1, "%d ranks", tri_comm_size(world));
    EXPECT(tri_comm_size(world) == 1 || strcmp(tri_comm_backend(world), "node") == 0, "%s",
           tri_comm_backend(world));
    return TRI_OK;
}

TRI_TEST(shared_memory)
{
    if (tri_test_argc > 1) return TRI_OK;
    TRI_TRY(everything(world));
    return TRI_OK;
}

TRI_TEST(messages)
{
    tri_comm *mpi = NULL;
    if (tri_test_argc > 1) return TRI_OK;
    if (tri_comm_size(world) == 1) {
        EXPECT_STATUS(tri_comm_split_as(world, "mpi", &mpi), TRI_EUNSUP, "mpi");
        return TRI_OK;
    }
    EXPECT_STATUS(tri_comm_split_as(world, "pigeon", &mpi), TRI_EUNSUP, "not 'pigeon'");
    TRI_TRY(tri_comm_split_as(world, "mpi", &mpi));
    EXPECT(strcmp(tri_comm_backend(mpi), "mpi") == 0, "%s", tri_comm_backend(mpi));
    tri_comm *part = NULL;
    TRI_TRY(tri_comm_split(mpi, 0, 0, &part));
    EXPECT(strcmp(tri_comm_backend(part), "mpi") == 0, "%s", tri_comm_backend(part));
    tri_comm_close(&part);
    TRI_TRY(everything(mpi));
    tri_comm_close(&mpi);
    return TRI_OK;
}

/* The communicators of a mesh over hosts keep what a mesh on paper says. */
static tri_status mesh_keeps_what_paper_says(tri_comm *hier, int locals)
{
    static const unsigned sets[] = {1u << TRI_AXIS_TENSOR, 1u << TRI_AXIS_DATA,
                                    1u << TRI_AXIS_DATA | 1u << TRI_AXIS_TENSOR,
                                    1u << TRI_AXIS_PIPELINE | 1u << TRI_AXIS_TENSOR};
    tri_mesh_args args = {.world = hier};
    for (int a = 0; a < TRI_AXES; a++)
        args.size[a] = a == TRI_AXIS_CONTEXT ? 1 : 2;
    tri_mesh *mesh = NULL, *paper = NULL;
    TRI_TRY(tri_mesh_create(&args, &mesh));
    args.world = NULL;
    args.n_ranks = tri_comm_size(hier);
    args.rank = tri_comm_rank(hier);
    args.host_ranks = locals;
    TRI_TRY(tri_mesh_create(&args, &paper));
    size_t world_bytes = tri_mesh_comm_bytes(paper);
    EXPECT(world_bytes == tri_comm_buffer_bytes(args.n_ranks, locals), "%zu bytes", world_bytes);
    size_t before = tri_device_memory(device).bytes[TRI_MEM_COMM];
    for (int i = 0; i < 4; i++) {
        TRI_TRY(tri_mesh_declare(mesh, sets[i]));
        TRI_TRY(tri_mesh_declare(paper, sets[i]));
        size_t kept = tri_device_memory(device).bytes[TRI_MEM_COMM] - before;
        size_t said = tri_mesh_comm_bytes(paper) - world_bytes;
        EXPECT(kept == said, "hosts of %d, axes %x: %zu bytes, not %zu", locals, sets[i], kept,
               said);
    }
    tri_mesh_close(&mesh);
    tri_mesh_close(&paper);
    return TRI_OK;
}

/* Two levels: hosts of two ranks, of four. What is kept is what was said. */
TRI_TEST(hosts)
{
    if (tri_test_argc > 1) return TRI_OK;
    int size = tri_comm_size(world);
    tri_comm *hier = NULL;
    EXPECT_STATUS(tri_comm_split_as(world, "hier:1", &hier), TRI_EUNSUP, "hier:1");
    EXPECT_STATUS(tri_comm_split_as(world, "hier:", &hier), TRI_EUNSUP, "hier:");
    for (int locals = 2; 2 * locals <= size; locals++) {
        char name[16];
        snprintf(name, sizeof name, "hier:%d", locals);
        if (size % locals) {
            EXPECT_STATUS(tri_comm_split_as(world, name, &hier), TRI_EUNSUP, name);
            continue;
        }
        size_t before = tri_device_memory(device).bytes[TRI_MEM_COMM];
        TRI_TRY(tri_comm_split_as(world, name, &hier));
        size_t kept = tri_device_memory(device).bytes[TRI_MEM_COMM] - before;
        EXPECT(strcmp(tri_comm_backend(hier), "hier") == 0, "%s", tri_comm_backend(hier));
        EXPECT(kept == tri_comm_buffer_bytes(size, locals), "%zu bytes, not %zu", kept,
               tri_comm_buffer_bytes(size, locals));
        check_locals = locals;
        TRI_TRY(check_two_levels(hier, locals, LARGE / 5));
        TRI_TRY(check_hosts(hier, locals));
        if (size == 8) TRI_TRY(mesh_keeps_what_paper_says(hier, locals));
        check_locals = 0;
        tri_comm_close(&hier);
    }
    return TRI_OK;
}

TRI_TEST(splits)
{
    TRI_TRY(check_split(world));
    if (tri_comm_size(world) == 1) return TRI_OK;
    tri_comm *node = NULL;
    TRI_TRY(tri_comm_split_as(world, "node", &node));
    TRI_TRY(check_split(node));
    tri_comm_close(&node);
    return TRI_OK;
}

/* More than there is: an error on every rank, and nothing is left. */
TRI_TEST(too_much_memory_is_an_error)
{
    void *memory = NULL;
    tri_status rc = tri_comm_alloc(world, TRI_MEM_DATA, (size_t)1 << 60, &memory);
    EXPECT(rc != TRI_OK && !memory, "%s", tri_status_name(rc));
    tri_err_clear();
    TRI_TRY(tri_barrier(world));
    EXPECT(tri_device_memory(device).bytes[TRI_MEM_DATA] == 0, "nothing is counted");
    return TRI_OK;
}

/* More bytes than an int counts; only the ends and some places between are looked at. */
static tri_status huge(tri_comm *comm)
{
    const int64_t n = ((int64_t)1 << 31) + 4099, step = 1000003;
    int rank = tri_comm_rank(comm);
    void *memory = NULL;
    TRI_TRY(tri_device_alloc(device, TRI_MEM_DATA, (size_t)n, &memory));
    tri_span span = tri_span_make(memory, n, TRI_U8);
    for (int way = 0; way < 2; way++) {
        for (int64_t i = n - 1; i >= 0; i -= step)
            ((uint8_t *)memory)[i] = rank == 1 ? (uint8_t)(i % 251 + way) : 0;
        if (way == 0)
            TRI_TRY(tri_broadcast(comm, span, 1, NULL));
        else if (rank == 1)
            TRI_TRY(tri_send(comm, span, 0, NULL));
        else
            TRI_TRY(tri_recv(comm, span, 1, NULL));
        for (int64_t i = n - 1; i >= 0; i -= step)
            EXPECT(((uint8_t *)memory)[i] == (uint8_t)(i % 251 + way), "%s, byte %lld",
                   tri_comm_backend(comm), (long long)i);
    }
    tri_device_free(device, memory);
    return TRI_OK;
}

TRI_TEST(buffers_may_be_huge)
{
    if (tri_test_argc < 2 || tri_comm_size(world) != 2) return TRI_OK;
    tri_comm *mpi = NULL;
    TRI_TRY(tri_comm_split_as(world, "mpi", &mpi));
    TRI_TRY(huge(mpi));
    tri_comm_close(&mpi);
    TRI_TRY(huge(world));
    return TRI_OK;
}

TRI_TEST(the_world_closes)
{
    tri_comm_close(&world);
    tri_device_destroy(&device);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(the_world_is_what_mpirun_started), TRI_TEST_ROW(shared_memory),
              TRI_TEST_ROW(messages), TRI_TEST_ROW(hosts), TRI_TEST_ROW(splits),
              TRI_TEST_ROW(too_much_memory_is_an_error), TRI_TEST_ROW(buffers_may_be_huge),
              TRI_TEST_ROW(the_world_closes))

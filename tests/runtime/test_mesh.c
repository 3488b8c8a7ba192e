// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* Coordinates against counting them up in four nested loops; paper and real meshes agree. */
#include "runtime/mesh.h"
#include "tests/test.h"

static tri_status mesh_check(const int size[TRI_AXES])
{
    int n_ranks = size[0] * size[1] * size[2] * size[3];
    int rank = 0;
    for (int p = 0; p < size[0]; p++)
        for (int d = 0; d < size[1]; d++)
            for (int k = 0; k < size[2] * size[3]; k++, rank++) {
                int c = k / size[3], t = k % size[3];
                const int at[TRI_AXES] = {p, d, c, t};
                tri_mesh_args args = {.n_ranks = n_ranks, .rank = rank};
                memcpy(args.size, size, sizeof args.size);
                tri_mesh *mesh = NULL;
                TRI_TRY(tri_mesh_create(&args, &mesh));
                for (int a = 0; a < TRI_AXES; a++) {
                    EXPECT(tri_mesh_coord(mesh, (tri_axis)a) == at[a],
                           "rank %d axis %s: %d, not %d", rank, tri_axis_name((tri_axis)a),
                           tri_mesh_coord(mesh, (tri_axis)a), at[a]);
                    EXPECT(tri_mesh_coord_of(mesh, rank, (tri_axis)a) == at[a], "rank %d", rank);
                }
                unsigned dc = TRI_AXIS_BIT(TRI_AXIS_DATA) | TRI_AXIS_BIT(TRI_AXIS_CONTEXT);
                EXPECT(tri_mesh_product(mesh, dc) == size[1] * size[2], "rank %d", rank);
                EXPECT(tri_mesh_index(mesh, dc) == d * size[2] + c, "rank %d", rank);
                EXPECT(tri_mesh_index(mesh, 15u) == rank && tri_mesh_product(mesh, 15u) == n_ranks,
                       "rank %d", rank);
                EXPECT(tri_mesh_index(mesh, 0) == 0 && tri_mesh_product(mesh, 0) == 1, "%d", rank);
                TRI_TRY(tri_mesh_declare(mesh, dc));
                EXPECT(!tri_mesh_comm(mesh, dc) && !tri_mesh_world(mesh), "a mesh on paper");
                tri_mesh_close(&mesh);
            }
    return TRI_OK;
}

TRI_TEST(coordinates_count_up)
{
    static const int sizes[][TRI_AXES] = {
        {1, 1, 1, 1},
        {1, 2, 1, 1},
        {2, 3, 1, 2},
        {3, 2, 4, 5}
    };
    for (int i = 0; i < 4; i++)
        TRI_TRY(mesh_check(sizes[i]));
    return TRI_OK;
}

TRI_TEST(sizes_that_do_not_fit_are_answered)
{
    tri_mesh *mesh = NULL;
    tri_mesh_args args = {
        .n_ranks = 8, .size = {1, 3, 1, 2}
    };
    EXPECT_STATUS(tri_mesh_create(&args, &mesh), TRI_EINVAL, "= 6 places for 8 ranks");
    args.size[TRI_AXIS_DATA] = 0;
    EXPECT_STATUS(tri_mesh_create(&args, &mesh), TRI_EINVAL, "axis data has size 0");
    args.size[TRI_AXIS_DATA] = 8;
    EXPECT_STATUS(tri_mesh_create(&args, &mesh), TRI_EINVAL, "more places");
    return TRI_OK;
}

/* Each rank of an axis' communicator tells its world rank; brute force says who must be there. */
static tri_status groups_check(tri_comm *world, void *arg)
{
    tri_mesh_args args = {.world = world};
    memcpy(args.size, arg, sizeof args.size);
    tri_mesh *mesh = NULL;
    TRI_TRY(tri_mesh_create(&args, &mesh));
    for (unsigned axes = 0; axes < 1u << TRI_AXES; axes++) {
        TRI_TRY(tri_mesh_declare(mesh, axes));
        TRI_TRY(tri_mesh_declare(mesh, axes));
        tri_comm *comm = tri_mesh_comm(mesh, axes);
        EXPECT(tri_comm_size(comm) == tri_mesh_product(mesh, axes), "axes %x", axes);
        EXPECT(tri_comm_rank(comm) == tri_mesh_index(mesh, axes), "axes %x", axes);
        int32_t mine = tri_mesh_rank(mesh), members[64];
        TRI_TRY(tri_allgather(comm, tri_span_make(&mine, 1, TRI_I32),
                              tri_span_make(members, tri_comm_size(comm), TRI_I32), NULL));
        int n = 0;
        for (int r = 0; r < tri_mesh_ranks(mesh); r++) {
            bool together = true;
            for (int a = 0; a < TRI_AXES; a++)
                together &= (axes & TRI_AXIS_BIT(a)) || tri_mesh_coord_of(mesh, r, (tri_axis)a) ==
                                                            tri_mesh_coord(mesh, (tri_axis)a);
            if (!together) continue;
            EXPECT(members[n] == r, "axes %x: member %d is rank %d, not %d", axes, n, members[n],
                   r);
            n++;
        }
    }
    /* groups of any shape: all ranks backwards, all but one */
    int rank = tri_mesh_rank(mesh), ranks = tri_mesh_ranks(mesh);
    tri_comm *group = NULL;
    size_t before = tri_mesh_comm_bytes(mesh);
    TRI_TRY(tri_mesh_group(mesh, ranks, 0, ranks - rank, &group));
    EXPECT(tri_comm_size(group) == ranks && tri_comm_rank(group) == ranks - 1 - rank,
           "rank %d is %d of %d", rank, tri_comm_rank(group), tri_comm_size(group));
    EXPECT(tri_mesh_comm_bytes(mesh) == before + tri_comm_buffer_bytes(ranks, ranks), "%zu, %zu",
           before, tri_mesh_comm_bytes(mesh));
    TRI_TRY(tri_mesh_group(mesh, ranks, rank == 0 ? -1 : 0, 0, &group));
    EXPECT((group == NULL) == (rank == 0), "rank %d", rank);
    tri_mesh_close(&mesh);
    return TRI_OK;
}

TRI_TEST(axes_have_communicators)
{
    TRI_AUTO(tri_device) *device = NULL;
    TRI_TRY(tri_device_create(&(tri_device_args){.name = "cpu", .n_threads = 1}, &device));
    tri_comm *self = NULL;
    TRI_TRY(tri_comm_open_self(device, &self));
    int one[TRI_AXES] = {1, 1, 1, 1};
    TRI_TRY(groups_check(self, one));
    tri_comm_close(&self);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(coordinates_count_up), TRI_TEST_ROW(sizes_that_do_not_fit_are_answered),
              TRI_TEST_ROW(axes_have_communicators))

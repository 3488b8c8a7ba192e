// SPDX-License-Identifier: Apache-2.0
/* Arithmetic of coordinates, and one communicator per declared set of axes. */
#include "runtime/mesh.h"

#include "runtime/base/alloc.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { MESH_SETS = 1 << TRI_AXES, MESH_GROUPS = 64 };

struct tri_mesh {
    tri_mesh_args args;
    bool declared[MESH_SETS];
    tri_comm *comms[MESH_SETS]; /* by set of axes */
    int n_groups;
    int group_size[MESH_GROUPS]; /* 0: this rank is in none */
    tri_comm *groups[MESH_GROUPS];
};

const char *tri_axis_name(tri_axis axis)
{
    static const char *const names[TRI_AXES] = {
#define X(id, name) [TRI_AXIS_##id] = name,
        TRI_AXIS_MAP(X)
#undef X
    };
    return names[axis];
}

tri_status tri_mesh_create(const tri_mesh_args *args, tri_mesh **out)
{
    int n_ranks = args->world ? tri_comm_size(args->world) : args->n_ranks;
    int rank = args->world ? tri_comm_rank(args->world) : args->rank;
    int64_t product = 1;
    for (int a = 0; a < TRI_AXES; a++) {
        TRI_CHECK(args->size[a] >= 1 && args->size[a] <= n_ranks, TRI_EINVAL,
                  "mesh axis %s has size %d: it must be 1 to %d, the number of ranks",
                  tri_axis_name((tri_axis)a), args->size[a], n_ranks);
        product *= args->size[a];
        TRI_CHECK(product <= n_ranks, TRI_EINVAL,
                  "the mesh has more places than the job has ranks (%d)", n_ranks);
    }
    TRI_CHECK(product == n_ranks && rank >= 0 && rank < n_ranks, TRI_EINVAL,
              "mesh pipeline %d * data %d * context %d * tensor %d = %lld places for %d ranks",
              args->size[TRI_AXIS_PIPELINE], args->size[TRI_AXIS_DATA],
              args->size[TRI_AXIS_CONTEXT], args->size[TRI_AXIS_TENSOR], (long long)product,
              n_ranks);
    tri_mesh *mesh = NULL;
    TRI_TRY(TRI_NEW(&mesh));
    mesh->args = *args;
    mesh->args.n_ranks = n_ranks;
    mesh->args.rank = rank;
    if (args->world)
        mesh->args.host_ranks = n_ranks / (tri_comm_host(args->world, n_ranks - 1) + 1);
    *out = mesh;
    return TRI_OK;
}

void tri_mesh_close(tri_mesh **mesh)
{
    if (!*mesh) return;
    for (int g = (*mesh)->n_groups - 1; g >= 0; g--)
        tri_comm_close(&(*mesh)->groups[g]);
    for (int set = MESH_SETS - 1; set >= 0; set--)
        tri_comm_close(&(*mesh)->comms[set]);
    TRI_FREE(*mesh);
}

/* "data x context" */
static void name_comm(tri_comm *comm, unsigned axes)
{
    char name[TRI_COMM_NAME_BYTES] = "";
    size_t n = 0;
    for (int a = 0; a < TRI_AXES && n < sizeof name; a++)
        if (axes & TRI_AXIS_BIT(a))
            n += (size_t)snprintf(name + n, sizeof name - n, "%s%s", n ? " x " : "",
                                  tri_axis_name((tri_axis)a));
    tri_comm_set_name(comm, name);
}

tri_status tri_mesh_declare(tri_mesh *mesh, unsigned axes)
{
    assert(axes < MESH_SETS);
    bool declared = mesh->declared[axes];
    mesh->declared[axes] = true;
    if (!mesh->args.world || declared) return TRI_OK;
    /* Ranks with the same coordinates on all other axes form a group. */
    int color = tri_mesh_index(mesh, ~axes & (MESH_SETS - 1));
    TRI_TRY(
        tri_comm_split(mesh->args.world, color, tri_mesh_index(mesh, axes), &mesh->comms[axes]));
    name_comm(mesh->comms[axes], axes);
    return TRI_OK;
}

tri_status tri_mesh_group(tri_mesh *mesh, int size, int color, int key, tri_comm **out)
{
    *out = NULL;
    TRI_CHECK(mesh->n_groups < MESH_GROUPS, TRI_EBUG, "more than %d groups on a mesh", MESH_GROUPS);
    int g = mesh->n_groups++;
    mesh->group_size[g] = color < 0 ? 0 : size;
    if (!mesh->args.world) return TRI_OK;
    TRI_TRY(tri_comm_split(mesh->args.world, color, key, &mesh->groups[g]));
    *out = mesh->groups[g];
    return TRI_OK;
}

/* Ranks on each host, of the `n` that have this rank's coordinates on all axes but `axes`: 0 where they
 * are not equally many neighbours. */
static int set_host_ranks(const tri_mesh *mesh, unsigned axes, int n)
{
    int host_ranks = mesh->args.host_ranks ? mesh->args.host_ranks : mesh->args.n_ranks;
    int run = 0, longest = 0, shortest = n, last = -1;
    for (int i = 0; i < n; i++) {
        int rank = 0, stride = 1, rest = i;
        for (int a = TRI_AXES - 1; a >= 0; a--) {
            int coord = tri_mesh_coord(mesh, (tri_axis)a);
            if (axes & TRI_AXIS_BIT(a)) {
                coord = rest % mesh->args.size[a];
                rest /= mesh->args.size[a];
            }
            rank += coord * stride;
            stride *= mesh->args.size[a];
        }
        bool same = rank / host_ranks == last;
        if (!same && i > 0 && run < shortest) shortest = run;
        run = same ? run + 1 : 1;
        if (run > longest) longest = run;
        last = rank / host_ranks;
    }
    if (run < shortest) shortest = run;
    return longest == shortest ? longest : 0;
}

size_t tri_mesh_comm_bytes(const tri_mesh *mesh)
{
    int n_ranks = mesh->args.n_ranks;
    size_t bytes = tri_comm_buffer_bytes(n_ranks, set_host_ranks(mesh, MESH_SETS - 1, n_ranks));
    for (unsigned set = 0; set < MESH_SETS; set++) {
        int n = tri_mesh_product(mesh, set);
        if (mesh->declared[set]) bytes += tri_comm_buffer_bytes(n, set_host_ranks(mesh, set, n));
    }
    for (int g = 0; g < mesh->n_groups; g++)
        if (mesh->group_size[g] > 0)
            bytes += tri_comm_buffer_bytes(mesh->group_size[g], mesh->group_size[g]);
    return bytes;
}

static void add_stats(const tri_comm *comm, tri_coll_stats *total)
{
    if (!comm || tri_comm_size(comm) < 2) return;
    tri_coll_stats stats = tri_comm_stats(comm);
    for (int kind = 0; kind < TRI_COLL_KINDS; kind++) {
        total->calls[kind] += stats.calls[kind];
        total->payload_bytes[kind] += stats.payload_bytes[kind];
    }
}

tri_coll_stats tri_mesh_stats(const tri_mesh *mesh)
{
    tri_coll_stats total = {0};
    add_stats(mesh->args.world, &total);
    for (unsigned set = 0; set < MESH_SETS; set++)
        add_stats(mesh->comms[set], &total);
    for (int g = 0; g < mesh->n_groups; g++)
        add_stats(mesh->groups[g], &total);
    return total;
}

tri_comm *tri_mesh_comm(const tri_mesh *mesh, unsigned axes)
{
    assert(axes < MESH_SETS && (mesh->comms[axes] || !mesh->args.world));
    return mesh->comms[axes];
}

tri_comm *tri_mesh_world(const tri_mesh *mesh)
{
    return mesh->args.world;
}

int tri_mesh_ranks(const tri_mesh *mesh)
{
    return mesh->args.n_ranks;
}

int tri_mesh_rank(const tri_mesh *mesh)
{
    return mesh->args.rank;
}

int tri_mesh_size(const tri_mesh *mesh, tri_axis axis)
{
    return mesh->args.size[axis];
}

int tri_mesh_coord(const tri_mesh *mesh, tri_axis axis)
{
    return tri_mesh_coord_of(mesh, mesh->args.rank, axis);
}

int tri_mesh_product(const tri_mesh *mesh, unsigned axes)
{
    int product = 1;
    for (int a = 0; a < TRI_AXES; a++)
        if (axes & TRI_AXIS_BIT(a)) product *= mesh->args.size[a];
    return product;
}

int tri_mesh_index(const tri_mesh *mesh, unsigned axes)
{
    int index = 0;
    for (int a = 0; a < TRI_AXES; a++)
        if (axes & TRI_AXIS_BIT(a))
            index = index * mesh->args.size[a] + tri_mesh_coord(mesh, (tri_axis)a);
    return index;
}

int tri_mesh_coord_of(const tri_mesh *mesh, int rank, tri_axis axis)
{
    for (int a = TRI_AXES - 1; a > (int)axis; a--)
        rank /= mesh->args.size[a];
    return rank % mesh->args.size[axis];
}

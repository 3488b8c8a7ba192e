// SPDX-License-Identifier: Apache-2.0
/* The ranks as an array with named axes, outermost first: pipeline, data, context, tensor (tensor
 * innermost: its ranks are neighbours and share a node). rank = ((p*Nd + d)*Nc + c)*Nt + t.
 * An axis or a product of axes gives a communicator, created once, on declaration.
 */
#ifndef TRI_RUNTIME_MESH_H
#define TRI_RUNTIME_MESH_H

#include "runtime/coll.h"

/* Outermost first. */
#define TRI_AXIS_MAP(X)     \
    X(PIPELINE, "pipeline") \
    X(DATA, "data")         \
    X(CONTEXT, "context")   \
    X(TENSOR, "tensor")

typedef enum tri_axis {
#define X(id, name) TRI_AXIS_##id,
    TRI_AXIS_MAP(X)
#undef X
        TRI_AXES
} tri_axis;

/* A set of axes. */
#define TRI_AXIS_BIT(axis) (1u << (axis))

typedef struct tri_mesh tri_mesh;

typedef struct tri_mesh_args {
    tri_comm *world;    /* NULL: a mesh on paper (trireme check), which has no communicators */
    int n_ranks;        /* used on paper */
    int rank;           /* used on paper: whose coordinates */
    int size[TRI_AXES]; /* each >= 1, product = number of ranks */
    int host_ranks;     /* used on paper: ranks of each host, neighbours; 0: one host */
} tri_mesh_args;

/* "pipeline", ... Not collective. */
const char *tri_axis_name(tri_axis axis);

/* Arrange the ranks. Collective: world (not on paper). Keeps: world.
 * Errors: TRI_EINVAL where the product of the sizes is not the number of ranks. */
TRI_MUST_USE tri_status tri_mesh_create(const tri_mesh_args *args, tri_mesh **out);

/* Close the communicators of the mesh. Collective: world; NULL is fine. */
void tri_mesh_close(tri_mesh **mesh);

/* Make the communicator of a product of axes (in the order of the ranks). Collective: world, same
 * axes in the same order of calls; a second declaration is free. Nothing on paper. */
TRI_MUST_USE tri_status tri_mesh_declare(tri_mesh *mesh, unsigned axes);

/* The communicator declared for these axes; NULL on paper. Not collective. */
tri_comm *tri_mesh_comm(const tri_mesh *mesh, unsigned axes);

/* Make the communicator of any other grouping: ranks of one `color`, `size` of them, ordered by `key`;
 * the mesh closes it. Collective: world, in the same order of calls; color < 0: *out = NULL.
 * On paper *out = NULL. */
TRI_MUST_USE tri_status tri_mesh_group(tri_mesh *mesh, int size, int color, int key,
                                       tri_comm **out);

/* Bytes of the buffers of all communicators made so far, the world's too; on paper those that would be
 * made. Groups of tri_mesh_group are taken to lie on one host each. Not collective. */
size_t tri_mesh_comm_bytes(const tri_mesh *mesh);

/* What the world and all communicators made so far have moved, those of one rank left out. Not
 * collective; nothing on paper. */
tri_coll_stats tri_mesh_stats(const tri_mesh *mesh);

/* World (NULL on paper), ranks in it, this rank, and an axis' size and this rank's place on it. Not
 * collective. */
tri_comm *tri_mesh_world(const tri_mesh *mesh);
int tri_mesh_ranks(const tri_mesh *mesh);
int tri_mesh_rank(const tri_mesh *mesh);
int tri_mesh_size(const tri_mesh *mesh, tri_axis axis);
int tri_mesh_coord(const tri_mesh *mesh, tri_axis axis);

/* Size of, and this rank's index in, a product of axes. Not collective. */
int tri_mesh_product(const tri_mesh *mesh, unsigned axes);
int tri_mesh_index(const tri_mesh *mesh, unsigned axes);

/* Coordinate of any rank on an axis. Not collective. */
int tri_mesh_coord_of(const tri_mesh *mesh, int rank, tri_axis axis);

#endif

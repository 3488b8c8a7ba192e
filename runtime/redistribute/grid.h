// SPDX-License-Identifier: Apache-2.0
/* A placement as classes of ranks: ranks of one class have the same box. Private to
 * runtime/redistribute*. Everything is arithmetic on coordinates; nothing visits all ranks.
 */
#ifndef TRI_RUNTIME_REDISTRIBUTE_GRID_H
#define TRI_RUNTIME_REDISTRIBUTE_GRID_H

#include "runtime/place.h"

/* coordinate on an axis = first + block * same + offset: the block says which class, the offset which
 * member of it. */
typedef struct tri_grid {
    tri_place place;
    int n_dims;
    int64_t shape[TRI_MAX_DIMS];
    int size[TRI_AXES], first[TRI_AXES], blocks[TRI_AXES], same[TRI_AXES];
    int members; /* of a class */
    int parts;   /* product of the partial axes */
} tri_grid;

/* Numbers of classes, in a list that grows. */
typedef struct tri_grid_classes {
    int64_t *id;
    int64_t n, max;
} tri_grid_classes;

/* Make the grid of a placement that tri_place_box accepts. Not collective. */
tri_grid tri_grid_make(const tri_place *place, const tri_mesh *mesh, int n_dims,
                       const int64_t *shape);

/* Class of a rank, -1 if it is off an at(c); *part: its index on the partial axes. Not collective. */
int64_t tri_grid_class(const tri_grid *grid, int rank, int *part);

/* Member `i` of a class: its rank; *part as above. Not collective. */
int tri_grid_member(const tri_grid *grid, int64_t id, int i, int *part);

/* The box of a class. Not collective. */
tri_box tri_grid_box(const tri_grid *grid, int64_t id);

/* Append the classes whose boxes meet `region`, which is not empty. Not collective. Cost: of those
 * classes alone. Errors: TRI_ENOMEM. */
TRI_MUST_USE tri_status tri_grid_find(const tri_grid *grid, const tri_box *region,
                                      tri_grid_classes *out);

#endif

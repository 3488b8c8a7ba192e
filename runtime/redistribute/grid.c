// SPDX-License-Identifier: Apache-2.0
/* Classes are numbered by their blocks, mixed radix, outermost axis first; members by their offsets. */
#include "runtime/redistribute/grid.h"

#include "runtime/base/alloc.h"
#include "runtime/base/int.h"

#include <string.h>

tri_grid tri_grid_make(const tri_place *place, const tri_mesh *mesh, int n_dims,
                       const int64_t *shape)
{
    tri_grid grid = {.place = *place, .n_dims = n_dims, .members = 1, .parts = 1};
    memcpy(grid.shape, shape, (size_t)n_dims * sizeof *shape);
    for (int a = 0; a < TRI_AXES; a++) {
        int size = tri_mesh_size(mesh, (tri_axis)a);
        tri_place_kind kind = place->axis[a].kind;
        grid.size[a] = size;
        grid.blocks[a] = 1;
        if (kind == TRI_SPLIT) grid.blocks[a] = place->axis[a].parts ? place->axis[a].parts : size;
        grid.same[a] = kind == TRI_AT ? 1 : size / grid.blocks[a];
        grid.first[a] = kind == TRI_AT ? place->axis[a].arg : 0;
        grid.members *= grid.same[a];
        if (kind == TRI_PARTIAL) grid.parts *= size;
    }
    return grid;
}

int64_t tri_grid_class(const tri_grid *grid, int rank, int *part)
{
    int64_t id = 0, stride = 1;
    int part_stride = 1;
    *part = 0;
    for (int a = TRI_AXES - 1; a >= 0; a--) {
        int coord = rank % grid->size[a] - grid->first[a];
        rank /= grid->size[a];
        if (coord < 0 || coord >= grid->blocks[a] * grid->same[a]) return -1;
        id += coord / grid->same[a] * stride;
        stride *= grid->blocks[a];
        if (grid->place.axis[a].kind != TRI_PARTIAL) continue;
        *part += coord * part_stride;
        part_stride *= grid->size[a];
    }
    return id;
}

int tri_grid_member(const tri_grid *grid, int64_t id, int i, int *part)
{
    int rank = 0, stride = 1, part_stride = 1;
    *part = 0;
    for (int a = TRI_AXES - 1; a >= 0; a--) {
        int offset = i % grid->same[a];
        int block = (int)(id % grid->blocks[a]);
        i /= grid->same[a];
        id /= grid->blocks[a];
        rank += (grid->first[a] + block * grid->same[a] + offset) * stride;
        stride *= grid->size[a];
        if (grid->place.axis[a].kind != TRI_PARTIAL) continue;
        *part += offset * part_stride;
        part_stride *= grid->size[a];
    }
    return rank;
}

static tri_box grid_whole(const tri_grid *grid)
{
    tri_box box = {.n_dims = grid->n_dims};
    memcpy(box.count, grid->shape, sizeof box.count);
    return box;
}

tri_box tri_grid_box(const tri_grid *grid, int64_t id)
{
    int block[TRI_AXES];
    for (int a = TRI_AXES - 1; a >= 0; a--) {
        block[a] = (int)(id % grid->blocks[a]);
        id /= grid->blocks[a];
    }
    tri_box box = grid_whole(grid);
    for (int a = 0; a < TRI_AXES; a++)
        if (grid->blocks[a] > 1)
            tri_box_split(&box, grid->place.axis[a].arg, block[a], grid->blocks[a]);
    return box;
}

/* Blocks of axis `axis` and below it that meet the region, of the classes numbered `id` so far. */
static tri_status find_below(const tri_grid *grid, const tri_box *region, int axis,
                             const tri_box *box, int64_t id, tri_grid_classes *out)
{
    while (axis < TRI_AXES && grid->blocks[axis] == 1)
        axis++;
    if (axis == TRI_AXES) {
        if (out->n == out->max) {
            int64_t max = out->max ? 2 * out->max : 16;
            TRI_TRY(tri_alloc_grow((void **)&out->id, out->max, max, sizeof *out->id));
            out->max = max;
        }
        out->id[out->n++] = id;
        return TRI_OK;
    }
    int d = grid->place.axis[axis].arg, blocks = grid->blocks[axis];
    int64_t n = box->count[d], block = n / blocks + (n % blocks != 0);
    int64_t begin = tri_max64(region->start[d] - box->start[d], 0);
    int64_t end = tri_min64(region->start[d] + region->count[d] - box->start[d], n);
    for (int64_t b = begin / tri_max64(block, 1); begin < end && b * block < end; b++) {
        tri_box part = *box;
        tri_box_split(&part, d, b, blocks);
        TRI_TRY(find_below(grid, region, axis + 1, &part, id * blocks + b, out));
    }
    return TRI_OK;
}

tri_status tri_grid_find(const tri_grid *grid, const tri_box *region, tri_grid_classes *out)
{
    tri_box whole = grid_whole(grid);
    TRI_TRY(find_below(grid, region, 0, &whole, 0, out));
    return TRI_OK;
}

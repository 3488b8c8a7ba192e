// SPDX-License-Identifier: Apache-2.0
/* Boxes of placed tensors. Everything here is arithmetic on coordinates: no communication, no
 * memory. A split gives coordinate c of N the block [c*b, (c+1)*b) with b = ceil(n/N), clipped at n;
 * two axes may split one dimension only where their sizes divide it, outer axis first.
 */
#include "runtime/place.h"

#include "runtime/base/int.h"

#include <assert.h>

int64_t tri_box_elements(const tri_box *box)
{
    int64_t elements = 1;
    for (int d = 0; d < box->n_dims; d++)
        elements *= box->count[d];
    return elements;
}

bool tri_box_intersect(const tri_box *a, const tri_box *b, tri_box *out)
{
    assert(a->n_dims == b->n_dims);
    tri_box common = {.n_dims = a->n_dims};
    for (int d = 0; d < a->n_dims; d++) {
        int64_t begin = tri_max64(a->start[d], b->start[d]);
        int64_t end = tri_min64(a->start[d] + a->count[d], b->start[d] + b->count[d]);
        if (begin >= end) return false;
        common.start[d] = begin;
        common.count[d] = end - begin;
    }
    *out = common;
    return true;
}

void tri_box_split(tri_box *box, int d, int64_t coord, int64_t parts)
{
    int64_t n = box->count[d];
    int64_t block = n / parts + (n % parts != 0);
    int64_t begin = tri_min64(coord * block, n);
    box->start[d] += begin;
    box->count[d] = tri_min64(block, n - begin);
}

/* Blocks into which a split cuts along its axis. */
static int split_parts(const tri_place *place, const tri_mesh *mesh, tri_axis axis)
{
    int parts = place->axis[axis].parts;
    return parts > 0 ? parts : tri_mesh_size(mesh, axis);
}

/* Sizes of the axes that split dimension d, multiplied; *n_axes counts those larger than 1. */
static int64_t place_parts(const tri_place *place, const tri_mesh *mesh, int d, int *n_axes)
{
    int64_t parts = 1;
    *n_axes = 0;
    for (int a = 0; a < TRI_AXES; a++) {
        if (place->axis[a].kind != TRI_SPLIT || place->axis[a].arg != d) continue;
        int blocks = split_parts(place, mesh, (tri_axis)a);
        parts *= blocks;
        *n_axes += blocks > 1;
    }
    return parts;
}

static tri_status place_check(const tri_place *place, const tri_mesh *mesh, int n_dims,
                              const int64_t *shape)
{
    TRI_CHECK(n_dims >= 1 && n_dims <= TRI_MAX_DIMS, TRI_EINVAL,
              "a tensor has 1 to %d dimensions, this one %d", TRI_MAX_DIMS, n_dims);
    for (int a = 0; a < TRI_AXES; a++) {
        int arg = place->axis[a].arg;
        const char *axis = tri_axis_name((tri_axis)a);
        if (place->axis[a].kind == TRI_SPLIT)
            TRI_CHECK(arg >= 0 && arg < n_dims, TRI_EINVAL,
                      "axis %s splits dimension %d of a tensor that has %d", axis, arg, n_dims);
        int size = tri_mesh_size(mesh, (tri_axis)a);
        if (place->axis[a].kind == TRI_SPLIT)
            TRI_CHECK(size % split_parts(place, mesh, (tri_axis)a) == 0, TRI_EINVAL,
                      "axis %s of %d ranks cannot be cut in %d parts", axis, size,
                      place->axis[a].parts);
        if (place->axis[a].kind == TRI_AT)
            TRI_CHECK(arg >= 0 && arg < size, TRI_EINVAL,
                      "a tensor is placed at coordinate %d of axis %s, which has %d", arg, axis,
                      size);
    }
    for (int d = 0; d < n_dims; d++) {
        int n_axes = 0;
        int64_t parts = place_parts(place, mesh, d, &n_axes);
        TRI_CHECK(n_axes < 2 || shape[d] % parts == 0, TRI_EINVAL,
                  "%d axes of %lld ranks together split dimension %d of %lld elements, which they "
                  "do not divide",
                  n_axes, (long long)parts, d, (long long)shape[d]);
    }
    return TRI_OK;
}

tri_status tri_place_box(const tri_place *place, const tri_mesh *mesh, int rank, int n_dims,
                         const int64_t *shape, tri_box *out)
{
    TRI_TRY(place_check(place, mesh, n_dims, shape));
    tri_box box = {.n_dims = n_dims};
    for (int d = 0; d < n_dims; d++)
        box.count[d] = shape[d];
    bool here = true;
    for (int a = 0; a < TRI_AXES; a++) {
        int coord = tri_mesh_coord_of(mesh, rank, (tri_axis)a);
        int arg = place->axis[a].arg;
        if (place->axis[a].kind == TRI_SPLIT) {
            int parts = split_parts(place, mesh, (tri_axis)a);
            tri_box_split(&box, arg, coord / (tri_mesh_size(mesh, (tri_axis)a) / parts), parts);
        } else if (place->axis[a].kind == TRI_AT && coord != arg)
            here = false;
    }
    for (int d = 0; d < n_dims && !here; d++)
        box.count[d] = 0;
    *out = box;
    return TRI_OK;
}

/* Append `lines` sub-blocks of dimension d, from `at` on, below the fixed indices of outer dims. */
static void cut_emit(const tri_box *box, const int64_t *index, int d, int64_t lines, int64_t offset,
                     tri_piece_box *out)
{
    *out = (tri_piece_box){.box = *box, .offset = offset};
    for (int k = 0; k < d; k++) {
        out->box.start[k] = box->start[k] + index[k];
        out->box.count[k] = 1;
    }
    out->box.start[d] = box->start[d] + index[d];
    out->box.count[d] = lines;
}

void tri_box_cut(const tri_box *box, int64_t begin, int64_t count, tri_piece_box out[TRI_MAX_BOXES],
                 int *n_out)
{
    int64_t inner[TRI_MAX_DIMS] = {1}; /* elements below one index of dimension d */
    int64_t elements = 1;
    for (int d = box->n_dims - 1; d >= 0; d--) {
        inner[d] = elements;
        elements *= box->count[d];
    }
    assert(begin >= 0 && count >= 0 && begin + count <= elements);

    /* Walk from `begin`: always take the largest aligned run, which grows towards dimension 0 and
     * then shrinks again: at most 2 n_dims - 1 runs. */
    int n = 0;
    int64_t at = begin;
    int64_t end = begin + count;
    while (at < end) {
        int d = 0;
        while (d + 1 < box->n_dims && (at % inner[d] != 0 || end - at < inner[d]))
            d++;
        int64_t index[TRI_MAX_DIMS];
        int64_t rest = at;
        for (int k = 0; k <= d; k++) {
            index[k] = rest / inner[k];
            rest -= index[k] * inner[k];
        }
        int64_t lines = tri_min64((end - at) / inner[d], box->count[d] - index[d]);
        assert(n < TRI_MAX_BOXES);
        cut_emit(box, index, d, lines, at - begin, &out[n++]);
        at += lines * inner[d];
    }
    *n_out = n;
}

bool tri_place_is_first(const tri_place *place, const tri_mesh *mesh, tri_axis axis)
{
    int coord = tri_mesh_coord(mesh, axis);
    switch (place->axis[axis].kind) {
    case TRI_SPLIT:
        return coord % (tri_mesh_size(mesh, axis) / split_parts(place, mesh, axis)) == 0;
    case TRI_AT:
        return coord == place->axis[axis].arg;
    default:
        return coord == 0;
    }
}

bool tri_place_is_writer(const tri_place *place, const tri_mesh *mesh)
{
    for (int a = 0; a < TRI_AXES; a++)
        if (!tri_place_is_first(place, mesh, (tri_axis)a)) return false;
    return true;
}

// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* Boxes against brute force: every element is looked up in a map of the whole tensor. */
#include "runtime/place.h"

#include "tests/test.h"

enum { MAX_ELEMENTS = 2048 };

static void tri_mesh_destroy(tri_mesh **mesh)
{
    tri_mesh_close(mesh);
}

static tri_status paper_mesh(int p, int d, int c, int t, int rank, tri_mesh **out)
{
    tri_mesh_args args = {
        .n_ranks = p * d * c * t, .rank = rank, .size = {p, d, c, t}
    };
    return tri_mesh_create(&args, out);
}

/* Flat index, in a box, of its element number `i` counted within `part`, which lies in it. */
static int64_t flat_in(const tri_box *box, const tri_box *part, int64_t i)
{
    int64_t flat = 0;
    int64_t stride = 1;
    for (int d = box->n_dims - 1; d >= 0; d--) {
        flat += (part->start[d] - box->start[d] + i % part->count[d]) * stride;
        i /= part->count[d];
        stride *= box->count[d];
    }
    return flat;
}

static bool cut_is_right(const tri_box *box, int64_t begin, int64_t count)
{
    tri_piece_box pieces[TRI_MAX_BOXES];
    int n = 0;
    tri_box_cut(box, begin, count, pieces, &n);
    int64_t next = begin;
    for (int p = 0; p < n; p++) {
        if (pieces[p].offset != next - begin || pieces[p].box.n_dims != box->n_dims) return false;
        int64_t elements = tri_box_elements(&pieces[p].box);
        for (int64_t i = 0; i < elements; i++)
            if (flat_in(box, &pieces[p].box, i) != next++) return false;
    }
    return next == begin + count && n <= 2 * box->n_dims - 1;
}

TRI_TEST(every_range_of_small_boxes_is_cut_into_boxes)
{
    for (int code = 0; code < 4 * 81; code++) {
        tri_box box = {.n_dims = 1 + code / 81};
        for (int d = 0, rest = code % 81; d < box.n_dims; d++, rest /= 3) {
            box.start[d] = 5 * d;
            box.count[d] = 1 + rest % 3;
        }
        int64_t elements = tri_box_elements(&box);
        for (int64_t begin = 0; begin <= elements; begin++)
            for (int64_t count = 0; begin + count <= elements; count++)
                EXPECT(cut_is_right(&box, begin, count), "%d dims, code %d, [%lld, +%lld)",
                       box.n_dims, code, (long long)begin, (long long)count);
    }
    tri_box empty = {
        .n_dims = 2, .count = {0, 3}
    };
    EXPECT(cut_is_right(&empty, 0, 0), "nothing of nothing");
    return TRI_OK;
}

TRI_TEST(intersection_equals_membership)
{
    for (int code = 0; code < 6 * 6 * 6 * 6; code++) {
        int v[4] = {code % 6, code / 6 % 6, code / 36 % 6, code / 216};
        tri_box a = {
            2, {v[0], 1},
             {v[1], 3}
        };
        tri_box b = {
            2, {v[2], 2},
             {v[3], 5}
        };
        int64_t first = -1;
        int64_t n = 0;
        for (int i = 0; i < 12; i++) {
            if (i < v[0] || i >= v[0] + v[1] || i < v[2] || i >= v[2] + v[3]) continue;
            if (first < 0) first = i;
            n++;
        }
        tri_box common;
        bool any = tri_box_intersect(&a, &b, &common);
        EXPECT(any == (n > 0), "code %d", code);
        if (any)
            EXPECT(common.start[0] == first && common.count[0] == n && common.start[1] == 2 &&
                       common.count[1] == 2,
                   "code %d", code);
    }
    return TRI_OK;
}

/* Each element must be held by exactly `copies` ranks, and written by one. */
static tri_status cover(const int size[4], tri_place place, int n_dims, const int64_t *shape,
                        int copies)
{
    tri_box whole = {.n_dims = n_dims};
    memcpy(whole.count, shape, (size_t)n_dims * sizeof *shape);
    int held[MAX_ELEMENTS] = {0};
    int written[MAX_ELEMENTS] = {0};
    int n_ranks = size[0] * size[1] * size[2] * size[3];
    for (int rank = 0; rank < n_ranks; rank++) {
        TRI_AUTO(tri_mesh) *mesh = NULL;
        TRI_TRY(paper_mesh(size[0], size[1], size[2], size[3], rank, &mesh));
        tri_box box;
        TRI_TRY(tri_place_box(&place, mesh, rank, n_dims, shape, &box));
        bool writer = tri_place_is_writer(&place, mesh);
        for (int64_t i = 0; i < tri_box_elements(&box); i++) {
            held[flat_in(&whole, &box, i)]++;
            written[flat_in(&whole, &box, i)] += writer;
        }
    }
    for (int64_t i = 0; i < tri_box_elements(&whole); i++)
        EXPECT(held[i] == copies && written[i] == 1, "element %lld: held %d, written %d",
               (long long)i, held[i], written[i]);
    return TRI_OK;
}

static tri_place split(tri_axis axis, int dim)
{
    tri_place place = {0};
    place.axis[axis].kind = TRI_SPLIT;
    place.axis[axis].arg = dim;
    return place;
}

TRI_TEST(ranks_together_hold_every_element)
{
    for (int64_t n = 1; n <= 9; n++) {
        const int64_t shape[] = {n, 6, 2};
        const int size[4] = {1, 2, 1, 4};
        TRI_TRY(cover(size, (tri_place){0}, 3, shape, 8));
        TRI_TRY(cover(size, split(TRI_AXIS_TENSOR, 0), 3, shape, 2));
        TRI_TRY(cover(size, split(TRI_AXIS_DATA, 1), 3, shape, 4));
        tri_place both = split(TRI_AXIS_TENSOR, 0);
        both.axis[TRI_AXIS_DATA].kind = TRI_SPLIT;
        both.axis[TRI_AXIS_DATA].arg = 1;
        TRI_TRY(cover(size, both, 3, shape, 1));
    }
    const int64_t even[] = {8, 3};
    tri_place parts = split(TRI_AXIS_TENSOR, 0);
    parts.axis[TRI_AXIS_TENSOR].parts = 2;
    TRI_TRY(cover((const int[]){1, 2, 1, 4}, parts, 2, even, 4));
    tri_place nested = split(TRI_AXIS_TENSOR, 0);
    nested.axis[TRI_AXIS_DATA] = nested.axis[TRI_AXIS_TENSOR];
    TRI_TRY(cover((const int[]){1, 2, 1, 4}, nested, 2, even, 1));
    tri_place at = split(TRI_AXIS_TENSOR, 1);
    at.axis[TRI_AXIS_PIPELINE].kind = TRI_AT;
    at.axis[TRI_AXIS_PIPELINE].arg = 2;
    TRI_TRY(cover((const int[]){3, 2, 1, 2}, at, 2, even, 2));
    return TRI_OK;
}

TRI_TEST(blocks_are_rounded_up_and_the_last_ones_short_or_empty)
{
    const int64_t shape[] = {5, 2};
    const int64_t want[4][2] = {
        {0, 2},
        {2, 2},
        {4, 1},
        {5, 0}
    };
    tri_place place = split(TRI_AXIS_TENSOR, 0);
    TRI_AUTO(tri_mesh) *mesh = NULL;
    TRI_TRY(paper_mesh(1, 1, 1, 4, 0, &mesh));
    for (int rank = 0; rank < 4; rank++) {
        tri_box box;
        TRI_TRY(tri_place_box(&place, mesh, rank, 2, shape, &box));
        EXPECT(box.start[0] == want[rank][0] && box.count[0] == want[rank][1],
               "rank %d holds [%lld, +%lld)", rank, (long long)box.start[0],
               (long long)box.count[0]);
    }
    return TRI_OK;
}

TRI_TEST(impossible_placements_are_refused)
{
    TRI_AUTO(tri_mesh) *mesh = NULL;
    TRI_TRY(paper_mesh(1, 2, 1, 4, 0, &mesh));
    const int64_t shape[] = {12, 3};
    tri_box box;
    tri_place nested = split(TRI_AXIS_TENSOR, 0);
    nested.axis[TRI_AXIS_DATA] = nested.axis[TRI_AXIS_TENSOR];
    EXPECT_STATUS(tri_place_box(&nested, mesh, 0, 2, shape, &box), TRI_EINVAL,
                  "8 ranks together split dimension 0 of 12");
    tri_place beyond = split(TRI_AXIS_TENSOR, 2);
    EXPECT_STATUS(tri_place_box(&beyond, mesh, 0, 2, shape, &box), TRI_EINVAL,
                  "axis tensor splits dimension 2");
    tri_place parts = split(TRI_AXIS_TENSOR, 0);
    parts.axis[TRI_AXIS_TENSOR].parts = 3;
    EXPECT_STATUS(tri_place_box(&parts, mesh, 0, 2, shape, &box), TRI_EINVAL,
                  "axis tensor of 4 ranks cannot be cut in 3 parts");
    tri_place at = {0};
    at.axis[TRI_AXIS_DATA].kind = TRI_AT;
    at.axis[TRI_AXIS_DATA].arg = 2;
    EXPECT_STATUS(tri_place_box(&at, mesh, 0, 2, shape, &box), TRI_EINVAL, "coordinate 2");
    EXPECT_STATUS(tri_place_box(&at, mesh, 0, 5, shape, &box), TRI_EINVAL, "this one 5");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(every_range_of_small_boxes_is_cut_into_boxes),
              TRI_TEST_ROW(intersection_equals_membership),
              TRI_TEST_ROW(ranks_together_hold_every_element),
              TRI_TEST_ROW(blocks_are_rounded_up_and_the_last_ones_short_or_empty),
              TRI_TEST_ROW(impossible_placements_are_refused))

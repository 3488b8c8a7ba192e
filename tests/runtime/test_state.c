// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* The state table, and initial values that do not know how a row is cut. */
#include "runtime/state.h"

#include "tests/test.h"

enum { ROWS = 6, COLUMNS = 8, DEPTH = 5, CELLS = ROWS * COLUMNS * DEPTH };

static void tri_mesh_destroy(tri_mesh **mesh)
{
    tri_mesh_close(mesh);
}

static tri_status paper_mesh(int d, int t, int rank, tri_mesh **out)
{
    tri_mesh_args args = {
        .n_ranks = d * t, .rank = rank, .size = {1, d, 1, t}
    };
    return tri_mesh_create(&args, out);
}

static tri_row cube(int split_dim)
{
    tri_row row = {
        .name = "param/cube",
        .dtype = TRI_F32,
        .n_dims = 3,
        .shape = {ROWS, COLUMNS,     DEPTH},
        .init = {TRI_INIT_NORMAL,    0.5f}
    };
    if (split_dim >= 0) {
        row.place.axis[TRI_AXIS_TENSOR].kind = TRI_SPLIT;
        row.place.axis[TRI_AXIS_TENSOR].arg = split_dim;
    }
    return row;
}

TRI_TEST(rows_are_found_and_stay_where_they_are)
{
    TRI_AUTO(tri_mesh) *mesh = NULL;
    TRI_AUTO(tri_state) *state = NULL;
    TRI_TRY(paper_mesh(1, 1, 0, &mesh));
    TRI_TRY(tri_state_create(mesh, &state));
    tri_row row = cube(-1);
    int index = -1;
    TRI_TRY(tri_state_add(state, &row, &index));
    const tri_row *first = tri_state_row(state, 0);
    EXPECT(index == 0 && first->count == CELLS, "held %lld", (long long)first->count);
    for (int i = 1; i < 1500; i++) {
        snprintf(row.name, sizeof row.name, "param/layers.%d.weight", i);
        TRI_TRY(tri_state_add(state, &row, NULL));
    }
    EXPECT(tri_state_row(state, 0) == first, "row 0 moved");
    for (int i = 1; i < 1500; i++) {
        snprintf(row.name, sizeof row.name, "param/layers.%d.weight", i);
        EXPECT(tri_state_find(state, row.name) == i, "%s", row.name);
    }
    EXPECT(tri_state_find(state, "param/layers.1500.weight") == -1, "there is none");
    EXPECT(tri_state_mesh(state) == mesh && tri_state_rows(state) == 1500, "rows");
    return TRI_OK;
}

TRI_TEST(impossible_rows_are_refused)
{
    TRI_AUTO(tri_mesh) *mesh = NULL;
    TRI_AUTO(tri_state) *state = NULL;
    TRI_TRY(paper_mesh(2, 1, 0, &mesh));
    TRI_TRY(tri_state_create(mesh, &state));
    tri_row row = cube(-1);
    TRI_TRY(tri_state_add(state, &row, NULL));
    EXPECT_STATUS(tri_state_add(state, &row, NULL), TRI_EINVAL, "'param/cube': the name is taken");
    static const char *const bad[] = {"", "/", "a/", "/a", "a//b", ".", "a/../b", "a/."};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(row.name, sizeof row.name, "%s", bad[i]);
        EXPECT_STATUS(tri_state_add(state, &row, NULL), TRI_EINVAL, "a name is a path");
    }
    memset(row.name, 'x', sizeof row.name);
    EXPECT_STATUS(tri_state_add(state, &row, NULL), TRI_EINVAL, "longer than 95");
    row = cube(-1);
    snprintf(row.name, sizeof row.name, "param/other");
    row.shape[1] = 0;
    EXPECT_STATUS(tri_state_add(state, &row, NULL), TRI_EINVAL, "dimension 1 is 0");
    row.shape[1] = INT64_MAX / 2;
    EXPECT_STATUS(tri_state_add(state, &row, NULL), TRI_EINVAL, "more than 2^63");
    row = cube(-1);
    snprintf(row.name, sizeof row.name, "param/other");
    row.n_dims = 0;
    EXPECT_STATUS(tri_state_add(state, &row, NULL), TRI_EINVAL, "0 dimensions");
    row.n_dims = 3;
    row.place.axis[TRI_AXIS_DATA].kind = TRI_PARTIAL;
    EXPECT_STATUS(tri_state_add(state, &row, NULL), TRI_EINVAL, "partial sum over axis data");
    EXPECT(tri_state_rows(state) == 1, "%d rows", tri_state_rows(state));
    return TRI_OK;
}

/* Draw the range [begin, begin + count) of rank `rank`'s box and compare with the whole tensor. */
static tri_status draw_part(int split_dim, int rank, int64_t begin, int64_t count,
                            const float *whole)
{
    TRI_AUTO(tri_mesh) *mesh = NULL;
    TRI_AUTO(tri_state) *state = NULL;
    TRI_TRY(paper_mesh(1, split_dim < 0 ? 1 : 4, rank, &mesh));
    TRI_TRY(tri_state_create(mesh, &state));
    tri_row row = cube(split_dim);
    TRI_TRY(tri_state_add(state, &row, NULL));
    const tri_row *held = tri_state_row(state, 0);
    if (count < 0) count = held->count;
    float part[CELLS + 1];
    part[count] = -77;
    tri_state_hold(state, 0, begin, count, part);
    TRI_TRY(tri_row_initialise(held, mesh, 5));
    EXPECT(part[count] == -77, "wrote beyond the held part");

    tri_piece_box pieces[TRI_MAX_BOXES];
    int n = 0;
    TRI_TRY(tri_row_boxes(held, mesh, pieces, &n));
    for (int p = 0; p < n; p++) {
        const tri_box *box = &pieces[p].box;
        for (int64_t i = 0; i < tri_box_elements(box); i++) {
            int64_t z = box->start[2] + i % box->count[2];
            int64_t y = box->start[1] + i / box->count[2] % box->count[1];
            int64_t x = box->start[0] + i / box->count[2] / box->count[1];
            int64_t global = (x * COLUMNS + y) * DEPTH + z;
            EXPECT(part[pieces[p].offset + i] == whole[global], "split %d, rank %d, element %lld",
                   split_dim, rank, (long long)global);
        }
    }
    return TRI_OK;
}

TRI_TEST(initial_values_do_not_depend_on_the_cut)
{
    float whole[CELLS];
    tri_rng rng = {5, tri_rng_stream_of("param/cube"), TRI_RNG_INIT};
    tri_rng_normal(rng, 0, CELLS, 0, 0.5f, whole);
    TRI_TRY(draw_part(-1, 0, 0, -1, whole));
    for (int dim = 0; dim < 3; dim++)
        for (int rank = 0; rank < 4; rank++)
            TRI_TRY(draw_part(dim, rank, 0, -1, whole));
    for (int64_t begin = 0; begin < 60; begin += 7)
        for (int64_t count = 0; begin + count <= 60; count += 3)
            TRI_TRY(draw_part(1, 2, begin, count, whole));
    return TRI_OK;
}

TRI_TEST(zeros_ones_and_wrong_types)
{
    TRI_AUTO(tri_mesh) *mesh = NULL;
    TRI_TRY(paper_mesh(1, 1, 0, &mesh));
    float data[3] = {5, 5, 5};
    tri_row row = {.name = "x", .dtype = TRI_F32, .n_dims = 1, .shape = {3}, .count = 3};
    EXPECT_STATUS(tri_row_initialise(&row, mesh, 1), TRI_EBUG, "before it has memory");
    row.data = data;
    TRI_TRY(tri_row_initialise(&row, mesh, 1));
    EXPECT(data[0] == 0 && data[2] == 0, "%g", (double)data[0]);
    row.init.kind = TRI_INIT_ONE;
    TRI_TRY(tri_row_initialise(&row, mesh, 1));
    EXPECT(data[0] == 1 && data[2] == 1, "%g", (double)data[0]);
    row.dtype = TRI_I64;
    EXPECT_STATUS(tri_row_initialise(&row, mesh, 1), TRI_EINVAL, "this one is int64");
    row.count = 4;
    tri_piece_box pieces[TRI_MAX_BOXES];
    int n = 0;
    EXPECT_STATUS(tri_row_boxes(&row, mesh, pieces, &n), TRI_EBUG, "[0, 4) are held of a local");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(rows_are_found_and_stay_where_they_are),
              TRI_TEST_ROW(impossible_rows_are_refused),
              TRI_TEST_ROW(initial_values_do_not_depend_on_the_cut),
              TRI_TEST_ROW(zeros_ones_and_wrong_types))

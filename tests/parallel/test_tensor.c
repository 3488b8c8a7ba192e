// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* The tensor axis: regions, blocks and pieces against counting; gather and reduce against sums made
 * here; messages against the prediction; refusals. Ranks are threads (tri_comm_run_threads).
 */
#include "tests/parallel/tensor_expect.h"

static float value(int rank, int64_t i)
{
    return (float)((rank * 31 + i * 7) % 61); /* small integers: any order of summation is exact */
}

static tri_status moves_body(tri_comm *world, void *arg)
{
    const layout *of = arg;
    if (of->dtype == TRI_BF16 || of->apart || of->chunks > 1) return TRI_OK;
    RIG(r);
    TRI_TRY(rig_create(&r, world, of));
    TRI_TRY(rig_commit(&r));
    int64_t rows = of->variant == 0 ? ROWS : ROWS - 4; /* fewer than the buffers hold */
    int64_t outer = of->sequence ? rows / of->ranks : rows;
    int64_t first = of->sequence ? outer * r.axis.index : 0;
    EXPECT(tri_tensor_outer_rows(&r.axis, rows) == outer &&
               tri_tensor_outer_first(&r.axis, rows) == first,
           "outer rows of %lld over %d", (long long)rows, of->ranks);

    start_counting(&r);
    float *mine = take(&r, rows * C);
    for (int64_t i = 0; i < outer * C; i++)
        mine[i] = value(0, first * C + i);
    const void *all = NULL;
    TRI_TRY(tri_tensor_gather(&r.axis, TRI_F32, rows, mine, NULL, &all, NULL));
    for (int64_t i = 0; i < rows * C; i++)
        EXPECT(((const float *)all)[i] == value(0, i), "element %lld", (long long)i);
    EXPECT(all == (tri_tensor_is_shared(&r.axis) ? r.axis.gathered : mine), "gathered elsewhere");
    float *into = take(&r, rows * C);
    tri_event event;
    TRI_TRY(tri_tensor_gather(&r.axis, TRI_F32, rows, mine, into, &all, &event));
    TRI_TRY(tri_event_wait(event));
    for (int64_t i = 0; i < rows * C; i++)
        EXPECT(((const float *)all)[i] == value(0, i), "element %lld", (long long)i);

    float *partial = tri_tensor_partial(&r.axis, mine);
    for (int64_t i = 0; i < rows * C; i++)
        partial[i] = value(r.axis.index, i);
    TRI_TRY(tri_tensor_reduce(&r.axis, TRI_F32, rows, mine));
    for (int64_t i = 0; i < outer * C; i++) {
        float sum = 0;
        for (int rank = 0; rank < of->ranks; rank++)
            sum += value(rank, first * C + i);
        EXPECT(mine[i] == sum, "element %lld: %g, want %g", (long long)i, (double)mine[i],
               (double)sum);
    }
    tri_traffic_list list = {0};
    tri_tensor_moves moves = {
        .what = "test", .rows = rows, .dtype = TRI_F32, .gathers = 2, .reduces = 1};
    tri_tensor_traffic(&r.axis, &moves, &list);
    expect_traffic(&r, &list);
    return TRI_OK;
}

TRI_TEST(rows_are_gathered_and_summed)
{
    return for_layouts(moves_body, 2);
}

TRI_TEST(blocks_and_pieces_cover)
{
    for (int size = 1; size <= 5; size++)
        for (int64_t n = 1; n < 14; n++) {
            int64_t next = 0;
            for (int index = 0; index < size; index++) {
                int64_t first = -1;
                int64_t count = -1;
                tri_tensor_axis axis = {.size = size, .index = index};
                tri_tensor_block(&axis, n, &first, &count);
                EXPECT(first == next && count >= 0, "block %d of %lld over %d", index, (long long)n,
                       size);
                EXPECT(count == (n + size - 1) / size || first + count == n, "short in the middle");
                next += count;
            }
            EXPECT(next == n, "blocks of %lld hold %lld", (long long)n, (long long)next);
            tri_tensor_axis axis = {.size = size, .sequence = n % 2, .chunks = 4};
            int64_t rows = n * size;
            int pieces = tri_tensor_pieces(&axis, rows);
            EXPECT(pieces >= 1 && pieces <= 4 && (size > 1 || pieces == 1), "%d pieces", pieces);
            EXPECT(tri_tensor_piece_first(&axis, rows, 0) == 0 &&
                       tri_tensor_piece_first(&axis, rows, pieces) ==
                           tri_tensor_outer_rows(&axis, rows),
                   "pieces do not cover %lld rows", (long long)rows);
            for (int i = 0; i < pieces; i++)
                EXPECT(tri_tensor_piece_first(&axis, rows, i) <
                           tri_tensor_piece_first(&axis, rows, i + 1),
                       "piece %d is empty", i);
        }
    return TRI_OK;
}

TRI_TEST(what_does_not_divide_is_refused)
{
    tri_mesh *mesh = NULL;
    tri_mesh_args args = {
        .n_ranks = 4, .size = {1, 1, 1, 4}
    };
    TRI_TRY(tri_mesh_create(&args, &mesh));
    tri_tensor_axis axis = {0};
    EXPECT_STATUS(tri_tensor_axis_make(mesh, true, 1, 30, 8, &axis), TRI_EINVAL,
                  "parallel.tensor_sequence: the 30 tokens");
    EXPECT_STATUS(tri_tensor_axis_make(mesh, false, 65, 30, 8, &axis), TRI_EINVAL,
                  "parallel.tensor_chunks");
    EXPECT_STATUS(tri_tensor_axis_make(mesh, false, 0, 30, 8, &axis), TRI_EINVAL, "not 0");
    TRI_TRY(tri_tensor_axis_make(mesh, false, 1, 30, 8, &axis));
    EXPECT(axis.size == 4 && axis.index == 0 && !axis.comm, "an axis on paper");
    TRI_TRY(tri_tensor_axis_make(mesh, true, 1, 32, 8, &axis));
    const void *all = NULL;
    EXPECT_STATUS(tri_tensor_gather(&axis, TRI_F32, 30, NULL, NULL, &all, NULL), TRI_EINVAL,
                  "30 rows shared out over 4");
    EXPECT_STATUS(tri_tensor_reduce(&axis, TRI_F32, 36, NULL), TRI_EINVAL, "hold 32");

    TRI_AUTO(tri_arena) *arena = NULL;
    TRI_TRY(tri_arena_create(&arena));
    TRI_TRY(tri_tensor_axis_declare(&axis, arena, TRI_BF16));
    size_t bytes = tri_arena_bytes(arena, TRI_MEM_COMM);
    EXPECT(bytes == (size_t)2 * 32 * 8 * 2, "%zu bytes", bytes);
    tri_mesh_close(&mesh);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(rows_are_gathered_and_summed), TRI_TEST_ROW(blocks_and_pieces_cover),
              TRI_TEST_ROW(what_does_not_divide_is_refused))

// SPDX-License-Identifier: Apache-2.0
/* The two moves between the regions of a tensor axis. */
#include "parallel/tensor.h"

#include "runtime/base/int.h"

#include <assert.h>
#include <stdio.h>

tri_status tri_tensor_axis_make(const tri_mesh *mesh, bool sequence, int chunks, int64_t rows,
                                int64_t width, tri_tensor_axis *out)
{
    int size = tri_mesh_size(mesh, TRI_AXIS_TENSOR);
    TRI_CHECK(chunks >= 1 && chunks <= TRI_TENSOR_MAX_CHUNKS, TRI_EINVAL,
              "parallel.tensor_chunks: products are cut in 1 to %d pieces, not %d",
              TRI_TENSOR_MAX_CHUNKS, chunks);
    TRI_CHECK(!sequence || rows % size == 0, TRI_EINVAL,
              "parallel.tensor_sequence: the %lld tokens of a micro-batch do not divide among %d "
              "tensor ranks; their number must be a multiple of that, or the key false",
              (long long)rows, size);
    *out = (tri_tensor_axis){
        .comm = size > 1 ? tri_mesh_comm(mesh, TRI_AXIS_BIT(TRI_AXIS_TENSOR)) : NULL,
        .size = size,
        .index = tri_mesh_coord(mesh, TRI_AXIS_TENSOR),
        .sequence = sequence,
        .chunks = chunks,
        .rows = rows,
        .width = width,
    };
    return TRI_OK;
}

tri_status tri_tensor_axis_declare(tri_tensor_axis *axis, tri_arena *arena, tri_dtype dtype)
{
    if (!tri_tensor_is_shared(axis)) return TRI_OK;
    int64_t count = 0;
    TRI_TRY(tri_product(2, (const int64_t[]){axis->rows, axis->width}, &count));
    TRI_TRY(tri_arena_add(arena, TRI_MEM_COMM, count, dtype, &axis->gathered));
    return tri_arena_add(arena, TRI_MEM_COMM, count, dtype, &axis->partial);
}

void tri_tensor_block(const tri_tensor_axis *axis, int64_t n, int64_t *first, int64_t *count)
{
    int64_t block = (n + axis->size - 1) / axis->size;
    *first = tri_min64(n, block * axis->index);
    *count = tri_min64(block, n - *first);
}

bool tri_tensor_is_shared(const tri_tensor_axis *axis)
{
    return axis->size > 1 && axis->sequence;
}

int64_t tri_tensor_outer_rows(const tri_tensor_axis *axis, int64_t rows)
{
    return tri_tensor_is_shared(axis) ? rows / axis->size : rows;
}

int64_t tri_tensor_outer_first(const tri_tensor_axis *axis, int64_t rows)
{
    return tri_tensor_is_shared(axis) ? rows / axis->size * axis->index : 0;
}

tri_status tri_tensor_check_rows(const tri_tensor_axis *axis, int64_t rows)
{
    if (!tri_tensor_is_shared(axis)) return TRI_OK;
    TRI_CHECK(
        rows >= 0 && rows <= axis->rows && rows % axis->size == 0, TRI_EINVAL,
        "%lld rows shared out over %d tensor ranks whose buffers hold %lld: their number must "
        "be a multiple of the ranks and no larger",
        (long long)rows, axis->size, (long long)axis->rows);
    return TRI_OK;
}

tri_status tri_tensor_gather(const tri_tensor_axis *axis, tri_dtype dtype, int64_t rows,
                             const void *outer, void *into, const void **full, tri_event *event)
{
    if (event) *event = (tri_event){0};
    *full = outer;
    if (!tri_tensor_is_shared(axis)) return TRI_OK;
    TRI_TRY(tri_tensor_check_rows(axis, rows));
    int64_t count = rows * axis->width;
    *full = into ? into : axis->gathered;
    TRI_TRY(tri_allgather(axis->comm, tri_span_make(outer, count / axis->size, dtype),
                          tri_span_make(*full, count, dtype), event));
    return TRI_OK;
}

void *tri_tensor_partial(const tri_tensor_axis *axis, void *outer)
{
    return tri_tensor_is_shared(axis) ? axis->partial : outer;
}

tri_status tri_tensor_reduce(const tri_tensor_axis *axis, tri_dtype dtype, int64_t rows,
                             void *outer)
{
    if (axis->size == 1) return TRI_OK;
    int64_t count = rows * axis->width;
    if (!axis->sequence) {
        TRI_TRY(tri_allreduce(axis->comm, (tri_span){outer, count, dtype}, TRI_SUM, NULL));
        return TRI_OK;
    }
    TRI_TRY(tri_tensor_check_rows(axis, rows));
    TRI_TRY(tri_reduce_scatter(axis->comm, (tri_span){axis->partial, count, dtype},
                               (tri_span){outer, count / axis->size, dtype}, NULL));
    return TRI_OK;
}

int tri_tensor_pieces(const tri_tensor_axis *axis, int64_t rows)
{
    if (axis->size == 1) return 1;
    int64_t most = tri_max64(1, tri_tensor_outer_rows(axis, rows));
    return (int)tri_min64(axis->chunks, most);
}

int64_t tri_tensor_piece_first(const tri_tensor_axis *axis, int64_t rows, int piece)
{
    return tri_tensor_outer_rows(axis, rows) * piece / tri_tensor_pieces(axis, rows);
}

static void add(const tri_tensor_axis *axis, const tri_tensor_moves *moves, tri_coll_kind kind,
                int64_t calls, int64_t whole, tri_traffic_list *list)
{
    int64_t bytes = moves->rows * axis->width * (int64_t)tri_dtype_bytes(moves->dtype);
    if (kind == TRI_COLL_ALLGATHER) bytes /= axis->size;
    tri_traffic traffic = {.group = "tensor", .ranks = axis->size, .kind = kind};
    snprintf(traffic.what, sizeof traffic.what, "%s", moves->what);
    traffic.calls = calls;
    traffic.payload_bytes = whole * bytes;
    tri_traffic_add(list, &traffic);
}

void tri_tensor_traffic(const tri_tensor_axis *axis, const tri_tensor_moves *moves,
                        tri_traffic_list *list)
{
    int64_t pieces = tri_tensor_pieces(axis, moves->rows);
    int64_t gathers = moves->gathers + moves->cut_gathers;
    int64_t reduces = moves->reduces + moves->cut_reduces;
    if (axis->sequence)
        add(axis, moves, TRI_COLL_ALLGATHER, moves->gathers + moves->cut_gathers * pieces, gathers,
            list);
    add(axis, moves, axis->sequence ? TRI_COLL_REDUCE_SCATTER : TRI_COLL_ALLREDUCE,
        moves->reduces + moves->cut_reduces * pieces, reduces, list);
}

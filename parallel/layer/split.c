// SPDX-License-Identifier: Apache-2.0
/* Split products and their collectives, whole or in pieces.
 *
 * A piece of a shared outer region is a run of every rank's rows: gathered, it is a block of its own in
 * axis->gathered, of which each rank's run is multiplied to its place among all rows; partial sums
 * are written in such blocks to axis->partial and scattered from there.
 */
#include "parallel/layer/split.h"

/* What is multiplied: rows of `a` with the linear layer's weights. */
typedef struct split_product {
    const tri_layer_call *call;
    const tri_linear *linear;
    bool backward; /* dx = dy W; else y = x W^T + b */
    int64_t a_width, c_width;
    void *scratch; /* of backward */
} split_product;

static split_product forward_of(const tri_layer_call *call, const tri_linear *linear)
{
    return (split_product){call, linear, false, linear->in, tri_linear_out(linear), NULL};
}

static split_product backward_of(const tri_layer_call *call, const tri_linear *linear,
                                 void *scratch)
{
    return (split_product){call, linear, true, tri_linear_out(linear), linear->in, scratch};
}

static tri_status multiply(const split_product *product, int64_t rows, const void *a, void *c)
{
    const tri_layer_call *call = product->call;
    if (product->backward)
        return tri_linear_backward_input(call, product->linear, rows, a, c, product->scratch);
    return tri_linear_forward(call, product->linear, rows, a, c);
}

/* Address of a row. */
static void *row_of(const split_product *product, const void *base, int64_t row, int64_t width)
{
    return tri_layer_at(base, row * width, product->call->dtype);
}

/* --- gather, then multiply */

/* Multiply a gathered block: `rows` rows of every rank, whose places begin at `first` of each rank's.
 * Where `full`, put them to their places there too. */
static tri_status multiply_block(const split_product *product, const void *block, int64_t first,
                                 int64_t rows, void *full, void *c)
{
    const tri_layer_call *call = product->call;
    int64_t outer = tri_layer_outer_rows(call);
    size_t bytes = (size_t)(rows * product->a_width) * tri_dtype_bytes(call->dtype);
    for (int rank = 0; rank < call->tensor->size; rank++) {
        int64_t place = rank * outer + first;
        const void *a = row_of(product, block, rank * rows, product->a_width);
        TRI_TRY(multiply(product, rows, a, row_of(product, c, place, product->c_width)));
        if (full) memcpy(row_of(product, full, place, product->a_width), a, bytes);
    }
    return TRI_OK;
}

static tri_status gather_in_pieces(const split_product *product, const void *outer, void *full,
                                   void *c)
{
    const tri_layer_call *call = product->call;
    const tri_tensor_axis *axis = call->tensor;
    int64_t rows = tri_layer_rows(call);
    int pieces = tri_tensor_pieces(axis, rows);
    int64_t width = product->a_width;
    tri_event arrived[TRI_TENSOR_MAX_CHUNKS] = {0};
    for (int i = 0; i < pieces; i++) {
        int64_t first = tri_tensor_piece_first(axis, rows, i);
        int64_t count = (tri_tensor_piece_first(axis, rows, i + 1) - first) * width;
        void *block = row_of(product, axis->gathered, first * axis->size, width);
        TRI_TRY(tri_allgather(
            axis->comm, tri_span_make(row_of(product, outer, first, width), count, call->dtype),
            tri_span_make(block, count * axis->size, call->dtype), &arrived[i]));
    }
    for (int i = 0; i < pieces; i++) {
        int64_t first = tri_tensor_piece_first(axis, rows, i);
        TRI_TRY(tri_event_wait(arrived[i]));
        TRI_TRY(multiply_block(product, row_of(product, axis->gathered, first * axis->size, width),
                               first, tri_tensor_piece_first(axis, rows, i + 1) - first, full, c));
    }
    return TRI_OK;
}

/* c [all rows] = product of all rows of `outer`, which are left in `full` (NULL: not). */
static tri_status gather_multiply(const split_product *product, const void *outer, void *full,
                                  void *c)
{
    const tri_layer_call *call = product->call;
    const tri_tensor_axis *axis = tri_layer_tensor(call);
    int64_t rows = tri_layer_rows(call);
    if (tri_tensor_is_shared(axis) && tri_tensor_pieces(axis, rows) > 1) {
        TRI_TRY(tri_tensor_check_rows(axis, rows));
        return gather_in_pieces(product, outer, full, c);
    }
    const void *all = NULL;
    TRI_TRY(tri_tensor_gather(axis, call->dtype, rows, outer, full, &all, NULL));
    if (full && all != full)
        memcpy(full, all, (size_t)(rows * product->a_width) * tri_dtype_bytes(call->dtype));
    return multiply(product, rows, all, c);
}

/* --- multiply, then reduce */

/* Outer rows are shared out: piece i of every rank's rows is a block of its own. */
static tri_status scatter_piece(const split_product *product, const void *a, int piece, void *outer,
                                tri_event *event)
{
    const tri_layer_call *call = product->call;
    const tri_tensor_axis *axis = call->tensor;
    int64_t all = tri_layer_rows(call);
    int64_t first = tri_tensor_piece_first(axis, all, piece);
    int64_t rows = tri_tensor_piece_first(axis, all, piece + 1) - first;
    int64_t width = product->c_width;
    void *block = row_of(product, axis->partial, first * axis->size, width);
    for (int rank = 0; rank < axis->size; rank++) {
        int64_t place = rank * tri_layer_outer_rows(call) + first;
        TRI_TRY(multiply(product, rows, row_of(product, a, place, product->a_width),
                         row_of(product, block, rank * rows, width)));
    }
    tri_span in = tri_span_make(block, rows * axis->size * width, call->dtype);
    void *to = row_of(product, outer, first, width);
    TRI_TRY(
        tri_reduce_scatter(axis->comm, in, tri_span_make(to, rows * width, call->dtype), event));
    return TRI_OK;
}

static tri_status sum_piece(const split_product *product, const void *a, int piece, void *outer,
                            tri_event *event)
{
    const tri_layer_call *call = product->call;
    const tri_tensor_axis *axis = call->tensor;
    int64_t all = tri_layer_rows(call);
    int64_t first = tri_tensor_piece_first(axis, all, piece);
    int64_t rows = tri_tensor_piece_first(axis, all, piece + 1) - first;
    void *c = row_of(product, outer, first, product->c_width);
    TRI_TRY(multiply(product, rows, row_of(product, a, first, product->a_width), c));
    TRI_TRY(tri_allreduce(axis->comm, tri_span_make(c, rows * product->c_width, call->dtype),
                          TRI_SUM, event));
    return TRI_OK;
}

static tri_status reduce_in_pieces(const split_product *product, const void *a, void *outer)
{
    const tri_tensor_axis *axis = product->call->tensor;
    int pieces = tri_tensor_pieces(axis, tri_layer_rows(product->call));
    tri_event summed[TRI_TENSOR_MAX_CHUNKS] = {0};
    for (int i = 0; i < pieces; i++)
        TRI_TRY((axis->sequence ? scatter_piece : sum_piece)(product, a, i, outer, &summed[i]));
    for (int i = 0; i < pieces; i++)
        TRI_TRY(tri_event_wait(summed[i]));
    return TRI_OK;
}

/* outer = sum over the axis of the product of all rows of a. */
static tri_status multiply_reduce(const split_product *product, const void *a, void *outer)
{
    const tri_layer_call *call = product->call;
    const tri_tensor_axis *axis = tri_layer_tensor(call);
    int64_t rows = tri_layer_rows(call);
    TRI_TRY(tri_tensor_check_rows(axis, rows));
    if (tri_tensor_pieces(axis, rows) > 1) return reduce_in_pieces(product, a, outer);
    TRI_TRY(multiply(product, rows, a, tri_tensor_partial(axis, outer)));
    return tri_tensor_reduce(axis, call->dtype, rows, outer);
}

/* --- the layers */

tri_status tri_split_columns_forward(const tri_layer_call *call, const tri_linear *linear,
                                     const void *x, void *y)
{
    split_product product = forward_of(call, linear);
    return gather_multiply(&product, x, NULL, y);
}

tri_status tri_split_columns_backward_input(const tri_layer_call *call, const tri_linear *linear,
                                            const void *dy, void *dx, void *scratch)
{
    const tri_tensor_axis *axis = tri_layer_tensor(call);
    if (tri_tensor_is_shared(axis)) scratch = axis->gathered; /* nothing is gathered now */
    split_product product = backward_of(call, linear, scratch);
    return multiply_reduce(&product, dy, dx);
}

tri_status tri_split_columns_backward_weight(const tri_layer_call *call, const tri_linear *linear,
                                             const void *x, const void *dy,
                                             const tri_split_before *before)
{
    const tri_tensor_axis *axis = tri_layer_tensor(call);
    const void *all = NULL;
    tri_event arrived = {0};
    TRI_TRY(tri_tensor_gather(axis, call->dtype, tri_layer_rows(call), x, NULL, &all,
                              axis->chunks > 1 ? &arrived : NULL));
    if (before) TRI_TRY(tri_linear_backward_weight(call, before->linear, before->x, before->dy));
    TRI_TRY(tri_event_wait(arrived));
    return tri_linear_backward_weight(call, linear, all, dy);
}

/* The layer as this rank's addend has it: the bias is in one of them alone. */
static tri_linear addend_of(const tri_layer_call *call, const tri_linear *linear)
{
    tri_linear addend = *linear;
    for (int p = 0; p < linear->n_parts && tri_layer_tensor(call)->index > 0; p++)
        addend.bias[p] = NULL;
    return addend;
}

tri_status tri_split_rows_forward(const tri_layer_call *call, const tri_linear *linear,
                                  const void *x, void *y)
{
    tri_linear addend = addend_of(call, linear);
    split_product product = forward_of(call, &addend);
    return multiply_reduce(&product, x, y);
}

tri_status tri_split_rows_backward_input(const tri_layer_call *call, const tri_linear *linear,
                                         const void *dy, void *full, void *dx)
{
    split_product product = backward_of(call, linear, NULL);
    return gather_multiply(&product, dy, full, dx);
}

void tri_split_traffic(const tri_layer_call *call, const char *what, tri_tensor_passes passes,
                       tri_traffic_list *list)
{
    tri_tensor_moves moves = {
        .what = what,
        .rows = tri_layer_rows(call),
        .dtype = call->dtype,
        .gathers = passes.backward,
        .cut_gathers = passes.forward + passes.backward,
        .cut_reduces = passes.forward + passes.backward,
    };
    tri_tensor_traffic(tri_layer_tensor(call), &moves, list);
}

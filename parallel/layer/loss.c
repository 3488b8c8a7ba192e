// SPDX-License-Identifier: Apache-2.0
/* Head and cross-entropy by chunks (see loss.h). The gradient replaces the logits in place; a chunk of
 * the vocabulary gives its rows of the head's gradient at once, while the sum over the vocabulary
 * for dhidden needs all of them and is one product per chunk of tokens.
 */
#include "parallel/layer/loss.h"

#include "kernels/loss.h"
#include "kernels/matmul.h"
#include "runtime/base/int.h"

enum {
    LOSS_ROWS = 1024,
    LOSS_COLUMNS_MIN = 1024,
    LOSS_COLUMNS_UNIT = 64 /* elements: chunks begin on cache lines */
};
static const int64_t loss_bytes = INT64_C(128) << 20;     /* of one chunk of logits, at most */
static const int64_t loss_cache_bytes = INT64_C(8) << 20; /* of one chunk of the vocabulary */

/* A rectangle of logits: rows of this pass, columns of this rank's part of the vocabulary. */
typedef struct loss_chunk {
    int64_t row, rows;
    int64_t first, width; /* among this rank's */
} loss_chunk;

static int64_t equal_part(int64_t n, int64_t most)
{
    int64_t parts = (n + most - 1) / most;
    return (n + parts - 1) / parts;
}

tri_status tri_loss_layer_declare(tri_loss_layer *loss, tri_arena *arena, tri_dtype dtype,
                                  int64_t rows)
{
    int64_t element_bytes = (int64_t)tri_dtype_bytes(dtype);
    int64_t columns = tri_max64(1, loss->block ? loss->block : loss->vocab);
    loss->stride = tri_round_up(columns, LOSS_COLUMNS_UNIT);
    int64_t most = tri_max64(1, tri_min64(LOSS_ROWS, loss_bytes / (loss->stride * element_bytes)));
    loss->chunk_rows = equal_part(rows, most);
    most = tri_max64(LOSS_COLUMNS_MIN, loss_cache_bytes / (loss->chunk_rows * element_bytes));
    loss->chunk_columns = tri_round_up(equal_part(columns, most), LOSS_COLUMNS_UNIT);

    int64_t count = 0;
    TRI_TRY(tri_product(2, (const int64_t[]){loss->chunk_rows, loss->stride}, &count));
    TRI_TRY(tri_arena_add(arena, TRI_MEM_WORKSPACE, count, dtype, &loss->logits));
    TRI_TRY(tri_arena_add(arena, TRI_MEM_WORKSPACE, 2 * loss->chunk_rows, TRI_F32,
                          (void **)&loss->maximum));
    return tri_arena_add(arena, TRI_MEM_WORKSPACE, 2 * loss->chunk_rows, TRI_F32,
                         (void **)&loss->sum);
}

/* Chunks of this rank's columns, and one of them. */
static int64_t column_chunks(const tri_loss_layer *loss)
{
    return (loss->vocab + loss->chunk_columns - 1) / loss->chunk_columns;
}

static loss_chunk columns_of(const tri_loss_layer *loss, loss_chunk rows, int64_t i)
{
    rows.first = i * loss->chunk_columns;
    rows.width = tri_min64(loss->chunk_columns, loss->vocab - rows.first);
    return rows;
}

static tri_status logits_of(const tri_layer_call *call, const tri_loss_layer *loss,
                            const void *hidden, loss_chunk chunk)
{
    tri_matmul_args args = {
        .m = chunk.rows,
        .n = chunk.width,
        .k = loss->width,
        .a = tri_layer_at(hidden, chunk.row * loss->width, call->dtype),
        .b = tri_layer_at(loss->head->weight, chunk.first * loss->width, call->dtype),
        .c = tri_layer_at(loss->logits, chunk.first, call->dtype),
        .input_type = call->dtype,
        .output_type = call->dtype,
        .b_transposed = true,
        .lda = loss->width,
        .ldb = loss->width,
        .ldc = loss->stride,
    };
    return tri_matmul(call->kernels, &args);
}

/* Rows first ... of the head's gradient += dlogits^T hidden. */
static tri_status head_gradient(const tri_layer_call *call, const tri_loss_layer *loss,
                                const void *hidden, loss_chunk chunk)
{
    tri_matmul_args args = {
        .m = chunk.width,
        .n = loss->width,
        .k = chunk.rows,
        .a = tri_layer_at(loss->logits, chunk.first, call->dtype),
        .b = tri_layer_at(hidden, chunk.row * loss->width, call->dtype),
        .c = loss->head->gradient ? loss->head->gradient + chunk.first * loss->width : NULL,
        .input_type = call->dtype,
        .output_type = TRI_F32,
        .a_transposed = true,
        .accumulate = true,
        .lda = loss->stride,
        .ldb = loss->width,
        .ldc = loss->width,
    };
    return tri_matmul(call->kernels, &args);
}

static tri_status hidden_gradient(const tri_layer_call *call, const tri_loss_layer *loss,
                                  loss_chunk chunk, void *dhidden)
{
    tri_matmul_args args = {
        .m = chunk.rows,
        .n = loss->width,
        .k = loss->vocab,
        .a = loss->logits,
        .b = loss->head->weight,
        .c = tri_layer_at(dhidden, chunk.row * loss->width, call->dtype),
        .input_type = call->dtype,
        .output_type = call->dtype,
        .lda = loss->stride,
        .ldb = loss->width,
        .ldc = loss->width,
    };
    return tri_matmul(call->kernels, &args);
}

static tri_cross_entropy_args entropy_args(const tri_layer_call *call, const tri_loss_layer *loss,
                                           const int32_t *target, loss_chunk chunk)
{
    return (tri_cross_entropy_args){
        .rows = chunk.rows,
        .first = loss->first + chunk.first,
        .width = chunk.width,
        .stride = loss->stride,
        .dtype = call->dtype,
        .logits = tri_layer_at(loss->logits, chunk.first, call->dtype),
        .target = target + chunk.row,
        .maximum = loss->maximum,
        .sum = loss->sum,
        .picked = loss->sum + chunk.rows,
        .multiplier = loss->multiplier,
    };
}

/* Statistics of this rank's columns -> of the whole vocabulary. A block that holds nothing but -inf, or no
 * column, has the sum 0. */
static tri_status merge_ranks(const tri_tensor_axis *axis, const tri_loss_layer *loss, int64_t rows)
{
    if (axis->size == 1) return TRI_OK;
    float *all = loss->maximum + loss->chunk_rows;
    memcpy(all, loss->maximum, (size_t)rows * sizeof *all);
    TRI_TRY(tri_allreduce(axis->comm, (tri_span){all, rows, TRI_F32}, TRI_MAX, NULL));
    tri_cross_entropy_rescale(rows, all, loss->maximum, loss->sum);
    TRI_TRY(tri_allreduce(axis->comm, (tri_span){loss->sum, 2 * rows, TRI_F32}, TRI_SUM, NULL));
    return TRI_OK;
}

static tri_status chunk_forward(const tri_layer_call *call, const tri_loss_layer *loss,
                                const void *hidden, const int32_t *target, loss_chunk rows)
{
    tri_cross_entropy_begin(rows.rows, loss->maximum, loss->sum, loss->sum + rows.rows);
    for (int64_t i = 0; i < column_chunks(loss); i++) {
        loss_chunk chunk = columns_of(loss, rows, i);
        TRI_TRY(logits_of(call, loss, hidden, chunk));
        tri_cross_entropy_args args = entropy_args(call, loss, target, chunk);
        TRI_TRY(tri_cross_entropy_stats(call->kernels, &args));
    }
    return merge_ranks(tri_layer_tensor(call), loss, rows.rows);
}

/* From the last chunk of the vocabulary to the first: what was written last is still in cache. */
static tri_status chunk_backward(const tri_layer_call *call, const tri_loss_layer *loss,
                                 const void *hidden, const int32_t *target, loss_chunk rows,
                                 float scale, void *dhidden)
{
    for (int64_t i = column_chunks(loss) - 1; i >= 0; i--) {
        loss_chunk chunk = columns_of(loss, rows, i);
        tri_cross_entropy_args args = entropy_args(call, loss, target, chunk);
        args.scale = scale;
        TRI_TRY(tri_cross_entropy_gradient(call->kernels, &args));
        TRI_TRY(head_gradient(call, loss, hidden, chunk));
    }
    return hidden_gradient(call, loss, rows, dhidden);
}

/* Rows per chunk of this pass: equal parts that fit the buffers. */
static int64_t pass_rows(const tri_layer_call *call, const tri_loss_layer *loss)
{
    return equal_part(tri_layer_rows(call), loss->chunk_rows);
}

static tri_status check_block(const tri_layer_call *call, const tri_loss_layer *loss)
{
    TRI_CHECK(tri_layer_tensor(call)->size == 1 || loss->block >= tri_max64(1, loss->vocab),
              TRI_EBUG,
              "a loss over %d tensor ranks with %lld columns here must know the most that any has, "
              "not %lld",
              tri_layer_tensor(call)->size, (long long)loss->vocab, (long long)loss->block);
    return TRI_OK;
}

tri_status tri_loss_layer_run(const tri_layer_call *call, const tri_loss_layer *loss,
                              const void *hidden, const int32_t *target,
                              const tri_loss_backward *backward, double *sum, int64_t *counted)
{
    const tri_tensor_axis *axis = tri_layer_tensor(call);
    int64_t rows = tri_layer_rows(call);
    int64_t step = pass_rows(call, loss);
    TRI_TRY(check_block(call, loss));
    TRI_TRY(tri_tensor_gather(axis, call->dtype, rows, hidden, NULL, &hidden, NULL));
    void *dhidden = backward ? tri_tensor_partial(axis, backward->dhidden) : NULL;
    for (int64_t row = 0; row < rows; row += step) {
        loss_chunk chunk = {row, tri_min64(step, rows - row), 0, loss->vocab};
        TRI_TRY(chunk_forward(call, loss, hidden, target, chunk));
        tri_cross_entropy_args args = entropy_args(call, loss, target, chunk);
        tri_cross_entropy_sum(&args, sum, counted);
        if (backward)
            TRI_TRY(chunk_backward(call, loss, hidden, target, chunk, backward->scale, dhidden));
    }
    return backward ? tri_tensor_reduce(axis, call->dtype, rows, backward->dhidden) : TRI_OK;
}

tri_status tri_loss_layer_logits(const tri_layer_call *call, const tri_loss_layer *loss,
                                 int64_t rows, const void *hidden, float *logits)
{
    tri_matmul_args args = {
        .m = rows,
        .n = loss->vocab,
        .k = loss->width,
        .a = hidden,
        .b = loss->head->weight,
        .input_type = call->dtype,
        .output_type = TRI_F32,
        .b_transposed = true,
        .lda = loss->width,
        .ldb = loss->width,
        .ldc = loss->vocab,
    };
    args.c = logits;
    TRI_TRY(tri_matmul(call->kernels, &args));
    for (int64_t i = 0; loss->multiplier != 0 && i < rows * loss->vocab; i++)
        logits[i] *= loss->multiplier;
    return TRI_OK;
}

void tri_loss_layer_traffic(const tri_layer_call *call, const tri_loss_layer *loss,
                            tri_tensor_passes passes, tri_traffic_list *list)
{
    const tri_tensor_axis *axis = tri_layer_tensor(call);
    int64_t rows = tri_layer_rows(call);
    int64_t step = pass_rows(call, loss);
    tri_tensor_moves moves = {
        .what = "loss",
        .rows = rows,
        .dtype = call->dtype,
        .gathers = passes.forward,
        .reduces = passes.backward,
    };
    tri_tensor_traffic(axis, &moves, list);
    tri_traffic statistics = {
        .group = "tensor",
        .ranks = axis->size,
        .kind = TRI_COLL_ALLREDUCE,
        .what = "loss statistics",
        .calls = 2 * passes.forward * ((rows + step - 1) / step),
        .payload_bytes = 3 * passes.forward * rows * (int64_t)sizeof(float),
    };
    tri_traffic_add(list, &statistics);
}

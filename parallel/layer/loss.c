// SPDX-License-Identifier: Apache-2.0
/* Head and cross-entropy by chunks (see loss.h). The gradient replaces the logits in place; a chunk of
 * the vocabulary gives its rows of the head's gradient at once, while the sum over the vocabulary
 * for dhidden needs all of them and is one product per chunk of tokens.
 */
#include "parallel/layer/loss.h"

#include "kernels/loss.h"
#include "kernels/matmul.h"
#include "runtime/base/int.h"

#include <math.h>

enum {
    LOSS_ROWS = 1024,
    LOSS_COLUMNS_MIN = 1024,
    LOSS_COLUMNS_UNIT = 64 /* elements: chunks begin on cache lines */
};
static const int64_t loss_bytes = INT64_C(128) << 20;     /* of one chunk of logits, at most */
static const int64_t loss_cache_bytes = INT64_C(8) << 20; /* of one chunk of the vocabulary */

typedef tri_status (*matmul_fn)(tri_kernels *kernels, const tri_matmul_args *args);

/* A rectangle of logits: rows of this pass, columns of the vocabulary. */
typedef struct loss_chunk {
    int64_t row, rows;
    int64_t first, width;
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
    loss->stride = tri_round_up(loss->vocab, LOSS_COLUMNS_UNIT);
    int64_t most = tri_max64(1, tri_min64(LOSS_ROWS, loss_bytes / (loss->stride * element_bytes)));
    loss->chunk_rows = equal_part(rows, most);
    most = tri_max64(LOSS_COLUMNS_MIN, loss_cache_bytes / (loss->chunk_rows * element_bytes));
    loss->chunk_columns = tri_round_up(equal_part(loss->vocab, most), LOSS_COLUMNS_UNIT);

    int64_t count = 0;
    TRI_TRY(tri_product(2, (const int64_t[]){loss->chunk_rows, loss->stride}, &count));
    TRI_TRY(tri_arena_add(arena, TRI_MEM_WORKSPACE, count, dtype, &loss->logits));
    float **statistics[] = {&loss->maximum, &loss->sum, &loss->picked};
    for (int i = 0; i < 3; i++)
        TRI_TRY(tri_arena_add(arena, TRI_MEM_WORKSPACE, loss->chunk_rows, TRI_F32,
                              (void **)statistics[i]));
    return TRI_OK;
}

static loss_chunk columns_of(const tri_loss_layer *loss, loss_chunk rows, int64_t first)
{
    rows.first = first;
    rows.width = tri_min64(loss->chunk_columns, loss->vocab - first);
    return rows;
}

static tri_status logits_of(const tri_layer_call *call, const tri_loss_layer *loss,
                            const void *hidden, loss_chunk chunk, matmul_fn matmul)
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
    return matmul(call->kernels, &args);
}

/* Rows first ... of the head's gradient += dlogits^T hidden. */
static tri_status head_gradient(const tri_layer_call *call, const tri_loss_layer *loss,
                                const void *hidden, loss_chunk chunk, matmul_fn matmul)
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
    return matmul(call->kernels, &args);
}

static tri_status hidden_gradient(const tri_layer_call *call, const tri_loss_layer *loss,
                                  loss_chunk chunk, void *dhidden, matmul_fn matmul)
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
    return matmul(call->kernels, &args);
}

static tri_cross_entropy_args entropy_args(const tri_layer_call *call, const tri_loss_layer *loss,
                                           const int32_t *target, loss_chunk chunk)
{
    return (tri_cross_entropy_args){
        .rows = chunk.rows,
        .first = chunk.first,
        .width = chunk.width,
        .stride = loss->stride,
        .dtype = call->dtype,
        .logits = tri_layer_at(loss->logits, chunk.first, call->dtype),
        .target = target + chunk.row,
        .maximum = loss->maximum,
        .sum = loss->sum,
        .picked = loss->picked,
    };
}

static tri_status chunk_forward(const tri_layer_call *call, const tri_loss_layer *loss,
                                const void *hidden, const int32_t *target, loss_chunk rows)
{
    for (int64_t i = 0; i < rows.rows; i++) {
        loss->maximum[i] = -INFINITY;
        loss->sum[i] = 0;
        loss->picked[i] = 0;
    }
    for (int64_t first = 0; first < loss->vocab; first += loss->chunk_columns) {
        loss_chunk chunk = columns_of(loss, rows, first);
        TRI_TRY(logits_of(call, loss, hidden, chunk, tri_matmul));
        tri_cross_entropy_args args = entropy_args(call, loss, target, chunk);
        TRI_TRY(tri_cross_entropy_stats(call->kernels, &args));
    }
    return TRI_OK;
}

/* From the last chunk of the vocabulary to the first: what was written last is still in cache. */
static tri_status chunk_backward(const tri_layer_call *call, const tri_loss_layer *loss,
                                 const void *hidden, const int32_t *target, loss_chunk rows,
                                 const tri_loss_backward *backward)
{
    int64_t last = (loss->vocab - 1) / loss->chunk_columns;
    for (int64_t i = last; i >= 0; i--) {
        loss_chunk chunk = columns_of(loss, rows, i * loss->chunk_columns);
        tri_cross_entropy_args args = entropy_args(call, loss, target, chunk);
        args.scale = backward->scale;
        TRI_TRY(tri_cross_entropy_gradient(call->kernels, &args));
        TRI_TRY(head_gradient(call, loss, hidden, chunk, tri_matmul));
    }
    return hidden_gradient(call, loss, rows, backward->dhidden, tri_matmul);
}

/* Rows per chunk of this pass: equal parts that fit the buffers. */
static int64_t pass_rows(const tri_layer_call *call, const tri_loss_layer *loss)
{
    return equal_part(tri_layer_rows(call), loss->chunk_rows);
}

tri_status tri_loss_layer_run(const tri_layer_call *call, const tri_loss_layer *loss,
                              const void *hidden, const int32_t *target,
                              const tri_loss_backward *backward, double *sum, int64_t *counted)
{
    int64_t rows = tri_layer_rows(call);
    int64_t step = pass_rows(call, loss);
    for (int64_t row = 0; row < rows; row += step) {
        loss_chunk chunk = {row, tri_min64(step, rows - row), 0, loss->vocab};
        TRI_TRY(chunk_forward(call, loss, hidden, target, chunk));
        tri_cross_entropy_args args = entropy_args(call, loss, target, chunk);
        tri_cross_entropy_sum(&args, sum, counted);
        if (backward) TRI_TRY(chunk_backward(call, loss, hidden, target, chunk, backward));
    }
    return TRI_OK;
}

static tri_matmul_args generation_args(const tri_layer_call *call, const tri_loss_layer *loss,
                                       int64_t rows)
{
    return (tri_matmul_args){
        .m = rows,
        .n = loss->vocab,
        .k = loss->width,
        .b = loss->head->weight,
        .input_type = call->dtype,
        .output_type = TRI_F32,
        .b_transposed = true,
        .lda = loss->width,
        .ldb = loss->width,
        .ldc = loss->vocab,
    };
}

tri_status tri_loss_layer_logits(const tri_layer_call *call, const tri_loss_layer *loss,
                                 int64_t rows, const void *hidden, float *logits)
{
    tri_matmul_args args = generation_args(call, loss, rows);
    args.a = hidden;
    args.c = logits;
    return tri_matmul(call->kernels, &args);
}

static tri_status prepare_chunk(const tri_layer_call *call, const tri_loss_layer *loss,
                                loss_chunk rows, bool training)
{
    int64_t last = (loss->vocab - 1) / loss->chunk_columns;
    for (int64_t i = last; i >= 0; i--) {
        loss_chunk chunk = columns_of(loss, rows, i * loss->chunk_columns);
        TRI_TRY(logits_of(call, loss, NULL, chunk, tri_matmul_prepare));
        if (training) TRI_TRY(head_gradient(call, loss, NULL, chunk, tri_matmul_prepare));
    }
    return training ? hidden_gradient(call, loss, rows, NULL, tri_matmul_prepare) : TRI_OK;
}

tri_status tri_loss_layer_prepare(const tri_layer_call *call, const tri_loss_layer *loss,
                                  bool training)
{
    int64_t rows = tri_layer_rows(call);
    int64_t step = pass_rows(call, loss);
    TRI_TRY(prepare_chunk(call, loss, (loss_chunk){0, step, 0, loss->vocab}, training));
    int64_t rest = rows % step;
    if (rest > 0)
        TRI_TRY(prepare_chunk(call, loss, (loss_chunk){0, rest, 0, loss->vocab}, training));
    if (training) return TRI_OK;
    tri_matmul_args args = generation_args(call, loss, 1);
    return tri_matmul_prepare(call->kernels, &args);
}

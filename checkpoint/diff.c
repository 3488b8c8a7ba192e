// SPDX-License-Identifier: Apache-2.0
/* Comparing. The flat elements of all common rows, in pieces of one length, are shared out evenly; a rank
 * streams its pieces of both checkpoints side by side. Sums, maxima and first indices are joined once, at
 * the end.
 */
#include "checkpoint/diff.h"

#include "checkpoint/folder.h"
#include "checkpoint/row_reader.h"
#include "checkpoint/values.h"
#include "runtime/agree.h"
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"

#include <math.h>
#include <string.h>

enum { DIFF_PIECE = TRI_MANIFEST_BLOCK_BYTES / 8, DIFF_CHUNK = 1024 };

/* One side on this rank. */
typedef struct diff_side {
    tri_row_reader *reader;
    char *buffer; /* a piece */
    tri_dtype dtype;
} diff_side;

static void diff_side_destroy(diff_side *side)
{
    tri_row_reader_destroy(&side->reader);
    TRI_FREE(side->buffer);
}

void tri_diff_destroy(tri_diff **diff)
{
    if (!*diff) return;
    tri_manifest_destroy(&(*diff)->a);
    tri_manifest_destroy(&(*diff)->b);
    TRI_FREE((*diff)->rows);
    TRI_FREE(*diff);
}

bool tri_diff_is_equal(const tri_diff *diff)
{
    return diff->count[TRI_DIFF_EQUAL] + diff->count[TRI_DIFF_WITHIN] == diff->n_rows;
}

/* A row that both have: may it be compared? */
static tri_diff_kind diff_match(const tri_manifest_row *a, const tri_manifest_row *b)
{
    bool floats =
        tri_values_is_float((tri_dtype)a->dtype) && tri_values_is_float((tri_dtype)b->dtype);
    bool same = a->n_dims == b->n_dims && memcmp(a->shape, b->shape, sizeof a->shape) == 0 &&
                (a->dtype == b->dtype || floats);
    return same ? TRI_DIFF_EQUAL : TRI_DIFF_UNLIKE;
}

/* Join the names of both, which are sorted. */
static tri_status diff_join(tri_diff *diff)
{
    const tri_manifest *a = diff->a;
    const tri_manifest *b = diff->b;
    TRI_TRY(TRI_NEW_ARRAY(a->head.n_rows + b->head.n_rows, &diff->rows));
    for (int64_t i = 0, k = 0; i < a->head.n_rows || k < b->head.n_rows;) {
        int order = i == a->head.n_rows   ? 1
                    : k == b->head.n_rows ? -1
                                          : strcmp(a->rows[i].name, b->rows[k].name);
        tri_diff_row *row = &diff->rows[diff->n_rows++];
        *row = (tri_diff_row){.a = -1, .b = -1, .first = -1};
        row->kind = order < 0 ? TRI_DIFF_ONLY_A : TRI_DIFF_ONLY_B;
        if (order == 0) row->kind = diff_match(&a->rows[i], &b->rows[k]);
        if (order >= 0) row->b = k++;
        if (order <= 0) row->a = i++;
    }
    return TRI_OK;
}

/* One pair of elements that are not equal, as fp64. */
static void diff_element(tri_diff_row *row, double a, double b, double tolerance, int64_t index)
{
    double size = fmax(fabs(a), fabs(b));
    double by = fabs(a - b);
    if (isnan(a) && isnan(b))
        by = 0; /* two bit patterns of no number */
    else if (!isfinite(a) || !isfinite(b))
        by = a == b ? 0 : INFINITY;
    double relative = by == 0 ? 0 : isfinite(by) ? by / size : INFINITY;
    if (row->first < 0 || index < row->first) row->first = index;
    row->n_differing++;
    if (tolerance == 0 || !(by <= tolerance * fmax(1, size))) row->n_beyond++;
    row->max_abs = fmax(row->max_abs, by);
    row->max_rel = fmax(row->max_rel, relative);
    row->rms += by * by; /* a sum until the end */
}

/* Elements [begin, begin + n) of a row, which lie in both buffers. */
static void diff_values(tri_diff_row *row, const diff_side *a, const diff_side *b, int64_t begin,
                        int64_t n, double tolerance)
{
    size_t bytes_a = tri_dtype_bytes(a->dtype);
    size_t bytes_b = tri_dtype_bytes(b->dtype);
    bool same_type = a->dtype == b->dtype;
    if (same_type && memcmp(a->buffer, b->buffer, (size_t)n * bytes_a) == 0) return;
    for (int64_t at = 0; at < n; at += DIFF_CHUNK) {
        double x[DIFF_CHUNK];
        double y[DIFF_CHUNK];
        int64_t count = tri_min64(DIFF_CHUNK, n - at);
        const char *in_a = a->buffer + (size_t)at * bytes_a;
        const char *in_b = b->buffer + (size_t)at * bytes_b;
        if (same_type && memcmp(in_a, in_b, (size_t)count * bytes_a) == 0) continue;
        tri_values_widen(a->dtype, count, in_a, x);
        tri_values_widen(b->dtype, count, in_b, y);
        for (int64_t i = 0; i < count; i++) {
            bool equal = same_type ? memcmp(in_a + (size_t)i * bytes_a, in_b + (size_t)i * bytes_b,
                                            bytes_a) == 0
                                   : x[i] == y[i] || (isnan(x[i]) && isnan(y[i]));
            if (!equal) diff_element(row, x[i], y[i], tolerance, begin + at + i);
        }
    }
}

static int64_t diff_pieces(const tri_diff_row *row)
{
    return tri_round_up(row->elements, DIFF_PIECE) / DIFF_PIECE;
}

/* This rank's pieces: [first, end) of all. */
static tri_status diff_mine(tri_diff *diff, diff_side *a, diff_side *b, int64_t first, int64_t end,
                            double tolerance)
{
    int64_t at = 0;
    for (int64_t i = 0; i < diff->n_rows && at < end; i++) {
        tri_diff_row *row = &diff->rows[i];
        if (row->kind != TRI_DIFF_EQUAL) continue;
        a->dtype = (tri_dtype)diff->a->rows[row->a].dtype;
        b->dtype = (tri_dtype)diff->b->rows[row->b].dtype;
        int64_t n_pieces = diff_pieces(row);
        for (int64_t p = tri_max64(0, first - at); p < n_pieces && at + p < end; p++) {
            int64_t begin = p * DIFF_PIECE;
            int64_t n = tri_min64(DIFF_PIECE, row->elements - begin);
            TRI_TRY(tri_row_reader_read(a->reader, row->a, begin, n, a->buffer));
            TRI_TRY(tri_row_reader_read(b->reader, row->b, begin, n, b->buffer));
            diff_values(row, a, b, begin, n, tolerance);
            diff->n_bytes += n * (int64_t)tri_dtype_bytes(a->dtype);
        }
        at += n_pieces;
    }
    return TRI_OK;
}

static tri_status diff_stream(tri_diff *diff, const char *path_a, const char *path_b,
                              double tolerance, tri_comm *world)
{
    TRI_AUTO(diff_side) a = {0};
    TRI_AUTO(diff_side) b = {0};
    TRI_TRY(tri_row_reader_create(diff->a, path_a, &a.reader));
    TRI_TRY(tri_row_reader_create(diff->b, path_b, &b.reader));
    TRI_TRY(TRI_NEW_ARRAY(TRI_MANIFEST_BLOCK_BYTES, &a.buffer));
    TRI_TRY(TRI_NEW_ARRAY(TRI_MANIFEST_BLOCK_BYTES, &b.buffer));
    int64_t pieces = 0;
    for (int64_t i = 0; i < diff->n_rows; i++) {
        tri_diff_row *row = &diff->rows[i];
        if (row->kind != TRI_DIFF_EQUAL) continue;
        row->elements = tri_row_reader_elements(a.reader, row->a);
        pieces += diff_pieces(row);
    }
    int64_t share = pieces / tri_comm_size(world) + 1;
    int64_t first = share * tri_comm_rank(world);
    return diff_mine(diff, &a, &b, first, first + share, tolerance);
}

typedef struct diff_sums {
    int64_t *counts; /* two for each row, then the bytes */
    int64_t *first;
    double *squares;
    double *most; /* two for each row */
} diff_sums;

static void diff_sums_destroy(diff_sums *sums)
{
    TRI_FREE(sums->counts);
    TRI_FREE(sums->first);
    TRI_FREE(sums->squares);
    TRI_FREE(sums->most);
}

/* What all ranks found together. */
static tri_status diff_reduce(tri_diff *diff, tri_comm *world)
{
    int64_t n = diff->n_rows;
    TRI_AUTO(diff_sums) sums = {0};
    TRI_TRY(TRI_NEW_ARRAY(2 * n + 1, &sums.counts));
    TRI_TRY(TRI_NEW_ARRAY(n, &sums.first));
    TRI_TRY(TRI_NEW_ARRAY(n, &sums.squares));
    TRI_TRY(TRI_NEW_ARRAY(2 * n, &sums.most));
    sums.counts[2 * n] = diff->n_bytes;
    for (int64_t i = 0; i < n; i++) {
        const tri_diff_row *row = &diff->rows[i];
        sums.counts[2 * i] = row->n_differing;
        sums.counts[2 * i + 1] = row->n_beyond;
        sums.first[i] = row->first < 0 ? INT64_MAX : row->first;
        sums.squares[i] = row->rms;
        sums.most[2 * i] = row->max_abs;
        sums.most[2 * i + 1] = row->max_rel;
    }
    TRI_TRY(tri_allreduce(world, tri_span_make(sums.counts, 2 * n + 1, TRI_I64), TRI_SUM, NULL));
    TRI_TRY(tri_allreduce(world, tri_span_make(sums.first, n, TRI_I64), TRI_MIN, NULL));
    TRI_TRY(tri_allreduce(world, tri_span_make(sums.squares, n, TRI_F64), TRI_SUM, NULL));
    TRI_TRY(tri_allreduce(world, tri_span_make(sums.most, 2 * n, TRI_F64), TRI_MAX, NULL));
    diff->n_bytes = sums.counts[2 * n];
    for (int64_t i = 0; i < n; i++) {
        tri_diff_row *row = &diff->rows[i];
        row->n_differing = sums.counts[2 * i];
        row->n_beyond = sums.counts[2 * i + 1];
        row->first = sums.first[i] == INT64_MAX ? -1 : sums.first[i];
        row->rms = row->elements ? sqrt(sums.squares[i] / (double)row->elements) : 0;
        row->max_abs = sums.most[2 * i];
        row->max_rel = sums.most[2 * i + 1];
        if (row->kind == TRI_DIFF_EQUAL && row->n_differing)
            row->kind = row->n_beyond ? TRI_DIFF_DIFFERS : TRI_DIFF_WITHIN;
        diff->count[row->kind]++;
    }
    return TRI_OK;
}

tri_status tri_diff_create(const char *path_a, const char *path_b, double tolerance,
                           tri_comm *world, tri_diff **out)
{
    TRI_AUTO(tri_diff) *diff = NULL;
    TRI_TRY(TRI_NEW(&diff));
    tri_status rc = TRI_OK;
    if (tri_comm_rank(world) == 0) {
        rc = tri_folder_read(path_a, &diff->a);
        if (rc == TRI_OK) rc = tri_folder_read(path_b, &diff->b);
    }
    TRI_TRY(tri_agree(world, rc));
    TRI_TRY(tri_manifest_replicate(world, &diff->a));
    TRI_TRY(tri_manifest_replicate(world, &diff->b));
    TRI_TRY(diff_join(diff));
    TRI_TRY(tri_agree(world, diff_stream(diff, path_a, path_b, tolerance, world)));
    TRI_TRY(diff_reduce(diff, world));
    *out = TRI_MOVE(diff);
    return TRI_OK;
}

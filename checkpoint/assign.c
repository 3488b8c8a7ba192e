// SPDX-License-Identifier: Apache-2.0
/* The table of rows is made once for all ranks; then rank 0 gets what every rank holds of every row,
 * decides (share.c) and sends each rank back what it writes.
 */
#include "checkpoint/assign.h"

#include "checkpoint/bytes.h"
#include "checkpoint/share.h"
#include "runtime/agree.h"
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void tri_assign_destroy(tri_assign **assign)
{
    if (!*assign) return;
    TRI_FREE((*assign)->rows);
    TRI_FREE((*assign)->holds);
    TRI_FREE((*assign)->pieces);
    TRI_FREE(*assign);
}

typedef int64_t *assign_counts;

static void assign_counts_destroy(assign_counts *counts)
{
    TRI_FREE(*counts);
}

tri_manifest_row tri_assign_row(const tri_row *row)
{
    tri_manifest_row out;
    memset(&out, 0, sizeof out);
    snprintf(out.name, sizeof out.name, "%s", row->name);
    snprintf(out.external, sizeof out.external, "%s", row->external);
    for (int d = 0; d < row->n_dims; d++)
        out.shape[d] = row->shape[d];
    out.n_dims = row->n_dims;
    out.role = (int32_t)row->role;
    out.dtype = (int32_t)row->dtype;
    return out;
}

static int assign_compare(const void *a, const void *b)
{
    return strcmp(((const tri_manifest_row *)a)->name, ((const tri_manifest_row *)b)->name);
}

/* Rows are the same on all ranks of a pipeline stage: one rank of each stage tells. */
static tri_status assign_collect(const tri_state *state, const tri_mesh *mesh, tri_bytes *out)
{
    for (int a = 0; a < TRI_AXES; a++)
        if (a != TRI_AXIS_PIPELINE && tri_mesh_coord(mesh, (tri_axis)a) != 0) return TRI_OK;
    int64_t n = tri_state_rows(state);
    TRI_TRY(TRI_NEW_ARRAY(n * (int64_t)sizeof(tri_manifest_row), &out->data));
    out->n = n * (int64_t)sizeof(tri_manifest_row);
    for (int i = 0; i < n; i++) {
        tri_manifest_row row = tri_assign_row(tri_state_row(state, i));
        memcpy(out->data + (size_t)i * sizeof row, &row, sizeof row);
    }
    return TRI_OK;
}

tri_status tri_assign_merge(tri_manifest_row *rows, int64_t *n_rows)
{
    int64_t n = *n_rows;
    TRI_CHECK(n > 0, TRI_EINVAL, "a state table without rows cannot be saved");
    qsort(rows, (size_t)n, sizeof *rows, assign_compare);
    int64_t kept = 1;
    for (int64_t i = 1; i < n; i++) {
        if (strcmp(rows[kept - 1].name, rows[i].name) != 0) {
            rows[kept++] = rows[i];
            continue;
        }
        TRI_CHECK(memcmp(&rows[kept - 1], &rows[i], sizeof *rows) == 0, TRI_EBUG,
                  "row '%s' differs between pipeline stages", rows[i].name);
    }
    *n_rows = kept;
    return TRI_OK;
}

/* The rows of all ranks. */
static tri_status assign_rows(const tri_state *state, tri_comm *world, tri_bytes *rows)
{
    TRI_TRY(tri_agree(world, assign_collect(state, tri_state_mesh(state), rows)));
    TRI_TRY(tri_bytes_gather(world, rows));
    tri_status rc = TRI_OK;
    if (tri_comm_rank(world) == 0) {
        int64_t n = rows->n / (int64_t)sizeof(tri_manifest_row);
        rc = tri_assign_merge((tri_manifest_row *)(void *)rows->data, &n);
        rows->n = n * (int64_t)sizeof(tri_manifest_row);
    }
    TRI_TRY(tri_agree(world, rc));
    return tri_bytes_broadcast(world, rows);
}

static int64_t assign_find(const tri_assign *assign, const tri_manifest_row *row)
{
    const tri_manifest_row *found =
        bsearch(row, assign->rows, (size_t)assign->n_rows, sizeof *row, assign_compare);
    return found && memcmp(found, row, sizeof *row) == 0 ? found - assign->rows : -1;
}

/* What this rank holds of its row `index`; count 0: nothing. */
static tri_status assign_hold(const tri_state *state, int index, tri_share_hold *hold, tri_box *box)
{
    const tri_row *row = tri_state_row(state, index);
    const tri_mesh *mesh = tri_state_mesh(state);
    TRI_TRY(tri_place_box(&row->place, mesh, tri_mesh_rank(mesh), row->n_dims, row->shape, box));
    int64_t elements = tri_box_elements(box);
    TRI_CHECK(row->count <= elements && row->begin <= elements - row->count, TRI_EBUG,
              "row '%s': elements [%lld, %lld) are held of a box of %lld", row->name,
              (long long)row->begin, (long long)(row->begin + row->count), (long long)elements);
    int64_t first = 0;
    for (int d = 0; d < row->n_dims; d++)
        first = first * row->shape[d] + box->start[d];
    *hold = (tri_share_hold){
        .first = first, .begin = row->begin, .count = row->count, .rank = tri_mesh_rank(mesh)};
    return TRI_OK;
}

tri_status tri_assign_begin(const tri_state *state, const tri_manifest_row *rows, int64_t n_rows,
                            tri_assign **out)
{
    TRI_AUTO(tri_assign) *assign = NULL;
    TRI_TRY(TRI_NEW(&assign));
    TRI_TRY(TRI_NEW_ARRAY(n_rows, &assign->rows));
    TRI_TRY(TRI_NEW_ARRAY(tri_state_rows(state), &assign->holds));
    memcpy(assign->rows, rows, (size_t)n_rows * sizeof *rows);
    assign->n_rows = n_rows;
    for (int i = 0; i < tri_state_rows(state); i++) {
        tri_box box;
        tri_share_hold *hold = &assign->holds[i];
        tri_manifest_row row = tri_assign_row(tri_state_row(state, i));
        int64_t index = assign_find(assign, &row);
        TRI_CHECK(index >= 0, TRI_EBUG, "row '%s' is not the same on all ranks of its stage",
                  row.name);
        TRI_TRY(assign_hold(state, i, hold, &box));
        hold->row = (int32_t)index;
    }
    assign->n_holds = tri_state_rows(state);
    *out = TRI_MOVE(assign);
    return TRI_OK;
}

/* Runs begin and end with an innermost line, so that few boxes arise; within a line where it is long. */
static int64_t assign_border(const tri_row *row, const tri_box *box, int64_t at)
{
    int64_t line = row->n_dims > 1 ? box->count[row->n_dims - 1] : 1;
    if (line * (int64_t)tri_dtype_bytes(row->dtype) > TRI_ASSIGN_PART_BYTES) return at;
    if (at == row->begin + row->count) return at;
    return tri_max64(row->begin, at / line * line);
}

/* The boxes of what this rank writes of its row `index`. */
static tri_status assign_cut(tri_assign *assign, const tri_state *state, int index)
{
    const tri_row *row = tri_state_row(state, index);
    const tri_share_hold *hold = &assign->holds[index];
    tri_share_hold mine;
    tri_box box;
    tri_piece_box cut[TRI_MAX_BOXES];
    int n = 0;
    if (hold->count == 0) return TRI_OK;
    TRI_TRY(assign_hold(state, index, &mine, &box));
    int64_t begin = assign_border(row, &box, hold->begin);
    int64_t end = assign_border(row, &box, hold->begin + hold->count);
    if (begin < end) tri_box_cut(&box, begin, end - begin, cut, &n);
    const char *data = row->data;
    for (int i = 0; i < n; i++) {
        int64_t offset = begin - row->begin + cut[i].offset;
        size_t skip = (size_t)offset * tri_dtype_bytes(row->dtype);
        assign->pieces[assign->n_pieces++] = (tri_assign_piece){.row = hold->row,
                                                                .local = index,
                                                                .offset = offset,
                                                                .box = cut[i].box,
                                                                .data = data ? data + skip : NULL};
    }
    return TRI_OK;
}

static int assign_piece_order(const void *a, const void *b)
{
    const tri_assign_piece *x = a;
    const tri_assign_piece *y = b;
    if (x->row != y->row) return x->row < y->row ? -1 : 1;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

tri_status tri_assign_end(tri_assign *assign, const tri_state *state)
{
    TRI_TRY(TRI_NEW_ARRAY(assign->n_holds * TRI_MAX_BOXES, &assign->pieces));
    for (int i = 0; i < assign->n_holds; i++)
        TRI_TRY(assign_cut(assign, state, i));
    if (assign->n_pieces)
        qsort(assign->pieces, (size_t)assign->n_pieces, sizeof *assign->pieces, assign_piece_order);
    return TRI_OK;
}

/* On rank 0: decide, and count what belongs to each rank. */
static tri_status assign_decide(const tri_assign *assign, int n_ranks, tri_bytes *all,
                                int64_t *counts)
{
    tri_share_hold *holds = (tri_share_hold *)(void *)all->data;
    int64_t n = all->n / (int64_t)sizeof *holds;
    for (int64_t i = 0; i < n; i++)
        counts[holds[i].rank] += (int64_t)sizeof *holds;
    return tri_share_decide(assign->rows, n_ranks, TRI_ASSIGN_PART_BYTES, holds, n);
}

/* Tell rank 0 what this rank holds, hear what it is to write. */
static tri_status assign_share(tri_assign *assign, tri_comm *world)
{
    TRI_AUTO(tri_bytes) all = {0};
    TRI_AUTO(tri_bytes) mine = {0};
    TRI_AUTO(assign_counts) counts = NULL;
    tri_status rc = TRI_NEW_ARRAY(tri_comm_size(world), &counts);
    int64_t n_bytes = assign->n_holds * (int64_t)sizeof *assign->holds;
    if (rc == TRI_OK) rc = tri_bytes_append(&all, assign->holds, n_bytes);
    TRI_TRY(tri_agree(world, rc));
    TRI_TRY(tri_bytes_gather(world, &all));
    if (tri_comm_rank(world) == 0) rc = assign_decide(assign, tri_comm_size(world), &all, counts);
    TRI_TRY(tri_agree(world, rc));
    TRI_TRY(tri_bytes_scatter(world, &all, counts, &mine));
    TRI_CHECK(mine.n == n_bytes, TRI_EBUG, "rank %d got %lld bytes of shares, not %lld",
              tri_comm_rank(world), (long long)mine.n, (long long)n_bytes);
    if (n_bytes) memcpy(assign->holds, mine.data, (size_t)n_bytes);
    return TRI_OK;
}

tri_status tri_assign_create(const tri_state *state, tri_comm *world, tri_assign **out)
{
    TRI_AUTO(tri_assign) *assign = NULL;
    TRI_AUTO(tri_bytes) rows = {0};
    TRI_TRY(assign_rows(state, world, &rows));
    const tri_manifest_row *row = (const tri_manifest_row *)(const void *)rows.data;
    TRI_TRY(tri_agree(world, tri_assign_begin(state, row, rows.n / (int64_t)sizeof *row, &assign)));
    assert(assign);
    TRI_TRY(assign_share(assign, world));
    TRI_TRY(tri_agree(world, tri_assign_end(assign, state)));
    *out = TRI_MOVE(assign);
    return TRI_OK;
}

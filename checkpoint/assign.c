// SPDX-License-Identifier: Apache-2.0
/* One all-reduce of the elements held of each row tells which of three cases it is; only for rows of
 * the third (shards that are themselves replicated) do ranks learn of each other's ranges.
 */
#include "checkpoint/assign.h"

#include "checkpoint/bytes.h"
#include "runtime/agree.h"
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ASSIGN_PART_BYTES = 1 << 20, ASSIGN_MASKS = 1 << TRI_AXES };

/* How a row comes to be written once. */
typedef enum assign_case {
    ASSIGN_ABSENT, /* not in this rank's table */
    ASSIGN_PARTS,  /* the held parts add up to the tensor */
    ASSIGN_COPIES, /* whole on all replicas */
    ASSIGN_MIXED   /* parts that several ranks hold */
} assign_case;

/* Scratch of one decision; indices are global rows. */
typedef struct assign_work {
    const tri_state *state;
    const tri_mesh *mesh;
    tri_assign *assign;
    int *local; /* index in this rank's table; -1 */
    int64_t *held;
    char *kind;      /* assign_case */
    int64_t *ranges; /* of MIXED rows, all ranks: [rank][row](begin, count) */
    int64_t n_mixed;
} assign_work;

void tri_assign_destroy(tri_assign **assign)
{
    if (!*assign) return;
    TRI_FREE((*assign)->rows);
    TRI_FREE((*assign)->pieces);
    TRI_FREE(*assign);
}

static void assign_work_destroy(assign_work *work)
{
    TRI_FREE(work->local);
    TRI_FREE(work->held);
    TRI_FREE(work->kind);
    TRI_FREE(work->ranges);
}

/* The row as a manifest has it; unused bytes are zero. */
static tri_manifest_row assign_row(const tri_row *row)
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
        tri_manifest_row row = assign_row(tri_state_row(state, i));
        memcpy(out->data + (size_t)i * sizeof row, &row, sizeof row);
    }
    return TRI_OK;
}

/* Sort, and merge what several stages have. */
static tri_status assign_merge(tri_bytes *rows)
{
    tri_manifest_row *row = (tri_manifest_row *)(void *)rows->data;
    int64_t n = rows->n / (int64_t)sizeof *row;
    TRI_CHECK(n > 0, TRI_EINVAL, "a state table without rows cannot be saved");
    qsort(row, (size_t)n, sizeof *row, assign_compare);
    int64_t kept = 1;
    for (int64_t i = 1; i < n; i++) {
        if (strcmp(row[kept - 1].name, row[i].name) != 0) {
            row[kept++] = row[i];
            continue;
        }
        TRI_CHECK(memcmp(&row[kept - 1], &row[i], sizeof *row) == 0, TRI_EBUG,
                  "row '%s' differs between pipeline stages", row[i].name);
    }
    rows->n = kept * (int64_t)sizeof *row;
    return TRI_OK;
}

static tri_status assign_rows(const tri_state *state, tri_comm *world, tri_assign *assign)
{
    TRI_AUTO(tri_bytes) rows = {0};
    tri_status rc = assign_collect(state, tri_state_mesh(state), &rows);
    TRI_TRY(tri_agree(world, rc));
    TRI_TRY(tri_bytes_gather(world, &rows));
    rc = tri_comm_rank(world) == 0 ? assign_merge(&rows) : TRI_OK;
    TRI_TRY(tri_agree(world, rc));
    TRI_TRY(tri_bytes_broadcast(world, &rows));
    assign->n_rows = rows.n / (int64_t)sizeof *assign->rows;
    assign->rows = (tri_manifest_row *)(void *)TRI_MOVE(rows.data);
    return TRI_OK;
}

/* Find this rank's rows in the common table, and what it holds of each. */
static tri_status assign_map(assign_work *work)
{
    tri_assign *assign = work->assign;
    TRI_TRY(TRI_NEW_ARRAY(assign->n_rows, &work->local));
    TRI_TRY(TRI_NEW_ARRAY(assign->n_rows, &work->held));
    TRI_TRY(TRI_NEW_ARRAY(assign->n_rows, &work->kind));
    for (int64_t i = 0; i < assign->n_rows; i++)
        work->local[i] = -1;
    for (int i = 0; i < tri_state_rows(work->state); i++) {
        const tri_row *row = tri_state_row(work->state, i);
        tri_manifest_row mine = assign_row(row);
        const tri_manifest_row *common =
            bsearch(&mine, assign->rows, (size_t)assign->n_rows, sizeof mine, assign_compare);
        TRI_CHECK(common && memcmp(common, &mine, sizeof mine) == 0, TRI_EBUG,
                  "row '%s' is not the same on all ranks of its stage", row->name);
        work->local[common - assign->rows] = i;
        work->held[common - assign->rows] = row->count;
    }
    return TRI_OK;
}

/* The axes over which a row is replicated. */
static unsigned assign_replicas(const tri_row *row)
{
    unsigned axes = 0;
    for (int a = 0; a < TRI_AXES; a++)
        if (row->place.axis[a].kind == TRI_REPLICATED) axes |= TRI_AXIS_BIT(a);
    return axes;
}

/* Neighbouring ranks of an axis that have the same block of a row: those of a split in fewer parts. */
static int assign_inner(const tri_row *row, const tri_mesh *mesh, tri_axis axis)
{
    int parts = row->place.axis[axis].parts;
    bool is_split = row->place.axis[axis].kind == TRI_SPLIT;
    return is_split && parts > 0 ? tri_mesh_size(mesh, axis) / parts : 1;
}

static bool assign_has_inner(const tri_row *row, const tri_mesh *mesh)
{
    for (int a = 0; a < TRI_AXES; a++)
        if (assign_inner(row, mesh, (tri_axis)a) > 1) return true;
    return false;
}

static void assign_sort_out(assign_work *work)
{
    for (int64_t i = 0; i < work->assign->n_rows; i++) {
        const tri_row *row = work->local[i] < 0 ? NULL : tri_state_row(work->state, work->local[i]);
        assign_case kind = ASSIGN_ABSENT;
        if (row) {
            int64_t elements = tri_row_elements(row);
            int copies = tri_mesh_product(work->mesh, assign_replicas(row));
            kind = ASSIGN_MIXED;
            /* copies along a split axis are not told from shards by their number */
            if (work->held[i] == elements * copies && !assign_has_inner(row, work->mesh))
                kind = ASSIGN_COPIES;
            if (work->held[i] == elements) kind = ASSIGN_PARTS;
        }
        work->kind[i] = (char)kind;
    }
}

/* Tell all ranks the ranges of mixed rows. Which rows are mixed is agreed by a maximum, as a rank
 * without the row does not know. */
static tri_status assign_exchange(assign_work *work, tri_comm *world)
{
    int64_t n_rows = work->assign->n_rows;
    for (int64_t i = 0; i < n_rows; i++)
        work->held[i] = work->kind[i] == ASSIGN_MIXED;
    TRI_TRY(tri_allreduce(world, tri_span_make(work->held, n_rows, TRI_I64), TRI_MAX, NULL));
    for (int64_t i = 0; i < n_rows; i++)
        work->n_mixed += work->held[i];
    if (!work->n_mixed) return TRI_OK;

    int64_t n = 2 * work->n_mixed;
    int64_t rank = tri_comm_rank(world);
    TRI_TRY(TRI_NEW_ARRAY(n * tri_comm_size(world), &work->ranges));
    int64_t *mine = work->ranges + rank * n;
    for (int64_t i = 0, m = 0; i < n_rows; i++) {
        if (!work->held[i]) continue;
        if (work->local[i] >= 0) {
            mine[2 * m] = tri_state_row(work->state, work->local[i])->begin;
            mine[2 * m + 1] = tri_state_row(work->state, work->local[i])->count;
        }
        m++;
    }
    tri_span all = tri_span_make(work->ranges, n * tri_comm_size(world), TRI_I64);
    return tri_allgather(world, tri_span_part(all, rank * n, n), all, NULL);
}

/* Does a lower rank hold the same range of the same box? */
static bool assign_is_second(const assign_work *work, const tri_row *row, int64_t mixed)
{
    int me = tri_mesh_rank(work->mesh);
    for (int rank = 0; rank < me; rank++) {
        const int64_t *range = work->ranges + 2 * (rank * work->n_mixed + mixed);
        if (range[0] != row->begin || range[1] != row->count) continue;
        bool same = true;
        for (int a = 0; a < TRI_AXES && same; a++) {
            int inner = assign_inner(row, work->mesh, (tri_axis)a);
            same = row->place.axis[a].kind == TRI_REPLICATED ||
                   tri_mesh_coord_of(work->mesh, rank, (tri_axis)a) / inner ==
                       tri_mesh_coord(work->mesh, (tri_axis)a) / inner;
        }
        if (same) return true;
    }
    return false;
}

/* Where replica `k` begins in a row that covers bytes [before, before + row's) of the `total` that are
 * shared out: an element, on a border of innermost lines so that few boxes arise. */
static int64_t assign_border(const tri_row *row, int64_t line, int64_t before, int64_t total, int k,
                             int parts)
{
    int64_t element_bytes = (int64_t)tri_dtype_bytes(row->dtype);
    int64_t at = total / parts * k + total % parts * k / parts;
    int64_t element = (at - before) / element_bytes;
    if (at <= before) return 0;
    if (element >= row->count) return row->count;
    return element / line * line;
}

/* Append the boxes of elements [begin, end) of the row's local box. */
static tri_status assign_add(assign_work *work, int64_t index, const tri_box *box, int64_t begin,
                             int64_t end)
{
    if (begin >= end) return TRI_OK;
    const tri_row *row = tri_state_row(work->state, work->local[index]);
    tri_piece_box cut[TRI_MAX_BOXES];
    int n = 0;
    TRI_CHECK(end <= tri_box_elements(box), TRI_EBUG, "row '%s' holds more than its box",
              row->name);
    tri_box_cut(box, begin, end - begin, cut, &n);
    tri_assign *assign = work->assign;
    const char *data = row->data;
    for (int i = 0; i < n; i++) {
        int64_t offset = begin - row->begin + cut[i].offset;
        size_t skip = (size_t)offset * tri_dtype_bytes(row->dtype);
        assign->pieces[assign->n_pieces++] = (tri_assign_piece){.row = (int32_t)index,
                                                                .local = work->local[index],
                                                                .offset = offset,
                                                                .box = cut[i].box,
                                                                .data = data ? data + skip : NULL};
    }
    return TRI_OK;
}

static tri_status assign_pieces(assign_work *work)
{
    int64_t total[ASSIGN_MASKS] = {0}; /* bytes shared out over the replicas of a set of axes */
    int64_t before[ASSIGN_MASKS] = {0};
    int64_t n_rows = work->assign->n_rows;
    TRI_TRY(
        TRI_NEW_ARRAY(tri_state_rows(work->state) * (int64_t)TRI_MAX_BOXES, &work->assign->pieces));
    for (int64_t i = 0; i < n_rows; i++) {
        if (work->kind[i] != ASSIGN_COPIES) continue;
        const tri_row *row = tri_state_row(work->state, work->local[i]);
        total[assign_replicas(row)] += row->count * (int64_t)tri_dtype_bytes(row->dtype);
    }
    for (int64_t i = 0, mixed = 0; i < n_rows; mixed += work->held[i++]) {
        if (work->local[i] < 0) continue;
        const tri_row *row = tri_state_row(work->state, work->local[i]);
        tri_box box;
        TRI_TRY(tri_place_box(&row->place, work->mesh, tri_mesh_rank(work->mesh), row->n_dims,
                              row->shape, &box));
        int64_t begin = row->begin;
        int64_t end = row->begin + row->count;
        if (work->kind[i] == ASSIGN_MIXED && assign_is_second(work, row, mixed)) end = begin;
        if (work->kind[i] == ASSIGN_COPIES) {
            unsigned axes = assign_replicas(row);
            int64_t line = row->n_dims > 1 ? box.count[row->n_dims - 1] : 1;
            int64_t all = total[axes];
            int copies = tri_mesh_product(work->mesh, axes);
            int parts = (int)tri_min64(copies, tri_max64(1, all / ASSIGN_PART_BYTES));
            int k = (int)tri_min64(tri_mesh_index(work->mesh, axes), parts);
            begin = assign_border(row, line, before[axes], all, k, parts);
            end = k < parts ? assign_border(row, line, before[axes], all, k + 1, parts) : begin;
            before[axes] += row->count * (int64_t)tri_dtype_bytes(row->dtype);
        }
        TRI_TRY(assign_add(work, i, &box, begin, end));
    }
    return TRI_OK;
}

tri_status tri_assign_create(const tri_state *state, tri_comm *world, tri_assign **out)
{
    TRI_AUTO(tri_assign) *assign = NULL;
    TRI_AUTO(assign_work) work = {.state = state, .mesh = tri_state_mesh(state)};
    TRI_TRY(TRI_NEW(&assign));
    work.assign = assign;
    TRI_TRY(assign_rows(state, world, assign));
    TRI_TRY(tri_agree(world, assign_map(&work)));
    TRI_TRY(tri_allreduce(world, tri_span_make(work.held, assign->n_rows, TRI_I64), TRI_SUM, NULL));
    assign_sort_out(&work);
    TRI_TRY(assign_exchange(&work, world));
    TRI_TRY(tri_agree(world, assign_pieces(&work)));
    *out = TRI_MOVE(assign);
    return TRI_OK;
}

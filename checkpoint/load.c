// SPDX-License-Identifier: Apache-2.0
/* Loading by box. The manifest is read by rank 0, which sends each rank the boxes that meet its own; each
 * reads the blocks of those.
 */
#include "checkpoint/ckpt.h"
#include "checkpoint/manifest.h"
#include "checkpoint/shard.h"
#include "runtime/agree.h"
#include "runtime/base/alloc.h"

#include <stdio.h>
#include <string.h>

enum { LOAD_SHAPE_BYTES = 96 };

typedef char *load_bytes;
typedef int64_t *load_numbers;

static void load_bytes_destroy(load_bytes *bytes)
{
    TRI_FREE(*bytes);
}

static void load_numbers_destroy(load_numbers *numbers)
{
    TRI_FREE(*numbers);
}

/* "fp32 [512, 64]" */
static void load_describe(int dtype, int n_dims, const int64_t *shape, char out[LOAD_SHAPE_BYTES])
{
    int n = snprintf(out, LOAD_SHAPE_BYTES, "%s [", tri_dtype_name((tri_dtype)dtype));
    for (int d = 0; d < n_dims && n < LOAD_SHAPE_BYTES; d++)
        n += snprintf(out + n, (size_t)(LOAD_SHAPE_BYTES - n), "%s%lld", d ? ", " : "",
                      (long long)shape[d]);
    if (n < LOAD_SHAPE_BYTES) snprintf(out + n, (size_t)(LOAD_SHAPE_BYTES - n), "]");
}

static bool load_wants(const tri_ckpt_load_args *args, int role)
{
    return args->roles == 0 || (args->roles & 1u << role);
}

/* This rank's rows must be in the manifest; seen[i] = 1 for those that are. */
static tri_status load_check_mine(const tri_ckpt_load_args *args, const tri_manifest *m,
                                  int64_t *seen)
{
    for (int i = 0; i < tri_state_rows(args->state); i++) {
        const tri_row *row = tri_state_row(args->state, i);
        if (!load_wants(args, (int)row->role)) continue;
        char need[LOAD_SHAPE_BYTES];
        char have[LOAD_SHAPE_BYTES];
        load_describe((int)row->dtype, row->n_dims, row->shape, need);
        int64_t found = tri_manifest_find(m, row->name);
        TRI_CHECK(found >= 0, TRI_EINVAL,
                  "checkpoint %s of another model: it has no row '%s', which this job needs as %s",
                  args->path, row->name, need);
        const tri_manifest_row *stored = &m->rows[found];
        load_describe(stored->dtype, stored->n_dims, stored->shape, have);
        bool same =
            stored->n_dims == row->n_dims && stored->dtype == (int32_t)row->dtype &&
            memcmp(stored->shape, row->shape, (size_t)row->n_dims * sizeof *row->shape) == 0;
        TRI_CHECK(same, TRI_EINVAL,
                  "checkpoint %s of another model: row '%s' is %s, this job needs %s", args->path,
                  row->name, have, need);
        TRI_CHECK(row->count == 0 || row->data, TRI_EBUG, "row '%s' is loaded before it has memory",
                  row->name);
        seen[found] = 1;
    }
    return TRI_OK;
}

/* Every row of the manifest must be a row of some rank. */
static tri_status load_check_all(const tri_ckpt_load_args *args, const tri_manifest *m,
                                 const int64_t *seen)
{
    for (int64_t i = 0; i < m->head.n_rows; i++) {
        const tri_manifest_row *row = &m->rows[i];
        char have[LOAD_SHAPE_BYTES];
        load_describe(row->dtype, row->n_dims, row->shape, have);
        TRI_CHECK(seen[i] || !load_wants(args, row->role), TRI_EINVAL,
                  "checkpoint %s of another model: it has row '%s' as %s, which this job has not",
                  args->path, row->name, have);
    }
    return TRI_OK;
}

static tri_status load_row(const tri_manifest *m, const tri_row *row, const tri_mesh *mesh,
                           tri_shard_reader *reader)
{
    const tri_manifest_row *stored = &m->rows[tri_manifest_find(m, row->name)];
    tri_piece_box pieces[TRI_MAX_BOXES];
    int n_pieces = 0;
    TRI_TRY(tri_row_boxes(row, mesh, pieces, &n_pieces));
    /* Boxes outside, pieces inside: neighbouring pieces then find their border block in the buffer. */
    for (int64_t b = 0; b < stored->n_boxes; b++) {
        for (int p = 0; p < n_pieces; p++) {
            size_t skip = (size_t)pieces[p].offset * tri_dtype_bytes(row->dtype);
            TRI_TRY(tri_shard_read(reader, stored->first_box + b, &pieces[p].box,
                                   (char *)row->data + skip));
        }
    }
    return TRI_OK;
}

static tri_status load_rows(const tri_ckpt_load_args *args, const tri_manifest *m)
{
    TRI_AUTO(load_bytes) buffer = NULL;
    TRI_AUTO(tri_shard_reader) *reader = NULL;
    TRI_TRY(TRI_NEW_ARRAY(TRI_MANIFEST_BLOCK_BYTES, &buffer));
    TRI_TRY(tri_shard_reader_create(m, args->path, buffer, &reader));
    for (int i = 0; i < tri_state_rows(args->state); i++) {
        const tri_row *row = tri_state_row(args->state, i);
        if (row->count > 0 && load_wants(args, (int)row->role))
            TRI_TRY(load_row(m, row, tri_state_mesh(args->state), reader));
    }
    return TRI_OK;
}

/* What a rank needs of the row it was asked for last. */
typedef struct load_filter {
    const tri_ckpt_load_args *args;
    const tri_manifest *m;
    int64_t row; /* of the manifest; -1: none yet */
    int n_pieces;
    tri_piece_box pieces[TRI_MAX_BOXES];
} load_filter;

static void load_filter_turn(load_filter *filter, int64_t index)
{
    const tri_state *state = filter->args->state;
    int mine = tri_state_find(state, filter->m->rows[index].name);
    filter->row = index;
    filter->n_pieces = 0;
    if (mine < 0) return;
    const tri_row *row = tri_state_row(state, mine);
    if (row->count == 0 || !load_wants(filter->args, (int)row->role)) return;
    /* load_row makes them again, and says what is wrong with them */
    if (tri_row_boxes(row, tri_state_mesh(state), filter->pieces, &filter->n_pieces) != TRI_OK)
        tri_err_clear();
}

static bool load_filter_wants(void *arg, int64_t row, const tri_box *box)
{
    load_filter *filter = arg;
    tri_box common;
    if (filter->row != row) load_filter_turn(filter, row);
    for (int p = 0; p < filter->n_pieces; p++)
        if (tri_box_intersect(box, &filter->pieces[p].box, &common)) return true;
    return false;
}

tri_status tri_ckpt_load(const tri_ckpt_load_args *args)
{
    TRI_AUTO(tri_manifest) *whole = NULL;
    TRI_AUTO(tri_manifest) *m = NULL;
    bool root = tri_comm_rank(args->world) == 0;
    TRI_TRY(tri_agree(args->world, root ? tri_manifest_read(args->path, &whole) : TRI_OK));
    TRI_TRY(tri_manifest_broadcast(args->world, whole, &m));

    TRI_AUTO(load_numbers) seen = NULL;
    TRI_TRY(TRI_NEW_ARRAY(m->head.n_rows, &seen));
    TRI_TRY(tri_agree(args->world, load_check_mine(args, m, seen)));
    TRI_TRY(
        tri_allreduce(args->world, tri_span_make(seen, m->head.n_rows, TRI_I64), TRI_MAX, NULL));
    TRI_TRY(tri_agree(args->world, load_check_all(args, m, seen)));
    load_filter filter = {.args = args, .m = m, .row = -1};
    TRI_TRY(tri_manifest_scatter(args->world, whole,
                                 &(tri_manifest_filter){load_filter_wants, &filter}, m));
    tri_manifest_destroy(&whole);
    return tri_agree(args->world, load_rows(args, m));
}

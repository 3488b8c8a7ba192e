// SPDX-License-Identifier: Apache-2.0
/* Loading by box. The manifest is read by rank 0, which sends each rank the boxes that meet its own; each
 * reads the blocks of those.
 */
#include "checkpoint/disk.h"
#include "checkpoint/load_check.h"
#include "checkpoint/worker.h"
#include "runtime/agree.h"
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

typedef char *load_bytes;

static void load_bytes_destroy(load_bytes *bytes)
{
    TRI_FREE(*bytes);
}

/* Ids that the checkpoint lacks start at zero: the last lines of a piece. */
static void load_zero(const tri_manifest_row *stored, const tri_row *row,
                      const tri_piece_box *piece)
{
    int64_t lines = piece->box.count[0];
    int64_t from = tri_min64(tri_max64(stored->shape[0] - piece->box.start[0], 0), lines);
    int64_t element_bytes = (int64_t)tri_dtype_bytes(row->dtype);
    int64_t line_bytes = tri_box_elements(&piece->box) / lines * element_bytes;
    char *data = (char *)row->data + piece->offset * element_bytes;
    memset(data + from * line_bytes, 0, (size_t)((lines - from) * line_bytes));
}

static tri_status load_row(const tri_manifest *m, const tri_row *row, const tri_mesh *mesh,
                           tri_shard_reader *reader)
{
    int64_t index = tri_manifest_find(m, row->name);
    if (index < 0) return TRI_OK; /* a policy's: what else is missing was refused */
    const tri_manifest_row *stored = &m->rows[index];
    tri_piece_box pieces[TRI_MAX_BOXES];
    int n_pieces = 0;
    TRI_TRY(tri_row_boxes(row, mesh, pieces, &n_pieces));
    for (int p = 0; p < n_pieces; p++)
        load_zero(stored, row, &pieces[p]);
    /* Boxes outside, pieces inside: neighbouring pieces then find their border block in the buffer. */
    for (int64_t b = 0; b < stored->n_boxes; b++) {
        for (int p = 0; p < n_pieces; p++) {
            size_t skip = (size_t)pieces[p].offset * tri_dtype_bytes(row->dtype);
            TRI_TRY(tri_shard_read(reader, stored->first_box + b, &pieces[p].box, row->dtype,
                                   (char *)row->data + skip));
        }
    }
    return TRI_OK;
}

enum { LOAD_LANES = 4 /* at most */ };

/* Rows that are loaded, shared out over the threads of a rank: checksums beside reads. */
typedef struct load_work {
    const tri_ckpt_load_args *args;
    const tri_manifest *m;
    atomic_int next; /* row of the table */
} load_work;

/* One thread's part. */
typedef struct load_lane {
    load_work *work;
    tri_worker *worker; /* NULL: the calling thread */
    tri_ckpt_load_stats stats;
} load_lane;

static tri_status load_lane_run(void *arg)
{
    load_lane *lane = arg;
    const tri_ckpt_load_args *args = lane->work->args;
    TRI_AUTO(load_bytes) buffer = NULL;
    TRI_AUTO(tri_shard_reader) *reader = NULL;
    TRI_TRY(TRI_NEW_ARRAY(TRI_MANIFEST_BLOCK_BYTES, &buffer));
    TRI_TRY(tri_shard_reader_create(lane->work->m, args->path, buffer, &reader));
    int n = tri_state_rows(args->state);
    for (int i = 0; (i = atomic_fetch_add(&lane->work->next, 1)) < n;) {
        const tri_row *row = tri_state_row(args->state, i);
        if (row->count == 0 || !tri_load_wants(args, (int)row->role)) continue;
        tri_status rc = load_row(lane->work->m, row, tri_state_mesh(args->state), reader);
        if (rc != TRI_OK) atomic_store(&lane->work->next, n); /* the other lanes may stop, too */
        TRI_TRY(rc);
        lane->stats.row_bytes += row->count * (int64_t)tri_dtype_bytes(row->dtype);
    }
    lane->stats.read_bytes = tri_shard_reader_bytes(reader);
    return TRI_OK;
}

/* The first lane is the calling thread. All are done when this returns. */
static tri_status load_run_lanes(load_lane *lanes, int n_lanes)
{
    for (int i = 1; i < n_lanes; i++)
        tri_worker_start(lanes[i].worker, load_lane_run, &lanes[i]);
    tri_status rc = load_lane_run(&lanes[0]);
    for (int i = 1; i < n_lanes; i++) {
        tri_status other = tri_worker_finish(lanes[i].worker);
        if (rc == TRI_OK) rc = other;
    }
    return rc;
}

static tri_status load_rows(const tri_ckpt_load_args *args, const tri_manifest *m)
{
    load_work work = {.args = args, .m = m};
    load_lane lanes[LOAD_LANES] = {{.work = &work}};
    int n_lanes = tri_device_threads(tri_comm_device(args->world));
    if (n_lanes > LOAD_LANES) n_lanes = LOAD_LANES;
    tri_status rc = TRI_OK;
    for (int i = 1; i < n_lanes && rc == TRI_OK; i++) {
        lanes[i].work = &work;
        rc = tri_worker_create("checkpoint-load", &lanes[i].worker);
    }
    if (rc == TRI_OK) rc = load_run_lanes(lanes, n_lanes);
    tri_ckpt_load_stats stats = {.row_bytes = 0};
    for (int i = 0; i < n_lanes; i++) {
        stats.row_bytes += lanes[i].stats.row_bytes;
        stats.read_bytes += lanes[i].stats.read_bytes;
        tri_worker_destroy(&lanes[i].worker);
    }
    if (args->stats) *args->stats = stats;
    return rc;
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
    if (row->count == 0 || !tri_load_wants(filter->args, (int)row->role)) return;
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

/* What vanished since it was found is no failure of the disk: another checkpoint may do. */
static tri_status load_manifest(const tri_ckpt_load_args *args, tri_manifest **out)
{
    char file[TRI_DISK_PATH_BYTES];
    TRI_TRY(tri_disk_path(file, args->path, TRI_MANIFEST_NAME, ""));
    bool is_gone = access(file, F_OK) == -1 && errno == ENOENT;
    TRI_CHECK(!is_gone, TRI_EFORMAT, "%s is not there: the checkpoint is gone or was never whole",
              file);
    return tri_manifest_read(args->path, out);
}

tri_status tri_ckpt_load(const tri_ckpt_load_args *args)
{
    TRI_AUTO(tri_manifest) *whole = NULL;
    TRI_AUTO(tri_manifest) *m = NULL;
    bool root = tri_comm_rank(args->world) == 0;
    TRI_TRY(tri_agree(args->world, root ? load_manifest(args, &whole) : TRI_OK));
    TRI_TRY(tri_manifest_broadcast(args->world, whole, &m));
    TRI_TRY(tri_load_check(args, m, whole));
    load_filter filter = {.args = args, .m = m, .row = -1};
    TRI_TRY(tri_manifest_scatter(args->world, whole,
                                 &(tri_manifest_filter){load_filter_wants, &filter}, m));
    tri_manifest_destroy(&whole);
    return tri_agree(args->world, load_rows(args, m));
}

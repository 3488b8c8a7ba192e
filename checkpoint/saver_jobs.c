// SPDX-License-Identifier: Apache-2.0
/* What the writer's threads do in a save: the shard, and on rank 0 the commit. While one writes the data,
 * another makes what goes through HDF5, which takes about as long as 100 MB of data: the structures
 * between them, and on rank 0 the view.
 */
#include "checkpoint/disk.h"
#include "checkpoint/folder.h"
#include "checkpoint/saver_impl.h"
#include "checkpoint/view.h"
#include "runtime/base/alloc.h"
#include "runtime/base/crc.h"

#include <stdio.h>
#include <string.h>

void tri_saver_at(const tri_saver *saver, tri_ckpt_point point)
{
    if (saver->args.hook.at) saver->args.hook.at(saver->args.hook.arg, point);
}

/* Bytes after which the disk is given something to do. */
enum { SAVER_BEHIND_BYTES = 4 << 20 };

/* Checksum, then write: what is verified later is what was held here. The checksum brings a unit into the
 * cache, from which it is written. */
static tri_status write_units(tri_saver *saver)
{
    const tri_save_plan *plan = saver->plan;
    const char *file = saver->file;
    uint32_t *crc = saver->crc + 1;
    memset(crc, 0, (size_t)plan->n_blocks * sizeof *crc);
    int64_t begin = plan->n_units ? plan->units[0].offset : 0;
    for (int64_t i = 0; i < plan->n_units; i++) {
        const tri_unit *unit = &plan->units[i];
        TRI_CHECK(!atomic_load(&saver->is_abandoned), TRI_EIO, "writing %s: given up", file);
        if (i == plan->n_units / 2) tri_saver_at(saver, TRI_CKPT_AT_HALF);
        const char *data = tri_handover_take(saver->handover, i);
        crc[unit->block] = tri_crc32c_extend(crc[unit->block], data, (size_t)unit->bytes);
        TRI_TRY(tri_disk_write(saver->fd, file, data, unit->bytes, unit->offset));
        int64_t end = unit->offset + unit->bytes;
        if (end - begin >= SAVER_BEHIND_BYTES) {
            tri_disk_write_behind(saver->fd, begin, end - begin);
            begin = end;
        }
        atomic_store(&saver->n_written, i + 1);
    }
    return TRI_OK;
}

/* The job of the second thread. */
static tri_status build(void *arg)
{
    tri_saver *saver = arg;
    const tri_save_plan *plan = saver->plan;
    tri_manifest *m = plan->manifest;
    if (plan->layout.n_boxes)
        TRI_TRY(tri_shard_write_rest(plan->assign->rows, &plan->layout, saver->head.uuid, saver->fd,
                                     saver->file, &saver->crc[0]));
    if (m) TRI_TRY(tri_view_write(m, saver->path, &m->files[m->head.n_files - 1]));
    return TRI_OK;
}

static tri_status open_shard(tri_saver *saver)
{
    const tri_save_plan *plan = saver->plan;
    char name[TRI_MANIFEST_TEXT_BYTES];
    tri_shard_name(plan->leader, name);
    TRI_TRY(tri_disk_path(saver->file, saver->path, name, ""));
    TRI_TRY(tri_disk_create(saver->file, saver->args.files == TRI_SAVER_FILE_PER_NODE, &saver->fd));
    if (plan->layout.n_boxes) TRI_TRY(tri_disk_reserve(saver->fd, saver->file, plan->layout.bytes));
    return TRI_OK;
}

/* Data in this thread, structures in the other; both are done when this returns. */
static tri_status write_parts(tri_saver *saver)
{
    tri_worker_start(saver->builder, build, saver);
    tri_status rc = write_units(saver);
    tri_status built = tri_worker_finish(saver->builder);
    TRI_TRY(rc);
    return built;
}

/* What a save is, in rank 0's manifest. */
static tri_status name_manifest(tri_saver *saver)
{
    tri_manifest *m = saver->plan->manifest;
    tri_manifest_head head = saver->head;
    head.n_rows = m->head.n_rows;
    head.n_boxes = m->head.n_boxes;
    head.n_blocks = m->head.n_blocks;
    head.n_files = m->head.n_files;
    head.job_bytes = (int64_t)strlen(saver->job_yaml);
    char *job = NULL;
    TRI_TRY(tri_alloc_string(saver->job_yaml, &job));
    TRI_FREE(m->job);
    m->job = job;
    m->head = head;
    for (int64_t i = 0; i < head.n_files; i++)
        memcpy(m->files[i].uuid, head.uuid, sizeof head.uuid);
    return TRI_OK;
}

static tri_status write_shard(tri_saver *saver)
{
    const tri_save_plan *plan = saver->plan;
    bool has_file = plan->n_units > 0 || plan->layout.n_boxes > 0;
    if (plan->manifest) TRI_TRY(name_manifest(saver));
    if (has_file) TRI_TRY(open_shard(saver));
    TRI_TRY(write_parts(saver));
    tri_saver_at(saver, TRI_CKPT_AT_DATA);
    if (has_file) TRI_TRY(tri_disk_sync(saver->fd, saver->file));
    tri_saver_at(saver, TRI_CKPT_AT_SHARD);
    return TRI_OK;
}

tri_status tri_saver_write(void *arg)
{
    tri_saver *saver = arg;
    tri_status rc = write_shard(saver);
    tri_disk_fd_destroy(&saver->fd);
    tri_handover_end(saver->handover);
    return rc;
}

/* The checksums of all ranks. */
static void commit_fill(tri_saver *saver)
{
    const tri_save_plan *plan = saver->plan;
    tri_manifest *m = plan->manifest;
    int64_t file = 0;
    const uint32_t *part = saver->all;
    for (int rank = 0; rank < tri_comm_size(saver->args.world); rank++) {
        if (file < m->head.n_files - 1 && m->files[file].rank == rank)
            m->files[file++].rest_crc = part[0];
        int64_t first = plan->first_block[rank];
        int64_t n = plan->first_block[rank + 1] - first;
        for (int64_t i = 0; i < n; i++)
            m->blocks[first + i] = part[1 + i];
        part += 1 + n;
    }
}

tri_status tri_saver_commit(void *arg)
{
    tri_saver *saver = arg;
    tri_manifest *m = saver->plan->manifest;
    commit_fill(saver);
    /* syncs the folder: the names of the shards are on the disk, too */
    TRI_TRY(tri_disk_publish(saver->path, TRI_MANIFEST_VIEW));
    tri_saver_at(saver, TRI_CKPT_AT_VIEW);
    TRI_TRY(tri_manifest_write(m, saver->path));
    tri_saver_at(saver, TRI_CKPT_AT_MANIFEST_SYNCED);
    TRI_TRY(tri_disk_publish(saver->path, TRI_MANIFEST_NAME));
    tri_saver_at(saver, TRI_CKPT_AT_COMMITTED);
    tri_folder_prune(saver->dir, saver->args.keep, saver->args.keep_every, &saver->args.hook);
    return TRI_OK;
}

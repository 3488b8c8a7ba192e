// SPDX-License-Identifier: Apache-2.0
/* What the writer's thread does in a save: the shard, and on rank 0 the commit. */
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

/* Checksum, then write: what is verified later is what was held here. The checksum brings a unit into the
 * cache, from which it is written. */
static tri_status write_units(tri_saver *saver, int fd, const char *file)
{
    const tri_save_plan *plan = saver->plan;
    uint32_t *crc = saver->crc + 1;
    memset(crc, 0, (size_t)plan->n_blocks * sizeof *crc);
    for (int64_t i = 0; i < plan->n_units; i++) {
        const tri_unit *unit = &plan->units[i];
        TRI_CHECK(!atomic_load(&saver->is_abandoned), TRI_EIO, "writing %s: given up", file);
        if (i == plan->n_units / 2) tri_saver_at(saver, TRI_CKPT_AT_HALF);
        const char *data = tri_handover_take(saver->handover, i);
        crc[unit->block] = tri_crc32c_extend(crc[unit->block], data, (size_t)unit->bytes);
        TRI_TRY(tri_disk_write(fd, file, data, unit->bytes, unit->offset));
        atomic_store(&saver->n_written, i + 1);
    }
    return TRI_OK;
}

static tri_status write_shard(tri_saver *saver)
{
    const tri_save_plan *plan = saver->plan;
    if (plan->n_units == 0 && plan->layout.n_boxes == 0) return TRI_OK;
    char name[TRI_MANIFEST_TEXT_BYTES];
    char file[TRI_DISK_PATH_BYTES];
    TRI_AUTO(tri_disk_fd) fd = -1;
    tri_shard_name(plan->leader, name);
    TRI_TRY(tri_disk_path(file, saver->path, name, ""));
    TRI_TRY(tri_disk_create(file, saver->args.files == TRI_SAVER_FILE_PER_NODE, &fd));
    if (plan->layout.n_boxes)
        TRI_TRY(tri_shard_write_rest(plan->assign->rows, &plan->layout, saver->head.uuid, fd, file,
                                     &saver->crc[0]));
    tri_saver_at(saver, TRI_CKPT_AT_SKELETON);
    TRI_TRY(write_units(saver, fd, file));
    tri_saver_at(saver, TRI_CKPT_AT_DATA);
    TRI_TRY(tri_disk_sync(fd, file));
    tri_saver_at(saver, TRI_CKPT_AT_SHARD);
    return TRI_OK;
}

tri_status tri_saver_write(void *arg)
{
    tri_saver *saver = arg;
    tri_status rc = write_shard(saver);
    tri_handover_end(saver->handover);
    return rc;
}

/* Complete the manifest by what this save is. */
static tri_status commit_fill(tri_saver *saver)
{
    const tri_save_plan *plan = saver->plan;
    tri_manifest *m = plan->manifest;
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

    int64_t file = 0;
    const uint32_t *part = saver->all;
    for (int rank = 0; rank < tri_comm_size(saver->args.world); rank++) {
        if (file < head.n_files - 1 && m->files[file].rank == rank)
            m->files[file++].rest_crc = part[0];
        int64_t first = plan->first_block[rank];
        int64_t n = plan->first_block[rank + 1] - first;
        for (int64_t i = 0; i < n; i++)
            m->blocks[first + i] = part[1 + i];
        part += 1 + n;
    }
    for (int64_t i = 0; i < head.n_files; i++)
        memcpy(m->files[i].uuid, head.uuid, sizeof head.uuid);
    return TRI_OK;
}

tri_status tri_saver_commit(void *arg)
{
    tri_saver *saver = arg;
    tri_manifest *m = saver->plan->manifest;
    TRI_TRY(commit_fill(saver));
    TRI_TRY(tri_view_write(m, saver->path, &m->files[m->head.n_files - 1]));
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

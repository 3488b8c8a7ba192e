// SPDX-License-Identifier: Apache-2.0
/* Saving: the protocol in the order in which it runs. Ranks write their shards on their own, agree that
 * all are on the disk, then rank 0 alone makes the view and the manifest; publishing the manifest is
 * the commit. Until then the folder is a leftover, which no reader takes for a checkpoint.
 */
#include "checkpoint/ckpt.h"

#include "checkpoint/bytes.h"
#include "checkpoint/disk.h"
#include "checkpoint/folder.h"
#include "checkpoint/shard.h"
#include "checkpoint/view.h"
#include "runtime/agree.h"
#include "runtime/base/alloc.h"
#include "runtime/base/log.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* A save under way. `path` and head.uuid are the same on all ranks. */
typedef struct ckpt_save {
    const tri_ckpt_save_args *args;
    bool root;
    tri_manifest_head head;
    char name[TRI_FOLDER_NAME_BYTES];
    char path[TRI_DISK_PATH_BYTES];
} ckpt_save;

static void ckpt_at(const ckpt_save *save, tri_ckpt_point point)
{
    if (save->args->hook.at) save->args->hook.at(save->args->hook.arg, point);
}

/* All ranks have come through, or none goes on and what was written is removed. */
static tri_status ckpt_agree(const ckpt_save *save, tri_status mine)
{
    tri_status rc = tri_agree(save->args->world, mine);
    if (rc == TRI_OK || !save->root || !save->name[0]) return rc;
    tri_err cause;
    tri_err_take(&cause);
    if (tri_folder_remove(save->args->dir, save->name, NULL) != TRI_OK) {
        tri_log(TRI_LOG_WARN, "what a failed save wrote stays until the next one: %s",
                tri_err_last()->text);
        tri_err_clear();
    }
    return tri_err_put(&cause);
}

/* Rank 0: number the new checkpoint, name it and make its folder. */
static tri_status ckpt_begin(ckpt_save *save)
{
    TRI_TRY(tri_folder_begin(save->args->dir, &save->head, save->path));
    tri_folder_name(save->head.step, save->head.uuid, save->name);
    return TRI_OK;
}

/* Index parts of all ranks, as rank 0 gets them: in the order of the ranks. */
typedef struct ckpt_parts {
    tri_bytes files, boxes, blocks;
} ckpt_parts;

static void ckpt_parts_destroy(ckpt_parts *parts)
{
    tri_bytes_destroy(&parts->files);
    tri_bytes_destroy(&parts->boxes);
    tri_bytes_destroy(&parts->blocks);
}

static tri_status ckpt_gather(tri_comm *world, const tri_shard *shard, ckpt_parts *parts)
{
    TRI_TRY(tri_bytes_append(&parts->files, &shard->file,
                             shard->n_files * (int64_t)sizeof shard->file));
    TRI_TRY(tri_bytes_append(&parts->boxes, shard->boxes,
                             shard->n_boxes * (int64_t)sizeof *shard->boxes));
    TRI_TRY(tri_bytes_append(&parts->blocks, shard->blocks,
                             shard->n_blocks * (int64_t)sizeof *shard->blocks));
    TRI_TRY(tri_bytes_gather(world, &parts->files));
    TRI_TRY(tri_bytes_gather(world, &parts->boxes));
    return tri_bytes_gather(world, &parts->blocks);
}

/* Rank 0: one manifest of the parts. A rank's boxes count files and blocks from 0 of its own. */
static tri_status ckpt_join(const ckpt_save *save, const tri_assign *assign,
                            const ckpt_parts *parts, tri_manifest **out)
{
    tri_manifest_head head = save->head;
    head.n_rows = assign->n_rows;
    head.n_boxes = parts->boxes.n / (int64_t)sizeof(tri_manifest_box);
    head.n_blocks = parts->blocks.n / (int64_t)sizeof(int64_t);
    head.n_files = parts->files.n / (int64_t)sizeof(tri_manifest_file) + 1;
    head.job_bytes = (int64_t)strlen(save->args->job_yaml);
    TRI_AUTO(tri_manifest) *m = NULL;
    TRI_TRY(tri_manifest_create(&head, &m));
    memcpy(m->rows, assign->rows, (size_t)head.n_rows * sizeof *m->rows);
    if (parts->boxes.n) memcpy(m->boxes, parts->boxes.data, (size_t)parts->boxes.n);
    if (parts->blocks.n) memcpy(m->blocks, parts->blocks.data, (size_t)parts->blocks.n);
    if (parts->files.n) memcpy(m->files, parts->files.data, (size_t)parts->files.n);
    memcpy(m->job, save->args->job_yaml, (size_t)head.job_bytes);
    snprintf(m->files[head.n_files - 1].name, TRI_MANIFEST_TEXT_BYTES, "%s", TRI_MANIFEST_VIEW);
    memcpy(m->files[head.n_files - 1].uuid, head.uuid, sizeof head.uuid);

    int32_t file = -1;
    int64_t block = 0;
    for (int64_t i = 0; i < head.n_boxes; i++) {
        if (m->boxes[i].first_block == 0) file++;
        m->boxes[i].file = file;
        m->boxes[i].first_block = block;
        block += tri_manifest_blocks_of(m, &m->boxes[i]);
    }
    TRI_TRY(tri_manifest_index(m, save->path, TRI_EBUG));
    *out = TRI_MOVE(m);
    return TRI_OK;
}

/* Rank 0: view and manifest. When this returns, the checkpoint is committed. */
static tri_status ckpt_commit(const ckpt_save *save, const tri_assign *assign,
                              const ckpt_parts *parts)
{
    TRI_AUTO(tri_manifest) *m = NULL;
    TRI_TRY(ckpt_join(save, assign, parts, &m));
    TRI_TRY(tri_view_write(m, save->path, &m->files[m->head.n_files - 1]));
    TRI_TRY(tri_disk_publish(save->path, TRI_MANIFEST_VIEW));
    ckpt_at(save, TRI_CKPT_AT_VIEW);
    TRI_TRY(tri_manifest_write(m, save->path));
    ckpt_at(save, TRI_CKPT_AT_MANIFEST_SYNCED);
    TRI_TRY(tri_disk_publish(save->path, TRI_MANIFEST_NAME));
    ckpt_at(save, TRI_CKPT_AT_COMMITTED);
    return TRI_OK;
}

static tri_status ckpt_check(const tri_ckpt_save_args *args)
{
    TRI_CHECK(args->dir && args->dir[0] && args->step >= 0 && args->job_yaml && args->keep >= 0,
              TRI_EINVAL, "a save needs a folder, a job spec, a step (%lld) and keep (%d) >= 0",
              (long long)args->step, args->keep);
    return TRI_OK;
}

tri_status tri_ckpt_save(const tri_ckpt_save_args *args)
{
    TRI_TRY(ckpt_check(args));
    tri_comm *world = args->world;
    const tri_mesh *mesh = tri_state_mesh(args->state);
    ckpt_save save = {.args = args, .root = tri_comm_rank(world) == 0};
    save.head.step = args->step;
    snprintf(save.head.version, sizeof save.head.version, "%s", args->version ? args->version : "");
    for (int a = 0; a < TRI_AXES; a++)
        save.head.axis[a] = tri_mesh_size(mesh, (tri_axis)a);

    TRI_AUTO(tri_assign) *assign = NULL;
    TRI_TRY(tri_assign_create(args->state, world, &assign));
    TRI_TRY(ckpt_agree(&save, save.root ? ckpt_begin(&save) : TRI_OK));
    ckpt_at(&save, TRI_CKPT_AT_FOLDER);
    TRI_TRY(tri_broadcast(world, tri_span_make(save.path, sizeof save.path, TRI_U8), 0, NULL));
    TRI_TRY(tri_broadcast(world, tri_span_make(&save.head, sizeof save.head, TRI_U8), 0, NULL));

    TRI_AUTO(tri_shard) shard = {.n_files = 0};
    int rank = tri_comm_rank(world);
    TRI_TRY(ckpt_agree(
        &save, tri_shard_write(assign, save.path, save.head.uuid, rank, &args->hook, &shard)));
    ckpt_at(&save, TRI_CKPT_AT_AGREED);
    TRI_AUTO(ckpt_parts) parts = {{0}, {0}, {0}};
    TRI_TRY(ckpt_gather(world, &shard, &parts));
    TRI_TRY(ckpt_agree(&save, save.root ? ckpt_commit(&save, assign, &parts) : TRI_OK));
    if (save.root) tri_folder_prune(args->dir, args->keep, &args->hook);
    ckpt_at(&save, TRI_CKPT_AT_DONE);
    return TRI_OK;
}

void tri_ckpt_info_fini(tri_ckpt_info *info)
{
    TRI_FREE(info->job_yaml);
}

static tri_status ckpt_describe(const tri_manifest *m, const char *path, tri_ckpt_info *out)
{
    tri_ckpt_info info = {.step = m->head.step, .sequence = (uint64_t)m->head.sequence};
    snprintf(info.path, sizeof info.path, "%s", path);
    snprintf(info.uuid, sizeof info.uuid, "%s", m->head.uuid);
    snprintf(info.parent, sizeof info.parent, "%s", m->head.parent);
    snprintf(info.version, sizeof info.version, "%s", m->head.version);
    for (int a = 0; a < TRI_AXES; a++)
        info.mesh[a] = (int)m->head.axis[a];
    for (int64_t i = 0; i < m->head.n_files; i++)
        info.n_bytes += m->files[i].bytes;
    TRI_TRY(tri_alloc_string(m->job, &info.job_yaml));
    *out = info;
    return TRI_OK;
}

/* Tell all ranks what rank 0 found; the text follows the struct. */
static tri_status ckpt_tell(tri_comm *world, tri_ckpt_info *info)
{
    TRI_AUTO(tri_bytes) job = {0};
    if (info->job_yaml)
        TRI_TRY(tri_bytes_append(&job, info->job_yaml, (int64_t)strlen(info->job_yaml) + 1));
    char *mine = info->job_yaml;
    TRI_TRY(tri_broadcast(world, tri_span_make(info, sizeof *info, TRI_U8), 0, NULL));
    TRI_TRY(tri_bytes_broadcast(world, &job));
    info->job_yaml = mine;
    if (!mine) info->job_yaml = TRI_MOVE(job.data);
    return TRI_OK;
}

static tri_status ckpt_find(const char *dir, int64_t below, tri_comm *world, bool *found,
                            tri_ckpt_info *out)
{
    tri_ckpt_info info = {.step = -1};
    tri_status rc = TRI_OK;
    if (tri_comm_rank(world) == 0) {
        TRI_AUTO(tri_manifest) *m = NULL;
        char path[TRI_CKPT_PATH_BYTES];
        rc = tri_folder_find(dir, below, path, &m);
        if (rc == TRI_OK && m) rc = ckpt_describe(m, path, &info);
    }
    TRI_TRY(tri_agree(world, rc));
    int64_t any = info.job_yaml != NULL;
    TRI_TRY(tri_broadcast(world, tri_span_make(&any, 1, TRI_I64), 0, NULL));
    if (any) TRI_TRY(ckpt_tell(world, &info));
    if (any) *out = info;
    *found = any;
    return TRI_OK;
}

tri_status tri_ckpt_find_newest(const char *dir, tri_comm *world, bool *found, tri_ckpt_info *out)
{
    return ckpt_find(dir, -1, world, found, out);
}

tri_status tri_ckpt_find_older(const char *dir, uint64_t sequence, tri_comm *world, bool *found,
                               tri_ckpt_info *out)
{
    return ckpt_find(dir, (int64_t)sequence, world, found, out);
}

tri_status tri_ckpt_read_info(const char *path, tri_ckpt_info *out)
{
    char file[TRI_DISK_PATH_BYTES];
    char found[TRI_CKPT_PATH_BYTES];
    struct stat about;
    TRI_AUTO(tri_manifest) *m = NULL;
    TRI_TRY(TRI_SYS(stat(path, &about), "looking for a checkpoint at %s", path));
    TRI_TRY(tri_disk_path(file, path, TRI_MANIFEST_NAME, ""));
    if (stat(file, &about) == 0) {
        TRI_TRY(tri_manifest_read(path, &m));
        return ckpt_describe(m, path, out);
    }
    TRI_TRY(tri_folder_find(path, -1, found, &m));
    TRI_CHECK(m, TRI_EIO,
              "there is no checkpoint at %s: neither %s in it, nor a folder step-NUMBER.UUID with "
              "one that is intact",
              path, TRI_MANIFEST_NAME);
    return ckpt_describe(m, found, out);
}

// SPDX-License-Identifier: Apache-2.0
/* Saving at once, and finding what was saved. */
#include "checkpoint/ckpt.h"

#include "checkpoint/bytes.h"
#include "checkpoint/disk.h"
#include "checkpoint/folder.h"
#include "checkpoint/saver.h"
#include "runtime/agree.h"
#include "runtime/base/alloc.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static tri_status ckpt_save(tri_saver *saver, const tri_ckpt_save_args *args)
{
    tri_saver_outcome outcome = TRI_SAVER_GOES_ON;
    tri_err failure = {.code = TRI_OK};
    TRI_TRY(tri_saver_begin(saver, args->dir, args->step, args->job_yaml));
    TRI_TRY(tri_saver_finish(saver, &outcome, &failure));
    return outcome == TRI_SAVER_FAILED ? tri_err_put(&failure) : TRI_OK;
}

tri_status tri_ckpt_save(const tri_ckpt_save_args *args)
{
    tri_saver_args saver_args = {.state = args->state,
                                 .world = args->world,
                                 .version = args->version,
                                 .keep = args->keep,
                                 .hook = args->hook};
    TRI_AUTO(tri_saver) *saver = NULL;
    TRI_TRY(tri_agree(args->world, tri_saver_create(&saver_args, &saver)));
    return ckpt_save(saver, args);
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
    tri_ckpt_info told = *info;
    told.job_yaml = NULL;
    TRI_TRY(tri_broadcast(world, tri_span_make(&told, sizeof told, TRI_U8), 0, NULL));
    TRI_TRY(tri_bytes_broadcast(world, &job));
    tri_ckpt_info_fini(info);
    *info = told;
    info->job_yaml = TRI_MOVE(job.data);
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
    tri_status told = any ? ckpt_tell(world, &info) : TRI_OK;
    if (told != TRI_OK) tri_ckpt_info_fini(&info);
    TRI_TRY(told);
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

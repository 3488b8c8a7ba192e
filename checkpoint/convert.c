// SPDX-License-Identifier: Apache-2.0
/* Conversion by links. The files' uuids stay the source's, for their datasets lie under them. */
#include "checkpoint/convert.h"

#include "checkpoint/disk.h"
#include "checkpoint/folder.h"
#include "checkpoint/view.h"
#include "runtime/base/alloc.h"
#include "runtime/base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void convert_at(const tri_convert_args *args, tri_ckpt_point point)
{
    if (args->hook.at) args->hook.at(args->hook.arg, point);
}

/* A manifest like the source's, of the new job. */
static tri_status convert_manifest(const tri_convert_args *args, const tri_manifest *source,
                                   tri_manifest **out)
{
    tri_manifest_head head = source->head;
    head.job_bytes = (int64_t)strlen(args->job_yaml);
    for (int a = 0; a < TRI_AXES; a++)
        head.axis[a] = args->mesh[a];
    snprintf(head.version, sizeof head.version, "%s", args->version ? args->version : "");
    TRI_AUTO(tri_manifest) *m = NULL;
    TRI_TRY(tri_manifest_create(&head, &m));
    memcpy(m->rows, source->rows, (size_t)head.n_rows * sizeof *m->rows);
    memcpy(m->boxes, source->boxes, (size_t)head.n_boxes * sizeof *m->boxes);
    memcpy(m->blocks, source->blocks, (size_t)head.n_blocks * sizeof *m->blocks);
    memcpy(m->files, source->files, (size_t)head.n_files * sizeof *m->files);
    memcpy(m->job, args->job_yaml, (size_t)head.job_bytes);
    *out = TRI_MOVE(m);
    return TRI_OK;
}

static bool convert_is_view(const tri_manifest_file *file)
{
    return strcmp(file->name, TRI_MANIFEST_VIEW) == 0;
}

static tri_status convert_link(const char *source, const char *path, const char *name)
{
    char from[TRI_DISK_PATH_BYTES];
    char to[TRI_DISK_PATH_BYTES];
    TRI_TRY(tri_disk_path(from, source, name, ""));
    TRI_TRY(tri_disk_path(to, path, name, ""));
    int rc = link(from, to);
    TRI_CHECK(rc == 0 || errno != EXDEV, TRI_EINVAL,
              "linking %s to %s: they lie on different file systems, which no hard link crosses: "
              "convert into a folder beside the source, copy the source's folder over first "
              "(cp -r), or write one plain file with --consolidate",
              from, to);
    return TRI_SYS(rc, "linking %s to %s", from, to);
}

/* Link the shards, make the view, publish. */
static tri_status convert_fill(const tri_convert_args *args, tri_manifest *m, const char *path,
                               int64_t *n_linked)
{
    int64_t n = 0;
    for (int64_t i = 0; i < m->head.n_files; i++) {
        if (convert_is_view(&m->files[i])) continue;
        TRI_TRY(convert_link(args->source, path, m->files[i].name));
        n++;
    }
    convert_at(args, TRI_CKPT_AT_SHARD);
    for (int64_t i = 0; i < m->head.n_files; i++)
        if (convert_is_view(&m->files[i])) TRI_TRY(tri_view_write(m, path, &m->files[i]));
    TRI_TRY(tri_disk_publish(path, TRI_MANIFEST_VIEW));
    convert_at(args, TRI_CKPT_AT_VIEW);
    TRI_TRY(tri_manifest_write(m, path));
    convert_at(args, TRI_CKPT_AT_MANIFEST_SYNCED);
    TRI_TRY(tri_disk_publish(path, TRI_MANIFEST_NAME));
    convert_at(args, TRI_CKPT_AT_COMMITTED);
    if (n_linked) *n_linked = n;
    return TRI_OK;
}

/* What a failed conversion made is removed; its failure stays this thread's. */
static tri_status convert_undo(const tri_convert_args *args, const tri_manifest_head *head)
{
    char name[TRI_FOLDER_NAME_BYTES];
    tri_err cause;
    tri_err_take(&cause);
    tri_folder_name(head->step, head->uuid, name);
    if (tri_folder_remove(args->dir, name, NULL) != TRI_OK) {
        tri_log(TRI_LOG_WARN, "what a failed conversion made stays until the next save: %s",
                tri_err_last()->text);
        tri_err_clear();
    }
    return tri_err_put(&cause);
}

tri_status tri_convert_layout(const tri_convert_args *args, char path[TRI_CKPT_PATH_BYTES],
                              int64_t *n_linked)
{
    TRI_AUTO(tri_manifest) *source = NULL;
    TRI_AUTO(tri_manifest) *m = NULL;
    TRI_TRY(tri_folder_read(args->source, &source));
    TRI_TRY(convert_manifest(args, source, &m));
    TRI_TRY(tri_disk_make_folder(args->dir));
    TRI_TRY(tri_folder_begin(args->dir, &m->head, path));
    snprintf(m->head.parent, sizeof m->head.parent, "%s", source->head.uuid);
    convert_at(args, TRI_CKPT_AT_FOLDER);
    if (convert_fill(args, m, path, n_linked) != TRI_OK) return convert_undo(args, &m->head);
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* Consolidation: HDF5 makes the skeleton, rows stream into it at their offsets. */
#include "checkpoint/consolidate.h"

#include "checkpoint/disk.h"
#include "checkpoint/folder.h"
#include "checkpoint/row_reader.h"
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"
#include "runtime/h5.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One under way. */
typedef struct consolidation {
    const char *source;
    char folder[TRI_DISK_PATH_BYTES]; /* of the new file */
    char name[TRI_DISK_PATH_BYTES];
    char temporary[TRI_DISK_PATH_BYTES];
    tri_manifest *m;
    int64_t *offset; /* of each row in the file */
    char *buffer;
} consolidation;

static void consolidation_destroy(consolidation *c)
{
    tri_manifest_destroy(&c->m);
    TRI_FREE(c->offset);
    TRI_FREE(c->buffer);
}

/* Folder and name of `file`, which must not be there. */
static tri_status consolidate_place(consolidation *c, const char *file)
{
    struct stat about;
    const char *slash = strrchr(file, '/');
    const char *name = slash ? slash + 1 : file;
    int n_folder = slash ? (int)(slash - file) : 0;
    TRI_CHECK(name[0] && strlen(file) < sizeof c->name - sizeof TRI_DISK_TEMPORARY, TRI_EINVAL,
              "'%.80s' is no name of a file to write", file);
    TRI_CHECK(lstat(file, &about) == -1 && errno == ENOENT, TRI_EINVAL,
              "%s is there already: remove it, or write another file", file);
    if (!slash)
        snprintf(c->folder, sizeof c->folder, ".");
    else
        snprintf(c->folder, sizeof c->folder, "%.*s", n_folder ? n_folder : 1, file);
    snprintf(c->name, sizeof c->name, "%s", name);
    return tri_disk_path(c->temporary, c->folder, name, TRI_DISK_TEMPORARY);
}

static tri_status consolidate_about(const tri_manifest *m, tri_h5 *h5)
{
    const tri_manifest_head *head = &m->head;
    size_t width = head->job_bytes > 0 ? (size_t)head->job_bytes : 1; /* none of width 0 */
    TRI_TRY(tri_h5_set_text(h5, "/", "uuid", head->uuid));
    TRI_TRY(tri_h5_set_text(h5, "/", "parent", head->parent));
    TRI_TRY(tri_h5_set_text(h5, "/", "version", head->version));
    TRI_TRY(tri_h5_set_ints(h5, "/", "sequence", 1, &head->sequence));
    TRI_TRY(tri_h5_set_ints(h5, "/", "step", 1, &head->step));
    TRI_TRY(tri_h5_set_ints(h5, "/", "mesh", TRI_AXES, head->axis));
    return tri_h5_write_text(h5, "job.yaml", 1, width, m->job);
}

/* The file with all datasets, none of their bytes. */
static tri_status consolidate_skeleton(consolidation *c)
{
    TRI_AUTO(tri_h5) *h5 = NULL;
    TRI_TRY(tri_h5_create(c->temporary, 0, &h5));
    TRI_TRY(consolidate_about(c->m, h5));
    for (int64_t i = 0; i < c->m->head.n_rows; i++) {
        const tri_manifest_row *row = &c->m->rows[i];
        TRI_TRY(tri_h5_reserve(h5, row->name, (tri_dtype)row->dtype, row->n_dims, row->shape,
                               &c->offset[i]));
        TRI_TRY(tri_h5_set_text(h5, row->name, "external", row->external));
    }
    return tri_h5_close(&h5);
}

static tri_status consolidate_row(const consolidation *c, tri_row_reader *reader, int64_t row,
                                  int fd)
{
    int64_t elements = tri_row_reader_elements(reader, row);
    int64_t element_bytes = (int64_t)tri_dtype_bytes((tri_dtype)c->m->rows[row].dtype);
    int64_t most = TRI_MANIFEST_BLOCK_BYTES / element_bytes;
    for (int64_t at = 0; at < elements; at += most) {
        int64_t n = tri_min64(most, elements - at);
        TRI_TRY(tri_row_reader_read(reader, row, at, n, c->buffer));
        TRI_TRY(tri_disk_write(fd, c->temporary, c->buffer, n * element_bytes,
                               c->offset[row] + at * element_bytes));
    }
    return TRI_OK;
}

static tri_status consolidate_write(consolidation *c, int64_t *n_bytes)
{
    TRI_TRY(consolidate_skeleton(c));
    TRI_AUTO(tri_disk_fd) fd = -1;
    TRI_AUTO(tri_row_reader) *reader = NULL;
    int64_t bytes = 0;
    TRI_TRY(tri_disk_open(c->temporary, true, &fd, &bytes));
    TRI_TRY(tri_row_reader_create(c->m, c->source, &reader));
    for (int64_t i = 0; i < c->m->head.n_rows; i++)
        TRI_TRY(consolidate_row(c, reader, i, fd));
    TRI_TRY(tri_disk_sync(fd, c->temporary));
    if (n_bytes) *n_bytes = bytes;
    return tri_disk_publish(c->folder, c->name);
}

tri_status tri_consolidate(const char *source, const char *file, int64_t *n_bytes)
{
    TRI_AUTO(consolidation) c = {.source = source};
    TRI_TRY(consolidate_place(&c, file));
    TRI_TRY(tri_folder_read(source, &c.m));
    TRI_TRY(TRI_NEW_ARRAY(c.m->head.n_rows, &c.offset));
    TRI_TRY(TRI_NEW_ARRAY(TRI_MANIFEST_BLOCK_BYTES, &c.buffer));
    tri_status rc = consolidate_write(&c, n_bytes);
    if (rc != TRI_OK) unlink(c.temporary);
    return rc;
}

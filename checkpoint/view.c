// SPDX-License-Identifier: Apache-2.0
/* Building the view, and checking it where somebody asks: to open each dataset again takes as long as
 * to make it, and what was written is covered by the checksum of the file. Sources carry the uuid in
 * their paths, so that a file of the same name from another checkpoint cannot stand in for one.
 */
#include "checkpoint/view.h"

#include "checkpoint/disk.h"
#include "runtime/base/alloc.h"
#include "runtime/h5.h"

#include <stdio.h>

enum { VIEW_SOURCE_BYTES = TRI_NAME_BYTES + 64 };

/* Scratch for the row with most boxes. */
typedef struct view_scratch {
    tri_h5_part *parts;
    char *sources; /* VIEW_SOURCE_BYTES each */
} view_scratch;

static void view_scratch_destroy(view_scratch *scratch)
{
    TRI_FREE(scratch->parts);
    TRI_FREE(scratch->sources);
}

static tri_status view_scratch_create(const tri_manifest *m, view_scratch *out)
{
    int64_t most = 0;
    for (int64_t i = 0; i < m->head.n_rows; i++)
        if (m->rows[i].n_boxes > most) most = m->rows[i].n_boxes;
    TRI_TRY(TRI_NEW_ARRAY(most, &out->parts));
    return TRI_NEW_ARRAY(most * VIEW_SOURCE_BYTES, &out->sources);
}

static tri_status view_row(const tri_manifest *m, const tri_manifest_row *row, tri_h5 *h5,
                           view_scratch *scratch)
{
    for (int64_t i = 0; i < row->n_boxes; i++) {
        const tri_manifest_box *box = &m->boxes[row->first_box + i];
        char *source = scratch->sources + i * VIEW_SOURCE_BYTES;
        const tri_manifest_file *file = &m->files[box->file];
        TRI_TRY(
            tri_manifest_dataset(file->uuid, row->name, box->number, VIEW_SOURCE_BYTES, source));
        scratch->parts[i] = (tri_h5_part){tri_manifest_box_of(m, box), file->name, source};
    }
    TRI_TRY(tri_h5_write_virtual(h5, row->name, (tri_dtype)row->dtype, row->n_dims, row->shape,
                                 row->n_boxes, scratch->parts));
    return tri_h5_set_text(h5, row->name, "external", row->external);
}

tri_status tri_view_check(const tri_manifest *manifest, const char *file)
{
    const tri_manifest *m = manifest;
    TRI_AUTO(tri_h5) *h5 = NULL;
    TRI_TRY(tri_h5_open(file, &h5));
    for (int64_t i = 0; i < m->head.n_rows; i++) {
        const tri_manifest_row *row = &m->rows[i];
        TRI_AUTO(tri_h5_dataset) *dataset = NULL;
        TRI_TRY(tri_h5_dataset_open(h5, row->name, &dataset));
        int64_t shape[TRI_MAX_DIMS] = {0};
        bool same = tri_h5_dataset_shape(dataset, shape) == row->n_dims &&
                    tri_h5_dataset_parts(dataset) == row->n_boxes;
        for (int d = 0; d < row->n_dims; d++)
            same = same && shape[d] == row->shape[d];
        TRI_CHECK(same, TRI_EFORMAT, "%s: dataset '%s' is not what was written", file, row->name);
    }
    return TRI_OK;
}

tri_status tri_view_write(const tri_manifest *manifest, const char *path, tri_manifest_file *out)
{
    const tri_manifest *m = manifest;
    char file[TRI_DISK_PATH_BYTES];
    TRI_TRY(tri_disk_path(file, path, TRI_MANIFEST_VIEW, TRI_DISK_TEMPORARY));
    TRI_AUTO(view_scratch) scratch = {0};
    TRI_TRY(view_scratch_create(m, &scratch));
    TRI_AUTO(tri_h5) *h5 = NULL;
    TRI_TRY(tri_h5_create(file, 0, &h5));
    TRI_TRY(tri_h5_set_text(h5, "/", "uuid", m->head.uuid));
    TRI_TRY(tri_h5_set_ints(h5, "/", "step", 1, &m->head.step));
    for (int64_t i = 0; i < m->head.n_rows; i++)
        TRI_TRY(view_row(m, &m->rows[i], h5, &scratch));
    TRI_TRY(tri_h5_close(&h5));

    TRI_AUTO(tri_disk_fd) fd = -1;
    int64_t bytes = 0;
    uint32_t crc = 0;
    TRI_TRY(tri_disk_open(file, true, &fd, &bytes));
    TRI_TRY(tri_disk_crc(fd, file, 0, bytes, &crc));
    TRI_TRY(tri_disk_sync(fd, file));
    tri_manifest_file entry = {.bytes = bytes, .rank = -1, .rest_crc = crc};
    snprintf(entry.name, sizeof entry.name, "%s", TRI_MANIFEST_VIEW);
    snprintf(entry.uuid, sizeof entry.uuid, "%s", m->head.uuid);
    *out = entry;
    return TRI_OK;
}

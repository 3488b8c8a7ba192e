// SPDX-License-Identifier: Apache-2.0
/* The layout of a shard file, and all of its bytes but those of its boxes. */
#include "checkpoint/shard.h"

#include "checkpoint/disk.h"
#include "runtime/base/alloc.h"
#include "runtime/base/crc.h"
#include "runtime/base/int.h"

#include <stdio.h>
#include <stdlib.h>

enum { SHARD_DATASET_BYTES = TRI_NAME_BYTES + 64 };

typedef char *shard_buffer;

static void shard_buffer_destroy(shard_buffer *buffer)
{
    TRI_FREE(*buffer);
}

void tri_shard_layout_destroy(tri_shard_layout *layout)
{
    TRI_FREE(layout->boxes);
    TRI_FREE(layout->ranges);
}

void tri_shard_name(int rank, char out[TRI_MANIFEST_TEXT_BYTES])
{
    snprintf(out, TRI_MANIFEST_TEXT_BYTES, "shard-%05d.h5", rank);
}

static int64_t shard_box_bytes(const tri_manifest_row *row, const tri_manifest_box *box)
{
    int64_t bytes = (int64_t)tri_dtype_bytes((tri_dtype)row->dtype);
    for (int d = 0; d < row->n_dims; d++)
        bytes *= box->count[d];
    return bytes;
}

/* The file with all datasets, none of their bytes, in memory. Writes: offsets [n_boxes], *bytes. */
static tri_status shard_skeleton(const tri_manifest_row *rows, const tri_shard_layout *layout,
                                 const char *uuid, const char *file, int64_t *offsets, tri_h5 **out,
                                 int64_t *bytes)
{
    TRI_AUTO(tri_h5) *h5 = NULL;
    TRI_TRY(tri_h5_create_image(file, &h5));
    for (int64_t i = 0; i < layout->n_boxes; i++) {
        const tri_manifest_box *box = &layout->boxes[i];
        const tri_manifest_row *row = &rows[box->row];
        char dataset[SHARD_DATASET_BYTES];
        TRI_TRY(tri_manifest_dataset(uuid, row->name, box->number, sizeof dataset, dataset));
        TRI_TRY(tri_h5_reserve(h5, dataset, (tri_dtype)row->dtype, row->n_dims, box->count,
                               &offsets[i]));
        TRI_TRY(tri_h5_set_ints(h5, dataset, "start", row->n_dims, box->start));
        TRI_TRY(tri_h5_set_ints(h5, dataset, "shape", row->n_dims, row->shape));
    }
    TRI_TRY(tri_h5_finish_image(h5, bytes));
    *out = TRI_MOVE(h5);
    return TRI_OK;
}

static int shard_order(const void *a, const void *b)
{
    const int64_t *x = a;
    const int64_t *y = b;
    return (*x > *y) - (*x < *y);
}

tri_status tri_shard_place(const tri_manifest_row *rows, const char *file, tri_shard_layout *layout)
{
    int64_t n = layout->n_boxes;
    TRI_AUTO(tri_h5) *h5 = NULL;
    TRI_TRY(TRI_NEW_ARRAY(2 * n, &layout->ranges));
    TRI_TRY(shard_skeleton(rows, layout, TRI_SHARD_ANY_UUID, file, layout->ranges, &h5,
                           &layout->bytes));
    for (int64_t i = 0; i < n; i++)
        layout->boxes[i].offset = layout->ranges[i];
    for (int64_t i = 0; i < n; i++) {
        const tri_manifest_box *box = &layout->boxes[i];
        layout->ranges[2 * i] = box->offset;
        layout->ranges[2 * i + 1] = box->offset + shard_box_bytes(&rows[box->row], box);
    }
    if (n) qsort(layout->ranges, (size_t)n, 2 * sizeof *layout->ranges, shard_order);
    return TRI_OK;
}

/* Write bytes [begin, end) of the skeleton, in pieces. */
static tri_status shard_write_gap(const tri_h5 *h5, int64_t begin, int64_t end, char *buffer,
                                  int fd, const char *file, uint32_t *crc)
{
    for (int64_t at = begin; at < end; at += TRI_DISK_PIECE_BYTES) {
        int64_t n = tri_min64(TRI_DISK_PIECE_BYTES, end - at);
        tri_h5_copy_image(h5, at, n, buffer);
        *crc = tri_crc32c_extend(*crc, buffer, (size_t)n);
        TRI_TRY(tri_disk_write(fd, file, buffer, n, at));
    }
    return TRI_OK;
}

tri_status tri_shard_write_rest(const tri_manifest_row *rows, const tri_shard_layout *layout,
                                const char *uuid, int fd, const char *file, uint32_t *rest_crc)
{
    int64_t n = layout->n_boxes;
    TRI_AUTO(shard_buffer) offsets = NULL;
    TRI_AUTO(shard_buffer) buffer = NULL;
    TRI_AUTO(tri_h5) *h5 = NULL;
    int64_t bytes = 0;
    TRI_TRY(TRI_NEW_ARRAY(n * (int64_t)sizeof(int64_t), &offsets));
    TRI_TRY(TRI_NEW_ARRAY(TRI_DISK_PIECE_BYTES, &buffer));
    int64_t *now = (int64_t *)(void *)offsets;
    TRI_TRY(shard_skeleton(rows, layout, uuid, file, now, &h5, &bytes));
    bool same = bytes == layout->bytes;
    for (int64_t i = 0; i < n; i++)
        same = same && now[i] == layout->boxes[i].offset;
    TRI_CHECK(same, TRI_EBUG, "%s: HDF5 places its datasets otherwise than when it was planned",
              file);

    uint32_t crc = 0;
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        TRI_TRY(shard_write_gap(h5, at, layout->ranges[2 * i], buffer, fd, file, &crc));
        at = layout->ranges[2 * i + 1];
    }
    TRI_TRY(shard_write_gap(h5, at, bytes, buffer, fd, file, &crc));
    *rest_crc = crc;
    return TRI_OK;
}

tri_status tri_shard_rest_crc(int fd, const char *path, int64_t bytes, int64_t *ranges,
                              int64_t n_ranges, int64_t *crc)
{
    uint32_t sum = 0;
    int64_t at = 0;
    if (n_ranges) qsort(ranges, (size_t)n_ranges, 2 * sizeof *ranges, shard_order);
    for (int64_t i = 0; i < n_ranges; i++) {
        TRI_CHECK(ranges[2 * i] >= at, TRI_EFORMAT, "%s: two boxes overlap at byte %lld", path,
                  (long long)ranges[2 * i]);
        TRI_TRY(tri_disk_crc(fd, path, at, ranges[2 * i], &sum));
        at = ranges[2 * i + 1];
    }
    TRI_TRY(tri_disk_crc(fd, path, at, bytes, &sum));
    *crc = sum;
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* Writing this rank's shard: skeleton, bytes with checksums, checksum of the rest, publication. */
#include "checkpoint/shard.h"

#include "checkpoint/disk.h"
#include "runtime/base/alloc.h"
#include "runtime/base/crc.h"
#include "runtime/base/int.h"
#include "runtime/h5.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHARD_DATASET_BYTES = TRI_NAME_BYTES + 64 };

void tri_shard_destroy(tri_shard *shard)
{
    TRI_FREE(shard->boxes);
    TRI_FREE(shard->blocks);
}

static void shard_at(const tri_ckpt_hook *hook, tri_ckpt_point point)
{
    if (hook->at) hook->at(hook->arg, point);
}

static int64_t shard_piece_bytes(const tri_assign *assign, const tri_assign_piece *piece)
{
    tri_dtype dtype = (tri_dtype)assign->rows[piece->row].dtype;
    return tri_box_elements(&piece->box) * (int64_t)tri_dtype_bytes(dtype);
}

/* Boxes as the manifest has them, but for their offsets; counts blocks. */
static tri_status shard_index(const tri_assign *assign, tri_shard *shard)
{
    TRI_TRY(TRI_NEW_ARRAY(assign->n_pieces, &shard->boxes));
    shard->n_boxes = assign->n_pieces;
    for (int64_t i = 0; i < assign->n_pieces; i++) {
        const tri_assign_piece *piece = &assign->pieces[i];
        tri_manifest_box *box = &shard->boxes[i];
        for (int d = 0; d < piece->box.n_dims; d++) {
            box->start[d] = piece->box.start[d];
            box->count[d] = piece->box.count[d];
        }
        tri_dtype dtype = (tri_dtype)assign->rows[piece->row].dtype;
        box->row = piece->row;
        bool same_row = i > 0 && piece[-1].row == piece->row;
        box->number = same_row ? box[-1].number + 1 : 0;
        box->block_elements = tri_manifest_block_elements(&piece->box, dtype);
        box->first_block = shard->n_blocks;
        int64_t elements = tri_box_elements(&piece->box);
        shard->n_blocks += tri_round_up(elements, box->block_elements) / box->block_elements;
    }
    return TRI_NEW_ARRAY(shard->n_blocks, &shard->blocks);
}

/* The file with all datasets, none of their bytes. */
static tri_status shard_skeleton(const tri_assign *assign, const char *file, const char *uuid,
                                 tri_shard *shard)
{
    TRI_AUTO(tri_h5) *h5 = NULL;
    TRI_TRY(tri_h5_create(file, 0, &h5));
    for (int64_t i = 0; i < shard->n_boxes; i++) {
        tri_manifest_box *box = &shard->boxes[i];
        const tri_manifest_row *row = &assign->rows[box->row];
        char dataset[SHARD_DATASET_BYTES];
        TRI_TRY(tri_manifest_dataset(uuid, row->name, box->number, sizeof dataset, dataset));
        TRI_TRY(tri_h5_reserve(h5, dataset, (tri_dtype)row->dtype, row->n_dims, box->count,
                               &box->offset));
        TRI_TRY(tri_h5_set_ints(h5, dataset, "start", row->n_dims, box->start));
        TRI_TRY(tri_h5_set_ints(h5, dataset, "shape", row->n_dims, row->shape));
    }
    return tri_h5_close(&h5);
}

/* Checksum from memory, then write: what is verified later is what was held here. */
static tri_status shard_data(const tri_assign *assign, int fd, const char *file, tri_shard *shard,
                             const tri_ckpt_hook *hook)
{
    for (int64_t i = 0; i < shard->n_boxes; i++) {
        const tri_manifest_box *box = &shard->boxes[i];
        const char *data = assign->pieces[i].data;
        TRI_CHECK(data, TRI_EBUG, "row '%s' is saved before it has memory",
                  assign->rows[box->row].name);
        tri_dtype dtype = (tri_dtype)assign->rows[box->row].dtype;
        int64_t bytes = shard_piece_bytes(assign, &assign->pieces[i]);
        int64_t block = box->block_elements * (int64_t)tri_dtype_bytes(dtype);
        for (int64_t at = 0, b = box->first_block; at < bytes; at += block, b++) {
            int64_t n = tri_min64(block, bytes - at);
            shard->blocks[b] = tri_crc32c(data + at, (size_t)n);
            TRI_TRY(tri_disk_write(fd, file, data + at, n, box->offset + at));
        }
        if (i == shard->n_boxes / 2) shard_at(hook, TRI_CKPT_AT_HALF);
    }
    return TRI_OK;
}

static int shard_order(const void *a, const void *b)
{
    const int64_t *x = a;
    const int64_t *y = b;
    return (*x > *y) - (*x < *y);
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

typedef int64_t *shard_ranges;

static void shard_ranges_destroy(shard_ranges *ranges)
{
    TRI_FREE(*ranges);
}

static tri_status shard_rest(const tri_assign *assign, int fd, const char *file, tri_shard *shard)
{
    TRI_AUTO(shard_ranges) ranges = NULL;
    TRI_TRY(TRI_NEW_ARRAY(2 * shard->n_boxes, &ranges));
    for (int64_t i = 0; i < shard->n_boxes; i++) {
        ranges[2 * i] = shard->boxes[i].offset;
        ranges[2 * i + 1] = shard->boxes[i].offset + shard_piece_bytes(assign, &assign->pieces[i]);
    }
    return tri_shard_rest_crc(fd, file, shard->file.bytes, ranges, shard->n_boxes,
                              &shard->file.rest_crc);
}

tri_status tri_shard_write(const tri_assign *assign, const char *path, const char *uuid, int rank,
                           const tri_ckpt_hook *hook, tri_shard *out)
{
    if (assign->n_pieces == 0) return TRI_OK;
    TRI_TRY(shard_index(assign, out));
    out->n_files = 1;
    out->file.rank = rank;
    snprintf(out->file.name, sizeof out->file.name, "shard-%05d.h5", rank);
    snprintf(out->file.uuid, sizeof out->file.uuid, "%s", uuid);
    char file[TRI_DISK_PATH_BYTES];
    TRI_TRY(tri_disk_path(file, path, out->file.name, TRI_DISK_TEMPORARY));
    TRI_TRY(shard_skeleton(assign, file, uuid, out));
    shard_at(hook, TRI_CKPT_AT_SKELETON);
    TRI_AUTO(tri_disk_fd) fd = -1;
    TRI_TRY(tri_disk_open(file, true, &fd, &out->file.bytes));
    TRI_TRY(shard_data(assign, fd, file, out, hook));
    TRI_TRY(shard_rest(assign, fd, file, out));
    shard_at(hook, TRI_CKPT_AT_DATA);
    TRI_TRY(tri_disk_sync(fd, file));
    shard_at(hook, TRI_CKPT_AT_SHARD_SYNCED);
    TRI_TRY(tri_disk_publish(path, out->file.name));
    shard_at(hook, TRI_CKPT_AT_SHARD);
    return TRI_OK;
}

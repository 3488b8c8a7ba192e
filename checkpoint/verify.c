// SPDX-License-Identifier: Apache-2.0
/* Verification: every byte of a checkpoint against its checksums. */
#include "checkpoint/ckpt.h"
#include "checkpoint/disk.h"
#include "checkpoint/manifest.h"
#include "checkpoint/shard.h"
#include "runtime/base/alloc.h"

typedef char *verify_bytes;
typedef int64_t *verify_numbers;

static void verify_bytes_destroy(verify_bytes *bytes)
{
    TRI_FREE(*bytes);
}

static void verify_numbers_destroy(verify_numbers *numbers)
{
    TRI_FREE(*numbers);
}

/* One file's bytes outside its boxes. */
static tri_status verify_rest(const tri_manifest *m, const char *path, int32_t index,
                              int64_t *ranges)
{
    const tri_manifest_file *file = &m->files[index];
    char name[TRI_DISK_PATH_BYTES];
    TRI_AUTO(tri_disk_fd) fd = -1;
    int64_t bytes = 0;
    TRI_TRY(tri_disk_path(name, path, file->name, ""));
    TRI_TRY(tri_disk_open(name, false, &fd, &bytes));
    TRI_CHECK(bytes == file->bytes, TRI_EFORMAT, "%s has %lld bytes, the manifest says %lld", name,
              (long long)bytes, (long long)file->bytes);
    int64_t n = 0;
    for (int64_t i = 0; i < m->head.n_boxes; i++) {
        const tri_manifest_box *box = &m->boxes[i];
        if (box->file != index) continue;
        tri_box whole = tri_manifest_box_of(m, box);
        tri_dtype dtype = (tri_dtype)m->rows[box->row].dtype;
        ranges[2 * n] = box->offset;
        ranges[2 * n++ + 1] =
            box->offset + tri_box_elements(&whole) * (int64_t)tri_dtype_bytes(dtype);
    }
    int64_t crc = 0;
    TRI_TRY(tri_shard_rest_crc(fd, name, bytes, ranges, n, &crc));
    TRI_CHECK(crc == file->rest_crc, TRI_EFORMAT,
              "%s is damaged outside its rows: CRC32C %08llx, the manifest says %08llx", name,
              (unsigned long long)crc, (unsigned long long)file->rest_crc);
    return TRI_OK;
}

tri_status tri_ckpt_verify(const char *path)
{
    TRI_AUTO(tri_manifest) *m = NULL;
    TRI_AUTO(verify_bytes) buffer = NULL;
    TRI_AUTO(verify_numbers) ranges = NULL;
    TRI_AUTO(tri_shard_reader) *reader = NULL;
    TRI_TRY(tri_manifest_read(path, &m));
    TRI_TRY(TRI_NEW_ARRAY(TRI_MANIFEST_BLOCK_BYTES, &buffer));
    TRI_TRY(TRI_NEW_ARRAY(2 * m->head.n_boxes, &ranges));
    TRI_TRY(tri_shard_reader_create(m, path, buffer, &reader));
    for (int64_t i = 0; i < m->head.n_boxes; i++)
        TRI_TRY(tri_shard_verify_box(reader, i));
    for (int32_t i = 0; i < m->head.n_files; i++)
        TRI_TRY(verify_rest(m, path, i, ranges));
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* Reading boxes. Runs of elements that are contiguous in the stored box, in the wanted box and in their
 * common part come in the order of the stored box, so each block is read and verified once per call.
 */
#include "checkpoint/disk.h"
#include "checkpoint/shard.h"
#include "runtime/base/alloc.h"
#include "runtime/base/crc.h"
#include "runtime/base/int.h"

#include <assert.h>
#include <string.h>

enum { SHARD_OPEN_FILES = 16 };

struct tri_shard_reader {
    const tri_manifest *manifest;
    const char *path;
    char *buffer;
    int64_t box, block; /* what the buffer holds; -1: nothing */
    int64_t block_bytes;
    struct {
        tri_disk_fd fd;
        int32_t file;
    } open[SHARD_OPEN_FILES];
};

tri_status tri_shard_reader_create(const tri_manifest *manifest, const char *path, void *buffer,
                                   tri_shard_reader **out)
{
    tri_shard_reader *reader = NULL;
    TRI_TRY(TRI_NEW(&reader));
    reader->manifest = manifest;
    reader->path = path;
    reader->buffer = buffer;
    reader->box = -1;
    for (int i = 0; i < SHARD_OPEN_FILES; i++)
        reader->open[i].fd = -1;
    *out = reader;
    return TRI_OK;
}

void tri_shard_reader_destroy(tri_shard_reader **reader)
{
    if (!*reader) return;
    for (int i = 0; i < SHARD_OPEN_FILES; i++)
        tri_disk_fd_destroy(&(*reader)->open[i].fd);
    TRI_FREE(*reader);
}

/* An open file of the checkpoint, of the right size. */
static tri_status reader_file(tri_shard_reader *reader, int32_t index, int *fd)
{
    int slot = index % SHARD_OPEN_FILES;
    if (reader->open[slot].fd < 0 || reader->open[slot].file != index) {
        tri_disk_fd_destroy(&reader->open[slot].fd);
        const tri_manifest_file *file = &reader->manifest->files[index];
        char path[TRI_DISK_PATH_BYTES];
        int64_t bytes = 0;
        TRI_TRY(tri_disk_path(path, reader->path, file->name, ""));
        TRI_TRY(tri_disk_open(path, false, &reader->open[slot].fd, &bytes));
        reader->open[slot].file = index;
        TRI_CHECK(bytes == file->bytes, TRI_EFORMAT, "%s has %lld bytes, the manifest says %lld",
                  path, (long long)bytes, (long long)file->bytes);
    }
    *fd = reader->open[slot].fd;
    return TRI_OK;
}

/* Have block `block` of box `index` in the buffer, verified. */
static tri_status reader_load(tri_shard_reader *reader, int64_t index, int64_t block)
{
    if (reader->box == index && reader->block == block) return TRI_OK;
    const tri_manifest *m = reader->manifest;
    const tri_manifest_box *box = &m->boxes[index];
    const tri_manifest_row *row = &m->rows[box->row];
    tri_box whole = tri_manifest_box_of(m, box);
    int64_t first = block * box->block_elements;
    int64_t count = tri_min64(box->block_elements, tri_box_elements(&whole) - first);
    int64_t element_bytes = (int64_t)tri_dtype_bytes((tri_dtype)row->dtype);
    int64_t offset = box->offset + first * element_bytes;

    char path[TRI_DISK_PATH_BYTES];
    TRI_TRY(tri_disk_path(path, reader->path, m->files[box->file].name, ""));
    int fd = -1;
    TRI_TRY(reader_file(reader, box->file, &fd));
    reader->box = -1;
    reader->block_bytes = count * element_bytes;
    TRI_TRY(tri_disk_read(fd, path, reader->buffer, reader->block_bytes, offset));
    int64_t crc = tri_crc32c(reader->buffer, (size_t)reader->block_bytes);
    int64_t want = m->blocks[box->first_block + block];
    TRI_CHECK(crc == want, TRI_EFORMAT,
              "%s is damaged: row '%s', bytes [%lld, %lld) have CRC32C %08llx, the manifest says "
              "%08llx",
              path, row->name, (long long)offset, (long long)(offset + reader->block_bytes),
              (unsigned long long)crc, (unsigned long long)want);
    reader->box = index;
    reader->block = block;
    return TRI_OK;
}

/* Copy `count` elements from flat position `from` of the box, across blocks. */
static tri_status reader_copy(tri_shard_reader *reader, int64_t index, int64_t from, int64_t count,
                              char *out)
{
    const tri_manifest_box *box = &reader->manifest->boxes[index];
    tri_dtype dtype = (tri_dtype)reader->manifest->rows[box->row].dtype;
    int64_t element_bytes = (int64_t)tri_dtype_bytes(dtype);
    while (count > 0) {
        int64_t block = from / box->block_elements;
        int64_t skip = from - block * box->block_elements;
        TRI_TRY(reader_load(reader, index, block));
        int64_t n = tri_min64(count, reader->block_bytes / element_bytes - skip);
        memcpy(out, reader->buffer + skip * element_bytes, (size_t)(n * element_bytes));
        out += n * element_bytes;
        from += n;
        count -= n;
    }
    return TRI_OK;
}

/* Flat position, in `box`, of the global coordinates `at`. */
static int64_t reader_flat(const tri_box *box, const int64_t *at)
{
    int64_t flat = 0;
    for (int d = 0; d < box->n_dims; d++)
        flat = flat * box->count[d] + at[d] - box->start[d];
    return flat;
}

/* Number of trailing dimensions a run may span: below them all three boxes are equal. */
static int reader_run_dim(const tri_box *a, const tri_box *b, const tri_box *common)
{
    int d = common->n_dims - 1;
    while (d > 0 && common->count[d] == a->count[d] && common->count[d] == b->count[d])
        d--;
    return d;
}

tri_status tri_shard_read(tri_shard_reader *reader, int64_t box, const tri_box *want, void *data)
{
    const tri_manifest *m = reader->manifest;
    tri_box stored = tri_manifest_box_of(m, &m->boxes[box]);
    tri_box common;
    assert(want->n_dims == stored.n_dims);
    if (!tri_box_intersect(&stored, want, &common)) return TRI_OK;
    size_t element_bytes = tri_dtype_bytes((tri_dtype)m->rows[m->boxes[box].row].dtype);
    int run_dim = reader_run_dim(&stored, want, &common);
    int64_t run = 1;
    for (int d = run_dim; d < common.n_dims; d++)
        run *= common.count[d];

    int64_t n_runs = tri_box_elements(&common) / run;
    for (int64_t r = 0; r < n_runs; r++) {
        int64_t at[TRI_MAX_DIMS];
        memcpy(at, common.start, sizeof at);
        int64_t rest = r;
        for (int d = run_dim - 1; d >= 0; d--) {
            at[d] += rest % common.count[d];
            rest /= common.count[d];
        }
        char *out = (char *)data + (size_t)reader_flat(want, at) * element_bytes;
        TRI_TRY(reader_copy(reader, box, reader_flat(&stored, at), run, out));
    }
    return TRI_OK;
}

tri_status tri_shard_verify_box(tri_shard_reader *reader, int64_t box)
{
    int64_t n = tri_manifest_blocks_of(reader->manifest, &reader->manifest->boxes[box]);
    for (int64_t block = 0; block < n; block++)
        TRI_TRY(reader_load(reader, box, block));
    return TRI_OK;
}

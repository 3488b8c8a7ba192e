// SPDX-License-Identifier: Apache-2.0
/* Reading boxes. Runs of elements that are contiguous in the stored box, in the wanted box and in their
 * common part come in the order of the stored box, so each block is read and verified once per call.
 */
#include "checkpoint/disk.h"
#include "checkpoint/shard.h"
#include "checkpoint/text.h"
#include "runtime/base/alloc.h"
#include "runtime/base/crc.h"
#include "runtime/base/int.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

/* A piece is read and summed before the next: it fits the second-level cache, and a call is cheap for it. */
enum { SHARD_OPEN_FILES = 16, SHARD_PIECE_BYTES = 512 << 10 };

struct tri_shard_reader {
    const tri_manifest *manifest;
    const char *path;
    char *buffer;
    int64_t box, block; /* what the buffer holds; -1: nothing */
    int64_t n_bytes;    /* read so far */
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

int64_t tri_shard_reader_bytes(const tri_shard_reader *reader)
{
    return reader->n_bytes;
}

void tri_shard_reader_destroy(tri_shard_reader **reader)
{
    if (!*reader) return;
    for (int i = 0; i < SHARD_OPEN_FILES; i++)
        tri_disk_fd_destroy(&(*reader)->open[i].fd);
    TRI_FREE(*reader);
}

static tri_status reader_open(tri_shard_reader *reader, int32_t index, const char *path,
                              tri_disk_fd *fd)
{
    const tri_manifest_file *file = &reader->manifest->files[index];
    int64_t bytes = 0;
    bool is_gone = access(path, F_OK) == -1 && errno == ENOENT;
    TRI_CHECK(!is_gone, TRI_EFORMAT, "%s is not there, the manifest says that it has %lld bytes",
              path, (long long)file->bytes);
    TRI_TRY(tri_disk_open(path, false, fd, &bytes));
    TRI_CHECK(bytes == file->bytes, TRI_EFORMAT, "%s has %lld bytes, the manifest says %lld", path,
              (long long)bytes, (long long)file->bytes);
    return TRI_OK;
}

/* An open file of the checkpoint, of the right size, and its path. */
static tri_status reader_file(tri_shard_reader *reader, int32_t index,
                              char path[TRI_DISK_PATH_BYTES], int *fd)
{
    int slot = index % SHARD_OPEN_FILES;
    TRI_TRY(tri_disk_path(path, reader->path, reader->manifest->files[index].name, ""));
    if (reader->open[slot].fd < 0 || reader->open[slot].file != index) {
        tri_disk_fd_destroy(&reader->open[slot].fd);
        TRI_AUTO(tri_disk_fd) opened = -1;
        TRI_TRY(reader_open(reader, index, path, &opened));
        reader->open[slot].file = index;
        reader->open[slot].fd = opened;
        opened = -1;
    }
    *fd = reader->open[slot].fd;
    return TRI_OK;
}

/* Elements of block `block` of a box. */
static int64_t reader_block_elements(const tri_shard_reader *reader, int64_t index, int64_t block)
{
    const tri_manifest_box *box = &reader->manifest->boxes[index];
    tri_box whole = tri_manifest_box_of(reader->manifest, box);
    return tri_min64(box->block_elements, tri_box_elements(&whole) - block * box->block_elements);
}

/* Read block `block` of box `index` to `out`, and verify it there: in pieces that are summed while they are
 * still in the cache, so that the sum costs no second pass over memory. */
static tri_status reader_fetch(tri_shard_reader *reader, int64_t index, int64_t block, char *out)
{
    const tri_manifest *m = reader->manifest;
    const tri_manifest_box *box = &m->boxes[index];
    const tri_manifest_row *row = &m->rows[box->row];
    int64_t element_bytes = (int64_t)tri_dtype_bytes((tri_dtype)row->dtype);
    int64_t bytes = reader_block_elements(reader, index, block) * element_bytes;
    int64_t offset = box->offset + block * box->block_elements * element_bytes;
    char path[TRI_DISK_PATH_BYTES];
    int fd = -1;
    TRI_TRY(reader_file(reader, box->file, path, &fd));
    uint32_t crc = 0;
    for (int64_t at = 0; at < bytes; at += SHARD_PIECE_BYTES) {
        int64_t n = tri_min64(SHARD_PIECE_BYTES, bytes - at);
        TRI_TRY(tri_disk_read(fd, path, out + at, n, offset + at));
        crc = tri_crc32c_extend(crc, out + at, (size_t)n);
    }
    reader->n_bytes += bytes;
    int64_t want = m->blocks[box->first_block + block];
    if ((int64_t)crc == want) return TRI_OK;
    char place[TRI_TEXT_BYTES];
    tri_box whole = tri_manifest_box_of(m, box);
    tri_text_box(&whole, place);
    TRI_FAIL(TRI_EFORMAT,
             "%s is damaged: row '%s', box %s, bytes [%lld, %lld) have CRC32C %08x, the manifest "
             "says %08llx",
             path, row->name, place, (long long)offset, (long long)(offset + bytes), crc,
             (unsigned long long)want);
}

/* Have block `block` of box `index` in the buffer, verified. */
static tri_status reader_load(tri_shard_reader *reader, int64_t index, int64_t block)
{
    if (reader->box == index && reader->block == block) return TRI_OK;
    reader->box = -1;
    TRI_TRY(reader_fetch(reader, index, block, reader->buffer));
    reader->box = index;
    reader->block = block;
    return TRI_OK;
}

/* Elements [from, from + count) of box `index`, flattened, to `out` as `dtype`. A block that is wanted whole
 * and as it is goes straight to its place; others go through the buffer. */
static tri_status reader_copy(tri_shard_reader *reader, int64_t index, int64_t from, int64_t count,
                              tri_dtype dtype, char *out)
{
    const tri_manifest_box *box = &reader->manifest->boxes[index];
    tri_dtype stored = (tri_dtype)reader->manifest->rows[box->row].dtype;
    size_t stored_bytes = tri_dtype_bytes(stored);
    while (count > 0) {
        int64_t block = from / box->block_elements;
        int64_t skip = from - block * box->block_elements;
        int64_t whole = reader_block_elements(reader, index, block);
        int64_t n = tri_min64(count, whole - skip);
        if (n == whole && stored == dtype) {
            TRI_TRY(reader_fetch(reader, index, block, out));
        } else {
            TRI_TRY(reader_load(reader, index, block));
            const char *data = reader->buffer + (size_t)skip * stored_bytes;
            if (stored == dtype)
                memcpy(out, data, (size_t)n * stored_bytes);
            else
                tri_dtype_cast(stored, data, dtype, out, n);
        }
        out += (size_t)n * tri_dtype_bytes(dtype);
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

tri_status tri_shard_read(tri_shard_reader *reader, int64_t box, const tri_box *want,
                          tri_dtype dtype, void *data)
{
    const tri_manifest *m = reader->manifest;
    tri_box stored = tri_manifest_box_of(m, &m->boxes[box]);
    tri_box common;
    assert(want->n_dims == stored.n_dims);
    if (!tri_box_intersect(&stored, want, &common)) return TRI_OK;
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
        char *out = (char *)data + (size_t)reader_flat(want, at) * tri_dtype_bytes(dtype);
        TRI_TRY(reader_copy(reader, box, reader_flat(&stored, at), run, dtype, out));
    }
    return TRI_OK;
}

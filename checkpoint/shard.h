// SPDX-License-Identifier: Apache-2.0
/* Shard files: one per writing rank, valid HDF5 with one contiguous dataset per box. HDF5 makes the
 * skeleton; the bytes are checksummed and written at their offsets with pwrite, and read with pread.
 */
#ifndef TRI_CHECKPOINT_SHARD_H
#define TRI_CHECKPOINT_SHARD_H

#include "checkpoint/assign.h"
#include "checkpoint/ckpt.h"
#include "checkpoint/manifest.h"

/* What this rank wrote: its part of the index. In boxes, `file` is 0 and blocks count from 0. */
typedef struct tri_shard {
    int64_t n_files; /* 0: it had nothing to write */
    tri_manifest_file file;
    tri_manifest_box *boxes;
    int64_t n_boxes;
    int64_t *blocks;
    int64_t n_blocks;
} tri_shard;

/* Free; zeroed is fine. Not collective. */
void tri_shard_destroy(tri_shard *shard);

/* Write this rank's boxes to PATH/shard-RANK.h5 and publish it. Not collective. Writes: *out.
 * Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_shard_write(const tri_assign *assign, const char *path,
                                        const char *uuid, int rank, const tri_ckpt_hook *hook,
                                        tri_shard *out);

/* Reads boxes of a checkpoint block by block, verifying each block once. */
typedef struct tri_shard_reader tri_shard_reader;

/* Not collective. Keeps: manifest; path; buffer of TRI_MANIFEST_BLOCK_BYTES. */
TRI_MUST_USE tri_status tri_shard_reader_create(const tri_manifest *manifest, const char *path,
                                                void *buffer, tri_shard_reader **out);
void tri_shard_reader_destroy(tri_shard_reader **reader); /* not collective */

/* Bytes of shard files read so far. Not collective. */
int64_t tri_shard_reader_bytes(const tri_shard_reader *reader);

/* Copy what manifest box `box` and `want` have in common to `data`, where box `want` lies contiguously, cast
 * to `dtype` (another than the stored one: both floating). Not collective. A block is read once per call.
 * Writes: data, undefined on failure. Errors: TRI_EFORMAT damaged: names file, row and bytes; a file is
 * missing; TRI_EIO. */
TRI_MUST_USE tri_status tri_shard_read(tri_shard_reader *reader, int64_t box, const tri_box *want,
                                       tri_dtype dtype, void *data);

/* *crc = CRC32C of the bytes of an open file outside `n_ranges` ranges (begin, end), which are sorted.
 * Not collective. */
TRI_MUST_USE tri_status tri_shard_rest_crc(int fd, const char *path, int64_t bytes, int64_t *ranges,
                                           int64_t n_ranges, int64_t *crc);

#endif

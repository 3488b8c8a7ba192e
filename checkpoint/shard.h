// SPDX-License-Identifier: Apache-2.0
/* Shard files: valid HDF5 with one contiguous dataset per box. HDF5 makes the skeleton, in memory; the
 * bytes are checksummed and written at their offsets with pwrite, and read with pread.
 */
#ifndef TRI_CHECKPOINT_SHARD_H
#define TRI_CHECKPOINT_SHARD_H

#include "checkpoint/ckpt.h"
#include "checkpoint/manifest.h"
#include "runtime/h5.h"

/* As long as any other: stands for it in what is planned. */
#define TRI_SHARD_ANY_UUID "00000000-0000-4000-8000-000000000000"

/* The boxes of a file and the bytes between them. */
typedef struct tri_shard_layout {
    tri_manifest_box *boxes; /* row, start, count, number and offset are set */
    int64_t n_boxes;
    int64_t *ranges; /* of the boxes, sorted: (begin, end) each */
    int64_t bytes;   /* of the file */
} tri_shard_layout;

/* Free what it holds; zeroed is fine. Not collective. */
void tri_shard_layout_destroy(tri_shard_layout *layout);

/* Place boxes[0, n_boxes) in a file: sets their offsets, ranges and bytes. Not collective. `file` names
 * it in messages. Errors: TRI_ENOMEM, TRI_EIO. */
TRI_MUST_USE tri_status tri_shard_place(const tri_manifest_row *rows, const char *file,
                                        tri_shard_layout *layout);

/* Write all of a file but its boxes, for this uuid; the file has its size. Not collective. Writes: *rest_crc, the checksum of
 * these bytes. Errors: TRI_EIO; TRI_EBUG the boxes are not where they were placed. */
TRI_MUST_USE tri_status tri_shard_write_rest(const tri_manifest_row *rows,
                                             const tri_shard_layout *layout, const char *uuid,
                                             int fd, const char *file, uint32_t *rest_crc);

/* The name of the file of rank `rank`. Not collective. */
void tri_shard_name(int rank, char out[TRI_MANIFEST_TEXT_BYTES]);

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

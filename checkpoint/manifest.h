// SPDX-License-Identifier: Apache-2.0
/* The manifest of a checkpoint: which box of which row lies where, with checksums. Its publication is
 * the commit: a folder without a manifest that verifies is no checkpoint.
 *
 * On disk it is an HDF5 file of plain columns behind a header of 512 bytes in text, which has the
 * CRC32C of all that follows: it is checked before HDF5 sees the file. docs/checkpoint-format.md.
 */
#ifndef TRI_CHECKPOINT_MANIFEST_H
#define TRI_CHECKPOINT_MANIFEST_H

#include "runtime/coll.h"
#include "runtime/mesh.h"
#include "runtime/state.h"

#define TRI_MANIFEST_NAME "manifest.h5"
#define TRI_MANIFEST_VIEW "universal.h5"

enum {
    TRI_MANIFEST_FORMAT = 2,
    TRI_MANIFEST_UUID_BYTES = 40,
    TRI_MANIFEST_TEXT_BYTES = 64,
    TRI_MANIFEST_BLOCK_BYTES = 4 << 20 /* of one checksum, at most */
};

/* One tensor of the job; its boxes are boxes [first_box, first_box + n_boxes). */
typedef struct tri_manifest_row {
    char name[TRI_NAME_BYTES];
    char external[TRI_NAME_BYTES];
    int64_t shape[TRI_MAX_DIMS]; /* 0 beyond n_dims */
    int64_t first_box, n_boxes;
    int32_t n_dims, role, dtype, pad;
} tri_manifest_row;

/* One box of a row: dataset UUID/NAME.NUMBER of a shard file (the file's uuid), from byte `offset` on.
 * Block i holds its elements [i, i + 1) * block_elements, flattened row-major. */
typedef struct tri_manifest_box {
    int64_t start[TRI_MAX_DIMS];
    int64_t count[TRI_MAX_DIMS];
    int64_t offset;
    int64_t block_elements, first_block;
    int32_t row, file, number, pad;
} tri_manifest_box;

/* A file of the checkpoint. rest_crc covers the bytes outside all boxes, in their order. Its uuid is that
 * of the checkpoint it was written for, under which its datasets lie: another than the checkpoint's own
 * where the file is a link to one of its source. */
typedef struct tri_manifest_file {
    char name[TRI_MANIFEST_TEXT_BYTES];
    char uuid[TRI_MANIFEST_UUID_BYTES];
    int64_t bytes;
    int64_t rank; /* that wrote it; -1: the view */
    int64_t rest_crc;
} tri_manifest_file;

typedef struct tri_manifest_head {
    char uuid[TRI_MANIFEST_UUID_BYTES];
    char parent[TRI_MANIFEST_UUID_BYTES];  /* the newest when this was made; "": none */
    char version[TRI_MANIFEST_TEXT_BYTES]; /* of the program */
    int64_t sequence;                      /* counts up with every commit: newest = highest */
    int64_t step;
    int64_t axis[TRI_AXES]; /* mesh that saved it */
    int64_t n_rows, n_boxes, n_blocks, n_files;
    int64_t job_bytes; /* without the terminating zero */
} tri_manifest_head;

typedef struct tri_manifest {
    tri_manifest_head head;
    tri_manifest_row *rows;
    tri_manifest_box *boxes; /* by row, then start */
    int64_t *blocks;         /* CRC32C */
    tri_manifest_file *files;
    char *job;
} tri_manifest;

/* Free; NULL is fine. Not collective. */
void tri_manifest_destroy(tri_manifest **manifest);

/* A manifest with room for what `head` counts. Not collective. Errors: TRI_ENOMEM. */
TRI_MUST_USE tri_status tri_manifest_create(const tri_manifest_head *head, tri_manifest **out);

/* Elements of a box, and the blocks it has. Not collective. */
tri_box tri_manifest_box_of(const tri_manifest *manifest, const tri_manifest_box *box);
int64_t tri_manifest_blocks_of(const tri_manifest *manifest, const tri_manifest_box *box);

/* Elements of a checksum block of a new box: whole innermost lines up to the size of a block, or part of
 * a line that is larger than that. Not collective. */
int64_t tri_manifest_block_elements(const tri_box *box, tri_dtype dtype);

/* Path of a box's dataset in its shard file; `uuid` is the file's. Not collective. Errors: TRI_EINVAL too long. */
TRI_MUST_USE tri_status tri_manifest_dataset(const char *uuid, const char *row, int number,
                                             size_t bytes, char *out);

/* Sort the boxes by row and start, give each row its first, and check the whole: indices and places
 * within bounds, the boxes of a row disjoint and covering it. Not collective.
 *
 * `path` names the checkpoint in messages. Errors: `code` with the row or file.
 */
TRI_MUST_USE tri_status tri_manifest_index(tri_manifest *manifest, const char *path,
                                           tri_status code);

/* Write PATH/manifest.h5.tmp and sync it (not: publish). Not collective. Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_manifest_write(const tri_manifest *manifest, const char *path);

/* What the header alone says, if it is intact. Not collective. Errors: TRI_EIO, TRI_EFORMAT,
 * TRI_EUNSUP a format of a later version. */
typedef struct tri_manifest_header {
    char uuid[TRI_MANIFEST_UUID_BYTES];
    int64_t sequence, step, bytes;
    uint32_t crc;
} tri_manifest_header;
TRI_MUST_USE tri_status tri_manifest_peek(const char *path, tri_manifest_header *out);

/* Read and verify the manifest of the checkpoint at `path`. Not collective. Errors: as above. */
TRI_MUST_USE tri_status tri_manifest_read(const char *path, tri_manifest **out);

/* Give rank 0's head, rows and files to all, without boxes, checksums and job spec.
 *
 * Collective: comm. In: `whole` on rank 0, NULL elsewhere. Writes: *out, the rank's part, which has no box
 * yet. Cost: 256 bytes for each row, 128 for each file. */
TRI_MUST_USE tri_status tri_manifest_broadcast(tri_comm *comm, const tri_manifest *whole,
                                               tri_manifest **out);

/* Which boxes a rank wants. Asked for every box once, ordered by row, then start. */
typedef struct tri_manifest_filter {
    bool (*wants)(void *arg, int64_t row, const tri_box *box);
    void *arg;
} tri_manifest_filter;

/* Give each rank the boxes it wants, with their checksums.
 *
 * Collective: comm; another filter on each rank. In: `whole` on rank 0, NULL elsewhere; `part` of
 * tri_manifest_broadcast. Writes: part: its boxes, and in each row which they are.
 * Cost: all boxes pass by each rank, in chunks: memory is the boxes it wants and 1 MiB (8 bytes for each
 * block of the largest box, if that is more). */
TRI_MUST_USE tri_status tri_manifest_scatter(tri_comm *comm, const tri_manifest *whole,
                                             const tri_manifest_filter *filter, tri_manifest *part);

/* Give every rank all of it but the job spec, for tools that share the boxes out among few ranks.
 * Collective: comm. In: *manifest on rank 0, NULL elsewhere. */
TRI_MUST_USE tri_status tri_manifest_replicate(tri_comm *comm, tri_manifest **manifest);

/* Index of the row called `name`, -1 if none. Not collective. Cost: logarithmic (rows are sorted by
 * name in every manifest). */
int64_t tri_manifest_find(const tri_manifest *manifest, const char *name);

#endif

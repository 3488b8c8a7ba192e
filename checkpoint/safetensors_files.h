// SPDX-License-Identifier: Apache-2.0
/* A folder of safetensors files, or one file: the headers, read and checked as a whole, so that whoever
 * reads tensors need not check again.
 */
#ifndef TRI_CHECKPOINT_SAFETENSORS_FILES_H
#define TRI_CHECKPOINT_SAFETENSORS_FILES_H

#include "checkpoint/disk.h"
#include "runtime/dtype.h"

#define TRI_SAFETENSORS_FILE  "model.safetensors"
#define TRI_SAFETENSORS_INDEX "model.safetensors.index.json"

/* Of a tensor; of a header, as in the reference implementation; elements that are copied at once. */
enum {
    TRI_SAFETENSORS_DIMS = 8,
    TRI_SAFETENSORS_HEADER_BYTES = 100000000,
    TRI_SAFETENSORS_TILE = 1 << 22
};

typedef struct tri_safetensors_tensor {
    char *name;
    const char *type; /* as the file says: "BF16" */
    bool is_weight;   /* of a type that import takes: */
    tri_dtype dtype;
    int n_dims;
    int64_t shape[TRI_SAFETENSORS_DIMS];
    int64_t offset, n_bytes; /* in its file */
    int32_t file;
    bool is_used; /* for the caller */
} tri_safetensors_tensor;

typedef struct tri_safetensors_files {
    tri_safetensors_tensor *tensors; /* by name */
    int64_t n_tensors;
    char **paths;
    int64_t n_files;
    tri_disk_fd fd; /* of the file read last */
    int32_t open;
} tri_safetensors_files;

/* Close and free; NULL is fine. Not collective. */
void tri_safetensors_files_destroy(tri_safetensors_files **files);

/* Open `path`: a file, or a folder with an index or with model.safetensors. Not collective.
 *
 * Memory is at most a fixed multiple of the headers, which are at most as long as their files.
 * Errors: TRI_EIO; TRI_EFORMAT a header, or an index, that breaks the format.
 */
TRI_MUST_USE tri_status tri_safetensors_files_open(const char *path, tri_safetensors_files **out);

/* The tensor called `name`; NULL: none. Not collective. */
tri_safetensors_tensor *tri_safetensors_files_find(const tri_safetensors_files *files,
                                                   const char *name);

/* Read `n_bytes` of a tensor from byte `begin` of it on. Not collective. Errors: TRI_EIO, TRI_EFORMAT. */
TRI_MUST_USE tri_status tri_safetensors_files_read(tri_safetensors_files *files,
                                                   const tri_safetensors_tensor *tensor,
                                                   int64_t begin, int64_t n_bytes, void *out);

/* "[512, 64]". Not collective. */
void tri_safetensors_shape(int n_dims, const int64_t *shape, char *out, size_t out_bytes);

#endif

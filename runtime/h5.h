// SPDX-License-Identifier: Apache-2.0
/* The one door to HDF5 (serial library): small tables, file skeletons for raw writes, virtual
 * datasets, and reading of integer datasets in pieces.
 *
 * HDF5 has state of its own per process and need not be thread-safe, and ranks may be threads: every
 * call here that uses it takes one lock of the process for its duration. Bulk data never passes through HDF5.
 * Its own error text is part of our messages and is never printed. Files are written in the format of
 * HDF5 1.10 at the latest, which other tools read.
 */
#ifndef TRI_RUNTIME_H5_H
#define TRI_RUNTIME_H5_H

#include "runtime/dtype.h"
#include "runtime/place.h"

typedef struct tri_h5 tri_h5;

/* Make a new file, or truncate one; `user_bytes` (0, 512, 1024, ...) are left free at its start. Not
 * collective. Errors: TRI_EIO with path and cause. */
TRI_MUST_USE tri_status tri_h5_create(const char *path, int64_t user_bytes, tri_h5 **out);

/* Open for reading, whatever is in it: HDF5, which damaged or evil files may crash, looks at the file in a
 * process of its own, and elements are read with plain reads. Chunks that are deflated, shuffled or
 * summed (fletcher32) are unpacked; other filters and other files' elements are refused by name. Not collective. Errors: TRI_EIO not there, TRI_EFORMAT not an HDF5 file. Cost: a process. */
TRI_MUST_USE tri_status tri_h5_open(const char *path, tri_h5 **out);

/* Open with HDF5 itself a file that this program has written and nobody could change: for its datasets,
 * also virtual ones; not for attributes and texts. Not collective. Errors: as tri_h5_open. */
TRI_MUST_USE tri_status tri_h5_open_own(const char *path, tri_h5 **out);

/* Close and say whether all was written (not: synced to disk). Not collective. Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_h5_close(tri_h5 **h5);

/* Close on an error path; NULL is fine. Not collective. */
void tri_h5_destroy(tri_h5 **h5);

/* Make a new file in memory alone: `path` names it in messages and is not touched. Not collective.
 * Errors: TRI_ENOMEM, TRI_EIO. */
TRI_MUST_USE tri_status tri_h5_create_image(const char *path, tri_h5 **out);

/* Nothing more is added to a file that is made in memory: its size, then its bytes from `begin` on, of
 * which those of reserved datasets are zero. Not collective. Errors: TRI_EIO, TRI_ENOMEM. */
TRI_MUST_USE tri_status tri_h5_finish_image(tri_h5 *h5, int64_t *bytes);
void tri_h5_copy_image(const tri_h5 *h5, int64_t begin, int64_t bytes, char *out);

/* Add a contiguous dataset whose bytes the caller will write himself at *offset (in the file): fully
 * allocated, never filled. Groups on the way are made. Not collective. Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_h5_reserve(tri_h5 *h5, const char *name, tri_dtype dtype, int n_dims,
                                       const int64_t *shape, int64_t *offset);

/* Add a dataset and write all of it. Not collective. Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_h5_write(tri_h5 *h5, const char *name, tri_dtype dtype, int n_dims,
                                     const int64_t *shape, const void *data);

/* Add a one-dimensional dataset of `count` zero-padded strings of `width` bytes, one after another.
 * Not collective. Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_h5_write_text(tri_h5 *h5, const char *name, int64_t count, size_t width,
                                          const char *data);

/* Put an int64 array or a text on an object ("/" = the file). Not collective. Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_h5_set_ints(tri_h5 *h5, const char *object, const char *attribute,
                                        int64_t count, const int64_t *values);
TRI_MUST_USE tri_status tri_h5_set_text(tri_h5 *h5, const char *object, const char *attribute,
                                        const char *text);

/* Read an attribute written above. Not collective. Writes: values [count]; text, NUL-terminated.
 * Errors: TRI_EFORMAT missing, another count, longer than `bytes`. */
TRI_MUST_USE tri_status tri_h5_get_ints(tri_h5 *h5, const char *object, const char *attribute,
                                        int64_t count, int64_t *values);
TRI_MUST_USE tri_status tri_h5_get_text(tri_h5 *h5, const char *object, const char *attribute,
                                        size_t bytes, char *text);

/* One part of a virtual dataset: a box of it is the whole dataset `source` of file `file` (a name
 * relative to the folder of the virtual dataset's file). Borrowed strings. */
typedef struct tri_h5_part {
    tri_box box;
    const char *file;
    const char *source;
} tri_h5_part;

/* Add a virtual dataset over `n_parts` sources; elements without a source read as NaN, or as the
 * smallest integer of the type. Not collective. Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_h5_write_virtual(tri_h5 *h5, const char *name, tri_dtype dtype,
                                             int n_dims, const int64_t *shape, int64_t n_parts,
                                             const tri_h5_part *parts);

/* An open dataset, read in pieces. */
typedef struct tri_h5_dataset tri_h5_dataset;

/* Open dataset `name` (1 to TRI_MAX_DIMS dimensions). Not collective. Keeps: h5, which must stay
 * open. Errors: TRI_EFORMAT no such dataset (names those there are), a type that is no number; TRI_ENOMEM.
 * Cost: of a compressed one, twice the size of a chunk, of which it keeps the last that was read: one thread reads
 * a dataset at a time. */
TRI_MUST_USE tri_status tri_h5_dataset_open(tri_h5 *h5, const char *name, tri_h5_dataset **out);
void tri_h5_dataset_destroy(tri_h5_dataset **dataset);

/* Can its elements be read? Not collective. Errors: TRI_EFORMAT it has unknown filters, is virtual, in other files or not
 * within this one. */
TRI_MUST_USE tri_status tri_h5_dataset_check(const tri_h5_dataset *dataset);

/* Elements; dimensions and their sizes (shape may be NULL); is it of integers; the parts of a virtual
 * dataset (0: it is none). Not collective. */
int64_t tri_h5_dataset_count(const tri_h5_dataset *dataset);
int tri_h5_dataset_shape(const tri_h5_dataset *dataset, int64_t shape[TRI_MAX_DIMS]);
bool tri_h5_dataset_is_integer(const tri_h5_dataset *dataset);
int64_t tri_h5_dataset_parts(const tri_h5_dataset *dataset);

/* Read elements [begin, begin + n), flattened row-major, as `dtype`: integers as TRI_I32 or TRI_I64
 * (values beyond its range become its nearest), others as what they are. Not collective. Errors: TRI_EINVAL range or
 * type, TRI_EIO, TRI_EFORMAT a compressed chunk is damaged, and as tri_h5_dataset_check. */
TRI_MUST_USE tri_status tri_h5_dataset_read(tri_h5_dataset *dataset, int64_t begin, int64_t n,
                                            tri_dtype dtype, void *out);

/* Read zero-padded strings, `width` bytes each. Not collective. Errors: TRI_EFORMAT, TRI_EIO. */
TRI_MUST_USE tri_status tri_h5_read_text(tri_h5 *h5, const char *name, int64_t count, size_t width,
                                         char *out);

#endif

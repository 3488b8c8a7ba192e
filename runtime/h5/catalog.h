// SPDX-License-Identifier: Apache-2.0
/* An HDF5 file that is read without HDF5: what it holds was told by a child (survey.h) and is checked here
 * against the size of the file; elements are read with plain reads. So a file that harms HDF5 ends the child,
 * and no number in a file asks for memory that its size does not justify.
 */
#ifndef TRI_RUNTIME_H5_CATALOG_H
#define TRI_RUNTIME_H5_CATALOG_H

#include "runtime/h5/filter.h"
#include "runtime/h5/survey.h"

typedef struct tri_h5_catalog tri_h5_catalog;

/* One dataset or attribute; `more` is its value or its chunks. */
typedef struct tri_h5_entry {
    tri_h5_record record;
    char *more;
    int64_t n_elements;
    int64_t chunk_bytes; /* of a whole chunk, unpacked; 0: not in chunks */
} tri_h5_entry;

/* Read what the file at `path` holds. Not collective; HDF5's lock held. Errors: TRI_EIO not there;
 * TRI_EFORMAT no HDF5 file, or one that HDF5 did not survive. Cost: a process; memory in proportion to the objects in the file. */
TRI_MUST_USE tri_status tri_h5_catalog_create(const char *path, tri_h5_catalog **out);

/* Close and free; NULL is fine. Not collective. */
void tri_h5_catalog_destroy(tri_h5_catalog **catalog);

/* The attribute of an object ("/": the file), or the dataset where `attribute` is ""; NULL: none. Not
 * collective. */
const tri_h5_entry *tri_h5_catalog_find(const tri_h5_catalog *catalog, const char *object,
                                        const char *attribute);

/* Names of the datasets, as many as fit, each after a space. Not collective. */
void tri_h5_catalog_list(const tri_h5_catalog *catalog, size_t bytes, char *text);

/* Raise TRI_EFORMAT unless the elements of a dataset can be read: says why not, and what to do. Not
 * collective. */
TRI_MUST_USE tri_status tri_h5_catalog_check(const tri_h5_catalog *catalog,
                                             const tri_h5_entry *entry);

/* Memory to unpack the chunks of a dataset, for one reader; NULL: it needs none. Not collective. Errors:
 * TRI_ENOMEM. */
TRI_MUST_USE tri_status tri_h5_catalog_prepare(const tri_h5_entry *entry, tri_h5_filter **out);

/* Read elements [begin, begin + n), which the dataset has, flattened row-major: integers as integers of `dtype`
 * (TRI_I32 or TRI_I64: values beyond its range become its nearest), else the bytes as they are, which
 * must be of that type. `filter` is what was prepared. Not collective; no allocation. Errors: TRI_EINVAL
 * another type; TRI_EIO; TRI_EFORMAT the file has become shorter, a compressed chunk is damaged. */
TRI_MUST_USE tri_status tri_h5_catalog_read(const tri_h5_catalog *catalog,
                                            const tri_h5_entry *entry, tri_h5_filter *filter,
                                            int64_t begin, int64_t n, tri_dtype dtype, void *out);

/* Read all bytes of a dataset that is not compressed. Not collective. Errors: as above; TRI_EFORMAT it is. */
TRI_MUST_USE tri_status tri_h5_catalog_read_bytes(const tri_h5_catalog *catalog,
                                                  const tri_h5_entry *entry, void *out);

#endif

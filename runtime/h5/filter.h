// SPDX-License-Identifier: Apache-2.0
/* The chunks of a compressed dataset, unpacked without HDF5: the one door to zlib. A file is taken for hostile:
 * nothing is written beyond a chunk, and a chunk has a largest size.
 */
#ifndef TRI_RUNTIME_H5_FILTER_H
#define TRI_RUNTIME_H5_FILTER_H

#include "runtime/h5/survey.h"

enum {
    TRI_H5_MAX_CHUNK_BYTES = 64 << 20, /* of one that is unpacked */
    TRI_H5_MAX_DEFLATION = 1032 /* deflate's: 258 bytes of two bits (zlib's technical details) */
};

/* Memory for the unpacked bytes of one chunk, the last that was asked for. */
typedef struct tri_h5_filter tri_h5_filter;

/* Memory for chunks of a dataset, whose filters are in its record. Not collective. Errors: TRI_ENOMEM.
 * Cost: twice the size of a chunk, and zlib's state. */
TRI_MUST_USE tri_status tri_h5_filter_create(const tri_h5_record *record, int64_t chunk_bytes,
                                             tri_h5_filter **out);

/* Free; NULL is fine. Not collective. */
void tri_h5_filter_destroy(tri_h5_filter **filter);

/* The most bytes that a chunk of `chunk_bytes` is stored in. Not collective. */
int64_t tri_h5_filter_bound(int64_t chunk_bytes);

/* Where the stored bytes of the next chunk go, as many as the bound; what was unpacked is gone. Not
 * collective. */
char *tri_h5_filter_input(tri_h5_filter *filter);

/* The bytes of chunk `index` if it was the last that was unpacked, else NULL. Not collective. */
const char *tri_h5_filter_find(const tri_h5_filter *filter, int64_t index);

/* Unpack chunk `index` from the `bytes` bytes at the input; bit i of `skipped`: filter i was not applied. NULL, or
 * what is wrong with them. Not collective; no allocation. */
const char *tri_h5_filter_undo(tri_h5_filter *filter, int64_t index, int64_t bytes,
                               uint32_t skipped);

#endif

// SPDX-License-Identifier: Apache-2.0
/* What an HDF5 file holds, told by a process of its own: HDF5 1.10 crashes, loops or asks for any memory on
 * files that are damaged or made to harm. The child opens the file, says what and where everything is,
 * and ends; who asked reads the bytes himself. Records travel through a pipe, as they are in memory.
 */
#ifndef TRI_RUNTIME_H5_SURVEY_H
#define TRI_RUNTIME_H5_SURVEY_H

#include "runtime/base/status.h"
#include "runtime/dtype.h"
#include "runtime/place.h"

enum {
    TRI_H5_NAME_BYTES = 256,   /* of an object's path; longer ones are left out */
    TRI_H5_VALUE_BYTES = 4096, /* of an attribute; larger ones are left out */
    TRI_H5_MAX_CHUNKS = 16384, /* of a dataset */
    TRI_H5_MAX_FILTERS = 3     /* each of those below once */
};

typedef enum tri_h5_kind {
    TRI_H5_INTEGER,
    TRI_H5_FLOAT,
    TRI_H5_TEXT, /* of fixed width */
    TRI_H5_OTHER
} tri_h5_kind;

/* Filters that can be undone, by their numbers in HDF5. */
typedef enum tri_h5_filter_id {
    TRI_H5_DEFLATE = 1,
    TRI_H5_SHUFFLE = 2,
    TRI_H5_FLETCHER32 = 3
} tri_h5_filter_id;

/* Where a chunk lies in the file. */
typedef struct tri_h5_chunk {
    int64_t offset;   /* -1: nowhere */
    uint32_t bytes;   /* as stored */
    uint32_t skipped; /* bit i: filter i of its dataset was not applied */
} tri_h5_chunk;

/* A dataset, or an attribute with its value. Behind it come n_bytes more: an attribute's value (integers
 * as int64), or a dataset's chunks, row-major: tri_h5_chunk. */
typedef struct tri_h5_record {
    char object[TRI_H5_NAME_BYTES];    /* path without a leading slash; "": the file */
    char attribute[TRI_H5_NAME_BYTES]; /* "": a dataset */
    char refusal[96];                  /* why its elements cannot be read; "": they can */
    int64_t shape[TRI_MAX_DIMS];
    int64_t chunk[TRI_MAX_DIMS]; /* 0: contiguous */
    int64_t offset;              /* of a contiguous dataset's bytes */
    int64_t element_bytes;
    int64_t n_bytes;
    int64_t parts;                       /* of a virtual dataset */
    int32_t filters[TRI_H5_MAX_FILTERS]; /* tri_h5_filter_id, in the order of writing */
    int32_t n_filters;
    int32_t n_dims; /* 0: one element */
    int32_t kind;   /* tri_h5_kind */
    int32_t dtype;  /* of floating-point numbers; -1: none of ours */
    bool is_signed, is_big_endian, is_end;
} tri_h5_record;

/* Fork a process that writes the records of the file behind descriptor `file` to the pipe *out, and
 * ends; the last one is an end without a refusal, or with the reason why the file is none. Not collective; HDF5's lock held.
 * Writes: *out, *child. Errors: TRI_EIO, TRI_ENOMEM. */
TRI_MUST_USE tri_status tri_h5_survey_start(int file, int64_t file_bytes, int *out, int *child);

#endif

// SPDX-License-Identifier: Apache-2.0
/* Names that rows have elsewhere: TENSOR["[" RANGE{", " RANGE} "]"]["^T"] (runtime/state.h), and the tensors
 * that are put together from the rows which are their parts. Knows no family of models.
 */
#ifndef TRI_CHECKPOINT_EXTERNAL_H
#define TRI_CHECKPOINT_EXTERNAL_H

#include "checkpoint/manifest.h"

/* A row as a block of a tensor: `box` is in the tensor's coordinates; transposed: the row has its two
 * dimensions the other way round. */
typedef struct tri_external_part {
    int64_t row; /* in the rows the map was made of */
    tri_box box;
    bool transposed;
} tri_external_part;

/* A tensor: parts [first_part, first_part + n_parts), disjoint and covering it. */
typedef struct tri_external_tensor {
    char name[TRI_NAME_BYTES];
    int n_dims;
    int64_t shape[TRI_MAX_DIMS];
    int64_t elements;
    int64_t first_part, n_parts;
} tri_external_tensor;

typedef struct tri_external_map {
    tri_external_tensor *tensors; /* by name */
    int64_t n_tensors;
    tri_external_part *parts; /* by tensor, then place */
    int64_t n_parts;
} tri_external_map;

/* What a row's external name says: `out`, but for its row, and the tensor's name. Not collective.
 * Errors: TRI_EFORMAT no name of this form, or ranges that do not fit the row. */
TRI_MUST_USE tri_status tri_external_parse(const tri_manifest_row *row, char name[TRI_NAME_BYTES],
                                           tri_external_part *out);

/* Free; NULL is fine. Not collective. */
void tri_external_map_destroy(tri_external_map **map);

/* The tensors of which the parameters among `rows` are the parts; a tensor is as large as its parts
 * reach. Not collective. `origin` begins messages. Errors: TRI_EFORMAT a parameter without an external
 * name, parts that overlap or leave gaps. */
TRI_MUST_USE tri_status tri_external_map_create(const tri_manifest_row *rows, int64_t n_rows,
                                                const char *origin, tri_external_map **out);

/* Exchange the two dimensions of a matrix: out [columns, rows] = in [rows, columns]. Not collective.
 * `bytes` of an element: 2 or 4. */
void tri_external_transpose(size_t bytes, int64_t rows, int64_t columns, const void *in, void *out);

/* Runs of elements that are contiguous both in `box` of a tensor of `shape` and in memory that holds the
 * box alone. Not collective. Calls `run` for each with the first element in the tensor and in memory. */
typedef tri_status (*tri_external_run)(void *arg, int64_t in_tensor, int64_t in_memory,
                                       int64_t count);
TRI_MUST_USE tri_status tri_external_runs(const int64_t *shape, const tri_box *box,
                                          tri_external_run run, void *arg);

#endif

// SPDX-License-Identifier: Apache-2.0
/* HDF5 types of our element types and texts, in files and in memory. */
#ifndef TRI_RUNTIME_H5_TYPE_H
#define TRI_RUNTIME_H5_TYPE_H

#include "runtime/dtype.h"

#include <hdf5.h>

/* The type of an element type, which the caller closes; -1 on failure. bfloat16 and half are made as
 * floating types of 16 bits. Not collective; HDF5's lock held, for all here. */
hid_t tri_h5_type_make(tri_dtype dtype);

/* Strings of `width` bytes, padded with zeros; the caller closes it. Not collective. */
hid_t tri_h5_type_text(size_t width);

/* Set a fill value that shows: NaN, or the smallest integer. `type` is that of `dtype`. Not
 * collective. */
herr_t tri_h5_type_fill(hid_t properties, tri_dtype dtype, hid_t type);

#endif

// SPDX-License-Identifier: Apache-2.0
/* New HDF5 files are built in memory, then written by us. HDF5 1.10 crashes, or loops at exit, where a
 * write fails: a full disk must not happen inside it. The image is a file driver of HDF5 that keeps the
 * pages that were written; space that is only reserved takes no memory.
 */
#ifndef TRI_RUNTIME_H5_IMAGE_H
#define TRI_RUNTIME_H5_IMAGE_H

#include "runtime/base/status.h"

#include <hdf5.h>

typedef struct tri_h5_image tri_h5_image;

/* An empty image. Not collective. Errors: TRI_ENOMEM. */
TRI_MUST_USE tri_status tri_h5_image_create(tri_h5_image **out);

/* Free; NULL is fine; after the HDF5 file over it was closed. Not collective; HDF5's lock held. */
void tri_h5_image_destroy(tri_h5_image **image);

/* Make the file of an access property list live in the image. Not collective; HDF5's lock held. Keeps:
 * image, until the file is closed. */
herr_t tri_h5_image_use(tri_h5_image *image, hid_t access);

/* Size of the image, whose HDF5 file is closed. Not collective. Errors: TRI_ENOMEM where memory had run
 * out while HDF5 wrote. */
TRI_MUST_USE tri_status tri_h5_image_check(const tri_h5_image *image, const char *path,
                                           int64_t *bytes);

/* Copy bytes from `begin` on; what was never written is zero. Not collective. */
void tri_h5_image_copy(const tri_h5_image *image, int64_t begin, int64_t bytes, char *out);

/* Write the image to an open, empty file, reserved space as a hole. Not collective. Errors: TRI_EIO;
 * TRI_ENOMEM where memory had run out while HDF5 wrote. */
TRI_MUST_USE tri_status tri_h5_image_write(const tri_h5_image *image, int fd, const char *path);

#endif

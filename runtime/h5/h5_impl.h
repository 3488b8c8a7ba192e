// SPDX-License-Identifier: Apache-2.0
/* What the files of the HDF5 door share: a file, the lock of the process, errors, spaces. */
#ifndef TRI_RUNTIME_H5_H5_IMPL_H
#define TRI_RUNTIME_H5_H5_IMPL_H

#include "runtime/base/thread.h"
#include "runtime/h5.h"
#include "runtime/h5/catalog.h"
#include "runtime/h5/image.h"

#include <hdf5.h>

struct tri_h5 {
    hid_t file;
    char *path;
    tri_h5_image *image;     /* of a new file; NULL: open for reading */
    int fd;                  /* of a new file */
    tri_h5_catalog *catalog; /* of a file that is read without HDF5; NULL: HDF5 has it open */
};

/* An id that its scope closes; -1 is fine. Not collective; lock held. */
typedef hid_t tri_h5_id;
void tri_h5_id_destroy(const tri_h5_id *id);

/* The lock of the process, which its scope gives back. Not collective. */
typedef tri_mutex *tri_h5_lock;
void tri_h5_lock_destroy(tri_h5_lock *lock); /* not collective */
tri_h5_lock tri_h5_lock_take(void);          /* not collective */

#define H5_LOCKED() TRI_AUTO(tri_h5_lock) lock_ __attribute__((unused)) = tri_h5_lock_take()

/* Raise `code` with HDF5's innermost reason appended. Not collective; lock held. */
tri_status tri_h5_raise(tri_status code, const char *file, int line, const char *function,
                        const char *format, ...) TRI_PRINTF(5, 6);

/* An HDF5 call that answers less than 0: TRI_TRY(TRI_H5(H5Fclose(f), TRI_EIO, "closing %s", path)). */
#define TRI_H5(call, code, ...) \
    ((call) < 0 ? tri_h5_raise((code), __FILE__, __LINE__, __func__, __VA_ARGS__) : TRI_OK)

/* A space of this shape, which the caller closes; the elements of a space in `box`. Not collective; lock
 * held. */
hid_t tri_h5_space_make(int n_dims, const int64_t *shape);
herr_t tri_h5_space_select(hid_t space, const tri_box *box);

#endif

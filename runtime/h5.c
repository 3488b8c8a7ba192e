// SPDX-License-Identifier: Apache-2.0
/* HDF5, serial: with runtime/h5/ the one door. Every public function takes the process's lock first and gives it back last, so ids,
 * which are owned by their scope, are closed under it. The lock is the one mutable object outside a
 * rank here: it guards state that HDF5 itself keeps per process.
 */
#include "runtime/h5.h"

#include "runtime/base/alloc.h"
#include "runtime/base/int.h"
#include "runtime/base/thread.h"
#include "runtime/h5/h5_impl.h"
#include "runtime/h5/type.h"

#include <fcntl.h>
#include <hdf5.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum { H5_ALIGN_FROM_BYTES = 65536, H5_ALIGN_BYTES = 4096, H5_CACHED_SOURCES = 64 };
enum { H5_PATH_BYTES = 1024 };

static tri_mutex h5_mutex = {PTHREAD_MUTEX_INITIALIZER};

void tri_h5_id_destroy(const tri_h5_id *id)
{
    if (*id >= 0) H5Idec_ref(*id);
}

void tri_h5_lock_destroy(tri_h5_lock *lock)
{
    tri_mutex_unlock(*lock);
}

tri_h5_lock tri_h5_lock_take(void)
{
    tri_mutex_lock(&h5_mutex);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    return &h5_mutex;
}

static herr_t h5_innermost(unsigned n, const H5E_error2_t *error, void *arg)
{
    if (n == 0) snprintf(arg, 160, "%s", error->desc ? error->desc : "");
    return 0;
}

tri_status tri_h5_raise(tri_status code, const char *file, int line, const char *function,
                        const char *format, ...)
{
    char why[160] = "";
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, h5_innermost, why);
    char what[TRI_ERR_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return tri_err_raise(code, file, line, function, "%s: HDF5: %s", what, why);
}

hid_t tri_h5_space_make(int n_dims, const int64_t *shape)
{
    hsize_t dims[TRI_MAX_DIMS];
    for (int d = 0; d < n_dims; d++)
        dims[d] = (hsize_t)shape[d];
    return H5Screate_simple(n_dims, dims, NULL);
}

herr_t tri_h5_space_select(hid_t space, const tri_box *box)
{
    hsize_t start[TRI_MAX_DIMS];
    hsize_t count[TRI_MAX_DIMS];
    for (int d = 0; d < box->n_dims; d++) {
        start[d] = (hsize_t)box->start[d];
        count[d] = (hsize_t)box->count[d];
    }
    return H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
}

void tri_h5_destroy(tri_h5 **h5)
{
    if (!*h5) return;
    H5_LOCKED();
    if ((*h5)->file >= 0) H5Fclose((*h5)->file);
    if ((*h5)->fd >= 0) close((*h5)->fd);
    tri_h5_image_destroy(&(*h5)->image);
    tri_h5_catalog_destroy(&(*h5)->catalog);
    TRI_FREE((*h5)->path);
    TRI_FREE(*h5);
}

static tri_status h5_new(const char *path, tri_h5 **out)
{
    TRI_AUTO(tri_h5) *h5 = NULL;
    TRI_TRY(TRI_NEW(&h5));
    h5->file = -1;
    h5->fd = -1;
    TRI_TRY(tri_alloc_string(path, &h5->path));
    *out = TRI_MOVE(h5);
    return TRI_OK;
}

/* Access properties of all our files. Locks are asked for only where the file system has them. HDF5
 * does not take an alignment larger than the bytes left free at the start. */
static hid_t h5_access(bool align)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    if (access < 0) return access;
    bool ok = H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110) >= 0 &&
              (!align || H5Pset_alignment(access, H5_ALIGN_FROM_BYTES, H5_ALIGN_BYTES) >= 0) &&
              H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) >= 0 &&
              H5Pset_elink_file_cache_size(access, H5_CACHED_SOURCES) >= 0;
#if H5_VERSION_GE(1, 10, 7)
    ok = ok && H5Pset_file_locking(access, 1, 1) >= 0;
#endif
    if (ok) return access;
    H5Pclose(access);
    return -1;
}

/* The HDF5 file of a new object, in its image. */
static tri_status h5_create_file(tri_h5 *h5, int64_t user_bytes)
{
    TRI_TRY(tri_h5_image_create(&h5->image));
    H5_LOCKED();
    TRI_AUTO(tri_h5_id) access = h5_access(user_bytes == 0);
    TRI_TRY(TRI_H5(access, TRI_EIO, "creating %s", h5->path));
    TRI_TRY(TRI_H5(tri_h5_image_use(h5->image, access), TRI_EIO, "creating %s", h5->path));
    TRI_AUTO(tri_h5_id) creation = H5Pcreate(H5P_FILE_CREATE);
    TRI_TRY(TRI_H5(creation, TRI_EIO, "creating %s", h5->path));
    TRI_TRY(TRI_H5(H5Pset_userblock(creation, (hsize_t)user_bytes), TRI_EINVAL,
                   "creating %s with %lld bytes left free", h5->path, (long long)user_bytes));
    h5->file = H5Fcreate(h5->path, H5F_ACC_TRUNC, creation, access);
    TRI_TRY(TRI_H5(h5->file, TRI_EIO, "creating %s", h5->path));
    return TRI_OK;
}

tri_status tri_h5_create(const char *path, int64_t user_bytes, tri_h5 **out)
{
    TRI_AUTO(tri_h5) *h5 = NULL;
    TRI_TRY(h5_new(path, &h5));
    h5->fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0666);
    TRI_TRY(TRI_SYS(h5->fd, "creating %s", path));
    TRI_TRY(h5_create_file(h5, user_bytes));
    *out = TRI_MOVE(h5);
    return TRI_OK;
}

tri_status tri_h5_create_image(const char *path, tri_h5 **out)
{
    TRI_AUTO(tri_h5) *h5 = NULL;
    TRI_TRY(h5_new(path, &h5));
    TRI_TRY(h5_create_file(h5, 0));
    *out = TRI_MOVE(h5);
    return TRI_OK;
}

tri_status tri_h5_finish_image(tri_h5 *h5, int64_t *bytes)
{
    H5_LOCKED();
    hid_t file = h5->file;
    h5->file = -1;
    TRI_TRY(TRI_H5(H5Fclose(file), TRI_EIO, "closing %s", h5->path));
    return tri_h5_image_check(h5->image, h5->path, bytes);
}

void tri_h5_copy_image(const tri_h5 *h5, int64_t begin, int64_t bytes, char *out)
{
    tri_h5_image_copy(h5->image, begin, bytes, out);
}

tri_status tri_h5_open(const char *path, tri_h5 **out)
{
    TRI_AUTO(tri_h5) *h5 = NULL;
    TRI_TRY(h5_new(path, &h5));
    H5_LOCKED();
    TRI_TRY(tri_h5_catalog_create(path, &h5->catalog));
    *out = TRI_MOVE(h5);
    return TRI_OK;
}

tri_status tri_h5_open_own(const char *path, tri_h5 **out)
{
    TRI_TRY(TRI_SYS(access(path, R_OK), "opening %s", path));
    TRI_AUTO(tri_h5) *h5 = NULL;
    TRI_TRY(h5_new(path, &h5));
    H5_LOCKED();
    TRI_AUTO(tri_h5_id) access = h5_access(false);
    TRI_TRY(TRI_H5(access, TRI_EIO, "opening %s", path));
    h5->file = H5Fopen(path, H5F_ACC_RDONLY, access);
    TRI_TRY(TRI_H5(h5->file, TRI_EFORMAT, "%s is not an intact HDF5 file", path));
    *out = TRI_MOVE(h5);
    return TRI_OK;
}

tri_status tri_h5_close(tri_h5 **h5)
{
    TRI_AUTO(tri_h5) *closing = TRI_MOVE(*h5);
    if (closing->catalog) return TRI_OK;
    H5_LOCKED();
    hid_t file = closing->file;
    closing->file = -1;
    TRI_TRY(TRI_H5(H5Fclose(file), TRI_EIO, "closing %s", closing->path));
    if (!closing->image) return TRI_OK;
    TRI_TRY(tri_h5_image_write(closing->image, closing->fd, closing->path));
    int fd = closing->fd;
    closing->fd = -1;
    return TRI_SYS(close(fd), "closing %s", closing->path);
}

/* Create a dataset; groups on the way are made. The caller closes it. Lock held. */
static tri_status h5_dataset_create(tri_h5 *h5, const char *name, hid_t type, hid_t space,
                                    hid_t properties, hid_t *out)
{
    TRI_AUTO(tri_h5_id) links = H5Pcreate(H5P_LINK_CREATE);
    TRI_TRY(TRI_H5(links, TRI_EIO, "adding dataset '%s' to %s", name, h5->path));
    TRI_TRY(TRI_H5(H5Pset_create_intermediate_group(links, 1), TRI_EIO, "adding dataset '%s' to %s",
                   name, h5->path));
    hid_t id = H5Dcreate2(h5->file, name, type, space, links, properties, H5P_DEFAULT);
    TRI_TRY(TRI_H5(id, TRI_EIO, "adding dataset '%s' to %s", name, h5->path));
    *out = id;
    return TRI_OK;
}

tri_status tri_h5_reserve(tri_h5 *h5, const char *name, tri_dtype dtype, int n_dims,
                          const int64_t *shape, int64_t *offset)
{
    H5_LOCKED();
    TRI_AUTO(tri_h5_id) type = tri_h5_type_make(dtype);
    TRI_AUTO(tri_h5_id) space = tri_h5_space_make(n_dims, shape);
    TRI_AUTO(tri_h5_id) properties = H5Pcreate(H5P_DATASET_CREATE);
    bool ok = type >= 0 && space >= 0 && properties >= 0 &&
              H5Pset_layout(properties, H5D_CONTIGUOUS) >= 0 &&
              H5Pset_alloc_time(properties, H5D_ALLOC_TIME_EARLY) >= 0 &&
              H5Pset_fill_time(properties, H5D_FILL_TIME_NEVER) >= 0;
    TRI_TRY(TRI_H5(ok ? 0 : -1, TRI_EIO, "describing dataset '%s' of %s", name, h5->path));
    hid_t id = -1;
    TRI_TRY(h5_dataset_create(h5, name, type, space, properties, &id));
    TRI_AUTO(tri_h5_id) dataset = id;
    haddr_t at = H5Dget_offset(dataset);
    TRI_CHECK(at != HADDR_UNDEF, TRI_EIO, "dataset '%s' of %s has no place in the file", name,
              h5->path);
    *offset = (int64_t)at;
    return TRI_OK;
}

/* Add a dataset and write all of it. Lock held. */
static tri_status h5_write_all(tri_h5 *h5, const char *name, hid_t type, hid_t space,
                               const void *data)
{
    TRI_TRY(
        TRI_H5(type < 0 ? type : space, TRI_EIO, "describing dataset '%s' of %s", name, h5->path));
    hid_t id = -1;
    TRI_TRY(h5_dataset_create(h5, name, type, space, H5P_DEFAULT, &id));
    TRI_AUTO(tri_h5_id) dataset = id;
    TRI_TRY(TRI_H5(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data), TRI_EIO,
                   "writing dataset '%s' of %s", name, h5->path));
    return TRI_OK;
}

tri_status tri_h5_write(tri_h5 *h5, const char *name, tri_dtype dtype, int n_dims,
                        const int64_t *shape, const void *data)
{
    H5_LOCKED();
    TRI_AUTO(tri_h5_id) type = tri_h5_type_make(dtype);
    TRI_AUTO(tri_h5_id) space = tri_h5_space_make(n_dims, shape);
    return h5_write_all(h5, name, type, space, data);
}

tri_status tri_h5_write_text(tri_h5 *h5, const char *name, int64_t count, size_t width,
                             const char *data)
{
    H5_LOCKED();
    TRI_AUTO(tri_h5_id) type = tri_h5_type_text(width);
    TRI_AUTO(tri_h5_id) space = tri_h5_space_make(1, &count);
    return h5_write_all(h5, name, type, space, data);
}

/* Add an attribute and write it. Lock held. */
static tri_status h5_attribute_set(tri_h5 *h5, const char *object, const char *attribute,
                                   hid_t type, hid_t space, const void *data)
{
    hid_t id = H5Acreate_by_name(h5->file, object, attribute, type, space, H5P_DEFAULT, H5P_DEFAULT,
                                 H5P_DEFAULT);
    TRI_TRY(
        TRI_H5(id, TRI_EIO, "adding attribute '%s' to '%s' of %s", attribute, object, h5->path));
    TRI_AUTO(tri_h5_id) closing = id;
    TRI_TRY(TRI_H5(H5Awrite(closing, type, data), TRI_EIO, "writing attribute '%s' of '%s' of %s",
                   attribute, object, h5->path));
    return TRI_OK;
}

tri_status tri_h5_set_ints(tri_h5 *h5, const char *object, const char *attribute, int64_t count,
                           const int64_t *values)
{
    H5_LOCKED();
    TRI_AUTO(tri_h5_id) space = tri_h5_space_make(1, &count);
    TRI_TRY(TRI_H5(space, TRI_EIO, "describing attribute '%s' of %s", attribute, h5->path));
    return h5_attribute_set(h5, object, attribute, H5T_STD_I64LE, space, values);
}

tri_status tri_h5_set_text(tri_h5 *h5, const char *object, const char *attribute, const char *text)
{
    H5_LOCKED();
    TRI_AUTO(tri_h5_id) type = tri_h5_type_text(text[0] ? strlen(text) : 1);
    TRI_AUTO(tri_h5_id) space = H5Screate(H5S_SCALAR);
    TRI_TRY(TRI_H5(type < 0 ? type : space, TRI_EIO, "describing attribute '%s' of %s", attribute,
                   h5->path));
    return h5_attribute_set(h5, object, attribute, type, space, text);
}

/* HDF5 reads %b in a source's name as a block number and %% as a percent sign. */
static tri_status h5_escape(const char *name, size_t bytes, char *out)
{
    size_t n = 0;
    for (const char *c = name; *c; c++) {
        TRI_CHECK(n + 3 < bytes, TRI_EINVAL, "'%s' is too long for a virtual source", name);
        out[n++] = *c;
        if (*c == '%') out[n++] = '%';
    }
    out[n] = '\0';
    return TRI_OK;
}

/* Map one source into the virtual dataset's space. Lock held. */
static tri_status h5_map(hid_t properties, hid_t space, const tri_h5_part *part)
{
    char file[H5_PATH_BYTES];
    char source[H5_PATH_BYTES];
    TRI_TRY(h5_escape(part->file, sizeof file, file));
    TRI_TRY(h5_escape(part->source, sizeof source, source));
    TRI_AUTO(tri_h5_id) whole = tri_h5_space_make(part->box.n_dims, part->box.count);
    bool ok = whole >= 0 && tri_h5_space_select(space, &part->box) >= 0 &&
              H5Pset_virtual(properties, space, file, source, whole) >= 0;
    TRI_TRY(TRI_H5(ok ? 0 : -1, TRI_EIO, "mapping dataset '%s' of %s", part->source, part->file));
    return TRI_OK;
}

tri_status tri_h5_write_virtual(tri_h5 *h5, const char *name, tri_dtype dtype, int n_dims,
                                const int64_t *shape, int64_t n_parts, const tri_h5_part *parts)
{
    H5_LOCKED();
    TRI_AUTO(tri_h5_id) type = tri_h5_type_make(dtype);
    TRI_AUTO(tri_h5_id) space = tri_h5_space_make(n_dims, shape);
    TRI_AUTO(tri_h5_id) properties = H5Pcreate(H5P_DATASET_CREATE);
    bool ok = type >= 0 && space >= 0 && properties >= 0 &&
              tri_h5_type_fill(properties, dtype, type) >= 0;
    TRI_TRY(TRI_H5(ok ? 0 : -1, TRI_EIO, "describing dataset '%s' of %s", name, h5->path));
    for (int64_t i = 0; i < n_parts; i++)
        TRI_TRY(h5_map(properties, space, &parts[i]));
    TRI_TRY(TRI_H5(H5Sselect_all(space), TRI_EIO, "describing dataset '%s' of %s", name, h5->path));
    hid_t id = -1;
    TRI_TRY(h5_dataset_create(h5, name, type, space, properties, &id));
    H5Dclose(id);
    return TRI_OK;
}

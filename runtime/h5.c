// SPDX-License-Identifier: Apache-2.0
/* HDF5, serial: with runtime/h5/ the one door. Every public function takes the process's lock first and gives it back last, so ids,
 * which are owned by their scope, are closed under it. The lock is the one mutable object outside a
 * rank here: it guards state that HDF5 itself keeps per process.
 */
#include "runtime/h5.h"

#include "runtime/base/alloc.h"
#include "runtime/base/int.h"
#include "runtime/base/thread.h"
#include "runtime/h5/catalog.h"
#include "runtime/h5/image.h"
#include "runtime/h5/type.h"

#include <fcntl.h>
#include <hdf5.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum { H5_ALIGN_FROM_BYTES = 65536, H5_ALIGN_BYTES = 4096, H5_CACHED_SOURCES = 64 };
enum { H5_LISTED_BYTES = 320, H5_PATH_BYTES = 1024 };

struct tri_h5 {
    hid_t file;
    char *path;
    tri_h5_image *image;     /* of a new file; NULL: open for reading */
    int fd;                  /* of a new file */
    tri_h5_catalog *catalog; /* of a file that is read without HDF5; NULL: HDF5 has it open */
};

struct tri_h5_dataset {
    tri_h5 *h5;
    hid_t id;
    const tri_h5_entry *entry; /* of a catalogue; then id is -1 */
    char *name;
    tri_box box; /* the whole of it */
    bool is_integer;
    int64_t parts;
};

typedef hid_t h5_id;

static void h5_id_destroy(const h5_id *id)
{
    if (*id >= 0) H5Idec_ref(*id);
}

static tri_mutex h5_mutex = {PTHREAD_MUTEX_INITIALIZER};

typedef tri_mutex *h5_lock;

static void h5_lock_destroy(h5_lock *lock)
{
    tri_mutex_unlock(*lock);
}

static h5_lock h5_lock_take(void)
{
    tri_mutex_lock(&h5_mutex);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    return &h5_mutex;
}

#define H5_LOCKED() TRI_AUTO(h5_lock) lock_ __attribute__((unused)) = h5_lock_take()

/* An HDF5 call that answers less than 0: TRI_TRY(TRI_H5(H5Fclose(f), TRI_EIO, "closing %s", path)). */
#define TRI_H5(call, code, ...) \
    ((call) < 0 ? h5_raise((code), __FILE__, __LINE__, __func__, __VA_ARGS__) : TRI_OK)

static herr_t h5_innermost(unsigned n, const H5E_error2_t *error, void *arg)
{
    if (n == 0) snprintf(arg, 160, "%s", error->desc ? error->desc : "");
    return 0;
}

static tri_status TRI_PRINTF(5, 6) h5_raise(tri_status code, const char *file, int line,
                                            const char *function, const char *format, ...)
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

static hid_t h5_space(int n_dims, const int64_t *shape)
{
    hsize_t dims[TRI_MAX_DIMS];
    for (int d = 0; d < n_dims; d++)
        dims[d] = (hsize_t)shape[d];
    return H5Screate_simple(n_dims, dims, NULL);
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
    TRI_AUTO(h5_id) access = h5_access(user_bytes == 0);
    TRI_TRY(TRI_H5(access, TRI_EIO, "creating %s", h5->path));
    TRI_TRY(TRI_H5(tri_h5_image_use(h5->image, access), TRI_EIO, "creating %s", h5->path));
    TRI_AUTO(h5_id) creation = H5Pcreate(H5P_FILE_CREATE);
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
    TRI_AUTO(h5_id) access = h5_access(false);
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
    TRI_AUTO(h5_id) links = H5Pcreate(H5P_LINK_CREATE);
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
    TRI_AUTO(h5_id) type = tri_h5_type_make(dtype);
    TRI_AUTO(h5_id) space = h5_space(n_dims, shape);
    TRI_AUTO(h5_id) properties = H5Pcreate(H5P_DATASET_CREATE);
    bool ok = type >= 0 && space >= 0 && properties >= 0 &&
              H5Pset_layout(properties, H5D_CONTIGUOUS) >= 0 &&
              H5Pset_alloc_time(properties, H5D_ALLOC_TIME_EARLY) >= 0 &&
              H5Pset_fill_time(properties, H5D_FILL_TIME_NEVER) >= 0;
    TRI_TRY(TRI_H5(ok ? 0 : -1, TRI_EIO, "describing dataset '%s' of %s", name, h5->path));
    hid_t id = -1;
    TRI_TRY(h5_dataset_create(h5, name, type, space, properties, &id));
    TRI_AUTO(h5_id) dataset = id;
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
    TRI_AUTO(h5_id) dataset = id;
    TRI_TRY(TRI_H5(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data), TRI_EIO,
                   "writing dataset '%s' of %s", name, h5->path));
    return TRI_OK;
}

tri_status tri_h5_write(tri_h5 *h5, const char *name, tri_dtype dtype, int n_dims,
                        const int64_t *shape, const void *data)
{
    H5_LOCKED();
    TRI_AUTO(h5_id) type = tri_h5_type_make(dtype);
    TRI_AUTO(h5_id) space = h5_space(n_dims, shape);
    return h5_write_all(h5, name, type, space, data);
}

tri_status tri_h5_write_text(tri_h5 *h5, const char *name, int64_t count, size_t width,
                             const char *data)
{
    H5_LOCKED();
    TRI_AUTO(h5_id) type = tri_h5_type_text(width);
    TRI_AUTO(h5_id) space = h5_space(1, &count);
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
    TRI_AUTO(h5_id) closing = id;
    TRI_TRY(TRI_H5(H5Awrite(closing, type, data), TRI_EIO, "writing attribute '%s' of '%s' of %s",
                   attribute, object, h5->path));
    return TRI_OK;
}

tri_status tri_h5_set_ints(tri_h5 *h5, const char *object, const char *attribute, int64_t count,
                           const int64_t *values)
{
    H5_LOCKED();
    TRI_AUTO(h5_id) space = h5_space(1, &count);
    TRI_TRY(TRI_H5(space, TRI_EIO, "describing attribute '%s' of %s", attribute, h5->path));
    return h5_attribute_set(h5, object, attribute, H5T_STD_I64LE, space, values);
}

tri_status tri_h5_set_text(tri_h5 *h5, const char *object, const char *attribute, const char *text)
{
    H5_LOCKED();
    TRI_AUTO(h5_id) type = tri_h5_type_text(text[0] ? strlen(text) : 1);
    TRI_AUTO(h5_id) space = H5Screate(H5S_SCALAR);
    TRI_TRY(TRI_H5(type < 0 ? type : space, TRI_EIO, "describing attribute '%s' of %s", attribute,
                   h5->path));
    return h5_attribute_set(h5, object, attribute, type, space, text);
}

static tri_status h5_attribute_find(const tri_h5 *h5, const char *object, const char *attribute,
                                    const tri_h5_entry **out)
{
    *out = h5->catalog ? tri_h5_catalog_find(h5->catalog, object, attribute) : NULL;
    TRI_CHECK(*out, TRI_EFORMAT, "%s has no attribute '%s' on '%s'", h5->path, attribute, object);
    return TRI_OK;
}

tri_status tri_h5_get_ints(tri_h5 *h5, const char *object, const char *attribute, int64_t count,
                           int64_t *values)
{
    const tri_h5_entry *entry = NULL;
    TRI_TRY(h5_attribute_find(h5, object, attribute, &entry));
    TRI_CHECK(entry->record.kind == TRI_H5_INTEGER && entry->n_elements == count, TRI_EFORMAT,
              "%s: attribute '%s' of '%s' is not %lld integers", h5->path, attribute, object,
              (long long)count);
    memcpy(values, entry->more, (size_t)count * sizeof *values);
    return TRI_OK;
}

tri_status tri_h5_get_text(tri_h5 *h5, const char *object, const char *attribute, size_t bytes,
                           char *text)
{
    const tri_h5_entry *entry = NULL;
    TRI_TRY(h5_attribute_find(h5, object, attribute, &entry));
    size_t width = (size_t)entry->record.element_bytes;
    TRI_CHECK(entry->record.kind == TRI_H5_TEXT && entry->n_elements == 1 && width < bytes + 1,
              TRI_EFORMAT, "%s: attribute '%s' of '%s' is not a text of less than %zu bytes",
              h5->path, attribute, object, bytes);
    memset(text, 0, bytes);
    memcpy(text, entry->more, width);
    text[bytes - 1] = '\0';
    return TRI_OK;
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

static herr_t h5_select(hid_t space, const tri_box *box)
{
    hsize_t start[TRI_MAX_DIMS];
    hsize_t count[TRI_MAX_DIMS];
    for (int d = 0; d < box->n_dims; d++) {
        start[d] = (hsize_t)box->start[d];
        count[d] = (hsize_t)box->count[d];
    }
    return H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
}

/* Map one source into the virtual dataset's space. Lock held. */
static tri_status h5_map(hid_t properties, hid_t space, const tri_h5_part *part)
{
    char file[H5_PATH_BYTES];
    char source[H5_PATH_BYTES];
    TRI_TRY(h5_escape(part->file, sizeof file, file));
    TRI_TRY(h5_escape(part->source, sizeof source, source));
    TRI_AUTO(h5_id) whole = h5_space(part->box.n_dims, part->box.count);
    bool ok = whole >= 0 && h5_select(space, &part->box) >= 0 &&
              H5Pset_virtual(properties, space, file, source, whole) >= 0;
    TRI_TRY(TRI_H5(ok ? 0 : -1, TRI_EIO, "mapping dataset '%s' of %s", part->source, part->file));
    return TRI_OK;
}

tri_status tri_h5_write_virtual(tri_h5 *h5, const char *name, tri_dtype dtype, int n_dims,
                                const int64_t *shape, int64_t n_parts, const tri_h5_part *parts)
{
    H5_LOCKED();
    TRI_AUTO(h5_id) type = tri_h5_type_make(dtype);
    TRI_AUTO(h5_id) space = h5_space(n_dims, shape);
    TRI_AUTO(h5_id) properties = H5Pcreate(H5P_DATASET_CREATE);
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

typedef struct h5_listing {
    char text[H5_LISTED_BYTES];
    size_t used;
} h5_listing;

static herr_t h5_list_one(hid_t object, const char *name, const H5O_info_t *info, void *arg)
{
    (void)object;
    h5_listing *list = arg;
    if (info->type != H5O_TYPE_DATASET) return 0;
    int n = snprintf(list->text + list->used, sizeof list->text - list->used, " %s", name);
    if (n < 0 || list->used + (size_t)n >= sizeof list->text) {
        snprintf(list->text + sizeof list->text - 5, 5, " ...");
        return 1;
    }
    list->used += (size_t)n;
    return 0;
}

/* Names of the datasets of a file, as many as fit. Lock held. */
static void h5_list(tri_h5 *h5, h5_listing *list)
{
    *list = (h5_listing){.used = 0};
#if H5_VERSION_GE(1, 12, 0)
    H5Ovisit1(h5->file, H5_INDEX_NAME, H5_ITER_INC, h5_list_one, list);
#else
    H5Ovisit(h5->file, H5_INDEX_NAME, H5_ITER_INC, h5_list_one, list);
#endif
    if (!list->used) snprintf(list->text, sizeof list->text, " (no dataset at all)");
}

/* Dimensions, type and parts of an open dataset. Lock held. */
static tri_status h5_dataset_describe(tri_h5_dataset *dataset)
{
    const char *path = dataset->h5->path;
    TRI_AUTO(h5_id) type = H5Dget_type(dataset->id);
    TRI_AUTO(h5_id) space = H5Dget_space(dataset->id);
    TRI_AUTO(h5_id) properties = H5Dget_create_plist(dataset->id);
    TRI_TRY(TRI_H5(type < 0    ? type
                   : space < 0 ? space
                               : properties,
                   TRI_EFORMAT, "reading what dataset '%s' of %s is", dataset->name, path));
    H5T_class_t class = H5Tget_class(type);
    TRI_CHECK(class == H5T_INTEGER || class == H5T_FLOAT, TRI_EFORMAT,
              "dataset '%s' of %s holds neither integers nor floating-point numbers", dataset->name,
              path);
    int n_dims = H5Sget_simple_extent_ndims(space);
    TRI_CHECK(n_dims >= 1 && n_dims <= TRI_MAX_DIMS, TRI_EFORMAT,
              "dataset '%s' of %s has %d dimensions; 1 to %d can be read", dataset->name, path,
              n_dims, TRI_MAX_DIMS);
    hsize_t dims[TRI_MAX_DIMS];
    TRI_TRY(TRI_H5(H5Sget_simple_extent_dims(space, dims, NULL), TRI_EFORMAT,
                   "reading the shape of dataset '%s' of %s", dataset->name, path));
    dataset->box.n_dims = n_dims;
    for (int d = 0; d < n_dims; d++)
        dataset->box.count[d] = (int64_t)dims[d];
    int64_t elements = 0;
    TRI_TRY(tri_product(n_dims, dataset->box.count, &elements));
    dataset->is_integer = class == H5T_INTEGER;
    size_t parts = 0;
    if (H5Pget_layout(properties) == H5D_VIRTUAL)
        TRI_TRY(TRI_H5(H5Pget_virtual_count(properties, &parts), TRI_EFORMAT,
                       "reading the parts of dataset '%s' of %s", dataset->name, path));
    dataset->parts = (int64_t)parts;
    return TRI_OK;
}

/* A dataset of a catalogue, of numbers. */
static tri_status h5_dataset_find(tri_h5_dataset *dataset)
{
    const tri_h5 *h5 = dataset->h5;
    dataset->entry = tri_h5_catalog_find(h5->catalog, dataset->name, "");
    if (!dataset->entry) {
        char list[H5_LISTED_BYTES];
        tri_h5_catalog_list(h5->catalog, sizeof list, list);
        TRI_FAIL(TRI_EFORMAT, "%s has no dataset '%s'; it has:%s", h5->path, dataset->name, list);
    }
    const tri_h5_record *record = &dataset->entry->record;
    TRI_CHECK(record->kind == TRI_H5_INTEGER || record->kind == TRI_H5_FLOAT, TRI_EFORMAT,
              "dataset '%s' of %s holds neither integers nor floating-point numbers", dataset->name,
              h5->path);
    TRI_CHECK(record->n_dims >= 1 && record->n_dims <= TRI_MAX_DIMS, TRI_EFORMAT,
              "dataset '%s' of %s has %d dimensions; 1 to %d can be read", dataset->name, h5->path,
              record->n_dims, TRI_MAX_DIMS);
    dataset->parts = record->parts;
    dataset->box.n_dims = record->n_dims;
    memcpy(dataset->box.count, record->shape, sizeof record->shape);
    dataset->is_integer = record->kind == TRI_H5_INTEGER;
    return TRI_OK;
}

tri_status tri_h5_dataset_open(tri_h5 *h5, const char *name, tri_h5_dataset **out)
{
    TRI_AUTO(tri_h5_dataset) *dataset = NULL;
    TRI_TRY(TRI_NEW(&dataset));
    dataset->h5 = h5;
    dataset->id = -1;
    TRI_TRY(tri_alloc_string(name, &dataset->name));
    if (h5->catalog) {
        TRI_TRY(h5_dataset_find(dataset));
        *out = TRI_MOVE(dataset);
        return TRI_OK;
    }
    H5_LOCKED();
    dataset->id = H5Dopen2(h5->file, name, H5P_DEFAULT);
    if (dataset->id < 0) {
        h5_listing list;
        h5_list(h5, &list);
        TRI_FAIL(TRI_EFORMAT, "%s has no dataset '%s'; it has:%s", h5->path, name, list.text);
    }
    TRI_TRY(h5_dataset_describe(dataset));
    *out = TRI_MOVE(dataset);
    return TRI_OK;
}

void tri_h5_dataset_destroy(tri_h5_dataset **dataset)
{
    if (!*dataset) return;
    if ((*dataset)->id >= 0) {
        H5_LOCKED();
        H5Dclose((*dataset)->id);
    }
    TRI_FREE((*dataset)->name);
    TRI_FREE(*dataset);
}

tri_status tri_h5_dataset_check(const tri_h5_dataset *dataset)
{
    if (!dataset->entry) return TRI_OK;
    return tri_h5_catalog_check(dataset->h5->catalog, dataset->entry);
}

int64_t tri_h5_dataset_count(const tri_h5_dataset *dataset)
{
    return tri_box_elements(&dataset->box);
}

int tri_h5_dataset_shape(const tri_h5_dataset *dataset, int64_t shape[TRI_MAX_DIMS])
{
    for (int d = 0; shape && d < dataset->box.n_dims; d++)
        shape[d] = dataset->box.count[d];
    return dataset->box.n_dims;
}

bool tri_h5_dataset_is_integer(const tri_h5_dataset *dataset)
{
    return dataset->is_integer;
}

int64_t tri_h5_dataset_parts(const tri_h5_dataset *dataset)
{
    return dataset->parts;
}

/* Read one box of a dataset into contiguous memory. Lock held. */
static tri_status h5_dataset_read_box(tri_h5_dataset *dataset, const tri_box *box, hid_t type,
                                      void *out)
{
    TRI_AUTO(h5_id) from = H5Dget_space(dataset->id);
    TRI_AUTO(h5_id) to = h5_space(box->n_dims, box->count);
    bool ok = from >= 0 && to >= 0 && h5_select(from, box) >= 0 &&
              H5Dread(dataset->id, type, to, from, H5P_DEFAULT, out) >= 0;
    TRI_TRY(TRI_H5(ok ? 0 : -1, TRI_EIO, "reading dataset '%s' of %s", dataset->name,
                   dataset->h5->path));
    return TRI_OK;
}

tri_status tri_h5_dataset_read(tri_h5_dataset *dataset, int64_t begin, int64_t n, tri_dtype dtype,
                               void *out)
{
    int64_t elements = tri_h5_dataset_count(dataset);
    TRI_CHECK(begin >= 0 && n >= 0 && begin <= elements - n, TRI_EINVAL,
              "elements [%lld, %lld) of dataset '%s' of %s, which has %lld", (long long)begin,
              (long long)(begin + n), dataset->name, dataset->h5->path, (long long)elements);
    TRI_TRY(tri_h5_dataset_check(dataset));
    if (dataset->entry)
        return tri_h5_catalog_read(dataset->h5->catalog, dataset->entry, begin, n, dtype, out);
    tri_piece_box pieces[TRI_MAX_BOXES];
    int n_pieces = 0;
    tri_box_cut(&dataset->box, begin, n, pieces, &n_pieces);
    H5_LOCKED();
    TRI_AUTO(h5_id) type = tri_h5_type_make(dtype);
    TRI_TRY(TRI_H5(type, TRI_EINVAL, "reading as type %d", (int)dtype));
    for (int i = 0; i < n_pieces; i++) {
        size_t skip = (size_t)pieces[i].offset * tri_dtype_bytes(dtype);
        TRI_TRY(h5_dataset_read_box(dataset, &pieces[i].box, type, (char *)out + skip));
    }
    return TRI_OK;
}

tri_status tri_h5_read_text(tri_h5 *h5, const char *name, int64_t count, size_t width, char *out)
{
    const tri_h5_entry *entry = h5->catalog ? tri_h5_catalog_find(h5->catalog, name, "") : NULL;
    TRI_CHECK(entry, TRI_EFORMAT, "%s has no dataset '%s'", h5->path, name);
    TRI_CHECK(entry->record.kind == TRI_H5_TEXT && entry->record.element_bytes == (int64_t)width &&
                  entry->n_elements == count,
              TRI_EFORMAT, "%s: dataset '%s' is not %lld texts of %zu bytes", h5->path, name,
              (long long)count, width);
    TRI_TRY(tri_h5_catalog_check(h5->catalog, entry));
    return tri_h5_catalog_read_bytes(h5->catalog, entry, out);
}

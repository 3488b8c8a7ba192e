// SPDX-License-Identifier: Apache-2.0
/* Reading: by the catalogue of a file, or, of what this program has just written, through HDF5. */
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"
#include "runtime/h5/h5_impl.h"
#include "runtime/h5/type.h"

#include <stdio.h>
#include <string.h>

enum { READ_LISTED_BYTES = 320 };

struct tri_h5_dataset {
    tri_h5 *h5;
    hid_t id;
    const tri_h5_entry *entry; /* of a catalogue; then id is -1 */
    tri_h5_filter *filter;     /* of a compressed one */
    char *name;
    tri_box box; /* the whole of it */
    bool is_integer;
    int64_t parts;
};

static tri_status read_find_attribute(const tri_h5 *h5, const char *object, const char *attribute,
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
    TRI_TRY(read_find_attribute(h5, object, attribute, &entry));
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
    TRI_TRY(read_find_attribute(h5, object, attribute, &entry));
    size_t width = (size_t)entry->record.element_bytes;
    TRI_CHECK(entry->record.kind == TRI_H5_TEXT && entry->n_elements == 1 && width < bytes + 1,
              TRI_EFORMAT, "%s: attribute '%s' of '%s' is not a text of less than %zu bytes",
              h5->path, attribute, object, bytes);
    memset(text, 0, bytes);
    memcpy(text, entry->more, width);
    text[bytes - 1] = '\0';
    return TRI_OK;
}

typedef struct read_listing {
    char text[READ_LISTED_BYTES];
    size_t used;
} read_listing;

static herr_t read_list_one(hid_t object, const char *name, const H5O_info_t *info, void *arg)
{
    (void)object;
    read_listing *list = arg;
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
static void read_list(tri_h5 *h5, read_listing *list)
{
    *list = (read_listing){.used = 0};
#if H5_VERSION_GE(1, 12, 0)
    H5Ovisit1(h5->file, H5_INDEX_NAME, H5_ITER_INC, read_list_one, list);
#else
    H5Ovisit(h5->file, H5_INDEX_NAME, H5_ITER_INC, read_list_one, list);
#endif
    if (!list->used) snprintf(list->text, sizeof list->text, " (no dataset at all)");
}

/* Dimensions, type and parts of an open dataset. Lock held. */
static tri_status read_describe(tri_h5_dataset *dataset)
{
    const char *path = dataset->h5->path;
    TRI_AUTO(tri_h5_id) type = H5Dget_type(dataset->id);
    TRI_AUTO(tri_h5_id) space = H5Dget_space(dataset->id);
    TRI_AUTO(tri_h5_id) properties = H5Dget_create_plist(dataset->id);
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
static tri_status read_find(tri_h5_dataset *dataset)
{
    const tri_h5 *h5 = dataset->h5;
    dataset->entry = tri_h5_catalog_find(h5->catalog, dataset->name, "");
    if (!dataset->entry) {
        char list[READ_LISTED_BYTES];
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
        TRI_TRY(read_find(dataset));
        TRI_TRY(tri_h5_catalog_prepare(dataset->entry, &dataset->filter));
        *out = TRI_MOVE(dataset);
        return TRI_OK;
    }
    H5_LOCKED();
    dataset->id = H5Dopen2(h5->file, name, H5P_DEFAULT);
    if (dataset->id < 0) {
        read_listing list;
        read_list(h5, &list);
        TRI_FAIL(TRI_EFORMAT, "%s has no dataset '%s'; it has:%s", h5->path, name, list.text);
    }
    TRI_TRY(read_describe(dataset));
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
    tri_h5_filter_destroy(&(*dataset)->filter);
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
static tri_status read_box(tri_h5_dataset *dataset, const tri_box *box, hid_t type, void *out)
{
    TRI_AUTO(tri_h5_id) from = H5Dget_space(dataset->id);
    TRI_AUTO(tri_h5_id) to = tri_h5_space_make(box->n_dims, box->count);
    bool ok = from >= 0 && to >= 0 && tri_h5_space_select(from, box) >= 0 &&
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
        return tri_h5_catalog_read(dataset->h5->catalog, dataset->entry, dataset->filter, begin, n,
                                   dtype, out);
    tri_piece_box pieces[TRI_MAX_BOXES];
    int n_pieces = 0;
    tri_box_cut(&dataset->box, begin, n, pieces, &n_pieces);
    H5_LOCKED();
    TRI_AUTO(tri_h5_id) type = tri_h5_type_make(dtype);
    TRI_TRY(TRI_H5(type, TRI_EINVAL, "reading as type %d", (int)dtype));
    for (int i = 0; i < n_pieces; i++) {
        size_t skip = (size_t)pieces[i].offset * tri_dtype_bytes(dtype);
        TRI_TRY(read_box(dataset, &pieces[i].box, type, (char *)out + skip));
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

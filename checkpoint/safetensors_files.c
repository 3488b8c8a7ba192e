// SPDX-License-Identifier: Apache-2.0
/* Headers of safetensors files. They may come from anywhere: no number in them is used before it is
 * checked against the size of the file, and nothing is allocated for which the file has not the bytes.
 */
#include "checkpoint/safetensors_files.h"

#include "runtime/base/alloc.h"
#include "runtime/base/int.h"
#include "runtime/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { FILES_LENGTH_BYTES = 8 };

typedef char *files_text;

static void files_text_destroy(files_text *text)
{
    TRI_FREE(*text);
}

/* All types of the format; dtype where import takes it. */
typedef struct files_type {
    const char *name;
    int bits;
    bool is_weight;
    tri_dtype dtype;
} files_type;

static const files_type files_types[] = {
    {"F32",     32, true,  TRI_F32 },
    {"BF16",    16, true,  TRI_BF16},
    {"F16",     16, true,  TRI_F16 },
    {"F64",     64, false, 0       },
    {"BOOL",    8,  false, 0       },
    {"U8",      8,  false, 0       },
    {"I8",      8,  false, 0       },
    {"I16",     16, false, 0       },
    {"U16",     16, false, 0       },
    {"I32",     32, false, 0       },
    {"U32",     32, false, 0       },
    {"I64",     64, false, 0       },
    {"U64",     64, false, 0       },
    {"C64",     64, false, 0       },
    {"F8_E4M3", 8,  false, 0       },
    {"F8_E5M2", 8,  false, 0       },
    {"F8_E8M0", 8,  false, 0       },
    {"F6_E2M3", 6,  false, 0       },
    {"F6_E3M2", 6,  false, 0       },
    {"F4",      4,  false, 0       },
};

void tri_safetensors_files_destroy(tri_safetensors_files **files)
{
    tri_safetensors_files *f = *files;
    if (!f) return;
    for (int64_t i = 0; i < f->n_tensors; i++)
        TRI_FREE(f->tensors[i].name);
    for (int64_t i = 0; i < f->n_files; i++)
        TRI_FREE(f->paths[i]);
    TRI_FREE(f->tensors);
    TRI_FREE(f->paths);
    tri_disk_fd_destroy(&f->fd);
    TRI_FREE(*files);
}

void tri_safetensors_shape(int n_dims, const int64_t *shape, char *out, size_t out_bytes)
{
    size_t n = (size_t)snprintf(out, out_bytes, "[");
    for (int d = 0; d < n_dims && n < out_bytes; d++)
        n += (size_t)snprintf(out + n, out_bytes - n, "%s%lld", d ? ", " : "", (long long)shape[d]);
    if (n < out_bytes) snprintf(out + n, out_bytes - n, "]");
}

/* A file while its header is read: its tensors are those from `first` on. */
typedef struct files_header {
    const char *path;
    tri_safetensors_files *files;
    int64_t first;
    int64_t data_begin, data_bytes;
} files_header;

static tri_status files_type_of(const tri_json_value *value, const files_type **out)
{
    const char *name =
        value && tri_json_kind_of(value) == TRI_JSON_TEXT ? tri_json_text(value) : "none";
    for (size_t i = 0; i < sizeof files_types / sizeof *files_types; i++) {
        if (strcmp(files_types[i].name, name) != 0) continue;
        *out = &files_types[i];
        return TRI_OK;
    }
    TRI_FAIL(TRI_EFORMAT, "'%.40s' is no type of the format", name);
}

static tri_status files_shape_of(const tri_json_value *value, tri_safetensors_tensor *tensor)
{
    TRI_CHECK(value && tri_json_kind_of(value) == TRI_JSON_LIST, TRI_EFORMAT, "it has no shape");
    for (const tri_json_value *item = tri_json_first(value); item; item = tri_json_next(item)) {
        TRI_CHECK(tensor->n_dims < TRI_SAFETENSORS_DIMS, TRI_EFORMAT,
                  "it has more than %d dimensions", TRI_SAFETENSORS_DIMS);
        int64_t *size = &tensor->shape[tensor->n_dims++];
        TRI_CHECK(tri_json_integer(item, size) && *size >= 0, TRI_EFORMAT,
                  "dimension %d of its shape is no whole number", tensor->n_dims - 1);
    }
    return TRI_OK;
}

/* Begin and end, within the bytes of the file, and as far apart as shape and type say. */
static tri_status files_offsets_of(const files_header *header, const tri_json_value *value,
                                   int bits, tri_safetensors_tensor *tensor)
{
    int64_t at[2] = {0, 0};
    const tri_json_value *begin = NULL;
    if (value && tri_json_kind_of(value) == TRI_JSON_LIST && tri_json_count(value) == 2)
        begin = tri_json_first(value);
    TRI_CHECK(begin && tri_json_integer(begin, &at[0]) &&
                  tri_json_integer(tri_json_next(begin), &at[1]),
              TRI_EFORMAT, "its data_offsets are not two whole numbers");
    TRI_CHECK(at[0] >= 0 && at[0] <= at[1] && at[1] <= header->data_bytes, TRI_EFORMAT,
              "its data_offsets [%lld, %lld] are not within the %lld bytes of data",
              (long long)at[0], (long long)at[1], (long long)header->data_bytes);
    int64_t n_bits = bits;
    bool fits = true;
    for (int d = 0; d < tensor->n_dims; d++)
        fits = fits && !__builtin_mul_overflow(n_bits, tensor->shape[d], &n_bits);
    TRI_CHECK(fits && n_bits % 8 == 0 && n_bits / 8 == at[1] - at[0], TRI_EFORMAT,
              "its data_offsets [%lld, %lld] are not as far apart as its shape and type ask for",
              (long long)at[0], (long long)at[1]);
    tensor->offset = header->data_begin + at[0];
    tensor->n_bytes = at[1] - at[0];
    return TRI_OK;
}

static tri_status files_tensor(const files_header *header, const tri_json_value *value,
                               tri_safetensors_tensor *tensor)
{
    const files_type *type = NULL;
    TRI_CHECK(tri_json_kind_of(value) == TRI_JSON_MAP, TRI_EFORMAT, "it is not described by a map");
    TRI_TRY(files_type_of(tri_json_find(value, "dtype"), &type));
    TRI_TRY(files_shape_of(tri_json_find(value, "shape"), tensor));
    TRI_TRY(files_offsets_of(header, tri_json_find(value, "data_offsets"), type->bits, tensor));
    tensor->type = type->name;
    tensor->is_weight = type->is_weight;
    tensor->dtype = type->dtype;
    tensor->file = (int32_t)(header->files->n_files - 1);
    return TRI_OK;
}

/* __metadata__ is a map of texts, which nothing here uses. */
static tri_status files_metadata(const files_header *header, const tri_json_value *value)
{
    bool ok = tri_json_kind_of(value) == TRI_JSON_MAP;
    for (const tri_json_value *v = ok ? tri_json_first(value) : NULL; v; v = tri_json_next(v))
        ok = ok && tri_json_kind_of(v) == TRI_JSON_TEXT;
    TRI_CHECK(ok, TRI_EFORMAT, "%s: __metadata__ is no map of texts", header->path);
    return TRI_OK;
}

static int files_by_offset(const void *a, const void *b)
{
    const tri_safetensors_tensor *x = a;
    const tri_safetensors_tensor *y = b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

static int files_by_name(const void *a, const void *b)
{
    return strcmp(((const tri_safetensors_tensor *)a)->name,
                  ((const tri_safetensors_tensor *)b)->name);
}

/* The tensors lie one behind the other and fill the file. */
static tri_status files_check_cover(const files_header *header)
{
    tri_safetensors_tensor *tensors = header->files->tensors + header->first;
    int64_t n = header->files->n_tensors - header->first;
    int64_t at = header->data_begin;
    if (n) qsort(tensors, (size_t)n, sizeof *tensors, files_by_offset);
    for (int64_t i = 0; i < n; i++) {
        TRI_CHECK(tensors[i].offset == at, TRI_EFORMAT,
                  "%s: tensor '%.100s' begins at byte %lld, %s the end of what is before it",
                  header->path, tensors[i].name, (long long)tensors[i].offset,
                  tensors[i].offset < at ? "before" : "behind");
        at += tensors[i].n_bytes;
    }
    TRI_CHECK(at == header->data_begin + header->data_bytes, TRI_EFORMAT,
              "%s: the last %lld bytes belong to no tensor", header->path,
              (long long)(header->data_begin + header->data_bytes - at));
    return TRI_OK;
}

static tri_status files_header_read(files_header *header, const tri_json_value *root)
{
    tri_safetensors_files *files = header->files;
    TRI_CHECK(tri_json_kind_of(root) == TRI_JSON_MAP, TRI_EFORMAT, "%s: the header is no map",
              header->path);
    int64_t n = tri_json_count(root);
    TRI_TRY(tri_alloc_grow((void **)&files->tensors, files->n_tensors, files->n_tensors + n + 1,
                           sizeof *files->tensors));
    for (const tri_json_value *v = tri_json_first(root); v; v = tri_json_next(v)) {
        if (strcmp(tri_json_key(v), "__metadata__") == 0) {
            TRI_TRY(files_metadata(header, v));
            continue;
        }
        tri_safetensors_tensor tensor = {.name = NULL};
        if (files_tensor(header, v, &tensor) != TRI_OK) {
            tri_err err;
            tri_err_take(&err);
            TRI_FAIL(TRI_EFORMAT, "%s: tensor '%.100s': %s", header->path, tri_json_key(v),
                     err.text);
        }
        TRI_TRY(tri_alloc_string(tri_json_key(v), &tensor.name));
        files->tensors[files->n_tensors++] = tensor;
    }
    return files_check_cover(header);
}

/* Read the text at [begin, begin + n) of an open file, which has it. */
static tri_status files_json(int fd, const char *path, int64_t begin, int64_t n, tri_json **out)
{
    TRI_AUTO(files_text) text = NULL;
    TRI_TRY(TRI_NEW_ARRAY(n + 1, &text));
    TRI_TRY(tri_disk_read(fd, path, text, n, begin));
    TRI_CHECK(text[0] == '{', TRI_EFORMAT, "%s: the header does not begin with {", path);
    return tri_json_parse(text, (size_t)n, path, out);
}

/* Add a file and its tensors. */
static tri_status files_add(tri_safetensors_files *files, const char *path)
{
    TRI_AUTO(tri_disk_fd) fd = -1;
    int64_t bytes = 0;
    TRI_TRY(tri_disk_open(path, false, &fd, &bytes));
    TRI_TRY(tri_alloc_grow((void **)&files->paths, files->n_files, files->n_files + 1,
                           sizeof *files->paths));
    TRI_TRY(tri_alloc_string(path, &files->paths[files->n_files]));
    files->n_files++;
    unsigned char length[FILES_LENGTH_BYTES];
    TRI_CHECK(bytes >= FILES_LENGTH_BYTES, TRI_EFORMAT,
              "%s has %lld bytes: a safetensors file has at least 8", path, (long long)bytes);
    TRI_TRY(tri_disk_read(fd, path, length, FILES_LENGTH_BYTES, 0));
    uint64_t n = 0;
    for (int i = FILES_LENGTH_BYTES - 1; i >= 0; i--)
        n = n << 8 | length[i];
    TRI_CHECK(n <= TRI_SAFETENSORS_HEADER_BYTES, TRI_EFORMAT,
              "%s: a header of %llu bytes; the most are %d: this is no safetensors file", path,
              (unsigned long long)n, TRI_SAFETENSORS_HEADER_BYTES);
    TRI_CHECK(n > 0 && (int64_t)n <= bytes - FILES_LENGTH_BYTES, TRI_EFORMAT,
              "%s: a header of %llu bytes in a file of %lld", path, (unsigned long long)n,
              (long long)bytes);
    TRI_AUTO(tri_json) *json = NULL;
    TRI_TRY(files_json(fd, path, FILES_LENGTH_BYTES, (int64_t)n, &json));
    files_header header = {.path = path,
                           .files = files,
                           .first = files->n_tensors,
                           .data_begin = FILES_LENGTH_BYTES + (int64_t)n};
    header.data_bytes = bytes - header.data_begin;
    return files_header_read(&header, tri_json_root(json));
}

/* A line of an index: which file has the tensor. */
typedef struct files_line {
    const char *tensor, *file;
} files_line;

typedef files_line *files_lines;

static void files_lines_destroy(files_lines *lines)
{
    TRI_FREE(*lines);
}

static int files_line_by_file(const void *a, const void *b)
{
    return strcmp(((const files_line *)a)->file, ((const files_line *)b)->file);
}

static int files_line_by_tensor(const void *a, const void *b)
{
    return strcmp(((const files_line *)a)->tensor, ((const files_line *)b)->tensor);
}

static tri_status files_index_lines(const char *path, const tri_json_value *map, files_line *lines)
{
    int64_t n = 0;
    for (const tri_json_value *v = tri_json_first(map); v; v = tri_json_next(v)) {
        TRI_CHECK(tri_json_kind_of(v) == TRI_JSON_TEXT, TRI_EFORMAT,
                  "%s: tensor '%.100s' has no file name", path, tri_json_key(v));
        const char *file = tri_json_text(v);
        TRI_CHECK(file[0] && file[0] != '.' && !strchr(file, '/'), TRI_EFORMAT,
                  "%s: '%.100s' is no name of a file in the same folder", path, file);
        lines[n++] = (files_line){tri_json_key(v), file};
    }
    return TRI_OK;
}

static void files_sort(tri_safetensors_files *files)
{
    if (files->n_tensors)
        qsort(files->tensors, (size_t)files->n_tensors, sizeof *files->tensors, files_by_name);
}

/* The index and the headers name the same tensors in the same files. */
static tri_status files_check_index(tri_safetensors_files *files, const char *path,
                                    files_line *lines, int64_t n)
{
    files_sort(files);
    qsort(lines, (size_t)n, sizeof *lines, files_line_by_tensor);
    for (int64_t i = 0; i < n || i < files->n_tensors; i++) {
        const char *have = i < files->n_tensors ? files->tensors[i].name : NULL;
        const char *want = i < n ? lines[i].tensor : NULL;
        int order = !have ? 1 : !want ? -1 : strcmp(have, want);
        TRI_CHECK(order <= 0, TRI_EFORMAT, "%s: tensor '%.100s' is not in %.100s, nor in any other",
                  path, want ? want : "", want ? lines[i].file : "");
        TRI_CHECK(order >= 0, TRI_EFORMAT, "%s does not have tensor '%.100s' of %s", path, have,
                  files->paths[files->tensors[i].file]);
        const char *file = strrchr(files->paths[files->tensors[i].file], '/') + 1;
        TRI_CHECK(strcmp(file, lines[i].file) == 0, TRI_EFORMAT,
                  "%s: tensor '%.100s' is in %.100s, not in %.100s", path, want, file,
                  lines[i].file);
    }
    return TRI_OK;
}

static tri_status files_open_index(tri_safetensors_files *files, const char *folder,
                                   const char *path)
{
    TRI_AUTO(tri_disk_fd) fd = -1;
    TRI_AUTO(tri_json) *json = NULL;
    TRI_AUTO(files_lines) lines = NULL;
    int64_t bytes = 0;
    TRI_TRY(tri_disk_open(path, false, &fd, &bytes));
    TRI_CHECK(bytes > 0 && bytes <= TRI_SAFETENSORS_HEADER_BYTES, TRI_EFORMAT,
              "%s has %lld bytes: an index has at most %d", path, (long long)bytes,
              TRI_SAFETENSORS_HEADER_BYTES);
    TRI_TRY(files_json(fd, path, 0, bytes, &json));
    const tri_json_value *map = tri_json_find(tri_json_root(json), "weight_map");
    TRI_CHECK(map && tri_json_kind_of(map) == TRI_JSON_MAP && tri_json_first(map), TRI_EFORMAT,
              "%s has no weight_map", path);
    int64_t n = tri_json_count(map);
    TRI_TRY(TRI_NEW_ARRAY(n, &lines));
    TRI_TRY(files_index_lines(path, map, lines));
    qsort(lines, (size_t)n, sizeof *lines, files_line_by_file);
    for (int64_t i = 0; i < n; i++) {
        char file[TRI_DISK_PATH_BYTES];
        if (i > 0 && strcmp(lines[i].file, lines[i - 1].file) == 0) continue;
        TRI_TRY(tri_disk_path(file, folder, lines[i].file, ""));
        TRI_TRY(files_add(files, file));
    }
    return files_check_index(files, path, lines, n);
}

/* The one of the two that is in the folder. */
static tri_status files_open_folder(tri_safetensors_files *files, const char *folder)
{
    char index[TRI_DISK_PATH_BYTES];
    char single[TRI_DISK_PATH_BYTES];
    struct stat about;
    TRI_TRY(tri_disk_path(index, folder, TRI_SAFETENSORS_INDEX, ""));
    TRI_TRY(tri_disk_path(single, folder, TRI_SAFETENSORS_FILE, ""));
    bool has_index = stat(index, &about) == 0;
    bool has_single = stat(single, &about) == 0;
    TRI_CHECK(has_index || has_single, TRI_EIO, "%s has neither %s nor %s", folder,
              TRI_SAFETENSORS_FILE, TRI_SAFETENSORS_INDEX);
    TRI_CHECK(!has_index || !has_single, TRI_EINVAL, "%s has both %s and %s: take one of them away",
              folder, TRI_SAFETENSORS_FILE, TRI_SAFETENSORS_INDEX);
    if (has_index) return files_open_index(files, folder, index);
    return files_add(files, single);
}

tri_status tri_safetensors_files_open(const char *path, tri_safetensors_files **out)
{
    TRI_AUTO(tri_safetensors_files) *files = NULL;
    struct stat about;
    TRI_TRY(TRI_NEW(&files));
    files->fd = -1;
    TRI_TRY(TRI_SYS(stat(path, &about), "looking for safetensors at %s", path));
    if (S_ISDIR(about.st_mode))
        TRI_TRY(files_open_folder(files, path));
    else
        TRI_TRY(files_add(files, path));
    files_sort(files);
    for (int64_t i = 1; i < files->n_tensors; i++)
        TRI_CHECK(strcmp(files->tensors[i - 1].name, files->tensors[i].name) != 0, TRI_EFORMAT,
                  "%s: tensor '%.100s' is in two files", path, files->tensors[i].name);
    *out = TRI_MOVE(files);
    return TRI_OK;
}

static int files_compare_name(const void *name, const void *tensor)
{
    return strcmp(name, ((const tri_safetensors_tensor *)tensor)->name);
}

tri_safetensors_tensor *tri_safetensors_files_find(const tri_safetensors_files *files,
                                                   const char *name)
{
    if (!files->n_tensors) return NULL;
    return bsearch(name, files->tensors, (size_t)files->n_tensors, sizeof *files->tensors,
                   files_compare_name);
}

tri_status tri_safetensors_files_read(tri_safetensors_files *files,
                                      const tri_safetensors_tensor *tensor, int64_t begin,
                                      int64_t n_bytes, void *out)
{
    const char *path = files->paths[tensor->file];
    if (files->fd < 0 || files->open != tensor->file) {
        tri_disk_fd_destroy(&files->fd);
        TRI_TRY(tri_disk_open(path, false, &files->fd, NULL));
        files->open = tensor->file;
    }
    return tri_disk_read(files->fd, path, out, n_bytes, tensor->offset + begin);
}

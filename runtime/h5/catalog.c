// SPDX-License-Identifier: Apache-2.0
/* Reading by the catalogue. Whatever the child said is taken for hostile: every place lies in the file, or
 * the dataset is refused.
 */
#include "runtime/h5/catalog.h"

#include "runtime/base/alloc.h"
#include "runtime/base/int.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long a child may be silent. One that was forked while another thread held a lock of its allocator
 * (glibc's is made for that, others and the sanitizers' are not) stands still for good, so another is
 * asked; the last has more time than it may use of its processor. */
static const double catalog_patience_s[] = {5, 10, 20, 120};

enum {
    CATALOG_PIECE_BYTES = 4096,
    CATALOG_MAX_MORE_BYTES = TRI_H5_MAX_CHUNKS * (int)sizeof(tri_h5_chunk)
};

struct tri_h5_catalog {
    char *path;
    int fd;
    int64_t file_bytes;
    tri_h5_entry *entries;
    int64_t n_entries, capacity;
    double patience_s;
    bool is_silent; /* the child was, for longer than that */
};

static void catalog_clear(tri_h5_catalog *catalog)
{
    for (int64_t i = 0; i < catalog->n_entries; i++)
        TRI_FREE(catalog->entries[i].more);
    catalog->n_entries = 0;
}

void tri_h5_catalog_destroy(tri_h5_catalog **catalog)
{
    if (!*catalog) return;
    catalog_clear(*catalog);
    if ((*catalog)->fd >= 0) close((*catalog)->fd);
    TRI_FREE((*catalog)->entries);
    TRI_FREE((*catalog)->path);
    TRI_FREE(*catalog);
}

/* All of `n` bytes of the pipe; false where it ends before. */
static bool catalog_receive(tri_h5_catalog *catalog, int pipe, void *data, int64_t n)
{
    char *at = data;
    while (n > 0) {
        struct pollfd ready = {.fd = pipe, .events = POLLIN};
        int any = poll(&ready, 1, (int)(catalog->patience_s * 1000));
        if (any < 0 && errno == EINTR) continue;
        catalog->is_silent = any == 0;
        if (any <= 0) return false;
        ssize_t got = read(pipe, at, (size_t)n);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        at += got;
        n -= got;
    }
    return true;
}

static void catalog_refuse(tri_h5_record *record, const char *why)
{
    if (!record->refusal[0]) snprintf(record->refusal, sizeof record->refusal, "%s", why);
}

static bool catalog_fits(const tri_h5_catalog *catalog, int64_t offset, int64_t bytes)
{
    return offset >= 0 && bytes <= catalog->file_bytes && offset <= catalog->file_bytes - bytes;
}

static tri_h5_chunk catalog_chunk(const tri_h5_entry *entry, int64_t index)
{
    tri_h5_chunk chunk;
    memcpy(&chunk, entry->more + (size_t)index * sizeof chunk, sizeof chunk);
    return chunk;
}

/* The chunks of a dataset lie in the file, as many as its shape wants; compressed ones are
 * not larger than their stored bytes can make them. */
static void catalog_check_chunks(const tri_h5_catalog *catalog, tri_h5_entry *entry)
{
    tri_h5_record *r = &entry->record;
    int64_t most = r->n_filters ? TRI_H5_MAX_CHUNK_BYTES : catalog->file_bytes;
    int64_t n = 1;
    int64_t bytes = r->element_bytes;
    bool fits = r->n_dims > 0 && bytes <= most;
    bool ok = fits;
    for (int d = 0; ok && d < r->n_dims; d++) {
        fits = fits && r->chunk[d] > 0 && bytes <= most / r->chunk[d];
        bytes *= fits ? r->chunk[d] : 1;
        int64_t grid = fits ? (r->shape[d] - 1) / r->chunk[d] + 1 : 1;
        ok = fits && grid <= TRI_H5_MAX_CHUNKS / n;
        n *= ok ? grid : 1;
    }
    entry->chunk_bytes = bytes;
    if (!fits && r->n_filters) catalog_refuse(r, "has compressed chunks of more than 64 MiB");
    ok = ok && r->n_bytes == n * (int64_t)sizeof(tri_h5_chunk);
    int64_t stored = 0;
    for (int64_t i = 0; ok && i < n; i++) {
        tri_h5_chunk chunk = catalog_chunk(entry, i);
        if (!r->n_filters) chunk.bytes = 0; /* said, but not used */
        stored += chunk.bytes;
        ok = catalog_fits(catalog, chunk.offset, r->n_filters ? chunk.bytes : bytes);
        if (ok && r->n_filters)
            ok = chunk.bytes <= tri_h5_filter_bound(bytes) &&
                 chunk.bytes >= bytes / TRI_H5_MAX_DEFLATION;
    }
    if (!ok || stored > catalog->file_bytes)
        catalog_refuse(r, "has chunks that do not lie in the file");
}

/* The filters are some that can be undone. */
static bool catalog_filters_ok(const tri_h5_record *r)
{
    bool ok = r->n_filters >= 0 && r->n_filters <= TRI_H5_MAX_FILTERS;
    for (int i = 0; ok && i < r->n_filters; i++)
        ok = r->filters[i] == TRI_H5_DEFLATE || r->filters[i] == TRI_H5_SHUFFLE ||
             r->filters[i] == TRI_H5_FLETCHER32;
    return ok;
}

/* The size of an element is one of its kind. Integers of attributes come as int64. */
static bool catalog_type_ok(const tri_h5_record *r)
{
    int64_t n = r->element_bytes;
    if (r->kind == TRI_H5_INTEGER && r->attribute[0]) return n == (int64_t)sizeof(int64_t);
    if (r->kind == TRI_H5_INTEGER) return n == 1 || n == 2 || n == 4 || n == 8;
    if (r->kind != TRI_H5_FLOAT || r->dtype == -1) return n > 0;
    return r->dtype >= 0 && r->dtype < TRI_DTYPES &&
           n == (int64_t)tri_dtype_bytes((tri_dtype)r->dtype);
}

/* Shape, size and place make sense for a file of this size. */
static tri_status catalog_check_entry(const tri_h5_catalog *catalog, tri_h5_entry *entry)
{
    tri_h5_record *r = &entry->record;
    r->object[TRI_H5_NAME_BYTES - 1] = '\0';
    r->attribute[TRI_H5_NAME_BYTES - 1] = '\0';
    r->refusal[sizeof r->refusal - 1] = '\0';
    entry->n_elements = 1;
    bool ok = r->n_dims >= 0 && r->n_dims <= TRI_MAX_DIMS && catalog_type_ok(r);
    if (!ok) catalog_refuse(r, "has no type or shape that can be read");
    for (int d = 0; ok && d < r->n_dims; d++)
        ok = r->shape[d] >= 0;
    if (ok && r->n_dims > 0) {
        ok = tri_product(r->n_dims, r->shape, &entry->n_elements) == TRI_OK;
        tri_err_clear();
    }
    if (!ok) catalog_refuse(r, "has no shape that can be read");
    if (!ok) entry->n_elements = 0;
    if (r->attribute[0]) {
        TRI_CHECK(ok && entry->n_elements <= CATALOG_MAX_MORE_BYTES / r->element_bytes &&
                      r->n_bytes == entry->n_elements * r->element_bytes,
                  TRI_EFORMAT, "%s: attribute '%s' makes no sense", catalog->path, r->attribute);
        return TRI_OK;
    }
    if (r->refusal[0] || entry->n_elements == 0) return TRI_OK;
    int64_t most = r->n_filters ? TRI_H5_MAX_DEFLATION : 1; /* bytes for each of the file */
    if (!catalog_filters_ok(r))
        catalog_refuse(r, "has filters that cannot be undone");
    else if (entry->n_elements / most > catalog->file_bytes / r->element_bytes)
        catalog_refuse(r, "is larger than the file");
    else if (r->chunk[0])
        catalog_check_chunks(catalog, entry);
    else if (r->offset < 0)
        catalog_refuse(r, "was never written");
    else if (!catalog_fits(catalog, r->offset, entry->n_elements * r->element_bytes))
        catalog_refuse(r, "ends beyond the end of the file");
    return TRI_OK;
}

static tri_status catalog_add(tri_h5_catalog *catalog, const tri_h5_record *record, int pipe)
{
    TRI_CHECK(record->n_bytes >= 0 && record->n_bytes <= CATALOG_MAX_MORE_BYTES, TRI_EFORMAT,
              "%s: an object with %lld bytes to tell", catalog->path, (long long)record->n_bytes);
    if (catalog->n_entries == catalog->capacity) {
        int64_t capacity = 2 * catalog->capacity + 32;
        TRI_TRY(tri_alloc_grow((void **)&catalog->entries, catalog->n_entries, capacity,
                               sizeof *catalog->entries));
        catalog->capacity = capacity;
    }
    tri_h5_entry *entry = &catalog->entries[catalog->n_entries];
    *entry = (tri_h5_entry){.record = *record};
    if (record->n_bytes) TRI_TRY(tri_alloc((void **)&entry->more, 1, (size_t)record->n_bytes));
    catalog->n_entries++;
    TRI_CHECK(catalog_receive(catalog, pipe, entry->more, record->n_bytes), TRI_EFORMAT,
              "%s is not an intact HDF5 file: HDF5 did not survive it", catalog->path);
    return catalog_check_entry(catalog, entry);
}

/* By object, then attribute: what is looked for is found by halving. */
static int catalog_order(const void *a, const void *b)
{
    const tri_h5_record *x = &((const tri_h5_entry *)a)->record;
    const tri_h5_record *y = &((const tri_h5_entry *)b)->record;
    int objects = strcmp(x->object, y->object);
    return objects ? objects : strcmp(x->attribute, y->attribute);
}

/* Take what the child tells, up to the end record. */
static tri_status catalog_take(tri_h5_catalog *catalog, int pipe)
{
    for (;;) {
        tri_h5_record record;
        TRI_CHECK(catalog_receive(catalog, pipe, &record, (int64_t)sizeof record), TRI_EFORMAT,
                  "%s is not an intact HDF5 file: HDF5 did not survive it", catalog->path);
        if (!record.is_end) {
            TRI_TRY(catalog_add(catalog, &record, pipe));
            continue;
        }
        TRI_CHECK(!record.refusal[0], TRI_EFORMAT, "%s is not an intact HDF5 file: HDF5: %.95s",
                  catalog->path, record.refusal);
        if (catalog->n_entries)
            qsort(catalog->entries, (size_t)catalog->n_entries, sizeof *catalog->entries,
                  catalog_order);
        return TRI_OK;
    }
}

static tri_status catalog_open(const char *path, tri_h5_catalog *catalog)
{
    struct stat about;
    catalog->fd = open(path, O_RDONLY | O_CLOEXEC);
    TRI_TRY(TRI_SYS(catalog->fd, "opening %s", path));
    TRI_TRY(TRI_SYS(fstat(catalog->fd, &about), "opening %s", path));
    TRI_CHECK(S_ISREG(about.st_mode), TRI_EIO, "opening %s: not a regular file", path);
    catalog->file_bytes = about.st_size;
    return TRI_OK;
}

/* Ask one child. */
static tri_status catalog_ask(tri_h5_catalog *catalog)
{
    int pipe = -1;
    int child = -1;
    TRI_TRY(tri_h5_survey_start(catalog->fd, catalog->file_bytes, &pipe, &child));
    tri_status rc = catalog_take(catalog, pipe);
    close(pipe);
    kill(child, SIGKILL); /* where it was not heard out, or stands still */
    while (waitpid(child, NULL, 0) == -1 && errno == EINTR)
        continue;
    return rc;
}

tri_status tri_h5_catalog_create(const char *path, tri_h5_catalog **out)
{
    enum { TRIES = sizeof catalog_patience_s / sizeof catalog_patience_s[0] };
    TRI_AUTO(tri_h5_catalog) *catalog = NULL;
    TRI_TRY(TRI_NEW(&catalog));
    catalog->fd = -1;
    TRI_TRY(tri_alloc_string(path, &catalog->path));
    TRI_TRY(catalog_open(path, catalog));
    tri_status rc = TRI_OK;
    int tries = 0;
    do {
        tri_err_clear();
        catalog_clear(catalog);
        catalog->patience_s = catalog_patience_s[tries];
        catalog->is_silent = false;
        rc = catalog_ask(catalog);
    } while (catalog->is_silent && ++tries < TRIES);
    /* no fault of the file's: who takes it for damaged might take an older one */
    TRI_CHECK(
        !catalog->is_silent, TRI_EIO,
        "reading %s: the last of %d processes that opened it was silent for %g s: a disk hangs?",
        path, tries, catalog->patience_s);
    TRI_TRY(rc);
    *out = TRI_MOVE(catalog);
    return TRI_OK;
}

const tri_h5_entry *tri_h5_catalog_find(const tri_h5_catalog *catalog, const char *object,
                                        const char *attribute)
{
    tri_h5_entry key;
    while (*object == '/')
        object++;
    if (strlen(object) >= TRI_H5_NAME_BYTES || strlen(attribute) >= TRI_H5_NAME_BYTES ||
        !catalog->n_entries)
        return NULL;
    memcpy(key.record.object, object, strlen(object) + 1);
    memcpy(key.record.attribute, attribute, strlen(attribute) + 1);
    return bsearch(&key, catalog->entries, (size_t)catalog->n_entries, sizeof key, catalog_order);
}

void tri_h5_catalog_list(const tri_h5_catalog *catalog, size_t bytes, char *text)
{
    size_t used = 0;
    text[0] = '\0';
    for (int64_t i = 0; i < catalog->n_entries; i++) {
        const tri_h5_record *r = &catalog->entries[i].record;
        if (r->attribute[0]) continue;
        if (used + strlen(r->object) + 6 > bytes) {
            snprintf(text + used, bytes - used, " ...");
            return;
        }
        used += (size_t)snprintf(text + used, bytes - used, " %s", r->object);
    }
    if (!used) snprintf(text, bytes, " (no dataset at all)");
}

tri_status tri_h5_catalog_check(const tri_h5_catalog *catalog, const tri_h5_entry *entry)
{
    const tri_h5_record *r = &entry->record;
    TRI_CHECK(!r->refusal[0], TRI_EFORMAT,
              "dataset '%s' of %s %s; `h5repack -l CONTI -f NONE OLD NEW` makes a file of plain "
              "datasets",
              r->object, catalog->path, r->refusal);
    return TRI_OK;
}

static tri_status catalog_pread(const tri_h5_catalog *catalog, void *data, int64_t n, int64_t at)
{
    char *to = data;
    while (n > 0) {
        ssize_t got = pread(catalog->fd, to, (size_t)tri_min64(n, 1 << 30), at);
        if (got < 0 && errno == EINTR) continue;
        TRI_TRY(TRI_SYS(got, "reading %lld bytes at offset %lld of %s", (long long)n, (long long)at,
                        catalog->path));
        TRI_CHECK(got > 0, TRI_EFORMAT, "%s ends at byte %lld: it has become shorter",
                  catalog->path, (long long)at);
        to += got;
        at += got;
        n -= got;
    }
    return TRI_OK;
}

/* Where element `index` lies in which chunk, and how many from it on follow one another there. */
static void catalog_place(const tri_h5_entry *entry, int64_t index, int64_t *chunk, int64_t *inside,
                          int64_t *run)
{
    const tri_h5_record *r = &entry->record;
    int64_t at[TRI_MAX_DIMS] = {0};
    for (int d = r->n_dims - 1; d >= 0; d--) {
        at[d] = index % r->shape[d];
        index /= r->shape[d];
    }
    *chunk = 0;
    *inside = 0;
    for (int d = 0; d < r->n_dims; d++) {
        *chunk = *chunk * ((r->shape[d] - 1) / r->chunk[d] + 1) + at[d] / r->chunk[d];
        *inside = *inside * r->chunk[d] + at[d] % r->chunk[d];
    }
    int last = r->n_dims - 1;
    *run = tri_min64(r->chunk[last] - at[last] % r->chunk[last], r->shape[last] - at[last]);
}

/* The bytes of a chunk, unpacked; none is unpacked twice in a row. */
static tri_status catalog_unpack(const tri_h5_catalog *catalog, const tri_h5_entry *entry,
                                 tri_h5_filter *filter, int64_t index, const char **out)
{
    *out = tri_h5_filter_find(filter, index);
    if (*out) return TRI_OK;
    tri_h5_chunk chunk = catalog_chunk(entry, index);
    TRI_TRY(catalog_pread(catalog, tri_h5_filter_input(filter), chunk.bytes, chunk.offset));
    const char *why = tri_h5_filter_undo(filter, index, chunk.bytes, chunk.skipped);
    TRI_CHECK(!why, TRI_EFORMAT, "chunk %lld of dataset '%s' of %s, %lld bytes at offset %lld, %s",
              (long long)index, entry->record.object, catalog->path, (long long)chunk.bytes,
              (long long)chunk.offset, why);
    *out = tri_h5_filter_find(filter, index);
    return TRI_OK;
}

/* Read elements from `index` on, as they are in the file: *n at most, and as many as it read. */
static tri_status catalog_get(const tri_h5_catalog *catalog, const tri_h5_entry *entry,
                              tri_h5_filter *filter, int64_t index, int64_t *n, void *out)
{
    const tri_h5_record *r = &entry->record;
    if (!r->chunk[0])
        return catalog_pread(catalog, out, *n * r->element_bytes,
                             r->offset + index * r->element_bytes);
    int64_t chunk = 0;
    int64_t inside = 0;
    int64_t run = 0;
    catalog_place(entry, index, &chunk, &inside, &run);
    *n = tri_min64(*n, run);
    if (!r->n_filters)
        return catalog_pread(catalog, out, *n * r->element_bytes,
                             catalog_chunk(entry, chunk).offset + inside * r->element_bytes);
    TRI_CHECK(filter, TRI_EFORMAT, "dataset '%s' of %s is compressed", r->object, catalog->path);
    const char *bytes = NULL;
    TRI_TRY(catalog_unpack(catalog, entry, filter, chunk, &bytes));
    memcpy(out, bytes + inside * r->element_bytes, (size_t)(*n * r->element_bytes));
    return TRI_OK;
}

/* One integer of the file; unsigned ones beyond int64 become its largest. */
static int64_t catalog_integer(const tri_h5_record *r, const unsigned char *bytes)
{
    uint64_t value = 0;
    int n = (int)r->element_bytes;
    for (int i = 0; i < n; i++)
        value |= (uint64_t)bytes[r->is_big_endian ? n - 1 - i : i] << (8 * i);
    if (r->is_signed && n < 8 && value >> (8 * n - 1)) value |= UINT64_MAX << (8 * n);
    if (!r->is_signed && value > (uint64_t)INT64_MAX) return INT64_MAX;
    return (int64_t)value;
}

static void catalog_put(int64_t value, tri_dtype dtype, char *out)
{
    if (dtype == TRI_I64) {
        memcpy(out, &value, sizeof value);
        return;
    }
    int32_t narrow = value > INT32_MAX ? INT32_MAX : value < INT32_MIN ? INT32_MIN : (int32_t)value;
    memcpy(out, &narrow, sizeof narrow);
}

static tri_status catalog_read_integers(const tri_h5_catalog *catalog, const tri_h5_entry *entry,
                                        tri_h5_filter *filter, int64_t begin, int64_t n,
                                        tri_dtype dtype, char *out)
{
    unsigned char piece[CATALOG_PIECE_BYTES];
    const tri_h5_record *r = &entry->record;
    while (n > 0) {
        int64_t run = tri_min64(n, CATALOG_PIECE_BYTES / r->element_bytes);
        TRI_TRY(catalog_get(catalog, entry, filter, begin, &run, piece));
        for (int64_t i = 0; i < run; i++, out += tri_dtype_bytes(dtype))
            catalog_put(catalog_integer(r, piece + i * r->element_bytes), dtype, out);
        begin += run;
        n -= run;
    }
    return TRI_OK;
}

/* Elements as they are in the file. */
static tri_status catalog_read_plain(const tri_h5_catalog *catalog, const tri_h5_entry *entry,
                                     tri_h5_filter *filter, int64_t begin, int64_t n, char *out)
{
    while (n > 0) {
        int64_t run = n;
        TRI_TRY(catalog_get(catalog, entry, filter, begin, &run, out));
        out += run * entry->record.element_bytes;
        begin += run;
        n -= run;
    }
    return TRI_OK;
}

tri_status tri_h5_catalog_prepare(const tri_h5_entry *entry, tri_h5_filter **out)
{
    const tri_h5_record *r = &entry->record;
    *out = NULL;
    if (r->refusal[0] || !r->chunk[0] || !r->n_filters || !entry->n_elements) return TRI_OK;
    return tri_h5_filter_create(r, entry->chunk_bytes, out);
}

tri_status tri_h5_catalog_read(const tri_h5_catalog *catalog, const tri_h5_entry *entry,
                               tri_h5_filter *filter, int64_t begin, int64_t n, tri_dtype dtype,
                               void *out)
{
    const tri_h5_record *r = &entry->record;
    bool same_type = r->kind == TRI_H5_FLOAT && r->dtype == (int32_t)dtype;
    bool is_integer = r->kind == TRI_H5_INTEGER && (dtype == TRI_I32 || dtype == TRI_I64);
    bool is_plain = is_integer && r->is_signed && !r->is_big_endian &&
                    (size_t)r->element_bytes == tri_dtype_bytes(dtype);
    TRI_CHECK(same_type || is_integer, TRI_EINVAL, "dataset '%s' of %s does not hold %s", r->object,
              catalog->path, tri_dtype_name(dtype));
    if (same_type || is_plain) return catalog_read_plain(catalog, entry, filter, begin, n, out);
    return catalog_read_integers(catalog, entry, filter, begin, n, dtype, out);
}

tri_status tri_h5_catalog_read_bytes(const tri_h5_catalog *catalog, const tri_h5_entry *entry,
                                     void *out)
{
    return catalog_read_plain(catalog, entry, NULL, 0, entry->n_elements, out);
}

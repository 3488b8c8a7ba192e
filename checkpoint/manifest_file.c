// SPDX-License-Identifier: Apache-2.0
/* The manifest on disk: a text header of 512 bytes, then HDF5 with one dataset per column. */
#include "checkpoint/disk.h"
#include "checkpoint/manifest.h"
#include "runtime/base/alloc.h"
#include "runtime/base/crc.h"
#include "runtime/h5.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MANIFEST_HEADER_BYTES = 512 };

/* A field of a struct and the dataset it is kept in; U8 with a width is text. */
typedef struct manifest_column {
    const char *dataset;
    tri_dtype dtype;
    int width;
    size_t offset;
} manifest_column;

#define MANIFEST_COLUMN(type, field, dataset, dtype, width) \
    {                                                       \
        dataset, dtype, width, offsetof(type, field)        \
    }

static const manifest_column manifest_rows[] = {
    MANIFEST_COLUMN(tri_manifest_row, name, "rows/name", TRI_U8, TRI_NAME_BYTES),
    MANIFEST_COLUMN(tri_manifest_row, external, "rows/external", TRI_U8, TRI_NAME_BYTES),
    MANIFEST_COLUMN(tri_manifest_row, role, "rows/role", TRI_I32, 1),
    MANIFEST_COLUMN(tri_manifest_row, dtype, "rows/dtype", TRI_I32, 1),
    MANIFEST_COLUMN(tri_manifest_row, n_dims, "rows/n_dims", TRI_I32, 1),
    MANIFEST_COLUMN(tri_manifest_row, shape, "rows/shape", TRI_I64, TRI_MAX_DIMS),
};
static const manifest_column manifest_boxes[] = {
    MANIFEST_COLUMN(tri_manifest_box, row, "boxes/row", TRI_I32, 1),
    MANIFEST_COLUMN(tri_manifest_box, start, "boxes/start", TRI_I64, TRI_MAX_DIMS),
    MANIFEST_COLUMN(tri_manifest_box, count, "boxes/count", TRI_I64, TRI_MAX_DIMS),
    MANIFEST_COLUMN(tri_manifest_box, file, "boxes/file", TRI_I32, 1),
    MANIFEST_COLUMN(tri_manifest_box, number, "boxes/number", TRI_I32, 1),
    MANIFEST_COLUMN(tri_manifest_box, offset, "boxes/offset", TRI_I64, 1),
    MANIFEST_COLUMN(tri_manifest_box, block_elements, "boxes/block_elements", TRI_I64, 1),
    MANIFEST_COLUMN(tri_manifest_box, first_block, "boxes/first_block", TRI_I64, 1),
};
static const manifest_column manifest_files[] = {
    MANIFEST_COLUMN(tri_manifest_file, name, "files/name", TRI_U8, TRI_MANIFEST_TEXT_BYTES),
    MANIFEST_COLUMN(tri_manifest_file, uuid, "files/uuid", TRI_U8, TRI_MANIFEST_UUID_BYTES),
    MANIFEST_COLUMN(tri_manifest_file, bytes, "files/bytes", TRI_I64, 1),
    MANIFEST_COLUMN(tri_manifest_file, rank, "files/rank", TRI_I64, 1),
    MANIFEST_COLUMN(tri_manifest_file, rest_crc, "files/rest_crc32c", TRI_I64, 1),
};

/* The three tables: where the structs are, how many, and their columns. */
typedef struct manifest_table {
    char *structs;
    size_t struct_bytes;
    int64_t count;
    const manifest_column *columns;
    int n_columns;
} manifest_table;

enum { MANIFEST_TABLES = 3 };

#define MANIFEST_TABLE(array, n, columns)                                                       \
    (manifest_table)                                                                            \
    {                                                                                           \
        (char *)(array), sizeof *(array), (n), columns, (int)(sizeof columns / sizeof *columns) \
    }

static void manifest_tables(const tri_manifest *m, manifest_table tables[MANIFEST_TABLES])
{
    tables[0] = MANIFEST_TABLE(m->rows, m->head.n_rows, manifest_rows);
    tables[1] = MANIFEST_TABLE(m->boxes, m->head.n_boxes, manifest_boxes);
    tables[2] = MANIFEST_TABLE(m->files, m->head.n_files, manifest_files);
}

typedef char *manifest_scratch;

static void manifest_scratch_destroy(manifest_scratch *scratch)
{
    TRI_FREE(*scratch);
}

static tri_status manifest_write_table(tri_h5 *h5, const manifest_table *table)
{
    for (int c = 0; c < table->n_columns; c++) {
        const manifest_column *column = &table->columns[c];
        size_t bytes = tri_dtype_bytes(column->dtype) * (size_t)column->width;
        TRI_AUTO(manifest_scratch) packed = NULL;
        TRI_TRY(tri_alloc((void **)&packed, table->count, bytes));
        for (int64_t i = 0; i < table->count; i++)
            memcpy(packed + (size_t)i * bytes,
                   table->structs + (size_t)i * table->struct_bytes + column->offset, bytes);
        const int64_t shape[2] = {table->count, column->width};
        if (column->dtype == TRI_U8)
            TRI_TRY(tri_h5_write_text(h5, column->dataset, table->count, bytes, packed));
        else
            TRI_TRY(tri_h5_write(h5, column->dataset, column->dtype, column->width > 1 ? 2 : 1,
                                 shape, packed));
    }
    return TRI_OK;
}

/* Read dataset `name`, which must have `count` numbers. */
static tri_status manifest_read_numbers(tri_h5 *h5, const char *path, const char *name,
                                        int64_t count, tri_dtype dtype, void *out)
{
    TRI_AUTO(tri_h5_dataset) *dataset = NULL;
    TRI_TRY(tri_h5_dataset_open(h5, name, &dataset));
    int64_t there = tri_h5_dataset_count(dataset);
    TRI_CHECK(there == count && tri_h5_dataset_is_integer(dataset), TRI_EFORMAT,
              "manifest %s: '%s' has %lld values, not %lld integers", path, name, (long long)there,
              (long long)count);
    return tri_h5_dataset_read(dataset, 0, count, dtype, out);
}

static tri_status manifest_read_table(tri_h5 *h5, const char *path, const manifest_table *table)
{
    for (int c = 0; c < table->n_columns; c++) {
        const manifest_column *column = &table->columns[c];
        size_t bytes = tri_dtype_bytes(column->dtype) * (size_t)column->width;
        TRI_AUTO(manifest_scratch) packed = NULL;
        TRI_TRY(tri_alloc((void **)&packed, table->count, bytes));
        if (column->dtype == TRI_U8)
            TRI_TRY(tri_h5_read_text(h5, column->dataset, table->count, bytes, packed));
        else
            TRI_TRY(manifest_read_numbers(h5, path, column->dataset, table->count * column->width,
                                          column->dtype, packed));
        for (int64_t i = 0; i < table->count; i++)
            memcpy(table->structs + (size_t)i * table->struct_bytes + column->offset,
                   packed + (size_t)i * bytes, bytes);
    }
    return TRI_OK;
}

/* Numbers of the head that are attributes of the file, in the order of its struct. */
typedef struct manifest_number {
    const char *attribute;
    size_t offset;
    int count;
} manifest_number;

static const manifest_number manifest_numbers[] = {
    {"sequence", offsetof(tri_manifest_head, sequence),  1       },
    {"step",     offsetof(tri_manifest_head, step),      1       },
    {"mesh",     offsetof(tri_manifest_head, axis),      TRI_AXES},
    {"n_rows",   offsetof(tri_manifest_head, n_rows),    1       },
    {"n_boxes",  offsetof(tri_manifest_head, n_boxes),   1       },
    {"n_blocks", offsetof(tri_manifest_head, n_blocks),  1       },
    {"n_files",  offsetof(tri_manifest_head, n_files),   1       },
    {"n_job",    offsetof(tri_manifest_head, job_bytes), 1       },
};
enum { MANIFEST_NUMBERS = sizeof manifest_numbers / sizeof *manifest_numbers };

/* HDF5 has no texts of width 0; the buffer has one byte more than the text. */
static size_t manifest_job_width(const tri_manifest_head *head)
{
    return head->job_bytes > 0 ? (size_t)head->job_bytes : 1;
}

static tri_status manifest_write_content(const tri_manifest *m, tri_h5 *h5)
{
    for (int i = 0; i < MANIFEST_NUMBERS; i++) {
        const manifest_number *n = &manifest_numbers[i];
        int64_t values[TRI_AXES];
        memcpy(values, (const char *)&m->head + n->offset, (size_t)n->count * sizeof *values);
        TRI_TRY(tri_h5_set_ints(h5, "/", n->attribute, n->count, values));
    }
    TRI_TRY(tri_h5_set_text(h5, "/", "uuid", m->head.uuid));
    TRI_TRY(tri_h5_set_text(h5, "/", "parent", m->head.parent));
    TRI_TRY(tri_h5_set_text(h5, "/", "version", m->head.version));
    manifest_table tables[MANIFEST_TABLES];
    manifest_tables(m, tables);
    for (int i = 0; i < MANIFEST_TABLES; i++)
        TRI_TRY(manifest_write_table(h5, &tables[i]));
    TRI_TRY(tri_h5_write(h5, "blocks/crc32c", TRI_I64, 1, &m->head.n_blocks, m->blocks));
    return tri_h5_write_text(h5, "job.yaml", 1, manifest_job_width(&m->head), m->job);
}

/* Append the last line; the rest stays zero. */
static void manifest_seal_header(char header[MANIFEST_HEADER_BYTES], size_t n)
{
    snprintf(header + n, MANIFEST_HEADER_BYTES - n, "header %08" PRIx32 "\n",
             tri_crc32c(header, n));
}

/* Fill the header: its last line is the CRC of the lines before it. */
static tri_status manifest_seal(const tri_manifest *m, const char *path)
{
    TRI_AUTO(tri_disk_fd) fd = -1;
    int64_t bytes = 0;
    uint32_t crc = 0;
    TRI_TRY(tri_disk_open(path, true, &fd, &bytes));
    TRI_TRY(tri_disk_crc(fd, path, MANIFEST_HEADER_BYTES, bytes, &crc));
    char header[MANIFEST_HEADER_BYTES] = "";
    int n = snprintf(header, sizeof header,
                     "trireme manifest %d\nuuid %s\nsequence %" PRId64 "\nstep %" PRId64
                     "\nbytes %" PRId64 "\ncrc32c %08" PRIx32 "\n",
                     TRI_MANIFEST_FORMAT, m->head.uuid, m->head.sequence, m->head.step, bytes, crc);
    manifest_seal_header(header, (size_t)n);
    TRI_TRY(tri_disk_write(fd, path, header, sizeof header, 0));
    return tri_disk_sync(fd, path);
}

tri_status tri_manifest_write(const tri_manifest *manifest, const char *path)
{
    char file[TRI_DISK_PATH_BYTES];
    TRI_TRY(tri_disk_path(file, path, TRI_MANIFEST_NAME, TRI_DISK_TEMPORARY));
    TRI_AUTO(tri_h5) *h5 = NULL;
    TRI_TRY(tri_h5_create(file, MANIFEST_HEADER_BYTES, &h5));
    TRI_TRY(manifest_write_content(manifest, h5));
    TRI_TRY(tri_h5_close(&h5));
    return manifest_seal(manifest, file);
}

/* The number on the line that begins with `key`. */
static tri_status manifest_number_of(const char *file, const char *text, const char *key, int base,
                                     int64_t *out)
{
    const char *line = strstr(text, key);
    char *end = NULL;
    errno = 0;
    long long value = line ? strtoll(line + strlen(key), &end, base) : -1;
    TRI_CHECK(line && end != line + strlen(key) && *end == '\n' && errno == 0 && value >= 0,
              TRI_EFORMAT, "the header of %s has no number '%.12s'", file, key + (*key == '\n'));
    *out = value;
    return TRI_OK;
}

static tri_status manifest_parse_header(const char *file, const char *text,
                                        tri_manifest_header *out)
{
    static const char magic[] = "trireme manifest ";
    int64_t format = 0;
    TRI_CHECK(strncmp(text, magic, strlen(magic)) == 0, TRI_EFORMAT,
              "%s does not begin as a manifest does", file);
    TRI_TRY(manifest_number_of(file, text, magic, 10, &format));
    TRI_CHECK(format <= TRI_MANIFEST_FORMAT, TRI_EUNSUP,
              "%s is of format %lld, of a later version of the program; this one reads format %d",
              file, (long long)format, TRI_MANIFEST_FORMAT);
    TRI_CHECK(format == TRI_MANIFEST_FORMAT, TRI_EUNSUP,
              "%s is of format %lld, which a development version before this one made; this one "
              "reads format %d",
              file, (long long)format, TRI_MANIFEST_FORMAT);
    const char *seal = strstr(text, "\nheader ");
    TRI_CHECK(seal, TRI_EFORMAT, "the header of %s is damaged", file);
    char want[MANIFEST_HEADER_BYTES] = "";
    size_t n_sealed = (size_t)(seal + 1 - text);
    memcpy(want, text, n_sealed);
    manifest_seal_header(want, n_sealed);
    TRI_CHECK(memcmp(want, text, sizeof want) == 0, TRI_EFORMAT, "the header of %s is damaged",
              file);

    tri_manifest_header header = {.bytes = 0};
    int64_t crc = 0;
    const char *uuid = strstr(text, "\nuuid ");
    TRI_CHECK(uuid, TRI_EFORMAT, "the header of %s has no uuid", file);
    uuid += strlen("\nuuid ");
    snprintf(header.uuid, sizeof header.uuid, "%.*s", (int)strcspn(uuid, "\n"), uuid);
    TRI_TRY(manifest_number_of(file, text, "\nsequence ", 10, &header.sequence));
    TRI_TRY(manifest_number_of(file, text, "\nstep ", 10, &header.step));
    TRI_TRY(manifest_number_of(file, text, "\nbytes ", 10, &header.bytes));
    TRI_TRY(manifest_number_of(file, text, "\ncrc32c ", 16, &crc));
    header.crc = (uint32_t)crc;
    *out = header;
    return TRI_OK;
}

/* A folder whose name carries a uuid, step-NUMBER.UUID, must be of that checkpoint: a manifest that came
 * from another one is whole, and yet wrong here. */
static tri_status manifest_check_place(const char *path, const char *file,
                                       const tri_manifest_header *header)
{
    size_t n = strlen(path);
    while (n > 0 && path[n - 1] == '/')
        n--;
    const char *name = memrchr(path, '/', n);
    name = name ? name + 1 : path;
    size_t name_bytes = (size_t)(path + n - name);
    if (name_bytes < 42 || strncmp(name, "step-", 5) != 0) return TRI_OK;
    const char *uuid = path + n - 36;
    if (uuid[-1] != '.' || strspn(uuid, "0123456789abcdef-") < 36) return TRI_OK;
    TRI_CHECK(strncmp(uuid, header->uuid, 36) == 0, TRI_EFORMAT,
              "%s is of another checkpoint, %s, than its folder", file, header->uuid);
    return TRI_OK;
}

tri_status tri_manifest_peek(const char *path, tri_manifest_header *out)
{
    char file[TRI_DISK_PATH_BYTES];
    TRI_TRY(tri_disk_path(file, path, TRI_MANIFEST_NAME, ""));
    TRI_AUTO(tri_disk_fd) fd = -1;
    TRI_TRY(tri_disk_open(file, false, &fd, NULL));
    char text[MANIFEST_HEADER_BYTES + 1] = "";
    TRI_TRY(tri_disk_read(fd, file, text, MANIFEST_HEADER_BYTES, 0));
    tri_manifest_header header;
    TRI_TRY(manifest_parse_header(file, text, &header));
    TRI_TRY(manifest_check_place(path, file, &header));
    *out = header;
    return TRI_OK;
}

/* Size and checksum first: HDF5 must not see a damaged file. */
static tri_status manifest_verify(const char *file, const tri_manifest_header *header)
{
    TRI_AUTO(tri_disk_fd) fd = -1;
    int64_t bytes = 0;
    TRI_TRY(tri_disk_open(file, false, &fd, &bytes));
    TRI_CHECK(bytes == header->bytes, TRI_EFORMAT, "%s has %lld bytes, its header says %lld", file,
              (long long)bytes, (long long)header->bytes);
    uint32_t crc = 0;
    TRI_TRY(tri_disk_crc(fd, file, MANIFEST_HEADER_BYTES, bytes, &crc));
    TRI_CHECK(crc == header->crc, TRI_EFORMAT,
              "%s is damaged: its content has CRC32C %08x, its header says %08x", file, crc,
              header->crc);
    return TRI_OK;
}

static tri_status manifest_read_head(tri_h5 *h5, tri_manifest_head *head)
{
    for (int i = 0; i < MANIFEST_NUMBERS; i++) {
        const manifest_number *n = &manifest_numbers[i];
        int64_t values[TRI_AXES];
        TRI_TRY(tri_h5_get_ints(h5, "/", n->attribute, n->count, values));
        memcpy((char *)head + n->offset, values, (size_t)n->count * sizeof *values);
    }
    TRI_TRY(tri_h5_get_text(h5, "/", "uuid", sizeof head->uuid, head->uuid));
    TRI_TRY(tri_h5_get_text(h5, "/", "parent", sizeof head->parent, head->parent));
    TRI_TRY(tri_h5_get_text(h5, "/", "version", sizeof head->version, head->version));
    return TRI_OK;
}

/* Bytes that an entry of a table has in the file, at least. */
static int64_t manifest_entry_bytes(const manifest_table *table)
{
    int64_t bytes = 0;
    for (int c = 0; c < table->n_columns; c++)
        bytes += table->columns[c].width * (int64_t)tri_dtype_bytes(table->columns[c].dtype);
    return bytes;
}

/* Nothing is allocated that the size of the file does not justify. */
static tri_status manifest_check_counts(const char *file, const tri_manifest_head *head,
                                        int64_t file_bytes)
{
    const tri_manifest none = {.head = *head};
    manifest_table tables[MANIFEST_TABLES];
    manifest_tables(&none, tables);
    for (int i = 0; i < MANIFEST_TABLES; i++)
        TRI_CHECK(tables[i].count >= 0 &&
                      tables[i].count <= file_bytes / manifest_entry_bytes(&tables[i]),
                  TRI_EFORMAT, "%s of %lld bytes counts %lld entries of %s", file,
                  (long long)file_bytes, (long long)tables[i].count, tables[i].columns[0].dataset);
    TRI_CHECK(head->n_blocks >= 0 && head->n_blocks <= file_bytes / (int64_t)sizeof(int64_t) &&
                  head->job_bytes >= 0 && head->job_bytes <= file_bytes,
              TRI_EFORMAT, "%s of %lld bytes counts %lld checksums and %lld bytes of job spec",
              file, (long long)file_bytes, (long long)head->n_blocks, (long long)head->job_bytes);
    return TRI_OK;
}

tri_status tri_manifest_read(const char *path, tri_manifest **out)
{
    tri_manifest_header header;
    TRI_TRY(tri_manifest_peek(path, &header));
    char file[TRI_DISK_PATH_BYTES];
    TRI_TRY(tri_disk_path(file, path, TRI_MANIFEST_NAME, ""));
    TRI_TRY(manifest_verify(file, &header));
    TRI_AUTO(tri_h5) *h5 = NULL;
    TRI_TRY(tri_h5_open(file, &h5));
    tri_manifest_head head = {.step = 0};
    TRI_TRY(manifest_read_head(h5, &head));
    TRI_TRY(manifest_check_counts(file, &head, header.bytes));
    TRI_AUTO(tri_manifest) *m = NULL;
    TRI_TRY(tri_manifest_create(&head, &m));
    manifest_table tables[MANIFEST_TABLES];
    manifest_tables(m, tables);
    for (int i = 0; i < MANIFEST_TABLES; i++)
        TRI_TRY(manifest_read_table(h5, file, &tables[i]));
    TRI_TRY(manifest_read_numbers(h5, file, "blocks/crc32c", head.n_blocks, TRI_I64, m->blocks));
    TRI_TRY(tri_h5_read_text(h5, "job.yaml", 1, manifest_job_width(&head), m->job));
    bool same = strcmp(head.uuid, header.uuid) == 0 && head.sequence == header.sequence &&
                head.step == header.step;
    TRI_CHECK(same, TRI_EFORMAT, "%s: header and content are of different checkpoints", file);
    TRI_TRY(tri_manifest_index(m, path, TRI_EFORMAT));
    *out = TRI_MOVE(m);
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* Export: plan which tensor lies where in which file, then copy tile by tile: read and verify, turn,
 * round, write in place. Each stored byte is read once; the folder gets its name when all is on the disk.
 */
#include "checkpoint/safetensors.h"

#include "checkpoint/external.h"
#include "checkpoint/folder.h"
#include "checkpoint/safetensors_files.h"
#include "checkpoint/shard.h"
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"
#include "runtime/base/log.h"
#include "runtime/json.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { EXPORT_NAME_BYTES = 64, EXPORT_MAX_FILES = 99999, EXPORT_ALIGN = 8 };

/* Where a tensor goes: its file, and its place behind the file's header. */
typedef struct export_place {
    int64_t file, offset, n_bytes;
} export_place;

typedef struct export_job {
    const tri_safetensors_export_args *args;
    const char *type; /* the format's name of args->dtype */
    tri_manifest *manifest;
    tri_external_map *map;
    tri_shard_reader *reader;
    export_place *places; /* of the map's tensors */
    int64_t n_files, n_bytes;
    char *block;                    /* of the reader */
    char *stored, *turned, *target; /* tiles */
    char dir[TRI_DISK_PATH_BYTES], temporary[TRI_DISK_PATH_BYTES];
    tri_disk_fd fd; /* of the file under way */
    char path[TRI_DISK_PATH_BYTES];
    int64_t data_begin;
    const tri_external_tensor *tensor; /* under way */
    const export_place *place;
} export_job;

static void export_job_destroy(export_job *job)
{
    tri_shard_reader_destroy(&job->reader);
    tri_external_map_destroy(&job->map);
    tri_manifest_destroy(&job->manifest);
    tri_disk_fd_destroy(&job->fd);
    TRI_FREE(job->places);
    TRI_FREE(job->block);
    TRI_FREE(job->stored);
    TRI_FREE(job->turned);
    TRI_FREE(job->target);
}

static tri_status export_check(export_job *job)
{
    const tri_safetensors_export_args *args = job->args;
    static const char *const names[TRI_DTYPES] = {
        [TRI_F32] = "F32", [TRI_BF16] = "BF16", [TRI_F16] = "F16"};
    job->type = names[args->dtype];
    TRI_CHECK(job->type, TRI_EINVAL, "tensors can be exported as fp32, bf16 or fp16, not as %s",
              tri_dtype_name(args->dtype));
    TRI_CHECK(args->shard_bytes >= 0, TRI_EINVAL, "files of %lld bytes",
              (long long)args->shard_bytes);
    size_t n = strlen(args->dir);
    while (n > 1 && args->dir[n - 1] == '/')
        n--;
    TRI_CHECK(n > 0 && n + sizeof TRI_DISK_TEMPORARY <= TRI_DISK_PATH_BYTES, TRI_EINVAL,
              "'%.64s' is no usable name of a folder", args->dir);
    snprintf(job->dir, sizeof job->dir, "%.*s", (int)n, args->dir);
    snprintf(job->temporary, sizeof job->temporary, "%.*s%s", (int)n, args->dir,
             TRI_DISK_TEMPORARY);
    return TRI_OK;
}

/* Tensors in the order of their names, into files of at most shard_bytes or one tensor. */
static tri_status export_plan(export_job *job)
{
    int64_t most = job->args->shard_bytes ? job->args->shard_bytes : INT64_MAX;
    TRI_TRY(TRI_NEW_ARRAY(job->map->n_tensors, &job->places));
    int64_t at = 0;
    for (int64_t i = 0; i < job->map->n_tensors; i++) {
        int64_t n = job->map->tensors[i].elements * (int64_t)tri_dtype_bytes(job->args->dtype);
        if (i == 0 || n > most - at) {
            job->n_files++;
            at = 0;
        }
        job->places[i] = (export_place){job->n_files - 1, at, n};
        at += n;
        job->n_bytes += n;
    }
    TRI_CHECK(job->n_files <= EXPORT_MAX_FILES, TRI_EINVAL,
              "files of %lld bytes would be %lld; the most are %d: make them larger",
              (long long)most, (long long)job->n_files, EXPORT_MAX_FILES);
    return TRI_OK;
}

static tri_status export_open(export_job *job)
{
    const tri_safetensors_export_args *args = job->args;
    TRI_TRY(tri_folder_read(args->path, &job->manifest));
    const tri_manifest *m = job->manifest;
    for (int64_t i = 0; i < m->head.n_rows; i++) {
        int dtype = m->rows[i].dtype;
        TRI_CHECK(m->rows[i].role != TRI_ROLE_PARAM || dtype == TRI_F32 || dtype == TRI_BF16 ||
                      dtype == TRI_F16,
                  TRI_EUNSUP, "checkpoint %s: parameter '%s' is of type %s", args->path,
                  m->rows[i].name, tri_dtype_name((tri_dtype)dtype));
    }
    TRI_TRY(tri_external_map_create(m->rows, m->head.n_rows, args->path, &job->map));
    TRI_TRY(export_plan(job));
    TRI_TRY(TRI_NEW_ARRAY(TRI_MANIFEST_BLOCK_BYTES, &job->block));
    TRI_TRY(tri_shard_reader_create(m, args->path, job->block, &job->reader));
    const int64_t tile_bytes = TRI_SAFETENSORS_TILE * (int64_t)sizeof(float);
    TRI_TRY(TRI_NEW_ARRAY(tile_bytes, &job->stored));
    TRI_TRY(TRI_NEW_ARRAY(tile_bytes, &job->turned));
    return TRI_NEW_ARRAY(tile_bytes, &job->target);
}

static tri_status export_write_run(void *arg, int64_t in_tensor, int64_t in_memory, int64_t count)
{
    const export_job *job = arg;
    int64_t bytes = (int64_t)tri_dtype_bytes(job->args->dtype);
    int64_t offset = job->data_begin + job->place->offset + in_tensor * bytes;
    return tri_disk_write(job->fd, job->path, job->target + in_memory * bytes, count * bytes,
                          offset);
}

/* A value that rounding made infinite is lost: it must not go unseen. */
static tri_status export_check_range(const export_job *job, const char *source, tri_dtype from,
                                     int64_t count)
{
    tri_dtype to = job->args->dtype;
    if (to == TRI_F32 || to == from) return TRI_OK;
    unsigned infinite = to == TRI_F16 ? 0x7c00u : 0x7f80u;
    for (int64_t i = 0; i < count; i++) {
        uint16_t bits;
        double value = 0;
        memcpy(&bits, job->target + 2 * i, sizeof bits);
        if ((bits & 0x7fffu) != infinite) continue;
        tri_dtype_cast(from, source + (size_t)i * tri_dtype_bytes(from), TRI_F64, &value, 1);
        TRI_CHECK(value - value != 0, TRI_EINVAL,
                  "tensor '%s' has the value %g, which is beyond the range of %s: export it as %s",
                  job->tensor->name, value, tri_dtype_name(to),
                  to == TRI_F16 ? "bf16 or fp32" : "fp32");
    }
    return TRI_OK;
}

/* out [n] fp32 = factor * values. */
static void export_scale(tri_dtype dtype, const char *values, int64_t n, float factor, char *out)
{
    float *scaled = (float *)(void *)out;
    tri_dtype_cast(dtype, values, TRI_F32, out, n);
    for (int64_t i = 0; i < n; i++)
        scaled[i] *= factor;
}

/* A box of a row that lies in box `index` of the manifest, at most a tile. */
static tri_status export_piece(export_job *job, const tri_external_part *part, int64_t index,
                               double factor, const tri_box *piece)
{
    tri_dtype from = (tri_dtype)job->manifest->rows[part->row].dtype;
    int64_t count = tri_box_elements(piece);
    const char *source = job->stored;
    tri_box box = *piece;
    TRI_TRY(tri_shard_read(job->reader, index, piece, from, job->stored));
    if (part->transposed) {
        tri_external_transpose(tri_dtype_bytes(from), piece->count[0], piece->count[1], job->stored,
                               job->turned);
        source = job->turned;
        box.start[0] = piece->start[1];
        box.start[1] = piece->start[0];
        box.count[0] = piece->count[1];
        box.count[1] = piece->count[0];
    }
    for (int d = 0; d < box.n_dims; d++)
        box.start[d] += part->box.start[d];
    if (factor != 1) {
        char *scaled = source == job->stored ? job->turned : job->stored;
        export_scale(from, source, count, (float)factor, scaled);
        source = scaled;
        from = TRI_F32;
    }
    tri_dtype_cast(from, source, job->args->dtype, job->target, count);
    TRI_TRY(export_check_range(job, source, from, count));
    return tri_external_runs(job->tensor->shape, &box, export_write_run, job);
}

static tri_status export_part(export_job *job, const tri_external_part *part)
{
    const tri_safetensors_export_args *args = job->args;
    const tri_manifest *m = job->manifest;
    const tri_manifest_row *row = &m->rows[part->row];
    double factor = args->factor ? args->factor(args->factor_arg, row->name) : 1;
    for (int64_t b = row->first_box; b < row->first_box + row->n_boxes; b++) {
        tri_box stored = tri_manifest_box_of(m, &m->boxes[b]);
        int64_t elements = tri_box_elements(&stored);
        int64_t block = m->boxes[b].block_elements;
        int64_t step = TRI_SAFETENSORS_TILE / block * block; /* a block has less than a tile */
        for (int64_t at = 0; at < elements; at += step) {
            tri_piece_box pieces[TRI_MAX_BOXES];
            int n = 0;
            tri_box_cut(&stored, at, tri_min64(step, elements - at), pieces, &n);
            for (int i = 0; i < n; i++)
                TRI_TRY(export_piece(job, part, b, factor, &pieces[i].box));
        }
    }
    return TRI_OK;
}

/* A new file in the temporary folder. */
static tri_status export_create(export_job *job, const char *name)
{
    TRI_TRY(tri_disk_path(job->path, job->temporary, name, ""));
    tri_disk_fd_destroy(&job->fd);
    job->fd = open(job->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    return TRI_SYS(job->fd, "making %s", job->path);
}

static tri_status export_text(export_job *job, const char *name, const char *text)
{
    TRI_TRY(export_create(job, name));
    TRI_TRY(tri_disk_write(job->fd, job->path, text, (int64_t)strlen(text), 0));
    return tri_disk_sync(job->fd, job->path);
}

/* A text that is written as a stream. */
typedef struct export_stream {
    FILE *stream;
    char *text;
    size_t n;
} export_stream;

static void export_stream_destroy(export_stream *out)
{
    if (out->stream) fclose(out->stream);
    free(out->text);
}

static tri_status export_stream_open(export_stream *out)
{
    out->stream = open_memstream(&out->text, &out->n);
    TRI_CHECK(out->stream, TRI_ENOMEM, "writing a header");
    return TRI_OK;
}

static tri_status export_stream_end(export_stream *out)
{
    int closed = fclose(out->stream);
    out->stream = NULL;
    TRI_CHECK(closed == 0, TRI_ENOMEM, "writing a header");
    return TRI_OK;
}

static void export_file_name(const export_job *job, int64_t file, char out[EXPORT_NAME_BYTES])
{
    if (job->n_files == 1)
        snprintf(out, EXPORT_NAME_BYTES, "%s", TRI_SAFETENSORS_FILE);
    else
        snprintf(out, EXPORT_NAME_BYTES, "model-%05" PRId64 "-of-%05" PRId64 ".safetensors",
                 file + 1, job->n_files);
}

/* Length and JSON, padded so that the tensors are aligned. */
static tri_status export_header(export_job *job, int64_t first, int64_t end)
{
    TRI_AUTO(export_stream) header = {0};
    TRI_TRY(export_stream_open(&header));
    FILE *stream = header.stream;
    fprintf(stream, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int64_t i = first; i < end; i++) {
        const tri_external_tensor *tensor = &job->map->tensors[i];
        const export_place *place = &job->places[i];
        fputc(',', stream);
        tri_json_quote(stream, tensor->name);
        fprintf(stream, ":{\"dtype\":\"%s\",\"shape\":[", job->type);
        for (int d = 0; d < tensor->n_dims; d++)
            fprintf(stream, "%s%lld", d ? "," : "", (long long)tensor->shape[d]);
        fprintf(stream, "],\"data_offsets\":[%" PRId64 ",%" PRId64 "]}", place->offset,
                place->offset + place->n_bytes);
    }
    fputc('}', stream);
    fflush(stream);
    for (size_t n = header.n; n % EXPORT_ALIGN != 0; n++)
        fputc(' ', stream);
    TRI_TRY(export_stream_end(&header));
    unsigned char length[sizeof(uint64_t)];
    for (size_t i = 0; i < sizeof length; i++)
        length[i] = (unsigned char)((uint64_t)header.n >> (8 * i));
    job->data_begin = (int64_t)(sizeof length + header.n);
    TRI_TRY(tri_disk_write(job->fd, job->path, length, sizeof length, 0));
    return tri_disk_write(job->fd, job->path, header.text, (int64_t)header.n, sizeof length);
}

/* Tensors [first, end), which are those of one file. */
static tri_status export_file(export_job *job, int64_t first, int64_t end)
{
    char name[EXPORT_NAME_BYTES];
    export_file_name(job, job->places[first].file, name);
    TRI_TRY(export_create(job, name));
    TRI_TRY(export_header(job, first, end));
    for (int64_t i = first; i < end; i++) {
        job->tensor = &job->map->tensors[i];
        job->place = &job->places[i];
        for (int64_t p = 0; p < job->tensor->n_parts; p++)
            TRI_TRY(export_part(job, &job->map->parts[job->tensor->first_part + p]));
    }
    return tri_disk_sync(job->fd, job->path);
}

static tri_status export_index(export_job *job)
{
    if (job->n_files == 1) return TRI_OK;
    TRI_AUTO(export_stream) index = {0};
    TRI_TRY(export_stream_open(&index));
    fprintf(index.stream,
            "{\n  \"metadata\": {\n    \"total_size\": %lld\n  },\n  \"weight_map\": {",
            (long long)job->n_bytes);
    for (int64_t i = 0; i < job->map->n_tensors; i++) {
        char name[EXPORT_NAME_BYTES];
        export_file_name(job, job->places[i].file, name);
        fprintf(index.stream, "%s\n    ", i ? "," : "");
        tri_json_quote(index.stream, job->map->tensors[i].name);
        fprintf(index.stream, ": \"%s\"", name);
    }
    fprintf(index.stream, "\n  }\n}\n");
    TRI_TRY(export_stream_end(&index));
    return export_text(job, TRI_SAFETENSORS_INDEX, index.text);
}

typedef DIR *export_listing;

static void export_listing_destroy(export_listing *listing)
{
    if (*listing) closedir(*listing);
}

/* The target must not be there, or be an empty folder. */
static tri_status export_check_target(const char *dir)
{
    struct stat about;
    if (stat(dir, &about) == -1 && errno == ENOENT) return TRI_OK;
    TRI_AUTO(export_listing) listing = opendir(dir);
    if (!listing) return TRI_SYS(-1, "opening folder %s", dir);
    struct dirent *entry = NULL;
    while ((entry = readdir(listing)))
        TRI_CHECK(strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0, TRI_EINVAL,
                  "folder %s is not empty (%.100s): an export overwrites nothing", dir,
                  entry->d_name);
    return TRI_OK;
}

/* out = the folder in which `path` is. */
static void export_parent(const char *path, char out[TRI_DISK_PATH_BYTES])
{
    const char *slash = strrchr(path, '/');
    snprintf(out, TRI_DISK_PATH_BYTES, "%.*s", slash ? (int)(slash - path) + 1 : 1,
             slash ? path : ".");
}

static tri_status export_begin(const export_job *job)
{
    char parent[TRI_DISK_PATH_BYTES];
    TRI_TRY(export_check_target(job->dir));
    export_parent(job->dir, parent);
    TRI_TRY(tri_disk_make_folder(parent));
    int made = mkdir(job->temporary, 0777);
    TRI_CHECK(made == 0 || errno != EEXIST, TRI_EINVAL,
              "folder %s is there: another export is under way, or one did not end: then remove it",
              job->temporary);
    return TRI_SYS(made, "making folder %s", job->temporary);
}

static tri_status export_content(export_job *job)
{
    int64_t first = 0;
    for (int64_t i = 1; i <= job->map->n_tensors; i++) {
        if (i < job->map->n_tensors && job->places[i].file == job->places[first].file) continue;
        TRI_TRY(export_file(job, first, i));
        first = i;
    }
    TRI_TRY(export_index(job));
    TRI_TRY(export_text(job, "config.json", job->args->config));
    TRI_TRY(tri_disk_sync_folder(job->temporary));
    TRI_TRY(
        TRI_SYS(rename(job->temporary, job->dir), "renaming %s to %s", job->temporary, job->dir));
    char parent[TRI_DISK_PATH_BYTES];
    export_parent(job->dir, parent);
    return tri_disk_sync_folder(parent);
}

/* Take back what a failed export has written; the error stays. */
static tri_status export_undo(const export_job *job, tri_status rc)
{
    tri_err cause;
    tri_err_take(&cause);
    TRI_AUTO(export_listing) listing = opendir(job->temporary);
    struct dirent *entry = NULL;
    while (listing && (entry = readdir(listing))) {
        char path[TRI_DISK_PATH_BYTES];
        if (entry->d_name[0] == '.') continue;
        if (tri_disk_path(path, job->temporary, entry->d_name, "") == TRI_OK) unlink(path);
    }
    if (listing && rmdir(job->temporary) == -1)
        tri_log(TRI_LOG_WARN, "folder %s could not be removed", job->temporary);
    tri_err_clear();
    (void)tri_err_put(&cause);
    return rc;
}

tri_status tri_safetensors_export(const tri_safetensors_export_args *args,
                                  tri_safetensors_totals *out)
{
    TRI_AUTO(export_job) job = {.args = args, .fd = -1};
    TRI_TRY(export_check(&job));
    TRI_TRY(export_check_target(job.dir));
    TRI_TRY(export_open(&job));
    TRI_TRY(export_begin(&job));
    tri_status rc = export_content(&job);
    if (rc != TRI_OK) return export_undo(&job, rc);
    *out = (tri_safetensors_totals){job.map->n_tensors, job.n_files, job.n_bytes};
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* Import: match the tensors of the files with the rows they are to become, then write one shard with all
 * rows, range by range of whole checksum blocks, and the manifest that makes it a checkpoint.
 */
#include "checkpoint/safetensors.h"

#include "checkpoint/disk.h"
#include "checkpoint/external.h"
#include "checkpoint/folder.h"
#include "checkpoint/safetensors_files.h"
#include "checkpoint/shard.h"
#include "checkpoint/view.h"
#include "runtime/base/alloc.h"
#include "runtime/base/crc.h"
#include "runtime/base/int.h"
#include "runtime/h5.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IMPORT_SHARD "shard-00000.h5"

enum { IMPORT_LIST_BYTES = 512, IMPORT_LISTED = 4, IMPORT_SHAPE_BYTES = 96 };

typedef struct import_job {
    const tri_safetensors_import_args *args;
    tri_safetensors_files *files;
    tri_manifest_row *rows; /* by name */
    int64_t n_rows;
    tri_external_map *map;
    tri_safetensors_tensor **sources; /* of the map's tensors */
    const tri_external_part **parts;  /* of the rows */
    int64_t *tensor_of;               /* of the rows: in the map */
    tri_manifest *manifest;
    char *stored, *widened, *target; /* tiles */
    char path[TRI_CKPT_PATH_BYTES];
    tri_disk_fd fd; /* of the shard */
    char shard[TRI_DISK_PATH_BYTES];
    const tri_safetensors_tensor *source; /* of the run under way */
} import_job;

static void import_job_destroy(import_job *job)
{
    tri_safetensors_files_destroy(&job->files);
    tri_external_map_destroy(&job->map);
    tri_manifest_destroy(&job->manifest);
    tri_disk_fd_destroy(&job->fd);
    TRI_FREE(job->rows);
    TRI_FREE(job->sources);
    TRI_FREE(job->parts);
    TRI_FREE(job->tensor_of);
    TRI_FREE(job->stored);
    TRI_FREE(job->widened);
    TRI_FREE(job->target);
}

/* Names for a message: the first few of them, and how many there are. */
typedef struct import_names {
    char text[IMPORT_LIST_BYTES];
    int64_t n;
} import_names;

static void import_name(import_names *names, const char *name)
{
    size_t used = strlen(names->text);
    if (names->n < IMPORT_LISTED)
        snprintf(names->text + used, sizeof names->text - used, "%s%.100s", used ? ", " : "", name);
    else if (names->n == IMPORT_LISTED)
        snprintf(names->text + used, sizeof names->text - used, ", ...");
    names->n++;
}

static int import_row_order(const void *a, const void *b)
{
    return strcmp(((const tri_manifest_row *)a)->name, ((const tri_manifest_row *)b)->name);
}

static tri_status import_rows(import_job *job)
{
    const tri_state *state = job->args->state;
    int64_t n = tri_state_rows(state);
    TRI_TRY(TRI_NEW_ARRAY(n, &job->rows));
    for (int i = 0; i < n; i++) {
        const tri_row *row = tri_state_row(state, i);
        tri_manifest_row *out = &job->rows[job->n_rows];
        if (row->role != TRI_ROLE_PARAM) continue;
        TRI_CHECK(row->dtype == TRI_F32, TRI_EUNSUP, "parameter '%s' is of type %s, not fp32",
                  row->name, tri_dtype_name(row->dtype));
        *out = (tri_manifest_row){
            .n_dims = row->n_dims, .role = (int32_t)row->role, .dtype = (int32_t)row->dtype};
        memcpy(out->name, row->name, sizeof out->name);
        memcpy(out->external, row->external, sizeof out->external);
        memcpy(out->shape, row->shape, (size_t)row->n_dims * sizeof *row->shape);
        job->n_rows++;
    }
    if (job->n_rows) qsort(job->rows, (size_t)job->n_rows, sizeof *job->rows, import_row_order);
    TRI_TRY(tri_external_map_create(job->rows, job->n_rows, "the model", &job->map));
    TRI_TRY(TRI_NEW_ARRAY(job->n_rows, &job->parts));
    TRI_TRY(TRI_NEW_ARRAY(job->n_rows, &job->tensor_of));
    TRI_TRY(TRI_NEW_ARRAY(job->map->n_tensors, &job->sources));
    for (int64_t t = 0; t < job->map->n_tensors; t++) {
        const tri_external_tensor *tensor = &job->map->tensors[t];
        for (int64_t p = tensor->first_part; p < tensor->first_part + tensor->n_parts; p++) {
            job->parts[job->map->parts[p].row] = &job->map->parts[p];
            job->tensor_of[job->map->parts[p].row] = t;
        }
    }
    return TRI_OK;
}

/* The tensor of that name, with the prefix or without it. */
static tri_safetensors_tensor *import_find(const import_job *job, const char *name)
{
    size_t n = strlen(job->args->prefix);
    tri_safetensors_tensor *found = tri_safetensors_files_find(job->files, name);
    if (!found && n && strncmp(name, job->args->prefix, n) == 0)
        found = tri_safetensors_files_find(job->files, name + n);
    return found;
}

static tri_status import_check_tensor(const import_job *job, const tri_external_tensor *want,
                                      const tri_safetensors_tensor *have)
{
    char want_shape[IMPORT_SHAPE_BYTES];
    char have_shape[IMPORT_SHAPE_BYTES];
    tri_safetensors_shape(want->n_dims, want->shape, want_shape, sizeof want_shape);
    tri_safetensors_shape(have->n_dims, have->shape, have_shape, sizeof have_shape);
    bool same = have->n_dims == want->n_dims &&
                memcmp(have->shape, want->shape, (size_t)want->n_dims * sizeof *want->shape) == 0;
    TRI_CHECK(same, TRI_EINVAL, "%s: tensor '%s' has the shape %s, config.json asks for %s",
              job->args->source, have->name, have_shape, want_shape);
    TRI_CHECK(have->is_weight, TRI_EUNSUP,
              "%s: tensor '%s' is of type %s; weights can be F32, BF16 or F16", job->args->source,
              have->name, have->type);
    return TRI_OK;
}

static bool import_ends_in(const char *name, const char *end)
{
    size_t n = strlen(name);
    size_t n_end = strlen(end);
    return n >= n_end && strcmp(name + n - n_end, end) == 0;
}

/* Is a tensor that is no parameter one that may be left out? */
static bool import_is_idle(const import_job *job, const char *name)
{
    for (const char *const *end = job->args->buffers; end && *end; end++)
        if (import_ends_in(name, *end)) return true;
    for (const char *const *ignored = job->args->ignored; ignored && *ignored; ignored++)
        if (strcmp(name, *ignored) == 0) return true;
    return false;
}

/* A tensor that the files have twice must have the same bytes twice. */
static tri_status import_check_copy(import_job *job)
{
    const tri_safetensors_import_args *args = job->args;
    tri_safetensors_tensor *copy = args->copy ? import_find(job, args->copy) : NULL;
    tri_safetensors_tensor *of = copy ? import_find(job, args->copy_of) : NULL;
    if (!copy || !of || copy->is_used) return TRI_OK;
    copy->is_used = true;
    bool same = strcmp(copy->type, of->type) == 0 && copy->n_bytes == of->n_bytes;
    int64_t piece = TRI_SAFETENSORS_TILE;
    for (int64_t at = 0; same && at < of->n_bytes; at += piece) {
        int64_t n = tri_min64(piece, of->n_bytes - at);
        TRI_TRY(tri_safetensors_files_read(job->files, of, at, n, job->stored));
        TRI_TRY(tri_safetensors_files_read(job->files, copy, at, n, job->target));
        same = memcmp(job->stored, job->target, (size_t)n) == 0;
    }
    TRI_CHECK(same, TRI_EINVAL,
              "%s: config.json ties '%s' to '%s', but they differ: set tie_word_embeddings to "
              "false, or take '%s' away",
              args->source, copy->name, of->name, copy->name);
    return TRI_OK;
}

/* Every tensor of the model is there once, and nothing else. */
static tri_status import_match(import_job *job)
{
    import_names missing = {.n = 0};
    import_names extra = {.n = 0};
    for (int64_t t = 0; t < job->map->n_tensors; t++) {
        job->sources[t] = import_find(job, job->map->tensors[t].name);
        if (job->sources[t])
            job->sources[t]->is_used = true;
        else
            import_name(&missing, job->map->tensors[t].name);
    }
    TRI_CHECK(missing.n == 0, TRI_EINVAL, "%s lacks %lld of the model's %lld tensors: %s",
              job->args->source, (long long)missing.n, (long long)job->map->n_tensors,
              missing.text);
    for (int64_t t = 0; t < job->map->n_tensors; t++)
        TRI_TRY(import_check_tensor(job, &job->map->tensors[t], job->sources[t]));
    TRI_TRY(import_check_copy(job));
    for (int64_t i = 0; i < job->files->n_tensors; i++)
        if (!job->files->tensors[i].is_used && !import_is_idle(job, job->files->tensors[i].name))
            import_name(&extra, job->files->tensors[i].name);
    TRI_CHECK(extra.n == 0, TRI_EINVAL,
              "%s has %lld tensor(s) that the model of config.json has not: %s; --ignore NAME "
              "leaves one out",
              job->args->source, (long long)extra.n, extra.text);
    return TRI_OK;
}

/* One box for each row, in one file; blocks as a save would cut them. */
static tri_status import_index(import_job *job, const tri_manifest_head *made)
{
    tri_manifest_head head = *made;
    head.n_rows = job->n_rows;
    head.n_boxes = job->n_rows;
    head.n_files = 2;
    head.job_bytes = (int64_t)strlen(job->args->job_yaml);
    snprintf(head.version, sizeof head.version, "%s", job->args->version);
    for (int a = 0; a < TRI_AXES; a++)
        head.axis[a] = 1;
    for (int64_t i = 0; i < job->n_rows; i++) {
        tri_box box = {.n_dims = job->rows[i].n_dims};
        memcpy(box.count, job->rows[i].shape, sizeof box.count);
        int64_t block = tri_manifest_block_elements(&box, TRI_F32);
        head.n_blocks += tri_round_up(tri_box_elements(&box), block) / block;
    }
    TRI_TRY(tri_manifest_create(&head, &job->manifest));
    tri_manifest *m = job->manifest;
    memcpy(m->rows, job->rows, (size_t)job->n_rows * sizeof *m->rows);
    memcpy(m->job, job->args->job_yaml, (size_t)head.job_bytes);
    snprintf(m->files[0].name, sizeof m->files[0].name, "%s", IMPORT_SHARD);
    snprintf(m->files[1].name, sizeof m->files[1].name, "%s", TRI_MANIFEST_VIEW);
    for (int f = 0; f < 2; f++)
        snprintf(m->files[f].uuid, sizeof m->files[f].uuid, "%s", head.uuid);
    int64_t at = 0;
    for (int64_t i = 0; i < job->n_rows; i++) {
        tri_box box = {.n_dims = job->rows[i].n_dims};
        memcpy(box.count, job->rows[i].shape, sizeof box.count);
        m->boxes[i] =
            (tri_manifest_box){.row = (int32_t)i,
                               .block_elements = tri_manifest_block_elements(&box, TRI_F32),
                               .first_block = at};
        memcpy(m->boxes[i].count, box.count, sizeof box.count);
        at += tri_manifest_blocks_of(m, &m->boxes[i]);
    }
    return TRI_OK;
}

/* The shard with all datasets and none of their bytes. */
static tri_status import_skeleton(import_job *job)
{
    tri_manifest *m = job->manifest;
    TRI_TRY(tri_disk_path(job->shard, job->path, IMPORT_SHARD, TRI_DISK_TEMPORARY));
    TRI_AUTO(tri_h5) *h5 = NULL;
    TRI_TRY(tri_h5_create(job->shard, 0, &h5));
    for (int64_t i = 0; i < m->head.n_rows; i++) {
        tri_manifest_box *box = &m->boxes[i];
        const tri_manifest_row *row = &m->rows[i];
        char name[TRI_NAME_BYTES + TRI_MANIFEST_TEXT_BYTES];
        TRI_TRY(tri_manifest_dataset(m->head.uuid, row->name, box->number, sizeof name, name));
        TRI_TRY(
            tri_h5_reserve(h5, name, (tri_dtype)row->dtype, row->n_dims, box->count, &box->offset));
        TRI_TRY(tri_h5_set_ints(h5, name, "start", row->n_dims, box->start));
        TRI_TRY(tri_h5_set_ints(h5, name, "shape", row->n_dims, row->shape));
    }
    TRI_TRY(tri_h5_close(&h5));
    return tri_disk_open(job->shard, true, &job->fd, &m->files[0].bytes);
}

static tri_status import_read_run(void *arg, int64_t in_tensor, int64_t in_memory, int64_t count)
{
    import_job *job = arg;
    int64_t bytes = (int64_t)tri_dtype_bytes(job->source->dtype);
    return tri_safetensors_files_read(job->files, job->source, in_tensor * bytes, count * bytes,
                                      job->stored + in_memory * bytes);
}

/* A box of a row, at most a tile, to `out` as fp32. */
static tri_status import_piece(import_job *job, int64_t row, const tri_box *piece, char *out)
{
    const tri_external_part *part = job->parts[row];
    const tri_external_tensor *tensor = &job->map->tensors[job->tensor_of[row]];
    tri_box box = *piece;
    if (part->transposed) {
        box.start[0] = piece->start[1];
        box.start[1] = piece->start[0];
        box.count[0] = piece->count[1];
        box.count[1] = piece->count[0];
    }
    for (int d = 0; d < box.n_dims; d++)
        box.start[d] += part->box.start[d];
    job->source = job->sources[job->tensor_of[row]];
    TRI_TRY(tri_external_runs(tensor->shape, &box, import_read_run, job));
    char *wide = part->transposed ? job->widened : out;
    tri_dtype_cast(job->source->dtype, job->stored, TRI_F32, wide, tri_box_elements(&box));
    if (part->transposed)
        tri_external_transpose(sizeof(float), box.count[0], box.count[1], wide, out);
    return TRI_OK;
}

/* Elements [at, at + count) of a row, whole blocks: make, checksum, write. */
static tri_status import_range(import_job *job, int64_t row, int64_t at, int64_t count)
{
    tri_manifest *m = job->manifest;
    const tri_manifest_box *box = &m->boxes[row];
    tri_box whole = tri_manifest_box_of(m, box);
    tri_piece_box pieces[TRI_MAX_BOXES];
    int n = 0;
    tri_box_cut(&whole, at, count, pieces, &n);
    for (int i = 0; i < n; i++)
        TRI_TRY(import_piece(job, row, &pieces[i].box,
                             job->target + pieces[i].offset * (int64_t)sizeof(float)));
    int64_t block = box->first_block + at / box->block_elements;
    for (int64_t e = 0; e < count; e += box->block_elements) {
        int64_t elements = tri_min64(box->block_elements, count - e);
        m->blocks[block++] =
            tri_crc32c(job->target + e * (int64_t)sizeof(float), (size_t)elements * sizeof(float));
    }
    return tri_disk_write(job->fd, job->shard, job->target, count * (int64_t)sizeof(float),
                          box->offset + at * (int64_t)sizeof(float));
}

typedef int64_t *import_numbers;

static void import_numbers_destroy(import_numbers *numbers)
{
    TRI_FREE(*numbers);
}

static tri_status import_shard(import_job *job)
{
    tri_manifest *m = job->manifest;
    TRI_AUTO(import_numbers) ranges = NULL;
    TRI_TRY(import_skeleton(job));
    TRI_TRY(TRI_NEW_ARRAY(2 * m->head.n_boxes, &ranges));
    for (int64_t i = 0; i < m->head.n_boxes; i++) {
        tri_box whole = tri_manifest_box_of(m, &m->boxes[i]);
        int64_t elements = tri_box_elements(&whole);
        int64_t block = m->boxes[i].block_elements;
        int64_t step = TRI_SAFETENSORS_TILE / block * block;
        for (int64_t at = 0; at < elements; at += step)
            TRI_TRY(import_range(job, i, at, tri_min64(step, elements - at)));
        ranges[2 * i] = m->boxes[i].offset;
        ranges[2 * i + 1] = m->boxes[i].offset + elements * (int64_t)sizeof(float);
    }
    TRI_TRY(tri_shard_rest_crc(job->fd, job->shard, m->files[0].bytes, ranges, m->head.n_boxes,
                               &m->files[0].rest_crc));
    TRI_TRY(tri_disk_sync(job->fd, job->shard));
    return tri_disk_publish(job->path, IMPORT_SHARD);
}

static tri_status import_commit(import_job *job)
{
    tri_manifest *m = job->manifest;
    TRI_TRY(tri_manifest_index(m, job->path, TRI_EBUG));
    TRI_TRY(tri_view_write(m, job->path, &m->files[1]));
    TRI_TRY(tri_disk_publish(job->path, TRI_MANIFEST_VIEW));
    TRI_TRY(tri_manifest_write(m, job->path));
    return tri_disk_publish(job->path, TRI_MANIFEST_NAME);
}

static tri_status import_write(import_job *job, const tri_manifest_head *head)
{
    TRI_TRY(import_index(job, head));
    TRI_TRY(import_shard(job));
    return import_commit(job);
}

/* Take back what a failed import has written; the error stays. */
static tri_status import_undo(const import_job *job, const tri_manifest_head *head, tri_status rc)
{
    tri_err cause;
    tri_err_take(&cause);
    char name[TRI_FOLDER_NAME_BYTES];
    tri_folder_name(head->step, head->uuid, name);
    if (tri_folder_remove(job->args->dir, name, NULL) != TRI_OK) tri_err_clear();
    (void)tri_err_put(&cause);
    return rc;
}

static tri_status import_open(import_job *job)
{
    const tri_safetensors_import_args *args = job->args;
    TRI_TRY(tri_safetensors_files_open(args->source, &job->files));
    TRI_TRY(import_rows(job));
    const int64_t tile_bytes = TRI_SAFETENSORS_TILE * (int64_t)sizeof(float);
    TRI_TRY(TRI_NEW_ARRAY(tile_bytes, &job->stored));
    TRI_TRY(TRI_NEW_ARRAY(tile_bytes, &job->widened));
    TRI_TRY(TRI_NEW_ARRAY(tile_bytes, &job->target));
    TRI_TRY(import_match(job));
    TRI_AUTO(tri_folder) folder = {0};
    TRI_TRY(tri_folder_list(args->dir, &folder));
    TRI_CHECK(folder.n == 0, TRI_EINVAL, "folder %s has %s already (%s): %s", args->dir,
              folder.entries[0].state == TRI_FOLDER_LEFTOVER ? "the rest of a save or import"
                                                             : "checkpoints",
              folder.entries[0].name,
              folder.entries[0].state == TRI_FOLDER_LEFTOVER ? "remove it, or import into another"
                                                             : "import into another");
    return TRI_OK;
}

tri_status tri_safetensors_import(const tri_safetensors_import_args *args, tri_ckpt_info *out,
                                  tri_safetensors_totals *totals)
{
    TRI_AUTO(import_job) job = {.args = args, .fd = -1};
    tri_manifest_head head = {.step = 0};
    TRI_TRY(import_open(&job));
    TRI_TRY(tri_disk_make_folder(args->dir));
    TRI_TRY(tri_folder_begin(args->dir, &head, job.path));
    tri_status rc = import_write(&job, &head);
    if (rc != TRI_OK) return import_undo(&job, &head, rc);
    *totals =
        (tri_safetensors_totals){.n_tensors = job.map->n_tensors, .n_files = job.files->n_files};
    for (int64_t t = 0; t < job.map->n_tensors; t++)
        totals->n_bytes += job.sources[t]->n_bytes;
    return tri_ckpt_read_info(job.path, out);
}

// SPDX-License-Identifier: Apache-2.0
/* The manifest in memory: checked once as a whole, so that whoever uses it need not check again. */
#include "checkpoint/manifest.h"

#include "runtime/base/alloc.h"
#include "runtime/base/int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void tri_manifest_destroy(tri_manifest **manifest)
{
    if (!*manifest) return;
    TRI_FREE((*manifest)->rows);
    TRI_FREE((*manifest)->boxes);
    TRI_FREE((*manifest)->blocks);
    TRI_FREE((*manifest)->files);
    TRI_FREE((*manifest)->job);
    TRI_FREE(*manifest);
}

tri_status tri_manifest_create(const tri_manifest_head *head, tri_manifest **out)
{
    TRI_AUTO(tri_manifest) *m = NULL;
    TRI_TRY(TRI_NEW(&m));
    m->head = *head;
    TRI_TRY(TRI_NEW_ARRAY(head->n_rows, &m->rows));
    TRI_TRY(TRI_NEW_ARRAY(head->n_boxes, &m->boxes));
    TRI_TRY(TRI_NEW_ARRAY(head->n_blocks, &m->blocks));
    TRI_TRY(TRI_NEW_ARRAY(head->n_files, &m->files));
    TRI_TRY(TRI_NEW_ARRAY(head->job_bytes + 1, &m->job));
    *out = TRI_MOVE(m);
    return TRI_OK;
}

tri_box tri_manifest_box_of(const tri_manifest *manifest, const tri_manifest_box *box)
{
    tri_box out = {.n_dims = manifest->rows[box->row].n_dims};
    for (int d = 0; d < out.n_dims; d++) {
        out.start[d] = box->start[d];
        out.count[d] = box->count[d];
    }
    return out;
}

int64_t tri_manifest_blocks_of(const tri_manifest *manifest, const tri_manifest_box *box)
{
    tri_box whole = tri_manifest_box_of(manifest, box);
    return tri_round_up(tri_box_elements(&whole), box->block_elements) / box->block_elements;
}

int64_t tri_manifest_block_elements(const tri_box *box, tri_dtype dtype)
{
    int64_t most = TRI_MANIFEST_BLOCK_BYTES / (int64_t)tri_dtype_bytes(dtype);
    int64_t line = box->count[box->n_dims - 1];
    return line <= most ? most / line * line : most;
}

tri_status tri_manifest_dataset(const char *uuid, const char *row, int number, size_t bytes,
                                char *out)
{
    int n = snprintf(out, bytes, "/%s/%s.%d", uuid, row, number);
    TRI_CHECK(n > 0 && (size_t)n < bytes, TRI_EINVAL, "the name of row '%s' is too long", row);
    return TRI_OK;
}

static int manifest_order(const void *a, const void *b)
{
    const tri_manifest_box *x = a;
    const tri_manifest_box *y = b;
    if (x->row != y->row) return x->row < y->row ? -1 : 1;
    for (int d = 0; d < TRI_MAX_DIMS; d++)
        if (x->start[d] != y->start[d]) return x->start[d] < y->start[d] ? -1 : 1;
    return 0;
}

static tri_status manifest_check_row(const tri_manifest *m, int64_t index, const char *path,
                                     tri_status code)
{
    const tri_manifest_row *row = &m->rows[index];
    TRI_CHECK(memchr(row->name, 0, sizeof row->name) && row->name[0] &&
                  memchr(row->external, 0, sizeof row->external),
              code, "checkpoint %s: row %lld has no name", path, (long long)index);
    TRI_CHECK(index == 0 || strcmp(m->rows[index - 1].name, row->name) < 0, code,
              "checkpoint %s: row '%s' is not in its place", path, row->name);
    TRI_CHECK(row->dtype >= 0 && row->dtype < TRI_DTYPES && row->n_dims >= 1 &&
                  row->n_dims <= TRI_MAX_DIMS,
              code, "checkpoint %s: row '%s' has element type %d and %d dimensions", path,
              row->name, row->dtype, row->n_dims);
    int64_t elements = 0;
    bool ok = tri_product(row->n_dims, row->shape, &elements) == TRI_OK && elements > 0 &&
              elements <= INT64_MAX / 8;
    TRI_CHECK(ok, code, "checkpoint %s: row '%s' has an impossible shape", path, row->name);
    return TRI_OK;
}

/* Everything that reading the box would trust. */
static tri_status manifest_check_box(const tri_manifest *m, const tri_manifest_box *box,
                                     const char *path, tri_status code)
{
    TRI_CHECK(box->row >= 0 && box->row < m->head.n_rows && box->file >= 0 &&
                  box->file < m->head.n_files && box->number >= 0,
              code, "checkpoint %s: a box of row %d in file %d, which are not there", path,
              box->row, box->file);
    const tri_manifest_row *row = &m->rows[box->row];
    for (int d = 0; d < row->n_dims; d++)
        TRI_CHECK(box->start[d] >= 0 && box->count[d] >= 1 && box->start[d] < row->shape[d] &&
                      box->count[d] <= row->shape[d] - box->start[d],
                  code, "checkpoint %s: row '%s' has a box outside its shape", path, row->name);
    const tri_manifest_file *file = &m->files[box->file];
    tri_box whole = tri_manifest_box_of(m, box);
    int64_t elements = tri_box_elements(&whole);
    int64_t bytes = elements * (int64_t)tri_dtype_bytes((tri_dtype)row->dtype);
    TRI_CHECK(box->offset >= 0 && bytes <= file->bytes && box->offset <= file->bytes - bytes, code,
              "checkpoint %s: row '%s' lies beyond the end of %s", path, row->name, file->name);
    int64_t block_bytes =
        box->block_elements > 0 && box->block_elements <= INT64_MAX / 8
            ? box->block_elements * (int64_t)tri_dtype_bytes((tri_dtype)row->dtype)
            : 0;
    TRI_CHECK(block_bytes > 0 && block_bytes <= TRI_MANIFEST_BLOCK_BYTES, code,
              "checkpoint %s: row '%s' has checksum blocks of %lld bytes", path, row->name,
              (long long)block_bytes);
    int64_t n_blocks = tri_manifest_blocks_of(m, box);
    TRI_CHECK(box->first_block >= 0 && n_blocks <= m->head.n_blocks &&
                  box->first_block <= m->head.n_blocks - n_blocks,
              code, "checkpoint %s: row '%s' has checksums that are not there", path, row->name);
    return TRI_OK;
}

/* A corner of a box: its place among all (shape + 1) corners, and +1 or -1 by turns. */
typedef struct manifest_corner {
    uint64_t at;
    int64_t sign;
} manifest_corner;

typedef manifest_corner *manifest_corners;

static void manifest_corners_destroy(manifest_corners *corners)
{
    TRI_FREE(*corners);
}

static int manifest_corner_order(const void *a, const void *b)
{
    const manifest_corner *x = a;
    const manifest_corner *y = b;
    return (x->at > y->at) - (x->at < y->at);
}

/* The 2^n_dims corners of a box of `row`. */
static manifest_corner *manifest_add_corners(const tri_manifest_row *row, const int64_t *start,
                                             const int64_t *count, int64_t sign,
                                             manifest_corner *out)
{
    for (unsigned corner = 0; corner < 1u << row->n_dims; corner++, out++) {
        *out = (manifest_corner){.sign = sign};
        for (int d = 0; d < row->n_dims; d++) {
            bool far = corner >> d & 1;
            out->at = out->at * (uint64_t)(row->shape[d] + 1) +
                      (uint64_t)(start[d] + (far ? count[d] : 0));
            if (far) out->sign = -out->sign;
        }
    }
    return out;
}

/* Do the boxes of a row tile it? A box is the sum over its corners' quadrants, with signs; so the boxes
 * add up to the row, with every element once, if and only if their corners add up to the row's. */
static bool manifest_is_tiled(const tri_manifest *m, const tri_manifest_row *row,
                              manifest_corner *corners)
{
    static const int64_t origin[TRI_MAX_DIMS] = {0};
    manifest_corner *end = manifest_add_corners(row, origin, row->shape, -1, corners);
    for (int64_t i = row->first_box; i < row->first_box + row->n_boxes; i++)
        end = manifest_add_corners(row, m->boxes[i].start, m->boxes[i].count, 1, end);
    qsort(corners, (size_t)(end - corners), sizeof *corners, manifest_corner_order);
    int64_t sum = 0;
    for (const manifest_corner *c = corners; c < end; c++) {
        if (c > corners && c->at != c[-1].at && sum != 0) return false;
        sum += c->sign;
    }
    return sum == 0;
}

static tri_status manifest_check_cover(const tri_manifest *m, const tri_manifest_row *row,
                                       const char *path, tri_status code, manifest_corner *corners)
{
    int64_t want = 1;
    for (int d = 0; d < row->n_dims; d++)
        want *= row->shape[d];
    int64_t covered = 0;
    for (int64_t i = row->first_box; i < row->first_box + row->n_boxes && covered <= want; i++) {
        tri_box box = tri_manifest_box_of(m, &m->boxes[i]);
        covered += tri_box_elements(&box);
    }
    TRI_CHECK(covered >= want, code,
              "checkpoint %s: %lld of the %lld elements of row '%s' are held", path,
              (long long)covered, (long long)want, row->name);
    TRI_CHECK(manifest_is_tiled(m, row, corners), code,
              "checkpoint %s: row '%s' has elements that lie in two boxes", path, row->name);
    return TRI_OK;
}

/* Give each row its first box, and check that they tile it. */
static tri_status manifest_check_rows(tri_manifest *m, const char *path, tri_status code)
{
    TRI_AUTO(manifest_corners) corners = NULL;
    int64_t most = 0;
    int64_t box = 0;
    for (int64_t i = 0; i < m->head.n_rows; i++) {
        m->rows[i].first_box = box;
        while (box < m->head.n_boxes && m->boxes[box].row == i)
            box++;
        m->rows[i].n_boxes = box - m->rows[i].first_box;
        most = tri_max64(most, (m->rows[i].n_boxes + 1) << m->rows[i].n_dims);
    }
    TRI_TRY(TRI_NEW_ARRAY(most, &corners));
    for (int64_t i = 0; i < m->head.n_rows; i++)
        TRI_TRY(manifest_check_cover(m, &m->rows[i], path, code, corners));
    return TRI_OK;
}

/* Boxes come sorted from a file, but not from ranks. */
static void manifest_sort(tri_manifest *m)
{
    int64_t i = 1;
    while (i < m->head.n_boxes && manifest_order(&m->boxes[i - 1], &m->boxes[i]) <= 0)
        i++;
    if (i < m->head.n_boxes)
        qsort(m->boxes, (size_t)m->head.n_boxes, sizeof *m->boxes, manifest_order);
}

static tri_status manifest_check_file(const tri_manifest *m, int64_t index, const char *path,
                                      tri_status code)
{
    const tri_manifest_file *file = &m->files[index];
    TRI_CHECK(memchr(file->name, 0, sizeof file->name) && file->name[0] && file->name[0] != '.' &&
                  !strchr(file->name, '/') && file->bytes >= 0,
              code, "checkpoint %s: file %lld has an impossible name or size", path,
              (long long)index);
    TRI_CHECK(memchr(file->uuid, 0, sizeof file->uuid) && file->uuid[0] &&
                  strspn(file->uuid, "0123456789abcdef-") == strlen(file->uuid),
              code, "checkpoint %s: file %s has an impossible uuid", path, file->name);
    return TRI_OK;
}

tri_status tri_manifest_index(tri_manifest *manifest, const char *path, tri_status code)
{
    tri_manifest *m = manifest;
    for (int64_t i = 0; i < m->head.n_rows; i++)
        TRI_TRY(manifest_check_row(m, i, path, code));
    for (int64_t i = 0; i < m->head.n_files; i++)
        TRI_TRY(manifest_check_file(m, i, path, code));
    for (int64_t i = 0; i < m->head.n_boxes; i++)
        TRI_TRY(manifest_check_box(m, &m->boxes[i], path, code));
    manifest_sort(m);
    return manifest_check_rows(m, path, code);
}

static int manifest_compare_name(const void *name, const void *row)
{
    return strcmp(name, ((const tri_manifest_row *)row)->name);
}

int64_t tri_manifest_find(const tri_manifest *manifest, const char *name)
{
    const tri_manifest_row *row = bsearch(name, manifest->rows, (size_t)manifest->head.n_rows,
                                          sizeof *row, manifest_compare_name);
    return row ? row - manifest->rows : -1;
}

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

/* The boxes of a row, sorted by start, must be disjoint and add up to it. A box is compared with those
 * behind it that begin before it ends in dimension 0. */
static tri_status manifest_check_cover(const tri_manifest *m, const tri_manifest_row *row,
                                       const char *path, tri_status code)
{
    int64_t want = 1;
    for (int d = 0; d < row->n_dims; d++)
        want *= row->shape[d];
    int64_t covered = 0;
    for (int64_t i = row->first_box; i < row->first_box + row->n_boxes; i++) {
        tri_box a = tri_manifest_box_of(m, &m->boxes[i]);
        covered += tri_box_elements(&a);
        for (int64_t k = i + 1; k < row->first_box + row->n_boxes; k++) {
            tri_box b = tri_manifest_box_of(m, &m->boxes[k]);
            tri_box common;
            if (b.start[0] >= a.start[0] + a.count[0]) break;
            TRI_CHECK(!tri_box_intersect(&a, &b, &common), code,
                      "checkpoint %s: row '%s' has elements that lie in two boxes", path,
                      row->name);
        }
    }
    TRI_CHECK(covered == want, code,
              "checkpoint %s: %lld of the %lld elements of row '%s' are held", path,
              (long long)covered, (long long)want, row->name);
    return TRI_OK;
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
    if (m->head.n_boxes) qsort(m->boxes, (size_t)m->head.n_boxes, sizeof *m->boxes, manifest_order);
    int64_t box = 0;
    for (int64_t i = 0; i < m->head.n_rows; i++) {
        m->rows[i].first_box = box;
        while (box < m->head.n_boxes && m->boxes[box].row == i)
            box++;
        m->rows[i].n_boxes = box - m->rows[i].first_box;
        TRI_TRY(manifest_check_cover(m, &m->rows[i], path, code));
    }
    return TRI_OK;
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

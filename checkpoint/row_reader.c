// SPDX-License-Identifier: Apache-2.0
/* Flat ranges from boxes. A range is cut into boxes of the row; what each has in common with the stored
 * boxes comes from readers of blocks, one for each stored box that is in use at a time, so that boxes
 * side by side (a matrix split by columns) do not push one another's block out.
 */
#include "checkpoint/row_reader.h"

#include "checkpoint/shard.h"
#include "runtime/base/alloc.h"

#include <assert.h>

struct tri_row_reader {
    const tri_manifest *manifest;
    const char *path;
    struct {
        tri_shard_reader *reader; /* NULL: not used yet */
        char *buffer;
    } slot[TRI_ROW_READER_SLOTS];
};

tri_status tri_row_reader_create(const tri_manifest *manifest, const char *path,
                                 tri_row_reader **out)
{
    tri_row_reader *reader = NULL;
    TRI_TRY(TRI_NEW(&reader));
    reader->manifest = manifest;
    reader->path = path;
    *out = reader;
    return TRI_OK;
}

void tri_row_reader_destroy(tri_row_reader **reader)
{
    if (!*reader) return;
    for (int i = 0; i < TRI_ROW_READER_SLOTS; i++) {
        tri_shard_reader_destroy(&(*reader)->slot[i].reader);
        TRI_FREE((*reader)->slot[i].buffer);
    }
    TRI_FREE(*reader);
}

static tri_box row_box(const tri_manifest_row *row)
{
    tri_box box = {.n_dims = row->n_dims};
    for (int d = 0; d < row->n_dims; d++)
        box.count[d] = row->shape[d];
    return box;
}

int64_t tri_row_reader_elements(const tri_row_reader *reader, int64_t row)
{
    tri_box box = row_box(&reader->manifest->rows[row]);
    return tri_box_elements(&box);
}

static tri_status row_slot(tri_row_reader *reader, int64_t box, tri_shard_reader **out)
{
    int slot = (int)(box % TRI_ROW_READER_SLOTS);
    if (!reader->slot[slot].buffer)
        TRI_TRY(TRI_NEW_ARRAY(TRI_MANIFEST_BLOCK_BYTES, &reader->slot[slot].buffer));
    if (!reader->slot[slot].reader)
        TRI_TRY(tri_shard_reader_create(reader->manifest, reader->path, reader->slot[slot].buffer,
                                        &reader->slot[slot].reader));
    *out = reader->slot[slot].reader;
    return TRI_OK;
}

tri_status tri_row_reader_read(tri_row_reader *reader, int64_t row, int64_t begin, int64_t n,
                               void *out)
{
    const tri_manifest *m = reader->manifest;
    const tri_manifest_row *about = &m->rows[row];
    tri_box whole = row_box(about);
    int64_t elements = tri_box_elements(&whole);
    TRI_CHECK(begin >= 0 && n >= 0 && begin <= elements - n, TRI_EINVAL,
              "%lld elements from %lld on of row '%s', which has %lld", (long long)n,
              (long long)begin, about->name, (long long)elements);
    size_t element_bytes = tri_dtype_bytes((tri_dtype)about->dtype);
    tri_piece_box pieces[TRI_MAX_BOXES];
    int n_pieces = 0;
    tri_box_cut(&whole, begin, n, pieces, &n_pieces);
    for (int p = 0; p < n_pieces; p++) {
        const tri_box *want = &pieces[p].box;
        char *data = (char *)out + (size_t)pieces[p].offset * element_bytes;
        for (int64_t b = about->first_box; b < about->first_box + about->n_boxes; b++) {
            tri_box stored = tri_manifest_box_of(m, &m->boxes[b]);
            tri_box common;
            if (stored.start[0] >= want->start[0] + want->count[0]) break; /* sorted by start */
            if (!tri_box_intersect(&stored, want, &common)) continue;
            tri_shard_reader *blocks = NULL;
            TRI_TRY(row_slot(reader, b, &blocks));
            TRI_TRY(tri_shard_read(blocks, b, want, (tri_dtype)about->dtype, data));
        }
    }
    return TRI_OK;
}

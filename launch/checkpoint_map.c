// SPDX-License-Identifier: Apache-2.0
/* The map of a tensor's writers. */
#include "launch/checkpoint_map.h"

#include "checkpoint/text.h"
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"

#include <string.h>

enum { MAP_BOXES = 8 }; /* of a file, that are listed */

static const char map_letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

typedef char *map_marks;

static void map_marks_destroy(map_marks *marks)
{
    TRI_FREE(*marks);
}

/* letter[file]: of the files that hold parts of the row, in their order; 0: none; '#' when they run out. */
static void give_letters(const tri_manifest *m, const tri_manifest_row *row, char *letter)
{
    for (int64_t b = row->first_box; b < row->first_box + row->n_boxes; b++)
        letter[m->boxes[b].file] = '#';
    size_t next = 0;
    for (int64_t f = 0; f < m->head.n_files; f++)
        if (letter[f] && next + 1 < sizeof map_letters) letter[f] = map_letters[next++];
}

/* The file of the element at line `line` of the folded dimensions, column `column`. */
static int32_t file_at(const tri_manifest *m, const tri_manifest_row *row, int64_t line,
                       int64_t column)
{
    int64_t at[TRI_MAX_DIMS];
    int last = row->n_dims - 1;
    at[last] = column;
    for (int d = last - 1; d >= 0; d--) {
        at[d] = line % row->shape[d];
        line /= row->shape[d];
    }
    for (int64_t b = row->first_box; b < row->first_box + row->n_boxes; b++) {
        const tri_manifest_box *box = &m->boxes[b];
        bool inside = true;
        for (int d = 0; d < row->n_dims; d++)
            inside = inside && at[d] >= box->start[d] && at[d] < box->start[d] + box->count[d];
        if (inside) return box->file;
    }
    return -1; /* never: boxes cover their row */
}

static void draw(const tri_manifest *m, const tri_manifest_row *row, const char *letter,
                 FILE *stream)
{
    int64_t columns = row->shape[row->n_dims - 1];
    int64_t lines = 1;
    for (int d = 0; d < row->n_dims - 1; d++)
        lines *= row->shape[d];
    int64_t height = tri_min64(lines, TRI_MAP_LINES);
    int64_t width = tri_min64(columns, TRI_MAP_COLUMNS);
    for (int64_t i = 0; i < height; i++) {
        int64_t top = i * lines / height;
        int64_t bottom = (i + 1) * lines / height - 1;
        fprintf(stream, "  ");
        for (int64_t k = 0; k < width; k++) {
            int64_t left = k * columns / width;
            int64_t right = (k + 1) * columns / width - 1;
            int32_t file = file_at(m, row, top, left);
            bool one = file >= 0 && file == file_at(m, row, top, right) &&
                       file == file_at(m, row, bottom, left) &&
                       file == file_at(m, row, bottom, right);
            fputc(one ? letter[file] : '+', stream);
        }
        fputc('\n', stream);
    }
}

static void list_file(const tri_manifest *m, const tri_manifest_row *row, int64_t file, char letter,
                      FILE *stream)
{
    int64_t n = 0;
    fprintf(stream, "  %c  %s (rank %lld):", letter, m->files[file].name,
            (long long)m->files[file].rank);
    for (int64_t b = row->first_box; b < row->first_box + row->n_boxes; b++) {
        if (m->boxes[b].file != file || n++ >= MAP_BOXES) continue;
        tri_box box = tri_manifest_box_of(m, &m->boxes[b]);
        char text[TRI_TEXT_BYTES];
        tri_text_box(&box, text);
        fprintf(stream, " %s", text);
    }
    if (n > MAP_BOXES) fprintf(stream, " and %lld more", (long long)(n - MAP_BOXES));
    fputc('\n', stream);
}

tri_status tri_checkpoint_map(const tri_manifest *manifest, int64_t row, FILE *stream)
{
    const tri_manifest *m = manifest;
    TRI_AUTO(map_marks) letter = NULL;
    TRI_TRY(TRI_NEW_ARRAY(m->head.n_files, &letter));
    give_letters(m, &m->rows[row], letter);
    draw(m, &m->rows[row], letter, stream);
    for (int64_t f = 0; f < m->head.n_files; f++)
        if (letter[f]) list_file(m, &m->rows[row], f, letter[f], stream);
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* External names and what they amount to. */
#include "checkpoint/external.h"

#include "runtime/base/alloc.h"
#include "runtime/base/int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXTERNAL_TILE = 32 };

void tri_external_map_destroy(tri_external_map **map)
{
    if (!*map) return;
    TRI_FREE((*map)->tensors);
    TRI_FREE((*map)->parts);
    TRI_FREE(*map);
}

/* A number at *text, which moves behind it; false: there is none. */
static bool external_number(const char **text, int64_t *out)
{
    char *end = NULL;
    if (**text < '0' || **text > '9') return false;
    errno = 0;
    *out = strtoll(*text, &end, 10);
    *text = end;
    return errno == 0;
}

/* ":" or BEGIN:END of a dimension in which the row has `count` elements. */
static bool external_range(const char **text, int64_t count, int64_t *start)
{
    int64_t end = 0;
    *start = 0;
    if (**text == ':') {
        ++*text;
        return true;
    }
    if (!external_number(text, start) || *(*text)++ != ':' || !external_number(text, &end))
        return false;
    return end - *start == count && *start <= INT64_MAX / 16;
}

/* Everything behind the tensor's name; part->box.count is set. */
static bool external_ranges(const char *text, tri_external_part *part)
{
    if (*text != '[') return *text == '\0';
    text++;
    for (int d = 0; d < part->box.n_dims; d++) {
        if (d > 0 && (*text++ != ',' || *text++ != ' ')) return false;
        if (!external_range(&text, part->box.count[d], &part->box.start[d])) return false;
    }
    return strcmp(text, "]") == 0;
}

tri_status tri_external_parse(const tri_manifest_row *row, char name[TRI_NAME_BYTES],
                              tri_external_part *out)
{
    char text[TRI_NAME_BYTES];
    snprintf(text, sizeof text, "%s", row->external);
    size_t n = strlen(text);
    tri_external_part part = {.box.n_dims = row->n_dims};
    part.transposed = n >= 2 && strcmp(text + n - 2, "^T") == 0;
    if (part.transposed) text[n - 2] = '\0';
    bool ok = !part.transposed || row->n_dims == 2;
    for (int d = 0; d < row->n_dims; d++)
        part.box.count[d] = row->shape[part.transposed && ok ? 1 - d : d];
    size_t n_name = strcspn(text, "[");
    ok = ok && n_name > 0 && external_ranges(text + n_name, &part);
    TRI_CHECK(ok, TRI_EFORMAT, "row '%s' has the external name '%s', which does not fit it",
              row->name, row->external);
    snprintf(name, TRI_NAME_BYTES, "%.*s", (int)n_name, text);
    *out = part;
    return TRI_OK;
}

/* A part while its tensor is not yet known. */
typedef struct external_loose {
    char name[TRI_NAME_BYTES];
    tri_external_part part;
} external_loose;

typedef external_loose *external_loose_list;

static void external_loose_list_destroy(external_loose_list *list)
{
    TRI_FREE(*list);
}

static int external_order(const void *a, const void *b)
{
    const external_loose *x = a;
    const external_loose *y = b;
    int by_name = strcmp(x->name, y->name);
    if (by_name) return by_name;
    for (int d = 0; d < TRI_MAX_DIMS; d++)
        if (x->part.box.start[d] != y->part.box.start[d])
            return x->part.box.start[d] < y->part.box.start[d] ? -1 : 1;
    return 0;
}

/* The parts of a tensor fill it exactly. */
static tri_status external_check(const tri_external_map *map, const tri_external_tensor *tensor,
                                 const char *origin)
{
    int64_t covered = 0;
    for (int64_t i = 0; i < tensor->n_parts; i++) {
        const tri_box *a = &map->parts[tensor->first_part + i].box;
        covered += tri_box_elements(a);
        for (int64_t k = i + 1; k < tensor->n_parts; k++) {
            const tri_box *b = &map->parts[tensor->first_part + k].box;
            tri_box common;
            if (b->start[0] >= a->start[0] + a->count[0]) break;
            TRI_CHECK(!tri_box_intersect(a, b, &common), TRI_EFORMAT,
                      "%s: two rows have the same elements of tensor '%s'", origin, tensor->name);
        }
    }
    TRI_CHECK(covered == tensor->elements, TRI_EFORMAT,
              "%s: the rows of tensor '%s' are %lld of its %lld elements", origin, tensor->name,
              (long long)covered, (long long)tensor->elements);
    return TRI_OK;
}

/* Take up one part, in order. */
static tri_status external_take(tri_external_map *map, const external_loose *loose,
                                const char *origin)
{
    const tri_box *box = &loose->part.box;
    bool is_next =
        map->n_tensors > 0 && strcmp(map->tensors[map->n_tensors - 1].name, loose->name) == 0;
    tri_external_tensor *tensor = &map->tensors[map->n_tensors - is_next];
    if (!is_next) {
        map->n_tensors++;
        snprintf(tensor->name, sizeof tensor->name, "%s", loose->name);
        tensor->n_dims = box->n_dims;
        tensor->first_part = map->n_parts;
    }
    TRI_CHECK(tensor->n_dims == box->n_dims, TRI_EFORMAT,
              "%s: the rows of tensor '%s' differ in their number of dimensions", origin,
              tensor->name);
    for (int d = 0; d < box->n_dims; d++)
        tensor->shape[d] = tri_max64(tensor->shape[d], box->start[d] + box->count[d]);
    tensor->n_parts++;
    map->parts[map->n_parts++] = loose->part;
    return TRI_OK;
}

tri_status tri_external_map_create(const tri_manifest_row *rows, int64_t n_rows, const char *origin,
                                   tri_external_map **out)
{
    TRI_AUTO(external_loose_list) loose = NULL;
    TRI_TRY(TRI_NEW_ARRAY(n_rows, &loose));
    int64_t n = 0;
    for (int64_t i = 0; i < n_rows; i++) {
        if (rows[i].role != TRI_ROLE_PARAM) continue;
        TRI_CHECK(rows[i].external[0], TRI_EFORMAT,
                  "%s: parameter '%s' has no name in Hugging Face's models", origin, rows[i].name);
        TRI_TRY(tri_external_parse(&rows[i], loose[n].name, &loose[n].part));
        loose[n++].part.row = i;
    }
    TRI_CHECK(n > 0, TRI_EFORMAT, "%s has no parameters", origin);
    qsort(loose, (size_t)n, sizeof *loose, external_order);

    TRI_AUTO(tri_external_map) *map = NULL;
    TRI_TRY(TRI_NEW(&map));
    TRI_TRY(TRI_NEW_ARRAY(n, &map->tensors));
    TRI_TRY(TRI_NEW_ARRAY(n, &map->parts));
    for (int64_t i = 0; i < n; i++)
        TRI_TRY(external_take(map, &loose[i], origin));
    for (int64_t i = 0; i < map->n_tensors; i++) {
        tri_external_tensor *tensor = &map->tensors[i];
        TRI_CHECK(tri_product(tensor->n_dims, tensor->shape, &tensor->elements) == TRI_OK &&
                      tensor->elements <= INT64_MAX / 16,
                  TRI_EFORMAT, "%s: tensor '%s' has an impossible shape", origin, tensor->name);
        TRI_TRY(external_check(map, tensor, origin));
    }
    *out = TRI_MOVE(map);
    return TRI_OK;
}

/* A square of the matrix, of at most EXTERNAL_TILE rows and columns. */
#define EXTERNAL_TRANSPOSE(type)                                                      \
    for (int64_t r = row; r < tri_min64(row + EXTERNAL_TILE, rows); r++)              \
        for (int64_t c = column; c < tri_min64(column + EXTERNAL_TILE, columns); c++) \
            ((type *)out)[c * rows + r] = ((const type *)in)[r * columns + c];

void tri_external_transpose(size_t bytes, int64_t rows, int64_t columns, const void *in, void *out)
{
    for (int64_t row = 0; row < rows; row += EXTERNAL_TILE) {
        for (int64_t column = 0; column < columns; column += EXTERNAL_TILE) {
            if (bytes == sizeof(uint16_t))
                EXTERNAL_TRANSPOSE(uint16_t)
            else
                EXTERNAL_TRANSPOSE(uint32_t)
        }
    }
}

tri_status tri_external_runs(const int64_t *shape, const tri_box *box, tri_external_run run,
                             void *arg)
{
    /* dimensions below `d` vary between runs; those behind it are whole */
    int d = box->n_dims - 1;
    int64_t count = box->count[d];
    while (d > 0 && box->count[d] == shape[d])
        count *= box->count[--d];
    int64_t elements = tri_box_elements(box);
    for (int64_t at = 0; at < elements; at += count) {
        int64_t place = 0;
        int64_t stride = 1;
        int64_t rest = at;
        for (int k = box->n_dims - 1; k >= 0; k--) {
            place += (box->start[k] + rest % box->count[k]) * stride;
            stride *= shape[k];
            rest /= box->count[k];
        }
        TRI_TRY(run(arg, place, at, count));
    }
    return TRI_OK;
}

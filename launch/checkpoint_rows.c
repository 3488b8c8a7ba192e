// SPDX-License-Identifier: Apache-2.0
/* Rows in groups: a row's group is its name with `*` for the number behind "layers.", its type and its
 * shape.
 */
#include "launch/checkpoint_rows.h"

#include "checkpoint/text.h"
#include "runtime/base/alloc.h"

#include <string.h>

/* Rows of one group. */
typedef struct row_group {
    char name[TRI_NAME_BYTES];
    char type[TRI_TEXT_BYTES];
    int64_t first_row; /* for statistics */
    int64_t n_rows, n_boxes, n_files;
} row_group;

typedef struct row_groups {
    row_group *group;
    int64_t n, capacity;
    int64_t *of;     /* group of each row */
    int64_t *marked; /* group that each file was last counted for, and 1 */
} row_groups;

static void row_groups_destroy(row_groups *groups)
{
    TRI_FREE(groups->group);
    TRI_FREE(groups->of);
    TRI_FREE(groups->marked);
}

static void group_name(const char *row, bool all, char out[TRI_NAME_BYTES])
{
    static const char key[] = "layers.";
    const char *layer = strstr(row, key);
    size_t digits = layer ? strspn(layer + strlen(key), "0123456789") : 0;
    if (all || !digits) {
        snprintf(out, TRI_NAME_BYTES, "%s", row);
        return;
    }
    const char *number = layer + strlen(key);
    snprintf(out, TRI_NAME_BYTES, "%.*s*%s", (int)(number - row), row, number + digits);
}

static tri_status add_row(row_groups *groups, const tri_manifest *m, int64_t index, bool all)
{
    const tri_manifest_row *row = &m->rows[index];
    row_group mine = {.first_row = index};
    group_name(row->name, all, mine.name);
    tri_text_type(row->dtype, row->n_dims, row->shape, mine.type);
    int64_t g = all ? groups->n : 0;
    while (g < groups->n && (strcmp(groups->group[g].name, mine.name) != 0 ||
                             strcmp(groups->group[g].type, mine.type) != 0))
        g++;
    if (g == groups->capacity) {
        int64_t capacity = 2 * groups->capacity + 64;
        TRI_TRY(tri_alloc_grow((void **)&groups->group, groups->n, capacity, sizeof mine));
        groups->capacity = capacity;
    }
    if (g == groups->n) groups->group[groups->n++] = mine;
    groups->group[g].n_rows++;
    groups->group[g].n_boxes += row->n_boxes;
    groups->of[index] = g;
    return TRI_OK;
}

/* How many files the boxes of each group lie in. */
static void count_files(row_groups *groups, const tri_manifest *m)
{
    for (int64_t g = 0; g < groups->n; g++) {
        row_group *group = &groups->group[g];
        int64_t left = group->n_rows;
        for (int64_t i = group->first_row; left > 0; i++) {
            if (groups->of[i] != g) continue;
            left--;
            const tri_manifest_row *row = &m->rows[i];
            for (int64_t b = row->first_box; b < row->first_box + row->n_boxes; b++) {
                int32_t file = m->boxes[b].file;
                group->n_files += groups->marked[file] != g + 1;
                groups->marked[file] = g + 1;
            }
        }
    }
}

tri_status tri_checkpoint_rows(const tri_manifest *manifest, bool all, const tri_stats *stats,
                               FILE *stream)
{
    const tri_manifest *m = manifest;
    TRI_AUTO(row_groups) groups = {0};
    TRI_TRY(TRI_NEW_ARRAY(m->head.n_rows, &groups.of));
    TRI_TRY(TRI_NEW_ARRAY(m->head.n_files, &groups.marked));
    for (int64_t i = 0; i < m->head.n_rows; i++)
        TRI_TRY(add_row(&groups, m, i, all));
    count_files(&groups, m);
    fprintf(stream, "  %-44s %-22s %5s %6s %6s", "row", "type and shape", "rows", "boxes", "files");
    if (stats)
        fprintf(stream, " %11s %11s %11s %11s %s", "min", "max", "mean", "rms", "not finite");
    fputc('\n', stream);
    for (int64_t g = 0; g < groups.n; g++) {
        const row_group *group = &groups.group[g];
        fprintf(stream, "  %-44s %-22s %5lld %6lld %6lld", group->name, group->type,
                (long long)group->n_rows, (long long)group->n_boxes, (long long)group->n_files);
        if (stats) {
            const tri_stats *s = &stats[group->first_row];
            fprintf(stream, " %11.4g %11.4g %11.4g %11.4g %10lld", s->min, s->max, s->mean, s->rms,
                    (long long)s->n_not_finite);
        }
        fputc('\n', stream);
    }
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* The map of a tensor's writers against brute force, and the table of rows. */
#include "launch/checkpoint_map.h"

#include "launch/checkpoint_rows.h"
#include "launch/checkpoint_text.h"
#include "tests/test.h"

/* A manifest of one row, whose boxes are the blocks of a grid; box i lies in file i modulo n_files. */
static tri_status make(int n_dims, const int64_t *shape, const int64_t *parts, int64_t n_files,
                       tri_manifest **out)
{
    int64_t n_boxes = 1;
    for (int d = 0; d < n_dims; d++)
        n_boxes *= parts[d];
    tri_manifest_head head = {.n_rows = 1, .n_boxes = n_boxes, .n_files = n_files};
    TRI_AUTO(tri_manifest) *m = NULL;
    TRI_TRY(tri_manifest_create(&head, &m));
    tri_manifest_row *row = &m->rows[0];
    snprintf(row->name, sizeof row->name, "param/x");
    row->n_dims = n_dims;
    row->n_boxes = n_boxes;
    memcpy(row->shape, shape, (size_t)n_dims * sizeof *shape);
    for (int64_t i = 0; i < n_files; i++) {
        snprintf(m->files[i].name, sizeof m->files[i].name, "shard-%05lld.h5", (long long)i);
        m->files[i].rank = i;
    }
    for (int64_t i = 0; i < n_boxes; i++) {
        int64_t rest = i;
        m->boxes[i].file = (int32_t)(i % n_files);
        for (int d = n_dims - 1; d >= 0; d--) {
            int64_t part = rest % parts[d];
            rest /= parts[d];
            m->boxes[i].start[d] = shape[d] * part / parts[d];
            m->boxes[i].count[d] = shape[d] * (part + 1) / parts[d] - m->boxes[i].start[d];
        }
    }
    *out = TRI_MOVE(m);
    return TRI_OK;
}

static tri_status draw(const tri_manifest *m, char **out)
{
    size_t bytes = 0;
    FILE *stream = open_memstream(out, &bytes);
    TRI_CHECK(stream, TRI_ENOMEM, "a stream in memory");
    tri_status rc = tri_checkpoint_map(m, 0, stream);
    fclose(stream);
    return rc;
}

/* File of an element given by its folded line and its column. */
static int64_t file_of(const tri_manifest *m, int64_t line, int64_t column)
{
    const tri_manifest_row *row = &m->rows[0];
    for (int64_t i = 0; i < m->head.n_boxes; i++) {
        const tri_manifest_box *box = &m->boxes[i];
        int64_t rest = line;
        int last = row->n_dims - 1;
        bool inside = column >= box->start[last] && column < box->start[last] + box->count[last];
        for (int d = last - 1; d >= 0; d--) {
            int64_t at = rest % row->shape[d];
            rest /= row->shape[d];
            inside = inside && at >= box->start[d] && at < box->start[d] + box->count[d];
        }
        if (inside) return box->file;
    }
    return -1;
}

/* A tensor that needs no scaling: every cell is the letter of its element. */
TRI_TEST(small_tensors_are_drawn_exactly)
{
    static const struct {
        int n_dims;
        int64_t shape[4], parts[4], n_files;
    } cases[] = {
        {1, {64},         {5},          5 },
        {2, {24, 64},     {3, 4},       12},
        {2, {7, 5},       {1, 5},       2 },
        {3, {2, 6, 20},   {2, 3, 2},    4 },
        {4, {2, 3, 2, 9}, {1, 3, 2, 3}, 18},
        {2, {1, 1},       {1, 1},       1 },
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        TRI_AUTO(tri_manifest) *m = NULL;
        TRI_TRY(make(cases[c].n_dims, cases[c].shape, cases[c].parts, cases[c].n_files, &m));
        char *text = NULL;
        TRI_TRY(draw(m, &text));
        const char *at = text;
        int64_t lines = 1;
        for (int d = 0; d < cases[c].n_dims - 1; d++)
            lines *= cases[c].shape[d];
        int64_t columns = cases[c].shape[cases[c].n_dims - 1];
        int64_t wrong = 0;
        for (int64_t i = 0; i < lines; i++) {
            for (int64_t k = 0; k < columns; k++)
                wrong += at[2 + k] != (char)('a' + file_of(m, i, k));
            at += columns + 3;
        }
        EXPECT(wrong == 0, "case %zu: %lld cells are wrong:\n%s", c, (long long)wrong, text);
        EXPECT(strstr(at, "  a  shard-00000.h5 (rank 0): [0:"), "case %zu: legend\n%s", c, at);
        free(text);
    }
    return TRI_OK;
}

/* A large one: the picture's size, its halves, and cells that are of several. */
TRI_TEST(large_tensors_are_scaled)
{
    TRI_AUTO(tri_manifest) *m = NULL;
    static const int64_t shape[] = {4096, 4096};
    static const int64_t halves[] = {1, 2};
    static const int64_t many[] = {1, 1024};
    char *text = NULL;
    TRI_TRY(make(2, shape, halves, 2, &m));
    TRI_TRY(draw(m, &text));
    for (int i = 0; i < TRI_MAP_LINES; i++) {
        const char *line = text + i * (TRI_MAP_COLUMNS + 3) + 2;
        EXPECT(strspn(line, "a") == TRI_MAP_COLUMNS / 2 &&
                   strspn(line + TRI_MAP_COLUMNS / 2, "b") == TRI_MAP_COLUMNS / 2,
               "line %d: %.66s", i, line);
    }
    free(text);
    tri_manifest_destroy(&m);
    TRI_TRY(make(2, shape, many, 1024, &m));
    TRI_TRY(draw(m, &text));
    EXPECT(strspn(text + 2, "+") == TRI_MAP_COLUMNS, "%.66s", text);
    EXPECT(strstr(text, "  #  shard-01023.h5 (rank 1023): [0:4096, 4092:4096]\n"), "the last file");
    free(text);
    return TRI_OK;
}

TRI_TEST(rows_are_grouped_by_layer)
{
    static const char *const names[] = {"param/embed", "param/layers.0.q", "param/layers.10.q",
                                        "param/layers.9.k", "param/layers.x"};
    tri_manifest_head head = {.n_rows = 5, .n_files = 1};
    TRI_AUTO(tri_manifest) *m = NULL;
    TRI_TRY(tri_manifest_create(&head, &m));
    for (int i = 0; i < 5; i++) {
        snprintf(m->rows[i].name, sizeof m->rows[i].name, "%s", names[i]);
        m->rows[i].n_dims = 1;
        m->rows[i].shape[0] = 8;
    }
    for (int all = 0; all < 2; all++) {
        char *text = NULL;
        size_t bytes = 0;
        FILE *stream = open_memstream(&text, &bytes);
        TRI_CHECK(stream, TRI_ENOMEM, "a stream in memory");
        TRI_TRY(tri_checkpoint_rows(m, all, NULL, stream));
        fclose(stream);
        int lines = 0;
        for (const char *c = text; *c; c++)
            lines += *c == '\n';
        EXPECT(lines == (all ? 6 : 5), "%d lines:\n%s", lines, text);
        bool grouped = strstr(text, "layers.*.q") && !strstr(text, "layers.10.q");
        EXPECT(grouped == (all == 0), "groups:\n%s", text);
        free(text);
    }
    return TRI_OK;
}

TRI_TEST(sizes_and_meshes_in_words)
{
    static const struct {
        int64_t bytes;
        const char *text;
    } sizes[] = {
        {0,          "0 B"    },
        {999,        "999 B"  },
        {1000,       "1 kB"   },
        {999499,     "999 kB" },
        {999500,     "1 MB"   },
        {1493000000, "1.49 GB"}
    };
    char text[64];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        tri_checkpoint_bytes(sizes[i].bytes, text, sizeof text);
        EXPECT(strcmp(text, sizes[i].text) == 0, "%lld: %s", (long long)sizes[i].bytes, text);
    }
    static const int64_t one[TRI_AXES] = {1, 1, 1, 1};
    static const int64_t some[TRI_AXES] = {2, 1, 1, 4};
    tri_checkpoint_mesh(one, text, sizeof text);
    EXPECT(strcmp(text, "one rank") == 0, "%s", text);
    tri_checkpoint_mesh(some, text, sizeof text);
    EXPECT(strcmp(text, "pipeline 2, tensor 4") == 0, "%s", text);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(small_tensors_are_drawn_exactly), TRI_TEST_ROW(large_tensors_are_scaled),
              TRI_TEST_ROW(rows_are_grouped_by_layer), TRI_TEST_ROW(sizes_and_meshes_in_words))

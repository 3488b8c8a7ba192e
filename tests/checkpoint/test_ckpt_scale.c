// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120 args=64 500
// TEST ranks=1 timeout=600 long args=1024 500
/* Metadata at scale: the plan, the manifest and the view of WRITERS simulated ranks, on paper, that hold
 * shards of ROWS rows (all optimizer states cut over all ranks: as many boxes as there can be). Counts are
 * real, tensors are small. Processor time is printed, and compared with that of an eighth of the writers
 * and with sorting the same boxes, measured beside it: no time is a limit by itself.
 */
#include "checkpoint/assign.h"
#include "checkpoint/disk.h"
#include "checkpoint/view.h"
#include "runtime/h5.h"
#include "tests/checkpoint/fixture_io.h"

#include <assert.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

enum { TENSOR = 4 };

/* Limits: how much more a box may take among eight times as many; how many sortings an opening. */
enum { GROWTH = 5, SORTS = 60 };

typedef struct scale {
    int writers, rows;
    tri_manifest_row *row;
    int64_t n_rows;
    tri_share_hold *holds;
    tri_manifest *m;
    double plan_s, decide_s, begin_s, index_s, write_s, read_s, view_s, open_s, sort_s;
    int64_t n_boxes, manifest_bytes, view_bytes;
} scale;

static double cpu_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void scale_destroy(scale *s)
{
    TRI_FREE(s->row);
    TRI_FREE(s->holds);
    tri_manifest_destroy(&s->m);
}

/* A fifth each: split along dimension 0, along dimension 1, ragged, a vector, held whole by all. */
static tri_status scale_row(const scale *s, tri_state *state, int i)
{
    static const int64_t shapes[][2] = {
        {2048, 8   },
        {8,    2048},
        {1500, 11  },
        {4096},
        {64,  16    }
    };
    int kind = i % 5;
    tri_row row = {.n_dims = kind == 3 ? 1 : 2, .dtype = TRI_F32};
    row.role = i % 3 ? TRI_ROLE_OPTIM : TRI_ROLE_PARAM;
    snprintf(row.name, sizeof row.name, "%s/layers.%d.attention.kind%d.weight",
             i % 3 ? "optim/adamw/m" : "param", i / 5, kind);
    memcpy(row.shape, shapes[kind], sizeof shapes[kind]);
    if (kind < 3) {
        row.place.axis[TRI_AXIS_TENSOR].kind = TRI_SPLIT;
        row.place.axis[TRI_AXIS_TENSOR].arg = kind == 1;
    }
    int index = 0;
    TRI_TRY(tri_state_add(state, &row, &index));
    if (kind == 4) return TRI_OK;
    int64_t elements = tri_state_row(state, index)->count;
    int64_t parts = s->writers / TENSOR;
    int64_t part = tri_mesh_coord(tri_state_mesh(state), TRI_AXIS_DATA);
    int64_t block = (elements + parts - 1) / parts;
    int64_t begin = tri_min64(part * block, elements);
    tri_state_hold(state, index, begin, tri_min64(block, elements - begin), NULL);
    return TRI_OK;
}

typedef struct paper {
    tri_mesh *mesh;
    tri_state *state;
} paper;

static void paper_destroy(paper *p)
{
    tri_state_destroy(&p->state);
    tri_mesh_close(&p->mesh);
}

static tri_status paper_create(const scale *s, int rank, paper *p)
{
    tri_mesh_args args = {
        .n_ranks = s->writers, .rank = rank, .size = {1, s->writers / TENSOR, 1, TENSOR}
    };
    TRI_TRY(tri_mesh_create(&args, &p->mesh));
    TRI_TRY(tri_state_create(p->mesh, &p->state));
    for (int i = 0; i < s->rows; i++)
        TRI_TRY(scale_row(s, p->state, i));
    return TRI_OK;
}

static tri_status scale_table(scale *s)
{
    TRI_AUTO(paper) p = {0};
    TRI_TRY(paper_create(s, 0, &p));
    TRI_TRY(TRI_NEW_ARRAY(s->rows, &s->row));
    for (int i = 0; i < s->rows; i++)
        s->row[s->n_rows++] = tri_assign_row(tri_state_row(p.state, i));
    TRI_TRY(tri_assign_merge(s->row, &s->n_rows));
    return TRI_NEW_ARRAY((int64_t)s->writers * s->rows, &s->holds);
}

/* What rank 0 and the others do of a plan. */
static tri_status scale_decide(scale *s)
{
    for (int rank = 0; rank < s->writers; rank++) {
        TRI_AUTO(paper) p = {0};
        TRI_AUTO(tri_assign) *assign = NULL;
        TRI_TRY(paper_create(s, rank, &p));
        double from = cpu_s();
        TRI_TRY(tri_assign_begin(p.state, s->row, s->n_rows, &assign));
        s->begin_s += cpu_s() - from;
        memcpy(s->holds + (int64_t)rank * s->rows, assign->holds,
               (size_t)s->rows * sizeof *s->holds);
    }
    double from = cpu_s();
    TRI_TRY(tri_share_decide(s->row, s->writers, TRI_ASSIGN_PART_BYTES, s->holds,
                             (int64_t)s->writers * s->rows));
    s->decide_s = cpu_s() - from;
    return TRI_OK;
}

/* Append the boxes of a rank's pieces, placed one after another in its file. */
static tri_status scale_boxes(scale *s, int rank, tri_manifest_box **boxes, int64_t *capacity)
{
    TRI_AUTO(paper) p = {0};
    TRI_AUTO(tri_assign) *assign = NULL;
    TRI_TRY(paper_create(s, rank, &p));
    TRI_TRY(tri_assign_begin(p.state, s->row, s->n_rows, &assign));
    memcpy(assign->holds, s->holds + (int64_t)rank * s->rows, (size_t)s->rows * sizeof *s->holds);
    double from = cpu_s();
    TRI_TRY(tri_assign_end(assign, p.state));
    s->plan_s += cpu_s() - from;
    if (s->n_boxes + assign->n_pieces > *capacity) {
        int64_t room = 2 * *capacity + assign->n_pieces;
        TRI_TRY(tri_alloc_grow((void **)boxes, s->n_boxes, room, sizeof **boxes));
        *capacity = room;
    }
    assert(*boxes);
    int64_t offset = 4096;
    int number = 0;
    for (int64_t i = 0; i < assign->n_pieces; i++) {
        const tri_assign_piece *piece = &assign->pieces[i];
        number = i && piece[-1].row == piece->row ? number + 1 : 0;
        tri_manifest_box box = {.offset = offset,
                                .block_elements = tri_manifest_block_elements(&piece->box, TRI_F32),
                                .first_block = s->n_boxes,
                                .row = piece->row,
                                .file = rank,
                                .number = number};
        memcpy(box.start, piece->box.start, (size_t)piece->box.n_dims * sizeof *box.start);
        memcpy(box.count, piece->box.count, (size_t)piece->box.n_dims * sizeof *box.count);
        offset += 4 * tri_box_elements(&piece->box);
        (*boxes)[s->n_boxes++] = box;
    }
    return TRI_OK;
}

static tri_status scale_join(scale *s)
{
    tri_manifest_box *boxes = NULL;
    int64_t capacity = 0;
    for (int rank = 0; rank < s->writers; rank++)
        TRI_TRY(scale_boxes(s, rank, &boxes, &capacity));
    tri_manifest_head head = {.uuid = "01234567-89ab-4def-8123-456789abcdef",
                              .n_rows = s->n_rows,
                              .n_boxes = s->n_boxes,
                              .n_blocks = s->n_boxes,
                              .n_files = s->writers + 1};
    TRI_TRY(tri_manifest_create(&head, &s->m));
    assert(boxes);
    memcpy(s->m->rows, s->row, (size_t)s->n_rows * sizeof *s->row);
    memcpy(s->m->boxes, boxes, (size_t)s->n_boxes * sizeof *boxes);
    TRI_FREE(boxes);
    for (int64_t i = 0; i < head.n_files; i++) {
        tri_manifest_file *file = &s->m->files[i];
        *file = (tri_manifest_file){.bytes = 1 << 30, .rank = i < s->writers ? i : -1};
        snprintf(file->name, sizeof file->name, "shard-%05d.h5", (int)i);
        memcpy(file->uuid, head.uuid, sizeof file->uuid);
    }
    double from = cpu_s();
    TRI_TRY(tri_manifest_index(s->m, "here", TRI_EBUG));
    s->index_s = cpu_s() - from;
    return TRI_OK;
}

static int compare_boxes(const void *a, const void *b)
{
    return memcmp(((const tri_manifest_box *)a)->start, ((const tri_manifest_box *)b)->start, 24);
}

/* The work that times are compared with: sort the boxes, copied. */
static tri_status scale_sort(scale *s)
{
    tri_manifest_box *boxes = NULL;
    double from = cpu_s();
    TRI_TRY(TRI_NEW_ARRAY(s->n_boxes, &boxes));
    memcpy(boxes, s->m->boxes, (size_t)s->n_boxes * sizeof *boxes);
    qsort(boxes, (size_t)s->n_boxes, sizeof *boxes, compare_boxes);
    s->sort_s = cpu_s() - from;
    TRI_FREE(boxes);
    return TRI_OK;
}

static int64_t bytes_of(const char *dir, const char *name)
{
    char path[128];
    struct stat about = {.st_size = -1};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    EXPECT(stat(path, &about) == 0, "%s", path);
    return about.st_size;
}

static tri_status scale_files(scale *s, const char *dir)
{
    double from = cpu_s();
    TRI_TRY(tri_view_write(s->m, dir, &s->m->files[s->writers]));
    TRI_TRY(tri_disk_publish(dir, TRI_MANIFEST_VIEW));
    s->view_s = cpu_s() - from;
    from = cpu_s();
    TRI_TRY(tri_manifest_write(s->m, dir));
    TRI_TRY(tri_disk_publish(dir, TRI_MANIFEST_NAME));
    s->write_s = cpu_s() - from;
    TRI_AUTO(tri_manifest) *back = NULL;
    from = cpu_s();
    TRI_TRY(tri_manifest_read(dir, &back));
    for (int64_t i = 0; i < s->n_rows; i++)
        EXPECT(tri_manifest_find(back, s->row[i].name) == i, "%s", s->row[i].name);
    s->read_s = cpu_s() - from;
    EXPECT(memcmp(back->boxes, s->m->boxes, (size_t)s->n_boxes * sizeof *back->boxes) == 0,
           "the boxes that are read are not those that were written");
    s->manifest_bytes = bytes_of(dir, TRI_MANIFEST_NAME);
    s->view_bytes = bytes_of(dir, TRI_MANIFEST_VIEW);
    return TRI_OK;
}

/* The value of element (i, k) of the row that is read back. */
static float value_at(int64_t i, int64_t k)
{
    return (float)(i * 10000 + k);
}

/* The files of all writers with what they have of row 0, which is [8, 2048]. */
static tri_status scale_sources(const scale *s, const char *dir)
{
    const tri_manifest_row *row = &s->m->rows[0];
    for (int64_t i = 0; i < row->n_boxes; i++) {
        const tri_manifest_box *box = &s->m->boxes[i];
        char path[128];
        char dataset[256];
        float values[8 * 2048];
        int64_t n = box->count[0] * box->count[1];
        EXPECT(n <= 8 * 2048 && box->number == 0, "box %lld has %lld elements", (long long)i,
               (long long)n);
        for (int64_t e = 0; e < n; e++)
            values[e] =
                value_at(box->start[0] + e / box->count[1], box->start[1] + e % box->count[1]);
        snprintf(path, sizeof path, "%s/%s", dir, s->m->files[box->file].name);
        TRI_TRY(tri_manifest_dataset(s->m->head.uuid, row->name, 0, sizeof dataset, dataset));
        TRI_AUTO(tri_h5) *h5 = NULL;
        TRI_TRY(tri_h5_create(path, 0, &h5));
        TRI_TRY(tri_h5_write(h5, dataset, TRI_F32, 2, box->count, values));
        TRI_TRY(tri_h5_close(&h5));
    }
    return TRI_OK;
}

/* HDF5 keeps all sources of a dataset open, and reads fill values where the system lets it open no more. */
static bool may_open(int n_files)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur > (rlim_t)n_files + 64;
}

/* Open the view and read one row of it whole. */
static tri_status scale_look(scale *s, const char *dir)
{
    char path[128];
    static float values[8 * 2048];
    if (!may_open(s->writers)) {
        printf("  %d files cannot be open here: the view is not read\n", s->writers);
        return TRI_OK;
    }
    TRI_TRY(scale_sources(s, dir));
    snprintf(path, sizeof path, "%s/%s", dir, TRI_MANIFEST_VIEW);
    double from = cpu_s();
    TRI_AUTO(tri_h5) *h5 = NULL;
    TRI_AUTO(tri_h5_dataset) *dataset = NULL;
    TRI_TRY(tri_h5_open_own(path, &h5));
    TRI_TRY(tri_h5_dataset_open(h5, s->m->rows[0].name, &dataset));
    EXPECT(tri_h5_dataset_count(dataset) == 8 * 2048, "%lld elements",
           (long long)tri_h5_dataset_count(dataset));
    TRI_TRY(tri_h5_dataset_read(dataset, 0, 8 * 2048, TRI_F32, values));
    s->open_s = cpu_s() - from;
    int64_t wrong = 0;
    for (int64_t i = 0; i < 8; i++)
        for (int64_t k = 0; k < 2048; k++)
            wrong += values[i * 2048 + k] != value_at(i, k);
    EXPECT(wrong == 0, "%lld elements of the view are wrong", (long long)wrong);
    return TRI_OK;
}

static void expect_growth(const scale *small, const scale *large, double small_s, double large_s,
                          const char *what)
{
    double before = small_s / (double)small->n_boxes;
    double now = large_s / (double)large->n_boxes;
    EXPECT(now <= GROWTH * before + 1e-7, "%s: %.2f us for each box, %.2f among fewer", what,
           1e6 * now, 1e6 * before);
}

static tri_status scale_run(scale *s)
{
    char dir[64];
    TRI_TRY(fixture_folder(dir));
    TRI_TRY(scale_table(s));
    TRI_TRY(scale_decide(s));
    TRI_TRY(scale_join(s));
    TRI_TRY(scale_sort(s));
    TRI_TRY(scale_files(s, dir));
    TRI_TRY(scale_look(s, dir));
    fixture_remove(dir, 0);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("%d writers x %d rows: %lld boxes, manifest.h5 %lld bytes (%.0f per box), universal.h5 "
           "%lld (%.0f)\n"
           "  a rank's steps %.3f + %.3f ms, decision %.3f s, index %.3f s, view %.3f s, manifest "
           "written in %.3f s, read in %.3f s, row 0 of the view in %.3f s, sorting %.3f s, peak "
           "memory %ld MiB\n",
           s->writers, s->rows, (long long)s->n_boxes, (long long)s->manifest_bytes,
           (double)s->manifest_bytes / (double)s->n_boxes, (long long)s->view_bytes,
           (double)s->view_bytes / (double)s->n_boxes, 1e3 * s->begin_s / s->writers,
           1e3 * s->plan_s / s->writers, s->decide_s, s->index_s, s->view_s, s->write_s, s->read_s,
           s->open_s, s->sort_s, usage.ru_maxrss / 1024);
    return TRI_OK;
}

TRI_TEST(metadata_grows_with_the_number_of_boxes)
{
    int writers = tri_test_argc > 1 ? (int)strtol(tri_test_argv[1], NULL, 10) : 64;
    int rows = tri_test_argc > 2 ? (int)strtol(tri_test_argv[2], NULL, 10) : 500;
    TRI_AUTO(scale) small = {.writers = writers / 8, .rows = rows};
    TRI_AUTO(scale) large = {.writers = writers, .rows = rows};
    TRI_TRY(scale_run(&small));
    TRI_TRY(scale_run(&large));
    expect_growth(&small, &large, small.decide_s, large.decide_s, "deciding");
    expect_growth(&small, &large, small.index_s, large.index_s, "indexing");
    expect_growth(&small, &large, small.view_s, large.view_s, "writing the view");
    expect_growth(&small, &large, small.write_s, large.write_s, "writing the manifest");
    expect_growth(&small, &large, small.read_s, large.read_s, "reading the manifest");
    EXPECT(large.read_s <= SORTS * large.sort_s, "opening takes %.3f s, sorting %.3f s",
           large.read_s, large.sort_s);
    EXPECT(large.manifest_bytes <= 150 * large.n_boxes && large.view_bytes <= 220 * large.n_boxes,
           "%lld and %lld bytes for %lld boxes", (long long)large.manifest_bytes,
           (long long)large.view_bytes, (long long)large.n_boxes);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(metadata_grows_with_the_number_of_boxes))

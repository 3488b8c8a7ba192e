// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120
/* Save on any layout, load on any other, bit for bit; what is kept; what is refused. Ranks are threads
 * here.
 */
#include "checkpoint/folder.h"
#include "runtime/h5.h"
#include "tests/checkpoint/fixture_io.h"

#include <sys/stat.h>

static const fixture_layout layouts[] = {
    {{1, 1, 1, 1}, HOLD_WHOLE },
    {{1, 2, 1, 1}, HOLD_WHOLE },
    {{1, 2, 1, 1}, HOLD_SHARDS},
    {{1, 4, 1, 1}, HOLD_SHARDS},
    {{1, 4, 1, 1}, HOLD_PAIRS },
    {{1, 1, 1, 3}, HOLD_WHOLE },
    {{1, 2, 1, 2}, HOLD_SHARDS},
    {{2, 2, 1, 1}, HOLD_SHARDS},
    {{2, 1, 2, 2}, HOLD_WHOLE },
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

static int layout_ranks(const fixture_layout *layout)
{
    return layout->size[0] * layout->size[1] * layout->size[2] * layout->size[3];
}

/* What the ranks of one world do. */
typedef struct job {
    const fixture_layout *layout;
    const char *dir;
    int64_t step;
    int64_t scale;
    int keep;
    tri_status (*body)(const struct job *job, const fixture *f, tri_comm *world);
} job;

static tri_status job_rank(tri_comm *world, void *arg)
{
    const job *j = arg;
    TRI_AUTO(fixture) f = {0};
    TRI_TRY(fixture_create(world, j->layout, j->scale ? j->scale : 1, &f));
    return j->body(j, &f, world);
}

static tri_status run(job j)
{
    tri_device_args device = {.name = "cpu", .n_threads = 1, .yield = true};
    return tri_comm_run_threads(layout_ranks(j.layout), &device, job_rank, &j);
}

static tri_status save(const job *j, const fixture *f, tri_comm *world)
{
    return fixture_save(f, world, j->dir, j->step, j->keep);
}

static tri_status restore(const job *j, const fixture *f, tri_comm *world)
{
    int64_t step = 0;
    TRI_TRY(fixture_restore(f, world, j->dir, &step));
    EXPECT(step == j->step, "found step %lld, not %lld", (long long)step, (long long)j->step);
    return TRI_OK;
}

TRI_TEST(any_layout_loads_on_any_other)
{
    for (int from = 0; from < LAYOUTS; from++) {
        char dir[64];
        TRI_TRY(fixture_folder(dir));
        job j = {.layout = &layouts[from], .dir = dir, .step = 10 + from, .body = save};
        TRI_TRY(run(j));
        j.body = restore;
        for (int to = 0; to < LAYOUTS; to++) {
            j.layout = &layouts[to];
            TRI_TRY(run(j));
        }
        tri_ckpt_info info = {0};
        TRI_TRY(tri_ckpt_read_info(dir, &info));
        TRI_TRY(tri_ckpt_verify(info.path));
        EXPECT(info.sequence == 1 && info.step == 10 + from && strlen(info.uuid) == 36 &&
                   info.parent[0] == '\0' && strcmp(info.version, "test 1") == 0 &&
                   strcmp(info.job_yaml, "name: test\n") == 0 &&
                   info.mesh[TRI_AXIS_DATA] == layouts[from].size[TRI_AXIS_DATA],
               "layout %d: step %lld, uuid %s", from, (long long)info.step, info.uuid);
        tri_ckpt_info_fini(&info);
        fixture_remove(dir, 1);
    }
    return TRI_OK;
}

/* Blocks of 4 MiB, and copies cut over ranks, need more bytes. */
TRI_TEST(large_rows_of_many_blocks)
{
    char dir[64];
    TRI_TRY(fixture_folder(dir));
    job j = {.layout = &layouts[1], .dir = dir, .step = 1, .scale = 2500, .body = save};
    TRI_TRY(run(j));
    static const int to[] = {0, 3, 6};
    j.body = restore;
    for (int i = 0; i < 3; i++) {
        j.layout = &layouts[to[i]];
        TRI_TRY(run(j));
    }
    tri_ckpt_info info = {0};
    TRI_TRY(tri_ckpt_read_info(dir, &info));
    struct stat first;
    struct stat second;
    char path[TRI_CKPT_PATH_BYTES + 32];
    snprintf(path, sizeof path, "%s/shard-00000.h5", info.path);
    EXPECT(stat(path, &first) == 0, "%s", path);
    snprintf(path, sizeof path, "%s/shard-00001.h5", info.path);
    EXPECT(stat(path, &second) == 0, "%s", path);
    EXPECT(llabs(first.st_size - second.st_size) < first.st_size / 20,
           "copies are not shared out evenly: %lld and %lld bytes", (long long)first.st_size,
           (long long)second.st_size);
    tri_ckpt_info_fini(&info);
    fixture_remove(dir, 1);
    return TRI_OK;
}

typedef uint64_t *words;

static void words_destroy(words *array)
{
    TRI_FREE(*array);
}

/* Compare a whole row, read through HDF5, with its values. */
static tri_status view_row(tri_h5 *h5, const fixture_row *r, int64_t step)
{
    TRI_AUTO(tri_h5_dataset) *dataset = NULL;
    TRI_TRY(tri_h5_dataset_open(h5, r->name, &dataset));
    int64_t n = tri_h5_dataset_count(dataset);
    int64_t shape[TRI_MAX_DIMS] = {0};
    EXPECT(tri_h5_dataset_shape(dataset, shape) == r->n_dims && shape[0] == r->shape[0], "%s",
           r->name);
    TRI_AUTO(words) whole = NULL;
    TRI_TRY(TRI_NEW_ARRAY(n, &whole));
    TRI_TRY(tri_h5_dataset_read(dataset, 0, n, r->dtype, whole));
    size_t bytes = tri_dtype_bytes(r->dtype);
    int64_t wrong = 0;
    for (int64_t i = 0; i < n; i++) {
        uint64_t bits = fixture_bits(r->dtype, fixture_value(r->name, i, step));
        wrong += memcmp((char *)whole + (size_t)i * bytes, &bits, bytes) != 0;
    }
    EXPECT(wrong == 0, "%s: %lld of %lld elements are wrong", r->name, (long long)wrong,
           (long long)n);
    return TRI_OK;
}

TRI_TEST(universal_view_shows_whole_tensors)
{
    static const int from[] = {0, 3, 6, 7};
    for (int i = 0; i < 4; i++) {
        char dir[64];
        char path[TRI_CKPT_PATH_BYTES + 32];
        TRI_TRY(fixture_folder(dir));
        TRI_TRY(run((job){.layout = &layouts[from[i]], .dir = dir, .step = 3, .body = save}));
        tri_ckpt_info info = {0};
        TRI_TRY(tri_ckpt_read_info(dir, &info));
        snprintf(path, sizeof path, "%s/universal.h5", info.path);
        tri_ckpt_info_fini(&info);
        TRI_AUTO(tri_h5) *h5 = NULL;
        TRI_TRY(tri_h5_open_own(path, &h5));
        for (int r = 0; r < FIXTURE_ROWS; r++)
            TRI_TRY(view_row(h5, &fixture_rows[r], 3));
        tri_h5_destroy(&h5);
        char external[16];
        TRI_TRY(tri_h5_open(path, &h5));
        TRI_TRY(tri_h5_get_text(h5, "param/embed", "external", sizeof external, external));
        EXPECT(strcmp(external, "hf.0") == 0, "external name %s", external);
        tri_h5_destroy(&h5);
        fixture_remove(dir, 1);
    }
    return TRI_OK;
}

TRI_TEST(newest_is_the_highest_sequence_and_old_ones_go)
{
    char dir[64];
    TRI_TRY(fixture_folder(dir));
    const fixture_layout *two = &layouts[2];
    TRI_TRY(run((job){.layout = two, .dir = dir, .step = -1, .body = restore}));
    static const int64_t steps[] = {100, 200, 50, 60};
    for (int i = 0; i < 4; i++) {
        TRI_TRY(run((job){.layout = two, .dir = dir, .step = steps[i], .keep = 2, .body = save}));
        TRI_TRY(run((job){.layout = two, .dir = dir, .step = steps[i], .body = restore}));
        TRI_AUTO(tri_folder) folder = {0};
        TRI_TRY(tri_folder_list(dir, &folder));
        EXPECT(folder.n == (i < 1 ? 1 : 2), "%lld checkpoints", (long long)folder.n);
        EXPECT(folder.entries[0].header.sequence == i + 1, "sequence %lld",
               (long long)folder.entries[0].header.sequence);
    }
    tri_ckpt_info newest = {0};
    TRI_TRY(tri_ckpt_read_info(dir, &newest));
    EXPECT(newest.step == 60 && newest.parent[0], "parent %s", newest.parent);
    tri_ckpt_info_fini(&newest);
    fixture_remove(dir, 1);
    return TRI_OK;
}

TRI_TEST(leftovers_go_and_foreign_things_stay)
{
    char dir[64];
    char path[256];
    TRI_TRY(fixture_folder(dir));
    static const char *const folders[] = {"step-000007.01234567-89ab-cdef-0123-456789abcdef",
                                          "step-x.mine", "notes",
                                          "step-000008.01234567-89ab-cdef-0123-456789abcdef"};
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, folders[i]);
        EXPECT(mkdir(path, 0777) == 0, "%s", path);
        snprintf(path, sizeof path, "%s/%s/%s", dir, folders[i],
                 i == 3 ? "thesis.txt" : "shard-00000.h5.tmp");
        FILE *file = fopen(path, "w");
        EXPECT(file && fclose(file) == 0, "%s", path);
    }
    TRI_TRY(run((job){.layout = &layouts[1], .dir = dir, .step = 9, .body = save}));
    static const bool stays[] = {false, true, true, true};
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, folders[i]);
        EXPECT((access(path, F_OK) == 0) == stays[i], "%s", path);
    }
    snprintf(path, sizeof path, "%s/%s/thesis.txt", dir, folders[3]);
    EXPECT(access(path, F_OK) == 0, "%s was removed", path);
    fixture_remove(dir, 1);
    return TRI_OK;
}

static tri_status load_as(const fixture *f, tri_comm *world, const char *dir, unsigned roles)
{
    bool found = false;
    tri_ckpt_info info = {0};
    TRI_TRY(tri_ckpt_find_newest(dir, world, &found, &info));
    tri_ckpt_load_args args = {
        .path = info.path, .state = f->state, .world = world, .roles = roles};
    tri_status rc = tri_ckpt_load(&args);
    tri_ckpt_info_fini(&info);
    return rc;
}

/* All ranks are refused for the same reason: the first keeps it, the others hear of it. */
static tri_status refused_with(tri_comm *world)
{
    return tri_comm_rank(world) == 0 ? TRI_EINVAL : TRI_EPEER;
}

static tri_status other_models(const job *j, const fixture *f, tri_comm *world)
{
    (void)f;
    TRI_AUTO(fixture) other = {0};
    TRI_TRY(fixture_create(world, j->layout, 2, &other));
    EXPECT_STATUS(load_as(&other, world, j->dir, 0), refused_with(world),
                  "row 'param/layers.0.cube' is fp32 [8, 13, 5], this job needs fp32 [16, 13, 5]");
    fixture_destroy(&other);
    TRI_TRY(fixture_create(world, j->layout, 1, &other));
    tri_row extra = {.name = "param/extra", .dtype = TRI_F32, .n_dims = 1, .shape = {3}};
    TRI_TRY(tri_state_add(other.state, &extra, NULL));
    EXPECT_STATUS(load_as(&other, world, j->dir, 0), refused_with(world),
                  "it has no row 'param/extra'");
    return TRI_OK;
}

static tri_status parameters_alone(const job *j, const fixture *f, tri_comm *world)
{
    (void)f;
    tri_mesh_args mesh_args = {
        .world = world, .size = {1, 2, 1, 1}
    };
    TRI_AUTO(fixture) few = {.scale = 1};
    TRI_TRY(tri_mesh_create(&mesh_args, &few.mesh));
    TRI_TRY(tri_state_create(few.mesh, &few.state));
    for (int i = 0; i < FIXTURE_ROWS; i++)
        if (fixture_rows[i].role == TRI_ROLE_PARAM) TRI_TRY(fixture_add(&few, j->layout, i));
    EXPECT_STATUS(load_as(&few, world, j->dir, 0), refused_with(world),
                  "it has row 'data/cursor' as int64 [2], which this job has not");
    fixture_spoil(&few);
    TRI_TRY(load_as(&few, world, j->dir, 1u << TRI_ROLE_PARAM));
    return fixture_expect(&few, j->step);
}

TRI_TEST(rows_must_be_those_of_the_checkpoint)
{
    char dir[64];
    TRI_TRY(fixture_folder(dir));
    TRI_TRY(run((job){.layout = &layouts[3], .dir = dir, .step = 4, .body = save}));
    TRI_TRY(run((job){.layout = &layouts[1], .dir = dir, .step = 4, .body = other_models}));
    TRI_TRY(run((job){.layout = &layouts[1], .dir = dir, .step = 4, .body = parameters_alone}));
    fixture_remove(dir, 1);
    return TRI_OK;
}

/* Rank 1 holds one element too few of a sharded row. */
static tri_status save_gap(const job *j, const fixture *f, tri_comm *world)
{
    TRI_TRY(fixture_fill(f, j->step));
    int row = tri_state_find(f->state, "param/embed");
    const tri_row *r = tri_state_row(f->state, row);
    bool root = tri_comm_rank(world) == 0;
    if (!root) tri_state_hold(f->state, row, r->begin, r->count - 1, r->data);
    tri_ckpt_save_args args = fixture_save_args(f, world, j->dir, 5, 1);
    EXPECT_STATUS(tri_ckpt_save(&args), root ? TRI_EBUG : TRI_EPEER,
                  "591 of the 592 elements of row 'param/embed' are held");
    return TRI_OK;
}

TRI_TEST(rows_that_do_not_cover_their_tensor_are_not_saved)
{
    char dir[64];
    TRI_TRY(fixture_folder(dir));
    TRI_TRY(run((job){.layout = &layouts[2], .dir = dir, .step = 4, .body = save}));
    TRI_TRY(run((job){.layout = &layouts[2], .dir = dir, .step = 5, .body = save_gap}));
    TRI_TRY(run((job){.layout = &layouts[2], .dir = dir, .step = 4, .body = restore}));
    TRI_AUTO(tri_folder) folder = {0};
    TRI_TRY(tri_folder_list(dir, &folder));
    EXPECT(folder.n == 1, "the failed save left something: %lld folders", (long long)folder.n);
    fixture_remove(dir, 1);
    return TRI_OK;
}

TRI_TEST(nothing_there_is_said_so)
{
    char dir[64];
    tri_ckpt_info info = {0};
    TRI_TRY(fixture_folder(dir));
    EXPECT_STATUS(tri_ckpt_read_info(dir, &info), TRI_EIO, "there is no checkpoint at");
    fixture_remove(dir, 0);
    EXPECT_STATUS(tri_ckpt_read_info(dir, &info), TRI_EIO, "No such file");
    EXPECT_STATUS(tri_ckpt_verify(dir), TRI_EIO, "manifest.h5");
    TRI_TRY(run((job){.layout = &layouts[1], .dir = dir, .step = -1, .body = restore}));
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(any_layout_loads_on_any_other), TRI_TEST_ROW(large_rows_of_many_blocks),
              TRI_TEST_ROW(universal_view_shows_whole_tensors),
              TRI_TEST_ROW(newest_is_the_highest_sequence_and_old_ones_go),
              TRI_TEST_ROW(leftovers_go_and_foreign_things_stay),
              TRI_TEST_ROW(rows_must_be_those_of_the_checkpoint),
              TRI_TEST_ROW(rows_that_do_not_cover_their_tensor_are_not_saved),
              TRI_TEST_ROW(nothing_there_is_said_so))

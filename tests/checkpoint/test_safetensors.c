// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120
/* Checkpoints to safetensors and back: slices, transposes, parts on several ranks, types, what is
 * refused. tests/equiv/hugging_face.py has the whole models and an independent reader. */
#include "checkpoint/safetensors.h"

#include "checkpoint/external.h"
#include "checkpoint/folder.h"
#include "checkpoint/safetensors_files.h"
#include "tests/checkpoint/fixture_run.h"
#include "tests/checkpoint/safetensors.h"

#include <fcntl.h>
#include <sys/stat.h>

typedef struct st_row {
    const char *name, *external;
    int n_dims;
    int64_t shape[TRI_MAX_DIMS];
    int tensor_dim; /* -1: replicated over the tensor axis */
} st_row;

static const st_row small_rows[] = {
    {"param/embed",     "t.wte.weight",             2, {10, 6},   0 },
    {"param/k.weight",  "t.qkv.weight[:, 8:12]^T",  2, {4, 6},    0 },
    {"param/norm",      "t.norm",                   1, {6},       -1},
    {"param/q.weight",  "t.qkv.weight[:, 0:8]^T",   2, {8, 6},    0 },
    {"param/v.weight",  "t.qkv.weight[:, 12:16]^T", 2, {4, 6},    0 },
    {"param/out",       "t.out.weight^T",           2, {6, 8},    1 },
    {"param/q.bias",    "t.qkv.bias[0:8]",          1, {8},       0 },
    {"param/k.bias",    "t.qkv.bias[8:12]",         1, {4},       0 },
    {"param/v.bias",    "t.qkv.bias[12:16]",        1, {4},       0 },
    {"param/experts",   "t.experts[2:4, :, :]",     3, {2, 3, 5}, 2 },
    {"param/experts.0", "t.experts[0:2, :, :]",     3, {2, 3, 5}, 1 },
};
enum { SMALL_ROWS = sizeof small_rows / sizeof *small_rows };

/* Larger than a tile, lines longer than a checksum block, and slices of both. */
static const st_row large_rows[] = {
    {"param/a", "big.weight[:, 0:2100]^T",    2, {2100, 2080},   -1},
    {"param/b", "big.weight[:, 2100:2200]^T", 2, {100, 2080},    -1},
    {"param/c", "long.weight",                2, {2, 1100000},   -1},
    {"param/d", "turned.weight^T",            2, {2, 1100000},   -1},
    {"param/e", "three",                      3, {3, 70, 30000}, -1},
};
enum { LARGE_ROWS = sizeof large_rows / sizeof *large_rows };

/* A job of this test: layout, rows, and what its ranks do. */
typedef struct st_job {
    int data, tensor;
    const st_row *rows;
    int n_rows;
    const char *dir;
    float *poke; /* not NULL: element 0 of row 0 is this */
} st_job;

static tri_status st_create(tri_comm *world, const st_job *job, fixture *f)
{
    tri_mesh_args args = {.world = world};
    for (int a = 0; a < TRI_AXES; a++)
        args.size[a] = 1;
    args.size[TRI_AXIS_DATA] = job->data;
    args.size[TRI_AXIS_TENSOR] = job->tensor;
    TRI_TRY(tri_mesh_create(&args, &f->mesh));
    TRI_TRY(tri_state_create(f->mesh, &f->state));
    for (int i = 0; i < job->n_rows; i++) {
        const st_row *r = &job->rows[i];
        tri_row row = {.role = TRI_ROLE_PARAM, .dtype = TRI_F32, .n_dims = r->n_dims};
        snprintf(row.name, sizeof row.name, "%s", r->name);
        snprintf(row.external, sizeof row.external, "%s", r->external);
        memcpy(row.shape, r->shape, sizeof row.shape);
        if (r->tensor_dim >= 0) {
            row.place.axis[TRI_AXIS_TENSOR].kind = TRI_SPLIT;
            row.place.axis[TRI_AXIS_TENSOR].arg = r->tensor_dim;
        }
        int index = -1;
        float *data = NULL;
        TRI_TRY(tri_state_add(f->state, &row, &index));
        int64_t all = tri_state_row(f->state, index)->count;
        int64_t block = (all + job->data - 1) / job->data;
        int64_t begin = tri_min64(tri_mesh_coord(f->mesh, TRI_AXIS_DATA) * block, all);
        int64_t count = tri_min64(block, all - begin);
        TRI_TRY(TRI_NEW_ARRAY(count, &data));
        tri_state_hold(f->state, index, begin, count, data);
    }
    return TRI_OK;
}

static tri_status st_save_rank(tri_comm *world, void *arg)
{
    const st_job *job = arg;
    TRI_AUTO(fixture) f = {0};
    TRI_TRY(st_create(world, job, &f));
    TRI_TRY(fixture_fill(&f, 0));
    if (job->poke) memcpy(tri_state_row(f.state, 0)->data, job->poke, sizeof *job->poke);
    tri_ckpt_save_args args = fixture_save_args(&f, world, job->dir, 0, 0);
    return tri_ckpt_save(&args);
}

static tri_status st_run(int ranks, tri_status (*body)(tri_comm *, void *), void *arg)
{
    tri_device_args device = {.name = "cpu", .n_threads = 1, .yield = true};
    return tri_comm_run_threads(ranks, &device, body, arg);
}

/* Save, and say where it is. */
static tri_status st_save(st_job job, char path[TRI_CKPT_PATH_BYTES])
{
    tri_ckpt_info info = {.step = 0};
    TRI_TRY(st_run(job.data * job.tensor, st_save_rank, &job));
    TRI_TRY(tri_ckpt_read_info(job.dir, &info));
    snprintf(path, TRI_CKPT_PATH_BYTES, "%s", info.path);
    tri_ckpt_info_fini(&info);
    return TRI_OK;
}

/* What an import is of, on one rank. */
typedef struct st_import {
    st_job job;
    const char *source, *dir;
    tri_safetensors_import_args more; /* prefix, buffers, ignored, copy */
    tri_dtype via;                    /* values were rounded to it */
} st_import;

static tri_status st_import_only(tri_comm *world, void *arg)
{
    const st_import *import = arg;
    TRI_AUTO(fixture) f = {0};
    TRI_TRY(st_create(world, &import->job, &f));
    tri_safetensors_import_args args = import->more;
    tri_ckpt_info info = {.step = 0};
    tri_safetensors_totals totals;
    args.source = import->source;
    args.dir = import->dir;
    args.state = f.state;
    args.job_yaml = "name: test\n";
    args.version = "test 1";
    if (!args.prefix) args.prefix = "t.";
    TRI_TRY(tri_safetensors_import(&args, &info, &totals));
    EXPECT(info.step == 0 && info.sequence == 1 && strcmp(info.job_yaml, "name: test\n") == 0,
           "step %lld, sequence %lld", (long long)info.step, (long long)info.sequence);
    tri_ckpt_info_fini(&info);
    return TRI_OK;
}

/* Import, load and compare. */
static tri_status st_import_rank(tri_comm *world, void *arg)
{
    const st_import *import = arg;
    TRI_TRY(st_import_only(world, arg));
    TRI_AUTO(fixture) f = {0};
    TRI_AUTO(fixture) want = {0};
    TRI_TRY(st_create(world, &import->job, &f));
    TRI_TRY(st_create(world, &import->job, &want));
    TRI_TRY(fixture_fill(&want, 0));
    tri_ckpt_info info = {.step = 0};
    TRI_TRY(tri_ckpt_read_info(import->dir, &info));
    fixture_spoil(&f);
    tri_ckpt_load_args args = {.path = info.path, .state = f.state, .world = world};
    tri_status rc = tri_ckpt_load(&args);
    tri_ckpt_info_fini(&info);
    TRI_TRY(rc);
    for (int i = 0; i < tri_state_rows(f.state); i++) {
        const float *a = tri_state_row(f.state, i)->data;
        const float *b = tri_state_row(want.state, i)->data;
        int64_t wrong = 0;
        for (int64_t e = 0; e < tri_state_row(f.state, i)->count; e++) {
            float x = b[e];
            uint16_t half = 0;
            if (import->via != TRI_F32) tri_dtype_cast(TRI_F32, &x, import->via, &half, 1);
            if (import->via != TRI_F32) tri_dtype_cast(import->via, &half, TRI_F32, &x, 1);
            wrong += memcmp(&a[e], &x, sizeof x) != 0;
        }
        EXPECT(wrong == 0, "%s: %lld elements are wrong", tri_state_row(f.state, i)->name,
               (long long)wrong);
    }
    return TRI_OK;
}

/* Save on the job's ranks, export, import on one rank: bit for bit what was there. */
static tri_status st_there_and_back(st_job job, int64_t shard_bytes, tri_dtype dtype,
                                    int64_t n_files)
{
    st_place place;
    char path[TRI_CKPT_PATH_BYTES];
    TRI_TRY(st_begin(&place));
    job.dir = place.ckpt;
    TRI_TRY(st_save(job, path));
    tri_safetensors_export_args args = {.path = path,
                                        .dir = place.out,
                                        .dtype = dtype,
                                        .shard_bytes = shard_bytes,
                                        .config = "{}\n"};
    tri_safetensors_totals totals;
    TRI_TRY(tri_safetensors_export(&args, &totals));
    EXPECT(totals.n_files == n_files, "%lld files", (long long)totals.n_files);
    EXPECT(access(place.temporary, F_OK) != 0, "%s is left", place.temporary);
    st_import import = {
        .job = {1, 1, job.rows, job.n_rows, NULL, NULL},
        .source = place.out,
        .dir = place.back,
        .via = dtype
    };
    TRI_TRY(st_run(1, st_import_rank, &import));
    EXPECT_STATUS(tri_safetensors_export(&args, &totals), TRI_EINVAL, "is not empty");
    EXPECT_STATUS(st_run(1, st_import_rank, &import), TRI_EINVAL, "has checkpoints already");
    st_end(&place);
    return TRI_OK;
}

TRI_TEST(there_and_back_is_the_same)
{
    static const int layouts[][2] = {
        {1, 1},
        {2, 1},
        {1, 2},
        {2, 2}
    };
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        st_job job = {layouts[i][0], layouts[i][1], small_rows, SMALL_ROWS, NULL, NULL};
        TRI_TRY(st_there_and_back(job, 0, TRI_F32, 1));
        TRI_TRY(st_there_and_back(job, 1, TRI_F32, 6));
        TRI_TRY(st_there_and_back(job, 500, TRI_BF16, 2));
        TRI_TRY(st_there_and_back(job, 1000, TRI_F16, 1));
    }
    return TRI_OK;
}

TRI_TEST(tensors_beyond_a_tile_are_the_same)
{
    return st_there_and_back((st_job){2, 1, large_rows, LARGE_ROWS, NULL, NULL}, 30000000, TRI_F32,
                             3);
}

/* An element of a tensor in a file. */
static tri_status st_element(tri_safetensors_files *files, const char *name, int64_t index,
                             float *out)
{
    const tri_safetensors_tensor *tensor = tri_safetensors_files_find(files, name);
    TRI_CHECK(tensor, TRI_EBUG, "no tensor %s", name);
    return tri_safetensors_files_read(files, tensor, 4 * index, 4, out);
}

static float st_value(const char *row, int64_t index)
{
    uint64_t bits = fixture_bits(TRI_F32, fixture_value(row, index, 0));
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

TRI_TEST(elements_are_where_the_names_say)
{
    st_place place;
    char path[TRI_CKPT_PATH_BYTES];
    TRI_TRY(st_begin(&place));
    TRI_TRY(st_save((st_job){1, 2, small_rows, SMALL_ROWS, place.ckpt, NULL}, path));
    tri_safetensors_export_args args = {.path = path, .dir = place.out, .config = "{}\n"};
    tri_safetensors_totals totals;
    TRI_TRY(tri_safetensors_export(&args, &totals));
    TRI_AUTO(tri_safetensors_files) *files = NULL;
    TRI_TRY(tri_safetensors_files_open(place.out, &files));
    EXPECT(files->n_tensors == 6 && files->n_files == 1, "%lld tensors",
           (long long)files->n_tensors);
    for (int64_t i = 0; i < 6; i++) {
        for (int64_t o = 0; o < 16; o++) {
            const char *row = o < 8    ? "param/q.weight"
                              : o < 12 ? "param/k.weight"
                                       : "param/v.weight";
            int64_t mine = o < 8 ? o : (o - 8) % 4;
            float x = 0;
            TRI_TRY(st_element(files, "t.qkv.weight", i * 16 + o, &x));
            EXPECT(x == st_value(row, mine * 6 + i), "[%lld, %lld] of %s is %g", (long long)i,
                   (long long)o, row, (double)x);
        }
    }
    float x = 0;
    TRI_TRY(st_element(files, "t.experts", 30 + 7, &x));
    EXPECT(x == st_value("param/experts", 7), "experts: %g", (double)x);
    st_end(&place);
    return TRI_OK;
}

TRI_TEST(a_value_beyond_the_range_is_named)
{
    st_place place;
    char path[TRI_CKPT_PATH_BYTES];
    float large = 65520.0f;
    TRI_TRY(st_begin(&place));
    TRI_TRY(st_save((st_job){1, 1, small_rows, SMALL_ROWS, place.ckpt, &large}, path));
    tri_safetensors_export_args args = {
        .path = path, .dir = place.out, .dtype = TRI_F16, .config = "{}\n"};
    tri_safetensors_totals totals;
    EXPECT_STATUS(tri_safetensors_export(&args, &totals), TRI_EINVAL,
                  "'t.wte.weight' has the value 65520");
    EXPECT(access(place.out, F_OK) != 0 && access(place.temporary, F_OK) != 0, "something is left");
    args.dtype = TRI_I32;
    EXPECT_STATUS(tri_safetensors_export(&args, &totals), TRI_EINVAL, "not as int32");
    st_end(&place);
    return TRI_OK;
}

TRI_TEST(a_damaged_checkpoint_is_not_exported)
{
    st_place place;
    char path[TRI_CKPT_PATH_BYTES];
    char shard[TRI_CKPT_PATH_BYTES + TRI_MANIFEST_TEXT_BYTES + 1];
    char byte = 0;
    TRI_TRY(st_begin(&place));
    TRI_TRY(st_save((st_job){1, 1, small_rows, SMALL_ROWS, place.ckpt, NULL}, path));
    TRI_AUTO(tri_manifest) *m = NULL;
    TRI_TRY(tri_manifest_read(path, &m));
    const tri_manifest_row *row = &m->rows[tri_manifest_find(m, "param/out")];
    snprintf(shard, sizeof shard, "%s/%s", path, m->files[m->boxes[row->first_box].file].name);
    int fd = open(shard, O_RDWR);
    EXPECT(fd >= 0, "no %s", shard);
    EXPECT(pread(fd, &byte, 1, m->boxes[row->first_box].offset + 5) == 1, "reading");
    byte ^= 16;
    EXPECT(pwrite(fd, &byte, 1, m->boxes[row->first_box].offset + 5) == 1, "writing");
    close(fd);
    tri_safetensors_export_args args = {.path = path, .dir = place.out, .config = "{}\n"};
    tri_safetensors_totals totals;
    EXPECT_STATUS(tri_safetensors_export(&args, &totals), TRI_EFORMAT, "param/out");
    EXPECT(access(place.out, F_OK) != 0 && access(place.temporary, F_OK) != 0, "something is left");
    st_end(&place);
    return TRI_OK;
}

TRI_TEST(external_names_fit_their_rows)
{
    static const struct {
        const char *external;
        bool fits;
    } cases[] = {
        {"w",                            true },
        {"w^T",                          true },
        {"w[:, 3:9]^T",                  true },
        {"w[:, 6:9]",                    true },
        {"w[0:6, :]",                    true },
        {"w[:, 3:8]^T",                  false},
        {"w[:, 3:9]",                    false},
        {"w[3:9]^T",                     false},
        {"w[:, :, :]",                   false},
        {"w[:,3:9]^T",                   false},
        {"w[:, 9:3]^T",                  false},
        {"w[:, -3:3]^T",                 false},
        {"w[:, 3:9]^Tx",                 false},
        {"w[",                           false},
        {"[:, :]",                       false},
        {"^T",                           false},
        {"w[:, 99999999999999999999:3]", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tri_manifest_row row = {
            .n_dims = 2, .shape = {6, 3},
                 .name = "row"
        };
        char name[TRI_NAME_BYTES];
        tri_external_part part;
        snprintf(row.external, sizeof row.external, "%s", cases[i].external);
        tri_status rc = tri_external_parse(&row, name, &part);
        EXPECT((rc == TRI_OK) == cases[i].fits, "'%s'", cases[i].external);
        EXPECT(rc != TRI_OK || strcmp(name, "w") == 0, "'%s' is of '%s'", cases[i].external, name);
        tri_err_clear();
    }
    tri_manifest_row rows[2] = {
        {.n_dims = 1, .shape = {4}, .name = "a", .external = "w[0:4]"},
        {.n_dims = 1, .shape = {4}, .name = "b", .external = "w[3:7]"},
    };
    tri_external_map *map = NULL;
    EXPECT_STATUS(tri_external_map_create(rows, 2, "here", &map), TRI_EFORMAT, "same elements");
    snprintf(rows[1].external, sizeof rows[1].external, "w[5:9]");
    EXPECT_STATUS(tri_external_map_create(rows, 2, "here", &map), TRI_EFORMAT, "8 of its 9");
    rows[1].external[0] = '\0';
    EXPECT_STATUS(tri_external_map_create(rows, 2, "here", &map), TRI_EFORMAT, "'b' has no name");
    return TRI_OK;
}

/* A folder of one file with these tensors, imported as two rows. */
static tri_status st_import_text(const st_place *place, const char *header, int64_t bytes,
                                 tri_safetensors_import_args more)
{
    static const st_row rows[] = {
        {"param/a", "t.a",   1, {2},    -1},
        {"param/b", "t.b^T", 2, {2, 3}, -1},
    };
    char file[128];
    snprintf(file, sizeof file, "%s/model.safetensors", place->out);
    TRI_TRY(tri_disk_make_folder(place->out));
    TRI_TRY(st_write(file, header, bytes));
    st_import import = {
        .job = {1, 1, rows, 2, NULL, NULL},
          .source = place->out, .dir = place->back, .more = more
    };
    return st_run(1, st_import_only, &import);
}

#define A      ENTRY("t.a", "F32", "[2]", "[0,8]")
#define B      ENTRY("t.b", "F16", "[3,2]", "[8,20]")
#define BARE_A ENTRY("a", "BF16", "[2]", "[0,4]")
#define BARE_B ENTRY("b", "F32", "[3,2]", "[4,28]")

TRI_TEST(tensors_must_be_those_of_the_model)
{
    static const char *const buffers[] = {".mask", NULL};
    static const char *const ignored[] = {"x", NULL};
    tri_safetensors_import_args none = {.prefix = NULL};
    tri_safetensors_import_args some = {
        .buffers = buffers, .ignored = ignored, .copy = "t.c", .copy_of = "t.a"};
    st_place place;
    TRI_TRY(st_begin(&place));
#define IMPORT(header, bytes, more) st_import_text(&place, "{" header "}", bytes, more)
    EXPECT_STATUS(IMPORT(A, 8, none), TRI_EINVAL, "lacks 1 of the model's 2 tensors: t.b");
    EXPECT_STATUS(IMPORT(ENTRY("t.c", "F32", "[2]", "[0,8]"), 8, none), TRI_EINVAL,
                  "lacks 2 of the model's 2 tensors: t.a, t.b");
    EXPECT_STATUS(IMPORT(A "," ENTRY("t.b", "F32", "[2,3]", "[8,32]"), 32, none), TRI_EINVAL,
                  "'t.b' has the shape [2, 3], config.json asks for [3, 2]");
    EXPECT_STATUS(IMPORT(A "," ENTRY("t.b", "F64", "[3,2]", "[8,56]"), 56, none), TRI_EUNSUP,
                  "'t.b' is of type F64");
    EXPECT_STATUS(IMPORT(A "," B "," ENTRY("x", "U8", "[1]", "[20,21]"), 21, none), TRI_EINVAL,
                  "1 tensor(s) that the model of config.json has not: x");
    EXPECT_STATUS(IMPORT(A "," B "," ENTRY("t.c", "F32", "[2]", "[20,28]"), 28, none), TRI_EINVAL,
                  "has not: t.c");
    EXPECT_STATUS(IMPORT(A "," B "," ENTRY("t.c", "F32", "[1]", "[20,24]"), 24, some), TRI_EINVAL,
                  "but they differ");
    EXPECT_STATUS(IMPORT(A "," B "," ENTRY("a", "F32", "[2]", "[20,28]"), 28, none), TRI_EINVAL,
                  "has not: a");
    EXPECT(access(place.back, F_OK) != 0, "a refused import made %s", place.back);
    TRI_TRY(IMPORT(A "," B "," ENTRY("t.c", "F32", "[2]", "[20,28]") "," ENTRY(
                       "x", "U8", "[1]", "[28,29]") "," ENTRY("h.mask", "BOOL", "[]", "[29,30]"),
                   30, some));
    fixture_remove(place.back, 2);
    TRI_TRY(IMPORT(BARE_A "," BARE_B, 28, none));
#undef IMPORT
    st_end(&place);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(there_and_back_is_the_same),
              TRI_TEST_ROW(tensors_beyond_a_tile_are_the_same),
              TRI_TEST_ROW(elements_are_where_the_names_say),
              TRI_TEST_ROW(a_value_beyond_the_range_is_named),
              TRI_TEST_ROW(a_damaged_checkpoint_is_not_exported),
              TRI_TEST_ROW(external_names_fit_their_rows),
              TRI_TEST_ROW(tensors_must_be_those_of_the_model))

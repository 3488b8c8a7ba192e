// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120
/* Comparison of checkpoints: the same whatever the cuts and the number of ranks; counts, maxima and the
 * first index against brute force.
 */
#include "checkpoint/diff.h"

#include "checkpoint/values.h"
#include "tests/checkpoint/fixture_run.h"

static const fixture_layout layouts[] = {
    {{1, 1, 1, 1}, HOLD_WHOLE },
    {{1, 4, 1, 1}, HOLD_SHARDS},
    {{2, 1, 1, 3}, HOLD_WHOLE },
    {{1, 2, 1, 2}, HOLD_SHARDS},
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts, DIFF_RANKS = 3 };

/* A comparison by threads as ranks; every rank must come to the same. */
typedef struct compared {
    char a[TRI_CKPT_PATH_BYTES];
    char b[TRI_CKPT_PATH_BYTES];
    double tolerance;
    tri_status (*expect)(const tri_diff *diff, const struct compared *job);
    const void *arg;
} compared;

static tri_status compared_rank(tri_comm *world, void *arg)
{
    const compared *job = arg;
    TRI_AUTO(tri_diff) *diff = NULL;
    TRI_TRY(tri_diff_create(job->a, job->b, job->tolerance, world, &diff));
    return job->expect(diff, job);
}

static tri_status compare(const char *dir_a, const char *dir_b, int ranks, compared job)
{
    tri_ckpt_info info = {0};
    tri_device_args device = {.name = "cpu", .n_threads = 1, .yield = true};
    TRI_TRY(tri_ckpt_read_info(dir_a, &info));
    snprintf(job.a, sizeof job.a, "%s", info.path);
    tri_ckpt_info_fini(&info);
    TRI_TRY(tri_ckpt_read_info(dir_b, &info));
    snprintf(job.b, sizeof job.b, "%s", info.path);
    tri_ckpt_info_fini(&info);
    return tri_comm_run_threads(ranks, &device, compared_rank, &job);
}

static tri_status expect_equal(const tri_diff *diff, const compared *job)
{
    EXPECT(tri_diff_is_equal(diff) && diff->count[TRI_DIFF_EQUAL] == FIXTURE_ROWS,
           "%s and %s: %lld rows of %lld are equal", job->a, job->b,
           (long long)diff->count[TRI_DIFF_EQUAL], (long long)diff->n_rows);
    return TRI_OK;
}

TRI_TEST(cuts_do_not_matter)
{
    char dirs[LAYOUTS][64];
    for (int i = 0; i < LAYOUTS; i++) {
        TRI_TRY(fixture_folder(dirs[i]));
        fixture_job job = {
            .layout = layouts[i], .dir = dirs[i], .step = 3, .body = fixture_body_save};
        TRI_TRY(fixture_run(job));
    }
    for (int i = 0; i < LAYOUTS; i++)
        for (int k = 0; k < LAYOUTS; k++)
            TRI_TRY(compare(dirs[i], dirs[k], 1 + (i + k) % DIFF_RANKS,
                            (compared){.expect = expect_equal}));
    for (int i = 0; i < LAYOUTS; i++)
        fixture_remove(dirs[i], 1);
    return TRI_OK;
}

/* Every third element of every second fp32 row is changed, by an amount that grows. */
static bool is_changed(int row, int64_t index)
{
    return fixture_rows[row].dtype == TRI_F32 && row % 2 == 0 && index % 3 == 1;
}

static float changed(float value, int64_t index)
{
    return value + (float)(index + 1) * 0.5f;
}

static tri_status save_changed(const fixture_job *job, const fixture *f, tri_comm *world)
{
    TRI_TRY(fixture_fill(f, job->step));
    for (int i = 0; i < tri_state_rows(f->state); i++) {
        const tri_row *row = tri_state_row(f->state, i);
        float *data = row->data;
        for (int64_t e = 0; e < row->count; e++)
            if (is_changed(i, e)) data[e] = changed(data[e], e);
    }
    tri_ckpt_save_args args = fixture_save_args(f, world, job->dir, job->step, job->keep);
    return tri_ckpt_save(&args);
}

/* What the changes of a row come to. */
static tri_diff_row brute_force(int row, double tolerance)
{
    const fixture_row *r = &fixture_rows[row];
    tri_diff_row want = {.elements = 1, .first = -1};
    for (int d = 0; d < r->n_dims; d++)
        want.elements *= r->shape[d];
    for (int64_t i = 0; i < want.elements; i++) {
        if (!is_changed(row, i)) continue;
        uint32_t bits = (uint32_t)fixture_bits(r->dtype, fixture_value(r->name, i, 3));
        float value;
        memcpy(&value, &bits, sizeof value);
        double a = value;
        double b = changed(value, i);
        double by = fabs(a - b);
        if (want.first < 0) want.first = i;
        want.n_differing++;
        want.n_beyond += by > tolerance * fmax(1, fmax(fabs(a), fabs(b)));
        want.max_abs = fmax(want.max_abs, by);
        want.max_rel = fmax(want.max_rel, by / fmax(fabs(a), fabs(b)));
        want.rms += by * by;
    }
    want.rms = sqrt(want.rms / (double)want.elements);
    return want;
}

static tri_status expect_changes(const tri_diff *diff, const compared *job)
{
    EXPECT(diff->n_rows == FIXTURE_ROWS, "%lld rows", (long long)diff->n_rows);
    for (int i = 0; i < FIXTURE_ROWS; i++) {
        tri_diff_row want = brute_force(i, job->tolerance);
        int64_t index = tri_manifest_find(diff->a, fixture_rows[i].name);
        const tri_diff_row *got = &diff->rows[index]; /* both have all rows */
        tri_diff_kind kind = want.n_beyond      ? TRI_DIFF_DIFFERS
                             : want.n_differing ? TRI_DIFF_WITHIN
                                                : TRI_DIFF_EQUAL;
        EXPECT(got->kind == kind && got->a == index && got->b == index &&
                   got->elements == want.elements && got->n_differing == want.n_differing &&
                   got->n_beyond == want.n_beyond && got->first == want.first,
               "%s: kind %d, %lld differ, %lld beyond %g, first %lld", fixture_rows[i].name,
               (int)got->kind, (long long)got->n_differing, (long long)got->n_beyond,
               job->tolerance, (long long)got->first);
        EXPECT(got->max_abs == want.max_abs && got->max_rel == want.max_rel &&
                   fabs(got->rms - want.rms) <= 1e-12 * want.rms,
               "%s: max %g %g rms %g", fixture_rows[i].name, got->max_abs, got->max_rel, got->rms);
    }
    EXPECT(!tri_diff_is_equal(diff) == (job->tolerance < 1e6), "tolerance %g", job->tolerance);
    return TRI_OK;
}

TRI_TEST(differences_are_those_of_brute_force)
{
    static const double tolerances[] = {0, 1e-3, 0.5, 1e6};
    char a[64];
    char b[64];
    TRI_TRY(fixture_folder(a));
    TRI_TRY(fixture_folder(b));
    fixture_job job = {.layout = layouts[1], .dir = a, .step = 3, .body = fixture_body_save};
    TRI_TRY(fixture_run(job));
    job = (fixture_job){.layout = layouts[0], .dir = b, .step = 3, .body = save_changed};
    TRI_TRY(fixture_run(job));
    for (int i = 0; i < 4; i++)
        TRI_TRY(compare(a, b, 1 + i % DIFF_RANKS,
                        (compared){.tolerance = tolerances[i], .expect = expect_changes}));
    fixture_remove(a, 1);
    fixture_remove(b, 1);
    return TRI_OK;
}

/* Rows of one rank, as they are given. */
typedef struct plain_row {
    const char *name;
    tri_dtype dtype;
    int n_dims;
    int64_t shape[TRI_MAX_DIMS];
    void *data;
} plain_row;

typedef struct plain_job {
    const char *dir;
    const plain_row *rows;
    int n;
} plain_job;

static tri_status plain_rank(tri_comm *world, void *arg)
{
    const plain_job *job = arg;
    TRI_AUTO(fixture) f = {0};
    tri_mesh_args mesh = {
        .world = world, .size = {1, 1, 1, 1}
    };
    TRI_TRY(tri_mesh_create(&mesh, &f.mesh));
    TRI_TRY(tri_state_create(f.mesh, &f.state));
    for (int i = 0; i < job->n; i++) {
        tri_row row = {.dtype = job->rows[i].dtype, .n_dims = job->rows[i].n_dims};
        snprintf(row.name, sizeof row.name, "%s", job->rows[i].name);
        memcpy(row.shape, job->rows[i].shape, sizeof row.shape);
        int index = 0;
        char *data = NULL;
        TRI_TRY(tri_state_add(f.state, &row, &index));
        int64_t n = tri_row_elements(&row);
        TRI_TRY(tri_alloc((void **)&data, n, tri_dtype_bytes(row.dtype)));
        memcpy(data, job->rows[i].data, (size_t)n * tri_dtype_bytes(row.dtype));
        tri_state_hold(f.state, index, 0, n, data);
    }
    tri_ckpt_save_args args = fixture_save_args(&f, world, job->dir, 1, 0);
    return tri_ckpt_save(&args);
}

static tri_status save_plain(const char *dir, const plain_row *rows, int n)
{
    tri_device_args device = {.name = "cpu", .n_threads = 1, .yield = true};
    plain_job job = {dir, rows, n};
    return tri_comm_run_threads(1, &device, plain_rank, &job);
}

static const tri_diff_row *find_row(const tri_diff *diff, const char *name)
{
    for (int64_t i = 0; i < diff->n_rows; i++) {
        const tri_diff_row *row = &diff->rows[i];
        const char *mine = row->a >= 0 ? diff->a->rows[row->a].name : diff->b->rows[row->b].name;
        if (strcmp(mine, name) == 0) return row;
    }
    return NULL;
}

static tri_status expect_kinds(const tri_diff *diff, const compared *job)
{
    (void)job;
    static const struct {
        const char *name;
        tri_diff_kind kind;
        int64_t n_differing, first;
        double max_abs;
    } want[] = {
        {"param/converted", TRI_DIFF_DIFFERS, 1, 3,  0x1p-9  },
        {"param/count",     TRI_DIFF_DIFFERS, 1, 1,  8       },
        {"param/mixed",     TRI_DIFF_UNLIKE,  0, -1, 0       },
        {"param/odd",       TRI_DIFF_DIFFERS, 3, 1,  INFINITY},
        {"param/only_a",    TRI_DIFF_ONLY_A,  0, -1, 0       },
        {"param/only_b",    TRI_DIFF_ONLY_B,  0, -1, 0       },
        {"param/shape",     TRI_DIFF_UNLIKE,  0, -1, 0       },
    };
    EXPECT(diff->n_rows == 7 && !tri_diff_is_equal(diff), "%lld rows", (long long)diff->n_rows);
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const tri_diff_row *got = find_row(diff, want[i].name);
        EXPECT(got && got->kind == want[i].kind && got->n_differing == want[i].n_differing &&
                   got->first == want[i].first && got->max_abs == want[i].max_abs,
               "%s: kind %d, %lld differ, first %lld, by %g", want[i].name,
               got ? (int)got->kind : -1, got ? (long long)got->n_differing : 0,
               got ? (long long)got->first : 0, got ? got->max_abs : 0);
    }
    return TRI_OK;
}

/* Types, shapes, numbers that are none, and rows of one side. */
TRI_TEST(kinds_of_difference)
{
    float odd_a[5] = {NAN, 0.0f, INFINITY, 1.0f, -INFINITY};
    float odd_b[5] = {NAN, -0.0f, -INFINITY, NAN, -INFINITY};
    float wide[4] = {1.0f, -2.5f, INFINITY, 1.0f + 0x1p-9f}; /* the last is no bf16 */
    tri_bf16 narrow[4];
    for (int i = 0; i < 4; i++)
        narrow[i] = tri_f32_to_bf16(wide[i]);
    int64_t count_a[2] = {1, 1ll << 40};
    int64_t count_b[2] = {1, (1ll << 40) + 8};
    float shape[4] = {1, 2, 3, 4};
    int32_t whole[4] = {1, 2, 3, 4};
    const plain_row rows_a[] = {
        {"param/odd",       TRI_F32, 1, {5},    odd_a  },
        {"param/converted", TRI_F32, 1, {4},    wide   },
        {"param/count",     TRI_I64, 1, {2},    count_a},
        {"param/shape",     TRI_F32, 2, {2, 2}, shape  },
        {"param/mixed",     TRI_F32, 1, {4},    shape  },
        {"param/only_a",    TRI_F32, 1, {4},    shape  },
    };
    const plain_row rows_b[] = {
        {"param/odd",       TRI_F32,  1, {5},    odd_b  },
        {"param/converted", TRI_BF16, 1, {4},    narrow },
        {"param/count",     TRI_I64,  1, {2},    count_b},
        {"param/shape",     TRI_F32,  2, {4, 1}, shape  },
        {"param/mixed",     TRI_I32,  1, {4},    whole  },
        {"param/only_b",    TRI_F32,  1, {4},    shape  },
    };
    char a[64];
    char b[64];
    TRI_TRY(fixture_folder(a));
    TRI_TRY(fixture_folder(b));
    TRI_TRY(save_plain(a, rows_a, 6));
    TRI_TRY(save_plain(b, rows_b, 6));
    for (int ranks = 1; ranks <= DIFF_RANKS; ranks++)
        TRI_TRY(compare(a, b, ranks, (compared){.expect = expect_kinds}));
    fixture_remove(a, 1);
    fixture_remove(b, 1);
    return TRI_OK;
}

TRI_TEST(values_are_widened_exactly)
{
    static const struct {
        uint16_t bits;
        double value;
    } halves[] = {
        {0x3c00, 1         },
        {0xc000, -2        },
        {0x7bff, 65504     },
        {0x0001, 0x1p-24   },
        {0x03ff, 0x3ffp-24 },
        {0x0400, 0x1p-14   },
        {0x7c00, INFINITY  },
        {0xfc00, -INFINITY },
        {0x3555, 0x1.554p-2}
    };
    for (size_t i = 0; i < sizeof halves / sizeof *halves; i++) {
        double got = 0;
        tri_values_widen(TRI_F16, 1, &halves[i].bits, &got);
        EXPECT(got == halves[i].value, "fp16 %04x is %g", halves[i].bits, got);
    }
    uint16_t none = 0x7e01;
    double got = 0;
    tri_values_widen(TRI_F16, 1, &none, &got);
    EXPECT(isnan(got), "%g", got);
    uint64_t large = UINT64_MAX;
    tri_values_widen(TRI_U64, 1, &large, &got);
    EXPECT(got == 0x1p64, "%g", got);
    int32_t small = -7;
    tri_values_widen(TRI_I32, 1, &small, &got);
    EXPECT(got == -7, "%g", got);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(cuts_do_not_matter), TRI_TEST_ROW(differences_are_those_of_brute_force),
              TRI_TEST_ROW(kinds_of_difference), TRI_TEST_ROW(values_are_widened_exactly))

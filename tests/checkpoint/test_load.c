// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=180
/* Options of a load, on several meshes: other floating types, other vocabularies, other optimizers; what
 * each refuses; and which bytes a rank reads.
 */
#include "checkpoint/manifest.h"
#include "tests/checkpoint/load_run.h"

static const fixture_layout layouts[] = {
    {{1, 1, 1, 1}, HOLD_WHOLE },
    {{1, 3, 1, 1}, HOLD_SHARDS},
    {{1, 1, 1, 3}, HOLD_WHOLE },
    {{2, 2, 1, 1}, HOLD_SHARDS},
    {{1, 2, 1, 2}, HOLD_SHARDS},
    {{1, 4, 1, 1}, HOLD_PAIRS },
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

TRI_TEST(floating_types_are_cast)
{
    static const tri_dtype types[] = {TRI_F64, TRI_F32, TRI_BF16, TRI_F16};
    char dir[64];
    TRI_TRY(fixture_folder(dir));
    TRI_TRY(load_run((load_job){.layout = layouts[3], .dir = dir, .body = load_body_save}));
    for (int to = 0; to < LAYOUTS; to++) {
        load_job job = {.layout = layouts[to], .dir = dir, .casts = true, .body = load_body};
        job.as = types[to % 4];
        job.args.casts = true;
        TRI_TRY(load_run(job));
    }
    load_job job = {.layout = layouts[1], .dir = dir, .casts = true, .as = TRI_F64};
    job.body = load_body;
    job.code = TRI_EINVAL;
    job.part = "of another model: row 'param/embed' is fp32 [37, 16], this job needs fp64 [37, 16]";
    TRI_TRY(load_run(job));
    fixture_remove(dir, 1);
    return TRI_OK;
}

/* Counters and cursors are never cast, and no integer becomes a float. */
static tri_status load_other_integer(const load_job *job, const fixture *f, tri_comm *world)
{
    (void)f;
    TRI_AUTO(fixture) other = {.scale = 1};
    tri_mesh_args mesh = {
        .world = world, .size = {1, 1, 1, 1}
    };
    TRI_TRY(tri_mesh_create(&mesh, &other.mesh));
    TRI_TRY(tri_state_create(other.mesh, &other.state));
    tri_row row = {.name = "data/cursor", .role = TRI_ROLE_DATA, .n_dims = 1, .shape = {2}};
    row.dtype = job->as;
    char *data = NULL;
    TRI_TRY(tri_alloc((void **)&data, 2, sizeof(int64_t)));
    TRI_TRY(tri_state_add(other.state, &row, NULL));
    tri_state_hold(other.state, 0, 0, 2, data);
    return load_body(job, &other, world);
}

TRI_TEST(integers_are_not)
{
    char dir[64];
    TRI_TRY(fixture_folder(dir));
    TRI_TRY(load_run((load_job){.layout = layouts[0], .dir = dir, .body = load_body_save}));
    load_job job = {.layout = layouts[0], .dir = dir, .as = TRI_I32, .body = load_other_integer};
    job.args.casts = true;
    job.args.roles = 1u << TRI_ROLE_DATA;
    job.code = TRI_EINVAL;
    job.part = "row 'data/cursor' is int64 [2], this job needs int32 [2]";
    TRI_TRY(load_run(job));
    job.as = TRI_F64;
    job.part = "row 'data/cursor' is int64 [2], this job needs fp64 [2]";
    TRI_TRY(load_run(job));
    fixture_remove(dir, 1);
    return TRI_OK;
}

/* A vocabulary of `from` ids, of which `real` are not zero, becomes one of `to`. */
static tri_status resize(int64_t from, int64_t real, int64_t to, const char *refusal)
{
    char dir[64];
    TRI_TRY(fixture_folder(dir));
    load_job save = {.layout = layouts[4], .dir = dir, .ids = from, .real_ids = real};
    save.body = load_body_save;
    TRI_TRY(load_run(save));
    load_job job = {.dir = dir, .ids = to, .saved_ids = from, .real_ids = real};
    job.body = load_body;
    for (int i = 0; i < LAYOUTS; i++) {
        job.layout = layouts[i];
        job.args.resize_vocab = true;
        job.code = TRI_OK;
        TRI_TRY(load_run(job));
        job.args.resize_vocab = false;
        job.code = TRI_EINVAL;
        job.part = refusal;
        TRI_TRY(load_run(job));
    }
    fixture_remove(dir, 1);
    return TRI_OK;
}

TRI_TEST(vocabularies_grow_and_shrink)
{
    TRI_TRY(resize(37, 0, 50,
                   "has a vocabulary of 37 ids, this job one of 50 (row 'param/embed'). With "
                   "checkpoint.resize_vocab: true the missing 13 are zeros"));
    TRI_TRY(resize(50, 41, 41, "true the last 9 are left out, which are all zero: mere padding"));
    TRI_TRY(resize(50, 42, 41, "true the last 9 are left out, which are not all zero"));
    TRI_TRY(resize(37, 0, 4, "this job one of 4 "));
    TRI_TRY(resize(5, 0, 300, "this job one of 300 "));
    return TRI_OK;
}

TRI_TEST(only_the_vocabulary_may_differ)
{
    char dir[64];
    TRI_TRY(fixture_folder(dir));
    TRI_TRY(load_run((load_job){.layout = layouts[0], .dir = dir, .body = load_body_save}));
    load_job job = {.layout = layouts[2], .dir = dir, .scale = 2, .body = load_body};
    job.args.resize_vocab = true;
    job.code = TRI_EINVAL;
    job.part = "row 'param/layers.0.cube' is fp32 [8, 13, 5], this job needs fp32 [16, 13, 5]";
    TRI_TRY(load_run(job));
    fixture_remove(dir, 1);
    return TRI_OK;
}

/* The fixture's rows but for those of its optimizer, and a state of another one. */
static tri_status other_optimizer(const load_job *job, const fixture *f, tri_comm *world)
{
    (void)f;
    TRI_AUTO(fixture) other = {.scale = 1};
    tri_mesh_args mesh = {.world = world};
    memcpy(mesh.size, job->layout.size, sizeof mesh.size);
    TRI_TRY(tri_mesh_create(&mesh, &other.mesh));
    TRI_TRY(tri_state_create(other.mesh, &other.state));
    for (int i = 0; i < FIXTURE_ROWS; i++)
        if (fixture_rows[i].role != TRI_ROLE_OPTIM) TRI_TRY(fixture_add(&other, &job->layout, i));
    tri_row row = {.role = TRI_ROLE_OPTIM, .dtype = TRI_F32, .n_dims = 1, .shape = {7}};
    snprintf(row.name, sizeof row.name, "optim/lion/m/layers.1.bias");
    float data[7] = {0};
    int index = 0;
    if (job->ids) {
        TRI_TRY(tri_state_add(other.state, &row, &index));
        tri_state_hold(other.state, index, 0, 7, data);
    }
    tri_status rc = load_body(job, &other, world);
    if (job->ids) tri_state_hold(other.state, index, 0, 0, NULL);
    return rc;
}

TRI_TEST(another_optimizer_is_named)
{
    static const unsigned not_optimizer =
        1u << TRI_ROLE_PARAM | 1u << TRI_ROLE_DATA | 1u << TRI_ROLE_JOB;
    char dir[64];
    TRI_TRY(fixture_folder(dir));
    TRI_TRY(load_run((load_job){.layout = layouts[1], .dir = dir, .body = load_body_save}));
    load_job job = {.layout = layouts[4], .dir = dir, .body = other_optimizer};
    job.code = TRI_EINVAL;
    job.part = "of another optimizer: it has these states: adamw/m; this job keeps: none. "
               "checkpoint.optimizer: fresh begins them anew";
    TRI_TRY(load_run(job));
    job.ids = 1; /* with a state of its own */
    job.part = "it has these states: adamw/m; this job keeps: lion/m.";
    TRI_TRY(load_run(job));
    job.ids = 0;
    job.args.roles = not_optimizer;
    job.code = TRI_OK;
    TRI_TRY(load_run(job));
    fixture_remove(dir, 1);
    return TRI_OK;
}

/* The fixture, and with `real_ids` a policy's row of as many numbers beside it. */
static tri_status with_policy(const load_job *job, const fixture *f, tri_comm *world)
{
    enum { MOST = 8 };
    double before[MOST];
    double *data = NULL;
    tri_row row = {
        .role = TRI_ROLE_POLICY, .dtype = TRI_F64, .n_dims = 1, .shape = {job->real_ids}};
    snprintf(row.name, sizeof row.name, "batch/controller");
    int index = 0;
    if (job->real_ids) {
        TRI_TRY(tri_alloc((void **)&data, MOST, sizeof(double)));
        TRI_TRY(tri_state_add(f->state, &row, &index));
        tri_state_hold(f->state, index, 0, job->real_ids, data);
    }
    for (int64_t i = 0; i < job->real_ids; i++)
        data[i] = 0.5 + (double)i;
    if (job->scale) { /* saves */
        tri_ckpt_save_args args = fixture_save_args(f, world, job->dir, LOAD_STEP, 0);
        return tri_ckpt_save(&args);
    }
    fixture_spoil(f);
    for (int64_t i = 0; i < job->real_ids; i++)
        before[i] = data[i];
    tri_status rc = load_newest(job, f, world, NULL);
    EXPECT(rc == job->code || rc == TRI_EPEER, "load gave %s", tri_status_name(rc));
    if (rc != TRI_OK)
        EXPECT(strstr(tri_err_last()->text, job->part), "message '%s'", tri_err_last()->text);
    tri_err_clear();
    for (int64_t i = 0; i < job->real_ids && rc == TRI_OK; i++) {
        double want = job->saved_ids ? 0.5 + (double)i : before[i];
        EXPECT(memcmp(&data[i], &want, sizeof want) == 0, "number %lld is %g", (long long)i,
               data[i]);
    }
    return TRI_OK;
}

TRI_TEST(policies_may_be_missing)
{
    for (int64_t saved = 0; saved <= 3; saved += 3)
        for (int64_t wanted = 0; wanted <= 3; wanted += 3)
            for (int to = 0; to < LAYOUTS; to++) {
                char dir[64];
                TRI_TRY(fixture_folder(dir));
                load_job job = {.layout = layouts[4], .dir = dir, .scale = 1, .body = with_policy};
                job.real_ids = saved;
                TRI_TRY(load_run(job));
                job.layout = layouts[to];
                job.scale = 0;
                job.real_ids = wanted;
                job.saved_ids = saved;
                TRI_TRY(load_run(job));
                job.real_ids = 4; /* what is there must fit */
                job.code = saved ? TRI_EINVAL : TRI_OK;
                job.part = "row 'batch/controller' is fp64 [3], this job needs fp64 [4]";
                TRI_TRY(load_run(job));
                fixture_remove(dir, 1);
            }
    return TRI_OK;
}

static tri_status compare_rows(const load_job *job, const fixture *f, tri_comm *world)
{
    bool found = false;
    bool same = false;
    tri_ckpt_info info = {0};
    TRI_TRY(tri_ckpt_find_newest(job->dir, world, &found, &info));
    tri_ckpt_load_args args = {.path = info.path, .state = f->state, .world = world};
    TRI_TRY(tri_ckpt_has_rows(&args, &same));
    EXPECT(same, "the rows of the checkpoint are not its own");
    tri_row row = {.name = "optim/lion/m/x", .role = TRI_ROLE_OPTIM, .n_dims = 1, .shape = {7}};
    if (tri_comm_rank(world) == tri_comm_size(world) - 1)
        TRI_TRY(tri_state_add(f->state, &row, NULL));
    TRI_TRY(tri_ckpt_has_rows(&args, &same));
    EXPECT(!same, "a row more is none");
    args.roles = 1u << TRI_ROLE_PARAM;
    TRI_TRY(tri_ckpt_has_rows(&args, &same));
    EXPECT(same, "rows of another role were looked at");
    tri_ckpt_info_fini(&info);
    return TRI_OK;
}

TRI_TEST(names_of_rows_are_compared)
{
    char dir[64];
    TRI_TRY(fixture_folder(dir));
    TRI_TRY(load_run((load_job){.layout = layouts[1], .dir = dir, .body = load_body_save}));
    TRI_TRY(load_run((load_job){.layout = layouts[3], .dir = dir, .body = compare_rows}));
    fixture_remove(dir, 1);
    return TRI_OK;
}

/* Does a block of a box meet one of the pieces? */
static bool meets(const tri_box *box, int64_t begin, int64_t count, const tri_piece_box *pieces,
                  int n_pieces)
{
    tri_piece_box parts[TRI_MAX_BOXES];
    int n_parts = 0;
    tri_box common;
    tri_box_cut(box, begin, count, parts, &n_parts);
    for (int i = 0; i < n_parts; i++)
        for (int p = 0; p < n_pieces; p++)
            if (tri_box_intersect(&parts[i].box, &pieces[p].box, &common)) return true;
    return false;
}

/* Bytes of the blocks that meet what a rank holds of a row. */
static tri_status count_row(const fixture *f, const tri_manifest *m, const tri_row *row,
                            int64_t *bytes)
{
    const tri_manifest_row *stored = &m->rows[tri_manifest_find(m, row->name)];
    int64_t element_bytes = (int64_t)tri_dtype_bytes((tri_dtype)stored->dtype);
    tri_piece_box pieces[TRI_MAX_BOXES];
    int n = 0;
    TRI_TRY(tri_row_boxes(row, f->mesh, pieces, &n));
    for (int64_t b = stored->first_box; b < stored->first_box + stored->n_boxes; b++) {
        const tri_manifest_box *box = &m->boxes[b];
        tri_box whole = tri_manifest_box_of(m, box);
        int64_t elements = tri_box_elements(&whole);
        for (int64_t at = 0; at < elements; at += box->block_elements) {
            int64_t count = tri_min64(box->block_elements, elements - at);
            if (meets(&whole, at, count, pieces, n)) *bytes += count * element_bytes;
        }
    }
    return TRI_OK;
}

/* job->code TRI_OK: the mesh is that of the save, so nothing is read that is not held. */
static tri_status count_bytes(const load_job *job, const fixture *f, tri_comm *world)
{
    tri_ckpt_load_stats stats = {0};
    TRI_TRY(load_newest(job, f, world, &stats));
    tri_ckpt_info info = {0};
    TRI_AUTO(tri_manifest) *m = NULL;
    TRI_TRY(tri_ckpt_read_info(job->dir, &info));
    tri_status rc = tri_manifest_read(info.path, &m);
    tri_ckpt_info_fini(&info);
    TRI_TRY(rc);
    int64_t want = 0;
    int64_t held = 0;
    for (int i = 0; i < tri_state_rows(f->state); i++) {
        const tri_row *row = tri_state_row(f->state, i);
        TRI_TRY(count_row(f, m, row, &want));
        held += row->count * (int64_t)tri_dtype_bytes(row->dtype);
    }
    EXPECT(stats.read_bytes == want, "%lld bytes were read, the blocks have %lld",
           (long long)stats.read_bytes, (long long)want);
    EXPECT(stats.row_bytes == held, "%lld bytes were filled of %lld", (long long)stats.row_bytes,
           (long long)held);
    EXPECT(job->code != TRI_OK || want == held, "%lld bytes are read for %lld", (long long)want,
           (long long)held);
    return TRI_OK;
}

TRI_TEST(a_rank_reads_the_blocks_of_its_boxes)
{
    for (int from = 0; from < LAYOUTS; from++) {
        char dir[64];
        TRI_TRY(fixture_folder(dir));
        load_job job = {.layout = layouts[from], .dir = dir, .scale = 1200, .body = load_body_save};
        TRI_TRY(load_run(job));
        job.body = count_bytes;
        for (int to = 0; to < LAYOUTS; to++) {
            job.layout = layouts[to];
            job.code = to == from ? TRI_OK : TRI_EINVAL;
            TRI_TRY(load_run(job));
        }
        fixture_remove(dir, 1);
    }
    return TRI_OK;
}

/* Found, then gone: as damaged as any, so that an older one is tried. */
static tri_status load_after_loss(const load_job *job, const fixture *f, tri_comm *world)
{
    bool found = false;
    tri_ckpt_info info = {0};
    TRI_TRY(tri_ckpt_find_newest(job->dir, world, &found, &info));
    char path[TRI_CKPT_PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/%s", info.path, job->part);
    if (tri_comm_rank(world) == 0) EXPECT(unlink(path) == 0, "%s", path);
    TRI_TRY(tri_barrier(world));
    tri_ckpt_load_args args = {.path = info.path, .state = f->state, .world = world};
    tri_status rc = tri_ckpt_load(&args);
    EXPECT(rc == TRI_EFORMAT || (tri_comm_rank(world) > 0 && rc == TRI_EPEER), "load gave %s",
           tri_status_name(rc));
    EXPECT(strstr(tri_err_last()->text, job->part) && strstr(tri_err_last()->text, "is not there"),
           "message '%s'", tri_err_last()->text);
    tri_err_clear();
    tri_ckpt_info_fini(&info);
    return TRI_OK;
}

TRI_TEST(a_file_that_vanishes_is_damage)
{
    static const char *const files[] = {"shard-00000.h5", "manifest.h5"};
    for (int i = 0; i < 2; i++) {
        char dir[64];
        TRI_TRY(fixture_folder(dir));
        TRI_TRY(load_run((load_job){.layout = layouts[1], .dir = dir, .body = load_body_save}));
        load_job job = {.layout = layouts[3], .dir = dir, .part = files[i]};
        job.body = load_after_loss;
        TRI_TRY(load_run(job));
        fixture_remove(dir, 1);
    }
    return TRI_OK;
}

/* A load verifies what it reads: rows of other roles may be damaged. */
static tri_status load_beside_damage(const load_job *job, const fixture *f, tri_comm *world)
{
    tri_ckpt_info info = {0};
    TRI_AUTO(tri_manifest) *m = NULL;
    TRI_TRY(tri_ckpt_read_info(job->dir, &info));
    TRI_TRY(tri_manifest_read(info.path, &m));
    const tri_manifest_row *row = &m->rows[tri_manifest_find(m, "optim/adamw/m/embed")];
    const tri_manifest_box *box = &m->boxes[row->first_box];
    char path[TRI_CKPT_PATH_BYTES + 128];
    snprintf(path, sizeof path, "%s/%s", info.path, m->files[box->file].name);
    FILE *file = fopen(path, "r+");
    EXPECT(file && fseek(file, (long)box->offset, SEEK_SET) == 0, "%s", path);
    if (file) fwrite("\1\2\3\4", 1, 4, file), fclose(file);
    tri_ckpt_load_args args = {.path = info.path, .state = f->state, .world = world};
    args.roles = 1u << TRI_ROLE_PARAM;
    TRI_TRY(tri_ckpt_load(&args));
    args.roles = 0;
    EXPECT_STATUS(tri_ckpt_load(&args), TRI_EFORMAT, "is damaged: row 'optim/adamw/m/embed'");
    EXPECT_STATUS(tri_ckpt_verify(info.path), TRI_EFORMAT, "optim/adamw/m/embed");
    tri_ckpt_info_fini(&info);
    return TRI_OK;
}

TRI_TEST(what_is_not_read_is_not_verified)
{
    char dir[64];
    TRI_TRY(fixture_folder(dir));
    TRI_TRY(load_run((load_job){.layout = layouts[1], .dir = dir, .body = load_body_save}));
    TRI_TRY(load_run((load_job){.layout = layouts[0], .dir = dir, .body = load_beside_damage}));
    fixture_remove(dir, 1);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(floating_types_are_cast), TRI_TEST_ROW(integers_are_not),
              TRI_TEST_ROW(vocabularies_grow_and_shrink),
              TRI_TEST_ROW(only_the_vocabulary_may_differ),
              TRI_TEST_ROW(another_optimizer_is_named), TRI_TEST_ROW(policies_may_be_missing),
              TRI_TEST_ROW(names_of_rows_are_compared),
              TRI_TEST_ROW(a_file_that_vanishes_is_damage),
              TRI_TEST_ROW(what_is_not_read_is_not_verified),
              TRI_TEST_ROW(a_rank_reads_the_blocks_of_its_boxes))

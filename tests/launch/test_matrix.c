// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=300
// TEST ranks=1 timeout=7200 long args=--all
/* The layout is not part of the result: layouts over ranks as threads against one rank. Losses, the
 * gradient and weight tensors put together from the ranks' pieces (which must cover each element, and
 * be equal to the bit where they are copies), initial weights to the bit, a checkpoint that one rank loads, memory as planned, and no
 * allocation after the second step. Layouts are made by tests/launch/matrix_layouts.c.
 *
 *   test_matrix                  few layouts, each value once
 *   test_matrix --all            every pair of values, on 8 and 16 ranks, both families
 *   test_matrix [--all] --list   the layouts as JSON lines (tests/equiv/matrix.py runs them)
 *   test_matrix [--all] --only TEXT   layouts whose name contains TEXT
 *
 * The update is sgd: a weight then differs as its gradients do. (AdamW divides by the gradient's own size,
 * so that where a gradient is rounding alone, the update is not; its curves are compared by
 * tests/equiv/matrix.py.)
 */
#include "checkpoint/ckpt.h"
#include "launch/job.h"
#include "launch/train.h"
#include "tests/folder.h"
#include "tests/launch/matrix.h"
#include "tests/test.h"

enum { NAME_BYTES = 1024, TRUTHS = 64 };

/* Sums in another order, and nothing else. */
static const double tolerance = 1e-5;

/* Tensors that are kept of a run. Gradients: summed over ranks, not clipped. */
typedef enum kept {
    INITIAL,        /* weights before the first step */
    FIRST_GRADIENT, /* of the first step */
    LAST_GRADIENT,
    LAST_WEIGHT, /* after the last step */
    LOADED,      /* what one rank makes of the layout's checkpoint */
    KEPT
} kept;

static const char *const kept_name[KEPT] = {"initial weights", "gradient of step 1",
                                            "gradient of the last step", "weights at the end",
                                            "loaded weights"};

/* A layout's run: what all ranks share. */
typedef struct run {
    char name[NAME_BYTES];
    tri_spec spec; /* checked */
    int ranks;
    const char *dir; /* to save in at the end; NULL: nothing is saved */
    double loss[MATRIX_STEPS];
    double grad_norm[MATRIX_STEPS];
    int64_t allocations; /* of the process, after the second step */
    int n_params;
    int64_t n_elements; /* of the whole model */
    int64_t *begin;     /* [n_params + 1] of each parameter in the arrays below */
    tri_row *row;       /* [n_params] rank 0's */
    float *tensor[KEPT];
    bool *seen; /* elements that some rank has given, of the tensor that is being put together */
} run;

static void run_destroy(run **r)
{
    if (!*r) return;
    TRI_FREE((*r)->begin);
    TRI_FREE((*r)->row);
    TRI_FREE((*r)->seen);
    for (int k = 0; k < KEPT; k++)
        TRI_FREE((*r)->tensor[k]);
    TRI_FREE(*r);
}

/* Sizes from the rows; by one rank, before the others look. */
static tri_status run_size(run *r, const tri_job *job)
{
    r->n_params = tri_model_params(job->model);
    TRI_TRY(TRI_NEW_ARRAY(r->n_params + 1, &r->begin));
    TRI_TRY(TRI_NEW_ARRAY(r->n_params, &r->row));
    for (int i = 0; i < r->n_params; i++) {
        r->row[i] = *tri_state_row(job->state, i);
        r->begin[i + 1] = r->begin[i] + tri_row_elements(&r->row[i]);
    }
    r->n_elements = r->begin[r->n_params];
    for (int k = 0; k < KEPT; k++)
        TRI_TRY(TRI_NEW_ARRAY(r->n_elements, &r->tensor[k]));
    TRI_TRY(TRI_NEW_ARRAY(r->n_elements, &r->seen));
    return TRI_OK;
}

/* Element of the global tensor at place `e` of a box, row-major. */
static int64_t global_index(const tri_row *row, const tri_box *box, int64_t e)
{
    int64_t index = 0;
    int64_t stride = 1;
    for (int d = row->n_dims - 1; d >= 0; d--) {
        index += (box->start[d] + e % box->count[d]) * stride;
        e /= box->count[d];
        stride *= row->shape[d];
    }
    return index;
}

/* Write a rank's box; true where what another rank wrote before is the same to the bit. */
static bool put_box(run *r, kept k, int param, const tri_box *box, const float *data)
{
    bool same = true;
    for (int64_t e = 0; e < tri_box_elements(box); e++) {
        int64_t at = r->begin[param] + global_index(&r->row[param], box, e);
        same = same && (!r->seen[at] || memcmp(&r->tensor[k][at], &data[e], sizeof *data) == 0);
        r->seen[at] = true;
        r->tensor[k][at] = data[e];
    }
    return same;
}

static tri_status put_pieces(run *r, kept k, const tri_job *job)
{
    bool is_gradient = k == FIRST_GRADIENT || k == LAST_GRADIENT;
    for (int i = 0; i < tri_zero_shards(job->zero); i++) {
        tri_zero_shard shard = tri_zero_shard_at(job->zero, i);
        const tri_row *row = tri_state_row(job->state, shard.param);
        const float *data = is_gradient ? shard.gradient : shard.weight;
        EXPECT(row->begin == shard.begin && row->count == shard.count,
               "%s: %s: row and shard differ", r->name, row->name);
        tri_piece_box piece[TRI_MAX_BOXES];
        int n = 0;
        if (shard.count > 0) TRI_TRY(tri_row_boxes(row, job->mesh, piece, &n));
        for (int b = 0; b < n; b++)
            EXPECT(put_box(r, k, shard.param, &piece[b].box, data + piece[b].offset),
                   "%s: rank %d: %s of %s are not those of the ranks before it", r->name,
                   tri_comm_rank(job->world), kept_name[k], row->name);
    }
    return TRI_OK;
}

static void expect_covered(const run *r, kept k)
{
    for (int i = 0; i < r->n_params; i++) {
        int64_t missing = 0;
        for (int64_t e = r->begin[i]; e < r->begin[i + 1]; e++)
            missing += !r->seen[e];
        EXPECT(missing == 0, "%s: no rank has %lld elements of %s (%s)", r->name,
               (long long)missing, r->row[i].name, kept_name[k]);
    }
}

/* Put one tensor of every parameter together, rank after rank. Collective: world. */
static tri_status put_together(run *r, kept k, const tri_job *job)
{
    int rank = tri_comm_rank(job->world);
    if (rank == 0) memset(r->seen, 0, (size_t)r->n_elements * sizeof *r->seen);
    for (int turn = 0; turn < r->ranks; turn++) {
        TRI_TRY(tri_barrier(job->world));
        if (turn == rank) TRI_TRY(put_pieces(r, k, job));
    }
    TRI_TRY(tri_barrier(job->world));
    if (rank == 0) expect_covered(r, k);
    return tri_barrier(job->world);
}

static void expect_memory(const run *r, const tri_job *job, const tri_job_plan *plan)
{
    tri_memory memory = tri_device_memory(tri_comm_device(job->world));
    for (int kind = 0; kind < TRI_MEM_KINDS; kind++)
        /* threads reach one another's memory: no buffers of the communicator */
        EXPECT(kind == TRI_MEM_COMM || memory.bytes[kind] == plan->bytes[kind],
               "%s: rank %d: %s: %zu bytes, planned %zu", r->name, tri_comm_rank(job->world),
               tri_mem_name((tri_mem_kind)kind), memory.bytes[kind], plan->bytes[kind]);
}

/* What one step moved against the plan's list, by kind of call. */
static void expect_messages(const run *r, const tri_job *job, const tri_job_plan *plan,
                            const tri_coll_stats *before, const tri_coll_stats *after)
{
    tri_coll_stats planned = {0};
    for (int i = 0; i < plan->messages.n; i++) {
        const tri_traffic *entry = &plan->messages.entry[i];
        planned.calls[entry->kind] += entry->calls;
        planned.payload_bytes[entry->kind] += entry->payload_bytes;
    }
    for (int kind = 0; kind < TRI_COLL_KINDS; kind++) {
        /* what is received is what others have sent */
        if (kind == TRI_COLL_RECV) continue;
        int64_t calls = after->calls[kind] - before->calls[kind];
        int64_t bytes = after->payload_bytes[kind] - before->payload_bytes[kind];
        EXPECT(calls == planned.calls[kind] && bytes == planned.payload_bytes[kind],
               "%s: rank %d: %lld calls of kind %d with %lld bytes a step, planned %lld, %lld",
               r->name, tri_comm_rank(job->world), (long long)calls, kind, (long long)bytes,
               (long long)planned.calls[kind], (long long)planned.payload_bytes[kind]);
    }
}

/* Steps; between barriers nobody else allocates either. Collective: world. */
static tri_status run_steps(run *r, tri_job *job, const tri_job_plan *plan)
{
    bool is_root = tri_comm_rank(job->world) == 0;
    int64_t before = 0;
    for (int s = 0; s < MATRIX_STEPS; s++) {
        tri_step_result step;
        tri_coll_stats moved = tri_mesh_stats(job->mesh);
        TRI_TRY(tri_train_step(job, 0, &step));
        tri_coll_stats more = tri_mesh_stats(job->mesh);
        expect_messages(r, job, plan, &moved, &more);
        if (is_root) r->loss[s] = step.loss;
        if (is_root) r->grad_norm[s] = step.grad_norm;
        if (s == 0) TRI_TRY(put_together(r, FIRST_GRADIENT, job));
        TRI_TRY(tri_barrier(job->world));
        if (is_root && s == 1) before = tri_alloc_count();
        TRI_TRY(tri_barrier(job->world));
    }
    if (is_root) r->allocations = tri_alloc_count() - before;
    return tri_barrier(job->world);
}

static tri_status run_planned(run *r, tri_job *job, tri_job_plan *plan)
{
    TRI_TRY(tri_job_plan_make(&r->spec, r->ranks, tri_comm_rank(job->world), plan));
    expect_memory(r, job, plan);
    TRI_TRY(tri_job_initialise(job));
    TRI_TRY(put_together(r, INITIAL, job));
    TRI_TRY(run_steps(r, job, plan));
    TRI_TRY(put_together(r, LAST_GRADIENT, job));
    TRI_TRY(put_together(r, LAST_WEIGHT, job));
    if (r->dir) TRI_TRY(tri_job_save(job, r->dir));
    return TRI_OK;
}

/* On one rank: the weights of the checkpoint in r->dir, in place of a run. */
static tri_status load_body(tri_comm *world, void *arg)
{
    run *r = arg;
    tri_job *job = NULL;
    TRI_TRY(tri_job_open(&r->spec, TRI_JOB_TRAIN, world, &job));
    TRI_TRY(run_size(r, job));
    bool found = false;
    tri_ckpt_info info = {0};
    TRI_TRY(tri_ckpt_find_newest(r->dir, world, &found, &info));
    EXPECT(found, "%s: no checkpoint in %s", r->name, r->dir);
    tri_status rc = found ? tri_job_load(job, info.path) : TRI_OK;
    tri_ckpt_info_fini(&info);
    TRI_TRY(rc);
    EXPECT(job->counters.step == MATRIX_STEPS, "%s: loaded step %lld", r->name,
           (long long)job->counters.step);
    TRI_TRY(put_together(r, LOADED, job));
    tri_job_close(&job);
    return TRI_OK;
}

static tri_status run_body(tri_comm *world, void *arg)
{
    run *r = arg;
    tri_job *job = NULL;
    tri_job_plan *plan = NULL;
    TRI_TRY(tri_job_open(&r->spec, TRI_JOB_TRAIN, world, &job));
    if (tri_comm_rank(world) == 0) TRI_TRY(run_size(r, job));
    TRI_TRY(tri_barrier(world));
    TRI_TRY(TRI_NEW(&plan));
    tri_status rc = run_planned(r, job, plan);
    TRI_FREE(plan);
    TRI_TRY(rc);
    tri_job_close(&job);
    return TRI_OK;
}

static const tri_device_args one_thread = {.name = "cpu", .n_threads = 1, .yield = true};

static tri_status run_make(const char *name, const tri_spec *spec, int ranks, const char *dir,
                           run **out)
{
    TRI_AUTO(run) *r = NULL;
    TRI_TRY(TRI_NEW(&r));
    snprintf(r->name, sizeof r->name, "%s", name);
    r->spec = *spec;
    r->ranks = ranks;
    r->dir = dir;
    TRI_TRY(tri_comm_run_threads(ranks, &one_thread, run_body, r));
    EXPECT(r->allocations == 0, "%s: %lld allocations after the second step", name,
           (long long)r->allocations);
    *out = TRI_MOVE(r);
    return TRI_OK;
}

static double norm_of(const float *x, int64_t n)
{
    double squares = 0;
    for (int64_t i = 0; i < n; i++)
        squares += (double)x[i] * x[i];
    return sqrt(squares);
}

static double norm_of_difference(const float *x, const float *y, int64_t n)
{
    double squares = 0;
    for (int64_t i = 0; i < n; i++)
        squares += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
    return sqrt(squares);
}

/* One tensor of every parameter. A row whose true gradient is zero has rounding alone: its size is held
 * against all parameters'. Returns the largest relative difference of the others. */
static double expect_tensors(const run *got, const run *want, kept k)
{
    double worst = 0;
    double whole = norm_of(want->tensor[k], want->n_elements);
    for (int i = 0; i < want->n_params; i++) {
        const float *a = got->tensor[k] + want->begin[i];
        const float *b = want->tensor[k] + want->begin[i];
        int64_t n = want->begin[i + 1] - want->begin[i];
        bool is_noise = want->row[i].zero_grad;
        double norm = is_noise ? whole : norm_of(b, n);
        double relative = norm_of_difference(a, b, n) / (norm > 0 ? norm : 1);
        EXPECT(relative <= tolerance, "%s: %s of %s differ by %.3g of their norm %.3g", got->name,
               kept_name[k], want->row[i].name, relative, norm);
        if (!is_noise && relative > worst) worst = relative;
    }
    return worst;
}

/* Returns the largest relative difference of a tensor or a loss. */
static double expect_equal(const run *got, const run *want)
{
    double worst = 0;
    EXPECT(got->n_elements == want->n_elements && got->n_params == want->n_params,
           "%s: %lld elements in place of %lld", got->name, (long long)got->n_elements,
           (long long)want->n_elements);
    if (got->n_elements != want->n_elements || got->n_params != want->n_params) return INFINITY;
    EXPECT(memcmp(got->tensor[INITIAL], want->tensor[INITIAL],
                  (size_t)want->n_elements * sizeof(float)) == 0,
           "%s: initial weights differ", got->name);
    for (int s = 0; s < MATRIX_STEPS; s++) {
        double relative = fabs(got->loss[s] - want->loss[s]) / want->loss[s];
        EXPECT(relative <= tolerance, "%s: step %d has loss %.9g, should be %.9g", got->name, s + 1,
               got->loss[s], want->loss[s]);
        EXPECT(fabs(got->grad_norm[s] - want->grad_norm[s]) <= tolerance * want->grad_norm[s],
               "%s: step %d has gradient norm %.9g, should be %.9g", got->name, s + 1,
               got->grad_norm[s], want->grad_norm[s]);
        if (relative > worst) worst = relative;
    }
    for (int k = FIRST_GRADIENT; k <= LAST_WEIGHT; k++)
        worst = fmax(worst, expect_tensors(got, want, (kept)k));
    return worst;
}

/* Runs of one rank, one for each model. */
typedef struct truths {
    int n;
    run *run[TRUTHS];
} truths;

static void truths_fini(truths *t)
{
    for (int i = 0; i < t->n; i++)
        run_destroy(&t->run[i]);
    t->n = 0;
}

static tri_status truth_of(truths *t, const matrix *m, const matrix_layout *layout, const run **out)
{
    char name[NAME_BYTES];
    matrix_model_text(m, layout, name, sizeof name);
    for (int i = 0; i < t->n; i++)
        if (strcmp(t->run[i]->name, name) == 0) {
            *out = t->run[i];
            return TRI_OK;
        }
    TRI_CHECK(t->n < TRUTHS, TRI_EBUG, "more than %d models", TRUTHS);
    tri_spec spec;
    TRI_TRY(matrix_spec(m, layout, true, &spec));
    TRI_TRY(run_make(name, &spec, 1, NULL, &t->run[t->n]));
    const run *one = t->run[t->n];
    EXPECT(one->loss[MATRIX_STEPS - 1] < one->loss[0], "%s: does not learn: %g, then %g", name,
           one->loss[0], one->loss[MATRIX_STEPS - 1]);
    *out = t->run[t->n++];
    return TRI_OK;
}

/* What the command line asked for. */
static bool wants(const char *flag)
{
    for (int i = 1; i < tri_test_argc; i++)
        if (strcmp(tri_test_argv[i], flag) == 0) return true;
    return false;
}

static const char *only(void)
{
    for (int i = 1; i + 1 < tri_test_argc; i++)
        if (strcmp(tri_test_argv[i], "--only") == 0) return tri_test_argv[i + 1];
    return "";
}

/* The checkpoint that a layout saved: on one rank the same weights, to the bit. */
static tri_status try_loading(const run *saved, const tri_spec *one_rank)
{
    TRI_AUTO(run) *r = NULL;
    TRI_TRY(TRI_NEW(&r));
    memcpy(r->name, saved->name, sizeof r->name);
    r->spec = *one_rank;
    r->ranks = 1;
    r->dir = saved->dir;
    TRI_TRY(tri_comm_run_threads(1, &one_thread, load_body, r));
    EXPECT(memcmp(r->tensor[LOADED], saved->tensor[LAST_WEIGHT],
                  (size_t)saved->n_elements * sizeof(float)) == 0,
           "%s: one rank loads other weights", r->name);
    return TRI_OK;
}

static tri_status run_layout(const char *name, const matrix *m, const matrix_layout *layout,
                             run **out)
{
    tri_spec spec;
    TRI_TRY(matrix_spec(m, layout, false, &spec));
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    TRI_TRY(run_make(name, &spec, layout->mesh.ranks, folder->path, out));
    TRI_TRY(matrix_spec(m, layout, true, &spec));
    TRI_TRY(try_loading(*out, &spec));
    return TRI_OK;
}

static tri_status try_layout(truths *t, const matrix *m, const matrix_layout *layout)
{
    char name[NAME_BYTES];
    matrix_layout_name(m, layout, name, sizeof name);
    if (!strstr(name, only())) return TRI_OK;
    const run *want = NULL;
    TRI_TRY(truth_of(t, m, layout, &want));
    TRI_AUTO(run) *got = NULL;
    int before = tri_test_failures;
    tri_status rc = run_layout(name, m, layout, &got);
    EXPECT(rc == TRI_OK, "%s: %s", name, tri_err_last()->text);
    tri_err_clear();
    double worst = got ? expect_equal(got, want) : INFINITY;
    printf("%s %.1e %s\n", tri_test_failures == before ? "ok  " : "FAIL", worst, name);
    fflush(stdout);
    return TRI_OK;
}

static tri_status make_folder(bool pairs, tri_folder **out)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    TRI_TRY(matrix_put_text(folder));
    char yaml[2048];
    matrix_base(pairs, tri_folder_at(folder, "text.txt"), yaml, sizeof yaml);
    TRI_TRY(tri_folder_put(folder, "job.yaml", "w", yaml, strlen(yaml)));
    *out = TRI_MOVE(folder);
    return TRI_OK;
}

/* Every value that the parser knows must be in some layout: a value that is always refused would not
 * be tried, and nobody would know. */
static void expect_values(const matrix *m)
{
    bool seen[MATRIX_FACTORS][MATRIX_VALUES] = {0};
    for (int i = 0; i < m->n_layouts; i++)
        for (int f = 0; f < m->n_factors; f++)
            seen[f][m->layout[i].value[f]] |= matrix_varies(m, &m->layout[i].mesh, f);
    for (int f = 0; f < m->n_factors; f++)
        for (int v = 0; v < m->factor[f].n_values; v++)
            EXPECT(seen[f][v], "%s: no legal layout has %s=%s", m->family, m->factor[f].key,
                   m->factor[f].value[v]);
}

/* Every axis alone, and every product of them. */
static void expect_products(const matrix *m)
{
    unsigned axes = 0;
    bool seen[MATRIX_PATTERNS] = {0};
    for (int i = 0; i < m->n_layouts; i++)
        seen[matrix_pattern(&m->layout[i].mesh)] = true;
    for (int a = 0; a < TRI_AXES; a++)
        if (matrix_has_axis(m, (tri_axis)a)) axes |= TRI_AXIS_BIT((unsigned)a);
    for (unsigned pattern = 1; pattern < MATRIX_PATTERNS; pattern++)
        EXPECT(seen[pattern] || (pattern & ~axes) != 0,
               "%s: no layout with the product of axes %#x", m->family, pattern);
    EXPECT(m->n_layouts >= 40 || axes != MATRIX_PATTERNS - 1, "%s: only %d layouts", m->family,
           m->n_layouts);
}

static tri_status try_family(truths *t, const tri_folder *folder, const char *family)
{
    char path[TRI_FOLDER_PATH_BYTES + 16];
    snprintf(path, sizeof path, "%s/job.yaml", folder->path);
    TRI_AUTO(matrix) *m = NULL;
    TRI_TRY(matrix_create(path, family, wants("--all"), &m));
    EXPECT(m->n_layouts > 0, "%s has no layouts", family);
    if (m->pairs) {
        expect_values(m);
        expect_products(m);
    }
    for (int i = 0; i < m->n_layouts; i++)
        TRI_TRY(try_layout(t, m, &m->layout[i]));
    printf("     %s: %d layouts\n", family, m->n_layouts);
    return TRI_OK;
}

TRI_TEST(layouts_agree)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(make_folder(wants("--all"), &folder));
    tri_status rc = TRI_OK;
    for (const char *const *family = tri_model_families(); *family && rc == TRI_OK; family++) {
        truths t = {0};
        rc = try_family(&t, folder, *family);
        truths_fini(&t);
    }
    TRI_TRY(rc);
    return TRI_OK;
}

static tri_status list_family(const tri_folder *folder, const char *family)
{
    char path[TRI_FOLDER_PATH_BYTES + 16];
    snprintf(path, sizeof path, "%s/job.yaml", folder->path);
    TRI_AUTO(matrix) *m = NULL;
    TRI_TRY(matrix_create(path, family, wants("--all"), &m));
    for (int i = 0; i < m->n_layouts; i++) {
        char text[NAME_BYTES];
        printf("{\"family\": \"%s\", \"ranks\": %d, ", family, m->layout[i].mesh.ranks);
        matrix_model_text(m, &m->layout[i], text, sizeof text);
        matrix_print_words("model", text);
        printf(", ");
        matrix_layout_text(m, &m->layout[i], text, sizeof text);
        matrix_print_words("layout", text);
        printf("}\n");
    }
    return TRI_OK;
}

/* First the spec that the layouts are overrides of, as one JSON string. */
static tri_status list_layouts(void)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(make_folder(wants("--all"), &folder));
    char yaml[2048];
    matrix_base(wants("--all"), "text.txt", yaml, sizeof yaml);
    matrix_print_spec(yaml);
    for (const char *const *family = tri_model_families(); *family; family++)
        TRI_TRY(list_family(folder, *family));
    return TRI_OK;
}

int main(int argc, char **argv)
{
    const tri_test tests[] = {TRI_TEST_ROW(layouts_agree)};
    tri_test_argc = argc;
    tri_test_argv = argv;
    if (wants("--list")) return list_layouts() == TRI_OK ? 0 : 1;
    return tri_test_main(argc, argv, tests, 1);
}

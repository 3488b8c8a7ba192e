// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=300
// TEST ranks=1 timeout=7200 long args=--all
/* State is portable: save on layout A, load on layout B, over ranks as threads. Of each pair:
 *
 *   - the rows in the memory of B's ranks are those of A's, bit for bit: parameters, moments of the
 *     optimizer, data cursor, counters; so are the files, read through HDF5 without the program's loader;
 *   - so they are where training goes on while the file is written, and with one file for a node;
 *   - saved again on B and loaded on A (A -> B -> A) they still are;
 *   - training goes on on B as on A without a stop, and as on one rank: each loss to 1e-5.
 *
 * Sizes are odd: a vocabulary, heads and layers that ranks do not divide, one head of keys and values on
 * a wider tensor axis. Pairs are chosen by tests/launch/cross_pairs.c.
 *
 *   test_cross [--all] [--only TEXT]   few pairs or all; those with TEXT in their name
 *   test_cross [--all] --list          the pairs as JSON lines (tests/equiv/cross.py runs them)
 */
#include "checkpoint/ckpt.h"
#include "launch/job.h"
#include "launch/train.h"
#include "tests/checkpoint/logical.h"
#include "tests/launch/cross.h"
#include "tests/test.h"

enum { BEFORE = 3, AFTER = 5, STEPS = BEFORE + AFTER, NAME_BYTES = 2048, TRUTHS = 128 };
enum { PAIRS = 6, PAIRS_ALL = 60 }; /* of a family; all: at least */

/* Sums in another order, and nothing else. */
static const double tolerance = 1e-5;

/* What the ranks of one world do: start or load, train, begin to save, look, train on meanwhile. */
typedef struct leg {
    const char *name;
    tri_spec spec;
    int ranks;
    const char *load; /* folder of checkpoints; NULL: start afresh */
    int before;       /* steps, then the save */
    const char *save; /* NULL: nothing is saved or looked at */
    int after;
    double loss[STEPS + 1];         /* by step */
    char path[TRI_CKPT_PATH_BYTES]; /* of what was saved */
    logical *state;                 /* at the save, in memory */
    logical *view;                  /* the same in the file */
} leg;

static void leg_fini(leg *l)
{
    logical_destroy(&l->state);
    logical_destroy(&l->view);
}

static tri_status start(const leg *l, tri_job *job)
{
    if (!l->load) return tri_job_initialise(job);
    bool found = false;
    tri_ckpt_info info = {0};
    TRI_TRY(tri_ckpt_find_newest(l->load, job->world, &found, &info));
    tri_status rc = TRI_OK;
    if (found) rc = tri_job_load(job, info.path);
    tri_ckpt_info_fini(&info);
    TRI_TRY(rc);
    TRI_CHECK(found, TRI_EBUG, "no checkpoint in %s", l->load);
    return TRI_OK;
}

static tri_status steps(leg *l, tri_job *job, int n)
{
    for (int i = 0; i < n; i++) {
        tri_step_result step;
        TRI_TRY(tri_train_step(job, 0, &step));
        TRI_CHECK(job->counters.step <= STEPS, TRI_EBUG, "step %lld",
                  (long long)job->counters.step);
        if (tri_comm_rank(job->world) == 0) l->loss[job->counters.step] = step.loss;
    }
    return TRI_OK;
}

/* The save that began before the last steps is on the disk by now. */
static tri_status end_save(leg *l, tri_job *job)
{
    tri_saver_outcome outcome = TRI_SAVER_GOES_ON;
    tri_err failure = {.code = TRI_OK};
    TRI_TRY(tri_saver_finish(job->saver, &outcome, &failure));
    if (outcome == TRI_SAVER_FAILED) return tri_err_put(&failure);
    if (tri_comm_rank(job->world) != 0) return tri_barrier(job->world);
    tri_ckpt_info info = {0};
    TRI_TRY(tri_ckpt_read_info(l->save, &info));
    snprintf(l->path, sizeof l->path, "%s", info.path);
    tri_ckpt_info_fini(&info);
    return tri_barrier(job->world);
}

static tri_status leg_rank(tri_comm *world, void *arg)
{
    leg *l = arg;
    tri_job *job = NULL;
    TRI_TRY(tri_job_open(&l->spec, TRI_JOB_TRAIN, world, &job));
    TRI_TRY(start(l, job));
    TRI_TRY(steps(l, job, l->before));
    if (l->save) TRI_TRY(tri_job_save_begin(job, l->save));
    if (l->save) TRI_TRY(logical_gather(l->state, job->state, job->world, l->name));
    TRI_TRY(steps(l, job, l->after));
    if (l->save) TRI_TRY(end_save(l, job));
    tri_job_close(&job);
    return TRI_OK;
}

/* Run and check what it left: the file has what the memory had. */
static tri_status leg_run(leg *l)
{
    static const tri_device_args device = {.name = "cpu", .n_threads = 1, .yield = true};
    if (l->save) TRI_TRY(TRI_NEW(&l->state));
    TRI_TRY(tri_comm_run_threads(l->ranks, &device, leg_rank, l));
    if (!l->save) return TRI_OK;
    TRI_TRY(tri_ckpt_verify(l->path));
    TRI_TRY(logical_read(l->state, l->path, &l->view));
    logical_expect_same(l->view, l->state, l->name);
    return TRI_OK;
}

/* Optimizers take turns (whatever the layout's model says). */
static const char *optimizer_of(int turn)
{
    int n = 0;
    while (tri_optim_names()[n])
        n++;
    return tri_optim_names()[turn % n];
}

/* Those whose step is as long as the gradient take a long one. For the others, where a gradient is rounding alone
 * the step follows the rounding: short steps, and an epsilon above that, or the shortest
 * where there is none. */
static tri_status set_optimizer(tri_spec *spec, int turn)
{
    static const char *const plain[] = {"sgd", "lars", "adagrad_norm", "adagrad_rownorm"};
    tri_optim_config *o = &spec->optimizer;
    snprintf(o->name, sizeof o->name, "%s", optimizer_of(turn));
    bool is_plain = false;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        is_plain = is_plain || strcmp(o->name, plain[i]) == 0;
    /* of a step that is a sign, or nearly, rounding may turn the sign: short ones show little of it */
    bool is_sign = strncmp(o->name, "adam", 4) == 0 || strcmp(o->name, "lion") == 0;
    o->lr = is_plain ? 0.05 : is_sign ? 1e-4 : 5e-4;
    o->momentum = is_plain ? 0.9 : 0;
    o->trust = 0.02;
    o->initial = is_plain ? 0.01 : 0;
    o->epsilon = strcmp(o->name, "adafactor") == 0 ? 0 : 1e-6;
    TRI_TRY(tri_optim_resolve(o));
    return TRI_OK;
}

/* A layout's model without its optimizer: here these take turns. */
static void drop_optimizer(char *text)
{
    char *at = strstr(text, " optimizer.name=");
    if (!at) return;
    const char *end = at + 1 + strcspn(at + 1, " ,");
    memmove(at, end, strlen(end) + 1);
}

/* Runs of one rank, one for each model and optimizer. */
typedef struct truths {
    int n;
    struct truth {
        char name[NAME_BYTES];
        double loss[STEPS + 1];
    } of[TRUTHS];
} truths;

static inline void truths_destroy(truths **t)
{
    TRI_FREE(*t);
}

static tri_status truth_of(truths *t, const matrix *m, const matrix_layout *layout, int turn,
                           const double **loss)
{
    leg one = {.ranks = 1, .before = STEPS};
    char name[NAME_BYTES];
    TRI_TRY(matrix_spec(m, layout, true, &one.spec));
    TRI_TRY(set_optimizer(&one.spec, turn));
    size_t used = (size_t)snprintf(name, sizeof name, "%s ", one.spec.optimizer.name);
    matrix_model_text(m, layout, name + used, sizeof name - used);
    drop_optimizer(name);
    for (int i = 0; i < t->n; i++)
        if (strcmp(t->of[i].name, name) == 0) {
            *loss = t->of[i].loss;
            return TRI_OK;
        }
    TRI_CHECK(t->n < TRUTHS, TRI_EBUG, "more than %d models", TRUTHS);
    one.name = name;
    TRI_TRY(leg_run(&one));
    EXPECT(one.loss[STEPS] < one.loss[1], "%s: does not learn: %g, then %g", name, one.loss[1],
           one.loss[STEPS]);
    memcpy(t->of[t->n].name, name, sizeof name);
    memcpy(t->of[t->n].loss, one.loss, sizeof one.loss);
    *loss = t->of[t->n++].loss;
    return TRI_OK;
}

static double expect_losses(const leg *got, const double *want, int first, const char *of)
{
    double worst = 0;
    for (int s = first; s <= STEPS; s++) {
        double relative = fabs(got->loss[s] - want[s]) / want[s];
        EXPECT(relative <= tolerance, "%s: step %d has loss %.9g, %s %.9g", got->name, s,
               got->loss[s], of, want[s]);
        worst = fmax(worst, relative);
    }
    return worst;
}

/* The three legs of a pair. */
typedef struct trip {
    leg a, b, back;
} trip;

static void trip_destroy(trip **t)
{
    if (!*t) return;
    leg_fini(&(*t)->a);
    leg_fini(&(*t)->b);
    leg_fini(&(*t)->back);
    TRI_FREE(*t);
}

static tri_status make_trip(const char *name, const matrix *m, const cross_pair *pair, int turn,
                            trip **out)
{
    TRI_AUTO(trip) *t = NULL;
    TRI_TRY(TRI_NEW(&t));
    t->a.before = BEFORE;
    t->a.after = AFTER;
    t->b.after = AFTER;
    t->a.ranks = t->back.ranks = pair->from.mesh.ranks;
    t->b.ranks = pair->to.mesh.ranks;
    t->a.name = t->b.name = t->back.name = name;
    TRI_TRY(matrix_spec(m, &pair->from, false, &t->a.spec));
    TRI_TRY(set_optimizer(&t->a.spec, turn));
    TRI_TRY(matrix_spec(m, &pair->to, false, &t->b.spec));
    TRI_TRY(set_optimizer(&t->b.spec, turn));
    t->a.spec.checkpoint.async = turn % 2;
    t->b.spec.checkpoint.async = turn / 2 % 2;
    t->a.spec.checkpoint.files = turn / 4 % 2 ? TRI_SAVER_FILE_PER_NODE : TRI_SAVER_FILE_PER_RANK;
    t->b.spec.checkpoint.files = turn % 2 ? TRI_SAVER_FILE_PER_NODE : TRI_SAVER_FILE_PER_RANK;
    t->back.spec = t->a.spec;
    *out = TRI_MOVE(t);
    return TRI_OK;
}

static tri_status run_trip(trip *t)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    char a[TRI_FOLDER_PATH_BYTES + 8];
    char b[TRI_FOLDER_PATH_BYTES + 8];
    char back[TRI_FOLDER_PATH_BYTES + 8];
    snprintf(a, sizeof a, "%s/a", folder->path);
    snprintf(b, sizeof b, "%s/b", folder->path);
    snprintf(back, sizeof back, "%s/back", folder->path);
    t->a.save = t->b.load = a;
    t->b.save = t->back.load = b;
    t->back.save = back;
    TRI_TRY(leg_run(&t->a));
    TRI_TRY(leg_run(&t->b));
    TRI_TRY(leg_run(&t->back));
    return TRI_OK;
}

static tri_status try_pair(truths *truth, const matrix *m, const cross_pair *pair, int turn,
                           const char *name)
{
    const double *one_rank = NULL;
    TRI_AUTO(trip) *t = NULL;
    TRI_TRY(truth_of(truth, m, &pair->from, turn, &one_rank));
    TRI_TRY(make_trip(name, m, pair, turn, &t));
    int before = tri_test_failures;
    tri_status rc = run_trip(t);
    EXPECT(rc == TRI_OK, "%s: %s", name, tri_err_last()->text);
    tri_err_clear();
    double worst = INFINITY;
    if (rc == TRI_OK) {
        logical_expect_same(t->b.state, t->a.state, name);
        logical_expect_same(t->back.state, t->a.state, name);
        worst = expect_losses(&t->a, one_rank, 1, "on one rank");
        worst = fmax(worst, expect_losses(&t->b, one_rank, BEFORE + 1, "on one rank"));
        worst = fmax(worst, expect_losses(&t->b, t->a.loss, BEFORE + 1, "without a stop"));
    }
    printf("%s %.1e %s\n", tri_test_failures == before ? "ok  " : "FAIL", worst, name);
    fflush(stdout);
    return TRI_OK;
}

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

/* The spec that layouts are overrides of. A rotary embedding wants an even number in each head. */
static void make_spec(const char *family, bool all, char *out, size_t out_bytes)
{
    int heads = all ? 8 : 4;
    int head = strcmp(family, "gpt2") == 0 ? 9 : 10;
    snprintf(out, out_bytes,
             "name: cross\nseed: 5\n"
             "model: {family: %s, layers: %d, hidden: %d, heads: %d, context: %d, vocab: %d, "
             "init_std: 0.1}\n"
             "data: {train: text.txt, format: text, tokenizer: bytes}\n"
             "batch: {sequences: %d, micro: 2}\n"
             "optimizer: {name: adamw, lr: 2e-3, epsilon: 1e-6, weight_decay: 0.01, clip: 1.0}\n"
             "schedule: {warmup: 2, decay: constant}\n"
             "train: {steps: %d, threads: 1}\n",
             family, all ? 9 : 5, heads * head, heads, all ? 32 : 16, all ? 261 : 259, all ? 16 : 8,
             STEPS);
}

static void expect_axes(const cross *c)
{
    for (int a = 0; a < TRI_AXES; a++)
        EXPECT(!matrix_has_axis(c->m, (tri_axis)a) ||
                   (!c->open.length[0][a] && !c->open.length[1][a]),
               "%s: no pair in which axis %s grows, or none in which it shrinks", c->m->family,
               tri_axis_name((tri_axis)a));
}

/* What some layout has must have become some pair's, on both sides. */
static void expect_goals(const cross *c)
{
    const matrix *m = c->m;
    for (int i = 0; i < m->n_layouts; i++)
        for (int side = 0; side < 2; side++) {
            const matrix_layout *layout = &m->layout[i];
            unsigned pattern = matrix_pattern(&layout->mesh);
            EXPECT(!c->open.product[side][pattern], "%s: product of axes %#x is not tried as %s",
                   m->family, pattern, side ? "target" : "source");
            for (int f = 0; f < m->n_factors; f++)
                EXPECT(m->factor[f].is_model || !matrix_varies(m, &layout->mesh, f) ||
                           !c->open.value[side][f][layout->value[f]],
                       "%s: %s=%s is not tried as %s", m->family, m->factor[f].key,
                       m->factor[f].value[layout->value[f]], side ? "target" : "source");
        }
}

static tri_status try_pairs(truths *truth, const cross *c, int first_turn)
{
    for (int i = 0; i < c->n; i++) {
        char name[NAME_BYTES];
        int turn = first_turn + i;
        size_t used = (size_t)snprintf(name, sizeof name, "%s, ", optimizer_of(turn));
        matrix_layout_name(c->m, &c->pair[i].from, name + used, sizeof name / 2);
        drop_optimizer(name);
        used = strlen(name);
        used += (size_t)snprintf(name + used, sizeof name - used, ", then %d ranks, ",
                                 c->pair[i].to.mesh.ranks);
        matrix_layout_text(c->m, &c->pair[i].to, name + used, sizeof name - used);
        if (strstr(name, only())) TRI_TRY(try_pair(truth, c->m, &c->pair[i], turn, name));
    }
    printf("     %s: %d pairs\n", c->m->family, c->n);
    return TRI_OK;
}

/* As JSON lines: a spec, and the pairs that are of it. */
static void list_pairs(const cross *c, const char *yaml)
{
    char text[NAME_BYTES];
    matrix_print_spec(yaml);
    for (int i = 0; i < c->n; i++) {
        const matrix_layout *side[] = {&c->pair[i].from, &c->pair[i].to};
        printf("{\"family\": \"%s\", ", c->m->family);
        matrix_model_text(c->m, side[0], text, sizeof text);
        drop_optimizer(text);
        matrix_print_words("model", text);
        for (int k = 0; k < 2; k++) {
            printf(", \"%s_ranks\": %d, ", k ? "to" : "from", side[k]->mesh.ranks);
            matrix_layout_text(c->m, side[k], text, sizeof text);
            matrix_print_words(k ? "to" : "from", text);
        }
        printf("}\n");
    }
}

static tri_status try_family(tri_folder *folder, const char *family, int first_turn)
{
    bool all = wants("--all");
    TRI_AUTO(matrix) *m = NULL;
    TRI_AUTO(cross) *c = NULL;
    TRI_AUTO(truths) *truth = NULL;
    TRI_TRY(TRI_NEW(&truth));
    char yaml[2048];
    make_spec(family, all, yaml, sizeof yaml);
    TRI_TRY(tri_folder_put(folder, "job.yaml", "w", yaml, strlen(yaml)));
    TRI_TRY(matrix_create(tri_folder_at(folder, "job.yaml"), family, all, &m));
    TRI_TRY(cross_create(m, all ? PAIRS_ALL : PAIRS, all, &c));
    EXPECT(c->n >= (all ? PAIRS_ALL : PAIRS), "%s: only %d pairs", family, c->n);
    expect_axes(c);
    if (all) expect_goals(c);
    if (!wants("--list")) return try_pairs(truth, c, first_turn);
    list_pairs(c, yaml);
    return TRI_OK;
}

TRI_TEST(state_is_portable)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    TRI_TRY(matrix_put_text(folder));
    int turn = 0;
    for (const char *const *family = tri_model_families(); *family; family++, turn += PAIRS)
        TRI_TRY(try_family(folder, *family, turn));
    return TRI_OK;
}

int main(int argc, char **argv)
{
    const tri_test tests[] = {TRI_TEST_ROW(state_is_portable)};
    tri_test_argc = argc;
    tri_test_argv = argv;
    if (wants("--list")) return test_state_is_portable() == TRI_OK && !tri_test_failures ? 0 : 1;
    return tri_test_main(argc, argv, tests, 1);
}

// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=300
/* Jobs whose gradients turn bad, over ranks as threads. Before a step one rank's weights are spoilt where
 * they lie, and put back behind it: so its gradient is not finite, or far too large. A skipped step
 * leaves every bit of weights and optimizer states, and what follows is what a run does that never saw those
 * samples; a rollback continues as a run does that loads the checkpoint and begins behind them.
 */
#include "launch/resume.h"
#include "launch/saving.h"
#include "launch/train.h"
#include "runtime/base/crc.h"
#include "tests/folder.h"
#include "tests/test.h"

enum { STEPS = 9, BATCH = 8 };

typedef enum harm { NO_HARM, NOT_A_NUMBER, HUGE_WEIGHTS } harm;

/* A run, and what it came to. */
typedef struct unstable_case {
    const char *yaml;
    const char *batch; /* more of batch:, as an override; NULL: no more */
    int ranks, zero, pipeline;
    tri_stability_config config;
    harm kind;
    int64_t bad_step; /* from it on ... */
    int n_bad;        /* ... so many attempts at a step are spoilt */
    bool at_once;     /* after the first of these also at steps before it */
    int bad_rank;
    int64_t save_at[2]; /* steps after which it saves; 0: not */
    const char *dir;    /* of checkpoints */
    bool loads;         /* begins with the newest of them */
    int64_t load_step;  /* >= 0: that is the step of it */
    int64_t jump_to;    /* samples, where it goes on after the beginning; 0: it does not jump */
    int64_t jump_at;    /* step before which it leaves out a batch by seeking; 0: none */
    tri_status ends_with;
    const char *part;                                       /* of its message */
    double loss[STEPS + 1], norm[STEPS + 1], lr[STEPS + 1]; /* of rank 0, by step; NaN: skipped */
    int64_t back_to;                                        /* the last rollback went there */
    tri_stability stability;
    tri_job_counters counters;
    int64_t consumed;
} unstable_case;

static const tri_device_args one_thread = {.name = "cpu", .n_threads = 1, .yield = true};

/* Of weights, optimizer states, and what decides on the batch, as far as this rank holds them. */
static uint32_t sum_state(const tri_job *job)
{
    uint32_t crc = 0;
    for (int i = 0; i < tri_state_rows(job->state); i++) {
        const tri_row *row = tri_state_row(job->state, i);
        bool is_batch = strncmp(row->name, "batch/", 6) == 0;
        if (row->role != TRI_ROLE_PARAM && row->role != TRI_ROLE_OPTIM && !is_batch) continue;
        crc = tri_crc32c_extend(crc, row->data, (size_t)row->count * tri_dtype_bytes(row->dtype));
    }
    return crc;
}

/* The first parameter of which this rank holds something. */
static tri_span held_weights(const tri_job *job)
{
    for (int i = 0; i < tri_model_params(job->model); i++) {
        const tri_row *row = tri_state_row(job->state, i);
        if (row->count > 0) return tri_span_make(row->data, row->count, row->dtype);
    }
    return (tri_span){0};
}

/* One step with spoilt weights on one rank. */
static tri_status spoilt_step(tri_job *job, const unstable_case *c, tri_step_result *step)
{
    bool is_mine = tri_comm_rank(job->world) == c->bad_rank;
    tri_span weights = held_weights(job);
    float *at = weights.data;
    float *kept = NULL;
    TRI_CHECK(at, TRI_EBUG, "rank %d holds no weights", tri_comm_rank(job->world));
    TRI_TRY(TRI_NEW_ARRAY(weights.count, &kept));
    memcpy(kept, at, (size_t)weights.count * sizeof *at);
    for (int64_t i = 0; i < weights.count && is_mine; i++)
        at[i] = c->kind == NOT_A_NUMBER ? NAN : 300 * at[i];
    TRI_TRY(tri_zero_publish(job->zero));
    uint32_t before = sum_state(job);
    tri_status rc = tri_train_step(job, 0, step);
    uint32_t after = sum_state(job);
    EXPECT(before == after, "a step that was not good changed weights or states");
    memcpy(at, kept, (size_t)weights.count * sizeof *at);
    TRI_FREE(kept);
    TRI_TRY(rc);
    return tri_zero_publish(job->zero);
}

static tri_status begin(tri_job *job, const unstable_case *c)
{
    if (!c->loads) return tri_job_initialise(job);
    TRI_TRY(tri_resume(job, c->dir));
    EXPECT(job->counters.step == c->load_step, "began after step %lld, not %lld",
           (long long)job->counters.step, (long long)c->load_step);
    if (c->jump_to > 0) TRI_TRY(tri_loader_seek(job->loader, c->jump_to));
    return TRI_OK;
}

static tri_status one_step(tri_job *job, unstable_case *c, int *n_bad)
{
    char path[TRI_CKPT_PATH_BYTES];
    bool is_root = tri_comm_rank(job->world) == 0;
    tri_step_result step;
    int64_t next = job->counters.step + 1;
    bool is_there = next >= c->bad_step || (c->at_once && *n_bad > 0);
    bool is_bad = is_there && *n_bad < c->n_bad;
    *n_bad += is_bad;
    TRI_TRY(is_bad ? spoilt_step(job, c, &step) : tri_train_step(job, 0, &step));
    EXPECT(is_bad == (step.verdict != TRI_VERDICT_GOOD), "step %lld: verdict %d, norm %g",
           (long long)next, (int)step.verdict, step.grad_norm);
    if (step.verdict == TRI_VERDICT_ROLLBACK) {
        EXPECT(job->counters.step == next - 1, "counted");
        TRI_TRY(tri_resume_back(job, c->dir, path));
        if (is_root) c->back_to = job->counters.step;
        return TRI_OK;
    }
    EXPECT(job->counters.step == next, "after step %lld", (long long)job->counters.step);
    if (is_root) {
        c->loss[next] = is_bad ? NAN : step.loss;
        c->norm[next] = step.grad_norm;
        c->lr[next] = step.lr;
    }
    if (next == c->save_at[0] || next == c->save_at[1]) TRI_TRY(tri_job_save(job, c->dir));
    return TRI_OK;
}

static tri_status run_steps(tri_job *job, unstable_case *c)
{
    int n_bad = 0;
    while (job->counters.step < STEPS) {
        if (job->counters.step + 1 == c->jump_at) {
            int64_t batch = tri_job_next_step(job).batch;
            TRI_TRY(tri_loader_seek(job->loader, tri_loader_consumed(job->loader) + batch));
            c->jump_at = 0;
        }
        TRI_TRY(one_step(job, c, &n_bad));
    }
    return TRI_OK;
}

static tri_status open_job(const unstable_case *c, tri_comm *world, tri_job **out)
{
    tri_spec spec;
    TRI_TRY(tri_spec_parse(c->yaml, strlen(c->yaml), "test.yaml", &spec));
    spec.parallel.zero_stage = c->zero;
    spec.parallel.pipeline = c->pipeline ? c->pipeline : 1;
    spec.stability = c->config;
    spec.checkpoint.every = 2;
    if (c->batch) {
        const char *const words[] = {c->batch, "batch.adaptive.max=64", "batch.adaptive.groups=2",
                                     "batch.adaptive.interval=1", "batch.adaptive.eta=0.5"};
        TRI_TRY(tri_spec_override(&spec, 5, words));
    }
    TRI_TRY(tri_spec_check(&spec, tri_comm_size(world)));
    return tri_job_open(&spec, TRI_JOB_TRAIN, world, out);
}

static tri_status unstable_rank(tri_comm *world, void *arg)
{
    unstable_case mine = *(unstable_case *)arg;
    tri_job *job = NULL;
    TRI_TRY(open_job(&mine, world, &job));
    TRI_TRY(begin(job, &mine));
    tri_status rc = run_steps(job, &mine);
    if (mine.ends_with != TRI_OK) {
        EXPECT(rc == mine.ends_with || rc == TRI_EPEER, "ended with %s", tri_status_name(rc));
        EXPECT(strstr(tri_err_last()->text, mine.part), "message '%s' lacks '%s'",
               tri_err_last()->text, mine.part);
        tri_err_clear();
        rc = TRI_OK;
    }
    TRI_TRY(rc);
    mine.stability = job->stability;
    mine.counters = job->counters;
    mine.consumed = tri_loader_consumed(job->loader);
    if (tri_comm_rank(world) == 0) *(unstable_case *)arg = mine;
    tri_job_close(&job);
    return TRI_OK;
}

static tri_status run(unstable_case *c)
{
    return tri_comm_run_threads(c->ranks, &one_thread, unstable_rank, c);
}

/* Steps of `got` from `first` on are those of `want`, `shift` steps before; tolerance 0: to the bit. */
static void expect_curve(const unstable_case *got, const unstable_case *want, int64_t first,
                         int64_t shift, double tolerance)
{
    for (int64_t s = first; s <= STEPS; s++) {
        double a[] = {got->loss[s], got->norm[s], got->lr[s]};
        double b[] = {want->loss[s - shift], want->norm[s - shift], want->lr[s - shift]};
        if (isnan(a[0]) && isnan(b[0])) continue;
        for (int i = 0; i < 3; i++)
            EXPECT(fabs(a[i] - b[i]) <= tolerance * fabs(b[i]),
                   "%d ranks, zero %d: step %lld, number %d: %.17g, not %.17g", got->ranks,
                   got->zero, (long long)s, i, a[i], b[i]);
    }
}

/* A folder with text and spec. */
typedef struct unstable_test {
    tri_folder *folder;
    char yaml[1024];
    char dir[TRI_FOLDER_PATH_BYTES + 256];
} unstable_test;

static void unstable_test_destroy(unstable_test *t)
{
    tri_folder_destroy(&t->folder);
}

static tri_status make(unstable_test *t)
{
    TRI_TRY(tri_folder_create(&t->folder));
    TRI_TRY(tri_folder_put_letters(t->folder, "text.txt", 16384));
    snprintf(
        t->yaml, sizeof t->yaml,
        "name: test\nseed: 3\nmodel: {family: gpt2, layers: 2, hidden: 32, heads: 4, context: 16, "
        "dropout: 0.1}\ndata: {train: %s, format: text, tokenizer: bytes}\n"
        "batch: {sequences: %d, micro: 1}\nparallel: {bucket_mb: 0.01}\n"
        "optimizer: {name: adamw, lr: 2.0e-3}\nschedule: {warmup: 3, decay: cosine}\n"
        "train: {steps: %d, threads: 1}\n",
        tri_folder_at(t->folder, "text.txt"), BATCH, STEPS);
    snprintf(t->dir, sizeof t->dir, "%s", tri_folder_at(t->folder, "ckpt"));
    return TRI_OK;
}

/* Layouts that are tried, and the rank that turns bad. */
static const struct {
    int ranks, zero, pipeline, bad_rank;
} layouts[] = {
    {1, 0, 1, 0},
    {2, 0, 1, 1},
    {2, 1, 1, 0},
    {2, 3, 1, 1},
    {4, 3, 1, 2},
    {4, 1, 2, 3}
};
enum { LAYOUTS = sizeof layouts / sizeof layouts[0] };

static unstable_case case_of(const unstable_test *t, int layout, tri_stability_policy policy)
{
    return (unstable_case){
        .yaml = t->yaml,
        .ranks = layouts[layout].ranks,
        .zero = layouts[layout].zero,
        .pipeline = layouts[layout].pipeline,
        .bad_rank = layouts[layout].bad_rank,
        .config = {.policy = (int)policy, .spike = 3, .window = 3, .max_in_row = 2},
        .dir = t->dir
    };
}

/* Goes on from the checkpoint of a step. */
static unstable_case resumed(const unstable_test *t, int layout, tri_stability_policy policy,
                             int64_t step)
{
    unstable_case c = case_of(t, layout, policy);
    c.loads = true;
    c.load_step = step;
    return c;
}

static tri_status skips_on(const unstable_test *t, int layout, harm kind, unstable_case *got)
{
    *got = case_of(t, layout, TRI_STABILITY_SKIP);
    got->kind = kind;
    got->bad_step = 5;
    got->n_bad = 1;
    TRI_TRY(run(got));
    EXPECT(got->lr[5] == 0 && got->counters.step == STEPS && got->counters.updates == STEPS - 1 &&
               got->counters.samples == STEPS * BATCH && got->consumed == STEPS * BATCH,
           "%lld steps, %lld updates, %lld samples", (long long)got->counters.step,
           (long long)got->counters.updates, (long long)got->counters.samples);
    EXPECT(got->stability.spikes == 1 && got->stability.skipped == 1 &&
               got->stability.in_row == 0 && got->stability.n_ranges == 1 &&
               got->stability.range[0][0] == 4 * BATCH && got->stability.range[0][1] == 5 * BATCH,
           "the samples of step 5 are left out");
    unstable_case never = case_of(t, layout, TRI_STABILITY_SKIP);
    never.jump_at = 5;
    TRI_TRY(run(&never));
    expect_curve(got, &never, 6, 1, 0);
    return TRI_OK;
}

TRI_TEST(skipped_step_never_was)
{
    TRI_AUTO(unstable_test) t = {0};
    TRI_TRY(make(&t));
    unstable_case one;
    unstable_case other;
    TRI_TRY(skips_on(&t, 0, NOT_A_NUMBER, &one));
    for (int i = 0; i < LAYOUTS; i++) {
        TRI_TRY(skips_on(&t, i, NOT_A_NUMBER, &other));
        expect_curve(&other, &one, 1, 0, 1e-5);
        TRI_TRY(skips_on(&t, i, HUGE_WEIGHTS, &other));
        expect_curve(&other, &one, 1, 0, 1e-5);
    }
    return TRI_OK;
}

TRI_TEST(skips_are_saved)
{
    TRI_AUTO(unstable_test) t = {0};
    TRI_TRY(make(&t));
    unstable_case whole = case_of(&t, 1, TRI_STABILITY_SKIP);
    whole.kind = NOT_A_NUMBER;
    whole.bad_step = 5;
    whole.n_bad = 1;
    whole.save_at[0] = 6;
    TRI_TRY(run(&whole));
    for (int i = 0; i < LAYOUTS; i++) {
        unstable_case rest = resumed(&t, i, TRI_STABILITY_SKIP, 6);
        TRI_TRY(run(&rest));
        expect_curve(&rest, &whole, 7, 0, i == 1 ? 0 : 1e-5);
        EXPECT(memcmp(rest.stability.range, whole.stability.range, sizeof rest.stability.range) ==
                       0 &&
                   rest.stability.skipped == 1 && rest.stability.norms == whole.stability.norms &&
                   fabs(rest.stability.mean_log2 - whole.stability.mean_log2) < 1e-5,
               "%d ranks: what is remembered is not what was saved", rest.ranks);
    }
    return TRI_OK;
}

TRI_TEST(skipped_step_is_no_test_of_the_batch)
{
    TRI_AUTO(unstable_test) t = {0};
    TRI_TRY(make(&t));
    for (int i = 0; i < LAYOUTS; i += 2) {
        unstable_case got = case_of(&t, i, TRI_STABILITY_SKIP);
        got.batch = "batch.adaptive.test=norm";
        unstable_case never = got;
        got.kind = NOT_A_NUMBER;
        got.bad_step = 3;
        got.n_bad = 1;
        never.jump_at = 3;
        TRI_TRY(run(&got));
        TRI_TRY(run(&never));
        expect_curve(&got, &never, 4, 1, 0);
        EXPECT(got.counters.samples > STEPS * BATCH, "%lld samples: the batch never grew",
               (long long)got.counters.samples);
    }
    return TRI_OK;
}

/* Bad twice at step `bad` of a run with checkpoints after the steps `saves`: goes back to `back_to`, twice. */
static tri_status rolls_back_on(unstable_test *t, int layout, int64_t bad, const int64_t saves[2],
                                int64_t back_to)
{
    char name[32];
    unstable_case got = case_of(t, layout, TRI_STABILITY_ROLLBACK);
    got.kind = NOT_A_NUMBER;
    got.bad_step = bad;
    got.n_bad = 2;
    memcpy(got.save_at, saves, sizeof got.save_at);
    snprintf(name, sizeof name, "bad%d.%lld", layout, (long long)bad);
    snprintf(t->dir, sizeof t->dir, "%s", tri_folder_at(t->folder, name));
    TRI_TRY(run(&got));
    int64_t life = bad - back_to;
    int64_t end = (back_to + 2 * life) * BATCH;
    const tri_stability *s = &got.stability;
    EXPECT(got.back_to == back_to && s->rollbacks == 2 && s->spikes == 2 && s->in_row == 0,
           "%lld rollbacks, the last to %lld", (long long)s->rollbacks, (long long)got.back_to);
    EXPECT(s->n_ranges == 1 && s->range[0][0] == back_to * BATCH && s->range[0][1] == end &&
               s->left_out == 2 * life * BATCH,
           "samples %lld to %lld are left out", (long long)s->range[0][0],
           (long long)s->range[0][1]);
    EXPECT(got.counters.samples == STEPS * BATCH && got.counters.updates == STEPS &&
               got.consumed == (STEPS + 2 * life) * BATCH,
           "%lld consumed", (long long)got.consumed);

    unstable_case maker = case_of(t, layout, TRI_STABILITY_ROLLBACK);
    maker.save_at[0] = back_to;
    snprintf(name, sizeof name, "good%d.%lld", layout, (long long)bad);
    snprintf(t->dir, sizeof t->dir, "%s", tri_folder_at(t->folder, name));
    TRI_TRY(run(&maker));
    unstable_case behind = resumed(t, layout, TRI_STABILITY_ROLLBACK, back_to);
    behind.jump_to = end;
    TRI_TRY(run(&behind));
    expect_curve(&got, &behind, back_to + 1, 0, 0);
    return TRI_OK;
}

TRI_TEST(rollback_begins_behind_the_samples)
{
    static const int64_t both[2] = {2, 4};
    static const int64_t one[2] = {2, 0};
    TRI_AUTO(unstable_test) t = {0};
    TRI_TRY(make(&t));
    for (int i = 0; i < LAYOUTS; i++) {
        TRI_TRY(rolls_back_on(&t, i, 6, both, 4));
        /* the checkpoint of step 4 may be what is bad */
        TRI_TRY(rolls_back_on(&t, i, 5, both, 2));
    }
    /* there is no other one */
    return rolls_back_on(&t, 1, 3, one, 2);
}

/* The checkpoint to which it has just gone back may be what is bad. */
TRI_TEST(rollback_goes_further_back_at_once)
{
    TRI_AUTO(unstable_test) t = {0};
    TRI_TRY(make(&t));
    unstable_case got = case_of(&t, 3, TRI_STABILITY_ROLLBACK);
    got.kind = NOT_A_NUMBER;
    got.bad_step = 6;
    got.n_bad = 2;
    got.at_once = true;
    got.save_at[0] = 2;
    got.save_at[1] = 4;
    TRI_TRY(run(&got));
    const tri_stability *s = &got.stability;
    EXPECT(got.back_to == 2 && s->rollbacks == 2 && s->in_row == 0, "%lld rollbacks, to %lld",
           (long long)s->rollbacks, (long long)got.back_to);
    /* step 6, then step 5 with the samples of the seventh */
    EXPECT(s->n_ranges == 1 && s->range[0][0] == 2 * BATCH && s->range[0][1] == 7 * BATCH &&
               s->left_out == 5 * BATCH && got.consumed == (STEPS + 5) * BATCH,
           "samples %lld to %lld are left out", (long long)s->range[0][0],
           (long long)s->range[0][1]);
    return TRI_OK;
}

TRI_TEST(rollbacks_are_saved)
{
    TRI_AUTO(unstable_test) t = {0};
    TRI_TRY(make(&t));
    unstable_case whole = case_of(&t, 1, TRI_STABILITY_ROLLBACK);
    whole.kind = HUGE_WEIGHTS;
    whole.bad_step = 6;
    whole.n_bad = 1;
    whole.save_at[0] = 4;
    whole.save_at[1] = 7;
    TRI_TRY(run(&whole));
    for (int i = 0; i < LAYOUTS; i++) {
        unstable_case rest = resumed(&t, i, TRI_STABILITY_ROLLBACK, 7);
        TRI_TRY(run(&rest));
        expect_curve(&rest, &whole, 8, 0, i == 1 ? 0 : 1e-5);
        EXPECT(rest.consumed == whole.consumed && rest.stability.rollbacks == 1 &&
                   rest.stability.left_out == 2 * BATCH && rest.stability.n_ranges == 1 &&
                   rest.stability.range[0][0] == 4 * BATCH,
               "%d ranks: %lld rollbacks", rest.ranks, (long long)rest.stability.rollbacks);
    }
    return TRI_OK;
}

/* A save that some rank wants with the first step of a run, or with one that is rolled back to its begin. */
static tri_status wishing_rank(tri_comm *world, void *arg)
{
    const unstable_case *c = arg;
    tri_job *job = NULL;
    tri_saving saving;
    tri_step_result step;
    char path[TRI_CKPT_PATH_BYTES];
    TRI_TRY(open_job(c, world, &job));
    TRI_TRY(tri_job_initialise(job));
    tri_saving_init(&saving, job, c->dir);
    if (c->n_bad) {
        TRI_TRY(tri_saving_now(&saving));
        TRI_TRY(spoilt_step(job, c, &step));
        step.save = true;
        TRI_TRY(tri_saving_settle(&saving));
        TRI_TRY(tri_resume_back(job, c->dir, path));
        TRI_TRY(tri_saving_step(&saving, &step, false));
        EXPECT(!tri_saver_is_busy(job->saver), "a step that is not good was saved");
    }
    TRI_TRY(tri_train_step(job, c->n_bad ? 0 : TRI_STEP_SAVE, &step));
    TRI_TRY(tri_saving_step(&saving, &step, false));
    EXPECT(tri_saver_is_busy(job->saver) && tri_saver_step(job->saver) == 1,
           "%d bad: step 1 is not saved", c->n_bad);
    tri_job_close(&job);
    return TRI_OK;
}

TRI_TEST(wish_to_save_is_kept)
{
    TRI_AUTO(unstable_test) t = {0};
    TRI_TRY(make(&t));
    for (int n_bad = 0; n_bad < 2; n_bad++) {
        unstable_case c = case_of(&t, 3, TRI_STABILITY_ROLLBACK);
        c.n_bad = n_bad;
        c.kind = NOT_A_NUMBER;
        TRI_TRY(tri_comm_run_threads(c.ranks, &one_thread, wishing_rank, &c));
    }
    return TRI_OK;
}

TRI_TEST(job_stops_in_the_end)
{
    static const struct {
        tri_stability_policy policy;
        const char *part;
    } wants[] = {
        {TRI_STABILITY_STOP,     "weights are as after step 4; a smaller optimizer.lr"},
        {TRI_STABILITY_SKIP,     "step 7: loss "                                      },
        {TRI_STABILITY_SKIP,     "2 skips in a row (stability.max_in_row)"            },
        {TRI_STABILITY_ROLLBACK, "2 rollbacks in a row (stability.max_in_row)"        }
    };
    TRI_AUTO(unstable_test) t = {0};
    TRI_TRY(make(&t));
    for (size_t i = 0; i < sizeof wants / sizeof wants[0]; i++)
        for (int l = 0; l < LAYOUTS; l += 2) {
            unstable_case c = case_of(&t, l, wants[i].policy);
            c.kind = NOT_A_NUMBER;
            c.bad_step = 5;
            c.n_bad = 100;
            c.save_at[0] = 3;
            c.ends_with = TRI_EDIVERGED;
            c.part = wants[i].part;
            TRI_TRY(run(&c));
            EXPECT(c.counters.step == (wants[i].policy == TRI_STABILITY_SKIP ? 6 : 4),
                   "after step %lld", (long long)c.counters.step);
        }
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(skipped_step_never_was), TRI_TEST_ROW(skips_are_saved),
              TRI_TEST_ROW(skipped_step_is_no_test_of_the_batch),
              TRI_TEST_ROW(rollback_begins_behind_the_samples),
              TRI_TEST_ROW(rollback_goes_further_back_at_once), TRI_TEST_ROW(rollbacks_are_saved),
              TRI_TEST_ROW(wish_to_save_is_kept), TRI_TEST_ROW(job_stops_in_the_end))

// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=600
// TEST ranks=1 timeout=1200 long args=--all
/* Jobs whose steps are several rounds, over ranks as threads: as one round of the same batch; with a batch
 * that adapts the same decisions and losses on every mesh, memory and messages as planned, no allocation
 * after the second step; ramps; and runs that are saved in the middle of the growth and go on elsewhere.
 * --all: every case, every test on every mesh.
 */
#include "checkpoint/ckpt.h"
#include "launch/job.h"
#include "launch/train.h"
#include "tests/folder.h"
#include "tests/test.h"

enum { STEPS = 12, HALF = 7, YAML_BYTES = 2048 };

/* A run: what its ranks share, and what rank 0 writes down. */
typedef struct run {
    const char *yaml;
    const char *parallel, *more; /* overrides, separated by blanks; more: NULL for none */
    const char *load;            /* folder of checkpoints; NULL: fresh weights */
    const char *save;            /* folder to save in at the end; NULL: none */
    int ranks;
    int64_t last; /* steps at the end */
    int64_t first;
    int64_t batch[STEPS]; /* of each step */
    int64_t samples;      /* at the end */
    double loss[STEPS], norm[STEPS], lr[STEPS];
    int n_tests;
    tri_batch_report test[STEPS]; /* n_tests */
    int64_t allocations;          /* of the process, after the second step */
} run;

static tri_status make_spec(const run *r, tri_spec *out)
{
    enum { MOST = 16 };
    char text[512];
    const char *words[MOST];
    int n = 0;
    snprintf(text, sizeof text, "%s %s", r->parallel, r->more ? r->more : "");
    char *rest = NULL;
    for (char *w = strtok_r(text, " ", &rest); w && n < MOST; w = strtok_r(NULL, " ", &rest))
        words[n++] = w;
    tri_spec spec;
    TRI_TRY(tri_spec_parse(r->yaml, strlen(r->yaml), "test.yaml", &spec));
    TRI_TRY(tri_spec_override(&spec, n, words));
    TRI_TRY(tri_spec_check(&spec, r->ranks));
    *out = spec;
    return TRI_OK;
}

static void expect_memory(const run *r, const tri_spec *spec, tri_comm *world)
{
    static _Thread_local tri_job_plan plan;
    tri_status planned = tri_job_plan_make(spec, r->ranks, tri_comm_rank(world), &plan);
    EXPECT(planned == TRI_OK, "no plan: %s", tri_err_last()->text);
    tri_memory memory = tri_device_memory(tri_comm_device(world));
    for (int kind = 0; kind < TRI_MEM_KINDS; kind++)
        /* threads reach one another's memory: no buffers of the communicator */
        EXPECT(kind == TRI_MEM_COMM || memory.bytes[kind] == plan.bytes[kind],
               "%s: %s: %zu bytes, planned %zu", r->parallel, tri_mem_name((tri_mem_kind)kind),
               memory.bytes[kind], plan.bytes[kind]);
}

/* What the step moved against the prediction for a step like it, by kind of call. */
static void expect_messages(const run *r, const tri_job *job, const tri_job_step *step,
                            const tri_coll_stats *before)
{
    tri_traffic_list list = {0};
    tri_coll_stats planned = {0};
    tri_coll_stats after = tri_mesh_stats(job->mesh);
    tri_job_messages(job, step, &list);
    for (int i = 0; i < list.n; i++) {
        planned.calls[list.entry[i].kind] += list.entry[i].calls;
        planned.payload_bytes[list.entry[i].kind] += list.entry[i].payload_bytes;
    }
    for (int kind = 0; kind < TRI_COLL_KINDS; kind++) {
        if (kind == TRI_COLL_RECV) continue; /* what is received is what others have sent */
        int64_t calls = after.calls[kind] - before->calls[kind];
        int64_t bytes = after.payload_bytes[kind] - before->payload_bytes[kind];
        EXPECT(calls == planned.calls[kind] && bytes == planned.payload_bytes[kind],
               "%s: %lld rounds in %d groups: %lld calls of kind %d with %lld bytes, planned %lld, "
               "%lld",
               r->parallel, (long long)step->rounds, step->groups, (long long)calls, kind,
               (long long)bytes, (long long)planned.calls[kind],
               (long long)planned.payload_bytes[kind]);
    }
}

static tri_status start(tri_job *job, const run *r)
{
    if (!r->load) return tri_job_initialise(job);
    bool found = false;
    tri_ckpt_info info = {0};
    TRI_TRY(tri_ckpt_find_newest(r->load, job->world, &found, &info));
    EXPECT(found, "no checkpoint in %s", r->load);
    tri_status rc = tri_job_load(job, info.path);
    tri_ckpt_info_fini(&info);
    return rc;
}

static void note(run *r, int64_t step, const tri_step_result *result)
{
    r->batch[step] = result->batch;
    r->loss[step] = result->loss;
    r->norm[step] = result->grad_norm;
    r->lr[step] = result->lr;
    if (result->has_test) r->test[r->n_tests++] = result->test;
}

/* Between barriers nobody else allocates either. */
static tri_status run_steps(run *r, tri_job *job)
{
    bool is_root = tri_comm_rank(job->world) == 0;
    int64_t before = 0;
    while (job->counters.step < r->last) {
        tri_step_result result;
        int64_t at = job->counters.step;
        int64_t samples = job->counters.samples;
        tri_job_step step = tri_job_next_step(job);
        tri_coll_stats moved = tri_mesh_stats(job->mesh);
        TRI_TRY(tri_train_step(job, 0, &result));
        expect_messages(r, job, &step, &moved);
        EXPECT(step.batch == result.batch && result.has_test == (step.groups > 1) &&
                   job->counters.samples == samples + step.batch &&
                   tri_loader_consumed(job->loader) == job->counters.samples,
               "%s: step %lld has %lld of %lld sequences", r->parallel, (long long)at + 1,
               (long long)result.batch, (long long)step.batch);
        if (is_root) note(r, at, &result);
        TRI_TRY(tri_barrier(job->world));
        if (is_root && job->counters.step == r->first + 2) before = tri_alloc_count();
        TRI_TRY(tri_barrier(job->world));
    }
    if (is_root && before > 0) r->allocations = tri_alloc_count() - before;
    if (is_root) r->samples = job->counters.samples;
    return tri_barrier(job->world);
}

static tri_status run_body(tri_comm *world, void *arg)
{
    run *r = arg;
    tri_spec spec;
    tri_job *job = NULL;
    TRI_TRY(make_spec(r, &spec));
    TRI_TRY(tri_job_open(&spec, TRI_JOB_TRAIN, world, &job));
    expect_memory(r, &spec, world);
    TRI_TRY(start(job, r));
    EXPECT(job->counters.step == r->first, "begins after step %lld", (long long)job->counters.step);
    TRI_TRY(tri_barrier(world));
    TRI_TRY(run_steps(r, job));
    if (r->save) TRI_TRY(tri_job_save(job, r->save));
    tri_job_close(&job);
    return TRI_OK;
}

static const tri_device_args one_thread = {.name = "cpu", .n_threads = 1, .yield = true};

static tri_status run_make(run *r)
{
    if (r->last == 0) r->last = STEPS;
    TRI_TRY(tri_comm_run_threads(r->ranks, &one_thread, run_body, r));
    EXPECT(r->allocations == 0, "%s: %lld allocations after the second step", r->parallel,
           (long long)r->allocations);
    return TRI_OK;
}

/* The long set of cases? */
static bool has_all(void)
{
    return tri_test_argc > 1 && strcmp(tri_test_argv[1], "--all") == 0;
}

static bool is_near(double got, double want, double tolerance)
{
    return fabs(got - want) <= tolerance * fabs(want);
}

/* The steps of `got` are those of `want`. */
static void expect_run(const run *got, const run *want, double tolerance)
{
    for (int64_t s = got->first; s < got->last; s++)
        EXPECT(got->batch[s] == want->batch[s] && is_near(got->loss[s], want->loss[s], tolerance) &&
                   is_near(got->norm[s], want->norm[s], 10 * tolerance) &&
                   got->lr[s] == want->lr[s],
               "%d ranks, %s: step %lld has %lld sequences, loss %.12g, norm %.9g, rate %.9g, not "
               "%lld, %.12g, %.9g, %.9g",
               got->ranks, got->parallel, (long long)s + 1, (long long)got->batch[s], got->loss[s],
               got->norm[s], got->lr[s], (long long)want->batch[s], want->loss[s], want->norm[s],
               want->lr[s]);
}

/* And so is what its tests found. Norms of the sums of each group are in the variance. */
static void expect_tests(const run *got, const run *want, double tolerance)
{
    EXPECT(got->n_tests == want->n_tests, "%s: %d tests, not %d", got->parallel, got->n_tests,
           want->n_tests);
    for (int t = 0; t < got->n_tests && t < want->n_tests; t++) {
        const tri_batch_report *a = &got->test[t];
        const tri_batch_report *b = &want->test[t];
        EXPECT(a->now == b->now && is_near(a->variance, b->variance, tolerance) &&
                   is_near(a->squares, b->squares, tolerance) &&
                   fabs(a->wanted - b->wanted) <= 1 + tolerance * b->wanted,
               "%d ranks, %s: test %d found variance %.9g, squares %.9g, wants %.9g: %lld; not "
               "%.9g, %.9g, %.9g: %lld",
               got->ranks, got->parallel, t, a->variance, a->squares, a->wanted, (long long)a->now,
               b->variance, b->squares, b->wanted, (long long)b->now);
    }
}

static tri_status make_yaml(tri_folder *folder, const char *batch, char out[YAML_BYTES])
{
    char text[32768];
    unsigned random = 7;
    for (size_t i = 0; i < sizeof text; i++) {
        random = random * 1664525u + 1013904223u;
        text[i] = (char)(i % 5 == 4 ? ' ' : 'a' + (random >> 16) % 9);
    }
    TRI_TRY(tri_folder_put(folder, "text.txt", "w", text, sizeof text));
    snprintf(out, YAML_BYTES,
             "name: test\nseed: 3\n"
             "model: {family: gpt2, layers: 4, hidden: 32, heads: 4, context: 16, dropout: 0.1}\n"
             "data: {train: %s, format: text, tokenizer: bytes}\n"
             "batch: {micro: 1, %s}\nparallel: {bucket_mb: 0.01}\n"
             "optimizer: {name: sgd, lr: 0.05, momentum: 0.9}\nschedule: {warmup: 2}\n"
             "train: {steps: %d, threads: 1}\n",
             tri_folder_at(folder, "text.txt"), batch, STEPS);
    return TRI_OK;
}

/* One rank and one round; then the same batch in rounds, whose tests do not come before the end. Others of the
 * meshes below have steps without a test, too. */
TRI_TEST(rounds_are_no_part_of_the_result)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    char yaml[YAML_BYTES];
    TRI_TRY(make_yaml(folder, "sequences: 16", yaml));
    static run one;
    static run other;
    one = (run){.yaml = yaml, .ranks = 1, .parallel = ""};
    TRI_TRY(run_make(&one));
    enum { QUICK = 4 };
    static const struct {
        int ranks;
        const char *parallel;
    } cases[] = {
        {1, "batch.adaptive.groups=4"                                            },
        {1, "batch.adaptive.groups=2 batch.adaptive.quantum=4"                   },
        {4, "batch.adaptive.groups=2 parallel.zero=3 parallel.prefetch=0"        },
        {4, "batch.adaptive.groups=8 parallel.pipeline=2 parallel.schedule=zb_h1"},
        {2, "batch.adaptive.groups=4 parallel.zero=3"                            },
        {4, "batch.adaptive.groups=4 parallel.zero=2 parallel.pipeline=2"        },
        {4, "batch.adaptive.groups=8 parallel.tensor=2 parallel.context=2"       }
    };
    for (int i = 0; i < (has_all() ? (int)(sizeof cases / sizeof cases[0]) : QUICK); i++) {
        other = (run){.yaml = yaml, .ranks = cases[i].ranks, .parallel = cases[i].parallel};
        other.more = "batch.adaptive.test=norm batch.adaptive.max=64 batch.adaptive.interval=100";
        TRI_TRY(run_make(&other));
        expect_run(&other, &one, 1e-5);
        EXPECT(other.n_tests == 0 && other.batch[STEPS - 1] == 16, "%s: tests", other.parallel);
    }
    return TRI_OK;
}

/* A step that is reduced group by group has the gradient of one that is reduced once. */
TRI_TEST(tests_change_nothing)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    char yaml[YAML_BYTES];
    /* largest batch in a moment: only the first step can have a test */
    TRI_TRY(make_yaml(folder, "sequences: 16, adaptive: {test: norm, max: 32, eta: 0.05}", yaml));
    static run with;
    static run without;
    static const char *const layouts[] = {"parallel.zero=0", "parallel.zero=2",
                                          "parallel.zero=3 parallel.pipeline=2",
                                          "parallel.tensor=2 parallel.context=2"};
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
        without = (run){.yaml = yaml, .ranks = 4, .parallel = layouts[i], .last = 1};
        TRI_TRY(run_make(&without));
        with = (run){.yaml = yaml, .ranks = 4, .parallel = layouts[i], .last = 2};
        with.more = "batch.adaptive.interval=1";
        TRI_TRY(run_make(&with));
        EXPECT(with.n_tests == 1 && with.batch[1] == 32 && without.n_tests == 0,
               "%s: %d tests, then %lld", layouts[i], with.n_tests, (long long)with.batch[1]);
        EXPECT(is_near(with.loss[0], without.loss[0], 1e-12) &&
                   is_near(with.norm[0], without.norm[0], 1e-6) &&
                   is_near(with.test[0].squares, with.norm[0] * with.norm[0], 1e-12),
               "%s: loss %.12g, norm %.12g; without a test %.12g, %.12g; squares %.12g", layouts[i],
               with.loss[0], with.norm[0], without.loss[0], without.norm[0], with.test[0].squares);
    }
    return TRI_OK;
}

/* Every way in which ranks share elements: copies, pieces, nested groups, tensor ranks with and without partial
 * gradients, ends of the pipeline that are tied, parts of a sequence. */
static const struct {
    int ranks;
    const char *parallel;
} meshes[] = {
    {2, "parallel.zero=0"                                                                   },
    {2, "parallel.tensor=2"                                                                 },
    {2, "parallel.pipeline=2"                                                               },
    {2, "parallel.context=2 parallel.zero=2"                                                },
    {4, "parallel.zero=1"                                                                   },
    {4, "parallel.zero=3"                                                                   },
    {4, "parallel.zero=[2,2,2]"                                                             },
    {4, "parallel.tensor=2 parallel.tensor_sequence=false parallel.zero=2"                  },
    {4, "parallel.pipeline=2 parallel.chunks=2 parallel.schedule=zb_v parallel.zero=3"      },
    {4, "parallel.pipeline=2 parallel.tensor=2"                                             },
    {8, "parallel.pipeline=2 parallel.context=2 parallel.zero=3 parallel.tensor=2"          },
    {8, "parallel.tensor=2 parallel.zero=[1,2,2]"                                           },
    {8, "parallel.tensor=2 parallel.context=2 parallel.zero=3 parallel.context_mode=ulysses"}
};

/* A test, on one rank and on some of the meshes. */
typedef struct mesh_case {
    const char *test; /* keys of batch.adaptive */
    const char *more; /* overrides */
    bool grows; /* first gradients of this model are so clear that their noise scale is below 1 */
    int first, every; /* meshes, unless all are wanted */
    double tolerance; /* of losses */
} mesh_case;

static tri_status try_meshes(const char *yaml, const mesh_case *c)
{
    static run one;
    static run other;
    one = (run){.yaml = yaml, .ranks = 1, .parallel = "", .more = c->more};
    TRI_TRY(run_make(&one));
    EXPECT(one.n_tests >= 1 && (one.batch[STEPS - 1] > one.batch[0]) == c->grows,
           "%s: %d tests, batch %lld to %lld", c->test, one.n_tests, (long long)one.batch[0],
           (long long)one.batch[STEPS - 1]);
    int n = (int)(sizeof meshes / sizeof meshes[0]);
    for (int i = has_all() ? 0 : c->first; i < n; i += has_all() ? 1 : c->every) {
        other = (run){.yaml = yaml, .ranks = meshes[i].ranks, .more = c->more};
        other.parallel = meshes[i].parallel;
        TRI_TRY(run_make(&other));
        expect_run(&other, &one, c->tolerance);
        expect_tests(&other, &one, 200 * c->tolerance);
    }
    return TRI_OK;
}

TRI_TEST(meshes_decide_alike)
{
    static const mesh_case cases[] = {
        {"test: norm, eta: 0.07",                            "",                                                                  true,  0, 3,  1e-5},
        {"test: noise_scale, smoothing: 0.5",                "",                                                                  false, 1, 12, 1e-5},
        {"test: inner_product, theta: 0.008",                "",                                                                  true,  2, 12, 1e-5},
        {"test: augmented, theta: 0.2, nu: 0.05, groups: 2", "",                                                                  true,  3, 6,  1e-5},
 /* some coordinates have a mean of rounding alone: they ask for as much as there can be */
        {"test: coordinate",                                 "optimizer.name=adagrad optimizer.initial=0.1 optimizer.momentum=0",
         true,                                                                                                                           6, 6,  1e-5},
        {"test: norm, eta: 0.07",                            "precision=bf16",                                                    true,  5, 12, 1e-3},
    };
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    for (int t = 0; t < (int)(sizeof cases / sizeof cases[0]); t++) {
        char batch[256];
        char yaml[YAML_BYTES];
        snprintf(batch, sizeof batch,
                 "sequences: 32, adaptive: {%s, quantum: 32, max: 128, interval: 3, growth: 1.9, "
                 "lr: sqrt}",
                 cases[t].test);
        TRI_TRY(make_yaml(folder, batch, yaml));
        TRI_TRY(try_meshes(yaml, &cases[t]));
    }
    return TRI_OK;
}

TRI_TEST(ramps_rise_with_samples)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    char yaml[YAML_BYTES];
    TRI_TRY(make_yaml(folder,
                      "sequences: 8, ramp: {to: 32, samples: 96}, "
                      "adaptive: {quantum: 8, lr: linear}",
                      yaml));
    static run one;
    static run other;
    one = (run){.yaml = yaml, .ranks = 1, .parallel = "schedule.warmup=0 schedule.decay=constant"};
    TRI_TRY(run_make(&one));
    int64_t samples = 0;
    for (int s = 0; s < STEPS; s++) {
        int64_t batch = one.batch[s];
        /* quanta are spread evenly: in the middle of the samples half of the way is gone */
        int64_t want = samples >= 96 ? 32 : 8 + samples * 24 / 96 / 8 * 8;
        EXPECT(llabs(batch - want) <= 8 && batch % 8 == 0 && (s == 0 || batch >= one.batch[s - 1]),
               "step %d after %lld samples has %lld sequences", s + 1, (long long)samples,
               (long long)batch);
        EXPECT(is_near(one.lr[s], 0.05 * (double)batch / 8, 1e-12), "rate %g of %lld sequences",
               one.lr[s], (long long)batch);
        samples += batch;
    }
    EXPECT(one.batch[0] == 8 && one.batch[STEPS - 1] == 32 && one.samples == samples,
           "from %lld to %lld, %lld samples", (long long)one.batch[0],
           (long long)one.batch[STEPS - 1], (long long)one.samples);
    char dir[TRI_FOLDER_PATH_BYTES + 256];
    snprintf(dir, sizeof dir, "%s", tri_folder_at(folder, "ckpt"));
    other = (run){.yaml = yaml,
                  .ranks = 4,
                  .last = 4,
                  .save = dir,
                  .parallel = "parallel.zero=3 schedule.warmup=0 schedule.decay=constant"};
    TRI_TRY(run_make(&other));
    expect_run(&other, &one, 1e-5);
    other = (run){.yaml = yaml, .ranks = 2, .first = 4, .load = dir, .parallel = one.parallel};
    TRI_TRY(run_make(&other));
    expect_run(&other, &one, 1e-5);
    return TRI_OK;
}

/* Tests at 3, 6, 9, 12; saved behind step 7, with averages of two. */
TRI_TEST(growth_goes_on_elsewhere)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    char yaml[YAML_BYTES];
    TRI_TRY(make_yaml(folder,
                      "sequences: 16, adaptive: {test: norm, eta: 0.05, smoothing: 0.6, max: 96, "
                      "interval: 3, growth: 1.6}",
                      yaml));
    enum { QUICK = 2 };
    static const struct {
        int from, to;
        const char *save, *load;
        bool is_exact;
    } cases[] = {
        {2, 2, "parallel.zero=2",   "parallel.zero=2",                     true },
        {1, 4, "",                  "parallel.zero=3 parallel.pipeline=2", false},
        {4, 2, "parallel.tensor=2", "parallel.context=2",                  false},
    };
    static run whole;
    static run part;
    for (int i = 0; i < (has_all() ? (int)(sizeof cases / sizeof cases[0]) : QUICK); i++) {
        char dir[TRI_FOLDER_PATH_BYTES + 256];
        char name[16];
        snprintf(name, sizeof name, "ckpt%d", i);
        snprintf(dir, sizeof dir, "%s", tri_folder_at(folder, name));
        whole = (run){.yaml = yaml, .ranks = cases[i].from, .parallel = cases[i].save};
        TRI_TRY(run_make(&whole));
        EXPECT(whole.batch[HALF] > 16 && whole.batch[STEPS - 1] > whole.batch[HALF],
               "grows to %lld, then %lld", (long long)whole.batch[HALF],
               (long long)whole.batch[STEPS - 1]);
        part = whole;
        part.last = HALF;
        part.save = dir;
        part.n_tests = 0;
        TRI_TRY(run_make(&part));
        part = (run){.yaml = yaml, .ranks = cases[i].to, .first = HALF, .load = dir};
        part.parallel = cases[i].load;
        TRI_TRY(run_make(&part));
        expect_run(&part, &whole, cases[i].is_exact ? 0 : 1e-5);
    }
    return TRI_OK;
}

/* A run that had no tests gets some, and one that had them goes on without. */
TRI_TEST(tests_come_and_go)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    char yaml[YAML_BYTES];
    char dir[TRI_FOLDER_PATH_BYTES + 256];
    static const char on[] = "batch.adaptive.test=norm batch.adaptive.max=64 "
                             "batch.adaptive.eta=0.1 batch.adaptive.interval=2";
    TRI_TRY(make_yaml(folder, "sequences: 16", yaml));
    static run r;
    snprintf(dir, sizeof dir, "%s", tri_folder_at(folder, "ckpt"));
    r = (run){.yaml = yaml, .ranks = 2, .parallel = "", .last = 3, .save = dir};
    TRI_TRY(run_make(&r));
    r = (run){
        .yaml = yaml, .ranks = 2, .parallel = on, .first = 3, .last = 6, .load = dir, .save = dir};
    TRI_TRY(run_make(&r));
    EXPECT(r.batch[3] == 16 && r.batch[4] == 32 && r.samples == 3 * 16 + 16 + 32 + 32,
           "batches %lld, %lld, %lld; %lld samples", (long long)r.batch[3], (long long)r.batch[4],
           (long long)r.batch[5], (long long)r.samples);
    r = (run){.yaml = yaml, .ranks = 2, .parallel = on, .first = 6, .last = 7, .load = dir};
    TRI_TRY(run_make(&r));
    EXPECT(r.batch[6] == 64, "batch %lld", (long long)r.batch[6]);
    r = (run){.yaml = yaml, .ranks = 2, .parallel = "", .first = 6, .last = 7, .load = dir};
    TRI_TRY(run_make(&r));
    EXPECT(r.batch[6] == 16 && r.samples == 144, "batch %lld", (long long)r.batch[6]);
    return TRI_OK;
}

typedef struct refusal {
    run r;
    const char *message;
} refusal;

static tri_status open_refused(tri_comm *world, void *arg)
{
    const refusal *c = arg;
    tri_spec spec;
    tri_job *job = NULL;
    TRI_TRY(make_spec(&c->r, &spec));
    EXPECT_STATUS(tri_job_open(&spec, TRI_JOB_TRAIN, world, &job), TRI_EINVAL, c->message);
    tri_job_close(&job);
    return TRI_OK;
}

/* What the batch may grow to is known at the start. */
TRI_TEST(data_hold_the_largest_batch)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    char yaml[YAML_BYTES];
    TRI_TRY(make_yaml(folder, "sequences: 16", yaml));
    static refusal c;
    c = (refusal){
        .r = {.yaml = yaml,
              .ranks = 1,
              .parallel = "batch.adaptive.test=norm batch.adaptive.max=4096"},
        .message = "fewer than the largest batch, 4096 sequences (batch.adaptive.max)"
    };
    TRI_TRY(tri_comm_run_threads(1, &one_thread, open_refused, &c));
    c.r.parallel = "batch.ramp.to=2048 batch.ramp.samples=100";
    c.message = "fewer than the largest batch, 2048 sequences (batch.ramp.to)";
    TRI_TRY(tri_comm_run_threads(1, &one_thread, open_refused, &c));
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(data_hold_the_largest_batch),
              TRI_TEST_ROW(rounds_are_no_part_of_the_result), TRI_TEST_ROW(tests_change_nothing),
              TRI_TEST_ROW(meshes_decide_alike), TRI_TEST_ROW(ramps_rise_with_samples),
              TRI_TEST_ROW(growth_goes_on_elsewhere), TRI_TEST_ROW(tests_come_and_go))

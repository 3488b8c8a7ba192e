// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=300
/* Jobs over ranks as threads: initial weights the same bits on any mesh, curves that agree, memory
 * that is what the plan said, no allocation after the second step, and a save on one mesh continued on
 * another.
 */
#include "checkpoint/ckpt.h"
#include "launch/job.h"
#include "launch/train.h"
#include "tests/folder.h"
#include "tests/test.h"

enum { STEPS = 8, HALF = 4, MAX_WEIGHTS = 1 << 16 };

typedef struct job_case {
    const char *yaml;
    int zero;
    int64_t first, last; /* steps done before, and at the end */
    const char *load;    /* folder of checkpoints; NULL: fresh weights */
    const char *save;    /* folder to save in at the end; NULL: none */
    double loss[STEPS];  /* of rank 0 */
    double lr[STEPS];
    int64_t n_weights; /* initial weights of the whole model, as rank 0 computes with them */
    float weights[MAX_WEIGHTS];
    int64_t allocations; /* of the process, between the second step and the last */
} job_case;

static const tri_device_args one_thread = {.name = "cpu", .n_threads = 1, .yield = true};

static void expect_planned(const tri_spec *spec, tri_comm *world)
{
    tri_job_plan plan;
    tri_status planned = tri_job_plan_make(spec, tri_comm_size(world), 0, &plan);
    EXPECT(planned == TRI_OK, "no plan: %s", tri_err_last()->text);
    tri_memory memory = tri_device_memory(tri_comm_device(world));
    for (int kind = 0; kind < TRI_MEM_KINDS; kind++) {
        /* threads reach one another's memory: no buffers of the communicator */
        if (kind == TRI_MEM_COMM) continue;
        EXPECT(memory.bytes[kind] == plan.bytes[kind], "%s: %zu bytes, planned %zu",
               tri_mem_name((tri_mem_kind)kind), memory.bytes[kind], plan.bytes[kind]);
    }
}

/* Weights as the model sees them, row after row. */
static void keep_weights(const tri_job *job, job_case *c)
{
    c->n_weights = 0;
    for (int i = 0; i < tri_model_params(job->model); i++) {
        int64_t n = tri_row_elements(tri_state_row(job->state, i));
        const float *weight = tri_zero_weight(job->zero, i);
        for (int64_t e = 0; e < n && c->n_weights < MAX_WEIGHTS; e++)
            c->weights[c->n_weights++] = weight[e];
    }
}

static tri_status start_job(tri_job *job, job_case *c)
{
    if (!c->load) {
        TRI_TRY(tri_job_initialise(job));
        if (tri_comm_rank(job->world) == 0) keep_weights(job, c);
        return TRI_OK;
    }
    bool found = false;
    tri_ckpt_info info = {0};
    TRI_TRY(tri_ckpt_find_newest(c->load, job->world, &found, &info));
    EXPECT(found, "no checkpoint in %s", c->load);
    TRI_TRY(tri_job_load(job, info.path));
    EXPECT(job->counters.step == c->first, "loaded step %lld", (long long)job->counters.step);
    tri_ckpt_info_fini(&info);
    return TRI_OK;
}

/* Steps up to c->last; between barriers nobody else allocates either. */
static tri_status run_steps(tri_job *job, job_case *c)
{
    bool is_root = tri_comm_rank(job->world) == 0;
    int64_t before = 0;
    while (job->counters.step < c->last) {
        tri_step_result step;
        TRI_TRY(tri_train_step(job, 0, &step));
        if (is_root) c->loss[job->counters.step - 1] = step.loss;
        if (is_root) c->lr[job->counters.step - 1] = step.lr;
        TRI_TRY(tri_barrier(job->world));
        if (is_root && job->counters.step == c->first + 2) before = tri_alloc_count();
        TRI_TRY(tri_barrier(job->world));
    }
    if (is_root) c->allocations = tri_alloc_count() - before;
    return tri_barrier(job->world);
}

static tri_status job_body(tri_comm *world, void *arg)
{
    job_case *c = arg;
    tri_spec spec;
    TRI_TRY(tri_spec_parse(c->yaml, strlen(c->yaml), "test.yaml", &spec));
    spec.parallel.zero_stage = c->zero;
    spec.train.threads = 1;
    TRI_TRY(tri_spec_check(&spec, tri_comm_size(world)));
    tri_job *job = NULL;
    TRI_TRY(tri_job_open(&spec, TRI_JOB_TRAIN, world, &job));
    if (tri_comm_rank(world) == 0) expect_planned(&spec, world);
    TRI_TRY(tri_barrier(world));
    TRI_TRY(start_job(job, c));
    TRI_TRY(run_steps(job, c));
    if (c->save) TRI_TRY(tri_job_save(job, c->save));
    tri_job_close(&job);
    return TRI_OK;
}

static tri_status run_case(int ranks, job_case *c)
{
    TRI_TRY(tri_comm_run_threads(ranks, &one_thread, job_body, c));
    EXPECT(c->allocations == 0, "%d ranks: %lld allocations after the second step", ranks,
           (long long)c->allocations);
    return TRI_OK;
}

static void expect_curve(const job_case *got, const job_case *want, double tolerance,
                         const char *what)
{
    for (int64_t s = got->first; s < got->last; s++) {
        EXPECT(got->lr[s] == want->lr[s], "%s: step %lld has rate %.17g, not %.17g", what,
               (long long)s + 1, got->lr[s], want->lr[s]);
        EXPECT(fabs(got->loss[s] - want->loss[s]) <= tolerance * want->loss[s],
               "%s: step %lld has loss %.12g, not %.12g", what, (long long)s + 1, got->loss[s],
               want->loss[s]);
    }
}

/* Text with some structure, and a spec that trains on it. */
static tri_status make_yaml(tri_folder *folder, const char *model, char *out, size_t out_bytes)
{
    char text[16384];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)('a' + (i * i / 7 + i % 13) % 26);
    text[sizeof text - 1] = '\0';
    TRI_TRY(tri_folder_put(folder, "text.txt", "w", text, sizeof text - 1));
    snprintf(out, out_bytes,
             "name: test\nseed: 3\nmodel: {%s, layers: 2, hidden: 32, heads: 4, context: 16}\n"
             "data: {train: %s, format: text, tokenizer: bytes}\n"
             "batch: {sequences: 8, micro: 2}\nparallel: {bucket_mb: 0.01}\n"
             "optimizer: {name: adamw, lr: 1.0e-3}\n"
             "schedule: {warmup: 2, scale_from: 2, rewarmup_at: 0.75, rewarmup: 1}\n"
             "train: {steps: %d}\n",
             model, tri_folder_at(folder, "text.txt"), STEPS);
    return TRI_OK;
}

static tri_status compare_meshes(const char *model)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    char yaml[1024];
    TRI_TRY(make_yaml(folder, model, yaml, sizeof yaml));
    static job_case one;
    static job_case other;
    one = (job_case){.yaml = yaml, .last = STEPS};
    TRI_TRY(run_case(1, &one));
    for (int ranks = 1; ranks <= 4; ranks *= 2)
        for (int zero = 0; zero < 2; zero++) {
            char what[64];
            snprintf(what, sizeof what, "%s, %d ranks, zero %d", model, ranks, zero);
            other = (job_case){.yaml = yaml, .zero = zero, .last = STEPS};
            TRI_TRY(run_case(ranks, &other));
            EXPECT(other.n_weights == one.n_weights &&
                       memcmp(other.weights, one.weights, sizeof one.weights) == 0,
                   "%s: initial weights differ", what);
            expect_curve(&other, &one, 1e-5, what);
        }
    return TRI_OK;
}

TRI_TEST(meshes_agree)
{
    TRI_TRY(compare_meshes("family: gpt2"));
    TRI_TRY(compare_meshes("family: gpt2, dropout: 0.2"));
    TRI_TRY(compare_meshes("family: llama, kv_heads: 2"));
    return TRI_OK;
}

TRI_TEST(saved_here_continued_there)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    char yaml[1024];
    TRI_TRY(make_yaml(folder, "family: llama, kv_heads: 2", yaml, sizeof yaml));
    static job_case whole;
    static job_case part;
    whole = (job_case){.yaml = yaml, .last = STEPS};
    TRI_TRY(run_case(1, &whole));
    /* 8 sequences where 2 are meant; the middle of six steps with a warm-up of two; phase two */
    EXPECT(whole.lr[0] == 1e-3 && whole.lr[1] == 2e-3 && fabs(whole.lr[3] - 1.1e-3) < 1e-15 &&
               whole.lr[6] == 2e-3 && fabs(whole.lr[7] - 2e-4) < 1e-15,
           "%g %g %g %g %g", whole.lr[0], whole.lr[1], whole.lr[3], whole.lr[6], whole.lr[7]);
    const int from_to[][4] = {
        {1, 4, 0, 1},
        {4, 2, 1, 1},
        {2, 1, 1, 0},
        {4, 4, 1, 0}
    };
    for (size_t i = 0; i < sizeof from_to / sizeof from_to[0]; i++) {
        char dir[TRI_FOLDER_PATH_BYTES + 256];
        char name[32];
        snprintf(name, sizeof name, "ckpt%zu", i);
        snprintf(dir, sizeof dir, "%s", tri_folder_at(folder, name));
        part = (job_case){.yaml = yaml, .zero = from_to[i][2], .last = HALF, .save = dir};
        TRI_TRY(run_case(from_to[i][0], &part));
        part = (job_case){
            .yaml = yaml, .zero = from_to[i][3], .first = HALF, .last = STEPS, .load = dir};
        TRI_TRY(run_case(from_to[i][1], &part));
        expect_curve(&part, &whole, 1e-5, name);
    }
    return TRI_OK;
}

/* Load a checkpoint into a job of another parameterization or multiplier. */
static tri_status refuse_body(tri_comm *world, void *arg)
{
    static const struct {
        const char *change, *part;
    } cases[] = {
        {"model.parameterization=standard",
         "with model.parameterization mup, this job has standard"                           },
        {"model.base_hidden=32",            "with model.base_hidden 16, this job has 32"    },
        {"model.output_multiplier=2",       "with model.output_multiplier 1, this job has 2"},
    };
    const job_case *c = arg;
    bool found = false;
    tri_ckpt_info info = {0};
    TRI_TRY(tri_ckpt_find_newest(c->load, world, &found, &info));
    EXPECT(found, "no checkpoint in %s", c->load);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tri_spec spec;
        TRI_TRY(tri_spec_parse(c->yaml, strlen(c->yaml), "test.yaml", &spec));
        TRI_TRY(tri_spec_override(&spec, 1, &cases[i].change));
        TRI_TRY(tri_spec_check(&spec, 1));
        tri_job *job = NULL;
        TRI_TRY(tri_job_open(&spec, TRI_JOB_TRAIN, world, &job));
        EXPECT_STATUS(tri_job_load_part(job, info.path, TRI_JOB_WEIGHTS), TRI_EINVAL,
                      cases[i].part);
        tri_job_close(&job);
    }
    tri_ckpt_info_fini(&info);
    return TRI_OK;
}

TRI_TEST(another_parameterization_is_refused)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    char yaml[1024];
    char dir[TRI_FOLDER_PATH_BYTES + 256];
    TRI_TRY(make_yaml(folder, "family: gpt2, parameterization: mup, base_hidden: 16", yaml,
                      sizeof yaml));
    snprintf(dir, sizeof dir, "%s", tri_folder_at(folder, "ckpt"));
    static job_case c;
    c = (job_case){.yaml = yaml, .last = HALF, .save = dir};
    TRI_TRY(run_case(2, &c));
    c = (job_case){.yaml = yaml, .first = HALF, .last = STEPS, .load = dir};
    TRI_TRY(run_case(1, &c));
    return tri_comm_run_threads(1, &one_thread, refuse_body, &c);
}

TRI_TEST_MAIN(TRI_TEST_ROW(meshes_agree), TRI_TEST_ROW(saved_here_continued_there),
              TRI_TEST_ROW(another_parameterization_is_refused))

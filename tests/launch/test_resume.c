// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=300
/* What a run starts from: its newest sound checkpoint whatever is damaged, with the optimizer's states or
 * without; or the weights of another run. Two ranks as threads, each with half of the layers.
 */
#include "launch/resume.h"

#include "checkpoint/ckpt.h"
#include "checkpoint/manifest.h"
#include "launch/train.h"
#include "runtime/base/crc.h"
#include "tests/folder.h"
#include "tests/test.h"

#include <fcntl.h>

enum { PATH_BYTES = TRI_CKPT_PATH_BYTES };

/* A job from its start, over two ranks, and what is done with it. */
typedef struct resume_case {
    const char *yaml;
    const char *checkpoints;
    int64_t vocab;      /* 0: that of the yaml */
    uint64_t seed;      /* 0: that of the yaml */
    const char *rule;   /* optimizer.name; NULL: that of the yaml */
    const char *states; /* checkpoint.optimizer; NULL: the default */
    const char *from;   /* checkpoint.init_from; NULL: none */
    bool resizes;
    int64_t steps; /* trained and saved after the start */
    tri_status code;
    const char *part;     /* of the message that the start must fail with */
    int64_t step;         /* expected after the start */
    int64_t updates;      /* likewise */
    uint32_t weights_crc; /* of rank 0's first parameter, after the start and after the steps */
    uint32_t trained_crc;
    bool has_states; /* some optimizer state is not zero after the start */
    bool goes_back;  /* then the step after the start is given up: back by one more */
} resume_case;

static uint32_t sum_weights(const tri_job *job)
{
    const tri_row *row = tri_state_row(job->state, 0);
    return tri_crc32c(row->data, (size_t)row->count * sizeof(float));
}

static bool has_states(const tri_job *job)
{
    bool any = false;
    for (int i = 0; i < tri_state_rows(job->state); i++) {
        const tri_row *row = tri_state_row(job->state, i);
        if (row->role != TRI_ROLE_OPTIM) continue;
        const float *data = row->data;
        for (int64_t e = 0; e < row->count; e++)
            any = any || data[e] != 0;
    }
    return any;
}

static tri_status make_spec(const resume_case *c, int ranks, tri_spec *spec)
{
    TRI_TRY(tri_spec_parse(c->yaml, strlen(c->yaml), "test.yaml", spec));
    if (c->vocab) spec->model.vocab = c->vocab;
    if (c->seed) spec->seed = c->seed;
    if (c->rule) snprintf(spec->optimizer.name, sizeof spec->optimizer.name, "%s", c->rule);
    if (c->states)
        snprintf(spec->checkpoint.optimizer, sizeof spec->checkpoint.optimizer, "%s", c->states);
    if (c->from)
        snprintf(spec->checkpoint.init_from, sizeof spec->checkpoint.init_from, "%s", c->from);
    spec->checkpoint.resize_vocab = c->resizes;
    return tri_spec_check(spec, ranks);
}

static tri_status train(tri_job *job, const resume_case *c)
{
    for (int64_t i = 0; i < c->steps; i++) {
        tri_step_result step;
        TRI_TRY(tri_train_step(job, false, &step));
        TRI_TRY(tri_job_save(job, c->checkpoints));
    }
    return TRI_OK;
}

static tri_status go_back(tri_job *job, const resume_case *c)
{
    char path[PATH_BYTES];
    TRI_TRY(tri_resume_back(job, c->checkpoints, path));
    EXPECT(job->counters.step == c->step - 1, "back to step %lld, %s",
           (long long)job->counters.step, path);
    return TRI_OK;
}

static tri_status case_rank(tri_comm *world, void *arg)
{
    resume_case *c = arg;
    bool is_root = tri_comm_rank(world) == 0;
    tri_spec spec;
    tri_job *job = NULL;
    TRI_TRY(make_spec(c, tri_comm_size(world), &spec));
    TRI_TRY(tri_job_open(&spec, TRI_JOB_TRAIN, world, &job));
    tri_status rc = tri_resume(job, c->checkpoints);
    EXPECT(rc == c->code || (c->code != TRI_OK && rc == TRI_EPEER), "the start gave %s: %s",
           tri_status_name(rc), tri_err_last()->text);
    if (c->code != TRI_OK) {
        EXPECT(strstr(tri_err_last()->text, c->part), "message '%s' lacks '%s'",
               tri_err_last()->text, c->part);
        tri_err_clear();
    } else {
        EXPECT(job->counters.step == c->step && job->counters.updates == c->updates,
               "rank %d is after step %lld and %lld updates, not %lld and %lld",
               tri_comm_rank(world), (long long)job->counters.step,
               (long long)job->counters.updates, (long long)c->step, (long long)c->updates);
        EXPECT(has_states(job) == c->has_states, "optimizer states are there: %d, not %d",
               has_states(job), c->has_states);
        if (is_root) c->weights_crc = sum_weights(job);
        TRI_TRY(train(job, c));
        if (c->goes_back) TRI_TRY(go_back(job, c));
        if (is_root) c->trained_crc = sum_weights(job);
    }
    tri_job_close(&job);
    return TRI_OK;
}

static tri_status run(resume_case *c)
{
    static const tri_device_args device = {.name = "cpu", .n_threads = 1, .yield = true};
    return tri_comm_run_threads(2, &device, case_rank, c);
}

typedef struct resume_test {
    tri_folder *folder;
    char yaml[1024];
    char checkpoints[PATH_BYTES], other[PATH_BYTES];
    resume_case first; /* has made checkpoints of steps 1 and 2 */
} resume_test;

static void resume_test_destroy(resume_test *t)
{
    tri_folder_destroy(&t->folder);
}

static tri_status begin(resume_test *t)
{
    TRI_TRY(tri_folder_create(&t->folder));
    TRI_TRY(tri_folder_put_letters(t->folder, "text.txt", 4096));
    snprintf(
        t->yaml, sizeof t->yaml,
        "name: test\nseed: 3\nmodel: {family: gpt2, layers: 2, hidden: 32, heads: 4, context: 16}\n"
        "data: {train: %s, format: text, tokenizer: bytes}\nbatch: {sequences: 8, micro: 2}\n"
        "parallel: {pipeline: 2}\noptimizer: {name: adamw, lr: 2.0e-3}\ntrain: {steps: 9}\n",
        tri_folder_at(t->folder, "text.txt"));
    snprintf(t->checkpoints, PATH_BYTES, "%s", tri_folder_at(t->folder, "ckpt"));
    snprintf(t->other, PATH_BYTES, "%s", tri_folder_at(t->folder, "other"));
    t->first = (resume_case){.yaml = t->yaml, .checkpoints = t->checkpoints, .steps = 2};
    return run(&t->first);
}

/* Resume the first run, expecting to stand after `step`. */
static resume_case resumed(const resume_test *t, int64_t step)
{
    return (resume_case){.yaml = t->yaml,
                         .checkpoints = t->checkpoints,
                         .step = step,
                         .updates = step,
                         .has_states = true};
}

/* Path of a file of the newest checkpoint whose manifest is sound; "": of its folder. */
static tri_status file_of(const char *dir, const char *name, char out[PATH_BYTES + 64])
{
    tri_ckpt_info info = {0};
    TRI_TRY(tri_ckpt_read_info(dir, &info));
    snprintf(out, PATH_BYTES + 64, "%s%s%s", info.path, name[0] ? "/" : "", name);
    tri_ckpt_info_fini(&info);
    return TRI_OK;
}

/* Flip a bit of a byte of `row` in the newest checkpoint: where only a reader of that row sees it. */
static tri_status damage_row(const char *dir, const char *row)
{
    tri_ckpt_info info = {0};
    TRI_AUTO(tri_manifest) *m = NULL;
    TRI_TRY(tri_ckpt_read_info(dir, &info));
    tri_status rc = tri_manifest_read(info.path, &m);
    char path[PATH_BYTES + 64] = "";
    int64_t index = rc == TRI_OK ? tri_manifest_find(m, row) : -1;
    EXPECT(index >= 0, "there is no row %s", row);
    const tri_manifest_box *box = &m->boxes[m->rows[index].first_box];
    snprintf(path, sizeof path, "%s/%s", info.path, m->files[box->file].name);
    tri_ckpt_info_fini(&info);
    TRI_TRY(rc);
    unsigned char byte = 0;
    int fd = open(path, O_RDWR);
    EXPECT(pread(fd, &byte, 1, box->offset + 5) == 1, "reading %s", path);
    byte ^= 16;
    EXPECT(pwrite(fd, &byte, 1, box->offset + 5) == 1, "writing %s", path);
    close(fd);
    return TRI_OK;
}

TRI_TEST(newest_is_taken)
{
    TRI_AUTO(resume_test) t = {0};
    TRI_TRY(begin(&t));
    resume_case c = resumed(&t, 2);
    TRI_TRY(run(&c));
    EXPECT(c.weights_crc == t.first.trained_crc, "other weights than were saved");
    return TRI_OK;
}

/* The second block and the head are the second rank's alone. */
TRI_TEST(damage_that_one_rank_sees)
{
    TRI_AUTO(resume_test) t = {0};
    TRI_TRY(begin(&t));
    TRI_TRY(damage_row(t.checkpoints, "param/layers.1.mlp.down.weight"));
    resume_case c = resumed(&t, 1);
    TRI_TRY(run(&c));
    return TRI_OK;
}

TRI_TEST(a_file_is_missing)
{
    TRI_AUTO(resume_test) t = {0};
    char path[PATH_BYTES + 64];
    TRI_TRY(begin(&t));
    TRI_TRY(file_of(t.checkpoints, "shard-00001.h5", path));
    EXPECT(unlink(path) == 0, "%s", path);
    resume_case c = resumed(&t, 1);
    TRI_TRY(run(&c));
    return TRI_OK;
}

TRI_TEST(the_manifest_is_damaged)
{
    TRI_AUTO(resume_test) t = {0};
    char path[PATH_BYTES + 64];
    TRI_TRY(begin(&t));
    TRI_TRY(file_of(t.checkpoints, "manifest.h5", path));
    EXPECT(truncate(path, 900) == 0, "%s", path);
    resume_case c = resumed(&t, 1);
    TRI_TRY(run(&c));
    return TRI_OK;
}

TRI_TEST(all_are_damaged)
{
    TRI_AUTO(resume_test) t = {0};
    char path[PATH_BYTES + 64];
    TRI_TRY(begin(&t));
    TRI_TRY(damage_row(t.checkpoints, "param/layers.0.mlp.up.weight"));
    TRI_TRY(file_of(t.checkpoints, "", path));
    char hidden[PATH_BYTES + 64];
    snprintf(hidden, sizeof hidden, "%s", tri_folder_at(t.folder, "hidden"));
    EXPECT(rename(path, hidden) == 0, "%s", path);
    TRI_TRY(damage_row(t.checkpoints, "param/layers.1.mlp.up.weight"));
    EXPECT(rename(hidden, path) == 0, "%s", path);
    resume_case c = resumed(&t, 0);
    c.code = TRI_EFORMAT;
    c.part = "is damaged, see the warnings: bring a sound one back, or start afresh";
    TRI_TRY(run(&c));
    return TRI_OK;
}

/* The checkpoint of the step before the bad one goes; where it is a link, what it leads to is others'. */
TRI_TEST(what_is_given_up_is_removed)
{
    for (int is_link = 0; is_link < 2; is_link++) {
        TRI_AUTO(resume_test) t = {0};
        char path[PATH_BYTES + 64];
        char manifest[PATH_BYTES + 64];
        char hidden[PATH_BYTES];
        struct stat about;
        TRI_TRY(begin(&t));
        TRI_TRY(file_of(t.checkpoints, "", path));
        TRI_TRY(file_of(t.checkpoints, "manifest.h5", manifest));
        snprintf(hidden, sizeof hidden, "%s", tri_folder_at(t.folder, "hidden"));
        if (is_link)
            EXPECT(rename(path, hidden) == 0 && symlink(hidden, path) == 0, "linking %s", path);
        resume_case c = resumed(&t, 2);
        c.goes_back = true;
        TRI_TRY(run(&c));
        EXPECT((stat(manifest, &about) == 0) == (is_link != 0), "%s, link %d", manifest, is_link);
    }
    return TRI_OK;
}

/* The states begin at zero where the checkpoint has others, and only then. */
TRI_TEST(optimizer_begins_anew_once)
{
    TRI_AUTO(resume_test) t = {0};
    TRI_TRY(begin(&t));
    resume_case c = resumed(&t, 2);
    c.rule = "sgd";
    c.code = TRI_EINVAL;
    c.part = "of another optimizer: it has these states: adamw/m, adamw/v; this job keeps: none. "
             "checkpoint.optimizer: fresh";
    TRI_TRY(run(&c));
    c = resumed(&t, 2);
    c.states = "fresh";
    c.updates = 0;
    c.has_states = false;
    c.steps = 1;
    TRI_TRY(run(&c));
    c.step = 3; /* saved since: its states are taken, though the key stands */
    c.updates = 1;
    c.has_states = true;
    c.steps = 0;
    TRI_TRY(run(&c));
    c.rule = "sgd";
    c.updates = 0;
    c.has_states = false;
    c.steps = 1;
    TRI_TRY(run(&c));
    c.rule = NULL; /* and back */
    c.step = 4;
    c.steps = 0;
    TRI_TRY(run(&c));
    return TRI_OK;
}

/* The newest is damaged after its states were read, the one before it has none that are wanted. */
TRI_TEST(states_of_a_damaged_one_do_not_stay)
{
    TRI_AUTO(resume_test) t = {0};
    TRI_TRY(begin(&t));
    resume_case c = resumed(&t, 2);
    c.states = "fresh";
    c.updates = 0;
    c.has_states = false;
    c.steps = 1;
    TRI_TRY(run(&c));
    TRI_TRY(damage_row(t.checkpoints, "job/counters"));
    c.steps = 0;
    TRI_TRY(run(&c));
    return TRI_OK;
}

TRI_TEST(weights_of_another_run)
{
    TRI_AUTO(resume_test) t = {0};
    char one[PATH_BYTES + 64];
    TRI_TRY(begin(&t));
    TRI_TRY(file_of(t.checkpoints, "", one));
    resume_case c = {.yaml = t.yaml, .checkpoints = t.other, .seed = 8, .rule = "sgd"};
    TRI_TRY(run(&c));
    EXPECT(c.weights_crc != t.first.trained_crc, "another seed has the weights of the first run");
    c.from = one;
    TRI_TRY(run(&c));
    EXPECT(c.weights_crc == t.first.trained_crc, "not the weights of %s", one);
    c.from = t.checkpoints;
    c.steps = 1;
    TRI_TRY(run(&c));
    EXPECT(c.weights_crc == t.first.trained_crc, "not the newest weights of %s", c.from);
    /* its own checkpoints win */
    uint32_t own = c.trained_crc;
    c.steps = 0;
    c.step = 1;
    c.updates = 1;
    TRI_TRY(run(&c));
    EXPECT(c.weights_crc == own, "not the weights of its own checkpoint");
    return TRI_OK;
}

TRI_TEST(weights_that_cannot_be_had)
{
    TRI_AUTO(resume_test) t = {0};
    char one[PATH_BYTES + 64];
    TRI_TRY(begin(&t));
    TRI_TRY(file_of(t.checkpoints, "", one));
    resume_case c = {.yaml = t.yaml, .checkpoints = t.other, .code = TRI_EIO};
    c.from = t.folder->path;
    c.part = "checkpoint.init_from: there is no checkpoint at";
    TRI_TRY(run(&c));
    char absent[PATH_BYTES];
    snprintf(absent, sizeof absent, "%s", tri_folder_at(t.folder, "absent"));
    c.from = absent;
    c.part = "absent: No such file or directory";
    TRI_TRY(run(&c));
    c.from = t.checkpoints;
    c.code = TRI_EINVAL;
    c.vocab = 300;
    c.part = "this job one of 300 (row 'param/embed.token.weight'). With checkpoint.resize_vocab";
    TRI_TRY(run(&c));
    c.resizes = true;
    c.code = TRI_OK;
    TRI_TRY(run(&c));
    c.resizes = false;
    c.vocab = 0;
    TRI_TRY(damage_row(t.checkpoints, "param/layers.1.mlp.down.weight"));
    TRI_TRY(run(&c)); /* the folder has another one */
    c.from = one;
    c.code = TRI_EFORMAT;
    c.part = "is damaged: row 'param/layers.1.mlp.down.weight'";
    TRI_TRY(run(&c));
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(newest_is_taken), TRI_TEST_ROW(damage_that_one_rank_sees),
              TRI_TEST_ROW(a_file_is_missing), TRI_TEST_ROW(the_manifest_is_damaged),
              TRI_TEST_ROW(all_are_damaged), TRI_TEST_ROW(what_is_given_up_is_removed),
              TRI_TEST_ROW(optimizer_begins_anew_once),
              TRI_TEST_ROW(states_of_a_damaged_one_do_not_stay),
              TRI_TEST_ROW(weights_of_another_run), TRI_TEST_ROW(weights_that_cannot_be_had))

// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=30
/* Whose folder a run may use, and what is in it then. */
#include "launch/run_dir.h"
#include "tests/folder.h"
#include "tests/test.h"

static void make_spec(const char *name, const char *dir, tri_spec *out)
{
    static const char text[] =
        "name: x\n"
        "model: {family: gpt2, layers: 2, hidden: 64, heads: 4, context: 32}\n"
        "data: {train: text.txt}\n"
        "batch: {sequences: 8, micro: 2}\n"
        "optimizer: {lr: 1.0e-3}\n"
        "train: {steps: 10}\n";
    tri_status rc = tri_spec_parse(text, strlen(text), "t", out);
    EXPECT(rc == TRI_OK, "%s", tri_err_last()->text);
    snprintf(out->name, sizeof out->name, "%s", name);
    snprintf(out->run.dir, sizeof out->run.dir, "%s", dir);
}

static bool is_present(tri_folder *folder, const char *name)
{
    return access(tri_folder_at(folder, name), F_OK) == 0;
}

TRI_TEST(fresh_folder_is_made_and_taken_up_again)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    tri_spec spec;
    tri_run_dir run;
    make_spec("a", tri_folder_at(folder, "deep/run"), &spec);
    TRI_TRY(tri_run_dir_claim(&spec, &run));
    EXPECT(!run.is_resumed, "a fresh folder was resumed");
    EXPECT(is_present(folder, "deep/run/job.yaml") && is_present(folder, "deep/run/log") &&
               is_present(folder, "deep/run/ckpt"),
           "something is missing in %s", run.path);
    tri_run_dir other;
    EXPECT_STATUS(tri_run_dir_claim(&spec, &other), TRI_EINVAL, "another job is running in");
    tri_run_dir_close(&run);

    /* what may change does; what may not is named */
    tri_spec stored;
    spec.train.steps = 20;
    TRI_TRY(tri_run_dir_claim(&spec, &run));
    tri_run_dir_close(&run);
    EXPECT(run.is_resumed, "the run was not taken up");
    TRI_TRY(tri_spec_read(tri_folder_at(folder, "deep/run/job.yaml"), 0, NULL, &stored));
    EXPECT(stored.train.steps == 20, "%lld steps", (long long)stored.train.steps);
    spec.model.layers = 3;
    EXPECT_STATUS(tri_run_dir_claim(&spec, &run), TRI_EINVAL,
                  "was begun with model.layers 2, which is now 3");
    return TRI_OK;
}

TRI_TEST(finished_run_is_kept)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    tri_spec spec;
    tri_run_dir run;
    make_spec("a", tri_folder_at(folder, "run"), &spec);
    TRI_TRY(tri_run_dir_claim(&spec, &run));
    TRI_TRY(tri_run_dir_finish(&run, 10));
    tri_run_dir_close(&run);
    EXPECT_STATUS(tri_run_dir_claim(&spec, &run), TRI_EINVAL, "holds a finished run of 10 steps");
    spec.train.steps = 12;
    TRI_TRY(tri_run_dir_claim(&spec, &run));
    EXPECT(run.is_resumed && !is_present(folder, "run/finished"), "it is still finished");
    tri_run_dir_close(&run);
    return TRI_OK;
}

TRI_TEST(foreign_folders_stay_as_they_are)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    tri_spec spec;
    tri_run_dir run;
    make_spec("a", folder->path, &spec);
    TRI_TRY(tri_folder_put(folder, "thesis.tex", "w", "x", 1));
    EXPECT_STATUS(tri_run_dir_claim(&spec, &run), TRI_EINVAL, "holds no run (it has 'thesis.tex')");
    EXPECT(!is_present(folder, "lock") && !is_present(folder, "job.yaml"), "something was written");

    TRI_TRY(tri_folder_put(folder, "job.yaml", "w", "not: ours\n", 10));
    EXPECT_STATUS(tri_run_dir_claim(&spec, &run), TRI_EINVAL, "holds no run");
    /* a spec that a person wrote, of the same name: their folder, not a run's */
    char *text = NULL;
    TRI_TRY(tri_spec_dump(&spec, &text));
    tri_status put = tri_folder_put(folder, "job.yaml", "w", text, strlen(text));
    TRI_FREE(text);
    TRI_TRY(put);
    EXPECT_STATUS(tri_run_dir_claim(&spec, &run), TRI_EINVAL, "holds no run");

    make_spec("a", tri_folder_at(folder, "run"), &spec);
    TRI_TRY(tri_run_dir_claim(&spec, &run));
    tri_run_dir_close(&run);
    EXPECT(!run.is_resumed, "resumed");
    snprintf(spec.name, sizeof spec.name, "b");
    EXPECT_STATUS(tri_run_dir_claim(&spec, &run), TRI_EINVAL, "holds another run ('a'), not 'b'");

    make_spec("a", tri_folder_at(folder, "thesis.tex"), &spec);
    EXPECT_STATUS(tri_run_dir_claim(&spec, &run), TRI_EINVAL, "is a file");
    return TRI_OK;
}

TRI_TEST(unwritable_folder)
{
    tri_spec spec;
    tri_run_dir run;
    make_spec("a", "/proc/nothing/here", &spec);
    EXPECT_STATUS(tri_run_dir_claim(&spec, &run), TRI_EIO, "making the folder /proc/nothing");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(fresh_folder_is_made_and_taken_up_again),
              TRI_TEST_ROW(finished_run_is_kept), TRI_TEST_ROW(foreign_folders_stay_as_they_are),
              TRI_TEST_ROW(unwritable_folder))

// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=30
/* The form of the error report, the exit codes, and what one process does about a failure. */
#include "launch/report.h"
#include "tests/test.h"

#include <unistd.h>

static void print(const tri_report *report, char *out, size_t out_bytes)
{
    FILE *stream = fmemopen(out, out_bytes, "w");
    tri_report_print(report, stream);
    fclose(stream);
}

static tri_status fail_inside(void)
{
    TRI_FAIL(TRI_EIO, "shard /tmp/rank-3.h5: write of %d bytes", 4096);
}

static tri_status fail(void)
{
    TRI_TRY(fail_inside());
    return TRI_OK;
}

TRI_TEST(form_of_many_ranks)
{
    char got[1024] = "";
    char want[1024];
    tri_report report = {.rank = 3,
                         .n_ranks = 8,
                         .host = "n02",
                         .step = 1200,
                         .operation = "backward of micro-batch 2",
                         .has_frames = true};
    EXPECT(fail() == TRI_EIO, "no failure");
    tri_err_take(&report.err);
    print(&report, got, sizeof got);
    snprintf(want, sizeof want,
             "error: rank 3 of 8, host n02, step 1200, backward of micro-batch 2: TRI_EIO file or "
             "socket error\n"
             "  shard /tmp/rank-3.h5: write of 4096 bytes\n"
             "  at fail_inside (%s:%d)\n"
             "  at fail (%s:%d)\n"
             "  7 other ranks stopped\n",
             report.err.frames[0].file, report.err.frames[0].line, report.err.frames[1].file,
             report.err.frames[1].line);
    EXPECT(strcmp(got, want) == 0, "got\n%swant\n%s", got, want);
    return TRI_OK;
}

TRI_TEST(form_of_one_rank)
{
    char got[1024] = "";
    tri_report report = {.rank = 0, .n_ranks = 1, .host = "n02", .step = -1};
    report.err.code = TRI_EINVAL;
    snprintf(report.err.text, sizeof report.err.text, "job.yaml:3: unknown key 'x'");
    print(&report, got, sizeof got);
    EXPECT(strcmp(got, "error: TRI_EINVAL invalid argument or configuration\n"
                       "  job.yaml:3: unknown key 'x'\n") == 0,
           "%s", got);
    report.n_ranks = 2;
    print(&report, got, sizeof got);
    EXPECT(strstr(got, "  1 other rank stopped\n") != NULL, "%s", got);
    return TRI_OK;
}

TRI_TEST(exit_codes)
{
    EXPECT(tri_report_exit_code(TRI_OK) == 0, "done");
    EXPECT(tri_report_exit_code(TRI_EINVAL) == 2, "wrong use");
    EXPECT(tri_report_exit_code(TRI_EIO) == 1 && tri_report_exit_code(TRI_EBUG) == 1, "failed");
    tri_session session = {.step = -1};
    EXPECT(tri_report_end(&session, TRI_OK) == 0, "done");
    /* before MPI is up, rank 0 speaks for all: this one is silent */
    session.env.rank = 1;
    EXPECT(fail() == TRI_EIO, "no failure");
    EXPECT(tri_report_end(&session, TRI_EIO) == 1, "failed");
    tri_err_clear();
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(form_of_many_ranks), TRI_TEST_ROW(form_of_one_rank),
              TRI_TEST_ROW(exit_codes))

// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120
/* However ranks fail, a job gives one report, of the lowest rank that failed by itself, its exit code,
 * and leaves no rank behind. Starts itself under mpirun with the way to fail as its argument.
 */
#include "launch/report.h"
#include "runtime/agree.h"
#include "tests/test.h"

#include <limits.h>
#include <sys/wait.h>
#include <unistd.h>

static tri_status fail_if(bool fails, tri_status code, int rank)
{
    TRI_CHECK(!fails, code, "rank %d failed", rank);
    return TRI_OK;
}

/* What a rank of the job does. */
static tri_status child_body(const char *way, tri_comm *world)
{
    int rank = tri_comm_rank(world);
    if (strcmp(way, "one") == 0) {
        TRI_TRY(fail_if(rank == 2, TRI_EIO, rank));
    } else if (strcmp(way, "all") == 0) {
        TRI_TRY(fail_if(true, TRI_EDIVERGED, rank));
    } else if (strcmp(way, "agreed") == 0) {
        TRI_TRY(tri_agree(world, fail_if(rank == 3, TRI_EINVAL, rank)));
    } else {
        TRI_TRY(fail_if(rank == 1 || rank == 3, TRI_EFORMAT, rank));
    }
    TRI_TRY(tri_barrier(world)); /* where the others stand when one fails */
    return TRI_OK;
}

static int child(const char *way)
{
    tri_session session = {.step = 7};
    tri_status rc = tri_env_read(&session.env);
    if (rc == TRI_OK) rc = tri_session_open(&session, 1);
    if (rc == TRI_OK) rc = child_body(way, session.world);
    if (rc != TRI_OK) return tri_report_end(&session, rc);
    tri_session_close(&session);
    return 0;
}

static tri_status expect_report(const char *way, int code, const char *begin, const char *text)
{
    char self[PATH_MAX] = "";
    char command[PATH_MAX + 256];
    char got[8192];
    TRI_TRY(TRI_SYS(readlink("/proc/self/exe", self, sizeof self - 1), "finding this test"));
    snprintf(command, sizeof command,
             "mpirun -q --oversubscribe --bind-to none --mca mpi_yield_when_idle 1 -n 4 %s %s 2>&1",
             self, way);
    FILE *pipe = popen(command, "r");
    TRI_TRY(TRI_SYS(pipe ? 0 : -1, "running %s", command));
    size_t n = fread(got, 1, sizeof got - 1, pipe);
    got[n] = '\0';
    int status = pclose(pipe);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == code, "%s: status %x\n%s", way, status, got);
    const char *first = strstr(got, "error: ");
    EXPECT(first && !strstr(first + 1, "error: "), "%s: not one report:\n%s", way, got);
    EXPECT(strstr(got, begin) && strstr(got, text), "%s: no '%s' or '%s' in\n%s", way, begin, text,
           got);
    EXPECT(strstr(got, "3 other ranks stopped"), "%s:\n%s", way, got);
    return TRI_OK;
}

TRI_TEST(one_rank_fails)
{
    return expect_report("one", 1, "error: rank 2 of 4, host ", "rank 2 failed");
}

TRI_TEST(all_ranks_fail_alike)
{
    return expect_report("all", 1, "error: rank 0 of 4, host ", "step 7: TRI_EDIVERGED");
}

TRI_TEST(ranks_agree_on_a_failure)
{
    return expect_report("agreed", 2, "error: rank 3 of 4, host ", "rank 3 failed");
}

TRI_TEST(the_lowest_rank_speaks)
{
    return expect_report("two", 1, "error: rank 1 of 4, host ", "rank 1 failed");
}

int main(int argc, char **argv)
{
    if (argc > 1) return child(argv[1]);
    const tri_test tests[] = {TRI_TEST_ROW(one_rank_fails), TRI_TEST_ROW(all_ranks_fail_alike),
                              TRI_TEST_ROW(ranks_agree_on_a_failure),
                              TRI_TEST_ROW(the_lowest_rank_speaks)};
    return tri_test_main(argc, argv, tests, (int)(sizeof tests / sizeof tests[0]));
}

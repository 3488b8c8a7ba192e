// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=30
/* What a report of a hang says, for what the ranks said; the watch itself is tests/equiv/hang.py. */
#include "launch/health_report.h"
#include "tests/test.h"

static tri_health_line line(int rank, tri_health_source source, int64_t step, const char *text,
                            const char *wait)
{
    tri_health_line line = {.rank = rank,
                            .source = (int32_t)source,
                            .step = step,
                            .still_s = 21 + rank,
                            .wait_s = wait ? 20 : -1,
                            .host = "n1"};
    snprintf(line.text, sizeof line.text, "%s", text);
    if (wait) snprintf(line.wait, sizeof line.wait, "%s", wait);
    return line;
}

static tri_status expect_hang(const tri_health_line *lines, int n, const char *want)
{
    char got[8192] = "";
    FILE *stream = fmemopen(got, sizeof got, "w");
    tri_health_write_hang(lines, n, 0, 20, stream);
    fclose(stream);
    EXPECT(strcmp(got, want) == 0, "got\n%s\nin place of\n%s", got, want);
    return TRI_OK;
}

TRI_TEST(a_silent_rank_is_named)
{
    const tri_health_line lines[] = {
        line(0, TRI_HEALTH_ANSWERS, 12, "reducing gradients", "all-reduce over data"),
        line(1, TRI_HEALTH_ANSWERS, 12, "reducing gradients", "all-reduce over data"),
        line(2, TRI_HEALTH_ANSWERS, 12, "forward of micro-batch 3", "receive from rank 3"),
        line(3, TRI_HEALTH_SEEN, 12, "backward of micro-batch 2", NULL)};
    TRI_TRY(expect_hang(
        lines, 4,
        "error: rank 3 of 4, host n1, step 12, backward of micro-batch 2: TRI_ETIMEOUT deadline "
        "passed\n"
        "  rank 3 has not come for 24 s and does not answer: last seen in step 12, backward of "
        "micro-batch 2\n"
        "  ranks 0 1 wait for 20 s in step 12, reducing gradients: all-reduce over data\n"
        "  rank 2 waits for 20 s in step 12, forward of micro-batch 3: receive from rank 3\n"
        "  no progress for 20 s (train.hang_seconds): all ranks are ended\n"));
    const tri_health_line gone[] = {
        lines[0], {.rank = 1, .wait_s = -1}
    };
    TRI_TRY(expect_hang(gone, 2,
                        "error: rank 1 of 2: TRI_ETIMEOUT deadline passed\n"
                        "  rank 1 has not come for 20 s and does not answer: nothing is seen of "
                        "its host\n"
                        "  rank 0 waits for 20 s in step 12, reducing gradients: all-reduce over "
                        "data\n"
                        "  no progress for 20 s (train.hang_seconds): all ranks are ended\n"));
    return TRI_OK;
}

TRI_TEST(a_looping_rank_is_named)
{
    const tri_health_line lines[] = {
        line(0, TRI_HEALTH_ANSWERS, 3, "summing loss and norm", "all-reduce over world"),
        line(1, TRI_HEALTH_ANSWERS, 3, "update", NULL)};
    TRI_TRY(
        expect_hang(lines, 2,
                    "error: rank 1 of 2, host n1, step 3, update: TRI_ETIMEOUT deadline passed\n"
                    "  rank 1 waits for nobody: for 22 s in step 3, update\n"
                    "  rank 0 waits for 20 s in step 3, summing loss and norm: all-reduce over "
                    "world\n"
                    "  no progress for 20 s (train.hang_seconds): all ranks are ended\n"));
    return TRI_OK;
}

TRI_TEST(a_lost_message_is_said)
{
    const tri_health_line lines[] = {
        line(0, TRI_HEALTH_ANSWERS, 3, "forward of micro-batch 1", "receive from rank 1"),
        line(1, TRI_HEALTH_ANSWERS, 3, "forward of micro-batch 0", "receive from rank 0")};
    TRI_TRY(expect_hang(
        lines, 2,
        "error: rank 0 of 2, host n1, step 3, forward of micro-batch 1: TRI_ETIMEOUT deadline "
        "passed\n"
        "  no rank is missing: each waits for another, so a message was lost or calls were made in "
        "different orders\n"
        "  rank 0 waits for 20 s in step 3, forward of micro-batch 1: receive from rank 1\n"
        "  rank 1 waits for 20 s in step 3, forward of micro-batch 0: receive from rank 0\n"
        "  no progress for 20 s (train.hang_seconds): all ranks are ended\n"));
    return TRI_OK;
}

/* However many ranks hang, the report stays short and counts them all. */
TRI_TEST(many_ranks_are_counted)
{
    enum { RANKS = 1000 };
    static tri_health_line lines[RANKS];
    for (int r = 0; r < RANKS; r++)
        lines[r] = r % 2 ? line(r, TRI_HEALTH_UNKNOWN, 0, "", NULL)
                         : line(r, TRI_HEALTH_ANSWERS, r < 500 ? r + 1 : 1000, "x", "y");
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *stream = open_memstream(&text, &n_bytes);
    tri_health_write_hang(lines, RANKS, 0, 20, stream);
    fclose(stream);
    EXPECT(n_bytes < 5000, "%zu bytes", n_bytes);
    EXPECT(strstr(text, "and 484 more ranks do not answer") &&
               strstr(text, "and 476 more ranks wait elsewhere"),
           "%s", text);
    free(text);
    return TRI_OK;
}

TRI_TEST(a_death_is_said)
{
    tri_health_line dead = line(2, TRI_HEALTH_SEEN, 7, "update", NULL);
    char got[1024] = "";
    FILE *stream = fmemopen(got, sizeof got, "w");
    tri_health_write_death(&dead, 4, 1, stream);
    fclose(stream);
    EXPECT(strstr(got, "error: rank 2 of 4, host n1, step 7, update: TRI_EPEER") == got &&
               strstr(got, "rank 1 noticed\n  3 other ranks stopped\n"),
           "%s", got);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(a_silent_rank_is_named), TRI_TEST_ROW(a_looping_rank_is_named),
              TRI_TEST_ROW(a_lost_message_is_said), TRI_TEST_ROW(many_ranks_are_counted),
              TRI_TEST_ROW(a_death_is_said))

// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120
/* Every schedule run by the executor with real messages between threads (tri_comm_run_threads) and
 * computations that take no time: each message is the one that was expected, buffers of slots are not
 * overwritten before they are sent, and all ranks come to the end. Then with times, of which only
 * what cannot be shorter is judged.
 */
#include "launch/bench_schedule.h"
#include "tests/test.h"

static tri_status run(const char *name, int p, int v, int m, const tri_schedule_times *times)
{
    TRI_AUTO(tri_schedule) *schedule = NULL;
    tri_schedule_outcome outcome;
    double seconds = 0;
    TRI_TRY(tri_schedule_create(name, p, v, m, &schedule));
    TRI_TRY(tri_schedule_simulate(schedule, times, false, &outcome));
    TRI_TRY(tri_bench_schedule_run(schedule, times, &seconds));
    EXPECT(seconds >= outcome.makespan, "%s p %d v %d m %d: %g s, simulated %g s", name, p, v, m,
           seconds, outcome.makespan);
    return TRI_OK;
}

TRI_TEST(all_schedules_run)
{
    const tri_schedule_times none = {0};
    static const int ranks[] = {1, 2, 3, 4, 8};
    static const int micro_batches[] = {1, 4, 8, 24};
    for (const char *const *name = tri_schedule_names(); *name; name++)
        for (int i = 0; i < 5; i++)
            for (int j = 0; j < 4; j++)
                for (int v = 1; v <= 3; v++) {
                    bool may = tri_schedule_check(*name, ranks[i], v, micro_batches[j]) == TRI_OK;
                    tri_err_clear();
                    if (may) TRI_TRY(run(*name, ranks[i], v, micro_batches[j], &none));
                }
    return TRI_OK;
}

TRI_TEST(times_are_slept)
{
    const tri_schedule_times times = {
        .forward = 2e-3, .backward_input = 3e-3, .backward_weight = 1e-3};
    for (const char *const *name = tri_schedule_names(); *name; name++) {
        int v = tri_schedule_check(*name, 2, 1, 4) == TRI_OK ? 1 : 2;
        tri_err_clear();
        TRI_TRY(run(*name, 2, v, 4, &times));
    }
    return TRI_OK;
}

/* A table that is out of order is noticed by what has been done; on one rank, since the communicators of
 * ranks that fail are not closed. */
TRI_TEST(wrong_order_is_noticed)
{
    const tri_schedule_times none = {0};
    TRI_AUTO(tri_schedule) *schedule = NULL;
    double seconds = 0;
    TRI_TRY(tri_schedule_create("interleaved", 1, 2, 2, &schedule));
    tri_op first = schedule->ops[0][0];
    schedule->ops[0][0] = schedule->ops[0][1];
    schedule->ops[0][1] = first;
    EXPECT_STATUS(
        tri_bench_schedule_run(schedule, &none, &seconds), TRI_EBUG,
        "forward of micro-batch 0, stage 1 (pipeline rank 0, operation 0 of 8): stage 0 has "
        "not given what it needs");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(all_schedules_run), TRI_TEST_ROW(times_are_slept),
              TRI_TEST_ROW(wrong_order_is_noticed))

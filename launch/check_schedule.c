// SPDX-License-Identifier: Apache-2.0
/* The drawing, with what a column is, and its figures. */
#include "launch/check_schedule.h"

#include "parallel/schedule.h"
#include "runtime/base/int.h"

static void print_list(const tri_schedule *schedule, FILE *stream)
{
    bool is_whole = schedule->chunks == 1;
    fprintf(stream, "alive    at most");
    for (int r = 0; r < schedule->ranks; r++)
        fprintf(stream, " %d", tri_schedule_peak(schedule, r));
    fprintf(stream, " %s on pipeline rank 0%s\n",
            is_whole ? "micro-batches" : "chunks of micro-batches",
            schedule->ranks > 1 ? ", 1 ..." : "");
}

tri_status tri_check_schedule(const tri_spec *spec, FILE *stream)
{
    static const tri_schedule_times equal = {
        .forward = 1, .backward_input = 1, .backward_weight = 1};
    int64_t pass = spec->parallel.data * spec->batch.micro;
    int micro_batches = 0;
    TRI_TRY(tri_int(spec->batch.sequences / pass, &micro_batches));
    TRI_AUTO(tri_schedule) *schedule = NULL;
    tri_schedule_outcome outcome;
    TRI_TRY(tri_schedule_create(spec->parallel.schedule, spec->parallel.pipeline,
                                spec->parallel.chunks, micro_batches, &schedule));
    TRI_TRY(tri_schedule_simulate(schedule, &equal, false, &outcome));
    fprintf(
        stream,
        "schedule %s: pipeline %d x chunks %d, %d micro-batches; F forward, B backward%s, . idle\n",
        schedule->name, schedule->ranks, schedule->chunks, schedule->micro_batches,
        schedule->split ? " of inputs, W of weights" : "");
    TRI_TRY(tri_schedule_draw(schedule, &equal, stream));
    fprintf(stream,
            "idle     %.1f %% of a rank's time, where F, %s take a column each and messages none\n",
            100 * outcome.bubble, schedule->split ? "B and W" : "and each half of B,");
    print_list(schedule, stream);
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* One save at a time: the next waits for the one under way (back-pressure). */
#include "launch/saving.h"

#include "launch/signals.h"
#include "runtime/base/clock.h"
#include "runtime/base/log.h"

/* Before all steps, so that a wish that comes with any of them is a new one. */
enum { NO_STEP = -2 };

void tri_saving_init(tri_saving *saving, tri_job *job, const char *dir)
{
    *saving = (tri_saving){.job = job,
                           .dir = dir,
                           .last_step = NO_STEP,
                           .last_s = tri_clock_s(),
                           .stall_s = tri_saver_stall_s(job->saver)};
}

static bool is_root(const tri_saving *saving)
{
    return tri_comm_rank(saving->job->world) == 0;
}

bool tri_saving_is_wanted(tri_saving *saving)
{
    double every_s = saving->job->spec.checkpoint.every_seconds;
    bool is_asked = tri_signals_take_save();
    bool is_time = every_s > 0 && is_root(saving) && tri_clock_s() - saving->last_s >= every_s;
    return is_asked || is_time;
}

/* A wish that comes with the step after a save is that save's: a signal to all ranks does not reach all in
 * the same step. */
static bool is_due(const tri_saving *saving, const tri_step_result *step)
{
    int64_t every = saving->job->spec.checkpoint.every;
    int64_t at = saving->job->counters.step;
    bool is_turn = every > 0 && at % every == 0 && step->verdict != TRI_VERDICT_ROLLBACK;
    return is_turn || saving->is_postponed || (step->save && at > saving->last_step + 1);
}

/* What became of a save. */
static tri_status settle(tri_saving *saving, tri_saver_outcome outcome, const tri_err *failure,
                         bool is_last)
{
    if (outcome != TRI_SAVER_FAILED) return TRI_OK;
    saving->n_failures++;
    if (is_last) return tri_err_put(failure);
    if (is_root(saving))
        tri_log(
            TRI_LOG_WARN,
            "step %lld was not saved: %s; earlier checkpoints are as they were; training goes on",
            (long long)tri_saver_step(saving->job->saver), failure->text);
    return TRI_OK;
}

static tri_status advance(tri_saving *saving)
{
    tri_saver_outcome outcome = TRI_SAVER_GOES_ON;
    tri_err failure = {.code = TRI_OK};
    TRI_TRY(tri_saver_advance(saving->job->saver, &outcome, &failure));
    return settle(saving, outcome, &failure, false);
}

static tri_status finish(tri_saving *saving, bool is_last)
{
    tri_saver_outcome outcome = TRI_SAVER_GOES_ON;
    tri_err failure = {.code = TRI_OK};
    TRI_TRY(tri_saver_finish(saving->job->saver, &outcome, &failure));
    return settle(saving, outcome, &failure, is_last);
}

static tri_status begin(tri_saving *saving, bool waits, bool is_last)
{
    TRI_TRY(finish(saving, false));
    saving->last_step = saving->job->counters.step;
    saving->last_s = tri_clock_s();
    TRI_TRY(tri_job_save_begin(saving->job, saving->dir));
    return waits ? finish(saving, is_last) : TRI_OK;
}

tri_status tri_saving_now(tri_saving *saving)
{
    return begin(saving, true, true);
}

tri_status tri_saving_settle(tri_saving *saving)
{
    tri_saver *saver = saving->job->saver;
    saving->last_step = NO_STEP;
    if (tri_saver_step(saver) == saving->job->counters.step) return tri_saver_drop(saver);
    return finish(saving, false);
}

tri_status tri_saving_step(tri_saving *saving, const tri_step_result *step, bool is_last)
{
    tri_activity *now = tri_device_activity(tri_comm_device(saving->job->world));
    bool waits = is_last || !saving->job->spec.checkpoint.async;
    tri_activity_begin(now, "checkpoint");
    bool is_good = step->verdict == TRI_VERDICT_GOOD;
    bool due = is_due(saving, step);
    if (step->is_written && is_good) TRI_TRY(advance(saving));
    saving->is_postponed = due && !is_good;
    if (is_last || (due && is_good)) TRI_TRY(begin(saving, waits, is_last));
    tri_activity_end(now);
    return TRI_OK;
}

double tri_saving_stall_s(tri_saving *saving)
{
    double before_s = saving->stall_s;
    saving->stall_s = tri_saver_stall_s(saving->job->saver);
    return saving->stall_s - before_s;
}

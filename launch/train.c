// SPDX-License-Identifier: Apache-2.0
/* Training. One step, top to bottom: forward and backward of the batch, round by round, with the
 * gradients reduced behind the last one; loss and norm; the verdict; the next batch; clip, update of the
 * local shards, gather. Around it the loop: going back, metrics, evaluation, checkpoints, until the last
 * step or until asked to stop.
 */
#include "launch/train.h"

#include "launch/commands.h"
#include "launch/peak.h"
#include "launch/progress.h"
#include "launch/resident.h"
#include "launch/resume.h"
#include "launch/run_dir.h"
#include "launch/saving.h"
#include "launch/signals.h"
#include "launch/trace_file.h"
#include "optim/clip.h"
#include "runtime/base/alloc.h"
#include "runtime/base/clock.h"
#include "runtime/metrics.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

/* What the ranks tell one another once a step. */
enum { SHARE_LOSS, SHARE_TOKENS, SHARE_SQUARES, SHARE_STOP, SHARE_SAVE, SHARE_WRITTEN, SHARES };
_Static_assert((int)SHARES == (int)TRI_STEP_SHARES, "the prediction knows how many");

/* Forward and backward of this rank's part of a round of a step with `batch` sequences. In the last one of its
 * group each gradient that is complete goes on its way to the other ranks. */
static tri_status run_round(tri_job *job, int64_t batch, bool is_last, double share[SHARES])
{
    tri_activity *now = tri_device_activity(tri_comm_device(job->world));
    tri_loader_batch part;
    int64_t counted = 0;
    tri_activity_next(now, "reading the batch");
    TRI_TRY(tri_loader_next(job->loader, &part));
    tri_activity_next(now, "forward and backward");
    float scale = 1.0f / (float)(batch * part.length);
    TRI_TRY(tri_stage_train(job->stage, &part, scale, is_last, &share[SHARE_LOSS], &counted));
    share[SHARE_TOKENS] += (double)counted;
    return TRI_OK;
}

/* The gradient of a step's batch, summed over all ranks; with a test, group by group. */
static tri_status accumulate(tri_job *job, const tri_job_step *step, double share[SHARES])
{
    tri_activity *now = tri_device_activity(tri_comm_device(job->world));
    int64_t rounds = step->rounds / step->groups;
    tri_activity_begin(now, "clearing gradients");
    TRI_TRY(tri_zero_begin(job->zero));
    for (int g = 0; g < step->groups; g++) {
        if (g > 0) tri_zero_next_group(job->zero);
        for (int64_t r = 0; r < rounds; r++)
            TRI_TRY(run_round(job, step->batch, r == rounds - 1, share));
        tri_activity_next(now, "reducing gradients");
        TRI_TRY(tri_zero_reduce_wait(job->zero));
        if (step->groups > 1) TRI_TRY(tri_batch_observe(job->batch, g));
    }
    tri_activity_end(now);
    return TRI_OK;
}

/* The schedule's, which stands still on a skip, and what a batch other than the first makes of it. */
static double rate_of(const tri_job *job, int64_t step, int64_t batch)
{
    tri_batch_config config = tri_spec_batch(&job->spec);
    return tri_lr_at(&job->lr, step - job->stability.skipped) * tri_batch_lr_factor(&config, batch);
}

/* The update is about to change what a save under way may not have read yet. */
static void hand_to_saver(tri_job *job, tri_activity *now)
{
    tri_activity_next(now, "handing weights to the checkpoint");
    tri_saver_guard(job->saver);
}

/* Is the update to be made? The same on all ranks, which meet once more only to give one report. */
static tri_status judge(tri_job *job, int64_t step, tri_step_result *out)
{
    const tri_stability_config *config = &job->spec.stability;
    tri_stability_step numbers = {.step = step, .loss = out->loss, .norm = out->grad_norm};
    out->verdict = tri_stability_judge(&job->stability, config, &numbers, &out->norm_ratio);
    if (out->verdict == TRI_VERDICT_STOP)
        TRI_TRY(tri_agree(job->world,
                          tri_stability_fail(&job->stability, config, &numbers, out->norm_ratio)));
    return TRI_OK;
}

/* The batch of the steps after this one. */
static tri_status decide(tri_job *job, tri_activity *now, tri_step_result *out)
{
    tri_activity_next(now, "deciding on the batch");
    TRI_TRY(tri_batch_decide(job->batch, job->world, &out->test));
    out->has_test = out->test.is_finite;
    return TRI_OK;
}

static tri_status update(tri_job *job, tri_activity *now, double lr, double norm)
{
    tri_optim_step_args args = {.step = job->counters.updates + 1,
                                .lr = lr,
                                .gradient_scale = tri_clip_factor(norm, job->spec.optimizer.clip),
                                .squares = norm * norm};
    hand_to_saver(job, now);
    tri_activity_next(now, "update");
    TRI_TRY(tri_optim_step(job->optim, &args));
    tri_activity_next(now, "gathering weights");
    TRI_TRY(tri_zero_gather(job->zero));
    job->counters.updates++;
    return TRI_OK;
}

/* The step is over; its samples are those from `begin` on. */
static void count_step(tri_job *job, int64_t begin, const tri_step_result *step)
{
    int64_t end = tri_loader_consumed(job->loader);
    if (step->verdict == TRI_VERDICT_SKIP) tri_stability_leave_out(&job->stability, begin, end);
    job->counters.step++;
    job->counters.samples += end - begin;
    job->counters.tokens += step->tokens;
}

tri_status tri_train_step(tri_job *job, unsigned wishes, tri_step_result *out)
{
    double start_s = tri_clock_s();
    tri_device *device = tri_comm_device(job->world);
    double exposed_s = tri_device_exposed_s(device);
    double share[SHARES] = {
        [SHARE_STOP] = (wishes & TRI_STEP_STOP) != 0, [SHARE_SAVE] = (wishes & TRI_STEP_SAVE) != 0};
    int64_t step = job->counters.step + 1;
    int64_t begin = tri_loader_consumed(job->loader);

    tri_activity *now = tri_device_activity(device);
    tri_activity_step(now, step);

    tri_job_step work = tri_job_next_step(job);
    TRI_TRY(accumulate(job, &work, share));
    tri_activity_begin(now, "summing loss and norm");
    share[SHARE_WRITTEN] = tri_saver_done(job->saver);
    TRI_TRY(tri_zero_sum_squares(job->zero, &share[SHARE_SQUARES]));
    TRI_TRY(tri_allreduce(job->world, tri_span_make(share, SHARES, TRI_F64), TRI_SUM, NULL));

    *out = (tri_step_result){.loss = share[SHARE_LOSS] / share[SHARE_TOKENS],
                             .grad_norm = sqrt(share[SHARE_SQUARES]),
                             .batch = work.batch,
                             .tokens = (int64_t)share[SHARE_TOKENS],
                             .stop = share[SHARE_STOP] > 0,
                             .save = share[SHARE_SAVE] > 0,
                             .is_written = tri_saver_is_busy(job->saver) &&
                                           share[SHARE_WRITTEN] == tri_comm_size(job->world)};
    TRI_TRY(judge(job, step, out));
    if (out->verdict == TRI_VERDICT_GOOD) {
        out->lr = rate_of(job, step, work.batch);
        if (work.groups > 1) TRI_TRY(decide(job, now, out));
        TRI_TRY(update(job, now, out->lr, out->grad_norm));
    }
    tri_activity_end(now);

    if (out->verdict != TRI_VERDICT_ROLLBACK) count_step(job, begin, out);
    out->step_s = tri_clock_s() - start_s;
    out->comm_exposed_s = tri_device_exposed_s(device) - exposed_s;
    return TRI_OK;
}

/* First words of communicators' names, and how metrics call the time spent waiting for them. */
static const struct {
    const char *kind, *metric;
} exposed_kinds[] = {
    {"tensor",   "exposed_tensor_s"  },
    {"context",  "exposed_context_s" },
    {"pipeline", "exposed_pipeline_s"},
    {"data",     "exposed_data_s"    },
    {"zero",     "exposed_zero_s"    },
    {"world",    "exposed_world_s"   },
};
enum { EXPOSED_KINDS = sizeof exposed_kinds / sizeof exposed_kinds[0] };

/* A run: a job, its folder, and on rank 0 what records and shows it. */
typedef struct train_run {
    tri_session *session;
    tri_spec spec;
    tri_job *job;
    tri_run_dir dir;
    tri_metrics *metrics; /* rank 0 */
    tri_progress progress;
    tri_saving saving;
    tri_trace_file *trace; /* NULL: none was asked for */
    double peak_flops_per_s;
    double flops_per_token;
    double exposed_s[EXPOSED_KINDS]; /* by kind, of the last step */
    double eval_loss;                /* of the last evaluation; NaN: none yet */
} train_run;

static bool is_root(const train_run *run)
{
    return tri_comm_rank(run->session->world) == 0;
}

/* Which cores the ranks may use: a table for people, so the first sixteen ranks will do. */
static tri_status show_ranks(train_run *run)
{
    enum { LINE_BYTES = 192, SHOWN = 16 };
    tri_comm *world = run->session->world;
    int n = tri_comm_size(world);
    char cores[64];
    char line[LINE_BYTES] = "";
    tri_env_core_list(cores, sizeof cores);
    snprintf(line, sizeof line, "host %s, cores %s, %d thread%s", run->session->env.host, cores,
             tri_device_threads(run->session->device),
             tri_device_threads(run->session->device) == 1 ? "" : "s");
    char *lines = NULL;
    TRI_TRY(TRI_NEW_ARRAY((int64_t)n * LINE_BYTES, &lines));
    tri_status gathered =
        tri_allgather(world, tri_span_make(line, LINE_BYTES, TRI_U8),
                      tri_span_make(lines, (int64_t)n * LINE_BYTES, TRI_U8), NULL);
    for (int r = 0; gathered == TRI_OK && is_root(run) && r < n && r < SHOWN; r++)
        tri_log(TRI_LOG_INFO, "rank %d: %s", r, lines + (ptrdiff_t)r * LINE_BYTES);
    if (is_root(run) && n > SHOWN) tri_log(TRI_LOG_INFO, "and %d more ranks", n - SHOWN);
    TRI_FREE(lines);
    TRI_TRY(gathered);
    return TRI_OK;
}

static tri_status open_records(train_run *run)
{
    if (!is_root(run)) return TRI_OK;
    tri_metrics_args args = {.dir = run->dir.path, .resume_step = run->job->counters.step};
    TRI_TRY(tri_metrics_open(&args, &run->metrics));
    bool is_terminal = isatty(STDERR_FILENO) && !run->session->env.is_plain;
    tri_progress_init(&run->progress, stderr, is_terminal, run->spec.train.steps,
                      run->spec.train.log_every);
    return TRI_OK;
}

/* Operations of the schedule are what this rank does: in reports and in the trace. */
static void begin_operation(void *activity, const tri_op *op)
{
    char name[TRI_ACTIVITY_BYTES];
    tri_activity_begin(activity, "%s", tri_op_name(op, name, sizeof name));
}

static void end_operation(void *activity, const tri_op *op)
{
    (void)op;
    tri_activity_end(activity);
}

static tri_status open_observers(train_run *run)
{
    tri_stage_observer observer = {.arg = tri_device_activity(run->session->device),
                                   .begin = begin_operation,
                                   .end = end_operation};
    tri_stage_observe(run->job->stage, &observer);
    char path[TRI_RUN_PATH_BYTES + 16];
    snprintf(path, sizeof path, "%s/trace.json", run->dir.path);
    tri_trace_file_args trace = {
        .mesh = run->job->mesh, .steps = run->spec.train.trace, .path = path};
    TRI_TRY(tri_trace_file_open(&trace, &run->trace));
    TRI_TRY(tri_session_watch(run->session, run->dir.path, run->spec.train.hang_seconds));
    return TRI_OK;
}

/* What can go back needs something to go back to. */
static tri_status begin_safely(train_run *run)
{
    bool found = false;
    if (run->spec.stability.policy != TRI_STABILITY_ROLLBACK) return TRI_OK;
    TRI_TRY(tri_resume_has(run->job, run->dir.checkpoints, &found));
    return found ? TRI_OK : tri_saving_now(&run->saving);
}

static tri_status run_open(train_run *run)
{
    TRI_TRY(show_ranks(run));
    /* first what can be refused, then the folder */
    TRI_TRY(tri_job_open(&run->spec, TRI_JOB_TRAIN, run->session->world, &run->job));
    TRI_TRY(tri_run_dir_open(&run->spec, run->session->world, &run->dir));
    tri_session_log_to(run->session, run->dir.log);
    TRI_TRY(open_observers(run));
    TRI_TRY(tri_resume(run->job, run->dir.checkpoints));
    TRI_TRY(tri_agree(run->session->world, open_records(run)));
    TRI_TRY(tri_peak_measure(run->job->kernels, run->spec.precision, run->session->world,
                             &run->peak_flops_per_s));
    run->flops_per_token = tri_model_flops_per_token(run->job->model, run->spec.model.context);
    run->eval_loss = NAN;
    tri_saving_init(&run->saving, run->job, run->dir.checkpoints);
    return begin_safely(run);
}

/* Add (sign 1) or take off (-1) what was waited so far: before and after a step. */
static void count_exposed(train_run *run, int sign)
{
    for (int i = 0; i < EXPOSED_KINDS; i++) {
        double now_s = tri_device_exposed_of(run->session->device, exposed_kinds[i].kind);
        run->exposed_s[i] = sign > 0 ? run->exposed_s[i] + now_s : -now_s;
    }
}

/* A kind that did not wait is left out. */
static void put_exposed(const train_run *run, tri_metrics_row *row)
{
    for (int i = 0; i < EXPOSED_KINDS; i++)
        if (run->exposed_s[i] > 0)
            row->extra[row->n_extra++] =
                (tri_metrics_extra){exposed_kinds[i].metric, run->exposed_s[i]};
}

/* What saving cost since the last row, and how often it failed so far: where there is something to say. */
static void put_saving(train_run *run, tri_metrics_row *row)
{
    double stall_s = tri_saving_stall_s(&run->saving);
    int n_failures = run->saving.n_failures;
    if (stall_s > 0)
        row->extra[row->n_extra++] = (tri_metrics_extra){"checkpoint_stall_s", stall_s};
    if (n_failures > 0)
        row->extra[row->n_extra++] = (tri_metrics_extra){"checkpoint_failures", n_failures};
}

/* What the job's stability came to so far: where there is something to say. */
static void put_stability(const train_run *run, const tri_step_result *step, tri_metrics_row *row)
{
    const tri_stability *s = &run->job->stability;
    const tri_metrics_extra numbers[] = {
        {"skipped",          step->verdict == TRI_VERDICT_SKIP                       },
        {"norm_ratio",       step->verdict == TRI_VERDICT_SKIP ? step->norm_ratio : 0},
        {"spikes",           (double)s->spikes                                       },
        {"skipped_steps",    (double)s->skipped                                      },
        {"rollbacks",        (double)s->rollbacks                                    },
        {"samples_left_out", (double)s->left_out                                     },
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (numbers[i].value > 0) row->extra[row->n_extra++] = numbers[i];
}

/* A step without an update, in words. */
static void warn_unstable(train_run *run, const tri_step_result *step, int64_t number,
                          const char *outcome)
{
    char why[160];
    const tri_stability *s = &run->job->stability;
    tri_stability_step numbers = {.step = number, .loss = step->loss, .norm = step->grad_norm};
    tri_stability_describe(&numbers, &run->spec.stability, step->norm_ratio, why, sizeof why);
    const int64_t *range = s->range[s->n_ranges - 1];
    tri_progress_end(&run->progress);
    tri_log(TRI_LOG_WARN, "step %lld: %s; %s; samples %lld to %lld are left out", (long long)number,
            why, outcome, (long long)range[0], (long long)range[1] - 1);
}

/* The batch where it may vary, and what a test of it found. */
static void put_batch(const train_run *run, const tri_step_result *step, tri_metrics_row *row)
{
    if (!run->job->batch) return;
    row->extra[row->n_extra++] = (tri_metrics_extra){"batch", (double)step->batch};
    if (!step->has_test) return;
    const tri_batch_report *test = &step->test;
    row->extra[row->n_extra++] = (tri_metrics_extra){"batch_variance", test->variance};
    row->extra[row->n_extra++] = (tri_metrics_extra){"batch_gradient", test->gradient};
    row->extra[row->n_extra++] = (tri_metrics_extra){"noise_scale", test->noise_scale};
    row->extra[row->n_extra++] = (tri_metrics_extra){"batch_wanted", test->wanted};
}

/* A line where the next step has another batch than this one. */
static void log_batch(train_run *run, const tri_step_result *step)
{
    int64_t next = tri_job_next_step(run->job).batch;
    if (!is_root(run) || next == step->batch) return;
    char why[96] = "";
    if (step->has_test)
        snprintf(why, sizeof why, ": the test asks for %.0f, the noise scale is %.4g",
                 step->test.wanted, step->test.noise_scale);
    tri_progress_end(&run->progress);
    tri_log(TRI_LOG_INFO, "step %lld: the batch grows from %lld to %lld sequences%s",
            (long long)run->job->counters.step, (long long)step->batch, (long long)next, why);
}

/* The step in metrics.jsonl and on the screen. */
static tri_status record(train_run *run, const tri_step_result *step, bool evaluated)
{
    if (!is_root(run)) return TRI_OK;
    double tokens_per_s = (double)step->tokens / step->step_s;
    double mfu = tokens_per_s * run->flops_per_token / run->peak_flops_per_s;
    tri_memory memory = tri_device_memory(run->session->device);
    tri_metrics_row row = {.step = run->job->counters.step,
                           .loss = step->loss,
                           .grad_norm = step->grad_norm,
                           .lr = step->lr,
                           .samples = run->job->counters.samples,
                           .tokens = run->job->counters.tokens,
                           .tokens_per_s = tokens_per_s,
                           .mfu = mfu,
                           .step_s = step->step_s,
                           .comm_exposed_s = step->comm_exposed_s,
                           .memory_bytes = (int64_t)memory.peak_bytes};
    row.extra[row.n_extra++] = (tri_metrics_extra){"allocations", (double)tri_alloc_count()};
    put_batch(run, step, &row);
    put_exposed(run, &row);
    put_saving(run, &row);
    put_stability(run, step, &row);
    if (evaluated) row.extra[row.n_extra++] = (tri_metrics_extra){"eval_loss", run->eval_loss};
    TRI_TRY(tri_metrics_write(run->metrics, &row));
    tri_progress_step shown = {.step = row.step,
                               .loss = row.loss,
                               .grad_norm = row.grad_norm,
                               .lr = row.lr,
                               .step_s = row.step_s,
                               .tokens_per_s = tokens_per_s,
                               .mfu = mfu};
    tri_progress_show(&run->progress, &shown);
    return TRI_OK;
}

static tri_status evaluate(train_run *run)
{
    int64_t tokens = 0;
    tri_activity *now = tri_device_activity(run->session->device);
    tri_activity_begin(now, "evaluation");
    TRI_TRY(tri_job_evaluate(run->job, run->spec.train.eval_batches, &run->eval_loss, &tokens));
    tri_activity_end(now);
    if (is_root(run)) {
        tri_progress_end(&run->progress);
        tri_log(TRI_LOG_INFO, "step %lld: held-out loss %.4f nats per token (%lld tokens)",
                (long long)run->job->counters.step, run->eval_loss, (long long)tokens);
    }
    return TRI_OK;
}

/* The curve is as it was at the checkpoint; then a line tells what happened. */
static tri_status record_rollback(train_run *run, const tri_step_result *step, int64_t failed)
{
    if (!is_root(run)) return TRI_OK;
    const tri_stability *s = &run->job->stability;
    const tri_metrics_extra numbers[] = {
        {"rolled_back_from", (double)failed                          },
        {"rolled_back_loss", step->loss                              },
        {"rolled_back_norm", step->grad_norm                         },
        {"norm_ratio",       step->norm_ratio                        },
        {"left_out_from",    (double)s->range[s->n_ranges - 1][0]    },
        {"left_out_to",      (double)s->range[s->n_ranges - 1][1] - 1},
        {"spikes",           (double)s->spikes                       },
        {"rollbacks",        (double)s->rollbacks                    },
    };
    int64_t at = run->job->counters.step;
    tri_metrics_args args = {.dir = run->dir.path, .resume_step = at};
    TRI_TRY(tri_metrics_close(&run->metrics));
    TRI_TRY(tri_metrics_open(&args, &run->metrics));
    return tri_metrics_note(run->metrics, at + 1, (int)(sizeof numbers / sizeof numbers[0]),
                            numbers);
}

/* The step after job->counters.step is given up, with those since the newest checkpoint. */
static tri_status roll_back(train_run *run, const tri_step_result *step)
{
    tri_job *job = run->job;
    tri_activity *now = tri_device_activity(run->session->device);
    char path[TRI_CKPT_PATH_BYTES];
    char outcome[TRI_CKPT_PATH_BYTES + 64];
    int64_t failed = job->counters.step + 1;
    tri_activity_begin(now, "going back to a checkpoint");
    TRI_TRY(tri_saving_settle(&run->saving));
    TRI_TRY(tri_resume_back(job, run->dir.checkpoints, path));
    tri_activity_end(now);
    snprintf(outcome, sizeof outcome, "back to step %lld, %s", (long long)job->counters.step, path);
    if (is_root(run)) warn_unstable(run, step, failed, outcome);
    return tri_agree(job->world, record_rollback(run, step, failed));
}

static bool is_due(int64_t every, int64_t step)
{
    return every > 0 && step % every == 0;
}

/* What this rank wants to happen after the next step. */
static unsigned wishes(train_run *run)
{
    unsigned stop = tri_signals_received() ? TRI_STEP_STOP : 0;
    return stop | (tri_saving_is_wanted(&run->saving) ? TRI_STEP_SAVE : 0);
}

/* What follows a step that counts: evaluation, a row, and a line where the batch grows. */
static tri_status conclude(train_run *run, const tri_step_result *step)
{
    int64_t at = run->job->counters.step;
    bool is_turn = is_due(run->spec.train.eval_every, at) || at == run->spec.train.steps;
    bool evaluates = run->job->validation && is_turn;
    if (step->verdict == TRI_VERDICT_SKIP && is_root(run))
        warn_unstable(run, step, at, "the update is skipped");
    if (evaluates) TRI_TRY(evaluate(run));
    TRI_TRY(record(run, step, evaluates));
    log_batch(run, step);
    return TRI_OK;
}

/* Steps until the last one, or until some rank was asked to stop. */
static tri_status run_steps(train_run *run, bool *stopped)
{
    tri_job *job = run->job;
    int64_t steps = run->spec.train.steps;
    int64_t first = job->counters.step + 1;
    *stopped = false;
    while (job->counters.step < steps && !*stopped) {
        tri_step_result step;
        run->session->step = job->counters.step + 1;
        count_exposed(run, -1);
        TRI_TRY(tri_train_step(job, wishes(run), &step));
        count_exposed(run, 1);
        bool counts = step.verdict != TRI_VERDICT_ROLLBACK;
        TRI_TRY(counts ? conclude(run, &step) : roll_back(run, &step));
        int64_t at = job->counters.step;
        *stopped = step.stop && at < steps;
        if (at == first + 1 && is_root(run)) {
            tri_progress_end(&run->progress);
            tri_resident_log(run->session->device);
        }
        TRI_TRY(tri_saving_step(&run->saving, &step, at == steps || *stopped));
        TRI_TRY(tri_trace_file_step(run->trace));
    }
    TRI_TRY(tri_trace_file_finish(run->trace));
    return TRI_OK;
}

static tri_status run_finish(train_run *run, bool stopped)
{
    if (is_root(run)) {
        tri_progress_end(&run->progress);
        TRI_TRY(tri_metrics_close(&run->metrics));
        if (stopped)
            tri_log(TRI_LOG_INFO,
                    "stopped by %s after step %lld, state saved in %s; the same command goes on",
                    tri_signals_received() ? tri_signals_name(tri_signals_received())
                                           : "a signal to another rank",
                    (long long)run->job->counters.step, run->dir.checkpoints);
        else
            TRI_TRY(tri_run_dir_finish(&run->dir, run->job->counters.step));
    }
    return TRI_OK;
}

tri_status tri_cmd_train(const tri_cmd_args *args)
{
    TRI_CHECK(args->argc >= 2, TRI_EINVAL,
              "train takes a job spec: trireme train JOB.yaml [key=value ...]");
    train_run run = {.session = args->session};
    const char *const *overrides = (const char *const *)args->argv + 2;
    TRI_TRY(tri_signals_begin());
    TRI_TRY(
        tri_session_open_job(args->session, args->argv[1], args->argc - 2, overrides, &run.spec));
    TRI_TRY(run_open(&run));
    bool stopped = false;
    TRI_TRY(run_steps(&run, &stopped));
    TRI_TRY(tri_agree(args->session->world, run_finish(&run, stopped)));
    tri_trace_file_destroy(&run.trace);
    tri_health_close(&args->session->health);
    tri_job_close(&run.job);
    tri_run_dir_close(&run.dir);
    tri_signals_end();
    return TRI_OK;
}

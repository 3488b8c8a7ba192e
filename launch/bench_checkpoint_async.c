// SPDX-License-Identifier: Apache-2.0
/* Training with saves beside it, and without: slices of as many steps take turns. The saves of a slice begin
 * in the middle of each period and are waited for at its end, so that a slice pays for what it saves.
 */
#include "launch/bench_checkpoint_impl.h"
#include "launch/bench_race.h"
#include "launch/train.h"
#include "runtime/agree.h"
#include "runtime/base/clock.h"
#include "runtime/base/int.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { DETAIL_BYTES = 256, ASYNC_ROUNDS = 3 };
static const char memory_dir[] = "/dev/shm";

/* One kind of slice. */
typedef struct async_slice {
    tri_bench_ckpt *run;
    const char *dir; /* NULL: no saves */
    double stall_s;  /* of all slices so far */
    double step_s;   /* of the last slice */
    int64_t n_saves; /* begun, of all slices */
    int64_t n_slices;
} async_slice;

static tri_status settle(tri_saver_outcome outcome, const tri_err *failure)
{
    return outcome == TRI_SAVER_FAILED ? tri_err_put(failure) : TRI_OK;
}

static tri_status finish(tri_saver *saver)
{
    tri_saver_outcome outcome = TRI_SAVER_GOES_ON;
    tri_err failure = {.code = TRI_OK};
    TRI_TRY(tri_saver_finish(saver, &outcome, &failure));
    return settle(outcome, &failure);
}

static tri_status advance(tri_saver *saver)
{
    tri_saver_outcome outcome = TRI_SAVER_GOES_ON;
    tri_err failure = {.code = TRI_OK};
    TRI_TRY(tri_saver_advance(saver, &outcome, &failure));
    return settle(outcome, &failure);
}

/* As the training loop does it (launch/saving.c). */
static tri_status after_step(async_slice *slice, const tri_step_result *step, int64_t at)
{
    tri_job *job = slice->run->job;
    int64_t every = slice->run->options.every;
    if (step->is_written) TRI_TRY(advance(job->saver));
    if (!slice->dir || (at + 1) % every != (every + 1) / 2 % every) return TRI_OK;
    TRI_TRY(finish(job->saver));
    slice->n_saves++;
    return tri_job_save_begin(job, slice->dir);
}

static tri_status slice_run(void *arg)
{
    async_slice *slice = arg;
    tri_bench_ckpt *b = slice->run;
    tri_job *job = b->job;
    double stall_s = tri_saver_stall_s(job->saver);
    TRI_TRY(tri_barrier(b->world));
    double start_s = tri_clock_s();
    for (int64_t i = 0; i < b->options.steps; i++) {
        tri_step_result step;
        TRI_TRY(tri_train_step(job, 0, &step));
        TRI_TRY(after_step(slice, &step, i));
    }
    TRI_TRY(finish(job->saver));
    slice->stall_s += tri_saver_stall_s(job->saver) - stall_s;
    slice->step_s = (tri_clock_s() - start_s) / (double)b->options.steps;
    slice->n_slices++;
    return tri_barrier(b->world);
}

/* Seconds that one save's bytes take on their way to the disk, with nothing else to do. */
static tri_status disk_seconds(tri_bench_ckpt *b, double *seconds)
{
    tri_bench_raw_way ways[TRI_BENCH_RAW_WRITES];
    tri_bench_raw_writes(&b->raw, ways);
    TRI_TRY(tri_bench_ckpt_clean(b));
    double start_s = tri_clock_s();
    TRI_TRY(tri_bench_raw_write(&ways[TRI_BENCH_RAW_WRITES - 1]));
    *seconds = tri_clock_s() - start_s;
    return tri_bench_ckpt_clean(b);
}

/* What a slice with saves takes, over one without; the raw write of a save tells what back-pressure must
 * cost: what it takes beyond the steps of a period. */
static void report(tri_bench_ckpt *b, const char *name, const async_slice *slice,
                   const tri_bench_result *result, double ratio, double raw_s)
{
    double slices = (double)slice->n_slices;
    double without_s = result->seconds;
    double n_saves = (double)slice->n_saves / slices;
    double period_s = without_s / (double)b->options.steps * (double)b->options.every;
    double must_s = n_saves * (raw_s > period_s ? raw_s - period_s : 0);
    char detail[DETAIL_BYTES];
    snprintf(detail, sizeof detail,
             "%lld steps of %.2f s, %g saves, stalled %.3f s; back-pressure must cost %.3f (raw "
             "write %.2f s, %lld steps %.1f s)",
             (long long)b->options.steps, without_s / (double)b->options.steps, n_saves,
             slice->stall_s / slices, must_s / without_s, raw_s, (long long)b->options.every,
             period_s);
    tri_bench_line line = {.name = name, .value = ratio, .unit = "of without", .detail = detail};
    tri_bench_ckpt_print(b, &line);
}

static void report_memory(tri_bench_ckpt *b)
{
    char detail[DETAIL_BYTES];
    snprintf(detail, sizeof detail, "host buffer of rank 0, which writes %.4g MB",
             (double)b->raw.write_bytes * 1e-6);
    tri_bench_line line = {.name = "checkpoint.async.memory",
                           .value =
                               (double)tri_arena_bytes(b->job->arena, TRI_MEM_CHECKPOINT) * 1e-6,
                           .unit = "MB",
                           .detail = detail};
    tri_bench_ckpt_print(b, &line);
}

/* Is there room for two checkpoints in memory? Rank 0 looks. */
static tri_status has_memory(tri_bench_ckpt *b, bool *has)
{
    int64_t free_bytes = 0;
    int64_t is_there = 0;
    if (tri_bench_ckpt_is_root(b) && access(memory_dir, W_OK) == 0) {
        TRI_TRY(tri_disk_free_bytes(memory_dir, &free_bytes));
        is_there = free_bytes > 2 * b->state_bytes + b->state_bytes / 4;
    }
    TRI_TRY(tri_broadcast(b->world, tri_span_make(&is_there, 1, TRI_I64), 0, NULL));
    *has = is_there != 0;
    if (!*has && tri_bench_ckpt_is_root(b))
        tri_log(TRI_LOG_WARN, "checkpoint.async.shm is not measured: no room in %s", memory_dir);
    return TRI_OK;
}

tri_status tri_bench_ckpt_async(tri_bench_ckpt *b)
{
    bool asks_disk = tri_bench_ckpt_is_asked(b, "checkpoint.async.disk");
    bool asks_memory = tri_bench_ckpt_is_asked(b, "checkpoint.async.shm");
    if (tri_bench_ckpt_is_asked(b, "checkpoint.async.memory") && tri_bench_ckpt_is_root(b))
        report_memory(b);
    if (asks_memory) TRI_TRY(has_memory(b, &asks_memory));
    if (!asks_disk && !asks_memory) return TRI_OK;
    double raw_s = 0;
    TRI_TRY(disk_seconds(b, &raw_s));
    if (asks_memory) TRI_TRY(tri_bench_ckpt_folder(b, memory_dir, b->memory_folder));

    async_slice without = {.run = b};
    async_slice disk = {.run = b, .dir = b->folder};
    async_slice memory = {.run = b, .dir = b->memory_folder};
    tri_bench_runner runners[3] = {
        {.run = slice_run, .arg = &without}
    };
    int n = 1;
    int at_memory = n;
    if (asks_memory) runners[n++] = (tri_bench_runner){.run = slice_run, .arg = &memory};
    int at_disk = n;
    if (asks_disk) runners[n++] = (tri_bench_runner){.run = slice_run, .arg = &disk};
    tri_bench_result result;
    TRI_TRY(tri_bench_race(n, runners, (int)tri_min64(b->options.rounds, ASYNC_ROUNDS), &result));
    if (!tri_bench_ckpt_is_root(b)) return TRI_OK;
    if (asks_memory)
        report(b, "checkpoint.async.shm", &memory, &result, result.shares[at_memory], 0);
    if (asks_disk)
        report(b, "checkpoint.async.disk", &disk, &result, result.shares[at_disk], raw_s);
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* Slices of saves (or loads) and of each raw way of writing (reading) the same bytes take turns. What a
 * slice leaves behind is removed before the next one, outside of the time.
 */
#include "launch/bench_checkpoint.h"

#include "checkpoint/folder.h"
#include "launch/bench_checkpoint_impl.h"
#include "launch/bench_race.h"
#include "launch/commands.h"
#include "launch/resident.h"
#include "launch/train.h"
#include "runtime/agree.h"
#include "runtime/base/alloc.h"

#include <ftw.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DETAIL_BYTES = 256, OPEN_FOLDERS = 8 };

bool tri_bench_ckpt_is_root(const tri_bench_ckpt *b)
{
    return tri_comm_rank(b->world) == 0;
}

bool tri_bench_ckpt_is_asked(const tri_bench_ckpt *b, const char *name)
{
    return !b->options.only || strstr(name, b->options.only);
}

static tri_status set_size(const char *size, tri_bench_job_options *job)
{
    const tri_bench_job_options large = {TRI_BENCH_JOB_124M, .sequence = 512, .batch = 4,
                                         .accumulation = 1, .zero = 1};
    const tri_bench_job_options small = {.family = "gpt2",
                                         .precision = "bf16",
                                         .layers = 4,
                                         .hidden = 256,
                                         .heads = 4,
                                         .vocab = 4096,
                                         .sequence = 64,
                                         .batch = 1,
                                         .accumulation = 1,
                                         .zero = 1};
    bool is_small = strcmp(size, "small") == 0;
    TRI_CHECK(is_small || strcmp(size, "124m") == 0, TRI_EINVAL,
              "--size '%.40s': takes 124m or small", size);
    *job = is_small ? small : large;
    return TRI_OK;
}

static tri_status read_options(const tri_bench_args *args, tri_bench_ckpt_options *options)
{
    static const struct option known[] = {
        {"size",   required_argument, NULL, 's'},
        {"dir",    required_argument, NULL, 'd'},
        {"only",   required_argument, NULL, 'o'},
        {"rounds", required_argument, NULL, 'r'},
        {"steps",  required_argument, NULL, 'n'},
        {"every",  required_argument, NULL, 'e'},
        {NULL,     0,                 NULL, 0  }
    };
    TRI_TRY(set_size("124m", &options->job));
    optind = 1;
    for (int c; (c = getopt_long(args->argc, args->argv, ":", known, NULL)) != -1;) {
        if (c == 's')
            TRI_TRY(set_size(optarg, &options->job));
        else if (c == 'd')
            options->dir = optarg;
        else if (c == 'o')
            options->only = optarg;
        else if (c == 'r')
            TRI_TRY(tri_option_int("--rounds", optarg, 1, TRI_BENCH_ROUNDS, &options->rounds));
        else if (c == 'n')
            TRI_TRY(tri_option_int("--steps", optarg, 1, 1000, &options->steps));
        else if (c == 'e')
            TRI_TRY(tri_option_int("--every", optarg, 1, 1000, &options->every));
        else
            TRI_FAIL(TRI_EINVAL,
                     "bench checkpoint: option '%.60s' is unknown or its value is missing; "
                     "docs/benchmarks.md lists them",
                     args->argv[optind - 1]);
    }
    TRI_CHECK(optind == args->argc, TRI_EINVAL, "bench checkpoint: '%.40s' is no option",
              args->argv[optind]);
    return TRI_OK;
}

static tri_status make_folder(const char *dir, char out[TRI_DISK_PATH_BYTES])
{
    char path[TRI_DISK_PATH_BYTES];
    TRI_TRY(tri_disk_make_folder(dir));
    TRI_TRY(tri_disk_path(path, dir, "trireme-bench-XXXXXX", ""));
    TRI_TRY(TRI_SYS(mkdtemp(path) ? 0 : -1, "making folder %s", path));
    memcpy(out, path, sizeof path);
    return TRI_OK;
}

tri_status tri_bench_ckpt_folder(tri_bench_ckpt *b, const char *dir, char out[TRI_DISK_PATH_BYTES])
{
    TRI_TRY(tri_agree(b->world, tri_bench_ckpt_is_root(b) ? make_folder(dir, out) : TRI_OK));
    return tri_broadcast(b->world, tri_span_make(out, TRI_DISK_PATH_BYTES, TRI_U8), 0, NULL);
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info, (void)type, (void)walk;
    return remove(path);
}

static void remove_folder(const tri_bench_ckpt *b, char folder[TRI_DISK_PATH_BYTES])
{
    if (tri_bench_ckpt_is_root(b) && folder[0])
        nftw(folder, remove_one, OPEN_FOLDERS, FTW_DEPTH | FTW_PHYS);
    folder[0] = '\0';
}

static void remove_folders(tri_bench_ckpt *b)
{
    remove_folder(b, b->folder);
    remove_folder(b, b->memory_folder);
}

/* Bytes that this rank holds, and of all rows once: what a load fills, and what a save writes. */
static int64_t held_bytes(const tri_state *state, int64_t *all)
{
    int64_t held = 0;
    *all = 0;
    for (int i = 0; i < tri_state_rows(state); i++) {
        const tri_row *row = tri_state_row(state, i);
        held += row->count * (int64_t)tri_dtype_bytes(row->dtype);
        *all += tri_row_elements(row) * (int64_t)tri_dtype_bytes(row->dtype);
    }
    return held;
}

static tri_status bench_open(tri_bench_ckpt *b)
{
    TRI_TRY(read_options(b->args, &b->options));
    int ranks = tri_comm_size(b->world);
    TRI_TRY(tri_bench_ckpt_folder(b, b->options.dir, b->folder));
    TRI_TRY(tri_agree(b->world, tri_bench_job_tokens(&b->options.job, ranks, &b->fd)));
    tri_spec spec;
    TRI_TRY(tri_agree(b->world, tri_bench_job_spec(&b->options.job, ranks, b->fd, &spec)));
    spec.checkpoint.keep = 1;
    TRI_TRY(tri_job_open(&spec, TRI_JOB_TRAIN, b->world, &b->job));
    TRI_TRY(tri_job_initialise(b->job));
    tri_step_result step; /* moments that are not zero, in pages of their own */
    TRI_TRY(tri_train_step(b->job, 0, &step));
    TRI_TRY(tri_spec_dump(&b->job->spec, &b->yaml));
    tri_saver_args saver = {.state = b->job->state, .world = b->world, .version = TRI_VERSION};
    TRI_TRY(tri_agree(b->world, tri_saver_create(&saver, &b->saver)));
    b->raw.read_bytes = held_bytes(b->job->state, &b->state_bytes);
    b->raw.write_bytes = b->state_bytes / ranks;
    b->raw.world = b->world;
    memcpy(b->raw.folder, b->folder, sizeof b->folder);
    return tri_bench_raw_open(&b->raw);
}

static void bench_close(tri_bench_ckpt *b)
{
    remove_folders(b);
    tri_bench_raw_close(&b->raw);
    TRI_FREE(b->yaml);
    tri_saver_destroy(&b->saver);
    tri_job_close(&b->job);
    if (b->fd >= 0) close(b->fd);
    b->fd = -1;
}

/* All lines are printed before the command fails. Rank 0. */
void tri_bench_ckpt_print(tri_bench_ckpt *b, const tri_bench_line *line)
{
    tri_status rc = tri_bench_report(b->args, line);
    if (rc != TRI_OK) b->worst = rc;
}

/* Rank 0: remove all checkpoints. */
static tri_status remove_checkpoints(const tri_bench_ckpt *b)
{
    TRI_AUTO(tri_folder) list = {0};
    TRI_TRY(tri_folder_list(b->folder, &list));
    for (int64_t i = 0; i < list.n; i++)
        TRI_TRY(tri_folder_remove(b->folder, list.entries[i].name, NULL));
    return TRI_OK;
}

/* Remove what the slice before left. */
tri_status tri_bench_ckpt_clean(tri_bench_ckpt *b)
{
    TRI_TRY(tri_agree(b->world, tri_bench_raw_remove(&b->raw)));
    TRI_TRY(tri_agree(b->world, tri_bench_ckpt_is_root(b) ? remove_checkpoints(b) : TRI_OK));
    return tri_barrier(b->world);
}

static tri_status prepare_save(void *arg)
{
    return tri_bench_ckpt_clean(arg);
}

static tri_status prepare_raw_write(void *arg)
{
    const tri_bench_raw_way *way = arg;
    return tri_bench_ckpt_clean(
        (tri_bench_ckpt *)((char *)way->raw - offsetof(tri_bench_ckpt, raw)));
}

/* As a job does that saves at once: who writes what is planned in the first save, which does not count. */
static tri_status save(void *arg)
{
    tri_bench_ckpt *b = arg;
    tri_saver_outcome outcome = TRI_SAVER_GOES_ON;
    tri_err failure = {.code = TRI_OK};
    TRI_TRY(tri_barrier(b->world));
    TRI_TRY(tri_saver_begin(b->saver, b->folder, b->job->counters.step, b->yaml));
    TRI_TRY(tri_saver_finish(b->saver, &outcome, &failure));
    return outcome == TRI_SAVER_FAILED ? tri_err_put(&failure) : TRI_OK;
}

/* "1.49 GB in 0.81 s, 2 ranks; limit: ..." */
static void describe(const tri_bench_ckpt *b, double seconds, const char *more,
                     char out[DETAIL_BYTES])
{
    int ranks = tri_comm_size(b->world);
    snprintf(out, DETAIL_BYTES, "%.4g GB in %.3f s, %d rank%s; %s", (double)b->state_bytes * 1e-9,
             seconds, ranks, ranks == 1 ? "" : "s", more);
}

/* A disk that others use, too, changes its rate from slice to slice. */
static const double disk_slack = 0.25;

static void report_rate(tri_bench_ckpt *b, const char *name, const tri_bench_result *result,
                        int64_t bytes, const char *more)
{
    char detail[DETAIL_BYTES];
    describe(b, result->seconds, more, detail);
    tri_bench_line line = {.name = name,
                           .value = (double)bytes * 1e-9 / result->seconds,
                           .unit = "GB/s",
                           .limit = (double)bytes * 1e-9 / result->limit_s,
                           .share = result->share,
                           .slack = disk_slack,
                           .detail = detail};
    tri_bench_ckpt_print(b, &line);
}

static tri_status measure_save(tri_bench_ckpt *b)
{
    tri_bench_raw_way ways[TRI_BENCH_RAW_WRITES];
    tri_bench_runner runners[1 + TRI_BENCH_RAW_WRITES] = {
        {save, b, NULL, prepare_save}
    };
    tri_bench_raw_writes(&b->raw, ways);
    for (int i = 0; i < TRI_BENCH_RAW_WRITES; i++)
        runners[1 + i] =
            (tri_bench_runner){tri_bench_raw_write, &ways[i], ways[i].detail, prepare_raw_write};
    tri_bench_result result;
    TRI_TRY(tri_bench_race(1 + TRI_BENCH_RAW_WRITES, runners, (int)b->options.rounds, &result));
    TRI_TRY(tri_bench_ckpt_clean(b));
    if (!tri_bench_ckpt_is_root(b)) return TRI_OK;
    report_rate(b, "checkpoint.save", &result, b->state_bytes, result.detail);
    double plain = 0; /* the fastest of the plain ways: the least of limit over workload */
    for (int i = 1; i <= TRI_BENCH_RAW_PLAIN; i++)
        if (i == 1 || result.shares[i] < plain) plain = result.shares[i];
    tri_bench_line line = {.name = "checkpoint.save.plain",
                           .value = plain,
                           .unit = "of plain",
                           .detail = "rate over that of the fastest write and fsync without early "
                                     "write-back"};
    tri_bench_ckpt_print(b, &line);
    return TRI_OK;
}

tri_status tri_bench_ckpt_peak(tri_bench_ckpt *b, const char *name, tri_bench_ckpt_fn run,
                               const char *detail)
{
    double bytes = -1;
    bool can = tri_resident_peak_reset();
    size_t before = tri_resident_peak_bytes();
    TRI_TRY(run(b));
    if (can) bytes = (double)(tri_resident_peak_bytes() - before);
    TRI_TRY(tri_allreduce(b->world, tri_span_make(&bytes, 1, TRI_F64), TRI_MAX, NULL));
    if (!tri_bench_ckpt_is_root(b)) return TRI_OK;
    tri_bench_line line = {.name = name, .value = bytes / 1e6, .unit = "MB", .detail = detail};
    if (bytes < 0)
        tri_log(TRI_LOG_WARN, "%s is not measured: the system does not reset VmHWM", name);
    else
        tri_bench_ckpt_print(b, &line);
    return TRI_OK;
}

static tri_status save_memory(tri_bench_ckpt *b)
{
    TRI_TRY(tri_bench_ckpt_clean(b));
    return tri_bench_ckpt_peak(b, "checkpoint.save.memory", save,
                               "peak beyond the job's own, the most of the ranks");
}

static tri_status load(void *arg)
{
    tri_bench_ckpt *b = arg;
    tri_ckpt_load_args args = {.path = b->raw.read_path, .state = b->job->state, .world = b->world};
    TRI_TRY(tri_barrier(b->world));
    return tri_ckpt_load(&args);
}

/* Forget the files' pages. */
static tri_status drop(tri_bench_ckpt *b)
{
    tri_status rc =
        tri_bench_ckpt_is_root(b) ? tri_bench_raw_drop(b->raw.read_path, &b->cached) : TRI_OK;
    return tri_agree(b->world, rc);
}

static tri_status prepare_cold_load(void *arg)
{
    return drop(arg);
}

static tri_status prepare_cold_read(void *arg)
{
    const tri_bench_raw_way *way = arg;
    return drop((tri_bench_ckpt *)((char *)way->raw - offsetof(tri_bench_ckpt, raw)));
}

static tri_status measure_load(tri_bench_ckpt *b, const char *name, bool is_cold)
{
    tri_bench_raw_way ways[TRI_BENCH_RAW_READS];
    tri_bench_runner runners[1 + TRI_BENCH_RAW_READS] = {
        {load, b, NULL, is_cold ? prepare_cold_load : NULL}
    };
    tri_bench_raw_reads(&b->raw, ways);
    for (int i = 0; i < TRI_BENCH_RAW_READS; i++)
        runners[1 + i] = (tri_bench_runner){tri_bench_raw_read, &ways[i], ways[i].detail,
                                            is_cold ? prepare_cold_read : NULL};
    tri_bench_result result;
    TRI_TRY(tri_bench_race(1 + TRI_BENCH_RAW_READS, runners, (int)b->options.rounds, &result));
    int64_t bytes = b->raw.read_bytes;
    TRI_TRY(tri_allreduce(b->world, tri_span_make(&bytes, 1, TRI_I64), TRI_SUM, NULL));
    char more[DETAIL_BYTES];
    snprintf(more, sizeof more, "%s%s", result.detail, is_cold ? ", not in the page cache" : "");
    if (tri_bench_ckpt_is_root(b)) report_rate(b, name, &result, bytes, more);
    return TRI_OK;
}

/* One checkpoint to be loaded and converted again and again. */
static tri_status keep_one(tri_bench_ckpt *b)
{
    bool found = false;
    tri_ckpt_info info = {0};
    TRI_TRY(tri_bench_ckpt_clean(b));
    TRI_TRY(save(b));
    TRI_TRY(tri_ckpt_find_newest(b->folder, b->world, &found, &info));
    memcpy(b->raw.read_path, info.path, sizeof info.path);
    tri_ckpt_info_fini(&info);
    return TRI_OK;
}

static tri_status measure_loads(tri_bench_ckpt *b)
{
    if (tri_bench_ckpt_is_asked(b, "checkpoint.load.warm"))
        TRI_TRY(measure_load(b, "checkpoint.load.warm", false));
    if (tri_bench_ckpt_is_asked(b, "checkpoint.load.memory"))
        TRI_TRY(tri_bench_ckpt_peak(b, "checkpoint.load.memory", load,
                                    "peak beyond the job's own, the most of the ranks"));
    if (!tri_bench_ckpt_is_asked(b, "checkpoint.load.cold")) return TRI_OK;
    TRI_TRY(drop(b));
    TRI_TRY(tri_broadcast(b->world, tri_span_make(&b->cached, 1, TRI_F64), 0, NULL));
    if (b->cached < 0.01) return measure_load(b, "checkpoint.load.cold", true);
    if (tri_bench_ckpt_is_root(b))
        tri_log(TRI_LOG_WARN,
                "checkpoint.load.cold is not measured: the file system of %s keeps %.0f %% of the "
                "pages",
                b->folder, 100 * b->cached);
    return TRI_OK;
}

static tri_status bench_run(tri_bench_ckpt *b)
{
    TRI_TRY(bench_open(b));
    if (tri_bench_ckpt_is_asked(b, "checkpoint.save")) TRI_TRY(measure_save(b));
    if (tri_bench_ckpt_is_asked(b, "checkpoint.save.memory")) TRI_TRY(save_memory(b));
    TRI_TRY(tri_bench_ckpt_async(b));
    TRI_TRY(keep_one(b));
    TRI_TRY(measure_loads(b));
    TRI_TRY(tri_bench_ckpt_convert(b));
    return TRI_OK;
}

tri_status tri_bench_checkpoint(const tri_bench_args *args)
{
    tri_bench_ckpt bench = {
        .args = args,
        .world = args->session->world,
        .fd = -1,
        .options = {.dir = ".", .rounds = 5, .steps = 20, .every = 10}
    };
    tri_status rc = bench_run(&bench);
    bool is_together = rc == TRI_OK;
    if (is_together)
        rc = tri_agree(bench.world, bench.worst);
    else
        remove_folders(&bench);
    /* a failure of a part ends the process where there are other ranks: closing is collective */
    if (is_together || tri_comm_size(bench.world) == 1) bench_close(&bench);
    TRI_TRY(rc);
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* Conversions. What a process has written is what the kernel counts for it (/proc/self/io): wchar, the
 * bytes of its write calls, and write_bytes, the bytes of the pages that it made dirty.
 */
#include "checkpoint/consolidate.h"
#include "checkpoint/convert.h"
#include "checkpoint/folder.h"
#include "checkpoint/safetensors.h"
#include "launch/bench_checkpoint_impl.h"
#include "launch/bench_race.h"
#include "runtime/agree.h"
#include "runtime/base/clock.h"
#include "runtime/base/int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DETAIL_BYTES = 256 };

typedef struct io_counts {
    int64_t wchar, write_bytes;
} io_counts;

/* The number behind "KEY: ", where the line is that of the key. */
static bool read_count(const char *line, const char *key, int64_t *out)
{
    size_t n = strlen(key);
    if (strncmp(line, key, n) != 0 || line[n] != ':') return false;
    *out = strtoll(line + n + 1, NULL, 10);
    return true;
}

static bool read_counts(io_counts *out)
{
    *out = (io_counts){0};
    FILE *file = fopen("/proc/self/io", "r");
    if (!file) return false;
    char line[128];
    int found = 0;
    while (fgets(line, sizeof line, file))
        found += read_count(line, "wchar", &out->wchar) ||
                 read_count(line, "write_bytes", &out->write_bytes);
    fclose(file);
    return found == 2;
}

static tri_status convert(tri_bench_ckpt *b, char path[TRI_CKPT_PATH_BYTES])
{
    char dir[TRI_DISK_PATH_BYTES];
    TRI_TRY(tri_disk_path(dir, b->folder, "converted", ""));
    tri_convert_args args = {
        .source = b->raw.read_path, .dir = dir, .job_yaml = b->yaml, .version = TRI_VERSION};
    for (int a = 0; a < TRI_AXES; a++)
        args.mesh[a] = a == TRI_AXIS_TENSOR ? 2 : 1;
    return tri_convert_layout(&args, path, NULL);
}

static tri_status remove_converted(const tri_bench_ckpt *b)
{
    char dir[TRI_DISK_PATH_BYTES];
    TRI_TRY(tri_disk_path(dir, b->folder, "converted", ""));
    TRI_AUTO(tri_folder) list = {0};
    TRI_TRY(tri_folder_list(dir, &list));
    for (int64_t i = 0; i < list.n; i++)
        TRI_TRY(tri_folder_remove(dir, list.entries[i].name, NULL));
    return TRI_OK;
}

static int64_t file_bytes(const char *folder, const char *name)
{
    char path[TRI_DISK_PATH_BYTES];
    struct stat about;
    bool is_there = tri_disk_path(path, folder, name, "") == TRI_OK && stat(path, &about) == 0;
    return is_there ? about.st_size : 0;
}

/* Bytes written beyond the new index: those of tensors, were there any. */
static void report_written(tri_bench_ckpt *b, const char *path, const io_counts *before,
                           const io_counts *after)
{
    int64_t view = file_bytes(path, TRI_MANIFEST_VIEW);
    int64_t manifest = file_bytes(path, TRI_MANIFEST_NAME);
    /* what is zero in the index is not written */
    int64_t beyond = tri_max64(0, after->wchar - before->wchar - view - manifest);
    char detail[DETAIL_BYTES];
    snprintf(detail, sizeof detail,
             "of %.4g MB of tensors, beyond universal.h5 of %.4g and manifest.h5 of %.4g MB; pages "
             "made dirty: %.4g MB",
             (double)b->state_bytes * 1e-6, (double)view * 1e-6, (double)manifest * 1e-6,
             (double)(after->write_bytes - before->write_bytes) * 1e-6);
    tri_bench_line line = {.name = "checkpoint.convert.written",
                           .value = (double)beyond * 1e-6,
                           .unit = "MB",
                           .detail = detail};
    tri_bench_ckpt_print(b, &line);
}

static tri_status convert_rounds(tri_bench_ckpt *b)
{
    double seconds[TRI_BENCH_ROUNDS];
    char path[TRI_CKPT_PATH_BYTES];
    int rounds = (int)b->options.rounds;
    for (int round = -1; round < rounds; round++) {
        io_counts before;
        io_counts after;
        bool has_counts = read_counts(&before);
        double start_s = tri_clock_s();
        TRI_TRY(convert(b, path));
        if (round >= 0) seconds[round] = tri_clock_s() - start_s;
        has_counts = has_counts && read_counts(&after);
        if (round == rounds - 1 && has_counts) report_written(b, path, &before, &after);
        if (round == rounds - 1 && !has_counts)
            tri_log(TRI_LOG_WARN, "checkpoint.convert.written is not measured: the system does not "
                                  "count what a process writes");
        TRI_TRY(remove_converted(b));
    }
    tri_bench_line line = {.name = "checkpoint.convert",
                           .value = tri_bench_median(rounds, seconds),
                           .unit = "s",
                           .detail = "to tensor: 2, over hard links"};
    tri_bench_ckpt_print(b, &line);
    return TRI_OK;
}

static tri_status convert_once(void *arg)
{
    tri_bench_ckpt *b = arg;
    char path[TRI_CKPT_PATH_BYTES];
    if (!tri_bench_ckpt_is_root(b)) return TRI_OK;
    TRI_TRY(convert(b, path));
    return remove_converted(b);
}

static tri_status consolidate_once(void *arg)
{
    tri_bench_ckpt *b = arg;
    char file[TRI_DISK_PATH_BYTES];
    if (!tri_bench_ckpt_is_root(b)) return TRI_OK;
    TRI_TRY(tri_disk_path(file, b->folder, "whole.h5", ""));
    TRI_TRY(tri_consolidate(b->raw.read_path, file, NULL));
    return TRI_SYS(unlink(file), "removing %s", file);
}

static tri_status export_once(void *arg)
{
    tri_bench_ckpt *b = arg;
    char dir[TRI_DISK_PATH_BYTES];
    tri_safetensors_totals totals;
    if (!tri_bench_ckpt_is_root(b)) return TRI_OK;
    TRI_TRY(tri_disk_path(dir, b->folder, "exported", ""));
    tri_safetensors_export_args args = {
        .path = b->raw.read_path, .dir = dir, .dtype = TRI_BF16, .config = "{}"};
    return tri_safetensors_export(&args, &totals); /* the files go with the folder, at the end */
}

tri_status tri_bench_ckpt_convert(tri_bench_ckpt *b)
{
    if (tri_bench_ckpt_is_asked(b, "checkpoint.convert"))
        TRI_TRY(tri_agree(b->world, tri_bench_ckpt_is_root(b) ? convert_rounds(b) : TRI_OK));
    if (tri_bench_ckpt_is_asked(b, "checkpoint.convert.memory"))
        TRI_TRY(tri_bench_ckpt_peak(b, "checkpoint.convert.memory", convert_once,
                                    "peak of rank 0 beyond the job's own"));
    if (tri_bench_ckpt_is_asked(b, "checkpoint.consolidate.memory"))
        TRI_TRY(tri_bench_ckpt_peak(b, "checkpoint.consolidate.memory", consolidate_once,
                                    "peak of rank 0 beyond the job's own"));
    if (tri_bench_ckpt_is_asked(b, "checkpoint.export.memory"))
        TRI_TRY(tri_bench_ckpt_peak(b, "checkpoint.export.memory", export_once,
                                    "to safetensors in bf16, peak of rank 0 beyond the job's own"));
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* What the files of `bench checkpoint` share: bench_checkpoint.c opens, saves and loads,
 * bench_checkpoint_async.c saves beside training, bench_checkpoint_tools.c converts.
 */
#ifndef TRI_LAUNCH_BENCH_CHECKPOINT_IMPL_H
#define TRI_LAUNCH_BENCH_CHECKPOINT_IMPL_H

#include "checkpoint/saver.h"
#include "launch/bench_job.h"
#include "launch/bench_raw.h"
#include "launch/job.h"

typedef struct tri_bench_ckpt_options {
    const char *dir;  /* borrowed from argv */
    const char *only; /* part of the names of what is measured; NULL: all */
    int64_t rounds;
    int64_t steps, every; /* of a slice of training; a save every so many */
    tri_bench_job_options job;
} tri_bench_ckpt_options;

/* One run. raw.read_path is the checkpoint that is loaded and converted. */
typedef struct tri_bench_ckpt {
    const tri_bench_args *args;
    tri_comm *world;
    tri_bench_ckpt_options options;
    int fd;
    tri_job *job;
    tri_saver *saver; /* not beside training: it saves at once */
    char *yaml;
    char folder[TRI_DISK_PATH_BYTES];        /* ours, of all ranks */
    char memory_folder[TRI_DISK_PATH_BYTES]; /* another in memory; "": none */
    int64_t state_bytes;                     /* of all rows, once */
    tri_bench_raw raw;
    double cached;    /* share of the pages that were not dropped */
    tri_status worst; /* of the lines printed */
} tri_bench_ckpt;

/* Something to measure; `arg` is the run. */
typedef tri_status (*tri_bench_ckpt_fn)(void *arg);

/* Is this rank 0; was this line asked for? Not collective. */
bool tri_bench_ckpt_is_root(const tri_bench_ckpt *b);
bool tri_bench_ckpt_is_asked(const tri_bench_ckpt *b, const char *name);

/* Print a line; all are printed before the command fails. Not collective: rank 0 alone. */
void tri_bench_ckpt_print(tri_bench_ckpt *b, const tri_bench_line *line);

/* Remove raw files and checkpoints. Collective: world. Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_bench_ckpt_clean(tri_bench_ckpt *b);

/* Print the peak of memory of one call beyond what was resident before it, the most of all ranks.
 * Collective: world. Errors: those of `run`. */
TRI_MUST_USE tri_status tri_bench_ckpt_peak(tri_bench_ckpt *b, const char *name,
                                            tri_bench_ckpt_fn run, const char *detail);

/* Make a folder of our own below `dir`, removed at the end. Collective: world. Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_bench_ckpt_folder(tri_bench_ckpt *b, const char *dir,
                                              char out[TRI_DISK_PATH_BYTES]);

/* Training with saves beside it, to memory and to the disk, against training without. Collective: world.
 * Errors: those of steps and saves. */
TRI_MUST_USE tri_status tri_bench_ckpt_async(tri_bench_ckpt *b);

/* Conversion to another layout and to one file, by rank 0: time, bytes written, memory. Collective: world.
 * Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_bench_ckpt_convert(tri_bench_ckpt *b);

#endif

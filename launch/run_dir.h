// SPDX-License-Identifier: Apache-2.0
/* The folder of a run: job.yaml (the resolved spec), metrics.jsonl, log/, ckpt/, and `finished` once
 * the last step is saved. A folder is claimed before anything is written; one that holds something
 * else, a finished run, or a run that is going on is never touched.
 */
#ifndef TRI_LAUNCH_RUN_DIR_H
#define TRI_LAUNCH_RUN_DIR_H

#include "launch/spec.h"

enum { TRI_RUN_PATH_BYTES = 640 };

/* A claimed folder; the same on all ranks but for `lock`. */
typedef struct tri_run_dir {
    char path[TRI_RUN_PATH_BYTES];
    char metrics[TRI_RUN_PATH_BYTES];     /* PATH/metrics.jsonl */
    char log[TRI_RUN_PATH_BYTES];         /* PATH/log */
    char checkpoints[TRI_RUN_PATH_BYTES]; /* PATH/ckpt, or checkpoint.dir */
    bool is_resumed;                      /* it held an unfinished run of this name */
    int lock;                             /* file descriptor on rank 0, else -1 */
} tri_run_dir;

/* Claim the folder of a resolved spec: make it, or take up the unfinished run that it holds, and
 * write job.yaml. Collective: world; rank 0 works.
 *
 * Errors, on rank 0 (the others TRI_EPEER): TRI_EINVAL the folder holds other things, a finished run,
 * a running job, or a run whose fixed keys differ (names the first); TRI_EIO it cannot be written.
 */
TRI_MUST_USE tri_status tri_run_dir_open(const tri_spec *spec, tri_comm *world, tri_run_dir *out);

/* The same without ranks: one process. Not collective. Errors: as above. */
TRI_MUST_USE tri_status tri_run_dir_claim(const tri_spec *spec, tri_run_dir *out);

/* Keep jobs out of the folder of a run that is there, until tri_run_dir_close. Not collective. Writes: out's
 * path and lock. Errors: TRI_EINVAL a job is running in it; TRI_EIO. */
TRI_MUST_USE tri_status tri_run_dir_lock(const char *path, tri_run_dir *out);

/* Say that the run is finished after `step` steps. Not collective: rank 0. Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_run_dir_finish(const tri_run_dir *run, int64_t step);

/* Give the claim back (the end of the process does too). Not collective. */
void tri_run_dir_close(tri_run_dir *run);

#endif

// SPDX-License-Identifier: Apache-2.0
/* What the files of a saver share: saver.c is the main thread's side, saver_jobs.c the writer's. While a
 * job is under way, its fields are the writer's alone.
 */
#ifndef TRI_CHECKPOINT_SAVER_IMPL_H
#define TRI_CHECKPOINT_SAVER_IMPL_H

#include "checkpoint/disk.h"
#include "checkpoint/save_plan.h"
#include "checkpoint/saver.h"
#include "checkpoint/worker.h"

#include <stdatomic.h>

typedef enum saver_phase {
    SAVER_IDLE,
    SAVER_REFUSED, /* it did not begin; that is still to be told */
    SAVER_WRITING,
    SAVER_COMMITTING
} saver_phase;

struct tri_saver {
    tri_saver_args args;
    char *buffer, *staging; /* in the arena; NULL: none */
    int64_t buffer_bytes;
    tri_save_plan *plan; /* NULL: before the first save */
    tri_handover *handover;
    tri_worker *worker;  /* does this rank's part of a phase */
    tri_worker *builder; /* beside it while it writes data: what goes through HDF5 */
    saver_phase phase;
    tri_err failure; /* in phase REFUSED */
    double stall_s;

    /* the save under way; all but crc and job the same on all ranks */
    tri_manifest_head head; /* sequence and parent: rank 0 alone */
    char dir[TRI_DISK_PATH_BYTES];
    bool is_dir_made;               /* rank 0 */
    char path[TRI_DISK_PATH_BYTES]; /* DIR/step-STEP.UUID */
    char *job_yaml;
    char file[TRI_DISK_PATH_BYTES]; /* that this rank writes to */
    tri_disk_fd fd;                 /* of it, while it is written; else -1 */
    uint32_t *crc; /* of what this rank wrote: rest of its file, then its blocks [1 + n_blocks] */
    uint32_t *all; /* rank 0, committing: those of all ranks, one after another */
    atomic_bool is_abandoned;
    atomic_llong n_written; /* units */
};

/* A job of the writer's thread, arg is the saver: write this rank's part of the checkpoint at path and sync
 * it. Not collective. Errors: TRI_EIO, TRI_EBUG. */
TRI_MUST_USE tri_status tri_saver_write(void *arg);

/* A job of rank 0's: publish view and manifest, then delete what is not to be kept. Not collective. Errors:
 * TRI_EIO, TRI_EFORMAT. */
TRI_MUST_USE tri_status tri_saver_commit(void *arg);

/* Pass a point, for tests. Not collective. */
void tri_saver_at(const tri_saver *saver, tri_ckpt_point point);

#endif

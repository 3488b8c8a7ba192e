// SPDX-License-Identifier: Apache-2.0
/* A checkpoint for another layout, without copying: a checkpoint loads on any layout as it is, so
 * what is made is a new manifest with its own uuid, and a new universal.h5, over hard links to the
 * shard files of the source. The new one is a checkpoint like any other: it is numbered and pruned in
 * its own folder, and stays whole when its source is deleted, or the source when it is.
 */
#ifndef TRI_CHECKPOINT_CONVERT_H
#define TRI_CHECKPOINT_CONVERT_H

#include "checkpoint/ckpt.h"

typedef struct tri_convert_args {
    const char *source;   /* folder of one checkpoint */
    const char *dir;      /* folder of checkpoints: made if it is not there */
    int mesh[TRI_AXES];   /* of the new layout */
    const char *job_yaml; /* resolved job spec with the new layout */
    const char *version;  /* of the program */
    tri_ckpt_hook hook;   /* FOLDER, SHARD (all files linked), VIEW, MANIFEST_SYNCED, COMMITTED */
} tri_convert_args;

/* Make the checkpoint. Not collective: one process; no job may save in `dir` meanwhile.
 *
 * Step, rows and files are the source's, whose uuid becomes the parent's. The manifest and the sizes of
 * all files are verified, their bytes are not. Published as a save is: until its manifest is there the
 * folder is a leftover, which the next save removes.
 * Writes: path, that of the new one; *n_linked, the number of files linked (may be NULL).
 * Errors: TRI_EINVAL `dir` lies on another file system than the source (names both); TRI_EFORMAT the
 * source is damaged; TRI_EIO. Nothing is left behind then.
 * Cost: the size of the manifest and of universal.h5.
 */
TRI_MUST_USE tri_status tri_convert_layout(const tri_convert_args *args,
                                           char path[TRI_CKPT_PATH_BYTES], int64_t *n_linked);

#endif

// SPDX-License-Identifier: Apache-2.0
/* A checkpoint as one plain HDF5 file: every row a contiguous dataset of its global shape at its name.
 * For other tools and for archives; jobs load checkpoints, not such files.
 */
#ifndef TRI_CHECKPOINT_CONSOLIDATE_H
#define TRI_CHECKPOINT_CONSOLIDATE_H

#include "checkpoint/ckpt.h"

/* Write the checkpoint at `source` to the new file `file`.
 *
 * Not collective: one process. Every block is verified as it is read. The file appears as a whole, on
 * disk, or not at all (meanwhile it is FILE.tmp). Its root has the attributes uuid, parent, version,
 * sequence, step and mesh, each dataset the attribute external; job.yaml is a dataset of one text.
 * Writes: *n_bytes, its size (may be NULL).
 * Errors: TRI_EINVAL `file` is there already; TRI_EFORMAT the source is damaged: names file and row; TRI_EIO.
 * Cost: all bytes read and written once; memory: the manifest and up to 40 MiB, whatever the model.
 */
TRI_MUST_USE tri_status tri_consolidate(const char *source, const char *file, int64_t *n_bytes);

#endif

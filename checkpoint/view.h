// SPDX-License-Identifier: Apache-2.0
/* universal.h5: every row as one virtual dataset of its global shape over the shard files, made from
 * the manifest, for other tools. Never the restore path: HDF5 reads fill values, without an error,
 * where a source of a virtual dataset is missing.
 */
#ifndef TRI_CHECKPOINT_VIEW_H
#define TRI_CHECKPOINT_VIEW_H

#include "checkpoint/manifest.h"

/* Write PATH/universal.h5.tmp and sync it (not: publish). Not collective. Reads no checksums of the manifest.
 * Writes: *out, its entry in the table of files. Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_view_write(const tri_manifest *manifest, const char *path,
                                       tri_manifest_file *out);

/* Are the datasets of the view `file` the manifest's rows? Not collective. Errors: TRI_EFORMAT names the first
 * that is not; TRI_EIO. */
TRI_MUST_USE tri_status tri_view_check(const tri_manifest *manifest, const char *file);

#endif

// SPDX-License-Identifier: Apache-2.0
/* `trireme checkpoint`: what can be done with checkpoints without training. A tool is one function in
 * launch/checkpoint_NAME.c and one row of the list in launch/checkpoint.c; it works in one process
 * and under mpirun. A tool whose answer is no (damaged, different) prints that and sets the
 * session's verdict; a failure is for what could not be done.
 */
#ifndef TRI_LAUNCH_CHECKPOINT_H
#define TRI_LAUNCH_CHECKPOINT_H

#include "checkpoint/folder.h"
#include "launch/commands.h"

/* One tool: `trireme checkpoint NAME USAGE`. */
typedef struct tri_checkpoint_tool {
    const char *name;
    const char *usage; /* behind the name */
    const char *doc;   /* one line */
    const char *more;  /* options, a line each, with line ends; "" if none */
    tri_status (*run)(const tri_cmd_args *args); /* argv[0] is "checkpoint"; world is open */
} tri_checkpoint_tool;

/* All tools; the last row has no name. Not collective. */
const tri_checkpoint_tool *tri_checkpoint_tools(void);

/* The tools. Collective over the ranks that the launcher started. */
TRI_MUST_USE tri_status tri_checkpoint_list(const tri_cmd_args *args);
TRI_MUST_USE tri_status tri_checkpoint_show(const tri_cmd_args *args);
TRI_MUST_USE tri_status tri_checkpoint_verify(const tri_cmd_args *args);
TRI_MUST_USE tri_status tri_checkpoint_diff(const tri_cmd_args *args);
TRI_MUST_USE tri_status tri_checkpoint_convert(const tri_cmd_args *args);
TRI_MUST_USE tri_status tri_checkpoint_export(const tri_cmd_args *args);
TRI_MUST_USE tri_status tri_checkpoint_import(const tri_cmd_args *args);

/* out = the folder of checkpoints that `path` means: itself, or that of a run's folder (its
 * ckpt/, or what checkpoint.dir of its job.yaml says). Not collective. Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_checkpoint_dir(const char *path, char out[TRI_CKPT_PATH_BYTES]);

/* out = the one checkpoint that `path` means: itself, or the newest usable one of a folder of
 * checkpoints or of a run. Not collective. Errors: TRI_EIO there is none, TRI_EFORMAT. */
TRI_MUST_USE tri_status tri_checkpoint_one(const char *path, char out[TRI_CKPT_PATH_BYTES]);

/* Is there a manifest at `path`: is it a checkpoint itself? Not collective. */
bool tri_checkpoint_is_one(const char *path);

#endif

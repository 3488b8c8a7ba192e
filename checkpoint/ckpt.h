// SPDX-License-Identifier: Apache-2.0
/* Universal checkpoints: save the state table from any mesh, load it on any other.
 *
 * DIR/step-000200.UUID/ holds one shard file per writing rank, universal.h5 (whole tensors, for other
 * tools) and manifest.h5, whose publication is the commit. A save replaces nothing: whatever happens,
 * DIR holds the checkpoints it held, or those and the new one. The format: docs/checkpoint-format.md.
 */
#ifndef TRI_CHECKPOINT_CKPT_H
#define TRI_CHECKPOINT_CKPT_H

#include "runtime/state.h"

enum { TRI_CKPT_PATH_BYTES = 1024, TRI_CKPT_TEXT_BYTES = 64 };

/* What a checkpoint is. tri_ckpt_info_fini frees what it points to. */
typedef struct tri_ckpt_info {
    char path[TRI_CKPT_PATH_BYTES]; /* DIR/step-000200.UUID */
    char uuid[TRI_CKPT_TEXT_BYTES];
    char parent[TRI_CKPT_TEXT_BYTES];  /* uuid of the newest one when it was made; "": none */
    char version[TRI_CKPT_TEXT_BYTES]; /* of the program that made it */
    int64_t step;
    uint64_t sequence; /* counts up with every commit in DIR */
    int64_t n_bytes;   /* of all its files but the manifest */
    int mesh[TRI_AXES];
    char *job_yaml; /* resolved job spec */
} tri_ckpt_info;

/* Free what an info points to; zeroed is fine. Not collective. */
void tri_ckpt_info_fini(tri_ckpt_info *info);

/* Points that a save passes, in this order on a rank. Those from HALF to SHARD, and from VIEW to PRUNING,
 * are passed by the thread that writes; those from VIEW to PRUNING by rank 0 alone. */
#define TRI_CKPT_POINT_MAP(X)                                              \
    X(FOLDER, "folder made")                                               \
    X(HALF, "half of the shard's data written")                            \
    X(DATA, "shard written, not synced, and on rank 0 the view")           \
    X(SHARD, "shard synced")                                               \
    X(AGREED, "all shards synced")                                         \
    X(VIEW, "universal.h5 published")                                      \
    X(MANIFEST_SYNCED, "manifest synced, not renamed")                     \
    X(COMMITTED, "manifest published")                                     \
    X(PRUNING, "manifest of an old checkpoint removed, its files not yet") \
    X(DONE, "save complete")

typedef enum tri_ckpt_point {
#define X(id, text) TRI_CKPT_AT_##id,
    TRI_CKPT_POINT_MAP(X)
#undef X
        TRI_CKPT_POINTS
} tri_ckpt_point;

/* Called at each point, for tests that kill a rank there; zeroed: nothing. */
typedef struct tri_ckpt_hook {
    void (*at)(void *arg, tri_ckpt_point point);
    void *arg;
} tri_ckpt_hook;

typedef struct tri_ckpt_save_args {
    const char *dir; /* made if it is not there; one job at a time */
    const tri_state *state;
    tri_comm *world;
    int64_t step;
    const char *job_yaml;
    const char *version;
    int keep;           /* newest checkpoints to keep; 0: all */
    tri_ckpt_hook hook; /* this rank's */
} tri_ckpt_save_args;

/* Save all rows. Returns when the checkpoint is committed, on disk, and older ones are deleted. (A job that
 * saves again and again has a tri_saver: checkpoint/saver.h.)
 *
 * Collective: world; the same dir, step, job_yaml and keep on all ranks.
 * A rank writes what it alone holds, and an even part of what it holds with others. Deletes uncommitted leftovers of earlier saves in `dir`.
 * Errors: TRI_EIO on all ranks, with the path, on the rank that failed; earlier checkpoints are then
 * as they were. TRI_EBUG rows that do not cover their tensor. TRI_EDIVERGED copies of a row that differ.
 * Cost: bytes held once over all ranks, to disk; memory: the index, 1 MiB.
 */
TRI_MUST_USE tri_status tri_ckpt_save(const tri_ckpt_save_args *args);

/* The newest committed checkpoint of `dir` whose manifest verifies and whose files are there in their
 * sizes. Damaged ones are named in the log and passed over; a dir where all are damaged is an error, for a job
 * must not begin anew by itself. A dir that is not there holds none.
 *
 * Collective: world. Writes: *found, and if it is true *out (fini it). Errors: TRI_EIO, TRI_EFORMAT.
 */
TRI_MUST_USE tri_status tri_ckpt_find_newest(const char *dir, tri_comm *world, bool *found,
                                             tri_ckpt_info *out);

/* The newest one below a sequence number: where the newest turned out to be damaged. Collective as
 * tri_ckpt_find_newest. */
TRI_MUST_USE tri_status tri_ckpt_find_older(const char *dir, uint64_t sequence, tri_comm *world,
                                            bool *found, tri_ckpt_info *out);

/* What the checkpoint at `path` is; `path` may also be a DIR: its newest. Not collective: for one
 * process without ranks. Writes: *out (fini it). Errors: TRI_EIO no checkpoint there, TRI_EFORMAT. */
TRI_MUST_USE tri_status tri_ckpt_read_info(const char *path, tri_ckpt_info *out);

/* What a load did, on this rank. */
typedef struct tri_ckpt_load_stats {
    int64_t row_bytes;  /* of the rows that were filled */
    int64_t read_bytes; /* of shard files: the blocks that meet this rank's boxes */
} tri_ckpt_load_stats;

typedef struct tri_ckpt_load_args {
    const char *path; /* of one checkpoint: tri_ckpt_info.path */
    const tri_state *state;
    tri_comm *world;
    unsigned roles;    /* bits 1 << TRI_ROLE_...: rows to load; 0: all */
    bool casts;        /* parameters and optimizer states may be of another floating type */
    bool resize_vocab; /* rows with row.vocabulary may have another number of token ids */
    tri_ckpt_load_stats *stats; /* this rank's; NULL: not wanted */
} tri_ckpt_load_args;

/* Fill the held parts of all rows of these roles. Collective: world; same path, roles and options.
 *
 * The rows of these roles must be those of the checkpoint: same names, shapes and types on any mesh, but for
 * rows of the role POLICY, which either may lack (data of the job's then stay as they are), and what the options allow: floating types are cast, rounding to nearest even; ids that the checkpoint
 * lacks are filled with zeros, those that the job lacks are left out. Rank 0 logs both.
 * Every block that is read is verified; what no rank reads is not (tri_ckpt_verify reads all). A rank reads
 * the blocks it needs itself; a block that several ranks need is read by each of them.
 * Writes: the rows' data; undefined on failure.
 * Errors: TRI_EINVAL a checkpoint of another model, vocabulary or optimizer (names the row, its shape and
 * the one needed, and the key that would allow it); TRI_EFORMAT damaged or a file missing (names file, row and
 * bytes); TRI_EIO.
 * Cost: blocks that meet the boxes held, from disk, once: a contiguous part of a box reads at most two
 * blocks (8 MiB) more than it has; a part of each line reads the whole lines. A buffer of 4 MiB
 * for each thread, of which at most four work.
 */
TRI_MUST_USE tri_status tri_ckpt_load(const tri_ckpt_load_args *args);

/* Has the checkpoint rows of the same names, for these roles, as the job? Nothing is loaded. Collective: world.
 * Writes: *same. Errors: TRI_EFORMAT, TRI_EIO: the manifest cannot be read. */
TRI_MUST_USE tri_status tri_ckpt_has_rows(const tri_ckpt_load_args *args, bool *same);

/* Read every byte of a checkpoint and compare all checksums. Not collective. Errors: TRI_EFORMAT the
 * first damage found, with file and row; TRI_EIO. */
TRI_MUST_USE tri_status tri_ckpt_verify(const char *path);

#endif

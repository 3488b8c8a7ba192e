// SPDX-License-Identifier: Apache-2.0
/* What does not change from save to save of a job: which pieces this rank writes, in which file and
 * where in it, in which units; and on rank 0 the manifest but for its numbers. Made once: the paths of
 * datasets hold the uuid of a checkpoint, whose length is fixed, so that offsets are those of any uuid.
 */
#ifndef TRI_CHECKPOINT_SAVE_PLAN_H
#define TRI_CHECKPOINT_SAVE_PLAN_H

#include "checkpoint/assign.h"
#include "checkpoint/handover.h"
#include "checkpoint/shard.h"

/* A piece of a row that may change at any time: it is copied when a save begins. */
typedef struct tri_save_still {
    const char *from;
    char *to;
    int64_t bytes;
} tri_save_still;

typedef struct tri_save_plan {
    tri_assign *assign;
    tri_manifest_box *boxes; /* of assign->pieces; blocks count from 0 on this rank */
    int64_t n_blocks;
    tri_unit *units;
    int64_t n_units, n_still_units; /* those of stills come first */
    tri_save_still *stills;
    int64_t n_stills;
    char *still_bytes;       /* their memory */
    int leader;              /* the rank whose number the file has that this rank writes to */
    tri_shard_layout layout; /* of that file, on its leader; empty elsewhere */
    int64_t total_bytes;     /* of the files of all ranks */
    tri_manifest
        *manifest;        /* rank 0: rows, boxes and files; not yet checksums and what a save is */
    int64_t *first_block; /* rank 0: of rank r's blocks in the manifest [ranks + 1] */
} tri_save_plan;

/* Free; NULL is fine. Not collective. */
void tri_save_plan_destroy(tri_save_plan **plan);

/* Decide. Collective: world. Keeps: the memory of the rows.
 *
 * per_node: the ranks of a host write into one file, which has the number of the lowest of them; else each
 * has its own. `dir` names the checkpoints in messages. Errors: TRI_EBUG rows that do not cover their tensor, or without memory.
 */
TRI_MUST_USE tri_status tri_save_plan_create(const tri_state *state, tri_comm *world, bool per_node,
                                             const char *dir, tri_save_plan **out);

/* About what a rank of this table writes of parameters and optimizer states: all it holds; where ranks hold
 * all of their rows whole an even share, and by how much shares may differ. On paper, too. Not collective. */
TRI_MUST_USE tri_status tri_save_plan_bytes(const tri_state *state, int64_t *bytes);

#endif

// SPDX-License-Identifier: Apache-2.0
/* The folder that holds the checkpoints of a job: which are committed, which are leftovers of saves
 * that did not end, and their removal, in which the manifest goes first.
 */
#ifndef TRI_CHECKPOINT_FOLDER_H
#define TRI_CHECKPOINT_FOLDER_H

#include "checkpoint/ckpt.h"
#include "checkpoint/manifest.h"

enum { TRI_FOLDER_NAME_BYTES = 96 };

typedef enum tri_folder_state {
    TRI_FOLDER_COMMITTED, /* has a manifest whose header is intact */
    TRI_FOLDER_LEFTOVER,  /* has no manifest */
    TRI_FOLDER_DAMAGED    /* has one that is damaged, or of a later version: never touched */
} tri_folder_state;

typedef struct tri_folder_entry {
    char name[TRI_FOLDER_NAME_BYTES]; /* step-000200.UUID */
    tri_folder_state state;
    bool is_link;               /* a symbolic link to a folder: read like others, never removed */
    tri_manifest_header header; /* of committed ones */
    tri_err error;              /* of damaged ones */
} tri_folder_entry;

typedef struct tri_folder {
    tri_folder_entry *entries; /* committed ones first, newest first */
    int64_t n;
} tri_folder;

/* Free; zeroed is fine. Not collective. */
void tri_folder_destroy(tri_folder *folder);

/* out = step-STEP.UUID. Not collective. */
void tri_folder_name(int64_t step, const char *uuid, char out[TRI_FOLDER_NAME_BYTES]);

/* List the checkpoints in `dir`; none if it is not there. Other things in it are passed over, and so is what
 * vanishes meanwhile. Not collective. Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_folder_list(const char *dir, tri_folder *out);

/* Begin a checkpoint of head->step in `dir`, which is there: number it, name it and make its
 * empty folder, which is a leftover until a manifest is published in it. Not collective: one
 * process. Writes: head's uuid, sequence and parent; path, DIR/step-STEP.UUID. Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_folder_begin(const char *dir, tri_manifest_head *head,
                                         char path[TRI_CKPT_PATH_BYTES]);

/* The manifest of the checkpoint at `path`, verified, its files there in their sizes. Not collective.
 * Errors: TRI_EIO, TRI_EFORMAT, TRI_EUNSUP. */
TRI_MUST_USE tri_status tri_folder_read(const char *path, tri_manifest **out);

/* Remove one, manifest first; what is not of a checkpoint stays, and the folder with it. One that is not there
 * is removed already. Not collective. Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_folder_remove(const char *dir, const char *name,
                                          const tri_ckpt_hook *hook);

/* Remove leftovers, and committed ones but the `keep` newest (0: none of these) and those of steps that are
 * multiples of keep_every (0: of no such step). Not collective; what cannot be removed is named in the
 * log, and stays without keeping others. */
void tri_folder_prune(const char *dir, int keep, int64_t keep_every, const tri_ckpt_hook *hook);

/* The newest usable checkpoint with a sequence number below `below` (-1: any): manifest verified, files
 * there in their sizes. Not collective. Damaged ones are named in the log; one that is deleted while it is
 * read is none.
 *
 * Writes: *path and *out (NULL: there is none). Errors: TRI_EIO; TRI_EFORMAT with `below` -1: there are
 * some, and all are damaged. */
TRI_MUST_USE tri_status tri_folder_find(const char *dir, int64_t below,
                                        char path[TRI_CKPT_PATH_BYTES], tri_manifest **out);

#endif

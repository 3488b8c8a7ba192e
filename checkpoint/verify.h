// SPDX-License-Identifier: Apache-2.0
/* Verification: every byte of a checkpoint against its checksums. All damage is found and named, not the
 * first alone; what a report cannot list is counted. Everything is compared before HDF5 opens a file
 * (HDF5 1.10 is not safe on damaged ones); then universal.h5 must have the manifest's rows.
 */
#ifndef TRI_CHECKPOINT_VERIFY_H
#define TRI_CHECKPOINT_VERIFY_H

#include "checkpoint/manifest.h"
#include "runtime/coll.h"

enum { TRI_VERIFY_LISTED = 64, TRI_VERIFY_WHY_BYTES = 256, TRI_VERIFY_TEXT_BYTES = 768 };

/* kind, name in reports */
#define TRI_VERIFY_MAP(X)      \
    X(MANIFEST, "manifest")    \
    X(MISSING, "missing")      \
    X(SIZE, "size")            \
    X(ROW, "row")              \
    X(OUTSIDE, "outside rows") \
    X(VIEW, "view")            \
    X(UNREADABLE, "unreadable")

typedef enum tri_verify_kind {
#define X(id, name) TRI_VERIFY_##id,
    TRI_VERIFY_MAP(X)
#undef X
        TRI_VERIFY_KINDS
} tri_verify_kind;

/* One piece of damage. */
typedef struct tri_verify_finding {
    tri_verify_kind kind;
    char file[TRI_MANIFEST_TEXT_BYTES];
    int64_t begin, end;             /* bytes of the file; 0, 0: all of it */
    char row[TRI_NAME_BYTES];       /* ROW: the row, */
    tri_box box;                    /* its box that lies there, */
    int64_t element, n_elements;    /* and which elements of the box, flattened row-major */
    char why[TRI_VERIFY_WHY_BYTES]; /* what was found and what should be there */
} tri_verify_finding;

typedef struct tri_verify_report {
    int64_t n_findings, n_listed;                  /* 0: sound */
    tri_verify_finding finding[TRI_VERIFY_LISTED]; /* by file, then byte */
    int64_t n_files, n_rows, n_boxes;              /* of the manifest; 0 if that is damaged */
    int64_t n_bytes;                               /* read and compared, by all ranks */
} tri_verify_report;

/* "row", ... Not collective. */
const char *tri_verify_kind_name(tri_verify_kind kind);

/* out = the finding as a line: file, row, box, elements, bytes, cause. Not collective. */
void tri_verify_text(const tri_verify_finding *finding, char out[TRI_VERIFY_TEXT_BYTES]);

/* Verify the checkpoint at `path`; the ranks share the blocks out. Collective: world; NULL: this process
 * alone.
 *
 * Writes: *out, on rank 0 complete, elsewhere the number of findings alone. Damage is no failure.
 * Errors: TRI_EIO there is no manifest; TRI_ENOMEM, TRI_ECOMM.
 * Cost: all bytes read once over the ranks; memory: the manifest, one block of 4 MiB, the report.
 */
TRI_MUST_USE tri_status tri_verify(const char *path, tri_comm *world, tri_verify_report *out);

#endif

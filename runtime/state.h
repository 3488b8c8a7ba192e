// SPDX-License-Identifier: Apache-2.0
/* The state table: named, placed tensors. The one source of truth of a job.
 *
 * The model exports its parameters as rows, the optimizer its moments, the data loader its cursor,
 * the job its counters. Sharding, checkpoint and conversion see rows and nothing else. Rows are
 * logical: no padding, no fused tensors, and the fp32 master weight is the row (the bf16 compute
 * copy is none). A rank holds a flat range of its box of the row; the range is where ZeRO cuts.
 */
#ifndef TRI_RUNTIME_STATE_H
#define TRI_RUNTIME_STATE_H

#include "runtime/base/rng.h"
#include "runtime/place.h"

enum { TRI_NAME_BYTES = 96, TRI_STATE_MAX_ROWS = 65536 };

/* Which module owns a row. POLICY: of what may be switched on and off in the middle of a run (an
 * adaptive batch): a checkpoint or a job may be without it. */
typedef enum tri_role {
    TRI_ROLE_PARAM,
    TRI_ROLE_OPTIM,
    TRI_ROLE_DATA,
    TRI_ROLE_JOB,
    TRI_ROLE_POLICY
} tri_role;

typedef enum tri_init_kind { TRI_INIT_ZERO, TRI_INIT_ONE, TRI_INIT_NORMAL } tri_init_kind;

/* How a row starts; NORMAL draws element e from (seed, TRI_RNG_INIT, stream = hash of the row's
 * name, e): the same on every mesh. */
typedef struct tri_init {
    tri_init_kind kind;
    float std;
} tri_init;

/* A row. Its external name is TENSOR["[" RANGE{", " RANGE} "]"]["^T"], RANGE = ":" or BEGIN:END: the row
 * is that block of TENSOR, transposed where ^T stands ("h.0.c_attn.weight[:, 768:1536]^T": the keys
 * of a fused [in, out] matrix, as [out, in]). */
typedef struct tri_row {
    char name[TRI_NAME_BYTES];     /* "param/layers.3.attention.q.weight", "optim/adamw/m/..." */
    char external[TRI_NAME_BYTES]; /* Hugging Face name, "" if none */
    tri_role role;
    tri_dtype dtype;
    int n_dims;
    int64_t shape[TRI_MAX_DIMS]; /* global */
    tri_place place;
    tri_init init;
    bool decay; /* parameters: weight decay applies (matrices and embeddings) */
    /* parameters: factor of the learning rate for optimizers whose steps do not know the gradient's size
     * (Adam), and for those whose steps grow with it (sgd); 0: 1. Weight decay gets the inverse. */
    double sign_lr, gradient_lr;
    bool zero_grad;  /* parameters: true gradient is zero (key bias): rounding only */
    bool vocabulary; /* dimension 0 counts token ids: may be resized on load; states inherit it */
    int64_t begin;   /* flat range of this rank's box that is held here */
    int64_t count;   /* elements held here; 0: nothing */
    void *data;      /* count elements, contiguous; NULL on paper */
} tri_row;

typedef struct tri_state tri_state;

/* An empty table. Not collective. Keeps: mesh. */
TRI_MUST_USE tri_status tri_state_create(const tri_mesh *mesh, tri_state **out);
void tri_state_destroy(tri_state **state);

/* Append a copy of `row`; the whole local box is held (begin = 0, count = its elements) until
 * tri_state_hold says otherwise. Not collective. Same rows in the same order on all ranks that share
 * a stage. Writes: *index (may be NULL). Errors: TRI_EINVAL name taken, bad shape. */
TRI_MUST_USE tri_status tri_state_add(tri_state *state, const tri_row *row, int *index);

/* Say which flat range of row `index` is held here and where. Not collective. */
void tri_state_hold(tri_state *state, int index, int64_t begin, int64_t count, void *data);

/* Number of rows, one of them, and the mesh they are placed on. Not collective. */
int tri_state_rows(const tri_state *state);
const tri_row *tri_state_row(const tri_state *state, int index);
const tri_mesh *tri_state_mesh(const tri_state *state);

/* Index of the row called `name`, -1 if none. Not collective. Cost: one hash look-up. */
int tri_state_find(const tri_state *state, const char *name);

/* Elements of the global tensor. Not collective. */
int64_t tri_row_elements(const tri_row *row);

/* The boxes of the global tensor that this rank holds of a row: at most TRI_MAX_BOXES, each
 * contiguous in row->data from element `offset` on. Not collective. Writes: out, *n_out. */
TRI_MUST_USE tri_status tri_row_boxes(const tri_row *row, const tri_mesh *mesh,
                                      tri_piece_box out[TRI_MAX_BOXES], int *n_out);

/* Fill the held part of a row by its initialiser (fp32 rows). Not collective.
 * The bits of an element depend on seed, name and index alone. Errors: TRI_EINVAL dtype. */
TRI_MUST_USE tri_status tri_row_initialise(const tri_row *row, const tri_mesh *mesh, uint64_t seed);

#endif

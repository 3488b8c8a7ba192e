// SPDX-License-Identifier: Apache-2.0
/* A made-up model for tests of sharding: random parameters on random places. */
#ifndef TRI_TESTS_PARALLEL_ZERO_MODEL_H
#define TRI_TESTS_PARALLEL_ZERO_MODEL_H

#include "kernels/pointwise.h"
#include "parallel/zero/zero_impl.h"
#include "tests/test.h"

enum { RIG_ROWS = 24, RIG_UNITS = 6, RIG_VISITS = 256, RIG_COMMS = 16 };

typedef struct rig_case {
    int size[TRI_AXES];
    int group[3];
    tri_dtype compute;
    int64_t bucket_bytes;
    int prefetch, micro_batches;
    int groups; /* of a step, of one round of the micro-batches or two; gradients are reduced behind each */
    bool is_split; /* backward in two parts: of inputs for all units, then of weights */
    bool is_tied;  /* the last unit reads the first parameter, too */
    unsigned seed; /* of the model */
    tri_quantize_kind weights, gradients;
} rig_case;

/* One thing that a schedule does with a unit. `part`: halves of the gradient that are added. */
typedef struct rig_visit {
    int unit, micro;
    unsigned
        part; /* 0: forward; 1, 2 or 3: halves of the gradient; 4: the head's part of the tie */
    bool is_ready, is_last; /* is_last: of the round */
} rig_visit;

typedef struct zero_rig {
    rig_case c;
    tri_comm *world;
    tri_mesh *mesh;
    tri_state *state;
    tri_kernels *kernels;
    tri_zero *zero;
    tri_arena *arena;
    int n_rows, n_units, n_local; /* local: units of this stage */
    tri_row rows[RIG_ROWS];
    int unit[RIG_ROWS]; /* of the whole model */
    int sum[RIG_ROWS];
    int n_visits;
    rig_visit visits[RIG_VISITS];
    const void *weight[RIG_ROWS]; /* as bound */
    float *gradient[RIG_ROWS];
} zero_rig;

static inline unsigned rig_random(unsigned *state, unsigned n)
{
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 12) % n;
}

static inline int rig_axis(const zero_rig *rig, tri_axis axis)
{
    return rig->c.size[axis];
}

/* First of this stage's units, and whether a unit of the model is here. */
static inline int rig_first_unit(const zero_rig *rig)
{
    int stage = tri_mesh_coord(rig->mesh, TRI_AXIS_PIPELINE);
    return rig->n_units * stage / rig_axis(rig, TRI_AXIS_PIPELINE);
}

static inline int rig_stage_of(const zero_rig *rig, int unit)
{
    int stage = 0;
    while (rig->n_units * (stage + 1) / rig_axis(rig, TRI_AXIS_PIPELINE) <= unit)
        stage++;
    return stage;
}

/* Global index of element `at` of this rank's box of a row. */
static inline int64_t rig_global(const zero_rig *rig, const tri_box *box, int row, int64_t at)
{
    const tri_row *r = &rig->rows[row];
    if (r->n_dims == 1) return box->start[0] + at;
    int64_t y = at / box->count[1], x = at % box->count[1];
    return (box->start[0] + y) * r->shape[1] + box->start[1] + x;
}

/* The box of a row on this rank; of the guest's copy as it is at its owner. */
static inline tri_box rig_box(const zero_rig *rig, int row, bool anywhere)
{
    tri_place place = rig->rows[row].place;
    if (anywhere) place.axis[TRI_AXIS_PIPELINE].kind = TRI_REPLICATED;
    tri_box box = {0};
    tri_status rc = tri_place_box(&place, rig->mesh, tri_mesh_rank(rig->mesh),
                                  rig->rows[row].n_dims, rig->rows[row].shape, &box);
    EXPECT(rc == TRI_OK, "no box of row %d", row);
    return box;
}

static inline bool rig_is_guest(const zero_rig *rig)
{
    int stages = rig_axis(rig, TRI_AXIS_PIPELINE);
    return rig->c.is_tied && stages > 1 &&
           tri_mesh_coord(rig->mesh, TRI_AXIS_PIPELINE) == stages - 1;
}

static inline bool rig_is_owner(const zero_rig *rig)
{
    return rig->c.is_tied && rig_axis(rig, TRI_AXIS_PIPELINE) > 1 &&
           tri_mesh_coord(rig->mesh, TRI_AXIS_PIPELINE) == 0;
}

/* A row: a matrix or a vector, split over the tensor axis or not. */
static inline void rig_add_row(zero_rig *rig, int unit, unsigned *random)
{
    int i = rig->n_rows++;
    int tensor = rig_axis(rig, TRI_AXIS_TENSOR);
    tri_row *row = &rig->rows[i];
    *row = (tri_row){.role = TRI_ROLE_PARAM, .dtype = TRI_F32};
    snprintf(row->name, sizeof row->name, "param/row%d", i);
    bool is_matrix = i == 0 || rig_random(random, 3) > 0;
    row->n_dims = is_matrix ? 2 : 1;
    row->shape[0] = 1 + rig_random(random, 40);
    row->shape[1] = is_matrix ? 1 + rig_random(random, 30) : 0;
    rig->unit[i] = unit;
    rig->sum[i] = 1;
    row->place.axis[TRI_AXIS_PIPELINE].kind = TRI_AT;
    row->place.axis[TRI_AXIS_PIPELINE].arg = rig_stage_of(rig, unit);
    unsigned kind = rig_random(random, 4);
    if (kind < 2 && i > 0) { /* replicated, perhaps with partial gradients */
        rig->sum[i] = kind == 0 ? tensor : 1;
        return;
    }
    row->place.axis[TRI_AXIS_TENSOR].kind = TRI_SPLIT;
    row->place.axis[TRI_AXIS_TENSOR].arg = is_matrix ? (int)rig_random(random, 2) : 0;
    if (tensor == 4 && kind == 3 && i > 0) {
        row->place.axis[TRI_AXIS_TENSOR].parts = 2;
        rig->sum[i] = 2;
    }
}

static inline void rig_model(zero_rig *rig)
{
    unsigned random = rig->c.seed;
    int stages = rig_axis(rig, TRI_AXIS_PIPELINE);
    rig->n_units = stages + (int)rig_random(&random, RIG_UNITS - 2);
    for (int unit = 0; unit < rig->n_units; unit++) {
        unsigned same = random; /* some units are alike, as blocks are */
        if (unit % 2 == 0 && unit > 0) random = rig->c.seed + 77;
        unsigned rows = unit == 0 ? 2 : rig_random(&random, 4);
        for (unsigned r = 0; r < rows; r++)
            rig_add_row(rig, unit, &random);
        if (unit % 2 == 0 && unit > 0) random = same + 1;
    }
    rig->n_local = 0;
    int stage = tri_mesh_coord(rig->mesh, TRI_AXIS_PIPELINE);
    for (int unit = 0; unit < rig->n_units; unit++)
        rig->n_local += rig_stage_of(rig, unit) == stage;
}

#endif

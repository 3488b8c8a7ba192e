// SPDX-License-Identifier: Apache-2.0
/* A matrix and a vector under an optimizer, in shards over ranks as a job has them: cut by the tensor
 * axis along rows or columns, then in flat ranges over the data axis, or held twice.
 */
#ifndef TRI_TESTS_OPTIM_RIG_H
#define TRI_TESTS_OPTIM_RIG_H

#include "optim/optim.h"
#include "runtime/base/int.h"
#include "tests/test.h"

enum { RIG_MAX_ROWS = 3, RIG_MAX_ELEMENTS = 4096 };

/* A tensor: its shape, and the dimension that the tensor axis cuts (-1: none). */
typedef struct rig_tensor {
    int n_dims;
    int64_t shape[2];
    int cut;
} rig_tensor;

/* Ranks of each axis; data ranks hold flat shards, in groups of `share` that cover a tensor (so that
 * data / share ranks hold the same). */
typedef struct rig_layout {
    int data, tensor, share;
} rig_layout;

typedef struct optim_rig {
    const rig_tensor *tensors;
    int n;
    tri_mesh *mesh;
    tri_kernels *kernels;
    tri_state *state;
    tri_optim *optim;
    tri_arena *arena;
    tri_box box[RIG_MAX_ROWS];
    tri_optim_segment segments[RIG_MAX_ROWS];
    float weight[RIG_MAX_ROWS][RIG_MAX_ELEMENTS], gradient[RIG_MAX_ROWS][RIG_MAX_ELEMENTS];
} optim_rig;

static inline int64_t rig_elements(const rig_tensor *t)
{
    return t->n_dims > 1 ? t->shape[0] * t->shape[1] : t->shape[0];
}

/* Global index of element `at` of the local box of tensor i. */
static inline int64_t rig_global(const optim_rig *rig, int i, int64_t at)
{
    const tri_box *box = &rig->box[i];
    if (box->n_dims == 1) return box->start[0] + at;
    return (box->start[0] + at / box->count[1]) * rig->tensors[i].shape[1] + box->start[1] +
           at % box->count[1];
}

static inline tri_status rig_add(optim_rig *rig, const rig_layout *layout, int i)
{
    const rig_tensor *t = &rig->tensors[i];
    tri_row row = {
        .n_dims = t->n_dims, .shape = {t->shape[0], t->shape[1]},
             .decay = true
    };
    snprintf(row.name, sizeof row.name, "param/tensor%d", i);
    if (t->cut >= 0) {
        row.place.axis[TRI_AXIS_TENSOR].kind = TRI_SPLIT;
        row.place.axis[TRI_AXIS_TENSOR].arg = t->cut;
    }
    TRI_TRY(tri_state_add(rig->state, &row, NULL));
    TRI_TRY(tri_place_box(&row.place, rig->mesh, tri_mesh_rank(rig->mesh), row.n_dims, row.shape,
                          &rig->box[i]));
    int64_t n = tri_box_elements(&rig->box[i]);
    int data = tri_mesh_coord(rig->mesh, TRI_AXIS_DATA);
    int64_t block = (n + layout->share - 1) / layout->share;
    int64_t begin = tri_min64(data % layout->share * block, n);
    bool is_first = t->cut >= 0 || tri_mesh_coord(rig->mesh, TRI_AXIS_TENSOR) == 0;
    rig->segments[i] = (tri_optim_segment){.row = i,
                                           .begin = begin,
                                           .count = tri_min64(block, n - begin),
                                           .is_counted = is_first && data < layout->share,
                                           .weight = rig->weight[i],
                                           .gradient = rig->gradient[i]};
    return TRI_OK;
}

/* Collective: world. `alone`: sums stay those of each rank (a mistake that tests must see). */
static inline tri_status rig_open(optim_rig *rig, tri_comm *world, const rig_layout *layout,
                                  const tri_optim_config *config, bool alone)
{
    tri_mesh_args mesh = {
        .world = world, .size = {1, layout->data, 1, layout->tensor}
    };
    TRI_TRY(tri_mesh_create(&mesh, &rig->mesh));
    unsigned axes = TRI_AXIS_BIT(TRI_AXIS_DATA) | TRI_AXIS_BIT(TRI_AXIS_TENSOR);
    TRI_TRY(tri_mesh_declare(rig->mesh, axes));
    TRI_TRY(tri_kernels_create(tri_comm_device(world), NULL, &rig->kernels));
    TRI_TRY(tri_state_create(rig->mesh, &rig->state));
    for (int i = 0; i < rig->n; i++)
        TRI_TRY(rig_add(rig, layout, i));
    tri_optim_args args = {.config = config,
                           .kernels = rig->kernels,
                           .state = rig->state,
                           .segments = rig->segments,
                           .n_segments = rig->n,
                           .ranks = alone ? NULL : tri_mesh_comm(rig->mesh, axes)};
    TRI_TRY(tri_optim_create(&args, &rig->optim));
    TRI_TRY(tri_optim_export(rig->optim, rig->state));
    TRI_TRY(tri_arena_create(&rig->arena));
    TRI_TRY(tri_optim_declare(rig->optim, rig->arena));
    TRI_TRY(tri_arena_commit(rig->arena, tri_comm_device(world), NULL));
    TRI_TRY(tri_optim_bind(rig->optim, rig->segments, rig->state));
    tri_optim_initialise(rig->optim);
    return TRI_OK;
}

/* Fill the held part of tensor i from a whole one. */
static inline void rig_fill(const optim_rig *rig, int i, const float *whole, float *part)
{
    for (int64_t k = 0; k < rig->segments[i].count; k++)
        part[k] = whole[rig_global(rig, i, rig->segments[i].begin + k)];
}

/* Collective: world. */
static inline void rig_close(optim_rig *rig)
{
    tri_arena_destroy(&rig->arena);
    tri_optim_destroy(&rig->optim);
    tri_state_destroy(&rig->state);
    tri_kernels_destroy(&rig->kernels);
    tri_mesh_close(&rig->mesh);
}

#endif

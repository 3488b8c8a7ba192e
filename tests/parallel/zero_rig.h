// SPDX-License-Identifier: Apache-2.0
/* Sharding of a made-up model on a mesh: the schedule of its units, opened and closed. */
#ifndef TRI_TESTS_PARALLEL_ZERO_RIG_H
#define TRI_TESTS_PARALLEL_ZERO_RIG_H

#include "tests/parallel/zero_model.h"

static inline void rig_visit_add(zero_rig *rig, rig_visit visit)
{
    visit.is_last = visit.micro == rig->c.micro_batches - 1;
    EXPECT(rig->n_visits < RIG_VISITS, "%d visits", rig->n_visits);
    rig->visits[rig->n_visits++] = visit;
}

/* What a step does with the units of this stage, in order. */
static inline void rig_schedule(zero_rig *rig)
{
    bool ties_here = rig->c.is_tied && rig_axis(rig, TRI_AXIS_PIPELINE) == 1;
    int n = rig->n_local;
    for (int m = 0; m < rig->c.micro_batches; m++) {
        for (int u = 0; u < n; u++)
            rig_visit_add(rig, (rig_visit){u, m, 0, false, false});
        if (ties_here) rig_visit_add(rig, (rig_visit){0, m, 4, false, false});
        for (int u = n - 1; u >= 0; u--)
            rig_visit_add(rig, (rig_visit){u, m, rig->c.is_split ? 1 : 3, !rig->c.is_split, false});
        for (int u = n - 1; u >= 0 && rig->c.is_split; u--)
            rig_visit_add(rig, (rig_visit){u, m, 2, true, false});
    }
}

/* Forward reads weights, backward of weights alone adds to gradients, all else does both. */
static inline tri_unit_need rig_need(const rig_visit *visit)
{
    return visit->part == 0   ? TRI_NEED_WEIGHTS
           : visit->part == 2 ? TRI_NEED_GRADIENTS
                              : TRI_NEED_WEIGHTS | TRI_NEED_GRADIENTS;
}

static inline void rig_on_bind(void *arg, int param, const void *weight, float *gradient)
{
    zero_rig *rig = arg;
    rig->weight[param] = weight;
    rig->gradient[param] = gradient;
}

static inline tri_status rig_zero(zero_rig *rig)
{
    tri_zero_param params[RIG_ROWS];
    tri_unit_visit visits[RIG_VISITS];
    int first = rig_first_unit(rig);
    for (int i = 0; i < rig->n_rows; i++) {
        int unit = rig->unit[i] - first;
        bool here = unit >= 0 && unit < rig->n_local;
        params[i] = (tri_zero_param){.unit = here ? unit : -1, .tensor_sum = rig->sum[i]};
    }
    for (int v = 0; v < rig->n_visits; v++)
        visits[v] = (tri_unit_visit){rig->visits[v].unit, rig_need(&rig->visits[v]),
                                     rig->visits[v].is_ready};
    const rig_case *c = &rig->c;
    bool is_end = rig_is_owner(rig) || rig_is_guest(rig);
    tri_zero_args args = {
        .mesh = rig->mesh,
        .state = rig->state,
        .n_params = rig->n_rows,
        .params = params,
        .n_units = rig->n_local,
        .group = {c->group[0], c->group[1], c->group[2]},
        .bucket_bytes = c->bucket_bytes,
        .prefetch = c->prefetch,
        .grad_buffers = c->is_split || c->is_tied ? rig->n_local : 0,
        .quantize_weights = c->weights,
        .quantize_gradients = c->gradients,
        .compute = c->compute,
        .training = true,
        .kernels = rig->kernels,
        .tied_param = is_end ? 0 : -1,
        .is_guest = rig_is_guest(rig),
        .tied_unit = rig->n_local - 1,
        .visits = visits,
        .n_visits = rig->n_visits
    };
    if (is_end) args.ends = tri_mesh_comm(rig->mesh, TRI_AXIS_BIT(TRI_AXIS_PIPELINE));
    TRI_TRY(tri_zero_create(&args, &rig->zero));
    return TRI_OK;
}

/* Everything that exists on paper too (world NULL: rank `rank` of a job of this case). */
static inline tri_status rig_plan(zero_rig *rig, tri_comm *world, int rank, const rig_case *c)
{
    *rig = (zero_rig){.c = *c, .world = world};
    tri_mesh_args mesh = {.world = world, .rank = rank, .n_ranks = 1};
    memcpy(mesh.size, c->size, sizeof mesh.size);
    for (int a = 0; a < TRI_AXES; a++)
        mesh.n_ranks *= mesh.size[a];
    TRI_TRY(tri_mesh_create(&mesh, &rig->mesh));
    TRI_TRY(tri_mesh_declare(rig->mesh, ZERO_AXES));
    if (rig_axis(rig, TRI_AXIS_PIPELINE) > 1)
        TRI_TRY(tri_mesh_declare(rig->mesh, TRI_AXIS_BIT(TRI_AXIS_PIPELINE)));
    if (world) TRI_TRY(tri_kernels_create(tri_comm_device(world), NULL, &rig->kernels));
    TRI_TRY(tri_state_create(rig->mesh, &rig->state));
    rig_model(rig);
    for (int i = 0; i < rig->n_rows; i++)
        TRI_TRY(tri_state_add(rig->state, &rig->rows[i], NULL));
    rig_schedule(rig);
    TRI_TRY(rig_zero(rig));
    TRI_TRY(tri_arena_create(&rig->arena));
    TRI_TRY(tri_zero_declare(rig->zero, rig->arena));
    return TRI_OK;
}

static inline tri_status rig_open(zero_rig *rig, tri_comm *world, const rig_case *c)
{
    TRI_TRY(rig_plan(rig, world, 0, c));
    TRI_TRY(
        tri_arena_commit(rig->arena, tri_comm_device(world), tri_mesh_comm(rig->mesh, ZERO_AXES)));
    tri_zero_bind(rig->zero, rig_on_bind, rig);
    return TRI_OK;
}

static inline void rig_close(zero_rig *rig)
{
    tri_arena_destroy(&rig->arena);
    tri_zero_destroy(&rig->zero);
    tri_state_destroy(&rig->state);
    tri_kernels_destroy(&rig->kernels);
    tri_mesh_close(&rig->mesh);
}

#endif

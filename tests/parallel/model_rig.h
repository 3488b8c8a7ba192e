// SPDX-License-Identifier: Apache-2.0
/* What the model tests share: a model of one rank with weights and gradients in a flat buffer laid out
 * as a bucket would be (rows in reverse order of export, each at a cache line), or with a gap
 * behind each row, so that no two parts of a fused product lie together.
 */
#ifndef TRI_TESTS_PARALLEL_MODEL_RIG_H
#define TRI_TESTS_PARALLEL_MODEL_RIG_H

#include "parallel/model.h"
#include "runtime/base/int.h"
#include "tests/test.h"

typedef struct model_rig_args {
    tri_model_config config; /* resolved by the rig */
    tri_dtype compute;
    int64_t micro_batch;
    bool serving; /* not training */
    bool apart;   /* gaps between rows */
    bool split;   /* backward of inputs and of weights apart */
    tri_recompute recompute;
    int threads; /* 0: 1 */
} model_rig_args;

typedef struct model_rig {
    tri_model_config config;
    tri_device *device;
    tri_kernels *kernels;
    tri_mesh *mesh;
    tri_state *state;
    tri_arena *arena;
    tri_model *model;
    tri_dtype compute;
    bool split;
    int n_params;
    int64_t total;   /* elements of the flat buffers */
    int64_t *offset; /* [n_params] */
    float *master, *gradient;
    tri_bf16 *copy; /* weights for bf16 */
} model_rig;

static inline void model_rig_destroy(model_rig *rig)
{
    tri_model_destroy(&rig->model);
    tri_state_destroy(&rig->state);
    tri_arena_destroy(&rig->arena);
    tri_mesh_close(&rig->mesh);
    tri_kernels_destroy(&rig->kernels);
    tri_device_destroy(&rig->device);
    TRI_FREE(rig->offset);
    TRI_FREE(rig->master);
    TRI_FREE(rig->gradient);
    TRI_FREE(rig->copy);
}

static inline const tri_row *rig_row(const model_rig *rig, int i)
{
    return tri_state_row(rig->state, i);
}

static inline int64_t rig_count(const model_rig *rig, int i)
{
    return tri_row_elements(rig_row(rig, i));
}

/* Refresh the compute copy after the master weights changed. */
static inline void rig_publish(model_rig *rig)
{
    for (int64_t i = 0; rig->compute == TRI_BF16 && i < rig->total; i++)
        rig->copy[i] = tri_f32_to_bf16(rig->master[i]);
}

static inline void rig_layout(model_rig *rig, bool apart)
{
    const int64_t line = 32; /* elements: 64 bytes of bf16 */
    int64_t at = 0;
    for (int i = rig->n_params - 1; i >= 0; i--) {
        rig->offset[i] = at;
        at = tri_round_up(at + rig_count(rig, i), line) + (apart ? line : 0);
    }
    rig->total = at;
}

/* Random weights everywhere, norms and biases too, so that no gradient is trivially right. */
static inline void rig_randomise(model_rig *rig, float std)
{
    for (int i = 0; i < rig->n_params; i++) {
        const tri_row *row = rig_row(rig, i);
        float mean = row->init.kind == TRI_INIT_ONE ? 1.0F : 0.0F;
        tri_rng rng = {5, tri_rng_stream_of(row->name), TRI_RNG_TEST};
        tri_rng_normal(rng, 0, rig_count(rig, i), mean, std, rig->master + rig->offset[i]);
    }
    rig_publish(rig);
}

static inline tri_status rig_memory(model_rig *rig, const model_rig_args *args)
{
    TRI_TRY(TRI_NEW_ARRAY(rig->n_params, &rig->offset));
    rig_layout(rig, args->apart);
    TRI_TRY(TRI_NEW_ARRAY(rig->total, &rig->master));
    TRI_TRY(TRI_NEW_ARRAY(rig->total, &rig->gradient));
    TRI_TRY(TRI_NEW_ARRAY(rig->total, &rig->copy));
    for (int i = 0; i < rig->n_params; i++) {
        int64_t at = rig->offset[i];
        const void *weight = rig->compute == TRI_BF16 ? (const void *)(rig->copy + at)
                                                      : (const void *)(rig->master + at);
        tri_state_hold(rig->state, i, 0, rig_count(rig, i), rig->master + at);
        tri_model_bind(rig->model, i, weight, args->serving ? NULL : rig->gradient + at);
        TRI_TRY(tri_row_initialise(rig_row(rig, i), rig->mesh, 1));
    }
    rig_publish(rig);
    return TRI_OK;
}

/* Make all of it; weights start by their initialisers. */
static inline tri_status rig_create(const model_rig_args *args, model_rig *rig)
{
    tri_device_args device = {.name = "cpu", .n_threads = args->threads ? args->threads : 1};
    tri_mesh_args mesh = {
        .n_ranks = 1, .size = {1, 1, 1, 1}
    };
    rig->config = args->config;
    rig->compute = args->compute;
    rig->split = args->split;
    TRI_TRY(tri_model_config_resolve(&rig->config));
    TRI_TRY(tri_device_create(&device, &rig->device));
    TRI_TRY(tri_kernels_create(rig->device, NULL, &rig->kernels));
    TRI_TRY(tri_mesh_create(&mesh, &rig->mesh));
    TRI_TRY(tri_state_create(rig->mesh, &rig->state));
    TRI_TRY(tri_arena_create(&rig->arena));
    tri_model_args model = {.config = &rig->config,
                            .kernels = rig->kernels,
                            .mesh = rig->mesh,
                            .compute = args->compute,
                            .micro_batch = args->micro_batch,
                            .training = !args->serving,
                            .split_backward = args->split,
                            .recompute = args->recompute,
                            .seed = 11};
    TRI_TRY(tri_model_create(&model, &rig->model));
    TRI_TRY(tri_model_export(rig->model, rig->state));
    TRI_TRY(tri_model_declare(rig->model, rig->arena));
    TRI_TRY(tri_arena_commit(rig->arena, rig->device, NULL));
    rig->n_params = tri_model_params(rig->model);
    return rig_memory(rig, args);
}

#endif

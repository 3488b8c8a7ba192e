// SPDX-License-Identifier: Apache-2.0
/* Builds and closes a job. The order is the order of the layers: mesh, kernels, state, model and its
 * rows, sharding, optimizer and its rows, data and its cursor, then all memory at once.
 */
#include "launch/job.h"

#include "checkpoint/ckpt.h"
#include "launch/env.h"
#include "runtime/base/alloc.h"

enum {
    JOB_COUNTERS = sizeof(tri_job_counters) / sizeof(int64_t),
    /* the ranks that share gradients and optimizer states */
    JOB_GROUP = TRI_AXIS_BIT(TRI_AXIS_DATA) | TRI_AXIS_BIT(TRI_AXIS_CONTEXT)
};

static bool is_training(const tri_job *job)
{
    return job->use == TRI_JOB_TRAIN;
}

static int data_parts(const tri_job *job)
{
    return tri_mesh_size(job->mesh, TRI_AXIS_DATA);
}

/* The mesh of the spec; on paper if there is no world. */
static tri_status open_mesh(tri_job *job, int n_ranks)
{
    tri_mesh_args args = {.world = job->world, .n_ranks = n_ranks};
    args.size[TRI_AXIS_PIPELINE] = job->spec.parallel.pipeline;
    args.size[TRI_AXIS_DATA] = job->spec.parallel.data;
    args.size[TRI_AXIS_CONTEXT] = job->spec.parallel.context;
    args.size[TRI_AXIS_TENSOR] = job->spec.parallel.tensor;
    TRI_TRY(tri_mesh_create(&args, &job->mesh));
    TRI_TRY(tri_mesh_declare(job->mesh, JOB_GROUP));
    return TRI_OK;
}

/* Rows of the model, in the table. */
static tri_status open_model(tri_job *job)
{
    TRI_TRY(tri_state_create(job->mesh, &job->state));
    tri_model_args args = {.config = &job->spec.model,
                           .kernels = job->kernels,
                           .mesh = job->mesh,
                           .compute = job->spec.precision,
                           .micro_batch = job->spec.batch.micro,
                           .training = is_training(job),
                           .seed = job->spec.seed};
    TRI_TRY(tri_model_create(&args, &job->model));
    TRI_TRY(tri_model_export(job->model, job->state));
    return TRI_OK;
}

/* Parameters, gradients and optimizer states shared out over data x context. Collective. */
static tri_status open_zero(tri_job *job)
{
    int n = tri_model_params(job->model);
    tri_zero_param *params = NULL;
    TRI_TRY(TRI_NEW_ARRAY(n, &params));
    for (int i = 0; i < n; i++)
        params[i] = (tri_zero_param){.unit = tri_model_unit_of(job->model, i), .tensor_sum = 1};
    const int *group = job->spec.parallel.zero;
    tri_zero_args args = {
        .mesh = job->mesh,
        .state = job->state,
        .first_row = 0,
        .n_params = n,
        .params = params,
        .n_units = tri_model_units(job->model),
        .group = {group[0], group[1], group[2]},
        .bucket_bytes = (int64_t)(job->spec.parallel.bucket_mb * 1048576),
        .prefetch = job->spec.parallel.prefetch,
        .compute = job->spec.precision,
        .training = is_training(job),
        .kernels = job->kernels,
        .tied_param = -1,
    };
    tri_status rc = tri_zero_create(&args, &job->zero);
    TRI_FREE(params);
    TRI_TRY(rc);
    return TRI_OK;
}

/* What zero calls a shard, the optimizer calls a segment. */
static void fill_segments(tri_job *job)
{
    for (int i = 0; i < tri_zero_shards(job->zero); i++) {
        tri_zero_shard s = tri_zero_shard_at(job->zero, i);
        job->segments[i] = (tri_optim_segment){.row = s.param,
                                               .begin = s.begin,
                                               .count = s.count,
                                               .weight = s.weight,
                                               .gradient = s.gradient,
                                               .copy = s.copy,
                                               .decay = tri_state_row(job->state, s.param)->decay};
    }
}

static tri_status open_optimizer(tri_job *job)
{
    if (!is_training(job)) return TRI_OK;
    int n = tri_zero_shards(job->zero);
    TRI_TRY(TRI_NEW_ARRAY(n, &job->segments));
    fill_segments(job);
    TRI_TRY(tri_optim_create(&job->spec.optimizer, job->kernels, job->segments, n, &job->optim));
    TRI_TRY(tri_optim_export(job->optim, job->state));
    return TRI_OK;
}

static tri_loader_args loader_args(const tri_job *job, bool validation)
{
    return (tri_loader_args){.data = &job->spec.data,
                             .seed = job->spec.seed,
                             .length = job->spec.model.context,
                             .vocab = job->spec.model.vocab,
                             .sequences = job->spec.batch.sequences,
                             .part = tri_mesh_coord(job->mesh, TRI_AXIS_DATA),
                             .parts = data_parts(job),
                             .validation = validation};
}

static bool has_validation(const tri_job *job)
{
    return job->use == TRI_JOB_EVALUATE || (is_training(job) && job->spec.train.eval_every > 0);
}

static tri_status open_data(tri_job *job)
{
    tri_device *device = tri_comm_device(job->world);
    if (is_training(job)) {
        tri_loader_args args = loader_args(job, false);
        TRI_TRY(tri_loader_create(&args, device, &job->loader));
        TRI_TRY(tri_loader_export(job->loader, job->state));
    }
    if (has_validation(job)) {
        tri_loader_args args = loader_args(job, true);
        TRI_TRY(tri_loader_create(&args, device, &job->validation));
    }
    return TRI_OK;
}

static tri_status export_counters(tri_job *job)
{
    if (!is_training(job)) return TRI_OK;
    tri_row row = {.name = "job/counters",
                   .role = TRI_ROLE_JOB,
                   .dtype = TRI_I64,
                   .n_dims = 1,
                   .shape = {JOB_COUNTERS}};
    int index = 0;
    TRI_TRY(tri_state_add(job->state, &row, &index));
    tri_state_hold(job->state, index, 0, JOB_COUNTERS, &job->counters);
    return TRI_OK;
}

static tri_status declare_memory(tri_job *job)
{
    TRI_TRY(tri_arena_create(&job->arena));
    TRI_TRY(tri_zero_declare(job->zero, job->arena));
    if (job->optim) TRI_TRY(tri_optim_declare(job->optim, job->arena));
    TRI_TRY(tri_model_declare(job->model, job->arena));
    return TRI_OK;
}

static void bind_param(void *model, int param, const void *weight, float *gradient)
{
    tri_model_bind(model, param, weight, gradient);
}

static tri_status commit_memory(tri_job *job)
{
    tri_comm *group =
        tri_mesh_comm(job->mesh, TRI_AXIS_BIT(TRI_AXIS_DATA) | TRI_AXIS_BIT(TRI_AXIS_CONTEXT));
    TRI_TRY(tri_arena_commit(job->arena, tri_comm_device(job->world), group));
    tri_zero_bind(job->zero, bind_param, job->model);
    if (job->optim) {
        fill_segments(job);
        TRI_TRY(tri_optim_bind(job->optim, job->segments, job->state));
    }
    return TRI_OK;
}

/* What exists on paper too, once the rows are shared out. */
static tri_status open_layout(tri_job *job)
{
    TRI_TRY(open_optimizer(job));
    TRI_TRY(declare_memory(job));
    return TRI_OK;
}

/* The parts that can fail on one rank alone: the caller agrees on the outcome. */
static tri_status open_parts(tri_job *job)
{
    TRI_TRY(open_layout(job));
    TRI_TRY(open_data(job));
    TRI_TRY(export_counters(job));
    return TRI_OK;
}

tri_status tri_job_open(const tri_spec *spec, tri_job_use use, tri_comm *world, tri_job **out)
{
    tri_job *job = NULL;
    TRI_TRY(TRI_NEW(&job));
    *out = job; /* handed over half-built: tri_job_close takes it */
    job->spec = *spec;
    job->use = use;
    job->world = world;
    tri_status kernels = tri_kernels_create(tri_comm_device(world), NULL, &job->kernels);
    TRI_TRY(tri_agree(world, kernels));
    TRI_TRY(open_mesh(job, tri_comm_size(world)));
    TRI_TRY(tri_agree(world, open_model(job)));
    TRI_TRY(tri_agree(world, open_zero(job)));
    TRI_TRY(tri_agree(world, open_parts(job)));
    TRI_TRY(tri_agree(world, commit_memory(job)));
    tri_status prepared = tri_model_prepare(job->model, spec->batch.micro, spec->model.context);
    TRI_TRY(tri_agree(world, prepared));
    return TRI_OK;
}

void tri_job_close(tri_job **out)
{
    tri_job *job = *out;
    if (!job) return;
    tri_loader_destroy(&job->validation);
    tri_loader_destroy(&job->loader);
    tri_arena_destroy(&job->arena);
    tri_optim_destroy(&job->optim);
    tri_zero_destroy(&job->zero);
    tri_model_destroy(&job->model);
    tri_state_destroy(&job->state);
    tri_kernels_destroy(&job->kernels);
    tri_mesh_close(&job->mesh);
    TRI_FREE(job->segments);
    TRI_FREE(*out);
}

tri_status tri_job_initialise(tri_job *job)
{
    for (int i = 0; i < tri_model_params(job->model); i++)
        TRI_TRY(tri_row_initialise(tri_state_row(job->state, i), job->mesh, job->spec.seed));
    TRI_TRY(tri_zero_publish(job->zero));
    return TRI_OK;
}

tri_status tri_job_load(tri_job *job, const char *path)
{
    tri_ckpt_load_args args = {.path = path,
                               .state = job->state,
                               .world = job->world,
                               .roles = is_training(job) ? 0 : 1u << TRI_ROLE_PARAM};
    TRI_TRY(tri_ckpt_load(&args));
    if (job->loader) TRI_TRY(tri_agree(job->world, tri_loader_restore(job->loader)));
    TRI_TRY(tri_zero_publish(job->zero));
    return TRI_OK;
}

tri_status tri_job_save(tri_job *job, const char *dir)
{
    char *yaml = NULL;
    TRI_TRY(tri_spec_dump(&job->spec, &yaml));
    tri_ckpt_save_args args = {.dir = dir,
                               .state = job->state,
                               .world = job->world,
                               .step = job->counters.step,
                               .job_yaml = yaml,
                               .version = TRI_VERSION,
                               .keep = job->spec.checkpoint.keep};
    tri_status saved = tri_ckpt_save(&args);
    TRI_FREE(yaml);
    TRI_TRY(saved);
    return TRI_OK;
}

/* This rank's part of one held-out batch, micro-batch by micro-batch. */
static tri_status evaluate_batch(tri_job *job, double *loss, int64_t *tokens)
{
    tri_loader_batch part;
    TRI_TRY(tri_loader_next(job->validation, &part));
    for (int64_t at = 0; at < part.sequences; at += job->spec.batch.micro) {
        tri_batch micro = {.sequences = job->spec.batch.micro,
                           .length = part.length,
                           .tokens = part.tokens + at * part.length,
                           .targets = part.targets + at * part.length,
                           .sample = part.sample + at};
        TRI_TRY(tri_model_evaluate(job->model, &micro, loss, tokens));
    }
    return TRI_OK;
}

tri_status tri_job_evaluate(tri_job *job, int64_t batches, double *loss, int64_t *tokens)
{
    double sum[2] = {0, 0}; /* loss, tokens */
    int64_t counted = 0;
    TRI_TRY(tri_loader_seek(job->validation, 0));
    for (int64_t b = 0; b < batches; b++)
        TRI_TRY(evaluate_batch(job, &sum[0], &counted));
    sum[1] = (double)counted;
    TRI_TRY(tri_allreduce(job->world, tri_span_make(sum, 2, TRI_F64), TRI_SUM, NULL));
    *loss = sum[0] / sum[1];
    *tokens = (int64_t)sum[1];
    return TRI_OK;
}

/* The numbers of a job whose layout stands. */
static void plan_fill(const tri_job *job, tri_job_plan *out)
{
    const tri_spec *spec = &job->spec;
    int64_t part = spec->batch.sequences / spec->parallel.data;
    *out = (tri_job_plan){.accumulation = part / spec->batch.micro,
                          .step_tokens = spec->batch.sequences * spec->model.context,
                          .flops_per_token =
                              tri_model_flops_per_token(job->model, spec->model.context)};
    tri_zero_traffic(job->zero, &out->traffic);
    for (int i = 0; i < tri_model_params(job->model); i++)
        out->params += tri_row_elements(tri_state_row(job->state, i));
    for (int kind = 0; kind < TRI_MEM_KINDS; kind++)
        out->bytes[kind] = tri_arena_bytes(job->arena, (tri_mem_kind)kind);
    out->bytes[TRI_MEM_COMM] += tri_mesh_comm_bytes(job->mesh);
    int loaders = spec->train.eval_every > 0 ? 2 : 1;
    out->bytes[TRI_MEM_DATA] += (size_t)loaders * tri_loader_bytes(part, spec->model.context);
}

/* Kernels are real on paper too: their workspaces depend on this processor and the threads. */
static tri_status plan_layout(tri_job *job, tri_device *device, int n_ranks)
{
    TRI_TRY(tri_kernels_create(device, NULL, &job->kernels));
    TRI_TRY(open_mesh(job, n_ranks));
    TRI_TRY(open_model(job));
    TRI_TRY(open_zero(job));
    TRI_TRY(open_layout(job));
    return TRI_OK;
}

tri_status tri_job_plan_make(const tri_spec *spec, int n_ranks, tri_job_plan *out)
{
    int threads = spec->train.threads > 0 ? spec->train.threads : tri_env_threads(n_ranks);
    tri_device_args args = {.name = "cpu", .n_threads = threads};
    TRI_AUTO(tri_device) *device = NULL;
    TRI_TRY(tri_device_create(&args, &device));
    tri_job *job = NULL;
    TRI_TRY(TRI_NEW(&job));
    job->spec = *spec;
    tri_status rc = plan_layout(job, device, n_ranks);
    if (rc == TRI_OK) plan_fill(job, out);
    tri_job_close(&job);
    TRI_TRY(rc);
    return TRI_OK;
}

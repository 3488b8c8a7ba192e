// SPDX-License-Identifier: Apache-2.0
/* Builds and closes a job. The order is the order of the layers: mesh, kernels, state, model and its
 * rows, sharding, optimizer and its rows, data and its cursor, then all memory at once.
 */
#include "checkpoint/ckpt.h"
#include "launch/job_impl.h"
#include "launch/spec_table.h"
#include "runtime/base/alloc.h"
#include "runtime/base/log.h"

#include <stdio.h>
#include <string.h>

enum { JOB_COUNTERS = sizeof(tri_job_counters) / sizeof(int64_t) };

static int data_parts(const tri_job *job)
{
    return tri_mesh_size(job->mesh, TRI_AXIS_DATA);
}

/* What zero calls a shard, the optimizer calls a segment. */
static void fill_segments(tri_job *job)
{
    for (int i = 0; i < tri_zero_shards(job->zero); i++) {
        tri_zero_shard s = tri_zero_shard_at(job->zero, i);
        job->segments[i] = (tri_optim_segment){.row = s.param,
                                               .begin = s.begin,
                                               .count = s.count,
                                               .is_counted = s.is_counted,
                                               .weight = s.weight,
                                               .gradient = s.gradient,
                                               .copy = s.copy};
    }
}

static tri_status open_optimizer(tri_job *job)
{
    if (!tri_job_trains(job)) return TRI_OK;
    int n = tri_zero_shards(job->zero);
    TRI_TRY(TRI_NEW_ARRAY(n, &job->segments));
    fill_segments(job);
    job->spec.optimizer.seed = job->spec.seed;
    tri_optim_args args = {.config = &job->spec.optimizer,
                           .kernels = job->kernels,
                           .state = job->state,
                           .segments = job->segments,
                           .n_segments = n,
                           .ranks = tri_optim_has_rounds(&job->spec.optimizer)
                                        ? tri_mesh_comm(job->mesh, tri_job_replica(job))
                                        : NULL};
    TRI_TRY(tri_optim_create(&args, &job->optim));
    TRI_TRY(tri_optim_export(job->optim, job->state));
    return TRI_OK;
}

/* What decides on the batch, where that is not the same in all steps. */
static tri_status open_batch(tri_job *job)
{
    tri_batch_config config = tri_spec_batch(&job->spec);
    if (!tri_job_trains(job) || !tri_batch_varies(&config)) return TRI_OK;
    tri_batch_args args = {.config = &config,
                           .kernels = job->kernels,
                           .segments = job->segments,
                           .n_segments = tri_zero_shards(job->zero)};
    TRI_TRY(tri_batch_create(&args, &job->batch));
    TRI_TRY(tri_batch_export(job->batch, job->state));
    return TRI_OK;
}

/* Training reads round by round, evaluation in batches. */
static tri_loader_args loader_args(const tri_job *job, bool validation)
{
    return (tri_loader_args){.data = &job->spec.data,
                             .seed = job->spec.seed,
                             .length = job->spec.model.context,
                             .vocab = job->spec.model.vocab,
                             .sequences =
                                 validation ? job->spec.batch.sequences : job->spec.batch.round,
                             .part = tri_mesh_coord(job->mesh, TRI_AXIS_DATA),
                             .parts = data_parts(job),
                             .validation = validation};
}

static bool has_validation(const tri_job *job)
{
    return job->use == TRI_JOB_EVALUATE || (tri_job_trains(job) && job->spec.train.eval_every > 0);
}

/* A larger batch would hold samples twice, which a test of it takes for different ones. */
static tri_status check_largest_batch(const tri_job *job)
{
    tri_batch_config config = tri_spec_batch(&job->spec);
    int64_t samples = tri_loader_epoch_samples(job->loader);
    TRI_CHECK(tri_batch_largest(&config) <= samples, TRI_EINVAL,
              "%s: %lld samples are for training, fewer than the largest batch, %lld sequences "
              "(%s): lower that, or use a smaller context, more data, or another data.holdout (now "
              "%g)",
              job->spec.data.train, (long long)samples, (long long)tri_batch_largest(&config),
              config.ramp.to > 0 ? "batch.ramp.to" : "batch.adaptive.max", job->spec.data.holdout);
    return TRI_OK;
}

static tri_status open_data(tri_job *job)
{
    tri_device *device = tri_comm_device(job->world);
    if (tri_job_trains(job)) {
        tri_loader_args args = loader_args(job, false);
        TRI_TRY(tri_loader_create(&args, device, &job->loader));
        TRI_TRY(check_largest_batch(job));
        TRI_TRY(tri_loader_export(job->loader, job->state));
    }
    if (has_validation(job)) {
        tri_loader_args args = loader_args(job, true);
        TRI_TRY(tri_loader_create(&args, device, &job->validation));
    }
    return TRI_OK;
}

/* Numbers that all ranks have alike become a row. */
static tri_status export_numbers(tri_job *job, const char *name, tri_role role, tri_span numbers)
{
    tri_row row = {.role = role, .dtype = numbers.dtype, .n_dims = 1, .shape = {numbers.count}};
    int index = 0;
    snprintf(row.name, sizeof row.name, "%s", name);
    TRI_TRY(tri_state_add(job->state, &row, &index));
    tri_state_hold(job->state, index, 0, numbers.count, numbers.data);
    return TRI_OK;
}

static tri_status export_counters(tri_job *job)
{
    if (!tri_job_trains(job)) return TRI_OK;
    tri_stability *s = &job->stability;
    TRI_TRY(export_numbers(job, "job/counters", TRI_ROLE_JOB,
                           tri_span_make(&job->counters, JOB_COUNTERS, TRI_I64)));
    TRI_TRY(export_numbers(job, "stability/counts", TRI_ROLE_POLICY,
                           tri_span_make(s, TRI_STABILITY_NUMBERS, TRI_I64)));
    return export_numbers(job, "stability/mean", TRI_ROLE_POLICY,
                          tri_span_make(&s->mean_log2, 1, TRI_F64));
}

static tri_status open_saver(tri_job *job)
{
    if (!tri_job_trains(job)) return TRI_OK;
    const tri_spec *spec = &job->spec;
    tri_saver_args args = {.state = job->state,
                           .world = job->world,
                           .version = TRI_VERSION,
                           .is_async = spec->checkpoint.async,
                           .files = (tri_saver_files)spec->checkpoint.files,
                           .trusts_replicas = !spec->checkpoint.verify_replicas,
                           .keep = spec->checkpoint.keep,
                           .keep_every = spec->checkpoint.keep_every};
    return tri_saver_create(&args, &job->saver);
}

static tri_status declare_memory(tri_job *job)
{
    TRI_TRY(tri_arena_create(&job->arena));
    TRI_TRY(tri_zero_declare(job->zero, job->arena));
    if (job->optim) TRI_TRY(tri_optim_declare(job->optim, job->arena));
    if (job->batch) TRI_TRY(tri_batch_declare(job->batch, job->arena));
    TRI_TRY(tri_model_declare(job->model, job->arena));
    TRI_TRY(tri_stage_declare(job->stage, job->arena));
    if (job->saver) TRI_TRY(tri_saver_declare(job->saver, job->arena));
    return TRI_OK;
}

static void bind_parameter(void *arg, int param, const void *weight, float *gradient)
{
    tri_model_bind(arg, param, weight, gradient);
}

static tri_status commit_memory(tri_job *job)
{
    tri_comm *group = tri_mesh_comm(job->mesh, TRI_JOB_GROUP);
    TRI_TRY(tri_arena_commit(job->arena, tri_comm_device(job->world), group));
    tri_zero_bind(job->zero, bind_parameter, job->model);
    if (job->optim) {
        fill_segments(job);
        TRI_TRY(tri_optim_bind(job->optim, job->segments, job->state));
        tri_optim_initialise(job->optim);
    }
    if (job->batch) TRI_TRY(tri_batch_bind(job->batch, job->segments));
    return TRI_OK;
}

tri_status tri_job_open_layout(tri_job *job)
{
    TRI_TRY(tri_state_create(job->mesh, &job->state));
    TRI_TRY(tri_job_open_parallel(job));
    TRI_TRY(open_optimizer(job));
    TRI_TRY(open_batch(job));
    TRI_TRY(open_saver(job));
    TRI_TRY(declare_memory(job));
    return TRI_OK;
}

/* The parts that can fail on one rank alone: the caller agrees on the outcome. */
static tri_status open_parts(tri_job *job)
{
    TRI_TRY(tri_job_open_layout(job));
    TRI_TRY(open_data(job));
    TRI_TRY(export_counters(job));
    return TRI_OK;
}

void tri_job_lay_out(tri_spec *spec, int n_ranks)
{
    int others = spec->parallel.tensor * spec->parallel.pipeline * spec->parallel.context;
    spec->parallel.data = 0;
    spec->batch.adaptive.test = TRI_BATCH_OFF;
    spec->batch.ramp = (tri_batch_ramp){.to = 0};
    if (n_ranks % others != 0 || spec->parallel.zero_stage < 0) tri_spec_reset_layout(spec);
}

tri_status tri_job_open(const tri_spec *spec, tri_job_use use, tri_comm *world, tri_job **out)
{
    tri_job *job = NULL;
    TRI_TRY(TRI_NEW(&job));
    *out = job; /* handed over half-built: tri_job_close takes it */
    job->spec = *spec;
    job->use = use;
    job->world = world;
    TRI_TRY(tri_spec_lr(spec, &job->lr));
    tri_status kernels = tri_kernels_create(tri_comm_device(world), NULL, &job->kernels);
    TRI_TRY(tri_agree(world, kernels));
    TRI_TRY(tri_job_open_mesh(job, tri_comm_size(world), tri_comm_rank(world)));
    TRI_TRY(tri_agree(world, open_parts(job)));
    TRI_TRY(tri_agree(world, commit_memory(job)));
    return TRI_OK;
}

void tri_job_close(tri_job **out)
{
    tri_job *job = *out;
    if (!job) return;
    tri_saver_destroy(&job->saver);
    tri_loader_destroy(&job->validation);
    tri_loader_destroy(&job->loader);
    tri_arena_destroy(&job->arena);
    tri_batch_destroy(&job->batch);
    tri_optim_destroy(&job->optim);
    tri_stage_destroy(&job->stage);
    tri_zero_destroy(&job->zero);
    tri_model_destroy(&job->model);
    tri_context_destroy(&job->context);
    tri_schedule_destroy(&job->schedule);
    tri_state_destroy(&job->state);
    tri_kernels_destroy(&job->kernels);
    tri_mesh_close(&job->mesh);
    TRI_FREE(job->segments);
    TRI_FREE(*out);
}

tri_job_step tri_job_step_of(const tri_job *job, int64_t batch, bool has_test)
{
    tri_batch_config config = tri_spec_batch(&job->spec);
    return (tri_job_step){.batch = batch,
                          .rounds = batch / job->spec.batch.round,
                          .groups = has_test ? tri_batch_groups(&config) : 1};
}

tri_job_step tri_job_next_step(const tri_job *job)
{
    if (!job->batch) return tri_job_step_of(job, job->spec.batch.sequences, false);
    return tri_job_step_of(job, tri_batch_size(job->batch, job->counters.samples),
                           tri_batch_is_due(job->batch, job->counters.step + 1));
}

tri_status tri_job_initialise(tri_job *job)
{
    for (int i = 0; i < tri_model_params(job->model); i++)
        TRI_TRY(tri_row_initialise(tri_state_row(job->state, i), job->mesh, job->spec.seed));
    TRI_TRY(tri_zero_publish(job->zero));
    return TRI_OK;
}

/* States of the optimizer as a job begins with them; an earlier load may have failed half-way. */
static void begin_optimizer(tri_job *job)
{
    tri_optim_initialise(job->optim);
    job->counters.updates = 0;
}

/* What multiplies activations is part of a model as its weights are, but no row says it. Rank 0 looks. */
static tri_status check_multipliers(const tri_job *job, const char *path)
{
    static const char *const keys[] = {"model.parameterization",     "model.base_hidden",
                                       "model.embedding_multiplier", "model.attention_multiplier",
                                       "model.output_multiplier",    "model.residual_multiplier",
                                       "model.residual_ratio"};
    tri_ckpt_info info = {0};
    tri_spec saved;
    TRI_TRY(tri_ckpt_read_info(path, &info));
    tri_status rc = tri_spec_parse(info.job_yaml, strlen(info.job_yaml), path, &saved);
    tri_ckpt_info_fini(&info);
    if (rc != TRI_OK) {
        tri_log(TRI_LOG_WARN,
                "checkpoint %s: its job cannot be read (%s): whether it has this model's "
                "parameterization and multipliers is not known",
                path, tri_err_last()->text);
        tri_err_clear();
        return TRI_OK;
    }
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const tri_field *field =
            &tri_spec_table()->fields[tri_config_find(tri_spec_table(), keys[i])];
        char was[TRI_CONFIG_VALUE_BYTES];
        char is[TRI_CONFIG_VALUE_BYTES];
        tri_config_format(field, &saved, was, sizeof was);
        tri_config_format(field, &job->spec, is, sizeof is);
        if (strcmp(keys[i], "model.base_hidden") == 0 && !tri_model_has_base(&job->spec.model))
            continue;
        TRI_CHECK(strcmp(was, is) == 0, TRI_EINVAL,
                  "checkpoint %s of another model: its weights were trained with %s %s, this job "
                  "has %s: the same weights would compute something else; set it to %s",
                  path, keys[i], was, is, was);
    }
    return TRI_OK;
}

tri_status tri_job_load_part(tri_job *job, const char *path, tri_job_part part)
{
    static const unsigned params = 1u << TRI_ROLE_PARAM;
    static const unsigned others = 1u << TRI_ROLE_DATA | 1u << TRI_ROLE_JOB | 1u << TRI_ROLE_POLICY;
    unsigned roles = part == TRI_JOB_BUT_OPTIMIZER ? params | others : 0;
    if (part == TRI_JOB_WEIGHTS || !tri_job_trains(job)) roles = params;
    tri_ckpt_load_args args = {.path = path,
                               .state = job->state,
                               .world = job->world,
                               .roles = roles,
                               .casts = true,
                               .resize_vocab = job->spec.checkpoint.resize_vocab};
    bool is_root = tri_comm_rank(job->world) == 0;
    TRI_TRY(tri_agree(job->world, is_root ? check_multipliers(job, path) : TRI_OK));
    /* the checkpoint may have none of these */
    if (job->batch) tri_batch_initialise(job->batch);
    job->stability = (tri_stability){.spikes = 0};
    TRI_TRY(tri_ckpt_load(&args));
    if (part == TRI_JOB_BUT_OPTIMIZER) begin_optimizer(job);
    if (job->loader && part != TRI_JOB_WEIGHTS)
        TRI_TRY(tri_agree(job->world, tri_loader_restore(job->loader)));
    if (job->batch && part != TRI_JOB_WEIGHTS)
        TRI_TRY(tri_agree(job->world, tri_batch_restore(job->batch)));
    TRI_TRY(tri_agree(job->world, tri_stability_restore(&job->stability)));
    TRI_TRY(tri_zero_publish(job->zero));
    return TRI_OK;
}

tri_status tri_job_load(tri_job *job, const char *path)
{
    return tri_job_load_part(job, path, TRI_JOB_ALL);
}

tri_status tri_job_save_begin(tri_job *job, const char *dir)
{
    char *yaml = NULL;
    TRI_TRY(tri_agree(job->world, tri_spec_dump(&job->spec, &yaml)));
    tri_status rc = tri_saver_begin(job->saver, dir, job->counters.step, yaml);
    TRI_FREE(yaml);
    return rc;
}

tri_status tri_job_save(tri_job *job, const char *dir)
{
    tri_saver_outcome outcome = TRI_SAVER_GOES_ON;
    tri_err failure = {.code = TRI_OK};
    TRI_TRY(tri_job_save_begin(job, dir));
    TRI_TRY(tri_saver_finish(job->saver, &outcome, &failure));
    return outcome == TRI_SAVER_FAILED ? tri_err_put(&failure) : TRI_OK;
}

/* This rank's part of one held-out batch. */
static tri_status evaluate_batch(tri_job *job, double *loss, int64_t *tokens)
{
    tri_loader_batch part;
    TRI_TRY(tri_loader_next(job->validation, &part));
    TRI_TRY(tri_stage_evaluate(job->stage, &part, loss, tokens));
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

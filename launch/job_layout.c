// SPDX-License-Identifier: Apache-2.0
/* The layout of a job: its mesh, the schedule, attention over the context axis, the model's stages, and
 * who shares weights, gradients and optimizer states. The same on paper, where there is no world.
 */
#include "launch/job_impl.h"

#include "runtime/base/alloc.h"

#include <string.h>

/* The mesh of the spec; on paper if there is no world. */
tri_status tri_job_open_mesh(tri_job *job, int n_ranks, int rank)
{
    tri_mesh_args args = {.world = job->world, .n_ranks = n_ranks, .rank = rank};
    args.size[TRI_AXIS_PIPELINE] = job->spec.parallel.pipeline;
    args.size[TRI_AXIS_DATA] = job->spec.parallel.data;
    args.size[TRI_AXIS_CONTEXT] = job->spec.parallel.context;
    args.size[TRI_AXIS_TENSOR] = job->spec.parallel.tensor;
    TRI_TRY(tri_mesh_create(&args, &job->mesh));
    TRI_TRY(tri_mesh_declare(job->mesh, TRI_JOB_GROUP));
    if (tri_job_trains(job) && tri_optim_has_rounds(&job->spec.optimizer))
        TRI_TRY(tri_mesh_declare(job->mesh, tri_job_replica(job)));
    static const tri_axis used[] = {TRI_AXIS_TENSOR, TRI_AXIS_CONTEXT};
    for (int i = 0; i < 2; i++)
        if (tri_mesh_size(job->mesh, used[i]) > 1)
            TRI_TRY(tri_mesh_declare(job->mesh, TRI_AXIS_BIT(used[i])));
    return TRI_OK;
}

int64_t tri_job_micro_batches(const tri_job *job)
{
    return job->spec.batch.round / job->spec.parallel.data / job->spec.batch.micro;
}

/* Attention over the context axis, where there is one. */
static tri_status open_context(tri_job *job)
{
    const tri_spec *spec = &job->spec;
    if (spec->parallel.context == 1) return TRI_OK;
    int64_t tensor = spec->parallel.tensor;
    int64_t kv_heads = spec->model.kv_heads / tensor;
    tri_context_args args = {.mesh = job->mesh,
                             .kernels = job->kernels,
                             .mode = (tri_context_mode)spec->parallel.context_mode,
                             .n_ulysses = spec->parallel.ulysses,
                             .sequences = spec->batch.micro,
                             .length = spec->model.context,
                             .heads = spec->model.heads / tensor,
                             .kv_heads = kv_heads > 0 ? kv_heads : 1,
                             .head_size = spec->model.hidden / spec->model.heads,
                             .dtype = spec->precision,
                             .training = (tri_job_trains(job))};
    TRI_TRY(tri_context_split(job->mesh, args.mode, args.n_ulysses, &args.ring, &args.ulysses));
    TRI_TRY(tri_context_create(&args, &job->context));
    return TRI_OK;
}

static tri_status open_schedule(tri_job *job)
{
    TRI_TRY(tri_schedule_create(job->spec.parallel.schedule, job->spec.parallel.pipeline,
                                job->spec.parallel.chunks, (int)tri_job_micro_batches(job),
                                &job->schedule));
    return TRI_OK;
}

/* The blocks on the stages of the schedule. */
tri_status tri_job_place_stages(const tri_job *job, tri_model_stage *stages)
{
    int n = job->schedule->ranks * job->schedule->chunks;
    TRI_TRY(tri_model_partition(&job->spec.model, n, stages));
    for (int s = 0; s < n; s++) {
        stages[s].rank = job->schedule->rank_of[s];
        stages[s].slots = job->schedule->slots[s];
    }
    return TRI_OK;
}

static tri_status make_model(tri_job *job, const tri_model_stage *stages)
{
    const tri_spec *spec = &job->spec;
    tri_model_args args = {.config = &spec->model,
                           .kernels = job->kernels,
                           .mesh = job->mesh,
                           .compute = spec->precision,
                           .micro_batch = spec->batch.micro,
                           .training = (tri_job_trains(job)),
                           .seed = spec->seed,
                           .n_stages = job->schedule->ranks * job->schedule->chunks,
                           .stages = stages,
                           .split_backward = job->schedule->split,
                           .recompute = (tri_recompute)spec->parallel.recompute,
                           .recompute_layers = spec->parallel.recompute_layers,
                           .tensor_sequence = spec->parallel.tensor_sequence,
                           .tensor_chunks = spec->parallel.tensor_chunks,
                           .context = job->context};
    TRI_TRY(tri_model_create(&args, &job->model));
    TRI_TRY(tri_model_export(job->model, job->state));
    return TRI_OK;
}

static tri_status open_model(tri_job *job)
{
    tri_model_stage *stages = NULL;
    TRI_TRY(TRI_NEW_ARRAY(job->schedule->ranks * job->schedule->chunks, &stages));
    tri_status rc = tri_job_place_stages(job, stages);
    if (rc == TRI_OK) rc = make_model(job, stages);
    TRI_FREE(stages);
    TRI_TRY(rc);
    return TRI_OK;
}

/* Where the embedding is tied to a head on another rank: what joins the two. */
static tri_status join_ends(const tri_job *job, tri_comm **ends)
{
    *ends = NULL;
    if (tri_model_tied(job->model) < 0) return TRI_OK;
    int last = job->schedule->ranks * job->schedule->chunks - 1;
    int owner = job->schedule->rank_of[0];
    int guest = job->schedule->rank_of[last];
    int here = tri_mesh_coord(job->mesh, TRI_AXIS_PIPELINE);
    int others = tri_mesh_index(job->mesh, TRI_JOB_GROUP | TRI_AXIS_BIT(TRI_AXIS_TENSOR));
    int color = here == owner || here == guest ? others : -1;
    TRI_TRY(tri_mesh_group(job->mesh, 2, color, here == owner ? 0 : 1, ends));
    tri_comm_set_name(*ends, "pipeline ends");
    return TRI_OK;
}

/* Visits of units in a round, in order: those of the operations of this rank in the schedule. */
static tri_status list_visits(const tri_job *job, tri_unit_visit **out, int64_t *n_visits)
{
    static const tri_model_pass_kind kinds[] = {
        [TRI_OP_FORWARD] = TRI_MODEL_FORWARD,
        [TRI_OP_BACKWARD] = TRI_MODEL_BACKWARD,
        [TRI_OP_BACKWARD_INPUT] = TRI_MODEL_BACKWARD_INPUT,
        [TRI_OP_BACKWARD_WEIGHT] = TRI_MODEL_BACKWARD_WEIGHT,
    };
    int rank = tri_mesh_coord(job->mesh, TRI_AXIS_PIPELINE);
    int n_ops = job->schedule->n_ops[rank];
    tri_unit_visit *visits = NULL;
    TRI_TRY(TRI_NEW_ARRAY((int64_t)n_ops * (tri_model_units(job->model) + 1), &visits));
    int64_t n = 0;
    for (int i = 0; i < n_ops; i++) {
        const tri_op *op = &job->schedule->ops[rank][i];
        if (op->kind <= TRI_OP_BACKWARD_WEIGHT)
            n += tri_model_visits(job->model, op->chunk, kinds[op->kind], visits + n);
    }
    *out = visits;
    *n_visits = n;
    return TRI_OK;
}

static tri_status make_zero(tri_job *job, tri_zero_param *params, tri_unit_visit **visits)
{
    int64_t n_visits = 0;
    TRI_TRY(list_visits(job, visits, &n_visits));
    const tri_spec *spec = &job->spec;
    int n = tri_model_params(job->model);
    for (int i = 0; i < n; i++)
        params[i] = (tri_zero_param){.unit = tri_model_unit(job->model, i),
                                     .tensor_sum = tri_model_tensor_sum(job->model, i)};
    tri_zero_args args = {.mesh = job->mesh,
                          .state = job->state,
                          .first_row = 0,
                          .n_params = n,
                          .params = params,
                          .n_units = tri_model_units(job->model),
                          .bucket_bytes = (int64_t)(spec->parallel.bucket_mb * 1048576),
                          .prefetch = spec->parallel.prefetch,
                          .quantize_weights = (tri_quantize_kind)spec->parallel.quantize_weights,
                          .quantize_gradients =
                              (tri_quantize_kind)spec->parallel.quantize_gradients,
                          .compute = spec->precision,
                          .training = (tri_job_trains(job)),
                          .kernels = job->kernels,
                          .tied_param = tri_model_tied(job->model),
                          .is_guest = tri_model_is_guest(job->model),
                          .tied_unit = tri_model_head_unit(job->model),
                          .visits = *visits,
                          .n_visits = n_visits};
    memcpy(args.group, spec->parallel.zero, sizeof args.group);
    TRI_TRY(join_ends(job, &args.ends));
    TRI_TRY(tri_zero_create(&args, &job->zero));
    return TRI_OK;
}

static tri_status open_zero(tri_job *job)
{
    tri_zero_param *params = NULL;
    TRI_TRY(TRI_NEW_ARRAY(tri_model_params(job->model), &params));
    tri_unit_visit *visits = NULL;
    tri_status rc = make_zero(job, params, &visits);
    TRI_FREE(visits);
    TRI_FREE(params);
    TRI_TRY(rc);
    return TRI_OK;
}

static tri_status open_stage(tri_job *job)
{
    const tri_spec *spec = &job->spec;
    tri_stage_args args = {.model = job->model,
                           .zero = job->zero,
                           .mesh = job->mesh,
                           .context = job->context,
                           .schedule = job->schedule,
                           .compute = spec->precision,
                           .micro = spec->batch.micro,
                           .sequences = spec->batch.round / job->spec.parallel.data,
                           .length = spec->model.context,
                           .separator = spec->data.separator};
    TRI_TRY(tri_stage_create(&args, &job->stage));
    return TRI_OK;
}

tri_status tri_job_open_parallel(tri_job *job)
{
    TRI_TRY(open_schedule(job));
    TRI_TRY(open_context(job));
    TRI_TRY(open_model(job));
    TRI_TRY(open_zero(job));
    TRI_TRY(open_stage(job));
    return TRI_OK;
}

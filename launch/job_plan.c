// SPDX-License-Identifier: Apache-2.0
/* A job on paper: the same declarations and the same tables as in a run, and nothing committed.
 */
#include "launch/env.h"
#include "launch/job_impl.h"
#include "launch/trace_file.h"
#include "launch/train.h"
#include "runtime/base/alloc.h"

#include <string.h>

/* What the optimizer adds up over the ranks that share tensors. */
static void plan_sums(const tri_job *job, tri_traffic_list *out)
{
    int64_t doubles = 0;
    tri_traffic sums = {.group = "optimizer",
                        .ranks = tri_mesh_product(job->mesh, tri_job_replica(job)),
                        .kind = TRI_COLL_ALLREDUCE,
                        .what = "norms",
                        .calls = tri_optim_messages(job->optim, &doubles)};
    sums.payload_bytes = doubles * (int64_t)sizeof(double);
    tri_traffic_add(out, &sums);
}

/* What is added up to decide on the batch. */
static void plan_test(const tri_job *job, tri_traffic_list *out)
{
    int64_t doubles = 0;
    tri_batch_config config = tri_spec_batch(&job->spec);
    tri_traffic test = {.group = "world",
                        .ranks = tri_mesh_ranks(job->mesh),
                        .kind = TRI_COLL_ALLREDUCE,
                        .what = "test of the batch",
                        .calls = tri_batch_messages(&config, &doubles)};
    test.payload_bytes = doubles * (int64_t)sizeof(double);
    tri_traffic_add(out, &test);
}

void tri_job_messages(const tri_job *job, const tri_job_step *step, tri_traffic_list *out)
{
    const tri_spec *spec = &job->spec;
    tri_micro_batch batch = {.sequences = spec->batch.micro,
                             .length = spec->model.context / spec->parallel.context};
    tri_zero_traffic(job->zero, step->rounds, step->groups, out);
    tri_model_traffic(job->model, &batch, step->rounds * tri_job_micro_batches(job), out);
    tri_stage_traffic(job->stage, step->rounds, out);
    plan_sums(job, out);
    if (step->groups > 1) plan_test(job, out);
    tri_traffic shared = {.group = "world",
                          .ranks = tri_mesh_ranks(job->mesh),
                          .kind = TRI_COLL_ALLREDUCE,
                          .what = "loss, norm",
                          .calls = 1,
                          .payload_bytes = TRI_STEP_SHARES * (int64_t)sizeof(double)};
    tri_traffic_add(out, &shared);
}

static tri_status plan_stages(const tri_job *job, tri_job_plan *out)
{
    out->n_stages = job->schedule->ranks * job->schedule->chunks;
    TRI_CHECK(out->n_stages <= TRI_JOB_MAX_STAGES, TRI_EINVAL,
              "parallel.pipeline x parallel.chunks = %d stages; the most are %d", out->n_stages,
              TRI_JOB_MAX_STAGES);
    TRI_TRY(tri_job_place_stages(job, out->stages));
    tri_schedule_times times = {.forward = 1, .backward_input = 1, .backward_weight = 1};
    tri_schedule_outcome outcome;
    TRI_TRY(tri_schedule_simulate(job->schedule, &times, false, &outcome));
    out->bubble = outcome.bubble;
    return TRI_OK;
}

/* The numbers of a job whose layout stands. */
static tri_status plan_fill(const tri_job *job, tri_job_plan *out)
{
    const tri_spec *spec = &job->spec;
    int64_t part = spec->batch.sequences / spec->parallel.data;
    int64_t round_part = spec->batch.round / spec->parallel.data;
    tri_job_step step = tri_job_step_of(job, spec->batch.sequences, false);
    tri_job_step test = tri_job_step_of(job, spec->batch.sequences, true);
    *out = (tri_job_plan){.accumulation = step.rounds * tri_job_micro_batches(job),
                          .step_tokens = spec->batch.sequences * spec->model.context,
                          .flops_per_token =
                              tri_model_flops_per_token(job->model, spec->model.context)};
    TRI_TRY(tri_spec_lr(spec, &out->lr));
    TRI_TRY(plan_stages(job, out));
    tri_job_messages(job, &step, &out->messages);
    if (test.groups > 1) tri_job_messages(job, &test, &out->test_messages);
    for (int i = 0; i < tri_model_params(job->model); i++) {
        const tri_row *row = tri_state_row(job->state, i);
        bool is_body = !row->vocabulary && strncmp(row->name, "param/embed.", 12) != 0;
        out->params += tri_row_elements(row);
        out->body_params += is_body ? tri_row_elements(row) : 0;
    }
    for (int kind = 0; kind < TRI_MEM_KINDS; kind++)
        out->bytes[kind] = tri_arena_bytes(job->arena, (tri_mem_kind)kind);
    out->bytes[TRI_MEM_COMM] += tri_mesh_comm_bytes(job->mesh);
    out->bytes[TRI_MEM_WORKSPACE] +=
        tri_trace_file_bytes(tri_mesh_ranks(job->mesh), spec->train.trace, 0);
    out->bytes[TRI_MEM_DATA] += tri_loader_bytes(round_part, spec->model.context);
    if (spec->train.eval_every > 0)
        out->bytes[TRI_MEM_DATA] += tri_loader_bytes(part, spec->model.context);
    return TRI_OK;
}

/* Kernels are real on paper too: their workspaces depend on this processor and the threads. */
static tri_status plan_layout(tri_job *job, tri_device *device, int n_ranks, int rank)
{
    TRI_TRY(tri_kernels_create(device, NULL, &job->kernels));
    TRI_TRY(tri_job_open_mesh(job, n_ranks, rank));
    TRI_TRY(tri_job_open_layout(job));
    return TRI_OK;
}

tri_status tri_job_plan_make(const tri_spec *spec, int n_ranks, int rank, tri_job_plan *out)
{
    int threads = spec->train.threads > 0 ? spec->train.threads : tri_env_threads(n_ranks);
    tri_device_args args = {.name = "cpu", .n_threads = threads};
    TRI_AUTO(tri_device) *device = NULL;
    TRI_TRY(tri_device_create(&args, &device));
    tri_job *job = NULL;
    TRI_TRY(TRI_NEW(&job));
    job->spec = *spec;
    tri_status rc = plan_layout(job, device, n_ranks, rank);
    if (rc == TRI_OK) rc = plan_fill(job, out);
    tri_job_close(&job);
    TRI_TRY(rc);
    return TRI_OK;
}

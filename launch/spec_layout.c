// SPDX-License-Identifier: Apache-2.0
/* Which layouts are legal, before anything is allocated. A rule that a module knows is asked of the
 * module; here are those that need several parts of a spec. Each refusal names legal values near the
 * one that was asked for, found by trying.
 */
#include "launch/spec_layout.h"

#include "parallel/context.h"
#include "parallel/schedule.h"
#include "parallel/zero.h"
#include "runtime/base/int.h"

#include <stdio.h>
#include <string.h>

enum { LAYOUT_NEAREST_BYTES = 64 };

/* Is `value` legal? */
typedef bool (*layout_rule)(const tri_spec *spec, int64_t value);

/* "the nearest is 4", "the nearest are 2 and 4": legal values around `value` in [1, most]. */
static const char *nearest(const tri_spec *spec, layout_rule rule, int64_t value, int64_t most,
                           char out[LAYOUT_NEAREST_BYTES])
{
    int64_t below = tri_min64(value - 1, most);
    while (below >= 1 && !rule(spec, below))
        below--;
    int64_t above = value + 1;
    while (above <= most && !rule(spec, above))
        above++;
    if (below >= 1 && above <= most)
        snprintf(out, LAYOUT_NEAREST_BYTES, "the nearest are %lld and %lld", (long long)below,
                 (long long)above);
    else
        snprintf(out, LAYOUT_NEAREST_BYTES, "the nearest is %lld",
                 (long long)(below >= 1 ? below : above));
    return out;
}

/* --- the mesh */

static tri_status check_product(const tri_spec *spec, int n_ranks, int64_t others)
{
    if (n_ranks % others == 0) return TRI_OK;
    int64_t below = n_ranks / others * others;
    char ranks[LAYOUT_NEAREST_BYTES];
    if (below > 0)
        snprintf(ranks, sizeof ranks, "%lld or %lld ranks", (long long)below,
                 (long long)below + others);
    else
        snprintf(ranks, sizeof ranks, "%lld ranks", (long long)others);
    TRI_FAIL(TRI_EINVAL,
             "parallel: tensor %d x pipeline %d x context %d = %lld ranks of one model do not "
             "divide the job's %d ranks: start %s, or change an axis",
             spec->parallel.tensor, spec->parallel.pipeline, spec->parallel.context,
             (long long)others, n_ranks, ranks);
}

tri_status tri_spec_resolve_mesh(tri_spec *spec, int n_ranks)
{
    int64_t others = 0;
    const int64_t sizes[] = {spec->parallel.tensor, spec->parallel.pipeline,
                             spec->parallel.context};
    TRI_TRY(tri_product(3, sizes, &others));
    TRI_TRY(check_product(spec, n_ranks, others));
    int data = (int)(n_ranks / others);
    if (spec->parallel.data == 0) spec->parallel.data = data;
    TRI_CHECK(spec->parallel.data == data, TRI_EINVAL,
              "parallel.data: %d x tensor %d x pipeline %d x context %d = %lld ranks, but the job "
              "has %d: set parallel.data to %d or auto, or start %lld ranks",
              spec->parallel.data, spec->parallel.tensor, spec->parallel.pipeline,
              spec->parallel.context, (long long)(spec->parallel.data * others), n_ranks, data,
              (long long)(spec->parallel.data * others));
    if (spec->parallel.context_mode == TRI_CONTEXT_ULYSSES && spec->parallel.ulysses == 1)
        spec->parallel.ulysses = spec->parallel.context;
    int n = data * spec->parallel.context;
    int stage = spec->parallel.zero_stage;
    for (int i = 0; i < 3 && stage >= 0; i++)
        spec->parallel.zero[i] = stage >= 3 - i ? n : 1;
    return TRI_OK;
}

void tri_spec_reset_layout(tri_spec *spec)
{
    double bucket_mb = spec->parallel.bucket_mb;
    memset(&spec->parallel, 0, sizeof spec->parallel);
    spec->parallel.tensor = 1;
    spec->parallel.pipeline = 1;
    spec->parallel.context = 1;
    spec->parallel.expert = 1;
    spec->parallel.zero_stage = 1;
    spec->parallel.bucket_mb = bucket_mb;
    spec->parallel.chunks = 1;
    spec->parallel.tensor_chunks = 1;
    spec->parallel.ulysses = 1;
    snprintf(spec->parallel.schedule, sizeof spec->parallel.schedule, "1f1b");
}

/* --- the batch */

/* Sequences of the least quantum: one micro-batch for each replica in each group. */
static int64_t least_quantum(const tri_spec *spec)
{
    tri_batch_config batch = tri_spec_batch(spec);
    return (int64_t)tri_batch_groups(&batch) * spec->parallel.data * spec->batch.micro;
}

static bool quantum_fits(const tri_spec *spec, int64_t n)
{
    tri_batch_config batch = tri_spec_batch(spec);
    return n % least_quantum(spec) == 0 && spec->batch.sequences % n == 0 &&
           tri_batch_largest(&batch) % n == 0;
}

/* One of the batches that must be so many quanta. */
static tri_status check_size(const tri_spec *spec, const char *key, int64_t size)
{
    tri_batch_config batch = tri_spec_batch(spec);
    int64_t least = least_quantum(spec);
    int64_t below = size / least * least;
    if (size == below) return TRI_OK;
    TRI_FAIL(TRI_EINVAL,
             "%s: %lld is no multiple of %d groups (batch.adaptive.groups; 1 without a test) x "
             "parallel.data %d x batch.micro %lld = %lld, the least by which a batch can grow: the "
             "nearest are %lld and %lld",
             key, (long long)size, tri_batch_groups(&batch), spec->parallel.data,
             (long long)spec->batch.micro, (long long)least, (long long)(below > 0 ? below : least),
             (long long)(below > 0 ? below + least : 2 * least));
}

static tri_status check_rounds(const tri_spec *spec)
{
    tri_batch_config batch = tri_spec_batch(spec);
    if (!tri_batch_varies(&batch)) return TRI_OK;
    TRI_TRY(check_size(spec, "batch.sequences", spec->batch.sequences));
    bool has_ramp = batch.ramp.to > 0;
    TRI_TRY(check_size(spec, has_ramp ? "batch.ramp.to" : "batch.adaptive.max",
                       tri_batch_largest(&batch)));
    int64_t quantum = batch.adaptive.quantum;
    if (quantum_fits(spec, quantum)) return TRI_OK;
    char near[LAYOUT_NEAREST_BYTES];
    TRI_FAIL(TRI_EINVAL,
             "batch.adaptive.quantum: %lld in %d groups (batch.adaptive.groups; 1 without a test) "
             "is %lld sequences a group, no multiple of parallel.data %d x batch.micro %lld; of "
             "those that divide batch.sequences %lld and the largest batch %lld, %s",
             (long long)quantum, tri_batch_groups(&batch), (long long)spec->batch.round,
             spec->parallel.data, (long long)spec->batch.micro, (long long)spec->batch.sequences,
             (long long)tri_batch_largest(&batch),
             nearest(spec, quantum_fits, quantum, spec->batch.sequences, near));
}

/* --- the tensor axis */

static int64_t rows_of(const tri_spec *spec)
{
    return spec->batch.micro * spec->model.context / spec->parallel.context;
}

static bool rows_fit(const tri_spec *spec, int64_t n)
{
    return !spec->parallel.tensor_sequence || rows_of(spec) % n == 0;
}

static bool tensor_fits(const tri_spec *spec, int64_t n)
{
    char text[TRI_MODEL_TEXT_BYTES];
    return !tri_model_tensor_misfit(&spec->model, n, text) && rows_fit(spec, n);
}

static tri_status check_tensor(const tri_spec *spec)
{
    int64_t n = spec->parallel.tensor;
    if (tensor_fits(spec, n)) return TRI_OK;
    char near[LAYOUT_NEAREST_BYTES];
    char text[TRI_MODEL_TEXT_BYTES];
    nearest(spec, tensor_fits, n, spec->model.heads, near);
    const char *misfit = tri_model_tensor_misfit(&spec->model, n, text);
    TRI_CHECK(!misfit, TRI_EINVAL, "parallel.tensor: %lld ranks %s; %s", (long long)n, misfit,
              near);
    TRI_FAIL(TRI_EINVAL,
             "parallel.tensor: %lld ranks cannot share the %lld tokens of a micro-batch "
             "(batch.micro %lld x model.context %lld / parallel.context %d) evenly; %s, or set "
             "parallel.tensor_sequence to false",
             (long long)n, (long long)rows_of(spec), (long long)spec->batch.micro,
             (long long)spec->model.context, spec->parallel.context, near);
}

/* --- the pipeline */

static bool stages_fit(const tri_spec *spec, int64_t ranks)
{
    return ranks * spec->parallel.chunks <= spec->model.layers;
}

static tri_status check_pipeline(const tri_spec *spec)
{
    int64_t stages = (int64_t)spec->parallel.pipeline * spec->parallel.chunks;
    char near[LAYOUT_NEAREST_BYTES];
    TRI_CHECK(spec->parallel.chunks <= spec->model.layers, TRI_EINVAL,
              "parallel.chunks: model.layers %lld cannot be cut into %d pieces; the most is %lld",
              (long long)spec->model.layers, spec->parallel.chunks, (long long)spec->model.layers);
    TRI_CHECK(stages_fit(spec, spec->parallel.pipeline), TRI_EINVAL,
              "parallel.pipeline: %d ranks x parallel.chunks %d = %lld stages, but model.layers "
              "is %lld; %s",
              spec->parallel.pipeline, spec->parallel.chunks, (long long)stages,
              (long long)spec->model.layers,
              nearest(spec, stages_fit, spec->parallel.pipeline, spec->model.layers, near));
    int64_t micro_batches = spec->batch.round / (spec->parallel.data * spec->batch.micro);
    int m = 0;
    TRI_TRY(tri_int(micro_batches, &m));
    TRI_TRY(tri_schedule_check(spec->parallel.schedule, spec->parallel.pipeline,
                               spec->parallel.chunks, m));
    return TRI_OK;
}

/* --- the context axis */

static tri_status check_context(const tri_spec *spec)
{
    int64_t n = spec->parallel.tensor;
    int64_t kv_heads = spec->model.kv_heads;
    TRI_TRY(tri_context_check((tri_context_mode)spec->parallel.context_mode, spec->parallel.context,
                              spec->parallel.ulysses, spec->model.context, spec->model.heads / n,
                              kv_heads > n ? kv_heads / n : 1));
    return TRI_OK;
}

/* --- the groups of ZeRO */

static tri_status check_zero(const tri_spec *spec)
{
    TRI_TRY(tri_zero_check(spec->parallel.zero, spec->parallel.data * spec->parallel.context));
    TRI_CHECK(!spec->parallel.quantize_weights || spec->parallel.zero[2] > 1, TRI_EINVAL,
              "parallel.quantize_weights: no weights travel where each rank updates all of them: "
              "set it to none, or parallel.zero to 1, 2 or 3");
    TRI_CHECK(!spec->parallel.quantize_gradients || spec->parallel.zero[1] > 1, TRI_EINVAL,
              "parallel.quantize_gradients: where each rank keeps all gradients they are reduced "
              "as fp32: set it to none, or parallel.zero to 2 or 3");
    return TRI_OK;
}

tri_status tri_spec_check_layout(const tri_spec *spec)
{
    TRI_TRY(check_rounds(spec));
    TRI_TRY(check_tensor(spec));
    TRI_TRY(check_pipeline(spec));
    TRI_TRY(check_context(spec));
    TRI_TRY(check_zero(spec));
    TRI_CHECK(spec->parallel.recompute || !spec->parallel.recompute_layers, TRI_EINVAL,
              "parallel.recompute_layers: %d, but parallel.recompute is none: set it to selective "
              "or full",
              spec->parallel.recompute_layers);
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* The controller: what it keeps between groups and between tests. Its decisions are a function of sums
 * over all ranks, which are the same bits on each (runtime/coll.h states their order).
 */
#include "optim/batch.h"

#include "kernels/pointwise.h"
#include "kernels/scatter.h"
#include "optim/batch_rule.h"
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"
#include "runtime/base/log.h"

#include <math.h>
#include <string.h>

/* The row "batch/controller". */
enum {
    STATE_BATCH,
    STATE_TESTS,
    STATE_WEIGHT, /* of the averages: 1 - smoothing^tests */
    STATE_TEST,   /* whose averages they are: tri_batch_test */
    STATE_AVERAGES,
    STATE_COUNT = STATE_AVERAGES + sizeof(tri_batch_estimates) / sizeof(double)
};

/* What travels to the other ranks: two sums, then products. */
enum { SUM_SCATTER, SUM_SQUARES, SUM_PRODUCTS, SUMS = SUM_PRODUCTS + TRI_BATCH_MAX_GROUPS - 1 };

struct tri_batch {
    tri_batch_config config;
    tri_kernels *kernels;
    int n_segments;
    tri_optim_segment *segments;
    int64_t n_counted;                     /* elements of all counted segments */
    float *kept[TRI_BATCH_MAX_GROUPS - 1]; /* [n_counted]: see n_kept */
    int next_group;                        /* that observe expects */
    double sums[SUMS];                     /* of this rank */
    double ratio;                          /* of this rank */
    double state[STATE_COUNT];
};

static bool has_tests(const tri_batch_config *config)
{
    return config->adaptive.test != TRI_BATCH_OFF;
}

static bool has_products(const tri_batch_config *config)
{
    int test = config->adaptive.test;
    return test == TRI_BATCH_INNER_PRODUCT || test == TRI_BATCH_AUGMENTED;
}

static bool has_ratio(const tri_batch_config *config)
{
    return config->adaptive.test == TRI_BATCH_COORDINATE;
}

/* Buffers between groups: the sums behind all groups but the last, as products are with the last; else
 * those behind the newest, and for coordinate squares. */
static int n_kept(const tri_batch_config *config)
{
    if (!has_tests(config)) return 0;
    if (has_products(config)) return config->adaptive.groups - 1;
    return has_ratio(config) ? 2 : 1;
}

static int n_sums(const tri_batch_config *config)
{
    return SUM_PRODUCTS + (has_products(config) ? config->adaptive.groups - 1 : 0);
}

int tri_batch_messages(const tri_batch_config *config, int64_t *doubles)
{
    *doubles = 0;
    if (!has_tests(config)) return 0;
    *doubles = n_sums(config) + has_ratio(config);
    return 1 + has_ratio(config);
}

tri_status tri_batch_create(const tri_batch_args *args, tri_batch **out)
{
    TRI_AUTO(tri_batch) *batch = NULL;
    TRI_TRY(TRI_NEW(&batch));
    batch->config = *args->config;
    batch->kernels = args->kernels;
    batch->n_segments = args->n_segments;
    TRI_TRY(TRI_NEW_ARRAY(args->n_segments, &batch->segments));
    for (int i = 0; i < args->n_segments; i++) {
        batch->segments[i] = args->segments[i];
        if (args->segments[i].is_counted) batch->n_counted += args->segments[i].count;
    }
    tri_batch_initialise(batch);
    *out = TRI_MOVE(batch);
    return TRI_OK;
}

void tri_batch_destroy(tri_batch **batch)
{
    if (!*batch) return;
    TRI_FREE((*batch)->segments);
    TRI_FREE(*batch);
}

tri_status tri_batch_declare(tri_batch *batch, tri_arena *arena)
{
    for (int k = 0; k < n_kept(&batch->config); k++)
        TRI_TRY(tri_arena_add(arena, TRI_MEM_OPTIMIZER, batch->n_counted, TRI_F32,
                              (void **)&batch->kept[k]));
    return TRI_OK;
}

tri_status tri_batch_bind(tri_batch *batch, const tri_optim_segment *segments)
{
    for (int i = 0; i < batch->n_segments; i++) {
        const tri_optim_segment *made_for = &batch->segments[i];
        TRI_CHECK(segments[i].count == made_for->count &&
                      segments[i].is_counted == made_for->is_counted,
                  TRI_EBUG, "segment %d is not the one the batch controller was made for", i);
        batch->segments[i] = segments[i];
    }
    return TRI_OK;
}

tri_status tri_batch_export(tri_batch *batch, tri_state *state)
{
    if (!has_tests(&batch->config)) return TRI_OK;
    tri_row row = {.name = "batch/controller",
                   .role = TRI_ROLE_POLICY,
                   .dtype = TRI_F64,
                   .n_dims = 1,
                   .shape = {STATE_COUNT}};
    int index = 0;
    TRI_TRY(tri_state_add(state, &row, &index));
    tri_state_hold(state, index, 0, STATE_COUNT, batch->state);
    return TRI_OK;
}

void tri_batch_initialise(tri_batch *batch)
{
    memset(batch->state, 0, sizeof batch->state);
    batch->state[STATE_BATCH] = (double)batch->config.sequences;
    batch->state[STATE_TEST] = batch->config.adaptive.test;
    batch->next_group = 0;
}

/* The averages of a test lack what only others measure, such as products. */
static void begin_averages(tri_batch *batch)
{
    double *state = batch->state;
    state[STATE_WEIGHT] = 0;
    state[STATE_TEST] = batch->config.adaptive.test;
    memset(&state[STATE_AVERAGES], 0, sizeof(tri_batch_estimates));
}

tri_status tri_batch_restore(tri_batch *batch)
{
    const tri_batch_config *config = &batch->config;
    if (!has_tests(config)) return TRI_OK;
    double size = batch->state[STATE_BATCH];
    if (size >= 1 && size < (double)config->sequences) {
        tri_log(TRI_LOG_INFO, "batch %.0f of the checkpoint becomes batch.sequences: %lld", size,
                (long long)config->sequences);
        size = batch->state[STATE_BATCH] = (double)config->sequences;
    }
    double quantum = (double)config->adaptive.quantum;
    TRI_CHECK(
        size >= 1 && fmod(size, quantum) == 0, TRI_EINVAL,
        "batch.adaptive.quantum is %.0f, but the batch of the checkpoint is %.0f, no multiple "
        "of it",
        quantum, size);
    TRI_CHECK(size <= (double)config->adaptive.max, TRI_EINVAL,
              "batch.adaptive.max is %lld, but the batch of the checkpoint has grown to %.0f; it "
              "must be at least that",
              (long long)config->adaptive.max, size);
    if (batch->state[STATE_TEST] != config->adaptive.test) begin_averages(batch);
    batch->next_group = 0;
    return TRI_OK;
}

bool tri_batch_has_tested(const tri_batch *batch)
{
    return batch->state[STATE_TESTS] > 0;
}

int64_t tri_batch_size(const tri_batch *batch, int64_t samples)
{
    const tri_batch_config *config = &batch->config;
    if (has_tests(config)) return (int64_t)batch->state[STATE_BATCH];
    return config->ramp.to != 0 ? tri_batch_ramp_at(config, samples) : config->sequences;
}

bool tri_batch_is_due(const tri_batch *batch, int64_t step)
{
    const tri_batch_adaptive *adaptive = &batch->config.adaptive;
    return has_tests(&batch->config) && step % adaptive->interval == 0 &&
           batch->state[STATE_BATCH] < (double)adaptive->max;
}

/* --- groups */

/* Take in the gradients of a segment whose elements lie at `at` of what is kept. m: groups so far. */
static tri_status observe_segment(tri_batch *batch, const tri_optim_segment *segment, int64_t at,
                                  int m)
{
    const tri_batch_config *config = &batch->config;
    float *squares = has_ratio(config) ? batch->kept[1] + at : NULL;
    if (m == 1) {
        memcpy(batch->kept[0] + at, segment->gradient, (size_t)segment->count * sizeof(float));
        if (squares) memset(squares, 0, (size_t)segment->count * sizeof(float));
        return TRI_OK;
    }
    int last = config->adaptive.groups;
    float *keep = m == last ? NULL : batch->kept[has_products(config) ? m - 1 : 0] + at;
    double scale = (double)last * last * (m - 1) / m;
    tri_scatter_args args = {.n = segment->count,
                             .now = segment->gradient,
                             .before = batch->kept[has_products(config) ? m - 2 : 0] + at,
                             .factor = (double)m / (m - 1),
                             .keep = keep,
                             .squares = squares,
                             .scale = scale};
    double part = 0;
    TRI_TRY(tri_scatter_add(batch->kernels, &args, &part));
    batch->sums[SUM_SCATTER] += scale * part;
    return TRI_OK;
}

/* What needs the mean of all groups, which the last sums are. */
static tri_status conclude_segment(tri_batch *batch, const tri_optim_segment *segment, int64_t at)
{
    const tri_batch_config *config = &batch->config;
    double part[TRI_BATCH_MAX_GROUPS];
    TRI_TRY(tri_sum_squares(batch->kernels, segment->count, segment->gradient, part));
    batch->sums[SUM_SQUARES] += part[0];
    if (has_ratio(config)) {
        TRI_TRY(tri_scatter_ratio(batch->kernels, segment->count, batch->kept[1] + at,
                                  segment->gradient, part));
        batch->ratio = fmax(batch->ratio, part[0]);
    }
    if (has_products(config)) {
        int n = config->adaptive.groups - 1;
        const float *sums[TRI_BATCH_MAX_GROUPS];
        for (int k = 0; k < n; k++)
            sums[k] = batch->kept[k] + at;
        TRI_TRY(
            tri_scatter_products(batch->kernels, segment->count, segment->gradient, n, sums, part));
        for (int k = 0; k < n; k++)
            batch->sums[SUM_PRODUCTS + k] += part[k];
    }
    return TRI_OK;
}

tri_status tri_batch_observe(tri_batch *batch, int group)
{
    int last = batch->config.adaptive.groups;
    TRI_CHECK(has_tests(&batch->config) && group >= 0 && group < last &&
                  (group == 0 || group == batch->next_group),
              TRI_EBUG, "group %d of %d behind group %d", group, last, batch->next_group - 1);
    if (group == 0) {
        memset(batch->sums, 0, sizeof batch->sums);
        batch->ratio = 0;
    }
    int64_t at = 0;
    for (int i = 0; i < batch->n_segments; i++) {
        const tri_optim_segment *segment = &batch->segments[i];
        if (!segment->is_counted || segment->count == 0) continue;
        TRI_TRY(observe_segment(batch, segment, at, group + 1));
        if (group + 1 == last) TRI_TRY(conclude_segment(batch, segment, at));
        at += segment->count;
    }
    batch->next_group = group + 1;
    return TRI_OK;
}

/* --- the decision */

/* Sums over the ranks, as the rule wants them. Collective: world. */
static tri_status gather_sums(tri_batch *batch, tri_comm *world, tri_batch_sums *out)
{
    const tri_batch_config *config = &batch->config;
    int groups = config->adaptive.groups;
    double *sums = batch->sums;
    TRI_TRY(tri_allreduce(world, tri_span_make(sums, n_sums(config), TRI_F64), TRI_SUM, NULL));
    if (has_ratio(config))
        TRI_TRY(tri_allreduce(world, tri_span_make(&batch->ratio, 1, TRI_F64), TRI_MAX, NULL));
    *out = (tri_batch_sums){.groups = groups,
                            .samples = batch->state[STATE_BATCH],
                            .scatter = sums[SUM_SCATTER],
                            .squares = sums[SUM_SQUARES],
                            .ratio = batch->ratio};
    if (!has_products(config)) return TRI_OK;
    double before = 0;
    for (int m = 0; m < groups; m++) {
        double now = m + 1 < groups ? sums[SUM_PRODUCTS + m] : sums[SUM_SQUARES];
        out->product[m] = groups * (now - before);
        before = now;
    }
    return TRI_OK;
}

/* The averages with this test's estimates in them. */
static tri_batch_estimates average(tri_batch *batch, const tri_batch_estimates *now)
{
    double past = batch->config.adaptive.smoothing;
    double *state = batch->state;
    double add[STATE_COUNT - STATE_AVERAGES];
    double value[STATE_COUNT - STATE_AVERAGES];
    memcpy(add, now, sizeof add);
    state[STATE_WEIGHT] = past * state[STATE_WEIGHT] + (1 - past);
    for (int i = 0; i < STATE_COUNT - STATE_AVERAGES; i++) {
        state[STATE_AVERAGES + i] = past * state[STATE_AVERAGES + i] + (1 - past) * add[i];
        value[i] = state[STATE_AVERAGES + i] / state[STATE_WEIGHT];
    }
    tri_batch_estimates out;
    memcpy(&out, value, sizeof out);
    return out;
}

static bool is_finite(const tri_batch_estimates *e)
{
    return isfinite(e->variance) && isfinite(e->squares) && isfinite(e->parallel) &&
           isfinite(e->orthogonal);
}

tri_status tri_batch_decide(tri_batch *batch, tri_comm *world, tri_batch_report *out)
{
    const tri_batch_adaptive *adaptive = &batch->config.adaptive;
    TRI_CHECK(has_tests(&batch->config) && batch->next_group == adaptive->groups, TRI_EBUG,
              "a decision behind group %d of %d", batch->next_group - 1, adaptive->groups);
    batch->next_group = 0;
    tri_batch_sums sums;
    TRI_TRY(gather_sums(batch, world, &sums));
    tri_batch_estimates now = tri_batch_estimate(&sums);
    int64_t size = (int64_t)batch->state[STATE_BATCH];
    *out = (tri_batch_report){.is_finite = is_finite(&now),
                              .variance = now.variance,
                              .gradient = now.gradient,
                              .squares = now.squares,
                              .before = size,
                              .now = size};
    if (!out->is_finite) return TRI_OK;

    tri_batch_estimates mean = average(batch, &now);
    double target = tri_batch_target(adaptive, &mean, &sums);
    out->noise_scale = mean.gradient > 0 ? mean.variance / mean.gradient : INFINITY;
    out->wanted = fmin(target, (double)adaptive->max);
    out->now = tri_batch_next(adaptive, size, target);
    batch->state[STATE_BATCH] = (double)out->now;
    batch->state[STATE_TESTS]++;
    return TRI_OK;
}

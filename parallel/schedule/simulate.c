// SPDX-License-Identifier: Apache-2.0
/* Event simulation: each rank runs its operations in order; a message arrives a fixed time after it was
 * sent. Sending and posting a receive take no time.
 */
#include "parallel/schedule.h"

#include "runtime/base/alloc.h"
#include "runtime/base/int.h"

#include <math.h>

/* When a tensor is there: outputs of forwards and gradients of inputs, by [stage * m + micro]; negative:
 * not yet known. On another rank `message` later. */
typedef struct simulation {
    const tri_schedule *schedule;
    const tri_schedule_times *times;
    double *output, *gradient;
    double *clock, *busy; /* [ranks] */
    int *position;        /* [ranks] next operation */
    int64_t *first;       /* [ranks] of the rank in begin */
    double *begin;        /* NULL: not wanted */
} simulation;

static void simulation_destroy(simulation **sim)
{
    if (!*sim) return;
    TRI_FREE((*sim)->output);
    TRI_FREE((*sim)->gradient);
    TRI_FREE((*sim)->clock);
    TRI_FREE((*sim)->busy);
    TRI_FREE((*sim)->position);
    TRI_FREE((*sim)->first);
    TRI_FREE((*sim)->begin);
    TRI_FREE(*sim);
}

static tri_status simulation_create(const tri_schedule *schedule, const tri_schedule_times *times,
                                    bool with_begin, simulation **out)
{
    TRI_AUTO(simulation) *sim = NULL;
    int64_t pairs = (int64_t)schedule->ranks * schedule->chunks * schedule->micro_batches;
    int64_t n_ops = 0;
    TRI_TRY(TRI_NEW(&sim));
    sim->schedule = schedule;
    sim->times = times;
    TRI_TRY(TRI_NEW_ARRAY(pairs, &sim->output));
    TRI_TRY(TRI_NEW_ARRAY(pairs, &sim->gradient));
    TRI_TRY(TRI_NEW_ARRAY(schedule->ranks, &sim->clock));
    TRI_TRY(TRI_NEW_ARRAY(schedule->ranks, &sim->busy));
    TRI_TRY(TRI_NEW_ARRAY(schedule->ranks, &sim->position));
    TRI_TRY(TRI_NEW_ARRAY(schedule->ranks, &sim->first));
    for (int r = 0; r < schedule->ranks; r++) {
        sim->first[r] = n_ops;
        n_ops += schedule->n_ops[r];
    }
    for (int64_t i = 0; i < pairs; i++)
        sim->output[i] = sim->gradient[i] = -1;
    if (with_begin) TRI_TRY(TRI_NEW_ARRAY(n_ops, &sim->begin));
    *out = TRI_MOVE(sim);
    return TRI_OK;
}

static double duration(const simulation *sim, const tri_op *op)
{
    const tri_schedule_times *times = sim->times;
    double factor = times->stage_factor ? times->stage_factor[op->stage] : 1;
    switch (op->kind) {
    case TRI_OP_FORWARD:
        return times->forward * factor;
    case TRI_OP_BACKWARD:
        return (times->backward_input + times->backward_weight) * factor;
    case TRI_OP_BACKWARD_INPUT:
        return times->backward_input * factor;
    case TRI_OP_BACKWARD_WEIGHT:
        return times->backward_weight * factor;
    default:
        return 0;
    }
}

/* When what an operation needs from its neighbouring stage is there; negative: not yet known. */
static double fed_at(const simulation *sim, const tri_op *op)
{
    const tri_schedule *schedule = sim->schedule;
    bool is_forward = op->kind == TRI_OP_FORWARD;
    if (!is_forward && op->kind != TRI_OP_BACKWARD && op->kind != TRI_OP_BACKWARD_INPUT) return 0;
    int from = op->stage + (is_forward ? -1 : 1);
    if (from < 0 || from >= schedule->ranks * schedule->chunks) return 0;
    const double *made = is_forward ? sim->output : sim->gradient;
    double at = made[(int64_t)from * schedule->micro_batches + op->micro];
    bool is_here = schedule->rank_of[from] == schedule->rank_of[op->stage];
    return at < 0 || is_here ? at : at + sim->times->message;
}

/* Run a rank until it needs what is not yet known; false: it could do nothing. */
static bool advance(simulation *sim, int rank)
{
    const tri_schedule *schedule = sim->schedule;
    int *at = &sim->position[rank];
    int start = *at;
    for (; *at < schedule->n_ops[rank]; (*at)++) {
        const tri_op *op = &schedule->ops[rank][*at];
        int64_t pair = (int64_t)op->stage * schedule->micro_batches + op->micro;
        double fed = fed_at(sim, op);
        if (fed < 0) break;
        double begin = fmax(sim->clock[rank], fed);
        double seconds = duration(sim, op);
        if (sim->begin) sim->begin[sim->first[rank] + *at] = begin;
        sim->clock[rank] = begin + seconds;
        sim->busy[rank] += seconds;
        if (op->kind == TRI_OP_FORWARD) sim->output[pair] = sim->clock[rank];
        if (op->kind == TRI_OP_BACKWARD || op->kind == TRI_OP_BACKWARD_INPUT)
            sim->gradient[pair] = sim->clock[rank];
    }
    return *at > start;
}

static tri_schedule_outcome summarize(simulation *sim)
{
    const tri_schedule *schedule = sim->schedule;
    tri_schedule_outcome outcome = {.begin = TRI_MOVE(sim->begin)};
    double sum = 0;
    for (int r = 0; r < schedule->ranks; r++) {
        outcome.makespan = fmax(outcome.makespan, sim->clock[r]);
        outcome.busy = fmax(outcome.busy, sim->busy[r]);
        sum += sim->busy[r];
        outcome.peak_slots = (int)tri_max64(outcome.peak_slots, tri_schedule_peak(schedule, r));
    }
    if (outcome.makespan > 0) outcome.bubble = 1 - sum / schedule->ranks / outcome.makespan;
    return outcome;
}

tri_status tri_schedule_simulate(const tri_schedule *schedule, const tri_schedule_times *times,
                                 bool with_begin, tri_schedule_outcome *out)
{
    TRI_CHECK(times->forward >= 0 && times->backward_input >= 0 && times->backward_weight >= 0 &&
                  times->message >= 0,
              TRI_EINVAL,
              "simulating schedule %s: durations %g forward, %g and %g backward, %g of a message: "
              "they must not be negative",
              schedule->name, times->forward, times->backward_input, times->backward_weight,
              times->message);
    TRI_AUTO(simulation) *sim = NULL;
    TRI_TRY(simulation_create(schedule, times, with_begin, &sim));
    for (bool is_moving = true; is_moving;) {
        is_moving = false;
        for (int r = 0; r < schedule->ranks; r++)
            if (advance(sim, r)) is_moving = true;
    }
    for (int r = 0; r < schedule->ranks; r++) {
        char name[TRI_OP_NAME_BYTES];
        TRI_CHECK(sim->position[r] == schedule->n_ops[r], TRI_EBUG,
                  "simulating schedule %s: rank %d waits for ever at operation %d, %s",
                  schedule->name, r, sim->position[r],
                  tri_op_name(&schedule->ops[r][sim->position[r]], name, sizeof name));
    }
    *out = summarize(sim);
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* From an order of computing operations to a whole table: which slot each micro-batch has on its chunk,
 * where messages go out and where they are received.
 */
#include "parallel/schedule/schedule_impl.h"
#include "runtime/base/alloc.h"

#include <assert.h>
#include <string.h>

/* The table of one rank in the making. Arrays by chunk and micro-batch: [chunk * m + micro]. */
typedef struct message_plan {
    tri_schedule *schedule;
    int rank;
    int n;            /* computing operations */
    tri_op *computes; /* [n] a copy: the rank's table is written anew */
    int *slot;        /* -1: none (yet, or any more) */
    int *free_slots;  /* a queue per chunk, in a ring of m: who was free first is taken first */
    int *head, *free; /* [chunks] of the queue */
    bool *received;   /* [n] the receive of this computation stands in the table */
    int *chunk_of;    /* [stages] index of a stage among those of its rank */
    bool *seen;       /* [chunks * TRI_OP_KINDS] */
} message_plan;

static void message_plan_destroy(message_plan **plan)
{
    if (!*plan) return;
    TRI_FREE((*plan)->computes);
    TRI_FREE((*plan)->slot);
    TRI_FREE((*plan)->free_slots);
    TRI_FREE((*plan)->head);
    TRI_FREE((*plan)->free);
    TRI_FREE((*plan)->received);
    TRI_FREE((*plan)->chunk_of);
    TRI_FREE((*plan)->seen);
    TRI_FREE(*plan);
}

static tri_status message_plan_create(tri_schedule *schedule, message_plan **out)
{
    TRI_AUTO(message_plan) *plan = NULL;
    int64_t pairs = (int64_t)schedule->chunks * schedule->micro_batches;
    TRI_TRY(TRI_NEW(&plan));
    plan->schedule = schedule;
    TRI_TRY(TRI_NEW_ARRAY(3 * pairs, &plan->computes));
    TRI_TRY(TRI_NEW_ARRAY(3 * pairs, &plan->received));
    TRI_TRY(TRI_NEW_ARRAY(pairs, &plan->slot));
    TRI_TRY(TRI_NEW_ARRAY(pairs, &plan->free_slots));
    TRI_TRY(TRI_NEW_ARRAY(schedule->chunks, &plan->head));
    TRI_TRY(TRI_NEW_ARRAY(schedule->chunks, &plan->free));
    TRI_TRY(TRI_NEW_ARRAY((int64_t)schedule->chunks * TRI_OP_KINDS, &plan->seen));
    TRI_TRY(TRI_NEW_ARRAY((int64_t)schedule->chunks * schedule->ranks, &plan->chunk_of));
    *out = TRI_MOVE(plan);
    return TRI_OK;
}

static bool is_last_use(const tri_schedule *schedule, tri_op_kind kind)
{
    return kind == (schedule->split ? TRI_OP_BACKWARD_WEIGHT : TRI_OP_BACKWARD);
}

/* Count the activations alive at once on each stage. */
static tri_status count_slots(tri_schedule *schedule)
{
    int n_stages = schedule->ranks * schedule->chunks;
    int *alive = NULL;
    TRI_TRY(TRI_NEW_ARRAY(n_stages, &alive));
    for (int rank = 0; rank < schedule->ranks; rank++)
        for (int i = 0; i < schedule->n_ops[rank]; i++) {
            const tri_op *op = &schedule->ops[rank][i];
            int *count = &alive[op->stage];
            if (op->kind == TRI_OP_FORWARD) (*count)++;
            if (*count > schedule->slots[op->stage]) schedule->slots[op->stage] = *count;
            if (is_last_use(schedule, op->kind)) (*count)--;
        }
    TRI_FREE(alive);
    return TRI_OK;
}

static tri_status number_chunks(message_plan *plan)
{
    const tri_schedule *schedule = plan->schedule;
    int *count = NULL;
    TRI_TRY(TRI_NEW_ARRAY(schedule->ranks, &count));
    for (int stage = 0; stage < schedule->ranks * schedule->chunks; stage++)
        plan->chunk_of[stage] = count[schedule->rank_of[stage]]++;
    TRI_FREE(count);
    return TRI_OK;
}

/* Take over the computing operations of a rank; its table is empty then. */
static void begin_rank(message_plan *plan, int rank)
{
    const tri_schedule *schedule = plan->schedule;
    int m = schedule->micro_batches;
    plan->rank = rank;
    plan->n = schedule->n_ops[rank];
    memcpy(plan->computes, schedule->ops[rank], (size_t)plan->n * sizeof *plan->computes);
    memset(plan->received, 0, (size_t)plan->n * sizeof *plan->received);
    schedule->n_ops[rank] = 0;
    for (int i = 0; i < schedule->chunks * m; i++)
        plan->slot[i] = -1;
    for (int i = 0; i < plan->n; i++)
        plan->computes[i].chunk = plan->chunk_of[plan->computes[i].stage];
    int chunk = 0;
    for (int stage = 0; stage < schedule->ranks * schedule->chunks; stage++) {
        if (schedule->rank_of[stage] != rank) continue;
        plan->head[chunk] = 0;
        plan->free[chunk] = schedule->slots[stage];
        for (int i = 0; i < schedule->slots[stage]; i++)
            plan->free_slots[chunk * m + i] = i;
        chunk++;
    }
}

static int *slot_of(message_plan *plan, const tri_op *op)
{
    return &plan->slot[op->chunk * plan->schedule->micro_batches + op->micro];
}

static void take_slot(message_plan *plan, const tri_op *op)
{
    int m = plan->schedule->micro_batches;
    assert(plan->free[op->chunk] > 0);
    *slot_of(plan, op) = plan->free_slots[op->chunk * m + plan->head[op->chunk]];
    plan->head[op->chunk] = (plan->head[op->chunk] + 1) % m;
    plan->free[op->chunk]--;
}

static void free_slot(message_plan *plan, const tri_op *op)
{
    int m = plan->schedule->micro_batches;
    int tail = (plan->head[op->chunk] + plan->free[op->chunk]++) % m;
    plan->free_slots[op->chunk * m + tail] = *slot_of(plan, op);
    *slot_of(plan, op) = -1;
}

/* Rank of a neighbouring stage; -1: this rank too, or no such stage. */
static int peer_of(const message_plan *plan, int stage)
{
    const tri_schedule *schedule = plan->schedule;
    if (stage < 0 || stage >= schedule->ranks * schedule->chunks) return -1;
    return schedule->rank_of[stage] == plan->rank ? -1 : schedule->rank_of[stage];
}

static void put(message_plan *plan, const tri_op *from, tri_op_kind kind, int peer)
{
    tri_schedule *schedule = plan->schedule;
    tri_op *op = &schedule->ops[plan->rank][schedule->n_ops[plan->rank]++];
    *op = *from;
    op->kind = kind;
    op->peer = peer;
    op->slot = *slot_of(plan, from);
}

/* Post the receive that computation `i` needs, if it needs one and has none; `ahead` of its turn only
 * where that is possible now: a forward needs a free slot, a backward its own forward done. */
static void put_receive(message_plan *plan, int i, bool ahead)
{
    if (i >= plan->n || plan->received[i]) return;
    const tri_op *op = &plan->computes[i];
    bool is_forward = op->kind == TRI_OP_FORWARD;
    if (op->kind == TRI_OP_BACKWARD_WEIGHT) return;
    int peer = peer_of(plan, is_forward ? op->stage - 1 : op->stage + 1);
    if (peer < 0) return;
    if (is_forward) {
        if (ahead && plan->free[op->chunk] == 0) return;
        take_slot(plan, op);
    } else if (ahead) {
        const tri_op *before = op - 1;
        bool is_own = before->stage == op->stage && before->micro == op->micro;
        if (is_own && before->kind == TRI_OP_FORWARD) return;
    }
    put(plan, op, is_forward ? TRI_OP_RECV_FORWARD : TRI_OP_RECV_BACKWARD, peer);
    plan->received[i] = true;
}

static void put_send(message_plan *plan, const tri_op *op)
{
    if (op->kind == TRI_OP_BACKWARD_WEIGHT) return;
    bool is_forward = op->kind == TRI_OP_FORWARD;
    int peer = peer_of(plan, is_forward ? op->stage + 1 : op->stage - 1);
    if (peer >= 0) put(plan, op, is_forward ? TRI_OP_SEND_FORWARD : TRI_OP_SEND_BACKWARD, peer);
}

static void plan_rank(message_plan *plan)
{
    for (int i = 0; i < plan->n; i++) {
        const tri_op *op = &plan->computes[i];
        put_receive(plan, i, false);
        put_receive(plan, i + 1, true);
        if (op->kind == TRI_OP_FORWARD && !plan->received[i]) take_slot(plan, op);
        put(plan, op, op->kind, -1);
        put_send(plan, op);
        if (is_last_use(plan->schedule, op->kind)) free_slot(plan, op);
    }
}

/* Flag the last operation of each kind on each chunk of the rank. */
static void mark_last(message_plan *plan)
{
    const tri_schedule *schedule = plan->schedule;
    memset(plan->seen, 0, (size_t)(schedule->chunks * TRI_OP_KINDS) * sizeof *plan->seen);
    for (int i = schedule->n_ops[plan->rank] - 1; i >= 0; i--) {
        tri_op *op = &schedule->ops[plan->rank][i];
        bool *is_seen = &plan->seen[op->chunk * TRI_OP_KINDS + (int)op->kind];
        op->last = !*is_seen;
        *is_seen = true;
    }
}

tri_status tri_schedule_add_messages(tri_schedule *schedule)
{
    TRI_TRY(count_slots(schedule));
    TRI_AUTO(message_plan) *plan = NULL;
    TRI_TRY(message_plan_create(schedule, &plan));
    TRI_TRY(number_chunks(plan));
    for (int rank = 0; rank < schedule->ranks; rank++) {
        begin_rank(plan, rank);
        plan_rank(plan);
        mark_last(plan);
    }
    return TRI_OK;
}

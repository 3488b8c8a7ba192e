// SPDX-License-Identifier: Apache-2.0
/* The checker of tables. It knows what a step must do and nothing of how tables are made.
 *
 * First each rank on its own: the fields of every operation, what must stand before it, slots, that
 * everything is there once. Then each channel (ordered pair of ranks, forward or backward messages):
 * sends and receives in the same order. Then all ranks together are run on paper with sends that take
 * nothing off the sender before the receive is posted, and whose buffers are waited for when their slot
 * is taken again: whoever has nothing left to wait for goes on, and a table passes if all reach the
 * end. Sends that are buffered wait for less, so they reach the end too.
 */
#include "parallel/schedule.h"

#include "runtime/base/alloc.h"

#include <string.h>

#define OP_BIT(kind) (1u << (kind))

/* Arrays by stage and micro-batch are [stage * m + micro]. */
typedef struct verifier {
    const tri_schedule *table;
    int m, n_stages;
    int rank, at;          /* the operation being looked at; at < 0: none */
    int *chunk_of;         /* [n_stages] */
    uint8_t *done;         /* OP_BIT of the operations so far */
    int *slot;             /* that a micro-batch has on a stage; -1: none */
    int64_t *first_slot;   /* [n_stages] of the stage in owner */
    int *owner;            /* by slot: micro-batch that has it; -1: free */
    int *previous;         /* by slot: who had it last; -1: nobody */
    int *position;         /* [ranks] next operation, in the run on paper */
    unsigned char *paired; /* [ranks] peers whose channels are checked already */
} verifier;

static void verifier_destroy(verifier **v)
{
    if (!*v) return;
    TRI_FREE((*v)->chunk_of);
    TRI_FREE((*v)->done);
    TRI_FREE((*v)->slot);
    TRI_FREE((*v)->first_slot);
    TRI_FREE((*v)->owner);
    TRI_FREE((*v)->previous);
    TRI_FREE((*v)->position);
    TRI_FREE((*v)->paired);
    TRI_FREE(*v);
}

/* Refuse the operation that is being looked at. */
static tri_status refuse(const verifier *v, const char *why)
{
    char name[TRI_OP_NAME_BYTES];
    const tri_op *op = &v->table->ops[v->rank][v->at];
    TRI_FAIL(TRI_EBUG, "schedule %s: rank %d, operation %d, %s: %s", v->table->name, v->rank, v->at,
             tri_op_name(op, name, sizeof name), why);
}

static tri_status verify_shape(verifier *v)
{
    const tri_schedule *table = v->table;
    int *count = v->position; /* of stages, by rank */
    int64_t n_slots = 0;
    for (int s = 0; s < v->n_stages; s++) {
        int rank = table->rank_of[s];
        TRI_CHECK(rank >= 0 && rank < table->ranks, TRI_EBUG,
                  "schedule %s: stage %d lies on rank %d of %d", table->name, s, rank,
                  table->ranks);
        TRI_CHECK(table->slots[s] >= 1 && table->slots[s] <= v->m, TRI_EBUG,
                  "schedule %s: rank %d, stage %d has %d slots for %d micro-batches", table->name,
                  rank, s, table->slots[s], v->m);
        v->chunk_of[s] = count[rank]++;
        v->first_slot[s] = n_slots;
        n_slots += table->slots[s];
    }
    for (int r = 0; r < table->ranks; r++)
        TRI_CHECK(count[r] == table->chunks, TRI_EBUG, "schedule %s: rank %d has %d stages, not %d",
                  table->name, r, count[r], table->chunks);
    TRI_TRY(TRI_NEW_ARRAY(n_slots, &v->owner));
    TRI_TRY(TRI_NEW_ARRAY(n_slots, &v->previous));
    memset(v->owner, -1, (size_t)n_slots * sizeof *v->owner);
    memset(v->previous, -1, (size_t)n_slots * sizeof *v->previous);
    return TRI_OK;
}

static tri_status verifier_create(const tri_schedule *table, verifier **out)
{
    TRI_CHECK(table->ranks >= 1 && table->chunks >= 1 && table->micro_batches >= 1, TRI_EBUG,
              "schedule %s: %d ranks, %d chunks, %d micro-batches", table->name, table->ranks,
              table->chunks, table->micro_batches);
    TRI_AUTO(verifier) *v = NULL;
    TRI_TRY(TRI_NEW(&v));
    v->table = table;
    v->m = table->micro_batches;
    v->n_stages = table->ranks * table->chunks;
    int64_t pairs = (int64_t)v->n_stages * v->m;
    TRI_TRY(TRI_NEW_ARRAY(v->n_stages, &v->chunk_of));
    TRI_TRY(TRI_NEW_ARRAY(v->n_stages, &v->first_slot));
    TRI_TRY(TRI_NEW_ARRAY(pairs, &v->done));
    TRI_TRY(TRI_NEW_ARRAY(pairs, &v->slot));
    TRI_TRY(TRI_NEW_ARRAY(table->ranks, &v->position));
    TRI_TRY(TRI_NEW_ARRAY(table->ranks, &v->paired));
    memset(v->slot, -1, (size_t)pairs * sizeof *v->slot);
    TRI_TRY(verify_shape(v));
    *out = TRI_MOVE(v);
    return TRI_OK;
}

/* Rank of a neighbouring stage; -1: the same rank, or no such stage. */
static int neighbour(const verifier *v, int stage, int step)
{
    int other = stage + step;
    if (other < 0 || other >= v->n_stages) return -1;
    int rank = v->table->rank_of[other];
    return rank == v->table->rank_of[stage] ? -1 : rank;
}

static tri_op_kind input_backward(const verifier *v)
{
    return v->table->split ? TRI_OP_BACKWARD_INPUT : TRI_OP_BACKWARD;
}

/* The peer that a message of this kind must have on a stage; -1: there is no such message, or the kind
 * computes. */
static int wanted_peer(const verifier *v, tri_op_kind kind, int stage)
{
    switch (kind) {
    case TRI_OP_RECV_FORWARD:
    case TRI_OP_SEND_BACKWARD:
        return neighbour(v, stage, -1);
    case TRI_OP_SEND_FORWARD:
    case TRI_OP_RECV_BACKWARD:
        return neighbour(v, stage, 1);
    default:
        return -1;
    }
}

/* OP_BIT of all that one micro-batch must pass on a stage. */
static unsigned wanted_ops(const verifier *v, int stage)
{
    unsigned wanted = OP_BIT(TRI_OP_FORWARD) | OP_BIT(input_backward(v));
    if (v->table->split) wanted |= OP_BIT(TRI_OP_BACKWARD_WEIGHT);
    for (int kind = TRI_OP_SEND_FORWARD; kind < TRI_OP_KINDS; kind++)
        if (wanted_peer(v, (tri_op_kind)kind, stage) >= 0) wanted |= OP_BIT(kind);
    return wanted;
}

static bool is_done(const verifier *v, int stage, int micro, tri_op_kind kind)
{
    return v->done[(int64_t)stage * v->m + micro] & OP_BIT(kind);
}

/* What must be done on the same rank before a stage's forward or backward can run: the receive, or the
 * neighbouring stage's own where that lies here. */
static bool is_fed(const verifier *v, const tri_op *op)
{
    bool is_forward = op->kind == TRI_OP_FORWARD;
    int from = op->stage + (is_forward ? -1 : 1);
    if (from < 0 || from >= v->n_stages) return true;
    if (v->table->rank_of[from] == v->rank) return is_done(v, from, op->micro, op->kind);
    return is_done(v, op->stage, op->micro,
                   is_forward ? TRI_OP_RECV_FORWARD : TRI_OP_RECV_BACKWARD);
}

static tri_status verify_fields(const verifier *v, const tri_op *op)
{
    const tri_schedule *table = v->table;
    if (op->kind < 0 || op->kind >= TRI_OP_KINDS) TRI_TRY(refuse(v, "there is no such kind"));
    if (op->stage < 0 || op->stage >= v->n_stages || table->rank_of[op->stage] != v->rank)
        TRI_TRY(refuse(v, "the stage does not lie on this rank"));
    if (op->micro < 0 || op->micro >= v->m) TRI_TRY(refuse(v, "there is no such micro-batch"));
    if (op->chunk != v->chunk_of[op->stage]) TRI_TRY(refuse(v, "wrong chunk"));
    if (op->slot < 0 || op->slot >= table->slots[op->stage])
        TRI_TRY(refuse(v, "there is no such slot"));
    if (op->peer != wanted_peer(v, op->kind, op->stage)) TRI_TRY(refuse(v, "wrong peer"));
    if (!(wanted_ops(v, op->stage) & OP_BIT(op->kind)))
        TRI_TRY(refuse(v, "this stage has no such operation"));
    if (is_done(v, op->stage, op->micro, op->kind)) TRI_TRY(refuse(v, "is there twice"));
    return TRI_OK;
}

static tri_status verify_order(const verifier *v, const tri_op *op)
{
    bool has_forward = is_done(v, op->stage, op->micro, TRI_OP_FORWARD);
    bool has_backward = is_done(v, op->stage, op->micro, input_backward(v));
    switch (op->kind) {
    case TRI_OP_RECV_FORWARD:
        return TRI_OK;
    case TRI_OP_FORWARD:
        if (!is_fed(v, op)) TRI_TRY(refuse(v, "its input has not come"));
        return TRI_OK;
    case TRI_OP_BACKWARD:
    case TRI_OP_BACKWARD_INPUT:
        if (!has_forward) TRI_TRY(refuse(v, "comes before its forward"));
        if (!is_fed(v, op)) TRI_TRY(refuse(v, "the gradient of its output has not come"));
        return TRI_OK;
    case TRI_OP_SEND_FORWARD:
    case TRI_OP_RECV_BACKWARD:
        if (!has_forward) TRI_TRY(refuse(v, "comes before its forward"));
        return TRI_OK;
    default: /* the weights' backward, and the send of what the input's gave */
        if (!has_backward) TRI_TRY(refuse(v, "comes before its backward"));
        return TRI_OK;
    }
}

/* Does this operation take the slot of its micro-batch? */
static bool takes_slot(const verifier *v, const tri_op *op)
{
    if (op->kind == TRI_OP_RECV_FORWARD) return true;
    return op->kind == TRI_OP_FORWARD && neighbour(v, op->stage, -1) < 0;
}

static tri_status verify_slot(verifier *v, const tri_op *op)
{
    int *owner = &v->owner[v->first_slot[op->stage] + op->slot];
    int *slot = &v->slot[(int64_t)op->stage * v->m + op->micro];
    if (takes_slot(v, op)) {
        if (*owner >= 0) TRI_TRY(refuse(v, "its slot is in use"));
        *owner = op->micro;
        *slot = op->slot;
    } else if (*slot != op->slot) {
        TRI_TRY(refuse(v, "wrong slot"));
    }
    return TRI_OK;
}

/* `last` is right on each operation of a rank that has them all; `left` is scratch: what is still to
 * come, by chunk and kind. */
static tri_status verify_last(verifier *v, int *left)
{
    const tri_schedule *table = v->table;
    for (int i = 0; i < table->chunks * TRI_OP_KINDS; i++)
        left[i] = v->m;
    for (v->at = 0; v->at < table->n_ops[v->rank]; v->at++) {
        const tri_op *op = &table->ops[v->rank][v->at];
        bool is_last = --left[op->chunk * TRI_OP_KINDS + (int)op->kind] == 0;
        if (op->last != is_last)
            TRI_TRY(refuse(v, is_last ? "is the last of its kind and does not say so"
                                      : "is not the last of its kind and says so"));
    }
    return TRI_OK;
}

/* Each micro-batch has passed each stage of the rank. */
static tri_status verify_complete(const verifier *v)
{
    for (int s = 0; s < v->n_stages; s++) {
        if (v->table->rank_of[s] != v->rank) continue;
        unsigned wanted = wanted_ops(v, s);
        for (int i = 0; i < v->m; i++) {
            unsigned missing = wanted & ~(unsigned)v->done[(int64_t)s * v->m + i];
            if (!missing) continue;
            char name[TRI_OP_NAME_BYTES];
            tri_op op = {.kind = (tri_op_kind)__builtin_ctz(missing), .stage = s, .micro = i};
            op.peer = wanted_peer(v, op.kind, s);
            TRI_FAIL(TRI_EBUG, "schedule %s: rank %d, all %d operations: %s is missing",
                     v->table->name, v->rank, v->table->n_ops[v->rank],
                     tri_op_name(&op, name, sizeof name));
        }
    }
    return TRI_OK;
}

static tri_status verify_rank(verifier *v, int rank, int *left)
{
    const tri_schedule *table = v->table;
    v->rank = rank;
    for (int i = 0; i < table->chunks * TRI_OP_KINDS; i++)
        left[i] = v->m;
    for (v->at = 0; v->at < table->n_ops[rank]; v->at++) {
        const tri_op *op = &table->ops[rank][v->at];
        TRI_TRY(verify_fields(v, op));
        TRI_TRY(verify_order(v, op));
        TRI_TRY(verify_slot(v, op));
        uint8_t *done = &v->done[(int64_t)op->stage * v->m + op->micro];
        *done |= (uint8_t)OP_BIT(op->kind);
        if (*done == wanted_ops(v, op->stage)) v->owner[v->first_slot[op->stage] + op->slot] = -1;
    }
    TRI_TRY(verify_complete(v));
    TRI_TRY(verify_last(v, left));
    return TRI_OK;
}

/* Position of the next operation of `kind` with this peer, from `at` on; n_ops: none. */
static int next_message(const tri_schedule *table, int rank, int at, tri_op_kind kind, int peer)
{
    const tri_op *ops = table->ops[rank];
    while (at < table->n_ops[rank] && (ops[at].kind != kind || ops[at].peer != peer))
        at++;
    return at;
}

/* Messages from one rank to another leave and are received in the same order. */
static tri_status verify_channel(verifier *v, int from, int to, bool is_forward)
{
    const tri_schedule *table = v->table;
    tri_op_kind send = is_forward ? TRI_OP_SEND_FORWARD : TRI_OP_SEND_BACKWARD;
    tri_op_kind receive = is_forward ? TRI_OP_RECV_FORWARD : TRI_OP_RECV_BACKWARD;
    int i = next_message(table, from, 0, send, to);
    v->rank = to;
    v->at = next_message(table, to, 0, receive, from);
    while (i < table->n_ops[from] && v->at < table->n_ops[to]) {
        const tri_op *out = &table->ops[from][i];
        const tri_op *in = &table->ops[to][v->at];
        if (out->micro != in->micro || out->stage + (is_forward ? 1 : -1) != in->stage) {
            char name[TRI_OP_NAME_BYTES];
            char why[TRI_OP_NAME_BYTES + 64];
            snprintf(why, sizeof why, "rank %d, operation %d, sends first: %s", from, i,
                     tri_op_name(out, name, sizeof name));
            TRI_TRY(refuse(v, why));
        }
        i = next_message(table, from, i + 1, send, to);
        v->at = next_message(table, to, v->at + 1, receive, from);
    }
    return TRI_OK; /* none is left over: all messages are there, on both ends */
}

static tri_status verify_channels(verifier *v)
{
    const tri_schedule *table = v->table;
    for (int r = 0; r < table->ranks; r++) {
        memset(v->paired, 0, (size_t)table->ranks);
        for (int i = 0; i < table->n_ops[r]; i++) {
            int peer = table->ops[r][i].peer;
            if (peer < 0 || v->paired[peer]) continue;
            v->paired[peer] = 1;
            TRI_TRY(verify_channel(v, r, peer, true));
            TRI_TRY(verify_channel(v, r, peer, false));
        }
    }
    return TRI_OK;
}

/* Is what micro-batch `micro` sent from this stage out of its buffers: are the receives posted? */
static bool is_sent(const verifier *v, int stage, int micro)
{
    if (neighbour(v, stage, 1) >= 0 && !is_done(v, stage + 1, micro, TRI_OP_RECV_FORWARD))
        return false;
    return neighbour(v, stage, -1) < 0 || is_done(v, stage - 1, micro, TRI_OP_RECV_BACKWARD);
}

/* Can this operation begin, as far as the other ranks have come? */
static bool can_begin(const verifier *v, const tri_op *op)
{
    if (takes_slot(v, op)) {
        int before = v->previous[v->first_slot[op->stage] + op->slot];
        if (before >= 0 && !is_sent(v, op->stage, before)) return false;
    }
    if (op->kind == TRI_OP_FORWARD && neighbour(v, op->stage, -1) >= 0)
        return is_done(v, op->stage - 1, op->micro, TRI_OP_SEND_FORWARD);
    if (op->kind == input_backward(v) && neighbour(v, op->stage, 1) >= 0)
        return is_done(v, op->stage + 1, op->micro, TRI_OP_SEND_BACKWARD);
    return true;
}

/* Run all ranks on paper until nobody can go on. */
static tri_status verify_progress(verifier *v)
{
    const tri_schedule *table = v->table;
    memset(v->done, 0, (size_t)v->n_stages * (size_t)v->m);
    memset(v->position, 0, (size_t)table->ranks * sizeof *v->position);
    for (bool is_moving = true; is_moving;) {
        is_moving = false;
        for (int r = 0; r < table->ranks; r++)
            for (; v->position[r] < table->n_ops[r]; v->position[r]++) {
                const tri_op *op = &table->ops[r][v->position[r]];
                if (!can_begin(v, op)) break;
                if (takes_slot(v, op)) v->previous[v->first_slot[op->stage] + op->slot] = op->micro;
                v->done[(int64_t)op->stage * v->m + op->micro] |= (uint8_t)OP_BIT(op->kind);
                is_moving = true;
            }
    }
    for (v->rank = 0; v->rank < table->ranks; v->rank++) {
        v->at = v->position[v->rank];
        if (v->at < table->n_ops[v->rank])
            TRI_TRY(refuse(v, "waits for ever: each rank that is not done waits for another"));
    }
    return TRI_OK;
}

tri_status tri_schedule_verify(const tri_schedule *schedule)
{
    TRI_AUTO(verifier) *v = NULL;
    TRI_TRY(verifier_create(schedule, &v));
    int *left = NULL;
    TRI_TRY(TRI_NEW_ARRAY((int64_t)schedule->chunks * TRI_OP_KINDS, &left));
    tri_status rc = TRI_OK;
    for (int r = 0; r < schedule->ranks && rc == TRI_OK; r++)
        rc = verify_rank(v, r, left);
    TRI_FREE(left);
    TRI_TRY(rc);
    TRI_TRY(verify_channels(v));
    TRI_TRY(verify_progress(v));
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* The executor's hooks: what each operation of the schedule does with the model and the messages.
 *
 * Between two neighbouring ranks of the pipeline there is one communicator for outputs and one for
 * gradients, so that neither waits behind the other. A slot's output buffer holds the output until
 * it was sent, then the gradient of it; its input buffer the input, then the gradient of that.
 */
#include "parallel/stage.h"

#include "parallel/tensor.h"
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"

#include <stdio.h>
#include <string.h>

/* Messages: 0 outputs of stages, 1 gradients of them. */
enum { STAGE_OUTPUTS, STAGE_GRADIENTS, STAGE_MESSAGES };

/* Edges of the ring of pipeline ranks that a rank is on. */
enum { EDGE_BEFORE, EDGE_AFTER, STAGE_EDGES };

/* Transfers of one slot that may be under way. */
typedef struct stage_slot {
    tri_event received[STAGE_MESSAGES], sent[STAGE_MESSAGES];
} stage_slot;

struct tri_stage {
    tri_stage_args args;
    tri_stage_observer observer;
    int ranks, rank; /* of the pipeline axis */
    tri_comm *comm[STAGE_MESSAGES][STAGE_EDGES];
    int n_chunks;
    int *first_slot; /* [n_chunks] in slots */
    stage_slot *slots;
    int *slot_of;                /* [n_chunks][micro_batches] of the table */
    int *chunk_of;               /* [stages] of this rank; -1: elsewhere */
    int parts;                   /* of the context axis */
    int64_t own;                 /* tokens of a sequence here */
    int64_t *place;              /* [own] of each token in the whole sequence */
    int32_t *index;              /* the same, for the kernels */
    int32_t *tokens, *targets;   /* [sequences, own]: cut */
    int32_t *position, *visible; /* [sequences, own], [sequences, length] */
    tri_model_hooks hooks;
    /* the round under way */
    tri_micro_batch batch; /* all its sequences, cut */
    float loss_scale;
    bool is_last; /* gradients are complete behind it */
    double *loss;
    int64_t *counted;
};

static tri_status use_unit(void *arg, int unit, tri_unit_need need, int next)
{
    tri_stage *stage = arg;
    return tri_zero_use(stage->args.zero, unit, need, next);
}

static tri_status unit_ready(void *arg, int unit, bool last)
{
    tri_stage *stage = arg;
    return tri_zero_ready(stage->args.zero, unit, last);
}

/* Edges e and e+1 (mod p) that have no rank in common can be made in one grouping: even ones, odd ones,
 * and the one that closes the ring. */
static tri_status make_edges(tri_stage *stage, int message)
{
    enum { EVEN, ODD, RING, GROUPINGS };
    tri_mesh *mesh = stage->args.mesh;
    unsigned others = TRI_AXIS_BIT(TRI_AXIS_DATA) | TRI_AXIS_BIT(TRI_AXIS_CONTEXT) |
                      TRI_AXIS_BIT(TRI_AXIS_TENSOR);
    int p = stage->ranks;
    for (int g = 0; g < GROUPINGS; g++) {
        if (g == RING && (p < 3 || stage->args.schedule->chunks == 1)) continue;
        int edge = -1; /* from pipeline rank `edge` to the next */
        if (g == RING)
            edge = stage->rank == 0 || stage->rank == p - 1 ? p - 1 : -1;
        else if (stage->rank % 2 == g)
            edge = stage->rank + 1 < p ? stage->rank : -1;
        else
            edge = stage->rank - 1;
        bool after = edge == stage->rank;
        int color = edge < 0 ? -1 : tri_mesh_index(mesh, others) * p + edge;
        tri_comm *comm = NULL;
        TRI_TRY(tri_mesh_group(mesh, 2, color, after ? 0 : 1, &comm));
        tri_comm_set_name(comm,
                          message == STAGE_OUTPUTS ? "pipeline outputs" : "pipeline gradients");
        if (edge >= 0) stage->comm[message][after ? EDGE_AFTER : EDGE_BEFORE] = comm;
    }
    return TRI_OK;
}

/* The communicator that joins this rank and `peer`, and the peer's rank in it. */
static tri_comm *edge_to(const tri_stage *stage, int message, int peer, int *rank)
{
    bool after = peer == stage->rank + 1 ||
                 (peer == 0 && stage->rank == stage->ranks - 1 && stage->ranks > 2);
    *rank = after ? 1 : 0;
    return stage->comm[message][after ? EDGE_AFTER : EDGE_BEFORE];
}

static tri_status make_slots(tri_stage *stage)
{
    const tri_schedule *schedule = stage->args.schedule;
    int stages = schedule->ranks * schedule->chunks;
    int n_slots = 0;
    TRI_TRY(TRI_NEW_ARRAY(stages, &stage->chunk_of));
    TRI_TRY(TRI_NEW_ARRAY(stage->n_chunks, &stage->first_slot));
    for (int s = 0; s < stages; s++)
        stage->chunk_of[s] = -1;
    for (int c = 0; c < stage->n_chunks; c++) {
        int s = tri_model_stage_of(stage->args.model, c);
        stage->chunk_of[s] = c;
        stage->first_slot[c] = n_slots;
        n_slots += schedule->slots[s];
    }
    TRI_TRY(TRI_NEW_ARRAY(n_slots, &stage->slots));
    int m = schedule->micro_batches;
    TRI_TRY(TRI_NEW_ARRAY((int64_t)stage->n_chunks * m, &stage->slot_of));
    for (int i = 0; i < schedule->n_ops[stage->rank]; i++) {
        const tri_op *op = &schedule->ops[stage->rank][i];
        if (op->kind == TRI_OP_FORWARD) stage->slot_of[op->chunk * m + op->micro] = op->slot;
    }
    return TRI_OK;
}

tri_status tri_stage_create(const tri_stage_args *args, tri_stage **out)
{
    TRI_AUTO(tri_stage) *stage = NULL;
    TRI_TRY(TRI_NEW(&stage));
    stage->args = *args;
    stage->ranks = tri_mesh_size(args->mesh, TRI_AXIS_PIPELINE);
    stage->rank = tri_mesh_coord(args->mesh, TRI_AXIS_PIPELINE);
    stage->parts = tri_mesh_size(args->mesh, TRI_AXIS_CONTEXT);
    stage->own = args->length / stage->parts;
    stage->n_chunks = tri_model_chunks(args->model);
    stage->hooks = (tri_model_hooks){stage, use_unit, unit_ready};
    for (int message = 0; stage->ranks > 1 && message < STAGE_MESSAGES; message++)
        TRI_TRY(make_edges(stage, message));
    TRI_TRY(make_slots(stage));
    TRI_TRY(TRI_NEW_ARRAY(stage->own, &stage->index));
    for (int64_t j = 0; j < stage->own; j++)
        stage->index[j] = (int32_t)(args->context ? tri_context_index(args->context, j) : j);
    *out = TRI_MOVE(stage);
    return TRI_OK;
}

void tri_stage_destroy(tri_stage **stage)
{
    if (!*stage) return;
    TRI_FREE((*stage)->chunk_of);
    TRI_FREE((*stage)->first_slot);
    TRI_FREE((*stage)->slots);
    TRI_FREE((*stage)->slot_of);
    TRI_FREE((*stage)->index);
    TRI_FREE(*stage);
}

static bool is_packed(const tri_stage *stage)
{
    return stage->args.separator >= 0;
}

tri_status tri_stage_declare(tri_stage *stage, tri_arena *arena)
{
    int64_t cut = stage->args.sequences * stage->own;
    int64_t whole = stage->args.sequences * stage->args.length;
    if (stage->parts > 1) {
        TRI_TRY(tri_arena_add(arena, TRI_MEM_DATA, cut, TRI_I32, (void **)&stage->tokens));
        TRI_TRY(tri_arena_add(arena, TRI_MEM_DATA, cut, TRI_I32, (void **)&stage->targets));
    }
    if (stage->parts > 1 || is_packed(stage))
        TRI_TRY(tri_arena_add(arena, TRI_MEM_DATA, cut, TRI_I32, (void **)&stage->position));
    if (is_packed(stage))
        TRI_TRY(tri_arena_add(arena, TRI_MEM_DATA, whole, TRI_I32, (void **)&stage->visible));
    return TRI_OK;
}

void tri_stage_observe(tri_stage *stage, const tri_stage_observer *observer)
{
    stage->observer = observer ? *observer : (tri_stage_observer){0};
}

/* First place of the document that each token of a sequence belongs to: the separator ends one. */
static void find_documents(const tri_stage *stage, const int32_t *tokens, int32_t *visible)
{
    int32_t first = 0;
    for (int64_t t = 0; t < stage->args.length; t++) {
        visible[t] = first;
        if (tokens[t] == stage->args.separator) first = (int32_t)t + 1;
    }
}

/* This rank's tokens of `n` sequences from `at` on. */
static void cut_batch(tri_stage *stage, const tri_loader_batch *whole, int64_t at, int64_t n)
{
    int64_t length = stage->args.length;
    int64_t own = stage->own;
    for (int64_t i = 0; i < n; i++) {
        const int32_t *tokens = whole->tokens + (at + i) * length;
        const int32_t *targets = whole->targets + (at + i) * length;
        int32_t *visible = is_packed(stage) ? stage->visible + i * length : NULL;
        if (visible) find_documents(stage, tokens, visible);
        for (int64_t j = 0; j < own && stage->position; j++) {
            int32_t place = stage->index[j];
            stage->position[i * own + j] = place - (visible ? visible[place] : 0);
            if (stage->parts == 1) continue;
            stage->tokens[i * own + j] = tokens[place];
            stage->targets[i * own + j] = targets[place];
        }
    }
    stage->batch = (tri_micro_batch){.sequences = n,
                                     .length = own,
                                     .tokens = whole->tokens + at * length,
                                     .targets = whole->targets + at * length,
                                     .sample = whole->sample + at,
                                     .position = stage->position,
                                     .visible = stage->visible};
    if (stage->parts == 1) return;
    stage->batch.tokens = stage->tokens;
    stage->batch.targets = stage->targets;
    stage->batch.index = stage->index;
}

/* Micro-batch `micro` of what was cut. */
static tri_micro_batch micro_batch(const tri_stage *stage, int64_t micro)
{
    tri_micro_batch part = stage->batch;
    int64_t at = micro * stage->args.micro;
    part.sequences = stage->args.micro;
    part.tokens += at * part.length;
    part.targets += at * part.length;
    part.sample += at;
    if (part.position) part.position += at * part.length;
    if (part.visible) part.visible += at * stage->args.length;
    return part;
}

static tri_span stream_span(const tri_stage *stage, void *data)
{
    int64_t count = tri_model_stream_elements(stage->args.model, stage->args.micro, stage->own);
    return tri_span_make(data, count, stage->args.compute);
}

static stage_slot *slot_at(const tri_stage *stage, int chunk, int slot)
{
    return &stage->slots[stage->first_slot[chunk] + slot];
}

/* Hand a tensor over to the neighbouring stage of this rank, where that is: *from = what this stage has
 * made, which goes to the neighbour's `output` or input. */
static void hand_over(const tri_stage *stage, const tri_op *op, int neighbour, bool to_output,
                      void *from)
{
    int stages = stage->args.schedule->ranks * stage->args.schedule->chunks;
    if (neighbour < 0 || neighbour >= stages || stage->chunk_of[neighbour] < 0) return;
    int chunk = stage->chunk_of[neighbour];
    int slot = stage->slot_of[chunk * stage->args.schedule->micro_batches + op->micro];
    void *to = to_output ? tri_model_output(stage->args.model, chunk, slot)
                         : tri_model_input(stage->args.model, chunk, slot);
    tri_span span = stream_span(stage, to);
    memcpy(to, from, tri_span_bytes(span));
}

static tri_model_pass pass_of(const tri_stage *stage, const tri_op *op)
{
    return (tri_model_pass){.chunk = op->chunk,
                            .slot = op->slot,
                            .batch = micro_batch(stage, op->micro),
                            .dropout = true,
                            .gradients = true,
                            .loss_scale = stage->loss_scale,
                            .last = op->last && stage->is_last,
                            .hooks = &stage->hooks,
                            .loss = stage->loss,
                            .counted = stage->counted};
}

static tri_status wait_slot(tri_event *event)
{
    TRI_TRY(tri_event_wait(*event));
    *event = (tri_event){0};
    return TRI_OK;
}

static tri_status run_forward(tri_stage *stage, const tri_op *op)
{
    tri_model *model = stage->args.model;
    stage_slot *slot = slot_at(stage, op->chunk, op->slot);
    TRI_TRY(wait_slot(&slot->received[STAGE_OUTPUTS]));
    TRI_TRY(wait_slot(&slot->sent[STAGE_OUTPUTS]));
    tri_model_pass pass = pass_of(stage, op);
    TRI_TRY(tri_model_forward(model, &pass));
    hand_over(stage, op, op->stage + 1, false, tri_model_output(model, op->chunk, op->slot));
    return TRI_OK;
}

static tri_status run_backward(tri_stage *stage, const tri_op *op)
{
    tri_model *model = stage->args.model;
    stage_slot *slot = slot_at(stage, op->chunk, op->slot);
    tri_model_pass pass = pass_of(stage, op);
    if (op->kind == TRI_OP_BACKWARD_WEIGHT) return tri_model_backward_weight(model, &pass);
    TRI_TRY(wait_slot(&slot->received[STAGE_GRADIENTS]));
    TRI_TRY(op->kind == TRI_OP_BACKWARD ? tri_model_backward(model, &pass)
                                        : tri_model_backward_input(model, &pass));
    hand_over(stage, op, op->stage - 1, true, tri_model_input(model, op->chunk, op->slot));
    return TRI_OK;
}

static tri_status run_transfer(tri_stage *stage, const tri_op *op)
{
    tri_model *model = stage->args.model;
    stage_slot *slot = slot_at(stage, op->chunk, op->slot);
    bool forward = op->kind == TRI_OP_SEND_FORWARD || op->kind == TRI_OP_RECV_FORWARD;
    bool sends = op->kind == TRI_OP_SEND_FORWARD || op->kind == TRI_OP_SEND_BACKWARD;
    int message = forward ? STAGE_OUTPUTS : STAGE_GRADIENTS;
    bool is_output = forward == sends; /* an output is sent, its gradient received there */
    void *data = is_output ? tri_model_output(model, op->chunk, op->slot)
                           : tri_model_input(model, op->chunk, op->slot);
    int peer = 0;
    tri_comm *comm = edge_to(stage, message, op->peer, &peer);
    tri_event *event = sends ? &slot->sent[message] : &slot->received[message];
    if (sends) return tri_send(comm, stream_span(stage, data), peer, event);
    /* what was sent from this buffer has left it before something new comes in */
    TRI_TRY(wait_slot(&slot->sent[forward ? STAGE_GRADIENTS : STAGE_OUTPUTS]));
    return tri_recv(comm, stream_span(stage, data), peer, event);
}

static tri_status run_op(void *arg, const tri_op *op)
{
    tri_stage *stage = arg;
    switch (op->kind) {
    case TRI_OP_FORWARD:
        TRI_TRY(run_forward(stage, op));
        break;
    case TRI_OP_BACKWARD:
    case TRI_OP_BACKWARD_INPUT:
    case TRI_OP_BACKWARD_WEIGHT:
        TRI_TRY(run_backward(stage, op));
        break;
    default:
        TRI_TRY(run_transfer(stage, op));
    }
    if (stage->observer.end) stage->observer.end(stage->observer.arg, op);
    return TRI_OK;
}

static void begin_op(void *arg, const tri_op *op)
{
    tri_stage *stage = arg;
    if (stage->observer.begin) stage->observer.begin(stage->observer.arg, op);
}

/* All transfers have passed: the buffers may be read or written by anyone. */
static tri_status drain(tri_stage *stage)
{
    for (int c = 0; c < stage->n_chunks; c++) {
        int slots = stage->args.schedule->slots[tri_model_stage_of(stage->args.model, c)];
        for (int s = 0; s < slots; s++)
            for (int message = 0; message < STAGE_MESSAGES; message++)
                TRI_TRY(wait_slot(&slot_at(stage, c, s)->sent[message]));
    }
    return TRI_OK;
}

static tri_status check_batch(const tri_stage *stage, const tri_loader_batch *batch)
{
    TRI_CHECK(batch->length == stage->args.length, TRI_EINVAL,
              "sequences of %lld tokens; the job was made for %lld", (long long)batch->length,
              (long long)stage->args.length);
    TRI_CHECK(batch->sequences % stage->args.micro == 0, TRI_EINVAL,
              "%lld sequences are no multiple of the micro-batch, %lld",
              (long long)batch->sequences, (long long)stage->args.micro);
    return TRI_OK;
}

/* One rank of a tensor group tells the loss that all of them have. */
static void report_loss(const tri_stage *stage, double sum, int64_t n, double *loss,
                        int64_t *counted)
{
    if (tri_mesh_coord(stage->args.mesh, TRI_AXIS_TENSOR) != 0) return;
    *loss += sum;
    *counted += n;
}

tri_status tri_stage_train(tri_stage *stage, const tri_loader_batch *batch, float loss_scale,
                           bool is_last, double *loss, int64_t *counted)
{
    static const tri_schedule_hooks hooks = {run_op, begin_op};
    TRI_TRY(check_batch(stage, batch));
    TRI_CHECK(batch->sequences == stage->args.sequences, TRI_EINVAL,
              "a round of %lld sequences; the schedule was made for %lld",
              (long long)batch->sequences, (long long)stage->args.sequences);
    double sum = 0;
    int64_t n = 0;
    stage->loss_scale = loss_scale;
    stage->is_last = is_last;
    stage->loss = &sum;
    stage->counted = &n;
    cut_batch(stage, batch, 0, batch->sequences);
    TRI_TRY(tri_schedule_run(stage->args.schedule, stage->rank, &hooks, stage));
    TRI_TRY(drain(stage));
    report_loss(stage, sum, n, loss, counted);
    return TRI_OK;
}

/* Forward of one chunk in slot 0, with its messages. */
static tri_status evaluate_chunk(tri_stage *stage, int chunk)
{
    tri_model *model = stage->args.model;
    const tri_schedule *schedule = stage->args.schedule;
    int s = tri_model_stage_of(model, chunk);
    int last = schedule->ranks * schedule->chunks - 1;
    tri_op op = {.kind = TRI_OP_RECV_FORWARD, .stage = s, .chunk = chunk};
    tri_model_pass pass = pass_of(stage, &op);
    pass.dropout = false;
    pass.gradients = false;
    if (s > 0 && stage->chunk_of[s - 1] < 0) {
        op.peer = schedule->rank_of[s - 1];
        TRI_TRY(run_transfer(stage, &op));
        TRI_TRY(wait_slot(&slot_at(stage, chunk, 0)->received[STAGE_OUTPUTS]));
    }
    TRI_TRY(tri_model_forward(model, &pass));
    void *output = tri_model_output(model, chunk, 0);
    if (s == last) return TRI_OK;
    if (stage->chunk_of[s + 1] >= 0) {
        void *input = tri_model_input(model, stage->chunk_of[s + 1], 0);
        memcpy(input, output, tri_span_bytes(stream_span(stage, output)));
        return TRI_OK;
    }
    op.kind = TRI_OP_SEND_FORWARD;
    op.peer = schedule->rank_of[s + 1];
    TRI_TRY(run_transfer(stage, &op));
    return wait_slot(&slot_at(stage, chunk, 0)->sent[STAGE_OUTPUTS]);
}

tri_status tri_stage_evaluate(tri_stage *stage, const tri_loader_batch *batch, double *loss,
                              int64_t *counted)
{
    TRI_TRY(check_batch(stage, batch));
    double sum = 0;
    int64_t n = 0;
    stage->loss = &sum;
    stage->counted = &n;
    for (int64_t at = 0; at < batch->sequences; at += stage->args.micro) {
        cut_batch(stage, batch, at, stage->args.micro);
        for (int c = 0; c < stage->n_chunks; c++)
            TRI_TRY(evaluate_chunk(stage, c));
    }
    report_loss(stage, sum, n, loss, counted);
    return TRI_OK;
}

void tri_stage_traffic(const tri_stage *stage, int64_t rounds, tri_traffic_list *list)
{
    const tri_schedule *schedule = stage->args.schedule;
    int64_t bytes = (int64_t)tri_span_bytes(stream_span(stage, NULL));
    for (int i = 0; i < schedule->n_ops[stage->rank]; i++) {
        const tri_op *op = &schedule->ops[stage->rank][i];
        bool forward = op->kind == TRI_OP_SEND_FORWARD;
        if (!forward && op->kind != TRI_OP_SEND_BACKWARD) continue;
        tri_traffic more = {.group = "pipeline",
                            .ranks = 2,
                            .kind = TRI_COLL_SEND,
                            .calls = rounds,
                            .payload_bytes = rounds * bytes};
        snprintf(more.what, sizeof more.what, "%s", forward ? "outputs" : "gradients");
        tri_traffic_add(list, &more);
    }
}

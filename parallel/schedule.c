// SPDX-License-Identifier: Apache-2.0
/* Making tables and running them. */
#include "parallel/schedule.h"

#include "parallel/schedule/schedule_impl.h"
#include "runtime/base/alloc.h"

#include <assert.h>
#include <string.h>

enum {
    OPS_PER_PASS = 7, /* of one micro-batch on one stage: three computations, four messages */
    MAX_PASSES = 1 << 20,
    NAMES_BYTES = 128
};

static const tri_schedule_ops *find(const char *name)
{
    for (int i = 0; tri_schedule_list[i]; i++)
        if (strcmp(tri_schedule_list[i]->name, name) == 0) return tri_schedule_list[i];
    return NULL;
}

static tri_status unknown(const char *name)
{
    char names[NAMES_BYTES] = "";
    for (int i = 0; tri_schedule_list[i]; i++) {
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "",
                 tri_schedule_list[i]->name);
    }
    TRI_FAIL(TRI_EINVAL, "parallel.schedule '%.40s' is not one of %s", name, names);
}

static tri_status check_chunks(const tri_schedule_ops *ops, int chunks)
{
    if (chunks >= ops->min_chunks && chunks <= ops->max_chunks) return TRI_OK;
    if (ops->max_chunks > ops->min_chunks)
        TRI_FAIL(
            TRI_EINVAL,
            "parallel.chunks %d: parallel.schedule %s cuts each rank's part of the model into %d "
            "chunks or more: the nearest is %d",
            chunks, ops->name, ops->min_chunks, ops->min_chunks);
    TRI_FAIL(TRI_EINVAL,
             "parallel.chunks %d: parallel.schedule %s has exactly %d on each rank: set it to %d",
             chunks, ops->name, ops->min_chunks, ops->min_chunks);
}

tri_status tri_schedule_check(const char *name, int ranks, int chunks, int micro_batches)
{
    const tri_schedule_ops *ops = find(name);
    if (!ops) return unknown(name);
    TRI_CHECK(ranks >= 1, TRI_EINVAL, "parallel.pipeline %d: the least is 1", ranks);
    TRI_CHECK(micro_batches >= 1, TRI_EINVAL,
              "batch.sequences (where it varies batch.adaptive.quantum / groups) gives "
              "micro-batches %d: the least is 1",
              micro_batches);
    TRI_TRY(check_chunks(ops, chunks));
    int64_t most = MAX_PASSES / ((int64_t)ranks * chunks);
    TRI_CHECK(micro_batches <= most, TRI_EINVAL,
              "batch.sequences (where it varies batch.adaptive.quantum / groups) gives "
              "micro-batches %d: with parallel.pipeline %d and "
              "parallel.chunks %d a table has room for %lld",
              micro_batches, ranks, chunks, (long long)most);
    if (ops->check) TRI_TRY(ops->check(ranks, chunks, micro_batches));
    return TRI_OK;
}

int tri_schedule_rank_around(int ranks, int stage)
{
    return stage % ranks;
}

void tri_schedule_put(tri_schedule *schedule, int rank, tri_op_kind kind, int stage, int micro)
{
    assert(schedule->n_ops[rank] < OPS_PER_PASS * schedule->chunks * schedule->micro_batches);
    schedule->ops[rank][schedule->n_ops[rank]++] =
        (tri_op){.kind = kind, .stage = stage, .micro = micro, .slot = -1, .peer = -1};
}

tri_status tri_schedule_create(const char *name, int ranks, int chunks, int micro_batches,
                               tri_schedule **out)
{
    TRI_TRY(tri_schedule_check(name, ranks, chunks, micro_batches));
    const tri_schedule_ops *ops = find(name);
    TRI_AUTO(tri_schedule) *schedule = NULL;
    TRI_TRY(TRI_NEW(&schedule));
    snprintf(schedule->name, sizeof schedule->name, "%s", name);
    schedule->ranks = ranks;
    schedule->chunks = chunks;
    schedule->micro_batches = micro_batches;
    schedule->split = ops->split;
    int64_t n_stages = (int64_t)ranks * chunks;
    TRI_TRY(TRI_NEW_ARRAY(n_stages, &schedule->rank_of));
    TRI_TRY(TRI_NEW_ARRAY(n_stages, &schedule->slots));
    TRI_TRY(TRI_NEW_ARRAY(ranks, &schedule->n_ops));
    TRI_TRY(TRI_NEW_ARRAY(ranks, &schedule->ops));
    for (int i = 0; i < n_stages; i++)
        schedule->rank_of[i] = ops->rank_of(ranks, i);
    for (int i = 0; i < ranks; i++)
        TRI_TRY(TRI_NEW_ARRAY((int64_t)OPS_PER_PASS * chunks * micro_batches, &schedule->ops[i]));
    ops->order(schedule);
    TRI_TRY(tri_schedule_add_messages(schedule));
    TRI_TRY(tri_schedule_verify(schedule));
    *out = TRI_MOVE(schedule);
    return TRI_OK;
}

void tri_schedule_destroy(tri_schedule **schedule)
{
    tri_schedule *s = *schedule;
    if (!s) return;
    for (int i = 0; s->ops && i < s->ranks; i++)
        TRI_FREE(s->ops[i]);
    TRI_FREE(s->ops);
    TRI_FREE(s->n_ops);
    TRI_FREE(s->slots);
    TRI_FREE(s->rank_of);
    TRI_FREE(*schedule);
}

int tri_schedule_peak(const tri_schedule *schedule, int rank)
{
    int alive = 0;
    int peak = 0;
    tri_op_kind last_use = schedule->split ? TRI_OP_BACKWARD_WEIGHT : TRI_OP_BACKWARD;
    for (int i = 0; i < schedule->n_ops[rank]; i++) {
        tri_op_kind kind = schedule->ops[rank][i].kind;
        if (kind == TRI_OP_FORWARD && ++alive > peak) peak = alive;
        if (kind == last_use) alive--;
    }
    return peak;
}

char *tri_op_name(const tri_op *op, char *out, size_t out_bytes)
{
    static const char *const names[TRI_OP_KINDS] = {
        [TRI_OP_FORWARD] = "forward",
        [TRI_OP_BACKWARD] = "backward",
        [TRI_OP_BACKWARD_INPUT] = "backward of the input",
        [TRI_OP_BACKWARD_WEIGHT] = "backward of the weights",
        [TRI_OP_SEND_FORWARD] = "send of the output",
        [TRI_OP_RECV_FORWARD] = "receipt of the input",
        [TRI_OP_SEND_BACKWARD] = "send of the input's gradient",
        [TRI_OP_RECV_BACKWARD] = "receipt of the output's gradient",
    };
    bool is_known = op->kind >= 0 && op->kind < TRI_OP_KINDS;
    int n = snprintf(out, out_bytes, "%s of micro-batch %d, stage %d",
                     is_known ? names[op->kind] : "unknown operation", op->micro, op->stage);
    bool is_send = op->kind == TRI_OP_SEND_FORWARD || op->kind == TRI_OP_SEND_BACKWARD;
    if (op->peer >= 0 && n > 0 && (size_t)n < out_bytes)
        snprintf(out + n, out_bytes - (size_t)n, ", %s pipeline rank %d", is_send ? "to" : "from",
                 op->peer);
    return out;
}

/* Say in this thread's error which operation it was. */
static tri_status name_failure(tri_status rc, const tri_schedule *schedule, int rank, int at)
{
    tri_err err;
    char name[TRI_OP_NAME_BYTES];
    char text[TRI_ERR_TEXT_BYTES];
    tri_err_take(&err);
    if (err.code == TRI_OK) err.code = rc; /* a hook that did not say why */
    tri_op_name(&schedule->ops[rank][at], name, sizeof name);
    int n = snprintf(text, sizeof text, "%s (pipeline rank %d, operation %d of %d)%s", name, rank,
                     at, schedule->n_ops[rank], err.text[0] ? ": " : "");
    snprintf(text + n, sizeof text - (size_t)n, "%.*s", (int)sizeof text - n - 1, err.text);
    memcpy(err.text, text, sizeof text);
    return tri_err_put(&err);
}

tri_status tri_schedule_run(const tri_schedule *schedule, int rank, const tri_schedule_hooks *hooks,
                            void *arg)
{
    for (int i = 0; i < schedule->n_ops[rank]; i++) {
        const tri_op *op = &schedule->ops[rank][i];
        if (hooks->begin) hooks->begin(arg, op);
        tri_status rc = hooks->run(arg, op);
        if (rc != TRI_OK) TRI_TRY(name_failure(rc, schedule, rank, i));
    }
    return TRI_OK;
}

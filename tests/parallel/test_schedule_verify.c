// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120
/* Good tables are damaged in every place, and each damage must be found, with the rank, the position and
 * the operation in the message.
 */
#include "tests/parallel/schedule_tables.h"

/* A damaged operation: in which table, where, and how it is called. */
typedef struct damage {
    tri_schedule *schedule;
    int rank, at;
} damage;

/* The table must be refused, on this rank; on any where rank is -1. */
static void expect_refused(const tri_schedule *schedule, const char *what, int rank, int at)
{
    char part[64];
    snprintf(part, sizeof part, "schedule %s: rank %d, ", schedule->name, rank);
    tri_status rc = tri_schedule_verify(schedule);
    const char *text = tri_err_last()->text;
    EXPECT(rc == TRI_EBUG, "%s: rank %d, operation %d %s: %s", schedule->name, rank, at, what,
           tri_status_name(rc));
    EXPECT(rc == TRI_OK || rank < 0 || strstr(text, part), "%s: not on rank %d: %s", what, rank,
           text);
    EXPECT(rc == TRI_OK || (strstr(text, "operation") && strstr(text, " of micro-batch ")),
           "%s: %s", what, text);
    tri_err_clear();
}

static void drop(const damage *d)
{
    tri_op *ops = d->schedule->ops[d->rank];
    int n = d->schedule->n_ops[d->rank]--;
    tri_op kept = ops[d->at];
    memmove(&ops[d->at], &ops[d->at + 1], (size_t)(n - d->at - 1) * sizeof *ops);
    expect_refused(d->schedule, "dropped", d->rank, d->at);
    memmove(&ops[d->at + 1], &ops[d->at], (size_t)(n - d->at - 1) * sizeof *ops);
    ops[d->at] = kept;
    d->schedule->n_ops[d->rank]++;
}

/* In place of another operation, so that there is room. */
static void duplicate(const damage *d)
{
    tri_op *ops = d->schedule->ops[d->rank];
    int other = (d->at + d->schedule->n_ops[d->rank] / 2) % d->schedule->n_ops[d->rank];
    tri_op kept = ops[other];
    ops[other] = ops[d->at];
    expect_refused(d->schedule, "put in the place of another", d->rank, d->at);
    ops[other] = kept;
}

static void change(const damage *d, int *field, int value, const char *what)
{
    int kept = *field;
    if (value == kept) return;
    *field = value;
    expect_refused(d->schedule, what, d->rank, d->at);
    *field = kept;
}

static void change_fields(const damage *d)
{
    tri_schedule *schedule = d->schedule;
    tri_op *op = &schedule->ops[d->rank][d->at];
    int n_stages = schedule->ranks * schedule->chunks;
    change(d, &op->stage, (op->stage + 1) % n_stages, "of another stage");
    change(d, &op->stage, n_stages, "of a stage too many");
    change(d, &op->chunk, op->chunk + 1, "of another chunk");
    change(d, &op->micro, (op->micro + 1) % schedule->micro_batches, "of another micro-batch");
    change(d, &op->micro, -1, "of no micro-batch");
    change(d, &op->slot, (op->slot + 1) % schedule->slots[op->stage], "of another slot");
    change(d, &op->slot, schedule->slots[op->stage], "of a slot too many");
    change(d, &op->peer, op->peer < 0 ? 0 : -1, "with or without a peer");
    change(d, &op->peer, (op->peer + 1) % schedule->ranks, "with another peer");
    tri_op_kind kind = op->kind;
    op->kind = (tri_op_kind)((kind + 1) % TRI_OP_KINDS);
    expect_refused(schedule, "of another kind", d->rank, d->at);
    op->kind = kind;
    op->last = !op->last;
    expect_refused(schedule, "with the wrong flag", d->rank, d->at);
    op->last = !op->last;
}

/* Exchange with the next operation of the same channel, if there is one. */
static void exchange(const damage *d)
{
    tri_op *ops = d->schedule->ops[d->rank];
    int next = d->at + 1;
    if (ops[d->at].peer < 0) return;
    while (next < d->schedule->n_ops[d->rank] &&
           (ops[next].kind != ops[d->at].kind || ops[next].peer != ops[d->at].peer))
        next++;
    if (next == d->schedule->n_ops[d->rank]) return;
    tri_op kept = ops[d->at];
    ops[d->at] = ops[next];
    ops[next] = kept;
    expect_refused(d->schedule, "exchanged", -1, d->at);
    ops[next] = ops[d->at];
    ops[d->at] = kept;
}

static tri_status damage_all(const char *name, int p, int v, int m)
{
    TRI_AUTO(tri_schedule) *schedule = NULL;
    TRI_TRY(tri_schedule_create(name, p, v, m, &schedule));
    damage d = {.schedule = schedule};
    for (d.rank = 0; d.rank < p; d.rank++)
        for (d.at = 0; d.at < schedule->n_ops[d.rank]; d.at++) {
            drop(&d);
            duplicate(&d);
            change_fields(&d);
            exchange(&d);
        }
    TRI_TRY(tri_schedule_verify(schedule)); /* all is as it was */
    return TRI_OK;
}

TRI_TEST(damage_is_found)
{
    TRI_TRY(damage_all("gpipe", 3, 1, 4));
    TRI_TRY(damage_all("1f1b", 4, 1, 6));
    TRI_TRY(damage_all("1f1b", 2, 1, 1));
    TRI_TRY(damage_all("interleaved", 2, 3, 4));
    TRI_TRY(damage_all("interleaved", 4, 2, 8));
    TRI_TRY(damage_all("zb_h1", 4, 1, 6));
    TRI_TRY(damage_all("zb_v", 3, 2, 7));
    TRI_TRY(damage_all("zb_v", 1, 2, 3));
    return TRI_OK;
}

static tri_status refused_after(tri_schedule *schedule, int rank, int from, int to,
                                const char *part)
{
    tri_op *ops = schedule->ops[rank];
    tri_op kept = ops[from];
    if (from < to)
        memmove(&ops[from], &ops[from + 1], (size_t)(to - from) * sizeof *ops);
    else
        memmove(&ops[to + 1], &ops[to], (size_t)(from - to) * sizeof *ops);
    ops[to] = kept;
    EXPECT_STATUS(tri_schedule_verify(schedule), TRI_EBUG, part);
    return TRI_OK;
}

/* One operation moved to a place where it must not be. */
TRI_TEST(order_is_checked)
{
    static const struct {
        const char *name;
        tri_op_kind kind, before; /* `kind` of micro-batch 0 goes before `before` */
        int chunks, rank;
        const char *part;
    } cases[] = {
        {"1f1b",  TRI_OP_FORWARD,         TRI_OP_RECV_FORWARD,   1, 1,
         "rank 1, operation 0, forward of micro-batch 0, stage 1: its input has not come"   },
        {"1f1b",  TRI_OP_BACKWARD,        TRI_OP_FORWARD,        1, 1, "before its forward" },
        {"1f1b",  TRI_OP_BACKWARD,        TRI_OP_RECV_BACKWARD,  1, 0,
         "the gradient of its output has not come"                                          },
        {"1f1b",  TRI_OP_SEND_FORWARD,    TRI_OP_FORWARD,        1, 0, "before its forward" },
        {"1f1b",  TRI_OP_SEND_BACKWARD,   TRI_OP_BACKWARD,       1, 1, "before its backward"},
        {"1f1b",  TRI_OP_RECV_BACKWARD,   TRI_OP_FORWARD,        1, 0, "before its forward" },
        {"zb_h1", TRI_OP_BACKWARD_WEIGHT, TRI_OP_BACKWARD_INPUT, 1, 1, "before its backward"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TRI_AUTO(tri_schedule) *schedule = NULL;
        TRI_TRY(tri_schedule_create(cases[i].name, 3, cases[i].chunks, 4, &schedule));
        int from = table_find(schedule, cases[i].kind, cases[i].rank, 0);
        int to = table_find(schedule, cases[i].before, cases[i].rank, 0);
        TRI_TRY(refused_after(schedule, cases[i].rank, from, to, cases[i].part));
    }
    /* the turn of the V: stage 3 has its input from stage 2, of the same rank */
    TRI_AUTO(tri_schedule) *schedule = NULL;
    TRI_TRY(tri_schedule_create("zb_v", 3, 2, 4, &schedule));
    int from = table_find(schedule, TRI_OP_FORWARD, 3, 0);
    TRI_TRY(refused_after(schedule, 2, from, 0, "stage 3: its input has not come"));
    return TRI_OK;
}

TRI_TEST(slots_are_checked)
{
    TRI_AUTO(tri_schedule) *schedule = NULL;
    TRI_TRY(tri_schedule_create("1f1b", 3, 1, 4, &schedule));
    /* all in one slot: the second micro-batch finds it taken */
    for (int i = 0; i < schedule->n_ops[1]; i++)
        schedule->ops[1][i].slot = 0;
    EXPECT_STATUS(
        tri_schedule_verify(schedule), TRI_EBUG,
        "receipt of the input of micro-batch 1, stage 1, from pipeline rank 0: its slot is "
        "in use");
    schedule->slots[1] = 0;
    EXPECT_STATUS(tri_schedule_verify(schedule), TRI_EBUG, "rank 1, stage 1 has 0 slots");
    schedule->rank_of[1] = 7;
    EXPECT_STATUS(tri_schedule_verify(schedule), TRI_EBUG, "stage 1 lies on rank 7 of 3");
    schedule->rank_of[1] = 0;
    schedule->slots[1] = 2;
    EXPECT_STATUS(tri_schedule_verify(schedule), TRI_EBUG, "rank 0 has 2 stages, not 1");
    return TRI_OK;
}

/* Rank 0 wants the gradient of 0 before it sends 1; rank 1 wants 1 before it gives the gradient of 0. */
TRI_TEST(deadlock_is_found)
{
    TRI_AUTO(tri_schedule) *good = NULL;
    TRI_AUTO(tri_schedule) *bad = NULL;
    static const char *const fine[] = {"F0 F1 B0 B1", "F0 F1 B0 B1"};
    static const char *const crossed[] = {"F0 B0 F1 B1", "F0 F1 B0 B1"};
    TRI_TRY(table_create(2, 1, 2, false, fine, &good));
    TRI_TRY(tri_schedule_verify(good));
    TRI_TRY(table_create(2, 1, 2, false, crossed, &bad));
    EXPECT_STATUS(tri_schedule_verify(bad), TRI_EBUG,
                  "rank 0, operation 3, backward of micro-batch 0, stage 0: waits for ever");
    return TRI_OK;
}

/* Rank 1 has one slot on stage 1 and takes it again when rank 0 has received the gradient that is sent
 * from there. If rank 0 posts that receive behind a forward that needs rank 1's next one, neither goes
 * on, though with sends that are buffered both would. */
TRI_TEST(deadlock_of_buffers_is_found)
{
    TRI_AUTO(tri_schedule) *schedule = NULL;
    static const char *const words[] = {"F0a F0b F1a B0b F1b B0a B1b B1a",
                                        "F0a F0b B0b B0a F1a F1b B1b B1a"};
    TRI_TRY(table_create(2, 2, 2, false, words, &schedule));
    EXPECT(schedule->slots[1] == 1, "stage 1 has %d slots", schedule->slots[1]);
    TRI_TRY(tri_schedule_verify(schedule));
    int from = table_find(schedule, TRI_OP_RECV_BACKWARD, 0, 0);
    int to = table_find(schedule, TRI_OP_FORWARD, 2, 1);
    EXPECT(from < to, "the receive is not ahead: %d %d", from, to);
    TRI_TRY(
        refused_after(schedule, 0, from, to, "forward of micro-batch 1, stage 2: waits for ever"));
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(damage_is_found), TRI_TEST_ROW(order_is_checked),
              TRI_TEST_ROW(slots_are_checked), TRI_TEST_ROW(deadlock_is_found),
              TRI_TEST_ROW(deadlock_of_buffers_is_found))

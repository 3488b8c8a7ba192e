// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120
/* Saving beside training: what is on the disk is what the rows were at the beginning, whatever is done to
 * them once they are guarded; memory is bounded; a failure is told once, and the next save is whole. Ranks
 * are threads; a gate in the hook makes the disk as slow as a test wants.
 */
#include "checkpoint/folder.h"
#include "checkpoint/save_plan.h"
#include "checkpoint/saver.h"
#include "runtime/base/thread.h"
#include "tests/checkpoint/fixture_io.h"

#include <sys/stat.h>

enum { SAVER_RANKS = 4, SAVER_SCALE = 30 };

/* Holds the writer's thread of one rank at a point until it is opened. */
typedef struct gate {
    tri_mutex mutex;
    tri_cond changed;
    tri_ckpt_point point;
    bool is_open, is_reached;
} gate;

/* What the ranks of a test share. */
typedef struct shared {
    fixture_layout layout;
    char dir[64];
    const char *backend; /* NULL: as they are */
    gate gates[SAVER_RANKS];
    tri_status (*body)(struct shared *shared, const fixture *f, tri_comm *world);
} shared;

static void lose_unfinished(const char *dir)
{
    TRI_AUTO(tri_folder) folder = {0};
    EXPECT(tri_folder_list(dir, &folder) == TRI_OK, "listing %s", dir);
    for (int64_t i = 0; i < folder.n; i++)
        if (folder.entries[i].state == TRI_FOLDER_LEFTOVER)
            EXPECT(tri_folder_remove(dir, folder.entries[i].name, NULL) == TRI_OK, "%s",
                   tri_err_last()->text);
}

static void gate_at(void *arg, tri_ckpt_point point)
{
    gate *g = arg;
    if (point != g->point) return;
    tri_mutex_lock(&g->mutex);
    g->is_reached = true;
    tri_cond_wake_all(&g->changed);
    while (!g->is_open)
        tri_cond_wait(&g->changed, &g->mutex);
    tri_mutex_unlock(&g->mutex);
}

/* Let the writer through from now on, or hold it. */
static void gate_set(gate *g, bool is_open)
{
    tri_mutex_lock(&g->mutex);
    g->is_open = is_open;
    g->is_reached = false;
    tri_cond_wake_all(&g->changed);
    tri_mutex_unlock(&g->mutex);
}

/* A saver of a rank with its buffers. */
typedef struct rig {
    tri_saver *saver;
    tri_arena *arena;
    gate *gate;
    tri_comm *world;
} rig;

static void rig_destroy(rig *r)
{
    tri_saver_destroy(&r->saver);
    tri_arena_destroy(&r->arena);
}

/* Wait until the writer stands at the gate; false: it had nothing to write, and is done. */
static bool rig_wait(rig *r)
{
    for (;; tri_thread_yield()) {
        tri_mutex_lock(&r->gate->mutex);
        bool is_reached = r->gate->is_reached;
        tri_mutex_unlock(&r->gate->mutex);
        if (is_reached || tri_saver_done(r->saver)) return is_reached;
    }
}

static tri_status rig_create(shared *s, const fixture *f, tri_comm *world, tri_saver_args args,
                             rig *out)
{
    out->world = world;
    out->gate = &s->gates[tri_comm_rank(world)];
    args.state = f->state;
    args.world = world;
    args.version = "test 1";
    args.hook = (tri_ckpt_hook){gate_at, out->gate};
    TRI_TRY(tri_saver_create(&args, &out->saver));
    TRI_TRY(tri_arena_create(&out->arena));
    TRI_TRY(tri_saver_declare(out->saver, out->arena));
    return tri_arena_commit(out->arena, tri_comm_device(world), NULL);
}

/* The sum that a training step would do; true on all ranks at once. */
static tri_status all_done(const rig *r, bool *done)
{
    int64_t n = tri_saver_done(r->saver);
    TRI_TRY(tri_allreduce(r->world, tri_span_make(&n, 1, TRI_I64), TRI_SUM, NULL));
    *done = n == tri_comm_size(r->world);
    return TRI_OK;
}

static tri_status save_whole(const rig *r, const fixture *f, const char *dir, int64_t step)
{
    tri_saver_outcome outcome = TRI_SAVER_GOES_ON;
    tri_err failure = {.code = TRI_OK};
    TRI_TRY(fixture_fill(f, step));
    TRI_TRY(tri_saver_begin(r->saver, dir, step, "name: test\n"));
    TRI_TRY(tri_saver_finish(r->saver, &outcome, &failure));
    EXPECT(outcome == TRI_SAVER_COMMITTED, "step %lld: %s", (long long)step, failure.text);
    return TRI_OK;
}

static tri_status expect_newest(const fixture *f, tri_comm *world, const char *dir, int64_t want)
{
    int64_t step = 0;
    TRI_TRY(fixture_restore(f, world, dir, &step));
    EXPECT(step == want, "found step %lld, not %lld", (long long)step, (long long)want);
    return TRI_OK;
}

static tri_status shared_rank(tri_comm *world, void *arg)
{
    shared *s = arg;
    tri_comm *use = world;
    if (s->backend) TRI_TRY(tri_comm_split_as(world, s->backend, &use));
    TRI_AUTO(fixture) f = {0};
    TRI_TRY(fixture_create(use, &s->layout, SAVER_SCALE, &f));
    tri_status rc = s->body(s, &f, use);
    fixture_destroy(&f);
    f = (fixture){0};
    if (use != world) tri_comm_close(&use);
    return rc;
}

static tri_status run(shared s)
{
    int ranks = 1;
    for (int a = 0; a < TRI_AXES; a++)
        ranks *= s.layout.size[a];
    TRI_TRY(fixture_folder(s.dir));
    for (int r = 0; r < SAVER_RANKS; r++) {
        tri_mutex_init(&s.gates[r].mutex);
        tri_cond_init(&s.gates[r].changed);
        s.gates[r].point = TRI_CKPT_AT_HALF;
        s.gates[r].is_open = true;
    }
    tri_device_args device = {.name = "cpu", .n_threads = 1, .yield = true};
    tri_status rc = tri_comm_run_threads(ranks, &device, shared_rank, &s);
    for (int r = 0; r < SAVER_RANKS; r++) {
        tri_cond_fini(&s.gates[r].changed);
        tri_mutex_fini(&s.gates[r].mutex);
    }
    if (rc == TRI_OK) fixture_remove(s.dir, 1);
    return rc;
}

static const fixture_layout layouts[] = {
    {{1, 1, 1, 1}, HOLD_WHOLE },
    {{1, 2, 1, 1}, HOLD_WHOLE },
    {{1, 2, 1, 1}, HOLD_SHARDS},
    {{1, 4, 1, 1}, HOLD_PAIRS },
    {{2, 1, 1, 2}, HOLD_WHOLE },
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

static void change_role(const fixture *f, tri_role role)
{
    for (int i = 0; i < tri_state_rows(f->state); i++) {
        const tri_row *row = tri_state_row(f->state, i);
        if (row->role == role)
            memset(row->data, 0x5a, (size_t)row->count * tri_dtype_bytes(row->dtype));
    }
}

/* Half is written when the rows change; the cursor changes as soon as the save has begun. */
static tri_status change_guarded(shared *s, const fixture *f, tri_comm *world)
{
    TRI_AUTO(rig) r = {0};
    TRI_TRY(rig_create(s, f, world, (tri_saver_args){.is_async = true}, &r));
    for (int64_t step = 1; step <= 3; step++) {
        gate_set(r.gate, false);
        TRI_TRY(fixture_fill(f, step));
        TRI_TRY(tri_saver_begin(r.saver, s->dir, step, "name: test\n"));
        change_role(f, TRI_ROLE_DATA);
        bool is_held = rig_wait(&r);
        EXPECT(tri_saver_is_busy(r.saver) && !tri_saver_done(r.saver) == is_held, "held at half");
        tri_saver_guard(r.saver);
        fixture_spoil(f);
        gate_set(r.gate, true);
        tri_saver_guard(r.saver);
        tri_saver_outcome outcome = TRI_SAVER_GOES_ON;
        tri_err failure = {.code = TRI_OK};
        TRI_TRY(tri_saver_finish(r.saver, &outcome, &failure));
        EXPECT(outcome == TRI_SAVER_COMMITTED, "%s", failure.text);
        TRI_TRY(expect_newest(f, world, s->dir, step));
    }
    return TRI_OK;
}

TRI_TEST(what_was_there_at_the_beginning_is_saved)
{
    for (int i = 0; i < LAYOUTS; i++)
        TRI_TRY(run((shared){.layout = layouts[i], .body = change_guarded}));
    return TRI_OK;
}

/* The test sees what it looks for: without a guard, the second half is what came later. */
static tri_status change_unguarded(shared *s, const fixture *f, tri_comm *world)
{
    TRI_AUTO(rig) r = {0};
    TRI_TRY(rig_create(s, f, world, (tri_saver_args){.is_async = true}, &r));
    gate_set(r.gate, false);
    TRI_TRY(fixture_fill(f, 1));
    TRI_TRY(tri_saver_begin(r.saver, s->dir, 1, "name: test\n"));
    EXPECT(rig_wait(&r), "the writer is held");
    TRI_TRY(fixture_fill(f, 2));
    gate_set(r.gate, true);
    tri_saver_outcome outcome = TRI_SAVER_GOES_ON;
    tri_err failure = {.code = TRI_OK};
    TRI_TRY(tri_saver_finish(r.saver, &outcome, &failure));

    bool found = false;
    tri_ckpt_info info = {0};
    TRI_TRY(tri_ckpt_find_newest(s->dir, world, &found, &info));
    tri_ckpt_load_args args = {.path = info.path, .state = f->state, .world = world};
    tri_status rc = tri_ckpt_load(&args);
    tri_ckpt_info_fini(&info);
    TRI_TRY(rc);
    int64_t wrong = 0;
    for (int i = 0; i < tri_state_rows(f->state); i++)
        TRI_TRY(fixture_visit(f, i, 1, false, &wrong));
    EXPECT(wrong > 0, "rows were changed while they were written, and nobody noticed");
    return TRI_OK;
}

TRI_TEST(a_change_without_guard_is_seen)
{
    return run((shared){.layout = layouts[0], .body = change_unguarded});
}

/* As the training loop does it: no rank waits for a disk. */
static tri_status step_by_step(shared *s, const fixture *f, tri_comm *world)
{
    TRI_AUTO(rig) r = {0};
    TRI_TRY(rig_create(s, f, world, (tri_saver_args){.is_async = true}, &r));
    tri_saver_outcome outcome = TRI_SAVER_FAILED;
    tri_err failure = {.code = TRI_OK};
    bool done = false;
    EXPECT(tri_saver_done(r.saver) && !tri_saver_is_busy(r.saver), "nothing is under way");
    gate_set(r.gate, false);
    TRI_TRY(fixture_fill(f, 7));
    TRI_TRY(tri_saver_begin(r.saver, s->dir, 7, "name: test\n"));
    rig_wait(&r);
    TRI_TRY(all_done(&r, &done));
    EXPECT(!done && tri_saver_step(r.saver) == 7, "the writers are held");
    EXPECT_STATUS(tri_saver_begin(r.saver, s->dir, 8, ""), TRI_EBUG,
                  "step 8 begins while that of step 7 is under way");
    gate_set(r.gate, true);
    while (!done)
        TRI_TRY(all_done(&r, &done));
    TRI_TRY(tri_saver_advance(r.saver, &outcome, &failure));
    EXPECT(outcome == TRI_SAVER_GOES_ON && tri_saver_is_busy(r.saver), "outcome %d", outcome);
    for (done = false; !done;)
        TRI_TRY(all_done(&r, &done));
    TRI_TRY(tri_saver_advance(r.saver, &outcome, &failure));
    EXPECT(outcome == TRI_SAVER_COMMITTED && !tri_saver_is_busy(r.saver), "outcome %d", outcome);
    TRI_TRY(tri_saver_advance(r.saver, &outcome, &failure));
    EXPECT(outcome == TRI_SAVER_GOES_ON, "outcome %d", outcome);
    return expect_newest(f, world, s->dir, 7);
}

TRI_TEST(a_save_goes_on_when_all_ranks_are_done)
{
    for (int i = 0; i < LAYOUTS; i++)
        TRI_TRY(run((shared){.layout = layouts[i], .body = step_by_step}));
    return TRI_OK;
}

/* Without a buffer, the rows may change when they are on their way. */
static tri_status without_buffer(shared *s, const fixture *f, tri_comm *world)
{
    TRI_AUTO(rig) r = {0};
    TRI_TRY(rig_create(s, f, world, (tri_saver_args){.is_async = false}, &r));
    EXPECT(tri_arena_bytes(r.arena, TRI_MEM_CHECKPOINT) == 0, "a buffer that nobody asked for");
    TRI_TRY(fixture_fill(f, 1));
    TRI_TRY(tri_saver_begin(r.saver, s->dir, 1, "name: test\n"));
    tri_saver_guard(r.saver);
    fixture_spoil(f);
    tri_saver_outcome outcome = TRI_SAVER_GOES_ON;
    tri_err failure = {.code = TRI_OK};
    TRI_TRY(tri_saver_finish(r.saver, &outcome, &failure));
    EXPECT(outcome == TRI_SAVER_COMMITTED, "%s", failure.text);
    return expect_newest(f, world, s->dir, 1);
}

TRI_TEST(without_a_buffer_the_owner_waits)
{
    for (int i = 0; i < LAYOUTS; i++)
        TRI_TRY(run((shared){.layout = layouts[i], .body = without_buffer}));
    return TRI_OK;
}

/* A writer that takes units of a memory that its owner changes. */
enum { UNITS = 40, UNIT_BYTES = 1000, CANARY = 64 };
typedef struct taker {
    tri_handover *handover;
    char got[UNITS * UNIT_BYTES];
    int64_t pause_at;
} taker;

static void take_all(void *arg)
{
    taker *t = arg;
    for (int64_t i = 0; i < UNITS; i++) {
        for (int y = 0; i == t->pause_at && y < 200; y++)
            tri_thread_yield();
        memcpy(t->got + i * UNIT_BYTES, tri_handover_take(t->handover, i), UNIT_BYTES);
    }
    tri_handover_end(t->handover);
}

static tri_status hand_over(char *memory, const tri_unit *units, int64_t buffer_bytes,
                            bool is_staged, int64_t pause_at)
{
    static taker t;
    static char buffer[CANARY + UNITS * UNIT_BYTES + CANARY];
    static char staging[UNIT_BYTES];
    t = (taker){.pause_at = pause_at};
    memset(memory, 1, UNITS * UNIT_BYTES);
    memset(buffer, 0x77, sizeof buffer);
    TRI_TRY(tri_handover_create(units, UNITS, 0, &t.handover));
    tri_handover_use(t.handover, buffer_bytes ? buffer + CANARY : NULL, buffer_bytes,
                     is_staged ? staging : NULL);
    tri_handover_begin(t.handover);
    tri_thread *thread = NULL;
    TRI_TRY(tri_thread_start("taker", take_all, &t, &thread));
    tri_handover_guard(t.handover);
    memset(memory, 2, UNITS * UNIT_BYTES);
    tri_thread_wait(&thread);
    tri_handover_destroy(&t.handover);
    int64_t wrong = 0;
    for (int64_t i = 0; i < UNITS * UNIT_BYTES; i++)
        wrong += t.got[i] != 1;
    EXPECT(wrong == 0, "buffer %lld, pause %lld: %lld bytes of after the change",
           (long long)buffer_bytes, (long long)pause_at, (long long)wrong);
    for (int64_t i = 0; i < CANARY; i++)
        EXPECT(buffer[i] == 0x77 && buffer[CANARY + buffer_bytes + i] == 0x77,
               "%lld bytes of buffer were not enough", (long long)buffer_bytes);
    return TRI_OK;
}

TRI_TEST(a_small_buffer_makes_the_owner_wait)
{
    static char memory[UNITS * UNIT_BYTES];
    tri_unit units[UNITS];
    for (int64_t i = 0; i < UNITS; i++)
        units[i] = (tri_unit){.data = memory + i * UNIT_BYTES,
                              .bytes = UNIT_BYTES,
                              .before = i * UNIT_BYTES,
                              .block = i};
    static const int64_t sizes[] = {0, 999, 1000, 7500, UNITS * UNIT_BYTES};
    for (int i = 0; i < 5; i++)
        for (int64_t pause_at = 0; pause_at < UNITS; pause_at += 13)
            for (int staged = 0; staged < 2; staged++)
                TRI_TRY(hand_over(memory, units, sizes[i], staged != 0, pause_at));
    return TRI_OK;
}

/* What is declared is about what is written, and never more than what is held. */
static tri_status compare_plan(shared *s, const fixture *f, tri_comm *world)
{
    TRI_AUTO(tri_save_plan) *plan = NULL;
    int64_t planned = 0;
    TRI_TRY(tri_save_plan_create(f->state, world, false, s->dir, &plan));
    TRI_TRY(tri_save_plan_bytes(f->state, &planned));
    int64_t written = 0;
    for (int64_t i = 0; i < plan->n_units; i++)
        written += plan->units[i].bytes;
    int64_t held = 0;
    for (int i = 0; i < tri_state_rows(f->state); i++) {
        const tri_row *row = tri_state_row(f->state, i);
        held += row->count * (int64_t)tri_dtype_bytes(row->dtype);
    }
    int64_t slack = 2 * TRI_HANDOVER_UNIT_BYTES;
    EXPECT(planned <= held && planned >= written - slack, "%lld planned, %lld written, %lld held",
           (long long)planned, (long long)written, (long long)held);
    return TRI_OK;
}

TRI_TEST(the_buffer_is_planned)
{
    for (int i = 0; i < LAYOUTS; i++)
        TRI_TRY(run((shared){.layout = layouts[i], .body = compare_plan}));
    return TRI_OK;
}

/* The folder of a save vanishes while it is written: once that is told, and the next save is whole. */
static tri_status fail_once(shared *s, const fixture *f, tri_comm *world)
{
    TRI_AUTO(rig) r = {0};
    TRI_TRY(rig_create(s, f, world, (tri_saver_args){.is_async = true, .keep = 2}, &r));
    TRI_TRY(save_whole(&r, f, s->dir, 1));
    bool loses = tri_comm_rank(world) == tri_comm_size(world) - 1;
    gate_set(r.gate, !loses);
    r.gate->point = TRI_CKPT_AT_DATA;
    TRI_TRY(fixture_fill(f, 2));
    TRI_TRY(tri_saver_begin(r.saver, s->dir, 2, "name: test\n"));
    tri_saver_guard(r.saver);
    if (loses) {
        EXPECT(rig_wait(&r), "the writer is held");
        lose_unfinished(s->dir);
        gate_set(r.gate, true);
    }
    tri_saver_outcome outcome = TRI_SAVER_GOES_ON;
    tri_err failure = {.code = TRI_OK};
    TRI_TRY(tri_saver_finish(r.saver, &outcome, &failure));
    EXPECT(outcome == TRI_SAVER_FAILED && failure.code != TRI_OK && strstr(failure.text, s->dir),
           "outcome %d: %s", outcome, failure.text);
    TRI_TRY(tri_saver_finish(r.saver, &outcome, &failure));
    EXPECT(outcome == TRI_SAVER_COMMITTED && !tri_saver_is_busy(r.saver), "told twice");
    TRI_TRY(expect_newest(f, world, s->dir, 1));
    TRI_TRY(save_whole(&r, f, s->dir, 3));
    TRI_TRY(expect_newest(f, world, s->dir, 3));
    TRI_AUTO(tri_folder) folder = {0};
    TRI_TRY(tri_folder_list(s->dir, &folder));
    EXPECT(folder.n == 2, "%lld folders", (long long)folder.n);
    return tri_barrier(world);
}

TRI_TEST(a_failure_is_told_once_and_the_next_save_is_whole)
{
    for (int i = 0; i < LAYOUTS; i++)
        TRI_TRY(run((shared){.layout = layouts[i], .body = fail_once}));
    return TRI_OK;
}

/* A save that cannot begin is told by advance, on all ranks. */
static tri_status refuse(shared *s, const fixture *f, tri_comm *world)
{
    TRI_AUTO(rig) r = {0};
    TRI_TRY(rig_create(s, f, world, (tri_saver_args){.is_async = true}, &r));
    bool done = false;
    tri_saver_outcome outcome = TRI_SAVER_GOES_ON;
    tri_err failure = {.code = TRI_OK};
    TRI_TRY(fixture_fill(f, 1));
    TRI_TRY(tri_saver_begin(r.saver, "/proc/nowhere", 1, "name: test\n"));
    tri_saver_guard(r.saver);
    TRI_TRY(all_done(&r, &done));
    EXPECT(done && tri_saver_is_busy(r.saver), "a refused save is to be told");
    TRI_TRY(tri_saver_advance(r.saver, &outcome, &failure));
    tri_status want = tri_comm_rank(world) == 0 ? TRI_EIO : TRI_EPEER;
    EXPECT(outcome == TRI_SAVER_FAILED && failure.code == want &&
               strstr(failure.text, "/proc/nowhere"),
           "outcome %d: %s", outcome, failure.text);
    TRI_TRY(save_whole(&r, f, s->dir, 2));
    return expect_newest(f, world, s->dir, 2);
}

TRI_TEST(a_save_that_cannot_begin_is_told)
{
    TRI_TRY(run((shared){.layout = layouts[0], .body = refuse}));
    return run((shared){.layout = layouts[3], .body = refuse});
}

static tri_status keep_some(shared *s, const fixture *f, tri_comm *world)
{
    TRI_AUTO(rig) r = {0};
    TRI_TRY(rig_create(s, f, world, (tri_saver_args){.keep = 2, .keep_every = 3}, &r));
    for (int64_t step = 1; step <= 8; step++)
        TRI_TRY(save_whole(&r, f, s->dir, step));
    TRI_AUTO(tri_folder) folder = {0};
    TRI_TRY(tri_folder_list(s->dir, &folder));
    static const int64_t kept[] = {8, 7, 6, 3};
    EXPECT(folder.n == 4, "%lld are kept", (long long)folder.n);
    for (int64_t i = 0; i < folder.n && i < 4; i++)
        EXPECT(folder.entries[i].header.step == kept[i], "step %lld is kept",
               (long long)folder.entries[i].header.step);
    return tri_barrier(world);
}

TRI_TEST(the_newest_and_those_of_some_steps_are_kept)
{
    return run((shared){.layout = layouts[2], .body = keep_some});
}

/* Two hosts of two ranks, pretended: two files, and what comes back is the same. */
static tri_status per_node(shared *s, const fixture *f, tri_comm *world)
{
    TRI_AUTO(rig) r = {0};
    tri_saver_args args = {.is_async = true, .files = TRI_SAVER_FILE_PER_NODE};
    TRI_TRY(rig_create(s, f, world, args, &r));
    for (int64_t step = 1; step <= 2; step++) {
        TRI_TRY(save_whole(&r, f, s->dir, step));
        TRI_TRY(expect_newest(f, world, s->dir, step));
    }
    if (tri_comm_rank(world) != 0) return tri_barrier(world);
    tri_ckpt_info info = {0};
    TRI_TRY(tri_ckpt_read_info(s->dir, &info));
    TRI_TRY(tri_ckpt_verify(info.path));
    for (int rank = 0; rank < 4; rank++) {
        char path[TRI_CKPT_PATH_BYTES + 32];
        struct stat about;
        snprintf(path, sizeof path, "%s/shard-%05d.h5", info.path, rank);
        bool is_there = stat(path, &about) == 0;
        bool may_be_idle = rank == 2 && s->layout.hold == HOLD_WHOLE;
        EXPECT(is_there == (rank % 2 == 0) || (may_be_idle && !is_there), "%s", path);
    }
    tri_ckpt_info_fini(&info);
    return tri_barrier(world);
}

TRI_TEST(ranks_of_a_node_share_a_file)
{
    static const fixture_layout fours[] = {
        {{1, 4, 1, 1}, HOLD_WHOLE },
        {{1, 4, 1, 1}, HOLD_SHARDS},
        {{2, 1, 1, 2}, HOLD_WHOLE },
    };
    for (int i = 0; i < 3; i++)
        TRI_TRY(run((shared){.layout = fours[i], .backend = "hier:2", .body = per_node}));
    return TRI_OK;
}

/* A saver that is destroyed in the middle of a save leaves what does not count. */
static tri_status leave(shared *s, const fixture *f, tri_comm *world)
{
    TRI_AUTO(rig) r = {0};
    TRI_TRY(rig_create(s, f, world, (tri_saver_args){.is_async = true}, &r));
    TRI_TRY(save_whole(&r, f, s->dir, 1));
    gate_set(r.gate, false);
    TRI_TRY(fixture_fill(f, 2));
    TRI_TRY(tri_saver_begin(r.saver, s->dir, 2, "name: test\n"));
    rig_wait(&r);
    gate_set(r.gate, true);
    rig_destroy(&r);
    r = (rig){0};
    TRI_TRY(tri_barrier(world));
    return expect_newest(f, world, s->dir, 1);
}

TRI_TEST(what_is_not_committed_does_not_count)
{
    return run((shared){.layout = layouts[2], .body = leave});
}

/* Given up at once, in the middle, or when all is written: nothing is left of it. */
static tri_status drop(shared *s, const fixture *f, tri_comm *world)
{
    TRI_AUTO(rig) r = {0};
    TRI_TRY(rig_create(s, f, world, (tri_saver_args){.is_async = true}, &r));
    TRI_TRY(save_whole(&r, f, s->dir, 1));
    for (int when = 0; when < 3; when++) {
        gate_set(r.gate, when == 0);
        TRI_TRY(fixture_fill(f, 2));
        TRI_TRY(tri_saver_begin(r.saver, s->dir, 2, "name: test\n"));
        if (when == 1) rig_wait(&r);
        gate_set(r.gate, true);
        while (when == 2 && !tri_saver_done(r.saver))
            tri_thread_yield();
        TRI_TRY(tri_saver_drop(r.saver));
        TRI_TRY(tri_barrier(world));
        TRI_AUTO(tri_folder) folder = {0};
        TRI_TRY(tri_folder_list(s->dir, &folder));
        EXPECT(folder.n == 1, "case %d: %lld folders", when, (long long)folder.n);
        TRI_TRY(expect_newest(f, world, s->dir, 1));
    }
    return save_whole(&r, f, s->dir, 3);
}

TRI_TEST(a_save_that_is_dropped_never_was)
{
    return run((shared){.layout = layouts[2], .body = drop});
}

TRI_TEST_MAIN(TRI_TEST_ROW(what_was_there_at_the_beginning_is_saved),
              TRI_TEST_ROW(a_change_without_guard_is_seen),
              TRI_TEST_ROW(a_save_goes_on_when_all_ranks_are_done),
              TRI_TEST_ROW(without_a_buffer_the_owner_waits),
              TRI_TEST_ROW(a_small_buffer_makes_the_owner_wait),
              TRI_TEST_ROW(the_buffer_is_planned),
              TRI_TEST_ROW(a_failure_is_told_once_and_the_next_save_is_whole),
              TRI_TEST_ROW(a_save_that_cannot_begin_is_told),
              TRI_TEST_ROW(the_newest_and_those_of_some_steps_are_kept),
              TRI_TEST_ROW(ranks_of_a_node_share_a_file),
              TRI_TEST_ROW(what_is_not_committed_does_not_count),
              TRI_TEST_ROW(a_save_that_is_dropped_never_was))

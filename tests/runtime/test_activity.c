// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=30
/* What a rank does, as others read it; the trace of it; and what it waits for in words. */
#include "runtime/base/clock.h"
#include "runtime/base/thread.h"
#include "runtime/coll.h"
#include "runtime/mesh.h"
#include "tests/test.h"

static const tri_device_args one_thread = {.name = "cpu", .n_threads = 1, .yield = true};

TRI_TEST(reading_shows_the_innermost)
{
    TRI_AUTO(tri_activity) *activity = NULL;
    TRI_TRY(tri_activity_create(&activity));
    tri_activity_now now = tri_activity_read(activity);
    EXPECT(now.changes == 0 && now.step == 0 && now.text[0] == '\0', "'%s'", now.text);
    tri_activity_step(activity, 7);
    tri_activity_begin(activity, "step");
    tri_activity_begin(activity, "backward of micro-batch %d", 2);
    uint64_t changes = now.changes;
    now = tri_activity_read(activity);
    EXPECT(now.step == 7 && strcmp(now.text, "backward of micro-batch 2") == 0, "'%s'", now.text);
    EXPECT(now.changes > changes && now.begin_ns <= tri_clock_ns(), "no progress is seen");
    tri_activity_end(activity);
    now = tri_activity_read(activity);
    EXPECT(strcmp(now.text, "step") == 0, "'%s'", now.text);

    /* a record elsewhere goes on where the old one stood */
    tri_activity_cell cell = {0};
    tri_activity_place(activity, &cell);
    now = tri_activity_cell_read(&cell);
    EXPECT(now.step == 7 && strcmp(now.text, "step") == 0, "'%s'", now.text);
    tri_activity_end(activity);
    for (int i = 0; i < 3 * TRI_ACTIVITY_DEPTH; i++)
        tri_activity_begin(activity, "level %d of many, with a text that is longer than fits in %d",
                           i, TRI_ACTIVITY_BYTES);
    now = tri_activity_read(activity);
    EXPECT(strncmp(now.text, "level 7 of", 10) == 0, "'%s'", now.text);
    for (int i = 0; i < 3 * TRI_ACTIVITY_DEPTH; i++)
        tri_activity_end(activity);
    now = tri_activity_read(activity);
    EXPECT(now.text[0] == '\0' && now.step == 7, "'%s'", now.text);
    tri_activity_place(activity, NULL);
    return TRI_OK;
}

/* A reading is never half of one record and half of another. */
static void read_all(void *arg)
{
    tri_activity *activity = arg;
    for (tri_activity_now now = {0}; strcmp(now.text, "end") != 0;) {
        now = tri_activity_read(activity);
        int64_t said = -1;
        if (now.changes % 2 == 0 && sscanf(now.text, "operation %ld", &said) == 1)
            EXPECT(said == now.step, "%ld in step %ld", said, now.step);
    }
}

TRI_TEST(readings_are_whole)
{
    TRI_AUTO(tri_activity) *activity = NULL;
    TRI_TRY(tri_activity_create(&activity));
    tri_thread *reader = NULL;
    TRI_TRY(tri_thread_start("reader", read_all, activity, &reader));
    for (int64_t step = 1; step < 20000; step++) {
        tri_activity_step(activity, step);
        tri_activity_begin(activity, "operation %ld ...................................", step);
        tri_activity_end(activity);
        if (step % 1000 == 0) tri_thread_yield();
    }
    tri_activity_begin(activity, "end");
    tri_thread_wait(&reader);
    return TRI_OK;
}

TRI_TEST(trace_records_what_ends)
{
    TRI_AUTO(tri_activity) *activity = NULL;
    TRI_AUTO(tri_trace) *trace = NULL;
    TRI_TRY(tri_activity_create(&activity));
    TRI_TRY(tri_trace_create(3, &trace));
    tri_activity_set_trace(activity, trace);
    tri_activity_begin(activity, "not recorded");
    tri_activity_end(activity);
    tri_trace_record(trace, true);
    for (int i = 0; i < 5; i++) {
        tri_activity_begin(activity, "operation %d", i);
        tri_activity_end(activity);
    }
    tri_trace_record(trace, false);
    const tri_trace_event *events = NULL;
    int64_t n = tri_trace_events(trace, &events);
    EXPECT(n == 3 && tri_trace_lost(trace) == 2, "%ld events, %ld lost", n, tri_trace_lost(trace));
    EXPECT(tri_trace_tracks(trace) == 1 && strcmp(tri_trace_track(trace, 0), "compute") == 0, "%d",
           tri_trace_tracks(trace));
    for (int i = 0; i < 3; i++) {
        EXPECT(events[i].begin_ns <= events[i].end_ns && events[i].bytes == -1, "event %d", i);
        EXPECT(events[i].name[10] == '0' + i, "'%s'", events[i].name);
    }
    for (int i = 0; i < TRI_TRACE_TRACKS + 2; i++) {
        char name[32];
        snprintf(name, sizeof name, "track %d", i);
        tri_trace_record(trace, true);
        tri_trace_add(trace, name, &(tri_trace_event){0});
    }
    EXPECT(tri_trace_tracks(trace) == TRI_TRACE_TRACKS, "%d tracks", tri_trace_tracks(trace));
    return TRI_OK;
}

/* Names, ranks and events of the calls on a mesh of four. */
static tri_status mesh_body(tri_comm *world, void *arg)
{
    (void)arg;
    int rank = tri_comm_rank(world);
    tri_mesh_args args = {
        .world = world, .size = {2, 1, 1, 2}
    };
    tri_mesh *mesh = NULL;
    TRI_TRY(tri_mesh_create(&args, &mesh));
    unsigned pipeline = TRI_AXIS_BIT(TRI_AXIS_PIPELINE);
    TRI_TRY(tri_mesh_declare(mesh, pipeline));
    TRI_TRY(tri_mesh_declare(mesh, TRI_AXIS_BIT(TRI_AXIS_DATA) | TRI_AXIS_BIT(TRI_AXIS_CONTEXT)));
    tri_comm *comm = tri_mesh_comm(mesh, pipeline);
    EXPECT(strcmp(tri_comm_name(comm), "pipeline") == 0, "%s", tri_comm_name(comm));
    EXPECT(tri_comm_world_rank(comm, 1) == rank % 2 + 2, "%d", tri_comm_world_rank(comm, 1));
    EXPECT(tri_comm_stats(comm).calls[TRI_COLL_ALLGATHER] == 0, "set-up is counted");

    tri_trace *trace = NULL;
    TRI_TRY(tri_trace_create(64, &trace));
    tri_activity *activity = tri_device_activity(tri_comm_device(world));
    tri_activity_set_trace(activity, trace);
    tri_trace_record(trace, true);
    double x[4] = {rank};
    tri_event event = {0};
    TRI_TRY(tri_allreduce(comm, tri_span_make(x, 4, TRI_F64), TRI_SUM, &event));
    TRI_TRY(tri_event_wait(event));
    if (rank < 2)
        TRI_TRY(tri_send(comm, tri_span_make(x, 1, TRI_F64), 1, NULL));
    else
        TRI_TRY(tri_recv(comm, tri_span_make(x, 1, TRI_F64), 0, NULL));
    TRI_TRY(tri_barrier(world));
    tri_trace_record(trace, false);
    const tri_trace_event *events = NULL;
    int64_t n = tri_trace_events(trace, &events);
    EXPECT(n == 3, "%ld events", n);
    static const char *const tracks[] = {"pipeline", NULL, "world"};
    for (int i = 0; i < n; i++) {
        const tri_trace_event *e = &events[i];
        const char *track = i == 1 ? rank < 2 ? "pipeline, send" : "pipeline, receive" : tracks[i];
        EXPECT(strcmp(tri_trace_track(trace, e->track), track) == 0, "'%s'",
               tri_trace_track(trace, e->track));
        EXPECT(e->queued_ns && e->queued_ns <= e->begin_ns && e->begin_ns <= e->end_ns, "times");
    }
    EXPECT(strcmp(events[0].name, "all-reduce") == 0 && events[0].bytes == 32, "%s",
           events[0].name);
    char want[32];
    snprintf(want, sizeof want, rank < 2 ? "send to %d" : "receive from %d", (rank + 2) % 4);
    EXPECT(strcmp(events[1].name, want) == 0 && events[1].bytes == 8, "%s", events[1].name);
    tri_activity_set_trace(activity, NULL);
    tri_trace_destroy(&trace);
    tri_mesh_close(&mesh);
    return TRI_OK;
}

TRI_TEST(calls_are_named_and_traced)
{
    return tri_comm_run_threads(4, &one_thread, mesh_body, NULL);
}

/* What rank 1 waits for is seen by a thread of its own while rank 0 keeps away. */
typedef struct watch {
    tri_device *device;
    tri_wait seen;
    atomic_bool *is_seen;
} watch;

static void watch_main(void *arg)
{
    watch *w = arg;
    while (!w->seen.is_waiting) {
        w->seen = tri_device_wait_now(w->device);
        tri_clock_sleep(1e-3);
    }
    atomic_store(w->is_seen, true);
}

static tri_status wait_body(tri_comm *world, void *arg)
{
    atomic_bool *is_seen = arg;
    int rank = tri_comm_rank(world);
    watch w = {.device = tri_comm_device(world), .is_seen = is_seen};
    tri_thread *thread = NULL;
    EXPECT(!tri_device_wait_now(w.device).is_waiting, "waits before there was a call");
    float x[2] = {1, 2};
    if (rank == 1) {
        TRI_TRY(tri_thread_start("watch", watch_main, &w, &thread));
        TRI_TRY(tri_recv(world, tri_span_make(x, 2, TRI_F32), 0, NULL));
        tri_thread_wait(&thread);
        EXPECT(strcmp(w.seen.text, "receive of 8 bytes from rank 0 (world)") == 0, "'%s'",
               w.seen.text);
        EXPECT(tri_comm_exposed_s(world) > 0, "no time of waiting is counted");
        EXPECT(!tri_device_wait_now(w.device).is_waiting, "still waits");
        return tri_barrier(world);
    }
    while (!atomic_load(is_seen))
        tri_clock_sleep(1e-3);
    TRI_TRY(tri_send(world, tri_span_make(x, 2, TRI_F32), 1, NULL));
    return tri_barrier(world);
}

TRI_TEST(waits_are_described)
{
    atomic_bool is_seen = false;
    return tri_comm_run_threads(2, &one_thread, wait_body, &is_seen);
}

TRI_TEST_MAIN(TRI_TEST_ROW(reading_shows_the_innermost), TRI_TEST_ROW(readings_are_whole),
              TRI_TEST_ROW(trace_records_what_ends), TRI_TEST_ROW(calls_are_named_and_traced),
              TRI_TEST_ROW(waits_are_described))

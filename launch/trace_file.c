// SPDX-License-Identifier: Apache-2.0
/* Each rank records into memory; at the end rank 0 asks one rank after the other for its events, and
 * writes them while it has them: it holds those of two ranks, its own and the guest's.
 */
#include "launch/trace_file.h"

#include "runtime/base/alloc.h"
#include "runtime/base/clock.h"
#include "runtime/base/log.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { TRACE_PINGS = 16, TRACE_LABEL_BYTES = 160 };

/* What a rank sends before its events. */
typedef struct trace_head {
    int64_t n_events, n_lost, n_tracks;
    char tracks[TRI_TRACE_TRACKS][TRI_TRACE_TRACK_BYTES];
} trace_head;

struct tri_trace_file {
    tri_trace_file_args args;
    char path[PATH_MAX];
    tri_comm *world;
    tri_activity *activity;
    tri_trace *trace;
    int64_t steps_done;
    bool is_written;
    uint64_t begin_ns;      /* of the recording */
    int64_t *offset_ns;     /* [ranks] on rank 0: their clock minus this one's */
    trace_head head;        /* of the rank that is being written */
    tri_trace_event *guest; /* [max_events] on rank 0: another rank's */
    FILE *stream;           /* rank 0, while it writes; NULL: it could not be opened */
    bool has_event;
};

size_t tri_trace_file_bytes(int n_ranks, int64_t steps, int64_t max_events)
{
    if (steps == 0) return 0;
    if (max_events == 0) max_events = TRI_TRACE_FILE_EVENTS;
    size_t guest = n_ranks > 1 ? (size_t)max_events * sizeof(tri_trace_event) : 0;
    return tri_trace_bytes(max_events) + guest;
}

/* Rank 0's part with one rank: the other's clock at the middle of the shortest round trip. */
static tri_status ask_clock(tri_comm *world, int rank, int64_t *offset_ns)
{
    int64_t best_ns = INT64_MAX;
    for (int i = 0; i < TRACE_PINGS; i++) {
        int64_t theirs = 0;
        int64_t sent_ns = (int64_t)tri_clock_ns();
        TRI_TRY(tri_send(world, tri_span_make(&sent_ns, 1, TRI_I64), rank, NULL));
        TRI_TRY(tri_recv(world, tri_span_make(&theirs, 1, TRI_I64), rank, NULL));
        int64_t trip_ns = (int64_t)tri_clock_ns() - sent_ns;
        if (trip_ns >= best_ns) continue;
        best_ns = trip_ns;
        *offset_ns = theirs - (sent_ns + trip_ns / 2);
    }
    return TRI_OK;
}

static tri_status answer_clock(tri_comm *world)
{
    for (int i = 0; i < TRACE_PINGS; i++) {
        int64_t word = 0;
        TRI_TRY(tri_recv(world, tri_span_make(&word, 1, TRI_I64), 0, NULL));
        word = (int64_t)tri_clock_ns();
        TRI_TRY(tri_send(world, tri_span_make(&word, 1, TRI_I64), 0, NULL));
    }
    return TRI_OK;
}

static tri_status compare_clocks(tri_trace_file *file)
{
    if (tri_comm_rank(file->world) > 0) {
        TRI_TRY(answer_clock(file->world));
        return TRI_OK;
    }
    for (int r = 1; r < tri_comm_size(file->world); r++)
        TRI_TRY(ask_clock(file->world, r, &file->offset_ns[r]));
    return TRI_OK;
}

void tri_trace_file_destroy(tri_trace_file **out)
{
    tri_trace_file *file = *out;
    if (!file) return;
    if (file->activity) tri_activity_set_trace(file->activity, NULL);
    if (file->trace) {
        tri_trace_record(file->trace, false);
        tri_device_note(tri_comm_device(file->world), TRI_MEM_WORKSPACE,
                        -(int64_t)tri_trace_bytes(file->args.max_events));
    }
    if (file->guest)
        tri_device_note(tri_comm_device(file->world), TRI_MEM_WORKSPACE,
                        -file->args.max_events * (int64_t)sizeof *file->guest);
    tri_trace_destroy(&file->trace);
    TRI_FREE(file->offset_ns);
    TRI_FREE(file->guest);
    TRI_FREE(*out);
}

static tri_status make_room(tri_trace_file *file)
{
    tri_device *device = tri_comm_device(file->world);
    int n_ranks = tri_comm_size(file->world);
    TRI_TRY(tri_trace_create(file->args.max_events, &file->trace));
    tri_device_note(device, TRI_MEM_WORKSPACE, (int64_t)tri_trace_bytes(file->args.max_events));
    TRI_TRY(TRI_NEW_ARRAY(n_ranks, &file->offset_ns));
    if (tri_comm_rank(file->world) > 0 || n_ranks == 1) return TRI_OK;
    TRI_TRY(TRI_NEW_ARRAY(file->args.max_events, &file->guest));
    tri_device_note(device, TRI_MEM_WORKSPACE,
                    file->args.max_events * (int64_t)sizeof *file->guest);
    return TRI_OK;
}

tri_status tri_trace_file_open(const tri_trace_file_args *args, tri_trace_file **out)
{
    *out = NULL;
    if (args->steps == 0) return TRI_OK;
    TRI_AUTO(tri_trace_file) *file = NULL;
    TRI_TRY(TRI_NEW(&file));
    file->args = *args;
    if (args->max_events == 0) file->args.max_events = TRI_TRACE_FILE_EVENTS;
    snprintf(file->path, sizeof file->path, "%s", args->path);
    file->world = tri_mesh_world(args->mesh);
    TRI_TRY(make_room(file));
    TRI_TRY(compare_clocks(file));
    file->activity = tri_device_activity(tri_comm_device(file->world));
    tri_activity_set_trace(file->activity, file->trace);
    *out = TRI_MOVE(file);
    return TRI_OK;
}

static void put_text(const char *text, FILE *stream)
{
    fputc('"', stream);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') fputc('\\', stream);
        fputc((unsigned char)*text < 0x20 ? ' ' : *text, stream);
    }
    fputc('"', stream);
}

/* The comma between two entries of the list. */
static void next_entry(tri_trace_file *file)
{
    fputs(file->has_event ? ",\n" : "\n", file->stream);
    file->has_event = true;
}

static void put_name(tri_trace_file *file, const char *what, int rank, int track, const char *name)
{
    next_entry(file);
    fprintf(file->stream,
            "{\"ph\":\"M\",\"pid\":%d,\"tid\":%d,\"name\":\"%s\",\"args\":{\"name\":", rank, track,
            what);
    put_text(name, file->stream);
    fputs("}}", file->stream);
}

static void put_event(tri_trace_file *file, int rank, const tri_trace_event *event)
{
    FILE *stream = file->stream;
    int64_t zero_ns = (int64_t)file->begin_ns + file->offset_ns[rank];
    double begin_us = (double)((int64_t)event->begin_ns - zero_ns) * 1e-3;
    next_entry(file);
    fprintf(stream, "{\"ph\":\"X\",\"pid\":%d,\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f,\"name\":", rank,
            event->track, begin_us, (double)(event->end_ns - event->begin_ns) * 1e-3);
    put_text(event->name, stream);
    if (event->queued_ns)
        fprintf(stream, ",\"args\":{\"bytes\":%lld,\"queued_us\":%.3f}", (long long)event->bytes,
                (double)(event->begin_ns - event->queued_ns) * 1e-3);
    fputc('}', stream);
}

/* "rank 3: pipeline 1, tensor 1" */
static void label(const tri_mesh *mesh, int rank, char out[TRACE_LABEL_BYTES])
{
    int n = snprintf(out, TRACE_LABEL_BYTES, "rank %d", rank);
    const char *comma = ":";
    for (int a = 0; a < TRI_AXES && n < TRACE_LABEL_BYTES; a++) {
        if (tri_mesh_size(mesh, (tri_axis)a) == 1) continue;
        n += snprintf(out + n, (size_t)(TRACE_LABEL_BYTES - n), "%s %s %d", comma,
                      tri_axis_name((tri_axis)a), tri_mesh_coord_of(mesh, rank, (tri_axis)a));
        comma = ",";
    }
}

static void put_rank(tri_trace_file *file, int rank, const tri_trace_event *events)
{
    if (!file->stream) return;
    char name[TRACE_LABEL_BYTES];
    label(file->args.mesh, rank, name);
    put_name(file, "process_name", rank, 0, name);
    for (int t = 0; t < file->head.n_tracks; t++)
        put_name(file, "thread_name", rank, t, file->head.tracks[t]);
    for (int64_t i = 0; i < file->head.n_events; i++)
        put_event(file, rank, &events[i]);
    if (file->head.n_lost > 0)
        tri_log(TRI_LOG_WARN, "trace: %lld events of rank %d did not fit into room for %lld",
                (long long)file->head.n_lost, rank, (long long)file->args.max_events);
}

/* This rank's own head; *events are its events. */
static void fill_head(tri_trace_file *file, const tri_trace_event **events)
{
    file->head = (trace_head){.n_events = tri_trace_events(file->trace, events),
                              .n_lost = tri_trace_lost(file->trace),
                              .n_tracks = tri_trace_tracks(file->trace)};
    for (int t = 0; t < file->head.n_tracks; t++)
        snprintf(file->head.tracks[t], sizeof file->head.tracks[t], "%s",
                 tri_trace_track(file->trace, t));
}

static tri_span bytes_of(const void *data, size_t bytes)
{
    return tri_span_make(data, (int64_t)bytes, TRI_U8);
}

static tri_status send_mine(tri_trace_file *file)
{
    const tri_trace_event *events = NULL;
    fill_head(file, &events);
    TRI_TRY(tri_send(file->world, bytes_of(&file->head, sizeof file->head), 0, NULL));
    size_t bytes = (size_t)file->head.n_events * sizeof *events;
    TRI_TRY(tri_send(file->world, bytes_of(events, bytes), 0, NULL));
    return TRI_OK;
}

static tri_status write_all(tri_trace_file *file)
{
    const tri_trace_event *events = NULL;
    fill_head(file, &events);
    int64_t n_lost = file->head.n_lost;
    put_rank(file, 0, events);
    for (int r = 1; r < tri_comm_size(file->world); r++) {
        TRI_TRY(tri_recv(file->world, bytes_of(&file->head, sizeof file->head), r, NULL));
        size_t bytes = (size_t)file->head.n_events * sizeof *events;
        TRI_TRY(tri_recv(file->world, bytes_of(file->guest, bytes), r, NULL));
        n_lost += file->head.n_lost;
        put_rank(file, r, file->guest);
    }
    if (file->stream)
        fprintf(file->stream, "\n],\n\"otherData\":{\"lost_events\":%lld}}\n", (long long)n_lost);
    return TRI_OK;
}

static tri_status write_file(tri_trace_file *file)
{
    file->is_written = true;
    tri_trace_record(file->trace, false);
    if (tri_comm_rank(file->world) > 0) {
        TRI_TRY(send_mine(file));
        return TRI_OK;
    }
    file->stream = fopen(file->path, "w");
    int cause = file->stream ? 0 : errno;
    if (file->stream) fputs("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[", file->stream);
    tri_status rc = write_all(file);
    if (file->stream && fclose(file->stream) != 0) cause = errno;
    file->stream = NULL;
    if (cause) tri_log(TRI_LOG_WARN, "writing the trace %s: %s", file->path, strerror(cause));
    if (!cause && rc == TRI_OK) tri_log(TRI_LOG_INFO, "the trace is in %s", file->path);
    TRI_TRY(rc);
    return TRI_OK;
}

tri_status tri_trace_file_step(tri_trace_file *file)
{
    if (!file || file->is_written) return TRI_OK;
    file->steps_done++;
    if (file->steps_done == 1) {
        file->begin_ns = tri_clock_ns();
        tri_trace_record(file->trace, true);
    }
    if (file->steps_done > file->args.steps) TRI_TRY(write_file(file));
    return TRI_OK;
}

tri_status tri_trace_file_finish(tri_trace_file *file)
{
    if (!file || file->is_written || file->steps_done == 0) return TRI_OK;
    TRI_TRY(write_file(file));
    return TRI_OK;
}

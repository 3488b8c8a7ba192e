// SPDX-License-Identifier: Apache-2.0
/* Events under one lock: they are few (some thousands a second), and rare unless somebody asked for a
 * trace. Ranges as log lines of level trace.
 */
#include "runtime/base/trace.h"

#include "runtime/base/alloc.h"
#include "runtime/base/clock.h"
#include "runtime/base/log.h"
#include "runtime/base/thread.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

struct tri_trace {
    atomic_bool on;
    tri_mutex lock;
    int64_t n_events, max_events, n_lost;
    tri_trace_event *events;
    int n_tracks;
    char tracks[TRI_TRACE_TRACKS][TRI_TRACE_TRACK_BYTES];
};

tri_status tri_trace_create(int64_t max_events, tri_trace **out)
{
    TRI_AUTO(tri_trace) *trace = NULL;
    TRI_TRY(TRI_NEW(&trace));
    tri_mutex_init(&trace->lock);
    trace->max_events = max_events;
    TRI_TRY(TRI_NEW_ARRAY(max_events, &trace->events));
    *out = TRI_MOVE(trace);
    return TRI_OK;
}

void tri_trace_destroy(tri_trace **trace)
{
    if (!*trace) return;
    tri_mutex_fini(&(*trace)->lock);
    TRI_FREE((*trace)->events);
    TRI_FREE(*trace);
}

size_t tri_trace_bytes(int64_t max_events)
{
    return sizeof(tri_trace) + (size_t)max_events * sizeof(tri_trace_event);
}

void tri_trace_record(tri_trace *trace, bool on)
{
    atomic_store(&trace->on, on);
    /* who saw it on has left when the lock is free */
    tri_mutex_lock(&trace->lock);
    tri_mutex_unlock(&trace->lock);
}

bool tri_trace_is_on(const tri_trace *trace)
{
    return trace && atomic_load_explicit(&trace->on, memory_order_relaxed);
}

/* The lock is held. -1: the list is full. */
static int find_track(tri_trace *trace, const char *name)
{
    for (int i = 0; i < trace->n_tracks; i++)
        if (strncmp(trace->tracks[i], name, TRI_TRACE_TRACK_BYTES - 1) == 0) return i;
    if (trace->n_tracks == TRI_TRACE_TRACKS) return -1;
    snprintf(trace->tracks[trace->n_tracks], TRI_TRACE_TRACK_BYTES, "%s", name);
    return trace->n_tracks++;
}

void tri_trace_add(tri_trace *trace, const char *track, const tri_trace_event *event)
{
    if (!tri_trace_is_on(trace)) return;
    tri_mutex_lock(&trace->lock);
    int index = atomic_load(&trace->on) ? find_track(trace, track) : -1;
    if (index >= 0 && trace->n_events < trace->max_events) {
        tri_trace_event *kept = &trace->events[trace->n_events++];
        *kept = *event;
        kept->track = index;
    } else if (atomic_load(&trace->on)) {
        trace->n_lost++;
    }
    tri_mutex_unlock(&trace->lock);
}

int64_t tri_trace_events(const tri_trace *trace, const tri_trace_event **out)
{
    *out = trace->events;
    return trace->n_events;
}

int64_t tri_trace_lost(const tri_trace *trace)
{
    return trace->n_lost;
}

int tri_trace_tracks(const tri_trace *trace)
{
    return trace->n_tracks;
}

const char *tri_trace_track(const tri_trace *trace, int index)
{
    return trace->tracks[index];
}

tri_range tri_range_begin(const char *name)
{
    return (tri_range){name, tri_clock_ns()};
}

void tri_range_end(const tri_range *range)
{
    tri_log(TRI_LOG_TRACE, "%s %.1f us", range->name,
            (double)(tri_clock_ns() - range->begin_ns) / 1e3);
}

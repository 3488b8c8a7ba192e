// SPDX-License-Identifier: Apache-2.0
/* What happened when, for pictures: a fixed buffer of events on named tracks, which launch/trace_file.c
 * writes as trace.json; and TRI_RANGE("zero.reduce"), which covers the rest of its scope and compiles
 * to nothing unless TRI_TRACE is defined (then the range ends in a log line of level trace).
 */
#ifndef TRI_RUNTIME_BASE_TRACE_H
#define TRI_RUNTIME_BASE_TRACE_H

#include "runtime/base/status.h"

#include <stdint.h>

enum { TRI_TRACE_NAME_BYTES = 60, TRI_TRACE_TRACK_BYTES = 40, TRI_TRACE_TRACKS = 64 };

/* Something that took its time. */
typedef struct tri_trace_event {
    uint64_t queued_ns; /* 0: it was not queued */
    uint64_t begin_ns, end_ns;
    int64_t bytes; /* -1: moves none */
    int32_t track;
    char name[TRI_TRACE_NAME_BYTES];
} tri_trace_event;

typedef struct tri_trace tri_trace;

/* Make a recorder, which is off, with room for `max_events`. Not collective. Errors: TRI_ENOMEM. */
TRI_MUST_USE tri_status tri_trace_create(int64_t max_events, tri_trace **out);

/* Free; NULL is fine. Not collective: no other thread may use it any more. */
void tri_trace_destroy(tri_trace **trace);

/* Bytes of a recorder. Not collective. */
size_t tri_trace_bytes(int64_t max_events);

/* Record from now on, or no longer. Not collective. */
void tri_trace_record(tri_trace *trace, bool on);

/* Does it record? false for NULL. Not collective; any thread. */
bool tri_trace_is_on(const tri_trace *trace);

/* Add an event to the track called `track` (made where it is new). Allocates nothing; a full buffer
 * or list of tracks counts the event as lost. Not collective; any thread. */
void tri_trace_add(tri_trace *trace, const char *track, const tri_trace_event *event);

/* Events recorded (ordered by their ends on each track), those lost, and tracks. Not collective; not
 * while it records. */
int64_t tri_trace_events(const tri_trace *trace, const tri_trace_event **out);
int64_t tri_trace_lost(const tri_trace *trace);
int tri_trace_tracks(const tri_trace *trace);
const char *tri_trace_track(const tri_trace *trace, int index);

/* A range that has begun. */
typedef struct tri_range {
    const char *name;
    uint64_t begin_ns;
} tri_range;

/* Begin a range. Not collective. Keeps: name, until the end. */
tri_range tri_range_begin(const char *name);

/* End it: log its name and length. Not collective. */
void tri_range_end(const tri_range *range);

#define TRI_RANGE_JOIN_(a, b) a##b
#define TRI_RANGE_JOIN(a, b)  TRI_RANGE_JOIN_(a, b)
#ifdef TRI_TRACE
#define TRI_RANGE(name)                                                             \
    __attribute__((cleanup(tri_range_end), unused)) const tri_range TRI_RANGE_JOIN( \
        range_, __LINE__) = tri_range_begin(name)
#else
#define TRI_RANGE(name) ((void)0)
#endif

#endif

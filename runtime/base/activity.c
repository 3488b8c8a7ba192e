// SPDX-License-Identifier: Apache-2.0
/* One writer, many readers: the count of changes is odd while the record is written, and a reader that
 * saw it move reads again. A rank that was stopped in the middle of a change leaves it odd for good:
 * after some tries what is there is taken, which is words of the old and of the new text.
 */
#include "runtime/base/activity.h"

#include "runtime/base/alloc.h"
#include "runtime/base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { ACTIVITY_TRIES = 100 };

typedef struct activity_level {
    uint64_t begin_ns;
    char text[TRI_ACTIVITY_BYTES];
} activity_level;

struct tri_activity {
    tri_activity_cell own;
    _Atomic(tri_activity_cell *) cell;
    _Atomic(tri_trace *) trace;
    int depth; /* may pass TRI_ACTIVITY_DEPTH; deeper levels are counted alone */
    activity_level levels[TRI_ACTIVITY_DEPTH];
};

tri_status tri_activity_create(tri_activity **out)
{
    tri_activity *activity = NULL;
    TRI_TRY(TRI_NEW(&activity));
    atomic_store(&activity->cell, &activity->own);
    *out = activity;
    return TRI_OK;
}

void tri_activity_destroy(tri_activity **activity)
{
    TRI_FREE(*activity);
}

static void copy_words(tri_activity_cell *cell, const activity_level *level)
{
    uint64_t words[TRI_ACTIVITY_WORDS];
    memcpy(words, level->text, sizeof words);
    for (int i = 0; i < TRI_ACTIVITY_WORDS; i++)
        atomic_store_explicit(&cell->text[i], words[i], memory_order_release);
    atomic_store_explicit(&cell->begin_ns, level->begin_ns, memory_order_release);
}

/* Show the innermost operation; step < 0: as it was. */
static void show(tri_activity *activity, int64_t step)
{
    static const activity_level nothing = {0, ""};
    int depth = activity->depth < TRI_ACTIVITY_DEPTH ? activity->depth : TRI_ACTIVITY_DEPTH;
    tri_activity_cell *cell = atomic_load_explicit(&activity->cell, memory_order_acquire);
    atomic_fetch_add(&cell->changes, 1);
    copy_words(cell, depth > 0 ? &activity->levels[depth - 1] : &nothing);
    if (step >= 0) atomic_store_explicit(&cell->step, step, memory_order_release);
    atomic_fetch_add(&cell->changes, 1);
}

void tri_activity_place(tri_activity *activity, tri_activity_cell *cell)
{
    const tri_activity_cell *old = atomic_load(&activity->cell);
    int64_t step = atomic_load(&old->step);
    atomic_store(&activity->cell, cell ? cell : &activity->own);
    show(activity, step);
}

void tri_activity_set_trace(tri_activity *activity, tri_trace *trace)
{
    atomic_store(&activity->trace, trace);
}

tri_trace *tri_activity_trace(const tri_activity *activity)
{
    return atomic_load_explicit(&activity->trace, memory_order_acquire);
}

void tri_activity_step(tri_activity *activity, int64_t step)
{
    activity->depth = 0;
    show(activity, step);
}

static void begin(tri_activity *activity, const char *format, va_list args)
{
    if (activity->depth++ >= TRI_ACTIVITY_DEPTH) return;
    activity_level *level = &activity->levels[activity->depth - 1];
    level->begin_ns = tri_clock_ns();
    vsnprintf(level->text, sizeof level->text, format, args);
    show(activity, -1);
}

static void end(tri_activity *activity)
{
    if (activity->depth == 0) return; /* a step began within */
    if (activity->depth-- > TRI_ACTIVITY_DEPTH) return;
    const activity_level *level = &activity->levels[activity->depth];
    tri_trace *trace = tri_activity_trace(activity);
    if (tri_trace_is_on(trace)) {
        tri_trace_event event = {
            .begin_ns = level->begin_ns, .end_ns = tri_clock_ns(), .bytes = -1};
        snprintf(event.name, sizeof event.name, "%.*s", TRI_TRACE_NAME_BYTES - 1, level->text);
        tri_trace_add(trace, "compute", &event);
    }
}

void tri_activity_begin(tri_activity *activity, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    begin(activity, format, args);
    va_end(args);
}

void tri_activity_next(tri_activity *activity, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    end(activity);
    begin(activity, format, args);
    va_end(args);
}

void tri_activity_end(tri_activity *activity)
{
    end(activity);
    show(activity, -1);
}

tri_activity_now tri_activity_read(const tri_activity *activity)
{
    return tri_activity_cell_read(atomic_load_explicit(&activity->cell, memory_order_acquire));
}

tri_activity_now tri_activity_cell_read(const tri_activity_cell *cell)
{
    tri_activity_now now = {0};
    uint64_t words[TRI_ACTIVITY_WORDS];
    bool is_whole = false;
    for (int i = 0; i < ACTIVITY_TRIES && !is_whole; i++) {
        now.changes = atomic_load(&cell->changes);
        now.step = atomic_load_explicit(&cell->step, memory_order_acquire);
        now.begin_ns = atomic_load_explicit(&cell->begin_ns, memory_order_acquire);
        for (int w = 0; w < TRI_ACTIVITY_WORDS; w++)
            words[w] = atomic_load_explicit(&cell->text[w], memory_order_acquire);
        is_whole = now.changes % 2 == 0 && atomic_load(&cell->changes) == now.changes;
    }
    if (!is_whole) now.changes |= 1;
    memcpy(now.text, words, sizeof words);
    now.text[sizeof now.text - 1] = '\0';
    return now;
}

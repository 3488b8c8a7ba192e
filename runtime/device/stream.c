// SPDX-License-Identifier: Apache-2.0
/* Streams of polled work and the engine that drives them.
 *
 * A stream is a ring of works: submitters write behind `submitted` under the stream's own lock, the
 * poller takes from `taken` under the engine's poll lock, so that a submit never waits for a poll.
 * Invariant: passed <= taken <= submitted; once `failed`, passed stands still and the rest of the
 * ring is dropped. The engine thread polls only while there is work and nobody waits for any: a
 * waiting thread polls itself. Both back off when polls bring nothing, so that threads that compute
 * (or peers, where ranks are more than cores) get the core.
 */
#include "runtime/base/alloc.h"
#include "runtime/base/clock.h"
#include "runtime/device/device_impl.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

typedef struct stream_slot {
    tri_progress_fn progress;
    _Alignas(16) unsigned char work[TRI_WORK_BYTES];
} stream_slot;

struct tri_stream {
    tri_device *device;
    tri_stream *next;
    const char *name;
    tri_describe_fn describe; /* NULL: nothing to say */
    const char *group;        /* NULL: of no kind */
    stream_slot *slots;
    tri_mutex submit_lock;
    atomic_ullong submitted;
    atomic_ullong taken;
    atomic_ullong passed;
    atomic_bool failed;
    atomic_ullong exposed_ns;
    tri_err err; /* written once, before `failed` */
};

/* Fruitless polls in a row, of one polling thread. */
typedef struct backoff {
    int idle;
    uint64_t began_ns;
} backoff;

enum {
    POLL_WORKS_AT_ONCE = 8,
    /* a round that took longer than this did something, whatever it says */
    POLL_BUSY_NS = 4000,
    WAITER_SPINS = 300,
    WAITER_YIELDS = 3000,
    CROWDED_YIELDS = 60,
    ENGINE_YIELDS = 12
};

static void backoff_begin(backoff *b)
{
    b->began_ns = tri_clock_ns();
}

/* Give the core away for as long as fits the number of fruitless polls so far. */
static void backoff_end(backoff *b, bool moved, bool is_engine, bool crowded)
{
    if (moved || tri_clock_ns() - b->began_ns > POLL_BUSY_NS) {
        b->idle = 0; /* there is work: the system shares the core fairly */
        return;
    }
    int idle = b->idle++;
    int spins = is_engine || crowded ? 0 : WAITER_SPINS;
    int yields = is_engine ? ENGINE_YIELDS : crowded ? CROWDED_YIELDS : WAITER_YIELDS;
    if (idle < spins) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    } else if (idle < spins + yields) {
        tri_thread_yield();
    } else {
        int over = idle - spins - yields;
        /* each time the engine wakes it interrupts a thread that computes */
        double longest_s = is_engine ? 500e-6 : 50e-6;
        double pause_s = 10e-6 * (1 + 0.25 * over);
        tri_clock_sleep(pause_s < longest_s ? pause_s : longest_s);
    }
}

/* Poll the head of one stream, and what follows while it passes. poll_lock is held. */
static bool stream_poll(tri_stream *stream)
{
    tri_engine *engine = &stream->device->engine;
    unsigned long long taken = atomic_load_explicit(&stream->taken, memory_order_relaxed);
    unsigned long long submitted = atomic_load_explicit(&stream->submitted, memory_order_acquire);
    bool moved = false;
    for (int n = 0; taken < submitted && n < POLL_WORKS_AT_ONCE; n++) {
        stream_slot *slot = &stream->slots[taken % TRI_STREAM_SLOTS];
        bool done = false;
        bool failed = atomic_load_explicit(&stream->failed, memory_order_relaxed);
        tri_status rc = failed ? TRI_OK : slot->progress(slot->work, &done);
        if (rc != TRI_OK) {
            tri_err_take(&stream->err);
            atomic_store_explicit(&stream->failed, true, memory_order_release);
        } else if (!done && !failed) {
            break;
        }
        taken++;
        if (done) atomic_store_explicit(&stream->passed, taken, memory_order_release);
        atomic_store_explicit(&stream->taken, taken, memory_order_release);
        atomic_fetch_sub(&engine->pending, 1);
        moved = true;
    }
    return moved;
}

/* The first stream with work at position `from` or later; NULL at the end. poll_lock is held. */
static tri_stream *engine_next(const tri_engine *engine, int *from)
{
    int i = 0;
    for (tri_stream *s = engine->streams; s; s = s->next, i++) {
        if (i < *from || atomic_load_explicit(&s->taken, memory_order_relaxed) ==
                             atomic_load_explicit(&s->submitted, memory_order_relaxed))
            continue;
        *from = i + 1;
        return s;
    }
    return NULL;
}

/* One round over the streams that have work; the lock is dropped after each. */
static bool engine_poll(tri_engine *engine)
{
    /* A failed work must not wipe out an error that this thread is just handling. */
    tri_err mine;
    bool has_error = tri_err_last()->code != TRI_OK;
    if (has_error) tri_err_take(&mine);
    bool moved = false;
    int from = 0;
    for (;;) {
        tri_mutex_lock(&engine->poll_lock);
        tri_stream *stream = engine_next(engine, &from);
        if (stream) moved |= stream_poll(stream);
        tri_mutex_unlock(&engine->poll_lock);
        if (!stream) break;
    }
    if (has_error) (void)tri_err_put(&mine);
    return moved;
}

/* Wake the engine thread if there is work that no waiter drives. */
static void engine_wake(tri_engine *engine)
{
    if (atomic_load(&engine->pending) == 0 || atomic_load(&engine->n_waiters) > 0) return;
    if (!atomic_load(&engine->asleep)) return;
    tri_mutex_lock(&engine->sleep_lock);
    tri_cond_wake(&engine->wake);
    tri_mutex_unlock(&engine->sleep_lock);
}

static void engine_main(void *arg)
{
    tri_device *device = arg;
    tri_engine *engine = &device->engine;
    tri_thread_be_punctual();
    backoff b = {0};
    for (;;) {
        tri_mutex_lock(&engine->sleep_lock);
        atomic_store(&engine->asleep, true);
        while (!atomic_load(&engine->stop) &&
               (atomic_load(&engine->pending) == 0 || atomic_load(&engine->n_waiters) > 0)) {
            b.idle = 0;
            tri_cond_wait(&engine->wake, &engine->sleep_lock);
        }
        atomic_store(&engine->asleep, false);
        tri_mutex_unlock(&engine->sleep_lock);
        if (atomic_load(&engine->stop)) return;
        backoff_begin(&b);
        bool moved = engine_poll(engine);
        backoff_end(&b, moved, true, device->args.yield);
    }
}

void tri_engine_init(tri_engine *engine)
{
    tri_mutex_init(&engine->poll_lock);
    tri_mutex_init(&engine->sleep_lock);
    tri_cond_init(&engine->wake);
}

void tri_engine_fini(tri_engine *engine)
{
    /* Streams may be left where a rank failed: communicators are not closed on an error path. */
    tri_mutex_lock(&engine->sleep_lock);
    atomic_store(&engine->stop, true);
    tri_cond_wake(&engine->wake);
    tri_mutex_unlock(&engine->sleep_lock);
    tri_thread_wait(&engine->thread);
    tri_cond_fini(&engine->wake);
    tri_mutex_fini(&engine->sleep_lock);
    tri_mutex_fini(&engine->poll_lock);
}

tri_status tri_stream_create(tri_device *device, const char *name, tri_stream **out)
{
    tri_engine *engine = &device->engine;
    if (!engine->thread)
        TRI_TRY(tri_thread_start("trireme-engine", engine_main, device, &engine->thread));

    TRI_AUTO(tri_stream) *stream = NULL;
    TRI_TRY(TRI_NEW(&stream));
    stream->device = device;
    stream->name = name;
    tri_mutex_init(&stream->submit_lock);
    TRI_TRY(TRI_NEW_ARRAY(TRI_STREAM_SLOTS, &stream->slots));

    tri_mutex_lock(&engine->poll_lock);
    tri_stream **last = &engine->streams;
    while (*last)
        last = &(*last)->next;
    *last = stream;
    tri_mutex_unlock(&engine->poll_lock);

    *out = TRI_MOVE(stream);
    return TRI_OK;
}

static bool stream_has_passed(const tri_stream *stream, uint64_t ticket)
{
    return atomic_load_explicit(&stream->passed, memory_order_acquire) >= ticket ||
           atomic_load_explicit(&stream->failed, memory_order_acquire);
}

/* Drive the engine until the stream has taken `ticket`; the caller is counted as a waiter. */
static void stream_drive(tri_stream *stream, uint64_t ticket)
{
    tri_engine *engine = &stream->device->engine;
    backoff b = {0};
    while (!stream_has_passed(stream, ticket)) {
        backoff_begin(&b);
        bool moved = engine_poll(engine);
        if (stream_has_passed(stream, ticket)) break;
        backoff_end(&b, moved, false, stream->device->args.yield);
    }
}

static void stream_wait(tri_stream *stream, uint64_t ticket)
{
    if (stream_has_passed(stream, ticket)) return;
    tri_engine *engine = &stream->device->engine;
    uint64_t began_ns = tri_clock_ns();
    tri_stream *mine = stream;
    atomic_store_explicit(&engine->waited_since_ns, began_ns, memory_order_relaxed);
    atomic_store_explicit(&engine->waited, stream, memory_order_release);
    atomic_fetch_add(&engine->n_waiters, 1);
    stream_drive(stream, ticket);
    atomic_fetch_sub(&engine->n_waiters, 1);
    atomic_compare_exchange_strong(&engine->waited, &mine, NULL);
    engine_wake(engine);
    uint64_t waited_ns = tri_clock_ns() - began_ns;
    atomic_fetch_add_explicit(&engine->exposed_ns, waited_ns, memory_order_relaxed);
    atomic_fetch_add_explicit(&stream->exposed_ns, waited_ns, memory_order_relaxed);
}

void tri_stream_set_describe(tri_stream *stream, tri_describe_fn describe)
{
    stream->describe = describe;
}

double tri_stream_exposed_s(const tri_stream *stream)
{
    return (double)atomic_load_explicit(&stream->exposed_ns, memory_order_relaxed) * 1e-9;
}

void tri_stream_set_group(tri_stream *stream, const char *name)
{
    stream->group = name;
}

double tri_device_exposed_of(tri_device *device, const char *kind)
{
    double sum_s = 0;
    size_t n = strlen(kind);
    tri_mutex_lock(&device->engine.poll_lock);
    for (const tri_stream *s = device->engine.streams; s; s = s->next)
        if (s->group && strncmp(s->group, kind, n) == 0 && (!s->group[n] || s->group[n] == ' '))
            sum_s += tri_stream_exposed_s(s);
    tri_mutex_unlock(&device->engine.poll_lock);
    return sum_s;
}

/* Describe the head of the stream, if it still is one. poll_lock is held. */
static void describe_head(const tri_engine *engine, const tri_stream *stream, tri_wait *wait)
{
    const tri_stream *known = engine->streams;
    while (known && known != stream)
        known = known->next;
    if (!known) return;
    unsigned long long taken = atomic_load(&stream->taken);
    bool has_head = taken < atomic_load(&stream->submitted);
    wait->is_waiting = true;
    snprintf(wait->text, sizeof wait->text, "work of %s", stream->name);
    if (has_head && stream->describe)
        stream->describe(stream->slots[taken % TRI_STREAM_SLOTS].work, wait->text,
                         sizeof wait->text);
}

tri_wait tri_device_wait_now(tri_device *device)
{
    enum { TRIES = 1000 };
    tri_engine *engine = &device->engine;
    tri_wait wait = {0};
    tri_stream *stream = atomic_load_explicit(&engine->waited, memory_order_acquire);
    wait.begin_ns = atomic_load_explicit(&engine->waited_since_ns, memory_order_relaxed);
    if (!stream) return wait;
    bool locked = tri_mutex_try(&engine->poll_lock);
    for (int i = 0; i < TRIES && !locked; i++) {
        tri_clock_sleep(1e-3);
        locked = tri_mutex_try(&engine->poll_lock);
    }
    wait.is_waiting = !locked;
    snprintf(wait.text, sizeof wait.text, "communication that does not come back");
    if (!locked) return wait;
    stream = atomic_load_explicit(&engine->waited, memory_order_acquire);
    describe_head(engine, stream, &wait);
    tri_mutex_unlock(&engine->poll_lock);
    return wait;
}

void tri_stream_destroy(tri_stream **stream)
{
    tri_stream *s = *stream;
    if (!s) return;
    stream_wait(s, atomic_load(&s->submitted));
    tri_engine *engine = &s->device->engine;
    tri_mutex_lock(&engine->poll_lock);
    atomic_fetch_sub(&engine->pending,
                     (long long)(atomic_load(&s->submitted) - atomic_load(&s->taken)));
    tri_stream **at = &engine->streams;
    while (*at && *at != s)
        at = &(*at)->next;
    if (*at) *at = s->next;
    tri_mutex_unlock(&engine->poll_lock);
    tri_mutex_fini(&s->submit_lock);
    TRI_FREE(s->slots);
    TRI_FREE(*stream);
}

static tri_status stream_result(const tri_stream *stream, uint64_t ticket)
{
    if (atomic_load_explicit(&stream->passed, memory_order_acquire) >= ticket) return TRI_OK;
    assert(atomic_load(&stream->failed));
    TRI_TRY(tri_err_put(&stream->err));
    return TRI_OK;
}

tri_status tri_stream_submit(tri_stream *stream, tri_progress_fn progress, const void *work,
                             size_t work_bytes, tri_event *event)
{
    TRI_CHECK(work_bytes <= TRI_WORK_BYTES, TRI_EBUG,
              "stream '%s': work of %zu bytes, at most %d can be queued", stream->name, work_bytes,
              TRI_WORK_BYTES);
    tri_mutex_lock(&stream->submit_lock);
    uint64_t ticket = atomic_load_explicit(&stream->submitted, memory_order_relaxed) + 1;
    if (ticket > TRI_STREAM_SLOTS) stream_wait(stream, ticket - TRI_STREAM_SLOTS);
    bool failed = atomic_load_explicit(&stream->failed, memory_order_acquire);
    if (!failed) {
        stream_slot *slot = &stream->slots[(ticket - 1) % TRI_STREAM_SLOTS];
        slot->progress = progress;
        memcpy(slot->work, work, work_bytes);
        atomic_fetch_add(&stream->device->engine.pending, 1);
        atomic_store_explicit(&stream->submitted, ticket, memory_order_release);
    }
    tri_mutex_unlock(&stream->submit_lock);
    if (failed) TRI_TRY(tri_err_put(&stream->err));
    *event = (tri_event){stream, ticket};
    engine_wake(&stream->device->engine);
    return TRI_OK;
}

tri_status tri_stream_run(tri_stream *stream, tri_progress_fn progress, const void *work,
                          size_t work_bytes)
{
    tri_engine *engine = &stream->device->engine;
    tri_event event = {0};
    /* Counted as a waiter before the work is there: the engine thread stays asleep. */
    atomic_fetch_add(&engine->n_waiters, 1);
    tri_status rc = tri_stream_submit(stream, progress, work, work_bytes, &event);
    if (rc == TRI_OK) stream_wait(stream, event.ticket);
    atomic_fetch_sub(&engine->n_waiters, 1);
    engine_wake(engine);
    TRI_TRY(rc);
    TRI_TRY(stream_result(stream, event.ticket));
    return TRI_OK;
}

tri_status tri_event_wait(tri_event event)
{
    if (!event.stream) return TRI_OK;
    stream_wait(event.stream, event.ticket);
    TRI_TRY(stream_result(event.stream, event.ticket));
    return TRI_OK;
}

bool tri_event_is_done(tri_event event)
{
    return !event.stream || stream_has_passed(event.stream, event.ticket);
}

// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* Counted memory, and streams of polled work: order, overlap of queues, failures, full queues, many
 * submitting threads. Uses tri_stream_create, so it also runs under ThreadSanitizer. */
#include "runtime/base/clock.h"
#include "runtime/base/thread.h"
#include "runtime/device.h"
#include "tests/test.h"

#include <stdatomic.h>

static const tri_device_args cpu = {.name = "cpu", .n_threads = 1};

TRI_TEST(memory_is_counted_by_kind)
{
    TRI_AUTO(tri_device) *device = NULL;
    TRI_TRY(tri_device_create(&cpu, &device));
    const size_t sizes[] = {0, 1, 100, 4095, 1 << 20, (4 << 20) - 1, 4 << 20, (9 << 20) + 13};
    enum { N = sizeof sizes / sizeof sizes[0] };
    void *memory[N];
    size_t sum = 0;
    for (int i = 0; i < N; i++) {
        TRI_TRY(tri_device_alloc(device, TRI_MEM_WEIGHTS, sizes[i], &memory[i]));
        sum += sizes[i];
        EXPECT((uintptr_t)memory[i] % 64 == 0, "%zu bytes at %p", sizes[i], memory[i]);
        EXPECT(sizes[i] < 4 << 20 || (uintptr_t)memory[i] % (2 << 20) == 0, "%zu bytes at %p",
               sizes[i], memory[i]);
        const unsigned char *bytes = memory[i];
        for (size_t b = 0; b < sizes[i]; b += 97)
            EXPECT(bytes[b] == 0, "byte %zu of %zu is %d", b, sizes[i], bytes[b]);
        memset(memory[i], 0xff, sizes[i]);
    }
    tri_device_note(device, TRI_MEM_COMM, 1000);
    tri_memory now = tri_device_memory(device);
    EXPECT(now.bytes[TRI_MEM_WEIGHTS] == sum, "%zu, not %zu", now.bytes[TRI_MEM_WEIGHTS], sum);
    EXPECT(now.bytes[TRI_MEM_COMM] == 1000, "%zu", now.bytes[TRI_MEM_COMM]);
    for (int i = 0; i < N; i++)
        tri_device_free(device, memory[i]);
    tri_device_free(device, NULL);
    tri_device_note(device, TRI_MEM_COMM, -1000);
    now = tri_device_memory(device);
    EXPECT(now.bytes[TRI_MEM_WEIGHTS] == 0 && now.kind_peak_bytes[TRI_MEM_WEIGHTS] == sum,
           "%zu now, %zu at most", now.bytes[TRI_MEM_WEIGHTS],
           now.kind_peak_bytes[TRI_MEM_WEIGHTS]);
    EXPECT(now.peak_bytes == sum + 1000, "%zu, not %zu", now.peak_bytes, sum + 1000);
    return TRI_OK;
}

TRI_TEST(wrong_arguments_are_answered)
{
    tri_device *device = NULL;
    EXPECT_STATUS(tri_device_create(&(tri_device_args){.name = "abacus", .n_threads = 1}, &device),
                  TRI_EINVAL, "'abacus' in this build; it has: cpu");
    EXPECT_STATUS(tri_device_create(&(tri_device_args){.name = "cpu"}, &device), TRI_EINVAL,
                  "0 threads");
    TRI_TRY(tri_device_create(&cpu, &device));
    void *memory = NULL;
    EXPECT_STATUS(tri_device_alloc(device, TRI_MEM_DATA, SIZE_MAX / 2 - 4096, &memory), TRI_ENOMEM,
                  "bytes of data memory");
    EXPECT(!memory && tri_device_memory(device).peak_bytes == 0, "%p", memory);
    tri_device_destroy(&device);
    return TRI_OK;
}

/* Work that needs `polls` polls, then notes its number. */
typedef struct step {
    int polls, number, fail_at;
    atomic_int *at, *disorder;
} step;

static tri_status step_progress(void *work, bool *done)
{
    step *s = work;
    TRI_CHECK(!s->fail_at || s->polls != s->fail_at, TRI_EIO, "step %d broke", s->number);
    if (s->polls-- > 0) return TRI_OK;
    if (atomic_fetch_add(s->at, 1) != s->number) atomic_fetch_add(s->disorder, 1);
    *done = true;
    return TRI_OK;
}

TRI_TEST(a_stream_keeps_order)
{
    TRI_AUTO(tri_device) *device = NULL;
    TRI_TRY(tri_device_create(&cpu, &device));
    TRI_AUTO(tri_stream) *stream = NULL;
    TRI_TRY(tri_stream_create(device, "test", &stream));
    EXPECT(tri_event_is_done((tri_event){0}), "an empty event is done");
    TRI_TRY(tri_event_wait((tri_event){0}));
    atomic_int at = 0, disorder = 0;
    tri_event events[1000];
    for (int i = 0; i < 1000; i++) {
        step s = {.polls = i % 3, .number = i, .at = &at, .disorder = &disorder};
        TRI_TRY(tri_stream_submit(stream, step_progress, &s, sizeof s, &events[i]));
    }
    TRI_TRY(tri_event_wait(events[500]));
    EXPECT(atomic_load(&at) > 500, "%d passed", atomic_load(&at));
    TRI_TRY(tri_event_wait(events[999]));
    EXPECT(tri_event_is_done(events[999]) && tri_event_is_done(events[0]), "all are done");
    EXPECT(atomic_load(&at) == 1000 && atomic_load(&disorder) == 0, "%d, %d out of order",
           atomic_load(&at), atomic_load(&disorder));
    step last = {.polls = 5, .number = 1000, .at = &at, .disorder = &disorder};
    TRI_TRY(tri_stream_run(stream, step_progress, &last, sizeof last));
    EXPECT(atomic_load(&at) == 1001, "%d", atomic_load(&at));
    return TRI_OK;
}

static tri_status flag_progress(void *work, bool *done)
{
    atomic_int *flag;
    memcpy(&flag, work, sizeof flag);
    *done = atomic_load(flag) != 0;
    return TRI_OK;
}

static tri_status raise_progress(void *work, bool *done)
{
    atomic_int *flag;
    memcpy(&flag, work, sizeof flag);
    atomic_store(flag, 1);
    *done = true;
    return TRI_OK;
}

/* Work that waits for work of another stream must not block that one, in either order. */
TRI_TEST(a_waiting_queue_blocks_no_other)
{
    TRI_AUTO(tri_device) *device = NULL;
    TRI_TRY(tri_device_create(&(tri_device_args){.name = "cpu", .n_threads = 1, .yield = true},
                              &device));
    tri_stream *a = NULL, *b = NULL;
    TRI_TRY(tri_stream_create(device, "a", &a));
    TRI_TRY(tri_stream_create(device, "b", &b));
    for (int round = 0; round < 20; round++) {
        atomic_int flag = 0, *p = &flag;
        tri_event waits, raises;
        TRI_TRY(tri_stream_submit(a, flag_progress, &p, sizeof p, &waits));
        if (round % 2) tri_clock_sleep(300e-6);
        EXPECT(!tri_event_is_done(waits), "nobody raised the flag yet");
        TRI_TRY(tri_stream_submit(b, raise_progress, &p, sizeof p, &raises));
        /* with no waiter, the engine thread must get there by itself */
        while (round % 4 == 3 && !tri_event_is_done(waits))
            tri_clock_sleep(100e-6);
        TRI_TRY(tri_event_wait(waits));
        TRI_TRY(tri_event_wait(raises));
    }
    EXPECT(tri_device_exposed_s(device) >= 0, "%g", tri_device_exposed_s(device));
    tri_stream_destroy(&a);
    tri_stream_destroy(&b);
    return TRI_OK;
}

TRI_TEST(a_failure_stays_and_comes_out_at_the_waiter)
{
    TRI_AUTO(tri_device) *device = NULL;
    TRI_TRY(tri_device_create(&cpu, &device));
    TRI_AUTO(tri_stream) *stream = NULL;
    TRI_TRY(tri_stream_create(device, "test", &stream));
    atomic_int at = 0, disorder = 0;
    tri_event good, bad, behind;
    step s = {.polls = 3, .number = 0, .at = &at, .disorder = &disorder};
    TRI_TRY(tri_stream_submit(stream, step_progress, &s, sizeof s, &good));
    s.number = 1, s.fail_at = 2;
    TRI_TRY(tri_stream_submit(stream, step_progress, &s, sizeof s, &bad));
    s.number = 2, s.fail_at = 0;
    tri_status rc = tri_stream_submit(stream, step_progress, &s, sizeof s, &behind);
    if (rc == TRI_OK) {
        EXPECT_STATUS(tri_event_wait(behind), TRI_EIO, "step 1 broke");
    } else {
        tri_err_clear();
    }
    TRI_TRY(tri_event_wait(good));
    EXPECT_STATUS(tri_event_wait(bad), TRI_EIO, "step 1 broke");
    EXPECT_STATUS(tri_stream_submit(stream, step_progress, &s, sizeof s, &behind), TRI_EIO,
                  "step 1 broke");
    EXPECT_STATUS(tri_stream_run(stream, step_progress, &s, sizeof s), TRI_EIO, "step 1 broke");
    EXPECT(atomic_load(&at) == 1, "%d works were carried out", atomic_load(&at));
    char big[TRI_WORK_BYTES + 1] = {0};
    EXPECT_STATUS(tri_stream_submit(stream, step_progress, big, sizeof big, &behind), TRI_EBUG,
                  "257 bytes");
    return TRI_OK;
}

/* A failure of another queue must not wipe out the error a thread is handling while it waits. */
TRI_TEST(driving_keeps_the_drivers_error)
{
    TRI_AUTO(tri_device) *device = NULL;
    TRI_TRY(tri_device_create(&cpu, &device));
    tri_stream *a = NULL, *b = NULL;
    TRI_TRY(tri_stream_create(device, "a", &a));
    TRI_TRY(tri_stream_create(device, "b", &b));
    atomic_int at = 0, disorder = 0;
    step bad = {.polls = 2, .fail_at = 1, .at = &at, .disorder = &disorder};
    step good = {.polls = 2000, .at = &at, .disorder = &disorder};
    tri_event failed;
    EXPECT_STATUS(tri_device_create(&(tri_device_args){.name = "x", .n_threads = 1}, &device),
                  TRI_EINVAL, "'x'");
    (void)tri_err_raise(TRI_EFORMAT, __FILE__, __LINE__, __func__, "mine");
    TRI_TRY(tri_stream_submit(a, step_progress, &bad, sizeof bad, &failed));
    TRI_TRY(tri_stream_run(b, step_progress, &good, sizeof good));
    EXPECT(strcmp(tri_err_last()->text, "mine") == 0, "'%s'", tri_err_last()->text);
    tri_err_clear();
    EXPECT_STATUS(tri_event_wait(failed), TRI_EIO, "broke");
    tri_stream_destroy(&a);
    tri_stream_destroy(&b);
    return TRI_OK;
}

/* Four threads submit to one stream and wait for their own works. */
typedef struct crowd {
    tri_stream *stream;
    atomic_int *sum;
    tri_status rc;
} crowd;

static tri_status sum_progress(void *work, bool *done)
{
    atomic_int *sum;
    memcpy(&sum, work, sizeof sum);
    atomic_fetch_add(sum, 1);
    *done = true;
    return TRI_OK;
}

static tri_status crowd_run(crowd *c)
{
    for (int i = 0; i < 600; i++) {
        tri_event event = {0};
        if (i % 7 == 0)
            TRI_TRY(tri_stream_run(c->stream, sum_progress, &c->sum, sizeof c->sum));
        else
            TRI_TRY(tri_stream_submit(c->stream, sum_progress, &c->sum, sizeof c->sum, &event));
        if (i % 100 == 5) TRI_TRY(tri_event_wait(event));
    }
    return TRI_OK;
}

static void crowd_body(void *arg)
{
    crowd *c = arg;
    c->rc = crowd_run(c);
}

TRI_TEST(many_threads_share_a_stream)
{
    TRI_AUTO(tri_device) *device = NULL;
    TRI_TRY(tri_device_create(&cpu, &device));
    tri_stream *stream = NULL;
    TRI_TRY(tri_stream_create(device, "crowd", &stream));
    atomic_int sum = 0;
    crowd crowds[4];
    tri_thread *threads[4];
    for (int i = 0; i < 4; i++) {
        crowds[i] = (crowd){.stream = stream, .sum = &sum};
        TRI_TRY(tri_thread_start("crowd", crowd_body, &crowds[i], &threads[i]));
    }
    for (int i = 0; i < 4; i++) {
        tri_thread_wait(&threads[i]);
        EXPECT(crowds[i].rc == TRI_OK, "thread %d: %s", i, tri_status_name(crowds[i].rc));
    }
    tri_stream_destroy(&stream);
    EXPECT(atomic_load(&sum) == 2400, "%d of 2400 works", atomic_load(&sum));
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(memory_is_counted_by_kind), TRI_TEST_ROW(wrong_arguments_are_answered),
              TRI_TEST_ROW(a_stream_keeps_order), TRI_TEST_ROW(a_waiting_queue_blocks_no_other),
              TRI_TEST_ROW(a_failure_stays_and_comes_out_at_the_waiter),
              TRI_TEST_ROW(driving_keeps_the_drivers_error),
              TRI_TEST_ROW(many_threads_share_a_stream))

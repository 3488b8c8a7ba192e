// SPDX-License-Identifier: Apache-2.0
/* What device.c (memory) and device/stream.c (queues and their engine) share; private to both. */
#ifndef TRI_RUNTIME_DEVICE_DEVICE_IMPL_H
#define TRI_RUNTIME_DEVICE_DEVICE_IMPL_H

#include "runtime/base/thread.h"
#include "runtime/device.h"

#include <stdatomic.h>

/* One block of counted memory. */
typedef struct tri_block {
    void *start;
    size_t bytes;
    size_t mapped_bytes; /* 0: from the heap */
    tri_mem_kind kind;
} tri_block;

/* The queues of a device and the thread that drives them when nobody waits. */
typedef struct tri_engine {
    tri_mutex poll_lock; /* held while one queue is polled, and by changes of the list of queues */
    tri_stream *streams; /* list */
    tri_thread *thread;
    tri_mutex sleep_lock;
    tri_cond wake;
    atomic_llong pending; /* works queued and not passed, all streams */
    atomic_int n_waiters; /* threads that drive the queues themselves */
    atomic_bool asleep;
    atomic_bool stop;
    atomic_ullong exposed_ns;
    _Atomic(tri_stream *) waited; /* of the wait that began last */
    atomic_ullong waited_since_ns;
} tri_engine;

struct tri_device {
    tri_device_args args;
    tri_mutex memory_lock;
    tri_block *blocks;
    int64_t n_blocks, max_blocks;
    tri_memory memory;
    tri_engine engine;
    tri_activity *activity;
};

/* Make an engine without streams / stop and free it. Not collective. */
void tri_engine_init(tri_engine *engine);
void tri_engine_fini(tri_engine *engine);

#endif

// SPDX-License-Identifier: Apache-2.0
/* A device as one rank sees it: counted memory, streams, events.
 *
 * The compute stream of a CPU is the rank's own thread (with its OpenMP team): compute calls are
 * done when they return. Every other stream is a queue of polled work. All queues of a rank are
 * driven by one engine thread, which holds a lock only while it polls, takes the queues in turn (so
 * that one that waits cannot block another), and sleeps when there is nothing to do. A thread that
 * waits for an event drives the engine itself: work that is waited for at once costs no switch.
 * A device belongs to one rank; several ranks of a process have one each.
 */
#ifndef TRI_RUNTIME_DEVICE_H
#define TRI_RUNTIME_DEVICE_H

#include "runtime/base/activity.h"
#include "runtime/dtype.h"

/* What memory is for: the columns of `trireme check` and of the memory metrics. */
#define TRI_MEM_MAP(X)                                                                    \
    X(WEIGHTS, "weights")         /* master weights and compute copies */                 \
    X(GRADIENTS, "gradients")     /* accumulated gradients */                             \
    X(OPTIMIZER, "optimizer")     /* moments */                                           \
    X(ACTIVATIONS, "activations") /* what backward needs, and gradients of activations */ \
    X(WORKSPACE, "workspace")     /* scratch of kernels, units gathered or reduced */     \
    X(COMM, "communication")      /* staging of collectives */                            \
    X(DATA, "data")               /* batches */                                           \
    X(CHECKPOINT, "checkpoint")   /* buffers of save and load */

typedef enum tri_mem_kind {
#define X(id, name) TRI_MEM_##id,
    TRI_MEM_MAP(X)
#undef X
        TRI_MEM_KINDS
} tri_mem_kind;

/* Bytes by kind; peak is of each kind on its own, peak_bytes of the sum. */
typedef struct tri_memory {
    size_t bytes[TRI_MEM_KINDS];
    size_t kind_peak_bytes[TRI_MEM_KINDS];
    size_t peak_bytes;
    size_t noted_bytes; /* of bytes[], obtained elsewhere: not this process's anonymous memory */
} tri_memory;

typedef struct tri_device tri_device;
typedef struct tri_stream tri_stream;

/* A point in a stream; zeroed = already passed. A value: copy it freely. */
typedef struct tri_event {
    tri_stream *stream;
    uint64_t ticket;
} tri_event;

/* Polled work: called again and again, one thread at a time, until *done or a failure; never
 * blocks. `work` is the stream's own copy of what was submitted. */
typedef tri_status (*tri_progress_fn)(void *work, bool *done);

enum { TRI_WORK_BYTES = 256, TRI_STREAM_SLOTS = 256, TRI_WAIT_TEXT_BYTES = 256 };

typedef struct tri_device_args {
    const char *name; /* "cpu" */
    int n_threads;    /* of the rank's OpenMP team, >= 1 */
    bool yield;       /* more ranks than cores: give the core away while waiting */
} tri_device_args;

/* Name of a kind of memory: "weights", ... Not collective. */
const char *tri_mem_name(tri_mem_kind kind);

/* Open a device for one rank. Not collective.
 *
 * The engine thread starts with the first stream. Errors: TRI_EINVAL unknown name (lists those
 * built in), TRI_ENOMEM.
 */
TRI_MUST_USE tri_status tri_device_create(const tri_device_args *args, tri_device **out);

/* Stop the engine and free. Not collective; NULL is fine; warns if memory is left. */
void tri_device_destroy(tri_device **device);

/* As in tri_device_args. Not collective. */
int tri_device_threads(const tri_device *device);

/* What this rank is doing: the record that reports of failures and hangs read, and the way to its
 * trace. Not collective. */
tri_activity *tri_device_activity(const tri_device *device);

/* Change the size of the team, before kernels are opened on the device. Not collective. */
void tri_device_set_threads(tri_device *device, int n_threads);
bool tri_device_yields(const tri_device *device);

/* Allocate zeroed memory, aligned to 64 bytes (2 MiB and huge pages from 4 MiB on). Not collective.
 *
 * Writes: *out on success. Errors: TRI_ENOMEM, with kind and size.
 */
TRI_MUST_USE tri_status tri_device_alloc(tri_device *device, tri_mem_kind kind, size_t bytes,
                                         void **out);

/* Free memory of tri_device_alloc; NULL is fine. Not collective. */
void tri_device_free(tri_device *device, void *memory);

/* Count memory that was obtained elsewhere (node-shared segments). Not collective. */
void tri_device_note(tri_device *device, tri_mem_kind kind, int64_t delta_bytes);

/* What is allocated now and was at most. Not collective. */
tri_memory tri_device_memory(const tri_device *device);

/* Open a queue of polled work. Not collective. Keeps: device. Errors: TRI_ENOMEM. */
TRI_MUST_USE tri_status tri_stream_create(tri_device *device, const char *name, tri_stream **out);

/* Drain and free; NULL is fine. Not collective. */
void tri_stream_destroy(tri_stream **stream);

/* Says in words what a queued work is, and with whom: "all-reduce of 4096 bytes over data". */
typedef void (*tri_describe_fn)(const void *work, char *out, size_t out_bytes);

/* Let the works of a stream be described while somebody waits for them. Not collective. */
void tri_stream_set_describe(tri_stream *stream, tri_describe_fn describe);

/* Queue work behind what the stream holds. Not collective.
 *
 * Copies `work_bytes` (<= TRI_WORK_BYTES) of *work. Blocks (driving the engine) only if all slots
 * are full. Writes: *event, the point behind this work. Errors: that of an earlier work of the
 * stream, which stays failed.
 */
TRI_MUST_USE tri_status tri_stream_submit(tri_stream *stream, tri_progress_fn progress,
                                          const void *work, size_t work_bytes, tri_event *event);

/* Queue work and wait for it, without waking the engine thread. Not collective.
 *
 * Errors: the failure of this or of earlier work of the stream.
 */
TRI_MUST_USE tri_status tri_stream_run(tri_stream *stream, tri_progress_fn progress,
                                       const void *work, size_t work_bytes);

/* Wait on the host until the stream passed the event, driving the engine meanwhile. Not collective
 * by itself. Errors: the failure of the stream's work, with its message and frames.
 */
TRI_MUST_USE tri_status tri_event_wait(tri_event event);

/* Has the stream passed the event (or failed)? Not collective. */
bool tri_event_is_done(tri_event event);

/* Seconds that callers of tri_event_wait and tri_stream_run were blocked by this stream. Not
 * collective. */
double tri_stream_exposed_s(const tri_stream *stream);

/* Let the time that is spent waiting for a stream be asked for by a group's name. Not collective. Keeps:
 * name, which may change. */
void tri_stream_set_group(tri_stream *stream, const char *name);

/* Seconds that callers were blocked by open streams whose group's name begins with the word `kind`. Not
 * collective. */
double tri_device_exposed_of(tri_device *device, const char *kind);

/* What the rank's threads wait for, and since when. */
typedef struct tri_wait {
    bool is_waiting;
    uint64_t begin_ns;
    char text[TRI_WAIT_TEXT_BYTES]; /* of the work at the head of that stream */
} tri_wait;

/* The wait that began last and has not ended. Not collective; any thread, also while the others are
 * stuck: gives up on the text where the engine's lock is not free within a second. */
tri_wait tri_device_wait_now(tri_device *device);

/* Seconds that callers of tri_event_wait were blocked since the device was opened: communication
 * that was not hidden. Not collective. */
double tri_device_exposed_s(const tri_device *device);

#endif

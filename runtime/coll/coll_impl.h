// SPDX-License-Identifier: Apache-2.0
/* What a collective backend implements, and what it may use; private to runtime/coll*.
 *
 * A call becomes one tri_coll_work, queued on the communicator's stream and polled: `progress` is
 * called until it says done, and never blocks. A backend therefore is a state machine per kind of
 * call. See docs/add-a-backend.md.
 */
#ifndef TRI_RUNTIME_COLL_COLL_IMPL_H
#define TRI_RUNTIME_COLL_COLL_IMPL_H

#include "runtime/coll.h"

/* One call. in and out are the same span where the call has one; the fields below `event` order it
 * and hold the backend's state, all zero at the first poll. */
typedef struct tri_coll_work {
    tri_comm *comm;
    tri_coll_kind kind;
    tri_redop op;
    int peer; /* root, to or from */
    tri_span in;
    tri_span out;
    tri_event after[2]; /* must have passed before the first poll by the backend */
    int phase;
    int round;
    int64_t position; /* elements dealt with */
    int64_t step;
    uint64_t flags;
    uint64_t queued_ns, begin_ns; /* where a trace records; begin: of the backend's first poll */
} tri_coll_work;

typedef struct tri_coll_ops {
    const char *name;
    const char *doc;
    /* Poll one call; the calls of one communicator come one at a time, in order; sends and receives
     * are two further sequences of their own. NULL arguments and empty spans never come. */
    tri_status (*progress)(tri_coll_work *work, bool *done);
    /* Make the communicator of this rank's group, of this backend or another. Not for size 1. */
    tri_status (*split)(tri_comm *parent, int color, int key, tri_comm **out);
    /* optional: make a twin of the parent on a named backend */
    tri_status (*split_as)(tri_comm *parent, const char *backend, tri_comm **out);
    /* optional: memory that needs no staging; NULL: plain device memory */
    tri_status (*alloc)(tri_comm *comm, tri_mem_kind kind, size_t bytes, void **out);
    bool (*free)(tri_comm *comm, void *memory); /* false: not mine */
    /* optional: end the job */
    void (*abort)(tri_comm *comm, int exit_code);
    /* optional: free what `state` owns; also of a half-built communicator */
    void (*close)(tri_comm *comm);
} tri_coll_ops;

/* The spans of sends or receives that may still be under way. */
typedef struct tri_coll_lane {
    tri_stream *stream;
    struct {
        const char *begin, *end;
        uint64_t ticket;
    } recent[TRI_STREAM_SLOTS];
    tri_event last;
} tri_coll_lane;

struct tri_comm {
    const tri_coll_ops *ops;
    tri_device *device;
    tri_stream *stream;         /* NULL: every call is carried out at once (self) */
    tri_coll_lane *send, *recv; /* made with the first send or receive */
    tri_event last;             /* the last call on `stream` */
    int rank, size;
    int host_ranks; /* ranks of each host, which are neighbours; 0: one host, or not known */
    tri_coll_stats stats;
    char name[TRI_COMM_NAME_BYTES];
    int *world_ranks; /* [size]: who they are in the world; NULL: the same numbers */
    void *state;      /* the backend's own */
};

extern const tri_coll_ops tri_coll_self, tri_coll_thread, tri_coll_node, tri_coll_mpi,
    tri_coll_hier;

/* An empty communicator for a backend to fill: ops, device, rank, size; a stream if it has peers.
 * Not collective. */
TRI_MUST_USE tri_status tri_comm_make(const tri_coll_ops *ops, tri_device *device, int rank,
                                      int size, tri_comm **out);

/* Free a communicator whose set-up failed: not collective, for TRI_AUTO. */
void tri_comm_destroy(tri_comm **comm);

/* Let the ranks of `carrier`, which share a host, communicate through shared memory. Collective.
 *
 * Writes: *out. Keeps: carrier, which *out closes, on success. Errors: one on all ranks where it
 * cannot be had: TRI_ENOMEM, TRI_EIO, TRI_EPEER where another rank has the reason.
 */
TRI_MUST_USE tri_status tri_node_open(tri_comm *carrier, tri_comm **out);

/* A queued call in words, for tri_stream_set_describe. Not collective. */
void tri_coll_describe(const void *work, char *out, size_t out_bytes);

/* Note a call's queuing (done false) or end for the rank's trace, if one records. Not collective. */
void tri_coll_trace(tri_coll_work *work, bool done);

/* Learn who the ranks of `comm`, split off `parent`, are in the world. Collective over `comm`. */
TRI_MUST_USE tri_status tri_coll_learn_world(const tri_comm *parent, tri_comm *comm);

/* Two levels over `flat`, whose ranks lie on hosts of `locals` neighbours each. Collective over flat.
 *
 * Writes: *out. Keeps: flat, which *out closes, on success. Errors: TRI_ENOMEM, TRI_ECOMM. */
TRI_MUST_USE tri_status tri_hier_open(tri_comm *flat, int locals, tri_comm **out);

/* *locals = K of a backend called "hier:K" of `n_ranks` ranks, 0 for other names. Not collective.
 * Errors: TRI_EUNSUP there are no such hosts. */
TRI_MUST_USE tri_status tri_hier_find(const char *backend, int n_ranks, int *locals);

/* The communicator within hosts, or that between hosts, of one with two levels: for its counters. Not
 * collective. */
const tri_comm *tri_hier_level(const tri_comm *comm, bool is_between);

/* What these backends keep on each rank: shared areas, scratch of sums. Not collective. */
size_t tri_node_area_bytes(void);
size_t tri_mpi_scratch_bytes(int n_ranks);
size_t tri_hier_scratch_bytes(int hosts, int locals);

/* Run work on the communicator's stream and wait: how a backend makes its blocking set-up calls
 * (one thread at a time in foreign libraries). Not collective by itself. */
TRI_MUST_USE tri_status tri_comm_run(tri_comm *comm, tri_progress_fn progress, const void *work,
                                     size_t work_bytes);

#endif

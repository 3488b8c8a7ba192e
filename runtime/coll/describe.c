// SPDX-License-Identifier: Apache-2.0
/* Communicators and their calls in words: names, ranks of the world, what a call waits for, and events
 * for traces.
 */
#include "runtime/base/alloc.h"
#include "runtime/base/clock.h"
#include "runtime/coll/coll_impl.h"

#include <stdio.h>

enum { DESCRIBE_RANKS = 16, DESCRIBE_TRACK_BYTES = 64 };

const char *tri_coll_kind_name(tri_coll_kind kind)
{
    static const char *const names[TRI_COLL_KINDS] = {
        [TRI_COLL_ALLREDUCE] = "all-reduce", [TRI_COLL_REDUCE_SCATTER] = "reduce-scatter",
        [TRI_COLL_ALLGATHER] = "all-gather", [TRI_COLL_BROADCAST] = "broadcast",
        [TRI_COLL_ALLTOALL] = "all-to-all",  [TRI_COLL_SEND] = "send",
        [TRI_COLL_RECV] = "receive",         [TRI_COLL_BARRIER] = "barrier"};
    return names[kind];
}

void tri_comm_set_name(tri_comm *comm, const char *name)
{
    if (comm) snprintf(comm->name, sizeof comm->name, "%s", name);
}

const char *tri_comm_name(const tri_comm *comm)
{
    return comm->name;
}

int tri_comm_world_rank(const tri_comm *comm, int rank)
{
    return comm->world_ranks ? comm->world_ranks[rank] : rank;
}

double tri_comm_exposed_s(const tri_comm *comm)
{
    double s = comm->stream ? tri_stream_exposed_s(comm->stream) : 0;
    if (comm->send) s += tri_stream_exposed_s(comm->send->stream);
    if (comm->recv) s += tri_stream_exposed_s(comm->recv->stream);
    return s;
}

tri_status tri_coll_learn_world(const tri_comm *parent, tri_comm *comm)
{
    snprintf(comm->name, sizeof comm->name, "%d ranks", comm->size);
    TRI_TRY(TRI_NEW_ARRAY(comm->size, &comm->world_ranks));
    int64_t mine = tri_comm_world_rank(parent, parent->rank);
    int64_t *all = NULL;
    TRI_TRY(TRI_NEW_ARRAY(comm->size, &all));
    tri_status rc = tri_allgather(comm, tri_span_make(&mine, 1, TRI_I64),
                                  tri_span_make(all, comm->size, TRI_I64), NULL);
    for (int r = 0; rc == TRI_OK && r < comm->size; r++)
        comm->world_ranks[r] = (int)all[r];
    TRI_FREE(all);
    comm->stats = (tri_coll_stats){0}; /* which count what the communicator is used for */
    TRI_TRY(rc);
    return TRI_OK;
}

static bool is_transfer(const tri_coll_work *work)
{
    return work->kind == TRI_COLL_SEND || work->kind == TRI_COLL_RECV;
}

/* "0 1 2 3", and what does not fit as "...". */
static void list_ranks(const tri_comm *comm, char *out, size_t out_bytes)
{
    size_t n = 0;
    out[0] = '\0';
    for (int r = 0; r < comm->size && r < DESCRIBE_RANKS && n < out_bytes; r++)
        n += (size_t)snprintf(out + n, out_bytes - n, "%s%d", r ? " " : "",
                              tri_comm_world_rank(comm, r));
    if (comm->size > DESCRIBE_RANKS && n < out_bytes) snprintf(out + n, out_bytes - n, " ...");
}

void tri_coll_describe(const void *work, char *out, size_t out_bytes)
{
    const tri_coll_work *w = work;
    const tri_comm *comm = w->comm;
    const char *kind = tri_coll_kind_name(w->kind);
    size_t bytes = tri_span_bytes(w->in);
    if (is_transfer(w)) {
        snprintf(out, out_bytes, "%s of %zu bytes %s rank %d (%s)", kind, bytes,
                 w->kind == TRI_COLL_SEND ? "to" : "from", tri_comm_world_rank(comm, w->peer),
                 comm->name);
        return;
    }
    char ranks[128];
    list_ranks(comm, ranks, sizeof ranks);
    if (w->kind == TRI_COLL_BARRIER)
        snprintf(out, out_bytes, "%s of %s (ranks %s)", kind, comm->name, ranks);
    else
        snprintf(out, out_bytes, "%s of %zu bytes over %s (ranks %s)", kind, bytes, comm->name,
                 ranks);
}

void tri_coll_trace(tri_coll_work *work, bool done)
{
    tri_trace *trace = tri_activity_trace(tri_device_activity(work->comm->device));
    if (!tri_trace_is_on(trace)) return;
    if (!done) {
        work->queued_ns = tri_clock_ns();
        return;
    }
    tri_trace_event event = {.queued_ns = work->queued_ns,
                             .begin_ns = work->begin_ns,
                             .end_ns = tri_clock_ns(),
                             .bytes = (int64_t)tri_span_bytes(work->in)};
    const char *kind = tri_coll_kind_name(work->kind);
    char track[DESCRIBE_TRACK_BYTES];
    if (is_transfer(work)) {
        /* each direction is a queue of its own */
        snprintf(track, sizeof track, "%s, %s", work->comm->name, kind);
        snprintf(event.name, sizeof event.name, "%s %s %d", kind,
                 work->kind == TRI_COLL_SEND ? "to" : "from",
                 tri_comm_world_rank(work->comm, work->peer));
    } else {
        snprintf(track, sizeof track, "%s", work->comm->name);
        snprintf(event.name, sizeof event.name, "%s", kind);
    }
    tri_trace_add(trace, track, &event);
}

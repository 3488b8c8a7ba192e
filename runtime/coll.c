// SPDX-License-Identifier: Apache-2.0
/* The interface of collectives: checks arguments, counts, queues; the backend does the work.
 *
 * Collective calls go through one stream in order. Sends and receives have a lane each, so that two
 * ranks can both send before both receive; a call waits for those made before it that it could
 * disturb: a collective for all, a send or receive for the collectives and for transfers of the
 * other lane whose buffer overlaps its own.
 */
#include "runtime/coll.h"

#include "runtime/base/alloc.h"
#include "runtime/base/clock.h"
#include "runtime/coll/coll_impl.h"

#include <stdio.h>
#include <string.h>

tri_status tri_comm_make(const tri_coll_ops *ops, tri_device *device, int rank, int size,
                         tri_comm **out)
{
    TRI_AUTO(tri_comm) *comm = NULL;
    TRI_TRY(TRI_NEW(&comm));
    comm->ops = ops;
    comm->device = device;
    comm->rank = rank;
    comm->size = size;
    snprintf(comm->name, sizeof comm->name, "world");
    if (ops != &tri_coll_self) TRI_TRY(tri_stream_create(device, ops->name, &comm->stream));
    if (comm->stream) tri_stream_set_describe(comm->stream, tri_coll_describe);
    if (comm->stream) tri_stream_set_group(comm->stream, comm->name);
    *out = TRI_MOVE(comm);
    return TRI_OK;
}

static void lane_destroy(tri_coll_lane **lane)
{
    if (*lane) tri_stream_destroy(&(*lane)->stream);
    TRI_FREE(*lane);
}

void tri_comm_destroy(tri_comm **comm)
{
    tri_comm *c = *comm;
    if (!c) return;
    lane_destroy(&c->send);
    lane_destroy(&c->recv);
    /* The stream stays until the backend is closed: closing may still run work on it. */
    if (c->ops->close) c->ops->close(c);
    tri_stream_destroy(&c->stream);
    TRI_FREE(c->world_ranks);
    TRI_FREE(*comm);
}

void tri_comm_close(tri_comm **comm)
{
    tri_comm_destroy(comm);
}

tri_status tri_comm_run(tri_comm *comm, tri_progress_fn progress, const void *work,
                        size_t work_bytes)
{
    TRI_TRY(tri_stream_run(comm->stream, progress, work, work_bytes));
    return TRI_OK;
}

void tri_comm_abort(tri_comm *world, int exit_code)
{
    if (world->ops->abort) world->ops->abort(world, exit_code);
}

int tri_comm_rank(const tri_comm *comm)
{
    return comm->rank;
}

int tri_comm_size(const tri_comm *comm)
{
    return comm->size;
}

const char *tri_comm_backend(const tri_comm *comm)
{
    return comm->ops->name;
}

tri_device *tri_comm_device(const tri_comm *comm)
{
    return comm->device;
}

tri_coll_stats tri_comm_stats(const tri_comm *comm)
{
    return comm->stats;
}

size_t tri_comm_buffer_bytes(int n_ranks, int host_ranks)
{
    if (n_ranks < 2) return 0;
    if (host_ranks == n_ranks) return tri_node_area_bytes();
    if (host_ranks < 2 || n_ranks % host_ranks) return tri_mpi_scratch_bytes(n_ranks);
    int hosts = n_ranks / host_ranks;
    return tri_hier_scratch_bytes(hosts, host_ranks) + tri_node_area_bytes() +
           tri_mpi_scratch_bytes(hosts);
}

int tri_comm_host(const tri_comm *comm, int rank)
{
    return comm->host_ranks ? rank / comm->host_ranks : 0;
}

tri_status tri_comm_split(tri_comm *parent, int color, int key, tri_comm **out)
{
    if (parent->size == 1 && color < 0) {
        *out = NULL;
        return TRI_OK;
    }
    TRI_TRY(parent->ops->split(parent, color, key, out));
    if (*out) TRI_TRY(tri_coll_learn_world(parent, *out));
    return TRI_OK;
}

tri_status tri_comm_split_as(tri_comm *parent, const char *backend, tri_comm **out)
{
    TRI_CHECK(parent->ops->split_as, TRI_EUNSUP,
              "backend '%s' of %d rank(s) cannot be split as '%s'", parent->ops->name, parent->size,
              backend);
    TRI_TRY(parent->ops->split_as(parent, backend, out));
    TRI_TRY(tri_coll_learn_world(parent, *out));
    return TRI_OK;
}

tri_status tri_comm_alloc(tri_comm *comm, tri_mem_kind kind, size_t bytes, void **out)
{
    if (comm->ops->alloc)
        TRI_TRY(comm->ops->alloc(comm, kind, bytes, out));
    else
        TRI_TRY(tri_device_alloc(comm->device, kind, bytes, out));
    return TRI_OK;
}

void tri_comm_free(tri_comm *comm, void *memory)
{
    if (!memory) return;
    if (comm->ops->free && comm->ops->free(comm, memory)) return;
    tri_device_free(comm->device, memory);
}

/* One poll of a queued call: first what must be before it, then the backend. */
static tri_status coll_progress(void *work, bool *done)
{
    tri_coll_work *w = work;
    for (int i = 0; i < 2; i++) {
        if (!tri_event_is_done(w->after[i])) return TRI_OK;
        /* passed, or failed: then this one fails for the same reason */
        TRI_TRY(tri_event_wait(w->after[i]));
    }
    if (w->queued_ns && !w->begin_ns) w->begin_ns = tri_clock_ns();
    TRI_TRY(w->comm->ops->progress(w, done));
    if (*done && w->queued_ns) tri_coll_trace(w, true);
    return TRI_OK;
}

_Static_assert(sizeof(tri_coll_work) <= TRI_WORK_BYTES, "a call must fit a slot of a stream");

static void coll_count(tri_comm *comm, tri_coll_kind kind, tri_span payload)
{
    comm->stats.calls[kind]++;
    comm->stats.payload_bytes[kind] += (int64_t)tri_span_bytes(payload);
}

/* Carry out or queue `work` on `stream`; `last` remembers the point behind it. */
static tri_status coll_issue(tri_stream *stream, tri_coll_work *work, tri_event *last,
                             tri_event *event)
{
    if (event) *event = (tri_event){0};
    if (!stream) {
        bool done = false;
        TRI_TRY(work->comm->ops->progress(work, &done));
        return TRI_OK;
    }
    tri_coll_trace(work, false);
    if (!event) {
        TRI_TRY(tri_stream_run(stream, coll_progress, work, sizeof *work));
        return TRI_OK;
    }
    TRI_TRY(tri_stream_submit(stream, coll_progress, work, sizeof *work, event));
    *last = *event;
    return TRI_OK;
}

static tri_status coll_collective(tri_comm *comm, tri_coll_work *work, tri_event *event)
{
    coll_count(comm, work->kind, work->in);
    work->comm = comm;
    if (event) *event = (tri_event){0};
    if (work->in.count == 0 && work->kind != TRI_COLL_BARRIER) return TRI_OK;
    if (comm->send) work->after[0] = comm->send->last;
    if (comm->recv) work->after[1] = comm->recv->last;
    TRI_TRY(coll_issue(comm->stream, work, &comm->last, event));
    return TRI_OK;
}

static tri_status check_span(const char *call, tri_span span)
{
    TRI_CHECK(span.count >= 0 && (unsigned)span.dtype < TRI_DTYPES, TRI_EINVAL,
              "%s of %lld elements of type %d: a span needs a count >= 0 and a known type", call,
              (long long)span.count, (int)span.dtype);
    TRI_CHECK(span.data || span.count == 0, TRI_EINVAL, "%s of %lld elements at NULL", call,
              (long long)span.count);
    return TRI_OK;
}

static tri_status check_sum(const char *call, tri_span span, tri_redop op)
{
    bool wide = span.dtype == TRI_F32 || span.dtype == TRI_F64 || span.dtype == TRI_I64;
    TRI_CHECK(op == TRI_SUM || op == TRI_MAX || op == TRI_MIN, TRI_EINVAL, "%s with operation %d",
              call, (int)op);
    TRI_CHECK(wide || (span.dtype == TRI_BF16 && op == TRI_SUM), TRI_EINVAL,
              "%s of %s: sums take fp32 bf16 fp64 int64, maximum and minimum fp32 fp64 int64", call,
              tri_dtype_name(span.dtype));
    return TRI_OK;
}

/* `many` must be one block of `few` per rank. */
static tri_status check_blocks(const char *call, const tri_comm *comm, tri_span many, tri_span few)
{
    TRI_TRY(check_span(call, many));
    TRI_TRY(check_span(call, few));
    TRI_CHECK(many.dtype == few.dtype, TRI_EINVAL, "%s from %s to %s: the types must be the same",
              call, tri_dtype_name(many.dtype), tri_dtype_name(few.dtype));
    TRI_CHECK(few.count <= INT64_MAX / comm->size && many.count == few.count * comm->size,
              TRI_EINVAL, "%s over %d ranks with %lld elements a rank needs %lld in all, not %lld",
              call, comm->size, (long long)few.count, (long long)few.count * comm->size,
              (long long)many.count);
    return TRI_OK;
}

static tri_status check_peer(const char *call, const tri_comm *comm, int peer)
{
    TRI_CHECK(peer >= 0 && peer < comm->size, TRI_EINVAL, "%s rank %d: there are ranks 0 to %d",
              call, peer, comm->size - 1);
    return TRI_OK;
}

tri_status tri_allreduce(tri_comm *comm, tri_span data, tri_redop op, tri_event *event)
{
    TRI_TRY(check_span("all-reduce", data));
    TRI_TRY(check_sum("all-reduce", data, op));
    tri_coll_work work = {.kind = TRI_COLL_ALLREDUCE, .op = op, .in = data, .out = data};
    TRI_TRY(coll_collective(comm, &work, event));
    return TRI_OK;
}

tri_status tri_reduce_scatter(tri_comm *comm, tri_span in, tri_span out, tri_event *event)
{
    TRI_TRY(check_blocks("reduce-scatter", comm, in, out));
    TRI_TRY(check_sum("reduce-scatter", in, TRI_SUM));
    tri_coll_work work = {.kind = TRI_COLL_REDUCE_SCATTER, .in = in, .out = out};
    TRI_TRY(coll_collective(comm, &work, event));
    return TRI_OK;
}

tri_status tri_allgather(tri_comm *comm, tri_span in, tri_span out, tri_event *event)
{
    TRI_TRY(check_blocks("all-gather", comm, out, in));
    tri_coll_work work = {.kind = TRI_COLL_ALLGATHER, .in = in, .out = out};
    TRI_TRY(coll_collective(comm, &work, event));
    return TRI_OK;
}

tri_status tri_broadcast(tri_comm *comm, tri_span data, int root, tri_event *event)
{
    TRI_TRY(check_span("broadcast", data));
    TRI_TRY(check_peer("broadcast from", comm, root));
    tri_coll_work work = {.kind = TRI_COLL_BROADCAST, .peer = root, .in = data, .out = data};
    TRI_TRY(coll_collective(comm, &work, event));
    return TRI_OK;
}

tri_status tri_alltoall(tri_comm *comm, tri_span in, tri_span out, tri_event *event)
{
    TRI_TRY(check_span("all-to-all", in));
    TRI_TRY(check_span("all-to-all", out));
    TRI_CHECK(in.dtype == out.dtype && in.count == out.count && in.count % comm->size == 0,
              TRI_EINVAL,
              "all-to-all over %d ranks from %lld of %s to %lld of %s: both must be the same, one "
              "block for each rank",
              comm->size, (long long)in.count, tri_dtype_name(in.dtype), (long long)out.count,
              tri_dtype_name(out.dtype));
    TRI_CHECK(in.count == 0 || in.data != out.data, TRI_EINVAL,
              "all-to-all in place: in and out must be distinct");
    tri_coll_work work = {.kind = TRI_COLL_ALLTOALL, .in = in, .out = out};
    TRI_TRY(coll_collective(comm, &work, event));
    return TRI_OK;
}

tri_status tri_barrier(tri_comm *comm)
{
    tri_coll_work work = {.kind = TRI_COLL_BARRIER};
    TRI_TRY(coll_collective(comm, &work, NULL));
    return TRI_OK;
}

static tri_status lane_find(tri_comm *comm, tri_coll_lane **slot, tri_coll_lane **out)
{
    if (!*slot) {
        tri_coll_lane *lane = NULL;
        TRI_TRY(TRI_NEW(&lane));
        *slot = lane;
        TRI_TRY(tri_stream_create(comm->device, "point to point", &lane->stream));
        tri_stream_set_describe(lane->stream, tri_coll_describe);
        tri_stream_set_group(lane->stream, comm->name);
    }
    *out = *slot;
    return TRI_OK;
}

/* The last transfer of `lane` that may be under way and shares a byte with [begin, end). */
static tri_event lane_conflict(const tri_coll_lane *lane, const char *begin, const char *end)
{
    tri_event found = {0};
    if (!lane || tri_event_is_done(lane->last)) return found;
    for (int i = 0; i < TRI_STREAM_SLOTS; i++) {
        bool overlaps = lane->recent[i].begin < end && begin < lane->recent[i].end;
        if (overlaps && lane->recent[i].ticket > found.ticket)
            found = (tri_event){lane->stream, lane->recent[i].ticket};
    }
    return found;
}

static tri_status coll_transfer(tri_comm *comm, tri_coll_work *work, tri_event *event)
{
    coll_count(comm, work->kind, work->in);
    work->comm = comm;
    if (event) *event = (tri_event){0};
    if (work->in.count == 0) return TRI_OK;
    bool sends = work->kind == TRI_COLL_SEND;
    tri_coll_lane *lane = NULL;
    TRI_TRY(lane_find(comm, sends ? &comm->send : &comm->recv, &lane));
    const char *begin = work->in.data;
    const char *end = begin + tri_span_bytes(work->in);
    work->after[0] = comm->last;
    work->after[1] = lane_conflict(sends ? comm->recv : comm->send, begin, end);
    TRI_TRY(coll_issue(lane->stream, work, &lane->last, event));
    if (event) {
        uint64_t at = event->ticket % TRI_STREAM_SLOTS;
        lane->recent[at].begin = begin;
        lane->recent[at].end = end;
        lane->recent[at].ticket = event->ticket;
    }
    return TRI_OK;
}

static tri_status check_transfer(const char *call, const tri_comm *comm, tri_span data, int peer)
{
    TRI_TRY(check_span(call, data));
    TRI_TRY(check_peer(call, comm, peer));
    TRI_CHECK(peer != comm->rank, TRI_EINVAL, "%s rank %d, which is this rank", call, peer);
    return TRI_OK;
}

tri_status tri_send(tri_comm *comm, tri_span data, int to, tri_event *event)
{
    TRI_TRY(check_transfer("send to", comm, data, to));
    tri_coll_work work = {.kind = TRI_COLL_SEND, .peer = to, .in = data, .out = data};
    TRI_TRY(coll_transfer(comm, &work, event));
    return TRI_OK;
}

tri_status tri_recv(tri_comm *comm, tri_span data, int from, tri_event *event)
{
    TRI_TRY(check_transfer("receive from", comm, data, from));
    tri_coll_work work = {.kind = TRI_COLL_RECV, .peer = from, .in = data, .out = data};
    TRI_TRY(coll_transfer(comm, &work, event));
    return TRI_OK;
}

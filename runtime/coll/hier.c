// SPDX-License-Identifier: Apache-2.0
/* Groups that span hosts: two levels, so that what crosses the network is summed or gathered once per
 * host and shared by the host's ranks (MiCS, arXiv:2205.00119, sec. 3.2 and 3.3).
 *
 * rank = host * locals + local. `within` joins the ranks of a host, `between` those of equal `local`,
 * `flat` all. A call is a sequence of calls on the two levels, whose state machines are polled here
 * directly: their own streams are used by set-up alone. Transfers, all-to-all and barriers go flat.
 *
 *   all-reduce      within: reduce-scatter | between: all-reduce a block | within: all-gather
 *   reduce-scatter  within: one for each host, into scratch | between: reduce-scatter the scratch
 *   all-gather      between: into scratch, copied to its places | within: one for each host
 *   broadcast       between: among the root's equals | within
 */
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"
#include "runtime/coll/coll_impl.h"
#include "runtime/coll/sum.h"

#include <stdlib.h>
#include <string.h>

enum {
    HIER_SCRATCH_BYTES = 4 << 20,
    HIER_PART_ELEMENTS = 64,
    HIER_SMALL_BYTES = 16 << 10 /* all-reduce up to here: two calls on everything, not three */
};

typedef struct hier_state {
    tri_comm *flat, *within, *between;
    int hosts, locals, host, local;
    char *scratch;
    size_t scratch_bytes;
    tri_coll_work sub; /* the call under way on one level */
    bool is_busy;
} hier_state;

/* Poll a call on one level; it begins with the first poll. Empty ones are done at once. */
static tri_status level_poll(hier_state *hier, const tri_coll_work *call, bool *done)
{
    if (!hier->is_busy) {
        if (call->in.count == 0) {
            *done = true;
            return TRI_OK;
        }
        hier->sub = *call;
        hier->is_busy = true;
        call->comm->stats.calls[call->kind]++;
        call->comm->stats.payload_bytes[call->kind] += (int64_t)tri_span_bytes(call->in);
    }
    bool passed = false;
    TRI_TRY(hier->sub.comm->ops->progress(&hier->sub, &passed));
    if (passed) hier->is_busy = false;
    *done = passed;
    return TRI_OK;
}

/* Steps of an all-reduce in work->round: [0, 3) of the elements that the host's ranks divide, then two
 * of the few that are left, or of all if they are few. */
static tri_coll_work allreduce_step(const tri_coll_work *work, const hier_state *hier)
{
    bool small = tri_span_bytes(work->in) <= HIER_SMALL_BYTES;
    int64_t block = small ? 0 : work->in.count / hier->locals, most = block * hier->locals;
    tri_span all = tri_span_part(work->in, 0, most);
    tri_span own = tri_span_part(work->in, hier->local * block, block);
    tri_span rest = tri_span_part(work->in, most, work->in.count - most);
    tri_coll_work call = {.op = work->op, .comm = hier->within, .in = own, .out = own};
    switch (work->round) {
    case 0:
        call.kind = TRI_COLL_REDUCE_SCATTER;
        call.in = all;
        break;
    case 1:
        call.comm = hier->between;
        break;
    case 2:
        call.kind = TRI_COLL_ALLGATHER;
        call.out = all;
        break;
    default:
        if (work->round == 4) call.comm = hier->between;
        call.in = call.out = rest;
        break;
    }
    return call;
}

static tri_status hier_allreduce(tri_coll_work *work, hier_state *hier, bool *done)
{
    bool passed = true;
    while (passed && work->round < 5) {
        tri_coll_work call = allreduce_step(work, hier);
        TRI_TRY(level_poll(hier, &call, &passed));
        if (passed) work->round++;
    }
    *done = work->round == 5;
    return TRI_OK;
}

/* Elements of a block that one round takes, with `copies` of them in the scratch memory. */
static int64_t round_elements(const tri_coll_work *work, const hier_state *hier, int copies,
                              int64_t block)
{
    int64_t fits = (int64_t)(hier->scratch_bytes / tri_dtype_bytes(work->in.dtype)) / copies;
    return tri_min64(fits / HIER_PART_ELEMENTS * HIER_PART_ELEMENTS, block - work->position);
}

/* Put what the other hosts' equals have given, and this rank's own, at their places. */
static void gathered_place(const tri_coll_work *work, const hier_state *hier, int64_t m)
{
    size_t element = tri_dtype_bytes(work->in.dtype), bytes = (size_t)m * element;
    for (int j = 0; j < hier->hosts; j++) {
        int64_t block = (int64_t)j * hier->locals + hier->local;
        char *to = tri_span_part(work->out, block * work->in.count + work->position, m).data;
        const char *own = tri_span_part(work->in, work->position, m).data;
        const char *from = j == hier->host ? own : hier->scratch + (size_t)j * bytes;
        if (to != from) tri_coll_copy(to, from, bytes, false);
    }
}

/* Slices of this rank's block between hosts, then host by host within. */
static tri_status hier_allgather(tri_coll_work *work, hier_state *hier, bool *done)
{
    int64_t n = work->in.count;
    bool passed = false;
    if (work->position < n) {
        int64_t m = round_elements(work, hier, hier->hosts, n);
        tri_coll_work call = {
            .comm = hier->between,
            .kind = TRI_COLL_ALLGATHER,
            .in = tri_span_part(work->in, work->position, m),
            .out = {hier->scratch, m * hier->hosts, work->in.dtype}
        };
        TRI_TRY(level_poll(hier, &call, &passed));
        if (!passed) return TRI_OK;
        gathered_place(work, hier, m);
        work->position += m;
        return TRI_OK;
    }
    int64_t first = (int64_t)work->round * hier->locals;
    tri_coll_work call = {.comm = hier->within,
                          .kind = TRI_COLL_ALLGATHER,
                          .in = tri_span_part(work->out, (first + hier->local) * n, n),
                          .out = tri_span_part(work->out, first * n, n * hier->locals)};
    TRI_TRY(level_poll(hier, &call, &passed));
    if (passed) work->round++;
    *done = work->round == hier->hosts;
    return TRI_OK;
}

/* The blocks that the ranks of host work->round are to get, elements [position, position + m) of each:
 * as they lie if that is all of them, else collected behind the sums in the scratch memory. */
static tri_span host_blocks(const tri_coll_work *work, const hier_state *hier, int64_t m)
{
    int64_t n = work->out.count, first = (int64_t)work->round * hier->locals;
    if (m == n) return tri_span_part(work->in, first * n, hier->locals * n);
    size_t element = tri_dtype_bytes(work->in.dtype), bytes = (size_t)m * element;
    char *to = hier->scratch + (size_t)hier->hosts * bytes;
    for (int l = 0; l < hier->locals && !hier->is_busy; l++)
        tri_coll_copy(to + (size_t)l * bytes,
                      tri_span_part(work->in, (first + l) * n + work->position, m).data, bytes,
                      false);
    return tri_span_make(to, hier->locals * m, work->in.dtype);
}

/* Slice by slice: one sum within for each host, then one between. */
static tri_status hier_reduce_scatter(tri_coll_work *work, hier_state *hier, bool *done)
{
    int64_t n = work->out.count;
    int64_t m = round_elements(work, hier, hier->hosts, n);
    if (m < n) m = round_elements(work, hier, hier->hosts + hier->locals, n);
    tri_span sums = {hier->scratch, m * hier->hosts, work->in.dtype};
    bool passed = false, is_last = work->round == hier->hosts;
    tri_coll_work call = {.kind = TRI_COLL_REDUCE_SCATTER, .op = work->op};
    if (is_last) {
        call.comm = hier->between;
        call.in = sums;
        call.out = tri_span_part(work->out, work->position, m);
    } else {
        call.comm = hier->within;
        call.in = host_blocks(work, hier, m);
        call.out = tri_span_part(sums, (int64_t)work->round * m, m);
    }
    TRI_TRY(level_poll(hier, &call, &passed));
    if (!passed) return TRI_OK;
    work->round++;
    if (!is_last) return TRI_OK;
    work->round = 0;
    work->position += m;
    *done = work->position == n;
    return TRI_OK;
}

static tri_status hier_broadcast(tri_coll_work *work, hier_state *hier, bool *done)
{
    tri_coll_work call = {.kind = TRI_COLL_BROADCAST, .in = work->in, .out = work->out};
    bool passed = false;
    if (work->round == 0 && hier->local == work->peer % hier->locals) {
        call.comm = hier->between;
        call.peer = work->peer / hier->locals;
        TRI_TRY(level_poll(hier, &call, &passed));
        if (!passed) return TRI_OK;
    }
    work->round = 1;
    call.comm = hier->within;
    call.peer = work->peer % hier->locals;
    TRI_TRY(level_poll(hier, &call, done));
    return TRI_OK;
}

static tri_status hier_progress(tri_coll_work *work, bool *done)
{
    tri_comm *comm = work->comm;
    hier_state *hier = comm->state;
    tri_status rc = TRI_OK;
    switch (work->kind) {
    case TRI_COLL_ALLREDUCE:
        rc = hier_allreduce(work, hier, done);
        break;
    case TRI_COLL_REDUCE_SCATTER:
        rc = hier_reduce_scatter(work, hier, done);
        break;
    case TRI_COLL_ALLGATHER:
        rc = hier_allgather(work, hier, done);
        break;
    case TRI_COLL_BROADCAST:
        rc = hier_broadcast(work, hier, done);
        break;
    default: /* the flat one's state machine, on this one's streams */
        work->comm = hier->flat;
        rc = hier->flat->ops->progress(work, done);
        work->comm = comm;
        break;
    }
    TRI_TRY(rc);
    return TRI_OK;
}

/* The flat one splits, when nothing of this one is under way on it. */
static tri_status hier_split(tri_comm *parent, int color, int key, tri_comm **out)
{
    const hier_state *hier = parent->state;
    TRI_TRY(tri_barrier(parent));
    TRI_TRY(hier->flat->ops->split(hier->flat, color, key, out));
    return TRI_OK;
}

static tri_status hier_split_as(tri_comm *parent, const char *backend, tri_comm **out)
{
    const hier_state *hier = parent->state;
    TRI_TRY(tri_barrier(parent));
    TRI_TRY(hier->flat->ops->split_as(hier->flat, backend, out));
    return TRI_OK;
}

/* Memory of the host's ranks; all hosts have it, or none. */
static tri_status hier_alloc(tri_comm *comm, tri_mem_kind kind, size_t bytes, void **out)
{
    hier_state *hier = comm->state;
    void *memory = NULL;
    tri_status rc = tri_comm_alloc(hier->within, kind, bytes, &memory);
    tri_err mine = {.code = TRI_OK};
    if (rc != TRI_OK) tri_err_take(&mine);
    int64_t failed = rc != TRI_OK;
    tri_status agreed = tri_allreduce(comm, tri_span_make(&failed, 1, TRI_I64), TRI_MAX, NULL);
    if (rc != TRI_OK) TRI_TRY(tri_err_put(&mine));
    if (agreed != TRI_OK || failed) tri_comm_free(hier->within, memory);
    TRI_TRY(agreed);
    TRI_CHECK(!failed, TRI_EPEER, "another host has no %zu bytes of %s memory", bytes,
              tri_mem_name(kind));
    *out = memory;
    return TRI_OK;
}

static bool hier_free(tri_comm *comm, void *memory)
{
    const hier_state *hier = comm->state;
    const tri_coll_ops *ops = hier->within->ops;
    return ops->free && ops->free(hier->within, memory);
}

static void hier_abort(tri_comm *comm, int exit_code)
{
    const hier_state *hier = comm->state;
    tri_comm_abort(hier->flat, exit_code);
}

static void hier_close(tri_comm *comm)
{
    hier_state *hier = comm->state;
    if (!hier) return;
    if (hier->within) tri_comm_free(hier->within, hier->scratch);
    tri_comm_close(&hier->between);
    tri_comm_close(&hier->within);
    tri_comm_close(&hier->flat);
    TRI_FREE(comm->state);
}

const tri_coll_ops tri_coll_hier = {
    .name = "hier",
    .doc = "several hosts of equally many ranks, in two levels",
    .progress = hier_progress,
    .split = hier_split,
    .split_as = hier_split_as,
    .alloc = hier_alloc,
    .free = hier_free,
    .abort = hier_abort,
    .close = hier_close,
};

size_t tri_hier_scratch_bytes(int hosts, int locals)
{
    size_t least = (size_t)(hosts + locals) * HIER_PART_ELEMENTS * sizeof(double);
    return least > HIER_SCRATCH_BYTES ? least : HIER_SCRATCH_BYTES;
}

const tri_comm *tri_hier_level(const tri_comm *comm, bool is_between)
{
    const hier_state *hier = comm->state;
    return is_between ? hier->between : hier->within;
}

tri_status tri_hier_find(const char *backend, int n_ranks, int *locals)
{
    static const char prefix[] = "hier:";
    *locals = 0;
    if (strncmp(backend, prefix, sizeof prefix - 1) != 0) return TRI_OK;
    char *end = NULL;
    long k = strtol(backend + sizeof prefix - 1, &end, 10);
    TRI_CHECK(
        end != backend + sizeof prefix - 1 && !*end && k >= 2 && k <= n_ranks / 2 &&
            n_ranks % k == 0,
        TRI_EUNSUP,
        "backend '%s' of %d ranks: it takes hier:K for two or more hosts of K ranks, K from 2 on",
        backend, n_ranks);
    *locals = (int)k;
    return TRI_OK;
}

tri_status tri_hier_open(tri_comm *flat, int locals, tri_comm **out)
{
    TRI_AUTO(tri_comm) *comm = NULL;
    TRI_TRY(tri_comm_make(&tri_coll_hier, flat->device, flat->rank, flat->size, &comm));
    hier_state *hier = NULL;
    TRI_TRY(TRI_NEW(&hier));
    comm->state = hier;
    comm->host_ranks = hier->locals = locals;
    hier->hosts = flat->size / locals;
    hier->host = flat->rank / locals;
    hier->local = flat->rank % locals;
    TRI_TRY(tri_comm_split(flat, hier->host, hier->local, &hier->within));
    TRI_TRY(tri_comm_split(flat, hier->local, hier->host, &hier->between));
    hier->scratch_bytes = tri_hier_scratch_bytes(hier->hosts, locals);
    TRI_TRY(
        tri_comm_alloc(hier->within, TRI_MEM_COMM, hier->scratch_bytes, (void **)&hier->scratch));
    hier->flat = flat;
    *out = TRI_MOVE(comm);
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* MPI: ranks anywhere. Init and Finalize included.
 *
 * All calls are made inside polled work, by one thread at a time (MPI_THREAD_SERIALIZED). MPI leaves
 * the order of a reduction open; here pieces are exchanged, summed in rank order by their owner, and
 * gathered: 2(N-1)/N of an all-reduce's bytes are sent, of a small one, which is gathered whole and
 * summed by everybody, N-1 times its bytes.
 */
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"
#include "runtime/base/log.h"
#include "runtime/coll/mpi_impl.h"
#include "runtime/coll/sum.h"

#include <stdlib.h>
#include <string.h>

enum {
    MPI_SCRATCH_BYTES = 4 << 20,
    MPI_SMALL_BYTES = 16 << 10, /* all-reduce up to here: gather everything, sum locally */
    MPI_PART_ELEMENTS = 64,
    MPI_TAG_PIECE = 1,
    MPI_TAG_USER = 2
};

enum { PHASE_START, PHASE_GATHERED, PHASE_EXCHANGED, PHASE_SPREAD, PHASE_LAST };

tri_status tri_mpi_check(int code, const char *call)
{
    if (code == MPI_SUCCESS) return TRI_OK;
    char text[MPI_MAX_ERROR_STRING + 1] = "";
    int n = 0;
    MPI_Error_string(code, text, &n);
    TRI_FAIL(TRI_ECOMM, "%.120s: %s", call, text);
}

/* A span as MPI counts it: bytes, or one element of a type of its own where they pass INT_MAX. */
typedef struct mpi_shape {
    MPI_Datatype type;
    int count;
    bool is_own;
} mpi_shape;

static tri_status shape_make(size_t bytes, mpi_shape *out)
{
    enum { UNIT = 1 << 30 };
    *out = (mpi_shape){.type = MPI_BYTE, .count = (int)bytes};
    if (bytes <= INT_MAX) return TRI_OK;
    int lengths[2] = {0, (int)(bytes % UNIT)};
    TRI_TRY(tri_int((int64_t)(bytes / UNIT), &lengths[0]));
    MPI_Aint starts[2] = {0, (MPI_Aint)(bytes - bytes % UNIT)};
    MPI_Datatype types[2] = {MPI_BYTE, MPI_BYTE};
    TRI_TRY(TRI_MPI(MPI_Type_contiguous(UNIT, MPI_BYTE, &types[0])));
    TRI_TRY(TRI_MPI(MPI_Type_create_struct(2, lengths, starts, types, &out->type)));
    TRI_TRY(TRI_MPI(MPI_Type_free(&types[0])));
    TRI_TRY(TRI_MPI(MPI_Type_commit(&out->type)));
    out->count = 1;
    out->is_own = true;
    return TRI_OK;
}

/* MPI keeps the type until the calls that use it are done. */
static void shape_free(mpi_shape *shape)
{
    if (shape->is_own) MPI_Type_free(&shape->type);
}

static tri_status requests_done(mpi_state *mpi, bool *done)
{
    int flag = 0;
    TRI_TRY(TRI_MPI(MPI_Testall(mpi->n_requests, mpi->requests, &flag, MPI_STATUSES_IGNORE)));
    *done = flag;
    if (flag) mpi->n_requests = 0;
    return TRI_OK;
}

/* Rank r's part of [0, n). */
static void part_of(const tri_comm *comm, int r, int64_t n, int64_t *begin, int64_t *count)
{
    int64_t part = tri_round_up((n + comm->size - 1) / comm->size, MPI_PART_ELEMENTS);
    *begin = tri_min64(n, r * part);
    *count = tri_min64(part, n - *begin);
}

/* Elements of one rank's part in a round that fits the scratch memory. */
static int64_t part_elements(const tri_comm *comm, const mpi_state *mpi, size_t element)
{
    int64_t fits = (int64_t)(mpi->scratch_bytes / element) / comm->size;
    return fits / MPI_PART_ELEMENTS * MPI_PART_ELEMENTS;
}

/* Where the part of rank r lies in this rank's input, and its size, in the round at `position`. */
static char *piece_of(const tri_coll_work *work, const mpi_state *mpi, int r, int64_t *count)
{
    const tri_comm *comm = work->comm;
    size_t element = tri_dtype_bytes(work->in.dtype);
    int64_t most = part_elements(comm, mpi, element), begin = 0;
    if (work->kind == TRI_COLL_ALLREDUCE) {
        int64_t n = tri_min64(most * comm->size, work->in.count - work->position);
        part_of(comm, r, n, &begin, count);
        begin += work->position;
    } else {
        *count = tri_min64(most, work->out.count - work->position);
        begin = r * work->out.count + work->position;
    }
    return (char *)work->in.data + (size_t)begin * element;
}

/* Every rank gets its own part from all others. */
static tri_status pieces_exchange(tri_coll_work *work, mpi_state *mpi)
{
    const tri_comm *comm = work->comm;
    size_t element = tri_dtype_bytes(work->in.dtype);
    int64_t mine = 0, theirs = 0;
    mpi->sources[comm->rank] = piece_of(work, mpi, comm->rank, &mine);
    for (int i = 1; i < comm->size; i++) {
        int from = (comm->rank + i) % comm->size, to = (comm->rank + comm->size - i) % comm->size;
        char *into = mpi->scratch + (size_t)(from * mine) * element;
        mpi->sources[from] = into;
        TRI_TRY(TRI_MPI(MPI_Irecv(into, (int)(mine * (int64_t)element), MPI_BYTE, from,
                                  MPI_TAG_PIECE, mpi->comm, &mpi->requests[mpi->n_requests])));
        mpi->n_requests++;
        const char *piece = piece_of(work, mpi, to, &theirs);
        TRI_TRY(TRI_MPI(MPI_Isend(piece, (int)(theirs * (int64_t)element), MPI_BYTE, to,
                                  MPI_TAG_PIECE, mpi->comm, &mpi->requests[mpi->n_requests])));
        mpi->n_requests++;
    }
    work->phase = PHASE_EXCHANGED;
    return TRI_OK;
}

/* Every rank gives its part of the sum to all others. */
static tri_status pieces_spread(tri_coll_work *work, mpi_state *mpi)
{
    const tri_comm *comm = work->comm;
    int64_t element = (int64_t)tri_dtype_bytes(work->in.dtype), mine = 0, theirs = 0;
    const char *own = piece_of(work, mpi, comm->rank, &mine);
    for (int i = 1; i < comm->size; i++) {
        int from = (comm->rank + i) % comm->size, to = (comm->rank + comm->size - i) % comm->size;
        char *into = piece_of(work, mpi, from, &theirs);
        TRI_TRY(TRI_MPI(MPI_Irecv(into, (int)(theirs * element), MPI_BYTE, from, MPI_TAG_PIECE,
                                  mpi->comm, &mpi->requests[mpi->n_requests])));
        mpi->n_requests++;
        TRI_TRY(TRI_MPI(MPI_Isend(own, (int)(mine * element), MPI_BYTE, to, MPI_TAG_PIECE,
                                  mpi->comm, &mpi->requests[mpi->n_requests])));
        mpi->n_requests++;
    }
    work->phase = PHASE_SPREAD;
    return TRI_OK;
}

static void pieces_sum(tri_coll_work *work, mpi_state *mpi)
{
    const tri_comm *comm = work->comm;
    int64_t count = 0;
    void *outs[1] = {piece_of(work, mpi, comm->rank, &count)};
    if (work->kind == TRI_COLL_REDUCE_SCATTER)
        outs[0] = tri_span_part(work->out, work->position, count).data;
    tri_coll_reduce(work->in.dtype, work->op, comm->size, mpi->sources, 1, outs, count, false);
}

/* The round at `position` is over: the next, or the end. */
static tri_status pieces_next(tri_coll_work *work, mpi_state *mpi, bool *done)
{
    const tri_comm *comm = work->comm;
    int64_t part = part_elements(comm, mpi, tri_dtype_bytes(work->in.dtype));
    bool whole = work->kind == TRI_COLL_ALLREDUCE;
    work->position += whole ? part * comm->size : part;
    *done = work->position >= (whole ? work->in.count : work->out.count);
    if (!*done) TRI_TRY(pieces_exchange(work, mpi));
    return TRI_OK;
}

/* Start a call; what is left is to wait, and for reductions to sum. */
static tri_status mpi_start(tri_coll_work *work, mpi_state *mpi)
{
    const tri_comm *comm = work->comm;
    MPI_Request *request = mpi->requests;
    size_t bytes = tri_span_bytes(work->in);
    bool small = bytes <= MPI_SMALL_BYTES && bytes * (size_t)comm->size <= mpi->scratch_bytes;
    if (work->kind == TRI_COLL_REDUCE_SCATTER || (work->kind == TRI_COLL_ALLREDUCE && !small)) {
        TRI_TRY(pieces_exchange(work, mpi));
        return TRI_OK;
    }
    work->phase = PHASE_LAST;
    mpi->n_requests = 1;
    if (work->kind == TRI_COLL_BARRIER) {
        TRI_TRY(TRI_MPI(MPI_Ibarrier(mpi->comm, request)));
        return TRI_OK;
    }
    if (work->kind == TRI_COLL_ALLREDUCE) {
        work->phase = PHASE_GATHERED;
        TRI_TRY(TRI_MPI(MPI_Iallgather(work->in.data, (int)bytes, MPI_BYTE, mpi->scratch,
                                       (int)bytes, MPI_BYTE, mpi->comm, request)));
        return TRI_OK;
    }
    mpi_shape shape;
    if (work->kind == TRI_COLL_ALLTOALL) bytes /= (size_t)comm->size;
    TRI_TRY(shape_make(bytes, &shape));
    int code = MPI_SUCCESS;
    if (work->kind == TRI_COLL_BROADCAST) {
        code = MPI_Ibcast(work->in.data, shape.count, shape.type, work->peer, mpi->comm, request);
    } else if (work->kind == TRI_COLL_ALLTOALL) {
        code = MPI_Ialltoall(work->in.data, shape.count, shape.type, work->out.data, shape.count,
                             shape.type, mpi->comm, request);
    } else {
        bool in_place = work->in.data == (char *)work->out.data + (size_t)comm->rank * bytes;
        code = MPI_Iallgather(in_place ? MPI_IN_PLACE : work->in.data, shape.count, shape.type,
                              work->out.data, shape.count, shape.type, mpi->comm, request);
    }
    shape_free(&shape);
    TRI_TRY(tri_mpi_check(code, "starting a collective call"));
    return TRI_OK;
}

static void gathered_sum(tri_coll_work *work, mpi_state *mpi)
{
    int size = work->comm->size;
    for (int r = 0; r < size; r++)
        mpi->sources[r] = mpi->scratch + (size_t)r * tri_span_bytes(work->in);
    void *outs[1] = {work->out.data};
    tri_coll_reduce(work->in.dtype, work->op, size, mpi->sources, 1, outs, work->in.count, false);
}

static tri_status transfer_start(tri_coll_work *work, mpi_state *mpi)
{
    mpi_shape shape;
    TRI_TRY(shape_make(tri_span_bytes(work->in), &shape));
    int code = work->kind == TRI_COLL_SEND
                   ? MPI_Isend(work->in.data, shape.count, shape.type, work->peer, MPI_TAG_USER,
                               mpi->comm, &mpi->send)
                   : MPI_Irecv(work->out.data, shape.count, shape.type, work->peer, MPI_TAG_USER,
                               mpi->comm, &mpi->recv);
    shape_free(&shape);
    TRI_TRY(tri_mpi_check(code, work->kind == TRI_COLL_SEND ? "MPI_Isend" : "MPI_Irecv"));
    work->phase = PHASE_LAST;
    return TRI_OK;
}

static tri_status transfer_progress(tri_coll_work *work, mpi_state *mpi, bool *done)
{
    bool sends = work->kind == TRI_COLL_SEND;
    if (work->phase == PHASE_START) TRI_TRY(transfer_start(work, mpi));
    int flag = 0;
    MPI_Status status;
    TRI_TRY(TRI_MPI(MPI_Test(sends ? &mpi->send : &mpi->recv, &flag, &status)));
    *done = flag;
    if (!flag || sends) return TRI_OK;
    MPI_Count bytes = 0;
    TRI_TRY(TRI_MPI(MPI_Get_elements_x(&status, MPI_BYTE, &bytes)));
    TRI_CHECK((size_t)bytes == tri_span_bytes(work->out), TRI_EINVAL,
              "receiving %zu bytes from rank %d, which sent %lld", tri_span_bytes(work->out),
              work->peer, (long long)bytes);
    return TRI_OK;
}

static tri_status mpi_progress(tri_coll_work *work, bool *done)
{
    mpi_state *mpi = work->comm->state;
    if (work->comm->size == 1) { /* mpirun -n 1 */
        TRI_TRY(tri_coll_self.progress(work, done));
        return TRI_OK;
    }
    if (work->kind == TRI_COLL_SEND || work->kind == TRI_COLL_RECV) {
        TRI_TRY(transfer_progress(work, mpi, done));
        return TRI_OK;
    }
    if (work->phase == PHASE_START) TRI_TRY(mpi_start(work, mpi));
    bool arrived = false;
    TRI_TRY(requests_done(mpi, &arrived));
    if (!arrived) return TRI_OK;
    switch (work->phase) {
    case PHASE_GATHERED:
        gathered_sum(work, mpi);
        *done = true;
        break;
    case PHASE_EXCHANGED:
        pieces_sum(work, mpi);
        if (work->kind == TRI_COLL_ALLREDUCE)
            TRI_TRY(pieces_spread(work, mpi));
        else
            TRI_TRY(pieces_next(work, mpi, done));
        break;
    case PHASE_SPREAD:
        TRI_TRY(pieces_next(work, mpi, done));
        break;
    default:
        *done = true;
        break;
    }
    return TRI_OK;
}

/* A communicator over an MPI one, which it takes over. */
static tri_status mpi_open(const tri_coll_ops *ops, MPI_Comm handle, tri_device *device,
                           tri_comm **out)
{
    int rank = 0, size = 0;
    TRI_TRY(TRI_MPI(MPI_Comm_rank(handle, &rank)));
    TRI_TRY(TRI_MPI(MPI_Comm_size(handle, &size)));
    TRI_AUTO(tri_comm) *comm = NULL;
    TRI_TRY(tri_comm_make(ops, device, rank, size, &comm));
    mpi_state *mpi = NULL;
    TRI_TRY(TRI_NEW(&mpi));
    comm->state = mpi;
    mpi->comm = MPI_COMM_NULL;
    mpi->send = mpi->recv = MPI_REQUEST_NULL;
    TRI_TRY(TRI_NEW_ARRAY(2 * (int64_t)size, &mpi->requests));
    TRI_TRY(TRI_NEW_ARRAY(size, &mpi->sources));
    mpi->comm = handle;
    *out = TRI_MOVE(comm);
    return TRI_OK;
}

size_t tri_mpi_scratch_bytes(int n_ranks)
{
    size_t least = (size_t)n_ranks * MPI_PART_ELEMENTS * sizeof(double);
    return least > MPI_SCRATCH_BYTES ? least : MPI_SCRATCH_BYTES;
}

/* Reductions need memory of their own; a carrier of other backends never reduces. */
static tri_status mpi_add_scratch(tri_comm *comm)
{
    mpi_state *mpi = comm->state;
    mpi->scratch_bytes = tri_mpi_scratch_bytes(comm->size);
    TRI_TRY(
        tri_device_alloc(comm->device, TRI_MEM_COMM, mpi->scratch_bytes, (void **)&mpi->scratch));
    return TRI_OK;
}

/* Ranks of this one's host, and *host, the lowest of them. Collective over `comm`. */
static tri_status host_find(MPI_Comm comm, int rank, int *host)
{
    MPI_Comm here = MPI_COMM_NULL;
    TRI_TRY(TRI_MPI(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &here)));
    *host = rank;
    TRI_TRY(TRI_MPI(MPI_Allreduce(MPI_IN_PLACE, host, 1, MPI_INT, MPI_MIN, here)));
    TRI_TRY(TRI_MPI(MPI_Comm_free(&here)));
    return TRI_OK;
}

/* How the ranks lie on hosts: ranks of each host, where all have equally many and they are neighbours;
 * else 0. Collective over `comm`; `hosts` has room for all of it. */
static tri_status locals_find(MPI_Comm comm, int host, int *hosts, int *locals)
{
    int rank = 0, size = 0;
    TRI_TRY(TRI_MPI(MPI_Comm_rank(comm, &rank)));
    TRI_TRY(TRI_MPI(MPI_Comm_size(comm, &size)));
    TRI_TRY(TRI_MPI(MPI_Allgather(&host, 1, MPI_INT, hosts, 1, MPI_INT, comm)));
    int n = 0, like_first = 0, first = rank;
    for (int r = size - 1; r >= 0; r--) {
        like_first += hosts[r] == hosts[0];
        n += hosts[r] == host;
        if (hosts[r] == host) first = r;
    }
    bool regular = n > 0 && n == like_first && first % n == 0;
    for (int r = first; r < first + n && regular; r++)
        regular = hosts[r] == host;
    *locals = regular ? n : 0;
    TRI_TRY(TRI_MPI(MPI_Allreduce(MPI_IN_PLACE, locals, 1, MPI_INT, MPI_MIN, comm)));
    return TRI_OK;
}

typedef struct split_args {
    const mpi_state *parent;
    int color, key;
    int host;  /* of this rank */
    int *room; /* [size of the parent] */
    MPI_Comm *out;
    int *locals; /* of the new communicator, as locals_find; 1: this rank is alone, *out is none */
} split_args;

/* Blocks, but not for long: all ranks of the parent have just met at a barrier. */
static tri_status split_progress(void *work, bool *done)
{
    const split_args *args = work;
    int color = args->color < 0 ? MPI_UNDEFINED : args->color;
    TRI_TRY(TRI_MPI(MPI_Comm_split(args->parent->comm, color, args->key, args->out)));
    *done = true;
    if (*args->out == MPI_COMM_NULL) return TRI_OK;
    int size = 0;
    TRI_TRY(TRI_MPI(MPI_Comm_set_errhandler(*args->out, MPI_ERRORS_RETURN)));
    TRI_TRY(TRI_MPI(MPI_Comm_size(*args->out, &size)));
    *args->locals = 1;
    if (size == 1)
        TRI_TRY(TRI_MPI(MPI_Comm_free(args->out)));
    else
        TRI_TRY(locals_find(*args->out, args->host, args->room, args->locals));
    return TRI_OK;
}

/* Shared memory where the ranks share a host and it can be had, two levels where they are equally many
 * on each host, else MPI. Takes `mpi` over. */
static tri_status mpi_upgrade(tri_comm *mpi, int locals, tri_comm **out)
{
    TRI_AUTO(tri_comm) *owned = mpi;
    bool is_plain = ((const mpi_state *)mpi->state)->is_plain;
    if (locals == mpi->size && mpi->size > 1 && !is_plain) {
        if (tri_node_open(mpi, out) == TRI_OK) {
            owned = NULL;
            return TRI_OK;
        }
        tri_log(TRI_LOG_WARN, "%d ranks of this host communicate through mpi: %s", mpi->size,
                tri_err_last()->text);
        tri_err_clear();
    } else if (locals > 1 && !is_plain) {
        TRI_TRY(tri_hier_open(mpi, locals, out));
        owned = NULL;
        return TRI_OK;
    }
    if (owned->size > 1) TRI_TRY(mpi_add_scratch(owned));
    *out = TRI_MOVE(owned);
    return TRI_OK;
}

/* A part of the parent as a communicator over MPI, NULL for a rank that does not join or is alone. */
static tri_status mpi_divide(const tri_coll_ops *ops, tri_comm *parent, split_args args,
                             tri_comm **out)
{
    MPI_Comm handle = MPI_COMM_NULL;
    args.parent = parent->state;
    args.out = &handle;
    TRI_TRY(TRI_NEW_ARRAY(parent->size, &args.room));
    tri_status rc = tri_barrier(parent);
    if (rc == TRI_OK) rc = tri_comm_run(parent, split_progress, &args, sizeof args);
    TRI_FREE(args.room);
    TRI_TRY(rc);
    *out = NULL;
    if (handle == MPI_COMM_NULL) return TRI_OK;
    TRI_TRY(mpi_open(ops, handle, parent->device, out));
    mpi_state *mpi = (*out)->state;
    mpi->host = args.host;
    mpi->is_plain = args.parent->is_plain;
    return TRI_OK;
}

static tri_status mpi_split(tri_comm *parent, int color, int key, tri_comm **out)
{
    int locals = 0, host = ((const mpi_state *)parent->state)->host;
    tri_comm *comm = NULL;
    TRI_TRY(mpi_divide(&tri_coll_mpi, parent,
                       (split_args){.color = color, .key = key, .host = host, .locals = &locals},
                       &comm));
    *out = NULL;
    if (comm)
        TRI_TRY(mpi_upgrade(comm, locals, out));
    else if (locals == 1)
        TRI_TRY(tri_comm_open_self(parent->device, out));
    return TRI_OK;
}

static tri_status mpi_split_as(tri_comm *parent, const char *backend, tri_comm **out)
{
    int locals = 0, wanted = 0, host = ((const mpi_state *)parent->state)->host;
    bool native = strcmp(backend, tri_coll_mpi_native.name) == 0;
    bool plain = strcmp(backend, tri_coll_mpi.name) == 0;
    bool node = strcmp(backend, tri_coll_node.name) == 0;
    TRI_TRY(tri_hier_find(backend, parent->size, &wanted));
    TRI_CHECK(native || plain || node || wanted, TRI_EUNSUP,
              "ranks of mpirun have backends mpi, node, hier:K and mpi-native, not '%s'", backend);
    TRI_CHECK(parent->size > 1, TRI_EUNSUP, "a rank alone needs no backend '%s'", backend);
    if (wanted) host = parent->rank / wanted;
    TRI_AUTO(tri_comm) *comm = NULL;
    TRI_TRY(mpi_divide(native ? &tri_coll_mpi_native : &tri_coll_mpi, parent,
                       (split_args){.key = parent->rank, .host = host, .locals = &locals}, &comm));
    TRI_CHECK(comm, TRI_EBUG, "a twin of %d ranks has not all of them", parent->size);
    ((mpi_state *)comm->state)->is_plain = plain;
    if (node) {
        TRI_CHECK(locals == parent->size, TRI_EUNSUP,
                  "backend node: the %d ranks are on several hosts", parent->size);
        TRI_TRY(tri_node_open(comm, out));
        comm = NULL;
    } else if (wanted) {
        TRI_TRY(mpi_upgrade(TRI_MOVE(comm), locals, out));
    } else {
        TRI_TRY(mpi_add_scratch(comm));
        *out = TRI_MOVE(comm);
    }
    return TRI_OK;
}

static tri_status close_progress(void *work, bool *done)
{
    mpi_state *mpi = NULL;
    memcpy(&mpi, work, sizeof mpi);
    if (mpi->is_world)
        TRI_TRY(TRI_MPI(MPI_Finalize()));
    else
        TRI_TRY(TRI_MPI(MPI_Comm_free(&mpi->comm)));
    *done = true;
    return TRI_OK;
}

static void mpi_close(tri_comm *comm)
{
    mpi_state *mpi = comm->state;
    if (!mpi) return;
    /* After a failure peers may not come to a collective close: the job is ended by abort then. */
    if (mpi->comm != MPI_COMM_NULL &&
        tri_comm_run(comm, close_progress, &mpi, sizeof mpi) != TRI_OK)
        tri_err_clear();
    tri_device_free(comm->device, mpi->scratch);
    TRI_FREE(mpi->requests);
    TRI_FREE(mpi->sources);
    TRI_FREE(comm->state);
}

static void mpi_abort(tri_comm *comm, int exit_code)
{
    (void)comm;
    MPI_Abort(MPI_COMM_WORLD, exit_code);
}

const tri_coll_ops tri_coll_mpi = {
    .name = "mpi",
    .doc = "ranks anywhere, through MPI",
    .progress = mpi_progress,
    .split = mpi_split,
    .split_as = mpi_split_as,
    .abort = mpi_abort,
    .close = mpi_close,
};

/* Asked of the environment, because no MPI call may be made before it is known. */
bool tri_comm_is_launched(void)
{
    static const char *const marks[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE",
                                        "MPI_LOCALRANKID"};
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
        if (getenv(marks[i])) return true;
    return false;
}

tri_status tri_comm_open_mpi(tri_device *device, tri_comm **out)
{
    if (!tri_comm_is_launched()) {
        TRI_TRY(tri_comm_open_self(device, out));
        return TRI_OK;
    }
    int given = 0, started = 0;
    TRI_TRY(TRI_MPI(MPI_Initialized(&started)));
    TRI_CHECK(!started, TRI_EBUG, "the MPI world is opened twice in one process");
    TRI_TRY(TRI_MPI(MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &given)));
    TRI_CHECK(given >= MPI_THREAD_SERIALIZED, TRI_ECOMM,
              "this MPI library allows calls from one thread only (level %d)", given);
    TRI_TRY(TRI_MPI(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN)));
    tri_comm *world = NULL;
    TRI_TRY(mpi_open(&tri_coll_mpi, MPI_COMM_WORLD, device, &world));
    TRI_AUTO(tri_comm) *owned = world;
    mpi_state *mpi = world->state;
    mpi->is_world = true;
    int *room = NULL, locals = 0;
    TRI_TRY(host_find(MPI_COMM_WORLD, world->rank, &mpi->host));
    TRI_TRY(TRI_NEW_ARRAY(world->size, &room));
    tri_status rc = locals_find(MPI_COMM_WORLD, mpi->host, room, &locals);
    TRI_FREE(room);
    TRI_TRY(rc);
    TRI_TRY(mpi_upgrade(TRI_MOVE(owned), locals, out));
    return TRI_OK;
}

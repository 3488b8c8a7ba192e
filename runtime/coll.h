// SPDX-License-Identifier: Apache-2.0
/* Collectives over an ordered group of ranks, whatever carries them.
 *
 * Backends: self (one rank), thread (ranks of one process), node (ranks of one host, through shared
 * memory), hier (two levels: several hosts of equally many ranks, which are neighbours), mpi (all
 * else). Every sum has a stated order, for every size: element i of a reduction is
 * ((x_0[i] + x_1[i]) + x_2[i]) + ... over ranks 0, 1, 2 ..., in fp32 for fp32 and bf16 data (bf16 is
 * rounded once, at the end), in fp64 for fp64. On hier the x are the hosts' sums, in the order of
 * hosts, each made so of its own ranks (and rounded, where they are bf16).
 *
 * Each call takes an `event`. NULL: the call returns when this rank's result is there. Otherwise
 * the work is queued on the communicator's own stream, buffers are the library's until the event
 * has passed, and the calls of one communicator are carried out in the order they were made, which
 * must be the same on all its ranks.
 */
#ifndef TRI_RUNTIME_COLL_H
#define TRI_RUNTIME_COLL_H

#include "runtime/device.h"
#include "runtime/dtype.h"

typedef struct tri_comm tri_comm;

typedef enum tri_redop { TRI_SUM, TRI_MAX, TRI_MIN } tri_redop;

/* What one communicator has moved, by kind of call: for byte counters and tests. */
typedef enum tri_coll_kind {
    TRI_COLL_ALLREDUCE,
    TRI_COLL_REDUCE_SCATTER,
    TRI_COLL_ALLGATHER,
    TRI_COLL_BROADCAST,
    TRI_COLL_ALLTOALL,
    TRI_COLL_SEND,
    TRI_COLL_RECV,
    TRI_COLL_BARRIER,
    TRI_COLL_KINDS
} tri_coll_kind;

/* "all-reduce", ... Not collective. */
const char *tri_coll_kind_name(tri_coll_kind kind);

enum { TRI_COMM_NAME_BYTES = 32 };

typedef struct tri_coll_stats {
    int64_t calls[TRI_COLL_KINDS];
    int64_t payload_bytes[TRI_COLL_KINDS]; /* of this rank's argument, not of the algorithm */
} tri_coll_stats;

/* A communicator of this rank alone. Not collective. Keeps: device. */
TRI_MUST_USE tri_status tri_comm_open_self(tri_device *device, tri_comm **out);

/* Body of a rank that is a thread: gets a world of its own and a device of its own. */
typedef tri_status (*tri_rank_fn)(tri_comm *world, void *arg);

/* Run `n_ranks` threads as ranks of one world and wait for all of them. Not collective.
 *
 * `args` is the device each rank opens. When one rank fails, the others' waits end with TRI_EPEER.
 * Errors: the lowest failing rank's own failure (not TRI_EPEER where there is a cause).
 */
TRI_MUST_USE tri_status tri_comm_run_threads(int n_ranks, const tri_device_args *args,
                                             tri_rank_fn body, void *arg);

/* The ranks that mpirun started: calls MPI_Init_thread. Collective over all of them; once a process.
 *
 * Ranks that share a host communicate through shared memory where it can be had (backend "node"),
 * else by "mpi" with a log line that says why; hosts with equally many ranks in two levels ("hier"). `*argc`, `*argv` as in main.
 * Errors: TRI_ECOMM.
 */
TRI_MUST_USE tri_status tri_comm_open_mpi(tri_device *device, tri_comm **out);

/* Has this process been started by an MPI launcher? Not collective; calls no MPI. */
bool tri_comm_is_launched(void);

/* Close a communicator (for the MPI world: finalize). Collective over its ranks; NULL is fine. */
void tri_comm_close(tri_comm **comm);

/* End all ranks of the job now, with this exit code; does not return under MPI. Not collective. */
void tri_comm_abort(tri_comm *world, int exit_code);

/* Split: ranks that give the same `color` form a communicator, ordered by (key, parent rank).
 * Collective over the parent (and then, one small gather, over what it made); color < 0 gives *out = NULL. Errors: TRI_ECOMM, TRI_ENOMEM. */
TRI_MUST_USE tri_status tri_comm_split(tri_comm *parent, int color, int key, tri_comm **out);

/* A twin of the parent on a given backend, for tests and benchmarks: "mpi" (its splits stay with it),
 * "node", "mpi-native"; "hier:K" takes each K ranks for a host, in its splits, too; ranks as threads
 * have "thread" and "hier:K". Collective over the parent. Errors: TRI_EUNSUP where it cannot be. */
TRI_MUST_USE tri_status tri_comm_split_as(tri_comm *parent, const char *backend, tri_comm **out);

/* Bytes of kind "communication" that a communicator of ranks of mpirun keeps on each of them, where
 * `host_ranks` of them are on each host: n_ranks if they share one, 0 if they are not neighbours, or
 * not equally many. Not collective. */
size_t tri_comm_buffer_bytes(int n_ranks, int host_ranks);

/* What it is made of; backend is its name ("node", ...). Not collective. */
int tri_comm_rank(const tri_comm *comm);
int tri_comm_size(const tri_comm *comm);
const char *tri_comm_backend(const tri_comm *comm);
tri_device *tri_comm_device(const tri_comm *comm);
tri_coll_stats tri_comm_stats(const tri_comm *comm);

/* Host of a rank, counted from 0; 0 for all where they share one or nothing is known. Not collective. */
int tri_comm_host(const tri_comm *comm, int rank);

/* Name the communicator for reports and traces: "data", "zero weights"; "world" is the first's own,
 * others are nameless until then. The first word is the kind under which time spent waiting is reported
 * (tri_device_exposed_of). Not collective. Copies the name; NULL (on paper) is fine. */
void tri_comm_set_name(tri_comm *comm, const char *name);
const char *tri_comm_name(const tri_comm *comm);

/* The number in the world of rank `rank` of this communicator. Not collective. */
int tri_comm_world_rank(const tri_comm *comm, int rank);

/* Seconds that this rank was blocked by calls of this communicator. Not collective. */
double tri_comm_exposed_s(const tri_comm *comm);

/* Memory over which this communicator's reductions and gathers run without staging: node-shared
 * where ranks share a host, plain otherwise. Collective over `comm`, same bytes on all ranks.
 *
 * Zeroed, aligned to 64 bytes; counted on the device under `kind`. Errors: TRI_ENOMEM (before a page
 * is touched: never SIGBUS later).
 */
TRI_MUST_USE tri_status tri_comm_alloc(tri_comm *comm, tri_mem_kind kind, size_t bytes, void **out);

/* Give memory of tri_comm_alloc back. Collective over `comm`; NULL is fine. */
void tri_comm_free(tri_comm *comm, void *memory);

/* data = op over ranks of data. Collective: same count, dtype, op.
 *
 * Shapes: data [n]; SUM takes fp32 bf16 fp64 int64; MAX and MIN take fp32 fp64 int64.
 * Cost: 2 (N-1)/N n elements received per rank. Errors: TRI_EINVAL, TRI_ECOMM, TRI_EPEER.
 */
TRI_MUST_USE tri_status tri_allreduce(tri_comm *comm, tri_span data, tri_redop op,
                                      tri_event *event);

/* out = sum over ranks of in's block of this rank. Collective: same count and dtype.
 *
 * Shapes: in [N*n] (left as it was, except where out lies), out [n], may be in's own block.
 * Cost: (N-1)/N N*n elements received per rank. Types and errors as tri_allreduce.
 */
TRI_MUST_USE tri_status tri_reduce_scatter(tri_comm *comm, tri_span in, tri_span out,
                                           tri_event *event);

/* out's block r = in of rank r. Collective: same count and dtype (any).
 *
 * Shapes: in [n], may be out's own block; out [N*n]. Cost: (N-1) n elements received per rank.
 */
TRI_MUST_USE tri_status tri_allgather(tri_comm *comm, tri_span in, tri_span out, tri_event *event);

/* data = data of rank `root`. Collective: same count, dtype, root. */
TRI_MUST_USE tri_status tri_broadcast(tri_comm *comm, tri_span data, int root, tri_event *event);

/* out's block r = block `this rank` of rank r's in. Collective: same count and dtype.
 * Shapes: in [N*n], out [N*n], distinct. */
TRI_MUST_USE tri_status tri_alltoall(tri_comm *comm, tri_span in, tri_span out, tri_event *event);

/* Send to / receive from one rank; matched in order per pair of ranks. Not collective: the two.
 * A send with an event may pass before the peer has received. Same count and dtype on both ends. */
TRI_MUST_USE tri_status tri_send(tri_comm *comm, tri_span data, int to, tri_event *event);
TRI_MUST_USE tri_status tri_recv(tri_comm *comm, tri_span data, int from, tri_event *event);

/* Wait for all ranks. Collective. Errors: TRI_ECOMM, TRI_EPEER. */
TRI_MUST_USE tri_status tri_barrier(tri_comm *comm);

#endif

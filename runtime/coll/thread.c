// SPDX-License-Identifier: Apache-2.0
/* Ranks that are threads of one process: a peer's address is an address.
 *
 * The ranks of a communicator share one block of memory, freed by the last that closes it. All
 * communicators of a world share its abort word.
 */
#include "runtime/base/thread.h"
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"
#include "runtime/coll/shared.h"

#include <stdlib.h>
#include <string.h>

/* What the ranks of one communicator have in common. */
typedef struct thread_group {
    atomic_int n_open;
    atomic_uint *abort;
    size_t area_bytes;
    char *areas;
} thread_group;

typedef struct thread_state {
    tri_shared shared;
    thread_group *group;
} thread_state;

static void group_close(thread_group *group, int n)
{
    if (!group || atomic_fetch_sub(&group->n_open, n) > n) return;
    if (group->areas) tri_alloc_note(-1);
    free(group->areas);
    TRI_FREE(group);
}

static tri_status group_create(int size, atomic_uint *abort_word, thread_group **out)
{
    thread_group *group = NULL;
    TRI_TRY(TRI_NEW(&group));
    group->abort = abort_word;
    group->area_bytes = tri_shared_area_bytes(0);
    atomic_init(&group->n_open, size);
    size_t bytes = (size_t)size * group->area_bytes;
    group->areas = aligned_alloc(64, bytes);
    if (!group->areas) {
        group_close(group, size);
        TRI_FAIL(TRI_ENOMEM, "allocating %zu bytes for a communicator of %d threads", bytes, size);
    }
    tri_alloc_note(1);
    memset(group->areas, 0, bytes);
    *out = group;
    return TRI_OK;
}

static tri_shared_place thread_publish(tri_shared *shared, void *data, size_t bytes)
{
    (void)shared, (void)bytes;
    return (tri_shared_place){.token = 1, .offset = (uintptr_t)data};
}

static char *thread_locate(tri_shared *shared, int rank, tri_shared_place place)
{
    (void)shared, (void)rank;
    return (char *)(uintptr_t)place.offset;
}

static const tri_shared_ops thread_places = {.publish = thread_publish, .locate = thread_locate};

static tri_status thread_progress(tri_coll_work *work, bool *done)
{
    thread_state *state = work->comm->state;
    if (work->kind == TRI_COLL_SEND)
        TRI_TRY(tri_shared_send(&state->shared, work, done));
    else if (work->kind == TRI_COLL_RECV)
        TRI_TRY(tri_shared_recv(&state->shared, work, done));
    else
        TRI_TRY(tri_shared_progress(&state->shared, work, done));
    return TRI_OK;
}

static void thread_close(tri_comm *comm)
{
    thread_state *state = comm->state;
    if (!state) return;
    tri_shared_fini(&state->shared);
    group_close(state->group, 1);
    TRI_FREE(comm->state);
}

static void thread_abort(tri_comm *comm, int exit_code)
{
    thread_state *state = comm->state;
    (void)exit_code; /* the process goes on: tri_comm_run_threads returns the failure */
    tri_shared_abort(&state->shared);
}

/* A rank's communicator over a group; takes one of the group's openings over. */
static tri_status thread_open(thread_group *group, tri_device *device, int rank, int size,
                              tri_comm **out)
{
    tri_comm *comm = NULL;
    tri_status rc = tri_comm_make(&tri_coll_thread, device, rank, size, &comm);
    if (rc != TRI_OK) group_close(group, 1);
    TRI_TRY(rc);
    TRI_AUTO(tri_comm) *owned = comm;
    thread_state *state = NULL;
    rc = TRI_NEW(&state);
    if (rc != TRI_OK) group_close(group, 1);
    TRI_TRY(rc);
    comm->state = state;
    state->group = group;
    state->shared =
        (tri_shared){.ops = &thread_places, .rank = rank, .size = size, .abort = group->abort};
    TRI_TRY(tri_shared_init(&state->shared));
    for (int r = 0; r < size; r++)
        state->shared.area[r] = group->areas + (size_t)r * group->area_bytes;
    *out = TRI_MOVE(owned);
    return TRI_OK;
}

/* What a rank says when a communicator is split. */
typedef struct split_vote {
    int32_t color, key;
    uint64_t group; /* second round: address, from the first rank of each color */
} split_vote;

/* Where this rank stands among those of its color. */
static void split_rank(const split_vote *votes, int n, int me, int *rank, int *size, int *leader)
{
    *rank = *size = 0;
    *leader = me;
    for (int r = 0; r < n; r++) {
        if (votes[r].color != votes[me].color) continue;
        (*size)++;
        if (r < *leader) *leader = r;
        if (votes[r].key < votes[me].key || (votes[r].key == votes[me].key && r < me)) (*rank)++;
    }
}

static tri_status split_exchange(tri_comm *parent, split_vote *votes)
{
    int64_t bytes = (int64_t)sizeof *votes;
    TRI_TRY(tri_allgather(parent, tri_span_make(&votes[parent->rank], bytes, TRI_U8),
                          tri_span_make(votes, bytes * parent->size, TRI_U8), NULL));
    return TRI_OK;
}

static tri_status split_open(tri_comm *parent, split_vote *votes, tri_comm **out)
{
    thread_state *state = parent->state;
    int rank = 0, size = 0, leader = 0;
    TRI_TRY(split_exchange(parent, votes));
    split_rank(votes, parent->size, parent->rank, &rank, &size, &leader);
    bool joins = votes[parent->rank].color >= 0 && size > 1;
    tri_status rc = TRI_OK;
    if (joins && leader == parent->rank) {
        thread_group *group = NULL;
        rc = group_create(size, state->group->abort, &group);
        votes[parent->rank].group = (uintptr_t)group;
    }
    /* a leader without memory still tells its peers, so that they do not wait */
    TRI_TRY(split_exchange(parent, votes));
    TRI_TRY(rc);
    if (votes[parent->rank].color < 0) {
        *out = NULL;
    } else if (!joins) {
        TRI_TRY(tri_comm_open_self(parent->device, out));
    } else {
        thread_group *group = (thread_group *)(uintptr_t)votes[leader].group;
        TRI_CHECK(group, TRI_EPEER, "rank %d has no memory for a communicator of %d ranks", leader,
                  size);
        TRI_TRY(thread_open(group, parent->device, rank, size, out));
    }
    return TRI_OK;
}

static tri_status thread_split(tri_comm *parent, int color, int key, tri_comm **out)
{
    split_vote *votes = NULL;
    TRI_TRY(TRI_NEW_ARRAY(parent->size, &votes));
    votes[parent->rank] = (split_vote){.color = color, .key = key};
    tri_status rc = split_open(parent, votes, out);
    TRI_FREE(votes);
    TRI_TRY(rc);
    return TRI_OK;
}

static tri_status thread_split_as(tri_comm *parent, const char *backend, tri_comm **out)
{
    int locals = 0;
    TRI_TRY(tri_hier_find(backend, parent->size, &locals));
    TRI_CHECK(locals || strcmp(backend, "thread") == 0, TRI_EUNSUP,
              "ranks that are threads cannot use backend '%s', only 'thread' and 'hier:K'",
              backend);
    TRI_AUTO(tri_comm) *twin = NULL;
    TRI_TRY(thread_split(parent, 0, parent->rank, &twin));
    if (locals)
        TRI_TRY(tri_hier_open(twin, locals, out));
    else
        *out = twin;
    twin = NULL;
    return TRI_OK;
}

const tri_coll_ops tri_coll_thread = {
    .name = "thread",
    .doc = "ranks that are threads of one process",
    .progress = thread_progress,
    .split = thread_split,
    .split_as = thread_split_as,
    .abort = thread_abort,
    .close = thread_close,
};

/* One rank of a world of threads. */
typedef struct thread_rank {
    int rank, size;
    const tri_device_args *args;
    tri_rank_fn body;
    void *arg;
    thread_group *group;
    tri_thread *thread;
    tri_err err;
} thread_rank;

static tri_status rank_run_on(thread_rank *self, tri_device *device)
{
    tri_comm *world = NULL;
    if (self->size == 1) {
        group_close(self->group, 1);
        TRI_TRY(tri_comm_open_self(device, &world));
    } else {
        TRI_TRY(thread_open(self->group, device, self->rank, self->size, &world));
    }
    tri_status rc = self->body(world, self->arg);
    if (rc != TRI_OK) {
        /* Peers stop waiting before this rank's work is drained by the close. */
        tri_err mine;
        tri_err_take(&mine);
        tri_comm_abort(world, 1);
        tri_comm_close(&world);
        (void)tri_err_put(&mine);
        TRI_TRY(rc);
    }
    tri_comm_close(&world);
    return TRI_OK;
}

static tri_status rank_run(thread_rank *self)
{
    TRI_AUTO(tri_device) *device = NULL;
    tri_status rc = tri_device_create(self->args, &device);
    if (rc != TRI_OK) group_close(self->group, 1);
    TRI_TRY(rc);
    TRI_TRY(rank_run_on(self, device));
    return TRI_OK;
}

static void rank_main(void *arg)
{
    thread_rank *self = arg;
    atomic_uint *abort_word = self->group->abort;
    if (rank_run(self) == TRI_OK) return;
    tri_err_take(&self->err);
    unsigned nobody = 0;
    atomic_compare_exchange_strong(abort_word, &nobody, (unsigned)self->rank + 1);
}

/* Start the ranks and wait for those that started. */
static tri_status ranks_run(int n_ranks, thread_rank *ranks, atomic_uint *abort_word)
{
    tri_status rc = TRI_OK;
    int n_started = 0;
    for (; n_started < n_ranks && rc == TRI_OK; n_started++)
        rc = tri_thread_start("trireme-rank", rank_main, &ranks[n_started],
                              &ranks[n_started].thread);
    if (rc != TRI_OK) {
        n_started--;
        atomic_store(abort_word, (unsigned)n_started + 1);
        group_close(ranks[0].group, n_ranks - n_started);
    }
    for (int r = 0; r < n_started; r++)
        tri_thread_wait(&ranks[r].thread);
    TRI_TRY(rc);
    const tri_err *first = NULL;
    for (int r = 0; r < n_ranks; r++) {
        const tri_err *err = &ranks[r].err;
        if (err->code == TRI_OK) continue;
        if (!first || (first->code == TRI_EPEER && err->code != TRI_EPEER)) first = err;
    }
    if (first) TRI_TRY(tri_err_put(first));
    return TRI_OK;
}

tri_status tri_comm_run_threads(int n_ranks, const tri_device_args *args, tri_rank_fn body,
                                void *arg)
{
    TRI_CHECK(n_ranks >= 1 && n_ranks <= TRI_SHARED_MAX_RANKS, TRI_EINVAL,
              "%d ranks as threads: 1 to %d are possible", n_ranks, TRI_SHARED_MAX_RANKS);
    atomic_uint abort_word = 0;
    thread_group *group = NULL;
    thread_rank *ranks = NULL;
    TRI_TRY(TRI_NEW_ARRAY(n_ranks, &ranks));
    tri_status rc = group_create(n_ranks, &abort_word, &group);
    if (rc == TRI_OK) {
        for (int r = 0; r < n_ranks; r++)
            ranks[r] = (thread_rank){
                .rank = r, .size = n_ranks, .args = args, .body = body, .arg = arg, .group = group};
        rc = ranks_run(n_ranks, ranks, &abort_word);
    }
    TRI_FREE(ranks);
    TRI_TRY(rc);
    return TRI_OK;
}

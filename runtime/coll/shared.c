// SPDX-License-Identifier: Apache-2.0
/* Collectives between ranks that see common memory, as a state machine.
 *
 * enter -> small                         the whole call fits the small bounce buffer: one step
 *       -> meet -> direct -> leave       peers reach each other's buffers: two steps
 *       -> meet -> piece (-> spread) ... through the large bounce buffer, one or two steps a piece
 *
 * Invariants that make buffers safe to write again: a rank arrives at its next step only after it
 * has read all that the step before offered; the two halves of a bounce buffer take turns; every
 * call that is not small begins with a step of its own. Nobody fails between `direct` and the end of
 * `leave`, so a rank that leaves knows that no peer reads its buffer any more.
 */
#include "runtime/coll/shared.h"

#include "runtime/base/alloc.h"
#include "runtime/base/int.h"
#include "runtime/coll/sum.h"

#include <assert.h>

enum { PHASE_ENTER, PHASE_SMALL, PHASE_MEET, PHASE_DIRECT, PHASE_LEAVE, PHASE_PIECE, PHASE_SPREAD };

enum {
    DIRECT_BYTES = 512 << 10,   /* worked on in one poll */
    PAST_CACHE_BYTES = 8 << 20, /* results from this size on are written past the cache */
    PIECE_ELEMENTS = 64,        /* borders between ranks: whole cache lines of every type */
    POLLS_PER_CHECK = 4096
};

/* The shape of a call: what a block is, and how much of it one round takes. */
typedef struct shape {
    size_t element; /* bytes */
    int64_t block;  /* elements of one rank's block */
    int64_t total;  /* elements to go through, of each block */
    bool blocked;   /* `in` is one block per rank; this rank needs its own of every peer */
} shape;

size_t tri_shared_area_bytes(int64_t bounce_bytes)
{
    size_t bytes = sizeof(tri_shared_slot) + 2 * TRI_SHARED_MAIL_BYTES + 2 * TRI_SHARED_SMALL_BYTES;
    return bytes + (size_t)tri_round_up(bounce_bytes, 64);
}

tri_status tri_shared_init(tri_shared *shared)
{
    TRI_TRY(TRI_NEW_ARRAY(shared->size, &shared->area));
    TRI_TRY(TRI_NEW_ARRAY(shared->size, &shared->base));
    TRI_TRY(TRI_NEW_ARRAY(shared->size, &shared->source));
    TRI_TRY(TRI_NEW_ARRAY(shared->size, &shared->target));
    return TRI_OK;
}

void tri_shared_fini(tri_shared *shared)
{
    TRI_FREE(shared->area);
    TRI_FREE(shared->base);
    TRI_FREE(shared->source);
    TRI_FREE(shared->target);
}

void tri_shared_abort(tri_shared *shared)
{
    unsigned nobody = 0;
    atomic_compare_exchange_strong(shared->abort, &nobody, (unsigned)shared->rank + 1);
}

static tri_status check_alive(tri_shared *shared)
{
    if (++shared->idle % POLLS_PER_CHECK == 0 && shared->ops->check)
        TRI_TRY(shared->ops->check(shared));
    return TRI_OK;
}

tri_status tri_shared_check(tri_shared *shared)
{
    unsigned failed = atomic_load_explicit(shared->abort, memory_order_acquire);
    TRI_CHECK(!failed, TRI_EPEER, "rank %u failed, rank %d stops waiting for its peers", failed - 1,
              shared->rank);
    TRI_TRY(check_alive(shared));
    return TRI_OK;
}

static char *small_of(const tri_shared *shared, int rank)
{
    return tri_shared_mail_of(shared, rank, 0) + 2 * TRI_SHARED_MAIL_BYTES +
           shared->n_small % 2 * TRI_SHARED_SMALL_BYTES;
}

static char *bounce_of(const tri_shared *shared, int rank, int half)
{
    return tri_shared_mail_of(shared, rank, 0) + 2 * TRI_SHARED_MAIL_BYTES +
           2 * TRI_SHARED_SMALL_BYTES + half * (shared->bounce_bytes / 2);
}

static void shared_arrive(tri_shared *shared, tri_coll_work *work)
{
    tri_coll_fence();
    work->round = 0; /* peers seen at this step */
    atomic_store_explicit(&tri_shared_slot_of(shared, shared->rank)->arrived, ++shared->step,
                          memory_order_release);
}

static bool shared_all_arrived(const tri_shared *shared, tri_coll_work *work)
{
    for (; work->round < shared->size; work->round++) {
        const tri_shared_slot *slot = tri_shared_slot_of(shared, work->round);
        if (atomic_load_explicit(&slot->arrived, memory_order_acquire) < shared->step) return false;
    }
    return true;
}

static shape shape_of(const tri_shared *shared, const tri_coll_work *work)
{
    shape s = {.element = tri_dtype_bytes(work->in.dtype), .block = work->in.count};
    s.blocked = work->kind == TRI_COLL_ALLTOALL || work->kind == TRI_COLL_REDUCE_SCATTER;
    if (s.blocked) s.block /= shared->size;
    s.total = s.block;
    return s;
}

/* This rank's part of [0, n) where the ranks divide a reduction among themselves. */
static void divide(const tri_shared *shared, int rank, int64_t n, int64_t *begin, int64_t *count)
{
    int64_t part = tri_round_up((n + shared->size - 1) / shared->size, PIECE_ELEMENTS);
    *begin = tri_min64(n, rank * part);
    *count = tri_min64(part, n - *begin);
}

/* Elements of each block that one round takes through the bounce buffer. */
static int64_t piece_elements(const tri_shared *shared, const shape *s)
{
    int64_t half = shared->bounce_bytes / 2 / (int64_t)s->element;
    if (s->blocked) half /= shared->size;
    assert(half > 0);
    return half > PIECE_ELEMENTS ? half / PIECE_ELEMENTS * PIECE_ELEMENTS : half;
}

/* Results that are large, and lie where nothing was read before. */
static bool is_past_cache(const tri_coll_work *work)
{
    const char *in = work->in.data, *out = work->out.data;
    bool in_place = work->kind == TRI_COLL_ALLREDUCE;
    if (work->kind == TRI_COLL_REDUCE_SCATTER)
        in_place = out >= in && out < in + tri_span_bytes(work->in);
    return !in_place && tri_span_bytes(work->out) >= PAST_CACHE_BYTES;
}

/* Offer elements [begin, begin + n) of each block to the peers, at `to`. */
static void deposit(const tri_shared *shared, const tri_coll_work *work, const shape *s,
                    int64_t begin, int64_t n, char *to)
{
    if (work->kind == TRI_COLL_BROADCAST && work->peer != shared->rank) return;
    const char *in = work->in.data;
    size_t bytes = (size_t)n * s->element;
    if (work->kind == TRI_COLL_ALLREDUCE && work->phase != PHASE_ENTER) {
        /* this rank's own part is summed from its buffer itself */
        int64_t own = 0, count = 0;
        divide(shared, shared->rank, n, &own, &count);
        size_t head = (size_t)own * s->element, tail = (size_t)(own + count) * s->element;
        in += (size_t)begin * s->element;
        tri_coll_copy(to, in, head, true);
        tri_coll_copy(to + tail, in + tail, bytes - tail, true);
        return;
    }
    for (int r = 0; r < (s->blocked ? shared->size : 1); r++) {
        if (s->blocked && r == shared->rank) continue;
        tri_coll_copy(to + (size_t)r * bytes, in + (size_t)(r * s->block + begin) * s->element,
                      bytes, bytes >= TRI_SHARED_DEPOSIT_BYTES);
    }
}

/* Set source[r] to where elements [begin, ...) of what this rank needs from rank r lie. `stride` is
 * the distance of blocks in the peers' buffers, from `first` elements of a block on. */
static void point_sources(tri_shared *shared, const tri_coll_work *work, const shape *s,
                          int64_t begin, int64_t first, int64_t stride)
{
    int64_t block = s->blocked ? shared->rank : 0;
    for (int r = 0; r < shared->size; r++) {
        size_t at = (size_t)(block * stride + begin - first) * s->element;
        /* NULL: a rank whose buffer is not looked at, as in a broadcast from another */
        shared->source[r] = shared->base[r] ? shared->base[r] + at : NULL;
    }
    shared->source[shared->rank] =
        (const char *)work->in.data + (size_t)(block * s->block + begin) * s->element;
}

/* Make elements [begin, begin + n) of the result from the sources. */
static void collect(tri_shared *shared, const tri_coll_work *work, const shape *s, int64_t begin,
                    int64_t n)
{
    char *out = (char *)work->out.data + (size_t)begin * s->element;
    size_t bytes = (size_t)n * s->element;
    bool past_cache = is_past_cache(work);
    if (work->kind == TRI_COLL_ALLREDUCE || work->kind == TRI_COLL_REDUCE_SCATTER) {
        void *outs[1] = {out};
        tri_coll_reduce(work->in.dtype, work->op, shared->size, shared->source, 1, outs, n,
                        past_cache);
    } else if (work->kind == TRI_COLL_BROADCAST) {
        if (work->peer != shared->rank)
            tri_coll_copy(out, shared->source[work->peer], bytes, past_cache);
    } else {
        for (int i = 0; i < shared->size; i++) {
            int r = (shared->rank + i) % shared->size; /* spread over the peers' memory */
            char *to = out + (size_t)(r * s->block) * s->element;
            if (to != shared->source[r]) tri_coll_copy(to, shared->source[r], bytes, past_cache);
        }
    }
}

static void enter(tri_shared *shared, tri_coll_work *work, const shape *s)
{
    if (work->kind == TRI_COLL_BARRIER) {
        work->phase = PHASE_LEAVE;
    } else if (tri_span_bytes(work->in) <= TRI_SHARED_SMALL_BYTES) {
        deposit(shared, work, s, 0, s->block, small_of(shared, shared->rank));
        work->phase = PHASE_SMALL;
    } else {
        tri_shared_slot_of(shared, shared->rank)->place =
            shared->ops->publish(shared, work->in.data, tri_span_bytes(work->in));
        work->phase = PHASE_MEET;
    }
    shared_arrive(shared, work);
}

static void small(tri_shared *shared, tri_coll_work *work, const shape *s)
{
    for (int r = 0; r < shared->size; r++)
        shared->base[r] = small_of(shared, r);
    point_sources(shared, work, s, 0, 0, s->block);
    collect(shared, work, s, 0, s->block);
    shared->n_small++;
}

/* Offer the next piece of a call that goes through the bounce buffers. */
static void offer(tri_shared *shared, tri_coll_work *work, const shape *s)
{
    int64_t n = tri_min64(piece_elements(shared, s), s->total - work->position);
    int half = work->kind == TRI_COLL_ALLREDUCE ? 0 : (int)(work->step % 2);
    deposit(shared, work, s, work->position, n, bounce_of(shared, shared->rank, half));
    work->phase = PHASE_PIECE;
    shared_arrive(shared, work);
}

static void meet(tri_shared *shared, tri_coll_work *work, const shape *s)
{
    bool direct = true;
    for (int r = 0; r < shared->size; r++) {
        tri_shared_place place = tri_shared_slot_of(shared, r)->place;
        shared->base[r] = place.token ? shared->ops->locate(shared, r, place) : NULL;
        if (work->kind != TRI_COLL_BROADCAST || r == work->peer) direct &= place.token != 0;
    }
    if (direct)
        work->phase = PHASE_DIRECT;
    else
        offer(shared, work, s);
}

/* Work on the next part of buffers that all can reach; true when this rank's share is done. */
static bool direct(tri_shared *shared, tri_coll_work *work, const shape *s)
{
    int64_t begin = 0, count = s->total;
    bool in_place_sum = work->kind == TRI_COLL_ALLREDUCE;
    if (in_place_sum) divide(shared, shared->rank, s->total, &begin, &count);
    int64_t n = tri_min64(DIRECT_BYTES / (int64_t)s->element, count - work->position);
    if (n > 0) {
        point_sources(shared, work, s, begin + work->position, 0, s->block);
        if (in_place_sum) {
            /* every rank's copy of the sum is written by the one rank that read the inputs */
            for (int r = 0; r < shared->size; r++)
                shared->target[r] = shared->base[r] + (size_t)(begin + work->position) * s->element;
            tri_coll_reduce(work->in.dtype, work->op, shared->size, shared->source, shared->size,
                            shared->target, n, false);
        } else {
            collect(shared, work, s, work->position, n);
        }
        work->position += n;
    }
    return work->position >= count;
}

/* Sum this rank's part of a piece that all have offered, for itself and for the peers. */
static void sum_piece(tri_shared *shared, tri_coll_work *work, const shape *s, int64_t n)
{
    int64_t begin = 0, count = 0;
    divide(shared, shared->rank, n, &begin, &count);
    point_sources(shared, work, s, work->position + begin, work->position, 0);
    void *outs[1] = {(char *)work->out.data + (size_t)(work->position + begin) * s->element};
    tri_coll_reduce(work->in.dtype, work->op, shared->size, shared->source, 1, outs, count, false);
    tri_coll_copy(bounce_of(shared, shared->rank, 1), outs[0], (size_t)count * s->element, true);
}

/* Take the other ranks' parts of the sum. */
static void spread(tri_shared *shared, tri_coll_work *work, const shape *s, int64_t n)
{
    for (int i = 1; i < shared->size; i++) {
        int r = (shared->rank + i) % shared->size;
        int64_t begin = 0, count = 0;
        divide(shared, r, n, &begin, &count);
        tri_coll_copy((char *)work->out.data + (size_t)(work->position + begin) * s->element,
                      bounce_of(shared, r, 1), (size_t)count * s->element, false);
    }
}

/* One step of a call through the bounce buffers; true when the last one is done. */
static bool piece(tri_shared *shared, tri_coll_work *work, const shape *s)
{
    int64_t n = tri_min64(piece_elements(shared, s), s->total - work->position);
    if (work->kind == TRI_COLL_ALLREDUCE && work->phase == PHASE_PIECE) {
        for (int r = 0; r < shared->size; r++)
            shared->base[r] = bounce_of(shared, r, 0);
        sum_piece(shared, work, s, n);
        work->phase = PHASE_SPREAD;
        shared_arrive(shared, work);
        return false;
    }
    if (work->kind == TRI_COLL_ALLREDUCE) {
        spread(shared, work, s, n);
    } else {
        for (int r = 0; r < shared->size; r++)
            shared->base[r] = bounce_of(shared, r, (int)(work->step % 2));
        point_sources(shared, work, s, work->position, work->position, n);
        collect(shared, work, s, work->position, n);
    }
    work->position += n;
    work->step++;
    if (work->position >= s->total) return true;
    offer(shared, work, s);
    return false;
}

tri_status tri_shared_progress(tri_shared *shared, tri_coll_work *work, bool *done)
{
    shape s = shape_of(shared, work);
    if (work->phase == PHASE_ENTER) {
        enter(shared, work, &s);
    }
    if (work->phase == PHASE_DIRECT) {
        if (!direct(shared, work, &s)) return TRI_OK;
        work->phase = PHASE_LEAVE;
        shared_arrive(shared, work);
    }
    if (!shared_all_arrived(shared, work)) {
        bool leaves = work->phase == PHASE_LEAVE && work->kind != TRI_COLL_BARRIER;
        TRI_TRY(leaves ? check_alive(shared) : tri_shared_check(shared));
        return TRI_OK;
    }
    shared->idle = 0;
    switch (work->phase) {
    case PHASE_SMALL:
        small(shared, work, &s);
        *done = true;
        break;
    case PHASE_MEET:
        meet(shared, work, &s);
        break;
    case PHASE_LEAVE:
        *done = true;
        break;
    default:
        *done = piece(shared, work, &s);
        break;
    }
    return TRI_OK;
}

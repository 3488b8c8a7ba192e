// SPDX-License-Identifier: Apache-2.0
/* Collectives between ranks that see common memory: what backends thread and node have in common.
 *
 * Each rank owns an area in common memory: a slot with its step counter, small and large bounce
 * buffers, and a mailbox. Ranks take the same steps in the same order; a rank arrives at step s by
 * storing s in its slot, and goes on when all have. A buffer that peers can address is worked on in
 * place ("direct"), else it goes through the bounce buffers piece by piece.
 */
#ifndef TRI_RUNTIME_COLL_SHARED_H
#define TRI_RUNTIME_COLL_SHARED_H

#include "runtime/coll/coll_impl.h"

#include <stdatomic.h>

enum {
    TRI_SHARED_SMALL_BYTES = 64 << 10, /* calls up to here: one step, no addresses */
    TRI_SHARED_MAIL_BYTES = 64 << 10,
    /* What is put into a bounce buffer or a mailbox is written past the cache from this size on: the
     * peers' caches still hold the lines of what was there before, and taking them back one by one
     * was measured at a tenth of the rate. */
    TRI_SHARED_DEPOSIT_BYTES = 16 << 10,
    TRI_SHARED_MAX_RANKS = 1024
};

/* Where a buffer is, in words that a peer can use; token 0: the peer cannot reach it. */
typedef struct tri_shared_place {
    uint64_t token;
    uint64_t offset;
} tri_shared_place;

/* One piece of a message. `address` = index of the piece << 20 | receiver + 1. */
typedef struct tri_shared_letter {
    atomic_ullong address;
    uint64_t total_bytes;
    uint64_t bytes;
    tri_shared_place place; /* token not 0: copy from there, else from the mailbox */
} tri_shared_letter;

/* The head of a rank's area; peers read all of it, write only `taken`. */
typedef struct tri_shared_slot {
    _Alignas(64) atomic_ullong arrived;
    _Alignas(64) tri_shared_place place;
    _Alignas(64) tri_shared_letter letters[2];
    _Alignas(64) atomic_ullong taken; /* letters taken by their receivers */
    _Alignas(64) atomic_uint abort;   /* used in rank 0's slot where processes share memory */
} tri_shared_slot;

typedef struct tri_shared tri_shared;

/* What differs between ranks of a process and ranks of a host. */
typedef struct tri_shared_ops {
    /* the place of `bytes` bytes at `data` of this rank; token 0 if peers cannot reach them */
    tri_shared_place (*publish)(tri_shared *shared, void *data, size_t bytes);
    /* where a place of `rank` is here */
    char *(*locate)(tri_shared *shared, int rank, tri_shared_place place);
    /* optional, called now and then while a rank waits: are the peers alive? TRI_EPEER */
    tri_status (*check)(tri_shared *shared);
} tri_shared_ops;

/* One rank's view of a communicator. */
struct tri_shared {
    const tri_shared_ops *ops;
    int rank, size;
    int64_t bounce_bytes; /* 0: all buffers can be reached */
    atomic_uint *abort;   /* in common memory: rank + 1 of the first that failed */
    char **area;          /* [size] */
    char **base;          /* [size] of the call under way: the peers' buffers */
    const void **source;  /* [size] */
    void **target;        /* [size] */
    uint64_t step;        /* steps this rank has arrived at */
    uint64_t n_small;
    uint64_t sent; /* letters */
    uint32_t idle; /* fruitless polls */
};

/* Bytes of one rank's area, a multiple of 64. Not collective. */
size_t tri_shared_area_bytes(int64_t bounce_bytes);

/* Allocate the arrays of a view whose other fields are set, and free them. Not collective. */
TRI_MUST_USE tri_status tri_shared_init(tri_shared *shared);
void tri_shared_fini(tri_shared *shared);

/* Poll a collective, a send or a receive. Collective. Errors: TRI_EPEER. */
TRI_MUST_USE tri_status tri_shared_progress(tri_shared *shared, tri_coll_work *work, bool *done);
TRI_MUST_USE tri_status tri_shared_send(tri_shared *shared, tri_coll_work *work, bool *done);
TRI_MUST_USE tri_status tri_shared_recv(tri_shared *shared, tri_coll_work *work, bool *done);

/* Tell the peers that this rank failed; the first to say so is remembered. Not collective. */
void tri_shared_abort(tri_shared *shared);

/* Has a peer failed? To be asked where a rank waits for it. Not collective. Errors: TRI_EPEER. */
TRI_MUST_USE tri_status tri_shared_check(tri_shared *shared);

/* The head of a rank's area; its two mail pieces follow, then small and large bounce buffers. Not
 * collective. */
static inline tri_shared_slot *tri_shared_slot_of(const tri_shared *shared, int rank)
{
    return (void *)shared->area[rank];
}

/* The piece of a rank's mailbox that `letter` uses. Not collective. */
static inline char *tri_shared_mail_of(const tri_shared *shared, int rank, uint64_t letter)
{
    return shared->area[rank] + sizeof(tri_shared_slot) + letter % 2 * TRI_SHARED_MAIL_BYTES;
}

#endif

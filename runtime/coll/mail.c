// SPDX-License-Identifier: Apache-2.0
/* Messages between two ranks that see common memory.
 *
 * A rank has one outgoing mailbox of two pieces, whoever the receiver is: its messages go out in the
 * order they were sent. A letter says whom its piece is for; the receiver takes it and counts
 * `taken` up, which frees the piece. Large buffers that the receiver can reach are not copied into
 * the mailbox: the letter says where they are.
 */
#include "runtime/coll/shared.h"
#include "runtime/coll/sum.h"

#include "runtime/base/int.h"

static uint64_t mail_address(uint64_t letter, int to)
{
    return letter << 20 | (uint64_t)(to + 1);
}

/* Piece `letter` is written: tell its receiver. */
static void mail_post(tri_shared *shared, const tri_coll_work *work, uint64_t bytes,
                      tri_shared_place place)
{
    tri_shared_letter *letter =
        &tri_shared_slot_of(shared, shared->rank)->letters[shared->sent % 2];
    letter->total_bytes = tri_span_bytes(work->in);
    letter->bytes = bytes;
    letter->place = place;
    tri_coll_fence();
    atomic_store_explicit(&letter->address, mail_address(shared->sent, work->peer),
                          memory_order_release);
    shared->sent++;
}

tri_status tri_shared_send(tri_shared *shared, tri_coll_work *work, bool *done)
{
    tri_shared_slot *mine = tri_shared_slot_of(shared, shared->rank);
    uint64_t taken = atomic_load_explicit(&mine->taken, memory_order_acquire);
    int64_t bytes = (int64_t)tri_span_bytes(work->in);
    if (work->phase == 1) { /* the receiver copies from this rank's buffer */
        *done = taken == shared->sent;
        if (!*done) TRI_TRY(tri_shared_check(shared));
        return TRI_OK;
    }
    while (work->position < bytes) {
        taken = atomic_load_explicit(&mine->taken, memory_order_acquire);
        if (shared->sent - taken >= 2) {
            TRI_TRY(tri_shared_check(shared));
            return TRI_OK;
        }
        tri_shared_place place = {0};
        if (work->position == 0 && bytes > TRI_SHARED_MAIL_BYTES)
            place = shared->ops->publish(shared, work->in.data, (size_t)bytes);
        if (place.token) {
            mail_post(shared, work, (uint64_t)bytes, place);
            work->phase = 1;
            return TRI_OK;
        }
        int64_t n = tri_min64(bytes - work->position, TRI_SHARED_MAIL_BYTES);
        tri_coll_copy(tri_shared_mail_of(shared, shared->rank, shared->sent),
                      (const char *)work->in.data + work->position, (size_t)n,
                      n >= TRI_SHARED_DEPOSIT_BYTES);
        mail_post(shared, work, (uint64_t)n, place);
        work->position += n;
    }
    *done = true;
    return TRI_OK;
}

/* Copy one letter's piece behind what this message has brought so far. */
static tri_status mail_take(tri_shared *shared, tri_coll_work *work,
                            const tri_shared_letter *letter, uint64_t index)
{
    size_t bytes = tri_span_bytes(work->out);
    if (letter->total_bytes != bytes) {
        tri_shared_abort(shared);
        TRI_FAIL(TRI_EINVAL, "receiving %zu bytes from rank %d, which sent %llu", bytes, work->peer,
                 (unsigned long long)letter->total_bytes);
    }
    const char *from = letter->place.token ? shared->ops->locate(shared, work->peer, letter->place)
                                           : tri_shared_mail_of(shared, work->peer, index);
    tri_coll_copy((char *)work->out.data + work->position, from, letter->bytes, false);
    work->position += (int64_t)letter->bytes;
    return TRI_OK;
}

tri_status tri_shared_recv(tri_shared *shared, tri_coll_work *work, bool *done)
{
    tri_shared_slot *theirs = tri_shared_slot_of(shared, work->peer);
    int64_t bytes = (int64_t)tri_span_bytes(work->out);
    while (work->position < bytes) {
        uint64_t index = atomic_load_explicit(&theirs->taken, memory_order_acquire);
        tri_shared_letter *letter = &theirs->letters[index % 2];
        if (atomic_load_explicit(&letter->address, memory_order_acquire) !=
            mail_address(index, shared->rank)) {
            TRI_TRY(tri_shared_check(shared));
            return TRI_OK;
        }
        TRI_TRY(mail_take(shared, work, letter, index));
        atomic_store_explicit(&theirs->taken, index + 1, memory_order_release);
    }
    *done = true;
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* One lock guards three numbers: `front`, the next unit that the writer will take; `back`, the first
 * that the owner has claimed; and `copied`, the first that the owner has copied. front <= back.
 */
#include "checkpoint/handover.h"

#include "runtime/base/alloc.h"
#include "runtime/base/int.h"
#include "runtime/base/thread.h"

#include <string.h>

struct tri_handover {
    const tri_unit *units;
    int64_t n_units, n_still;
    int64_t bytes; /* of all units */
    char *buffer;
    int64_t buffer_bytes;
    char *staging;
    tri_mutex mutex;
    tri_cond changed;
    int64_t front, back, copied;
    bool is_live; /* the writer reads live memory */
};

tri_status tri_handover_create(const tri_unit *units, int64_t n_units, int64_t n_still,
                               tri_handover **out)
{
    tri_handover *handover = NULL;
    TRI_TRY(TRI_NEW(&handover));
    handover->units = units;
    handover->n_units = n_units;
    handover->n_still = n_still;
    if (n_units) handover->bytes = units[n_units - 1].before + units[n_units - 1].bytes;
    tri_mutex_init(&handover->mutex);
    tri_cond_init(&handover->changed);
    *out = handover;
    return TRI_OK;
}

void tri_handover_destroy(tri_handover **handover)
{
    if (!*handover) return;
    tri_cond_fini(&(*handover)->changed);
    tri_mutex_fini(&(*handover)->mutex);
    TRI_FREE(*handover);
}

void tri_handover_use(tri_handover *handover, char *buffer, int64_t buffer_bytes, char *staging)
{
    handover->buffer = buffer;
    handover->buffer_bytes = buffer ? buffer_bytes : 0;
    handover->staging = staging;
}

void tri_handover_begin(tri_handover *handover)
{
    tri_mutex_lock(&handover->mutex);
    handover->front = 0;
    handover->back = handover->n_units;
    handover->copied = handover->n_units;
    handover->is_live = false;
    tri_mutex_unlock(&handover->mutex);
}

/* Bytes from the beginning of a unit to the end of all: copies lie at the end of the buffer. */
static int64_t handover_rest(const tri_handover *handover, int64_t index)
{
    return handover->bytes - handover->units[index].before;
}

static char *handover_copy_of(const tri_handover *handover, int64_t index)
{
    return handover->buffer + (handover->buffer_bytes - handover_rest(handover, index));
}

void tri_handover_guard(tri_handover *handover)
{
    tri_mutex_lock(&handover->mutex);
    while (tri_max64(handover->front, handover->n_still) < handover->back) {
        int64_t unit = handover->back - 1;
        if (handover_rest(handover, unit) > handover->buffer_bytes) {
            tri_cond_wait(&handover->changed, &handover->mutex);
            continue;
        }
        handover->back = unit;
        tri_mutex_unlock(&handover->mutex);
        memcpy(handover_copy_of(handover, unit), handover->units[unit].data,
               (size_t)handover->units[unit].bytes);
        tri_mutex_lock(&handover->mutex);
        handover->copied = unit;
        tri_cond_wake_all(&handover->changed);
    }
    while (handover->is_live)
        tri_cond_wait(&handover->changed, &handover->mutex);
    tri_mutex_unlock(&handover->mutex);
}

/* The writer no longer reads live memory. Lock held. */
static void handover_let_go(tri_handover *handover)
{
    if (!handover->is_live) return;
    handover->is_live = false;
    tri_cond_wake_all(&handover->changed);
}

const char *tri_handover_take(tri_handover *handover, int64_t index)
{
    const tri_unit *unit = &handover->units[index];
    if (index < handover->n_still) return unit->data;
    tri_mutex_lock(&handover->mutex);
    handover_let_go(handover);
    bool is_claimed = index >= handover->back;
    while (is_claimed && index < handover->copied)
        tri_cond_wait(&handover->changed, &handover->mutex);
    handover->is_live = !is_claimed;
    if (!is_claimed) handover->front = index + 1;
    tri_mutex_unlock(&handover->mutex);
    if (is_claimed) return handover_copy_of(handover, index);
    if (!handover->staging) return unit->data;

    memcpy(handover->staging, unit->data, (size_t)unit->bytes);
    tri_mutex_lock(&handover->mutex);
    handover_let_go(handover);
    tri_mutex_unlock(&handover->mutex);
    return handover->staging;
}

void tri_handover_end(tri_handover *handover)
{
    tri_mutex_lock(&handover->mutex);
    handover->front = handover->n_units;
    handover->back = handover->n_units;
    handover_let_go(handover);
    tri_cond_wake_all(&handover->changed);
    tri_mutex_unlock(&handover->mutex);
}

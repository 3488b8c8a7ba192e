// SPDX-License-Identifier: Apache-2.0
/* Memory on its way to the disk while its owner waits to change it. The writer takes units from the
 * front, in order; before the owner changes the memory it copies those not yet taken, from the back on,
 * to a buffer. Where the buffer is full, the owner waits until the writer has come to what was copied.
 *
 * The writer holds live memory only while it copies one unit to its staging buffer, so that a slow disk
 * never makes the owner wait (without staging, until it takes the next).
 */
#ifndef TRI_CHECKPOINT_HANDOVER_H
#define TRI_CHECKPOINT_HANDOVER_H

#include "runtime/base/status.h"

enum { TRI_HANDOVER_UNIT_BYTES = 1 << 20 }; /* at most */

/* One piece of memory and its place. */
typedef struct tri_unit {
    const char *data;
    int64_t bytes;
    int64_t before; /* bytes of the units before it */
    int64_t offset; /* in the file */
    int64_t block; /* the checksum block of which it is part; those of a block follow one another */
} tri_unit;

typedef struct tri_handover tri_handover;

/* The first `n_still` units are of memory that does not change. Not collective. Keeps: units. */
TRI_MUST_USE tri_status tri_handover_create(const tri_unit *units, int64_t n_units, int64_t n_still,
                                            tri_handover **out);
void tri_handover_destroy(tri_handover **handover);

/* Where to copy to: `buffer` (NULL: nowhere, the owner waits for the writer) and `staging` of
 * TRI_HANDOVER_UNIT_BYTES (NULL: none). Not collective; not while units are taken. Keeps: both. */
void tri_handover_use(tri_handover *handover, char *buffer, int64_t buffer_bytes, char *staging);

/* The owner: the memory is as it is to be written, from now on until guarded. Not collective. */
void tri_handover_begin(tri_handover *handover);

/* The owner: the memory may change when this returns. Not collective. Cost: a copy of the units not yet
 * taken; waits as said above. */
void tri_handover_guard(tri_handover *handover);

/* The writer: the bytes of unit `index` as they were at begin, until the next call of take or end. Units are
 * taken in order, each once. Not collective. */
const char *tri_handover_take(tri_handover *handover, int64_t index);

/* The writer: no more units will be taken. Not collective. */
void tri_handover_end(tri_handover *handover);

#endif

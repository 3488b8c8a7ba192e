// SPDX-License-Identifier: Apache-2.0
/* Declare buffers, know their bytes, then allocate all of them at once.
 *
 * Everything a job keeps for its whole life is declared here, by the same code whether it will run
 * or not: `trireme check` declares and prints, `train` declares and commits. So the prediction and
 * the allocation cannot drift apart.
 */
#ifndef TRI_RUNTIME_ARENA_H
#define TRI_RUNTIME_ARENA_H

#include "runtime/coll.h"
#include "runtime/device.h"

typedef struct tri_arena tri_arena;

/* An empty list of declarations. Not collective. Errors: TRI_ENOMEM. */
TRI_MUST_USE tri_status tri_arena_create(tri_arena **out);

/* Free the list and, if committed without a communicator, the memory. NULL is fine. Not collective
 * unless a shared entry was committed: then all ranks of that communicator destroy together. */
void tri_arena_destroy(tri_arena **arena);

/* Declare `count` elements of `dtype`. Not collective.
 *
 * Keeps: `where` (may be NULL), which commit sets to the buffer (zeroed, aligned to 64 bytes).
 * Errors: TRI_ENOMEM, TRI_EINVAL on overflow.
 */
TRI_MUST_USE tri_status tri_arena_add(tri_arena *arena, tri_mem_kind kind, int64_t count,
                                      tri_dtype dtype, void **where);

/* Declare a buffer on which collectives of the communicator given to commit run without staging.
 * Not collective; otherwise as tri_arena_add. */
TRI_MUST_USE tri_status tri_arena_add_shared(tri_arena *arena, tri_mem_kind kind, int64_t count,
                                             tri_dtype dtype, void **where);

/* Bytes declared of one kind, as the device will count them. Not collective. */
size_t tri_arena_bytes(const tri_arena *arena, tri_mem_kind kind);

/* Allocate all that was declared. Collective over `shared` if there are shared entries.
 *
 * Keeps: device, shared. Errors: TRI_ENOMEM.
 */
TRI_MUST_USE tri_status tri_arena_commit(tri_arena *arena, tri_device *device, tri_comm *shared);

#endif

// SPDX-License-Identifier: Apache-2.0
/* Buffers that units take turns in. What is decided here depends on the calls made and on nothing else,
 * so that all ranks of a group decide alike, and the prediction does.
 */
#ifndef TRI_PARALLEL_ZERO_POOL_H
#define TRI_PARALLEL_ZERO_POOL_H

#include "runtime/device.h"

/* A buffer for the whole of one bucket. */
typedef struct zero_slot {
    int64_t capacity; /* exactly: elements of the buckets that may use it */
    int bucket;       /* -1: free; free gradient buffers are zero */
    uint64_t used;
    tri_event event; /* of its gather */
    void *data;
    uint8_t *packed; /* quantised, before or after it travels; NULL: travels as it is */
    bool is_packed;  /* what was gathered must be unpacked yet */
} zero_slot;

typedef struct zero_pool {
    int n;
    uint64_t clock;
    zero_slot *slots;
} zero_pool;

/* The slot that holds `bucket`, and the one to take for a bucket of `capacity` elements: a free one,
 * else (with `evict`) the one used longest ago, never `keep`. -1: none. Not collective. */
int tri_zero_pool_find(const zero_pool *pool, int bucket);
int tri_zero_pool_choose(const zero_pool *pool, int64_t capacity, int keep, bool evict);

#endif

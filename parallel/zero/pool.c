// SPDX-License-Identifier: Apache-2.0
/* Who gets which buffer: the one used longest ago is given up first. */
#include "parallel/zero/pool.h"

int tri_zero_pool_find(const zero_pool *pool, int bucket)
{
    for (int s = 0; s < pool->n; s++)
        if (pool->slots[s].bucket == bucket) return s;
    return -1;
}

int tri_zero_pool_choose(const zero_pool *pool, int64_t capacity, int keep, bool evict)
{
    int best = -1;
    for (int s = 0; s < pool->n; s++) {
        const zero_slot *slot = &pool->slots[s];
        if (slot->capacity != capacity || s == keep) continue;
        if (slot->bucket < 0) return s;
        if (evict && (best < 0 || slot->used < pool->slots[best].used)) best = s;
    }
    return best;
}

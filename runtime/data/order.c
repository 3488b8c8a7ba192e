// SPDX-License-Identifier: Apache-2.0
/* Cycle-walking Feistel network. Few bits need more rounds than many: with 8 rounds the half-bits
 * are mixed well enough that the tests see no pattern from n = 2 on.
 */
#include "runtime/data/order.h"

#include "runtime/base/rng.h"

#include <assert.h>

enum { ORDER_ROUNDS = 8 };

/* Round key material is the epoch (56 bits, Philox's stream) and (round, half) as the index. */
static uint32_t order_round(tri_rng rng, uint32_t round, uint32_t half)
{
    uint32_t words[4];
    tri_rng_block(rng, (uint64_t)round << 32 | half, words);
    return words[0];
}

static uint64_t order_permute(tri_rng rng, int half_bits, uint64_t x)
{
    uint32_t mask = (uint32_t)((1ull << half_bits) - 1);
    uint32_t left = (uint32_t)(x >> half_bits);
    uint32_t right = (uint32_t)x & mask;
    for (uint32_t round = 0; round < ORDER_ROUNDS; round++) {
        uint32_t mixed = left ^ (order_round(rng, round, right) & mask);
        left = right;
        right = mixed;
    }
    return (uint64_t)left << half_bits | right;
}

int64_t tri_order_sample(int64_t n, uint64_t seed, uint64_t epoch, int64_t index)
{
    assert(n > 0 && index >= 0 && index < n);
    int half_bits = 1;
    while (half_bits < 32 && (1ull << (2 * half_bits)) < (uint64_t)n)
        half_bits++;
    tri_rng rng = {.seed = seed, .stream = epoch, .purpose = TRI_RNG_ORDER};
    uint64_t x = (uint64_t)index;
    do {
        x = order_permute(rng, half_bits, x);
    } while (x >= (uint64_t)n);
    return (int64_t)x;
}

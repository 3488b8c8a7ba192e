// SPDX-License-Identifier: Apache-2.0
/* The order in which an epoch visits its samples: a permutation that is computed, not stored.
 *
 * A balanced Feistel network over the smallest even number of bits that holds n, with Philox as its
 * round function, walked along its cycle until the result is below n (Black and Rogaway 2002,
 * "Ciphers with arbitrary finite domains"). Any index of any epoch costs O(1): a run resumes
 * anywhere, and every rank finds its own samples alone.
 */
#ifndef TRI_RUNTIME_DATA_ORDER_H
#define TRI_RUNTIME_DATA_ORDER_H

#include "runtime/base/status.h"

/* The number of the sample that epoch `epoch` visits as its `index`-th, 0 <= index < n. Not
 * collective. For fixed n, seed and epoch a bijection of [0, n). Cost: 8 rounds, times less than 4
 * on average. */
int64_t tri_order_sample(int64_t n, uint64_t seed, uint64_t epoch, int64_t index);

#endif

// SPDX-License-Identifier: Apache-2.0
/* Choosing the next token. */
#ifndef TRI_LAUNCH_GENERATE_H
#define TRI_LAUNCH_GENERATE_H

#include "runtime/base/rng.h"
#include "runtime/base/status.h"

/* How to choose; temperature 0: the most likely. */
typedef struct tri_sampling {
    double temperature;
    int64_t top_k; /* keep the k most likely; 0: all */
    uint64_t seed;
} tri_sampling;

/* Token number `index` of a text from its logits [vocab]; a function of (seed, index, logits).
 *
 * Writes: logits and scratch [vocab] are used up. Not collective.
 */
int32_t tri_sample_token(const tri_sampling *sampling, uint64_t index, int64_t vocab, float *logits,
                         float *scratch);

#endif

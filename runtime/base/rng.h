// SPDX-License-Identifier: Apache-2.0
/* Counter-based random numbers: Philox 4x32-10 (Salmon et al. 2011, SC'11, doi:10.1145/2063384.2063405).
 *
 * A number is a function of (seed, purpose, stream, index): nothing depends on ranks, on shard edges
 * or on who asked before. Key = seed; counter = (index / 4 as 64 bits, stream as 32 bits,
 * purpose << 24 | high bits of stream); index % 4 selects the output word.
 */
#ifndef TRI_RUNTIME_BASE_RNG_H
#define TRI_RUNTIME_BASE_RNG_H

#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Purposes keep streams apart. */
typedef enum tri_rng_purpose {
    TRI_RNG_INIT = 1,
    TRI_RNG_DROPOUT = 2,
    TRI_RNG_ORDER = 3,
    TRI_RNG_SAMPLE = 4, /* text generation */
    TRI_RNG_TEST = 15
} tri_rng_purpose;

/* A stream of numbers; stream has 56 bits. A value. */
typedef struct tri_rng {
    uint64_t seed;
    uint64_t stream;
    tri_rng_purpose purpose;
} tri_rng;

/* The block of four words at counter `block` (index / 4). Not collective. */
void tri_rng_block(tri_rng rng, uint64_t block, uint32_t out[4]);

/* One word. Not collective. */
uint32_t tri_rng_word(tri_rng rng, uint64_t index);

/* Uniform in (0, 1), 24 bits. Not collective. */
float tri_rng_uniform(tri_rng rng, uint64_t index);

/* out[i] = mean + std * N(0,1) deviate number begin + i, for i < n. Not collective.
 * Box-Muller on pairs of words, own log/cos polynomials in one code path (no libm, no contraction):
 * the bits of a deviate depend on its number alone. */
void tri_rng_normal(tri_rng rng, uint64_t begin, int64_t n, float mean, float std, float *out);

/* 56-bit hash of a name (FNV-1a folded): the stream of a state row. Not collective. */
uint64_t tri_rng_stream_of(const char *name);

#ifdef __cplusplus
}
#endif
#endif

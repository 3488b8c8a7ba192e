// SPDX-License-Identifier: Apache-2.0
/* Philox 4x32-10 and normal deviates. Compiled without contraction of products and sums, without
 * libm: every operation here is correctly rounded by IEEE 754, so that a deviate has the same bits
 * wherever a compiler vectorises the loop and on every processor. Deviates 2j and 2j+1 come from
 * words 2j and 2j+1 (Box & Muller 1958): radius sqrt(-2 ln u), angle 2 pi w.
 */
#include "runtime/base/rng.h"

#include <string.h>

enum { BATCH = 64 };

typedef struct philox_state {
    uint32_t x[4];
    uint32_t key[2];
} philox_state;

static void philox_round(philox_state *s)
{
    uint64_t p0 = (uint64_t)0xD2511F53u * s->x[0];
    uint64_t p1 = (uint64_t)0xCD9E8D57u * s->x[2];
    s->x[0] = (uint32_t)(p1 >> 32) ^ s->x[1] ^ s->key[0];
    s->x[1] = (uint32_t)p1;
    s->x[2] = (uint32_t)(p0 >> 32) ^ s->x[3] ^ s->key[1];
    s->x[3] = (uint32_t)p0;
    s->key[0] += 0x9E3779B9u;
    s->key[1] += 0xBB67AE85u;
}

void tri_rng_block(tri_rng rng, uint64_t block, uint32_t out[4])
{
    uint32_t high = (uint32_t)(rng.stream >> 32) & 0xffffffu;
    philox_state s = {
        .x = {(uint32_t)block,                    (uint32_t)(block >> 32), (uint32_t)rng.stream,
              (uint32_t)rng.purpose << 24 | high},
        .key = {(uint32_t)rng.seed, (uint32_t)(rng.seed >> 32)                       },
    };
    for (int round = 0; round < 10; round++)
        philox_round(&s);
    memcpy(out, s.x, sizeof s.x);
}

uint32_t tri_rng_word(tri_rng rng, uint64_t index)
{
    uint32_t words[4];
    tri_rng_block(rng, index / 4, words);
    return words[index % 4];
}

float tri_rng_uniform(tri_rng rng, uint64_t index)
{
    /* an odd number of 24 bits: neither 0 nor 1 */
    return (float)(tri_rng_word(rng, index) >> 8 | 1u) * 0x1p-24f;
}

static float bits_to_float(uint32_t bits)
{
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

static uint32_t float_to_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* ln(x) for a normal x > 0: x = 2^e (1 + r) with 1 + r in [sqrt(1/2), sqrt(2)); the polynomial is
 * Cephes' logf (Moshier), relative error below 2e-7. */
static float log_positive(float x)
{
    uint32_t bits = float_to_bits(x) - 0x3f3504f3u;
    float e = (float)((int32_t)bits >> 23);
    float r = bits_to_float((bits & 0x7fffffu) + 0x3f3504f3u) - 1.0f;
    float z = r * r;
    float p = 7.0376836292e-2f;
    p = p * r - 1.1514610310e-1f;
    p = p * r + 1.1676998740e-1f;
    p = p * r - 1.2420140846e-1f;
    p = p * r + 1.4249322787e-1f;
    p = p * r - 1.6668057665e-1f;
    p = p * r + 2.0000714765e-1f;
    p = p * r - 2.4999993993e-1f;
    p = p * r + 3.3333331174e-1f;
    float y = p * r * z + e * -2.12194440e-4f - 0.5f * z;
    return r + y + e * 0.693359375f;
}

/* Two deviates from two words: radius from the first, angle 2 pi word / 2^32 from the second. The
 * angle is split into a quarter turn and a rest within pi/4 by integer arithmetic. */
static void box_muller(uint32_t first, uint32_t second, float *a, float *b)
{
    float u = ((float)first + 0.5f) * 0x1p-32f;
    float squared = -2.0f * log_positive(u);
    /* u may round to 1, whose logarithm is 0: not -0 */
    float radius = __builtin_sqrtf(squared > 0 ? squared : 0.0f);
    uint32_t turns = second + 0x20000000u;
    float x = (float)((int32_t)(turns & 0x3fffffffu) - 0x20000000) * 1.4629180792671596e-9f;
    float z = x * x;
    float sine = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * x + x;
    float cosine =
        ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z -
        0.5f * z + 1.0f;
    uint32_t quarter = turns >> 30;
    uint32_t swap = 0u - (quarter & 1u);
    uint32_t s = float_to_bits(sine);
    uint32_t c = float_to_bits(cosine);
    /* cos is negative in quarters 1 and 2, sin in 2 and 3 */
    uint32_t cos_bits = ((c & ~swap) | (s & swap)) ^ ((quarter + 1) >> 1 & 1u) << 31;
    uint32_t sin_bits = ((s & ~swap) | (c & swap)) ^ (quarter >> 1 & 1u) << 31;
    *a = radius * bits_to_float(cos_bits);
    *b = radius * bits_to_float(sin_bits);
}

/* Deviates 4 block .. 4 block + BATCH. */
static void normal_batch(tri_rng rng, uint64_t block, float mean, float std, float *out)
{
    uint32_t words[BATCH];
    for (int i = 0; i < BATCH / 4; i++)
        tri_rng_block(rng, block + (uint64_t)i, words + (size_t)i * 4);
    for (int i = 0; i < BATCH / 2; i++) {
        float a, b;
        box_muller(words[2 * i], words[2 * i + 1], &a, &b);
        out[2 * i] = mean + std * a;
        out[2 * i + 1] = mean + std * b;
    }
}

void tri_rng_normal(tri_rng rng, uint64_t begin, int64_t n, float mean, float std, float *out)
{
    float batch[BATCH];
    int64_t skip = (int64_t)(begin % 4);
    for (int64_t i = 0; i < n;) {
        normal_batch(rng, (begin + (uint64_t)i) / 4, mean, std, batch);
        int64_t count = BATCH - skip < n - i ? BATCH - skip : n - i;
        memcpy(out + i, batch + skip, (size_t)count * sizeof *out);
        i += count;
        skip = 0;
    }
}

uint64_t tri_rng_stream_of(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *c = name; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
    return (hash >> 56 ^ hash) & 0xffffffffffffffu;
}

// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* Philox against the vectors of its paper, normal deviates by their statistics and against libm,
 * and that neither depends on how a range is cut. */
#include "runtime/base/rng.h"
#include "tests/test.h"

static tri_rng test_stream(uint64_t stream)
{
    return (tri_rng){.seed = 0x0123456789abcdefu, .stream = stream, .purpose = TRI_RNG_TEST};
}

static void expect_block(tri_rng rng, uint64_t block, const uint32_t want[4])
{
    uint32_t got[4];
    tri_rng_block(rng, block, got);
    for (int i = 0; i < 4; i++)
        EXPECT(got[i] == want[i], "word %d is %08x, not %08x", i, got[i], want[i]);
}

TRI_TEST(philox_known_answers)
{
    const uint32_t zeros[4] = {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u};
    expect_block((tri_rng){0}, 0, zeros);
    const uint32_t ones[4] = {0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu};
    tri_rng rng = {.seed = UINT64_MAX, .stream = UINT64_MAX, .purpose = (tri_rng_purpose)0xff};
    expect_block(rng, UINT64_MAX, ones);
    /* pi's digits: counter 243f6a88 85a308d3 13198a2e 03707344, key a4093822 299f31d0 */
    const uint32_t pi[4] = {0xd16cfe09u, 0x94fdcceb, 0x5001e420u, 0x24126ea1u};
    rng = (tri_rng){
        .seed = 0x299f31d0a4093822u, .stream = 0x70734413198a2eu, .purpose = (tri_rng_purpose)0x03};
    expect_block(rng, 0x85a308d3243f6a88u, pi);
    return TRI_OK;
}

TRI_TEST(words_are_those_of_their_block)
{
    tri_rng rng = test_stream(3);
    for (uint64_t i = 0; i < 64; i++) {
        uint32_t block[4];
        tri_rng_block(rng, i / 4, block);
        EXPECT(tri_rng_word(rng, i) == block[i % 4], "word %d", (int)i);
    }
    return TRI_OK;
}

TRI_TEST(streams_differ)
{
    tri_rng a = test_stream(3), b = a, c = a, d = a;
    b.purpose = TRI_RNG_DROPOUT;
    c.seed++;
    d.stream += (uint64_t)1 << 40;
    uint32_t word = tri_rng_word(a, 0);
    EXPECT(word != tri_rng_word(b, 0) && word != tri_rng_word(c, 0) && word != tri_rng_word(d, 0),
           "two streams begin with %08x", word);
    EXPECT(tri_rng_stream_of("wte") != tri_rng_stream_of("wpe"), "two names have one stream");
    EXPECT(tri_rng_stream_of("layer.0.attention.q") >> 56 == 0, "a stream has more than 56 bits");
    return TRI_OK;
}

TRI_TEST(uniform_statistics)
{
    enum { N = 200000, BINS = 64 };
    int64_t count[BINS] = {0};
    double sum = 0, squares = 0;
    for (uint64_t i = 0; i < N; i++) {
        double u = (double)tri_rng_uniform(test_stream(4), i);
        EXPECT(u > 0 && u < 1, "uniform %g", u);
        count[(int)(u * BINS)]++;
        sum += u;
        squares += u * u;
    }
    double mean = sum / N, variance = squares / N - mean * mean, chi = 0;
    for (int b = 0; b < BINS; b++)
        chi += pow((double)count[b] - (double)N / BINS, 2) / ((double)N / BINS);
    EXPECT(fabs(mean - 0.5) < 0.003 && fabs(variance - 1.0 / 12) < 0.001, "mean %g variance %g",
           mean, variance);
    /* 63 degrees of freedom: mean 63, deviation 11.2 */
    EXPECT(chi > 20 && chi < 120, "chi squared %g over %d bins", chi, BINS);
    return TRI_OK;
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

TRI_TEST(normal_statistics)
{
    enum { N = 400000 };
    float *x = NULL;
    TRI_TRY(TRI_NEW_ARRAY(N, &x));
    tri_rng_normal(test_stream(5), 0, N, 0, 1, x);
    double sum[5] = {0}, neighbours = 0;
    for (int i = 0; i < N; i++) {
        double v = (double)x[i];
        sum[1] += v;
        sum[2] += v * v;
        sum[3] += v * v * v;
        sum[4] += v * v * v * v;
        if (i % 2) neighbours += v * (double)x[i - 1];
    }
    EXPECT(fabs(sum[1] / N) < 0.008, "mean %g", sum[1] / N);
    EXPECT(fabs(sum[2] / N - 1) < 0.012, "variance %g", sum[2] / N);
    EXPECT(fabs(sum[3] / N) < 0.02, "skewness %g", sum[3] / N);
    EXPECT(fabs(sum[4] / N - 3) < 0.08, "kurtosis %g", sum[4] / N);
    EXPECT(fabs(2 * neighbours / N) < 0.012, "a pair correlates by %g", 2 * neighbours / N);
    /* Kolmogorov & Smirnov: 1.95 / sqrt(N) is passed once in a thousand */
    qsort(x, N, sizeof *x, compare_floats);
    double largest = 0;
    for (int i = 0; i < N; i++) {
        double phi = 0.5 * erfc(-(double)x[i] / sqrt(2));
        largest = fmax(largest, fmax(fabs(phi - (double)i / N), fabs(phi - (double)(i + 1) / N)));
    }
    EXPECT(largest < 1.95 / sqrt(N), "distribution is off by %g", largest);
    EXPECT(x[N - 1] > 4 && x[0] < -4, "tails end at %g and %g", (double)x[0], (double)x[N - 1]);
    TRI_FREE(x);
    return TRI_OK;
}

TRI_TEST(normal_is_box_muller)
{
    enum { N = 20000 };
    static float x[N];
    tri_rng rng = test_stream(6);
    tri_rng_normal(rng, 0, N, 0, 1, x);
    double worst = 0;
    for (uint64_t i = 0; i < N; i += 2) {
        double u = ((double)tri_rng_word(rng, i) + 0.5) * 0x1p-32;
        double angle = 2 * acos(-1) * ((double)tri_rng_word(rng, i + 1) * 0x1p-32);
        double radius = sqrt(-2 * log(u));
        worst = fmax(worst, fabs((double)x[i] - radius * cos(angle)));
        worst = fmax(worst, fabs((double)x[i + 1] - radius * sin(angle)));
    }
    /* u is rounded to fp32, which shows where it is near 1 */
    EXPECT(worst < 4e-4, "largest difference from libm %g", worst);
    return TRI_OK;
}

TRI_TEST(normal_of_a_part_is_the_part)
{
    enum { N = 517 };
    static float whole[N], part[N];
    tri_rng rng = test_stream(7);
    uint64_t origin = ((uint64_t)1 << 34) + 1;
    tri_rng_normal(rng, origin, N, 0.25f, 0.02f, whole);
    for (int begin = 0; begin < N; begin += 13) {
        for (int n = 1; begin + n <= N; n += 37) {
            tri_rng_normal(rng, origin + (uint64_t)begin, n, 0.25f, 0.02f, part);
            EXPECT(!memcmp(part, whole + begin, (size_t)n * sizeof *part), "%d from %d differ", n,
                   begin);
        }
    }
    tri_rng_normal(rng, origin, 0, 0, 1, NULL);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(philox_known_answers), TRI_TEST_ROW(words_are_those_of_their_block),
              TRI_TEST_ROW(streams_differ), TRI_TEST_ROW(uniform_statistics),
              TRI_TEST_ROW(normal_statistics), TRI_TEST_ROW(normal_is_box_muller),
              TRI_TEST_ROW(normal_of_a_part_is_the_part))

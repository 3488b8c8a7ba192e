// SPDX-License-Identifier: Apache-2.0
/* The sample order is a bijection for every n, differs by seed and epoch, and looks random. */
// TEST ranks=1 timeout=60
#include "runtime/data/order.h"

#include "tests/test.h"

enum { MAX_N = 100003 };

/* Every sample of [0, n) once. */
static void expect_bijection(int64_t n, uint64_t seed, uint64_t epoch)
{
    static uint8_t seen[MAX_N];
    memset(seen, 0, (size_t)n);
    for (int64_t i = 0; i < n; i++) {
        int64_t sample = tri_order_sample(n, seed, epoch, i);
        bool is_fresh = sample >= 0 && sample < n && !seen[sample];
        EXPECT(is_fresh, "n %lld seed %llu: index %lld gives %lld", (long long)n,
               (unsigned long long)seed, (long long)i, (long long)sample);
        if (!is_fresh) return;
        seen[sample] = 1;
    }
}

TRI_TEST(bijection_for_every_n)
{
    for (int64_t n = 1; n <= 300; n++)
        expect_bijection(n, 7, (uint64_t)n);
    static const int64_t large[] = {1023, 1024, 1025, 4095, 4096, 4097, 65535, 65537, MAX_N};
    for (int i = 0; i < 9; i++)
        expect_bijection(large[i], 1ull << 60 | 5, 3);
    return TRI_OK;
}

TRI_TEST(largest_sizes_stay_in_range)
{
    int64_t last = -1;
    static const int64_t sizes[] = {1ll << 31, (1ll << 40) + 1, 1ll << 62, INT64_MAX};
    for (int i = 0; i < 4; i++) {
        for (int64_t k = 0; k < 100; k++) {
            int64_t sample = tri_order_sample(sizes[i], 1, 0, sizes[i] - 1 - k);
            EXPECT(sample >= 0 && sample < sizes[i] && sample != last, "%lld", (long long)sample);
            last = sample;
        }
    }
    return TRI_OK;
}

/* How many of the n places hold the same sample in two orders: about 1 where they are independent. */
static int64_t common(int64_t n, uint64_t seed_a, uint64_t epoch_a, uint64_t seed_b,
                      uint64_t epoch_b)
{
    int64_t same = 0;
    for (int64_t i = 0; i < n; i++)
        same += tri_order_sample(n, seed_a, epoch_a, i) == tri_order_sample(n, seed_b, epoch_b, i);
    return same;
}

TRI_TEST(seed_and_epoch_matter)
{
    EXPECT(common(5000, 1, 0, 1, 0) == 5000, "not a function");
    EXPECT(common(5000, 1, 0, 1, 1) < 12, "epochs 0 and 1 agree");
    EXPECT(common(5000, 1, 0, 2, 0) < 12, "seeds 1 and 2 agree");
    EXPECT(common(5000, 1, 2, 2, 1) < 12, "seed and epoch are exchangeable");
    return TRI_OK;
}

/* Chi-square of a table of counts that should be equal. */
static double chi_square(const int64_t *counts, int n, double mean)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += ((double)counts[i] - mean) * ((double)counts[i] - mean) / mean;
    return sum;
}

TRI_TEST(every_sample_at_every_place)
{
    enum { ORDERS = 4000, N = 24 };
    static int64_t counts[N * N];
    for (uint64_t e = 0; e < ORDERS; e++)
        for (int64_t i = 0; i < N; i++)
            counts[i * N + tri_order_sample(N, 11, e, i)]++;
    /* 23 * 23 degrees of freedom, standard deviation 32.5: 6 of them */
    double chi = chi_square(counts, N * N, (double)ORDERS / N);
    EXPECT(fabs(chi - 23 * 23) < 6 * 32.5, "chi-square %g of 529", chi);
    return TRI_OK;
}

TRI_TEST(neighbours_are_independent)
{
    enum { N = 60000, BINS = 16 };
    static int64_t counts[BINS * BINS];
    for (int64_t i = 0; i + 1 < N; i += 2) {
        int64_t a = tri_order_sample(N, 5, 9, i) * BINS / N;
        int64_t b = tri_order_sample(N, 5, 9, i + 1) * BINS / N;
        counts[a * BINS + b]++;
    }
    double chi = chi_square(counts, BINS * BINS, N / 2.0 / (BINS * BINS));
    EXPECT(chi < 255 + 6 * 22.6, "chi-square %g of 255", chi);
    return TRI_OK;
}

/* All orders of three samples come up, about equally often. */
TRI_TEST(small_orders_are_all_there)
{
    int64_t counts[27] = {0};
    for (uint64_t e = 0; e < 6000; e++) {
        int64_t place = 0;
        for (int64_t i = 0; i < 3; i++)
            place = place * 3 + tri_order_sample(3, 3, e, i);
        counts[place]++;
    }
    int found = 0;
    for (int i = 0; i < 27; i++) {
        found += counts[i] > 0;
        EXPECT(counts[i] == 0 || (counts[i] > 700 && counts[i] < 1300), "order %d: %lld times", i,
               (long long)counts[i]);
    }
    EXPECT(found == 6, "%d of 6 orders", found);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(bijection_for_every_n), TRI_TEST_ROW(largest_sizes_stay_in_range),
              TRI_TEST_ROW(seed_and_epoch_matter), TRI_TEST_ROW(every_sample_at_every_place),
              TRI_TEST_ROW(neighbours_are_independent), TRI_TEST_ROW(small_orders_are_all_there))

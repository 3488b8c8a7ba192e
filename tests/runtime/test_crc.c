// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* CRC32C against the bitwise definition. */
#include "runtime/base/crc.h"

#include "tests/test.h"

static uint32_t crc_bitwise(const unsigned char *data, size_t n)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < n; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

TRI_TEST(check_value)
{
    uint32_t crc = tri_crc32c("123456789", 9);
    EXPECT(crc == 0xe3069283u, "crc is %08x", crc);
    EXPECT(tri_crc32c("", 0) == 0, "crc of nothing is %08x", tri_crc32c("", 0));
    return TRI_OK;
}

TRI_TEST(equals_the_definition_at_every_length_and_split)
{
    unsigned char data[600];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 131 + i * i / 7);
    for (size_t n = 0; n <= sizeof data; n += 1 + n / 40) {
        uint32_t want = crc_bitwise(data, n);
        EXPECT(tri_crc32c(data, n) == want, "%zu bytes", n);
        for (size_t cut = 0; cut <= n; cut += 1 + n / 10) {
            uint32_t got = tri_crc32c_extend(tri_crc32c(data, cut), data + cut, n - cut);
            EXPECT(got == want, "%zu bytes cut at %zu", n, cut);
        }
    }
    return TRI_OK;
}

TRI_TEST(every_flipped_bit_changes_it)
{
    unsigned char data[64] = {1, 2, 3};
    uint32_t whole = tri_crc32c(data, sizeof data);
    for (size_t bit = 0; bit < 8 * sizeof data; bit++) {
        data[bit / 8] ^= (unsigned char)(1u << bit % 8);
        EXPECT(tri_crc32c(data, sizeof data) != whole, "bit %zu", bit);
        data[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(check_value),
              TRI_TEST_ROW(equals_the_definition_at_every_length_and_split),
              TRI_TEST_ROW(every_flipped_bit_changes_it))

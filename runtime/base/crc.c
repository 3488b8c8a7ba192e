// SPDX-License-Identifier: Apache-2.0
/* CRC32C through ISA-L. Its function takes the running register, not the checksum (it inverts
 * neither at the start nor at the end), a pointer to non-const and an int length.
 */
#include "runtime/base/crc.h"

#include <isa-l/crc.h>

enum { CRC_PIECE_BYTES = 1 << 30 };

uint32_t tri_crc32c(const void *data, size_t n_bytes)
{
    return tri_crc32c_extend(0, data, n_bytes);
}

uint32_t tri_crc32c_extend(uint32_t crc, const void *data, size_t n_bytes)
{
    uint32_t reg = ~crc;
    uintptr_t at = (uintptr_t)data;
    while (n_bytes > 0) {
        int piece = n_bytes < CRC_PIECE_BYTES ? (int)n_bytes : CRC_PIECE_BYTES;
        reg = crc32_iscsi((unsigned char *)at, piece, reg);
        at += (uintptr_t)piece;
        n_bytes -= (size_t)piece;
    }
    return ~reg;
}

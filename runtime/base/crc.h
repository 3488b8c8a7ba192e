// SPDX-License-Identifier: Apache-2.0
/* CRC32C (Castagnoli, reflected polynomial 0x82F63B78, initial and final inversion as in iSCSI and
 * TensorBoard records): the checksum of checkpoints. The check value of "123456789" is 0xe3069283.
 */
#ifndef TRI_RUNTIME_BASE_CRC_H
#define TRI_RUNTIME_BASE_CRC_H

#include <stddef.h>
#include <stdint.h>

/* CRC32C of `n_bytes` at `data`. Not collective. */
uint32_t tri_crc32c(const void *data, size_t n_bytes);

/* CRC32C of what `crc` is the CRC32C of, followed by `data`; 0 is the CRC of nothing. Not collective. */
uint32_t tri_crc32c_extend(uint32_t crc, const void *data, size_t n_bytes);

#endif

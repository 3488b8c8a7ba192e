// SPDX-License-Identifier: Apache-2.0
/* llm.c's token files: a header of 256 int32 (magic 20240520, version 1, number of tokens), then
 * uint16 tokens. The count must be what the size of the file says.
 */
#include "runtime/data/token_file.h"

#include <string.h>

enum { LLMC_MAGIC = 20240520, LLMC_VERSION = 1, LLMC_HEADER_BYTES = 256 * 4 };

static tri_status llmc_open(const tri_tokens_args *args, const char *path, tri_token_file *shard)
{
    (void)args;
    TRI_TRY(tri_token_file_map(path, shard));
    TRI_CHECK(shard->map_bytes >= LLMC_HEADER_BYTES, TRI_EFORMAT,
              "token file %s has %lld bytes: format llmc begins with a header of %d bytes; it is "
              "truncated or of another format",
              path, (long long)shard->map_bytes, LLMC_HEADER_BYTES);
    int32_t header[3];
    memcpy(header, shard->map, sizeof header);
    TRI_CHECK(header[0] == LLMC_MAGIC, TRI_EFORMAT,
              "token file %s begins with %d, format llmc with the magic number %d; a file without "
              "a header is format uint16",
              path, header[0], LLMC_MAGIC);
    TRI_CHECK(header[1] == LLMC_VERSION, TRI_EFORMAT,
              "token file %s is of version %d of format llmc; version %d can be read", path,
              header[1], LLMC_VERSION);
    int64_t held = shard->map_bytes - LLMC_HEADER_BYTES;
    TRI_CHECK(header[2] >= 0 && held == 2 * (int64_t)header[2], TRI_EFORMAT,
              "token file %s: its header says %d tokens, which is %lld bytes, but %lld follow: the "
              "file is truncated or damaged",
              path, header[2], 2 * (long long)header[2], (long long)held);
    TRI_TRY(tri_token_file_lay(shard, LLMC_HEADER_BYTES, TRI_TOKEN_U16));
    return TRI_OK;
}

const tri_format_ops tri_format_llmc = {
    .name = "llmc",
    .doc = "llm.c's .bin: header of 256 int32, then uint16 tokens",
    .open = llmc_open,
};

// SPDX-License-Identifier: Apache-2.0
/* Raw little-endian uint16 tokens without a header, as nanoGPT's prepare scripts write them. */
#include "runtime/data/token_file.h"

static tri_status raw16_open(const tri_tokens_args *args, const char *path, tri_token_file *shard)
{
    (void)args;
    TRI_TRY(tri_token_file_map(path, shard));
    TRI_TRY(tri_token_file_lay(shard, 0, TRI_TOKEN_U16));
    return TRI_OK;
}

const tri_format_ops tri_format_uint16 = {
    .name = "uint16",
    .doc = "raw uint16 tokens without a header (nanoGPT's .bin)",
    .open = raw16_open,
};

// SPDX-License-Identifier: Apache-2.0
/* Plain text; the tokenizer `bytes` makes one token of each byte, so that the vocabulary has 256
 * ids and every file is valid. The smallest format: the one to copy.
 */
#include "runtime/data/token_file.h"

#include <string.h>

static tri_status text_open(const tri_tokens_args *args, const char *path, tri_token_file *shard)
{
    const char *tokenizer = args->tokenizer && *args->tokenizer ? args->tokenizer : "bytes";
    TRI_CHECK(strcmp(tokenizer, "bytes") == 0, TRI_EINVAL,
              "data.tokenizer '%s' is not known; for format text it is: bytes", tokenizer);
    TRI_TRY(tri_token_file_map(path, shard));
    TRI_TRY(tri_token_file_lay(shard, 0, TRI_TOKEN_U8));
    return TRI_OK;
}

const tri_format_ops tri_format_text = {
    .name = "text",
    .doc = "plain text, one token per byte (tokenizer: bytes; vocabulary 256)",
    .open = text_open,
};

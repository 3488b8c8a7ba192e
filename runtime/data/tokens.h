// SPDX-License-Identifier: Apache-2.0
/* A sequence of tokens on disk, memory-mapped, whatever its format: plain text (bytes), raw uint16,
 * llm.c's .bin, Megatron's .bin/.idx, an HDF5 dataset. One file, or a glob of shards taken in the
 * order of their names. Formats are rows of runtime/data/list.c.
 */
#ifndef TRI_RUNTIME_DATA_TOKENS_H
#define TRI_RUNTIME_DATA_TOKENS_H

#include "runtime/base/status.h"

typedef struct tri_tokens tri_tokens;

typedef struct tri_tokens_args {
    const char *path;      /* a file, or a glob */
    const char *format;    /* text, uint16, llmc, megatron, hdf5 */
    const char *tokenizer; /* text: bytes */
    const char *dataset;   /* hdf5: name of the dataset */
} tri_tokens_args;

/* Open. Not collective. Errors: TRI_EIO missing or unreadable (names the path), TRI_EFORMAT truncated,
 * empty or not of this format (says what was found and what would be right), TRI_EINVAL. */
TRI_MUST_USE tri_status tri_tokens_open(const tri_tokens_args *args, tri_tokens **out);
void tri_tokens_destroy(tri_tokens **tokens);

/* Number of tokens. Not collective. */
int64_t tri_tokens_count(const tri_tokens *tokens);

/* Copy tokens [begin, begin + n). Not collective, one thread at a time. Errors: TRI_EFORMAT an id
 * >= vocab (names file, position and id), TRI_EIO. */
TRI_MUST_USE tri_status tri_tokens_read(tri_tokens *tokens, int64_t begin, int64_t n, int64_t vocab,
                                        int32_t *out);

/* 64-bit fingerprint of the data set: sizes, and CRC32C of samples of its contents: a resumed run
 * notices that its data changed. Not collective. */
uint64_t tri_tokens_fingerprint(const tri_tokens *tokens);

#endif

// SPDX-License-Identifier: Apache-2.0
/* One file of tokens, opened by a format: a memory map with fixed-width little-endian integers at an
 * offset, or whatever the format reads by itself. Private to runtime/data.
 */
#ifndef TRI_RUNTIME_DATA_TOKEN_FILE_H
#define TRI_RUNTIME_DATA_TOKEN_FILE_H

#include "runtime/data/tokens.h"

/* The integers that files hold: name, C type. */
#define TRI_TOKEN_MAP(X) \
    X(U8, uint8_t)       \
    X(I8, int8_t)        \
    X(U16, uint16_t)     \
    X(I16, int16_t)      \
    X(U32, uint32_t)     \
    X(I32, int32_t)      \
    X(I64, int64_t)

typedef enum tri_token_type {
#define X(id, type) TRI_TOKEN_##id,
    TRI_TOKEN_MAP(X)
#undef X
} tri_token_type;

/* A file that is open. Zeroed = closed. */
typedef struct tri_token_file {
    char *path;                  /* owned; of the file with the tokens */
    void *map;                   /* the whole file; NULL: ops->read reads */
    int64_t map_bytes;           /* size of the file when it was opened */
    uint64_t device, inode;      /* of the mapped file */
    const unsigned char *tokens; /* the first token, in the map */
    tri_token_type type;
    int64_t count; /* tokens */
    void *own;     /* the format's, where it has a read of its own */
} tri_token_file;

/* A file format. `open` fills a zeroed shard and may leave it half open on failure (tri_token_file_fini
 * closes it); `read` and `close` are for formats that are not a plain map. */
typedef struct tri_format_ops {
    const char *name, *doc;
    /* optional: cut `path` to what names the shard, where several files make one */
    void (*stem)(char *path);
    tri_status (*open)(const tri_tokens_args *args, const char *path, tri_token_file *shard);
    /* optional */
    tri_status (*read)(tri_token_file *shard, int64_t begin, int64_t n, int64_t vocab,
                       int32_t *out);
    /* optional */
    void (*close)(tri_token_file *shard);
} tri_format_ops;

/* The format called `name`. Not collective. Errors: TRI_EINVAL, listing those known. */
TRI_MUST_USE tri_status tri_format_find(const char *name, const tri_format_ops **out);

/* Map a whole file, read-only; sets path, map, map_bytes. Not collective.
 * Errors: TRI_EIO missing, unreadable, not a regular file; TRI_EFORMAT empty. */
TRI_MUST_USE tri_status tri_token_file_map(const char *path, tri_token_file *shard);

/* Say that tokens of `type` begin at `offset` of the map and reach its end. Not collective.
 * Errors: TRI_EFORMAT where that is no whole number of tokens, or none. */
TRI_MUST_USE tri_status tri_token_file_lay(tri_token_file *shard, int64_t offset,
                                           tri_token_type type);

/* Copy tokens of the map. Not collective. As tri_tokens_read, of one shard; with vocab 0 any id is
 * taken (cut to 32 bits). TRI_EIO where the file has become shorter than its map (touching the lost
 * pages would be SIGBUS). */
TRI_MUST_USE tri_status tri_token_file_read(tri_token_file *shard, int64_t begin, int64_t n,
                                            int64_t vocab, int32_t *out);

/* The report of a token that is not below `vocab`. Not collective. */
tri_status tri_token_file_fail_vocab(const tri_token_file *shard, int64_t position, int64_t id,
                                     int64_t vocab);

/* Unmap and free; the struct is zeroed. Not collective. */
void tri_token_file_fini(tri_token_file *shard);

/* Bytes of one token, and the name of its type. Not collective. */
int64_t tri_token_bytes(tri_token_type type);
const char *tri_token_name(tri_token_type type);

extern const tri_format_ops tri_format_text;
extern const tri_format_ops tri_format_uint16;
extern const tri_format_ops tri_format_llmc;
extern const tri_format_ops tri_format_megatron;
extern const tri_format_ops tri_format_hdf5;

#endif

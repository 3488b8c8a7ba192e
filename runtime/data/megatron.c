// SPDX-License-Identifier: Apache-2.0
/* Megatron-LM's indexed data set: PREFIX.idx (what the tokens are and where sequences begin) and
 * PREFIX.bin (the tokens, one after the other). The tokens are read as one stream; the index tells
 * type and count, and must agree with the size of the .bin file.
 *
 * .idx: "MMIDIDX\0\0", version u64 = 1, type u8, sequences u64, documents u64, then per sequence its
 * length (int32) and byte offset (int64), then the document index (int64).
 */
#include "runtime/data/token_file.h"

#include "runtime/base/alloc.h"

#include <stdio.h>
#include <string.h>

enum { MEGATRON_HEADER_BYTES = 34, MEGATRON_TYPES = 9 };
static const char megatron_magic[9] = "MMIDIDX\0";

typedef struct megatron_index {
    int64_t sequences, documents, bytes; /* bytes: of the .bin file */
    tri_token_type type;
} megatron_index;

/* "x.bin", "x.idx" and "x" all name the pair x. */
static void megatron_stem(char *path)
{
    size_t n = strlen(path);
    if (n > 4 && (strcmp(path + n - 4, ".bin") == 0 || strcmp(path + n - 4, ".idx") == 0))
        path[n - 4] = '\0';
}

static tri_status megatron_type(const char *path, uint8_t code, tri_token_type *out)
{
    static const int types[MEGATRON_TYPES] = {
        -1, TRI_TOKEN_U8, TRI_TOKEN_I8, TRI_TOKEN_I16, TRI_TOKEN_I32, TRI_TOKEN_I64,
        -1, -1,           TRI_TOKEN_U16};
    TRI_CHECK(code < MEGATRON_TYPES && types[code] >= 0, TRI_EFORMAT,
              "index %s: type code %u is no integer type; 1 (uint8), 2 (int8), 3 (int16), 4 "
              "(int32), 5 (int64) or 8 (uint16) would be",
              path, code);
    *out = (tri_token_type)types[code];
    return TRI_OK;
}

/* Bytes of the .bin file: where the last sequence ends. Sequences lie in order without gaps, so the
 * first must begin at 0. */
static tri_status megatron_extent(const tri_token_file *idx, megatron_index *index)
{
    const unsigned char *lengths = (const unsigned char *)idx->map + MEGATRON_HEADER_BYTES;
    const unsigned char *offsets = lengths + 4 * index->sequences;
    int64_t last = index->sequences - 1;
    int64_t first_offset = 0;
    int64_t last_offset = 0;
    int32_t last_length = 0;
    memcpy(&first_offset, offsets, sizeof first_offset);
    memcpy(&last_offset, offsets + 8 * last, sizeof last_offset);
    memcpy(&last_length, lengths + 4 * last, sizeof last_length);
    TRI_CHECK(first_offset == 0 && last_offset >= 0 && last_length >= 0 &&
                  !__builtin_add_overflow(last_offset, last_length * tri_token_bytes(index->type),
                                          &index->bytes),
              TRI_EFORMAT,
              "index %s is damaged: first sequence at byte %lld (0 would be right), last at byte "
              "%lld with %d tokens",
              idx->path, (long long)first_offset, (long long)last_offset, last_length);
    return TRI_OK;
}

static tri_status megatron_index_read(const tri_token_file *idx, megatron_index *index)
{
    const unsigned char *at = idx->map;
    TRI_CHECK(idx->map_bytes >= MEGATRON_HEADER_BYTES, TRI_EFORMAT,
              "index %s has %lld bytes; its header alone has %d", idx->path,
              (long long)idx->map_bytes, MEGATRON_HEADER_BYTES);
    TRI_CHECK(memcmp(at, megatron_magic, sizeof megatron_magic) == 0, TRI_EFORMAT,
              "index %s does not begin with 'MMIDIDX': it is no Megatron index", idx->path);
    uint64_t version = 0;
    uint64_t sequences = 0;
    uint64_t documents = 0;
    memcpy(&version, at + 9, sizeof version);
    memcpy(&sequences, at + 18, sizeof sequences);
    memcpy(&documents, at + 26, sizeof documents);
    TRI_CHECK(version == 1, TRI_EFORMAT, "index %s has version %llu; version 1 can be read",
              idx->path, (unsigned long long)version);
    TRI_TRY(megatron_type(idx->path, at[17], &index->type));
    uint64_t room = (uint64_t)idx->map_bytes;
    TRI_CHECK(sequences > 0, TRI_EFORMAT, "index %s is empty: it has no sequences", idx->path);
    TRI_CHECK(sequences <= room / 12 && documents <= room / 8 &&
                  MEGATRON_HEADER_BYTES + 12 * sequences + 8 * documents == room,
              TRI_EFORMAT,
              "index %s is truncated or damaged: %llu sequences and %llu document ends take %d + "
              "12 * %llu + 8 * %llu bytes, the file has %llu",
              idx->path, (unsigned long long)sequences, (unsigned long long)documents,
              MEGATRON_HEADER_BYTES, (unsigned long long)sequences, (unsigned long long)documents,
              (unsigned long long)room);
    index->sequences = (int64_t)sequences;
    index->documents = (int64_t)documents;
    TRI_TRY(megatron_extent(idx, index));
    return TRI_OK;
}

static tri_status megatron_open_index(const char *path, megatron_index *index)
{
    tri_token_file idx = {0};
    tri_status rc = tri_token_file_map(path, &idx);
    if (rc == TRI_OK) rc = megatron_index_read(&idx, index);
    tri_token_file_fini(&idx);
    TRI_TRY(rc);
    return TRI_OK;
}

static tri_status megatron_open(const tri_tokens_args *args, const char *path,
                                tri_token_file *shard)
{
    (void)args;
    char name[4096];
    int n = snprintf(name, sizeof name, "%s.idx", path);
    TRI_CHECK(n > 0 && (size_t)n < sizeof name, TRI_EINVAL, "path of %zu bytes is too long",
              strlen(path));
    megatron_index index = {0};
    TRI_TRY(megatron_open_index(name, &index));
    snprintf(name, sizeof name, "%s.bin", path);
    TRI_TRY(tri_token_file_map(name, shard));
    TRI_CHECK(shard->map_bytes == index.bytes, TRI_EFORMAT,
              "token file %s has %lld bytes, its index %s.idx says %lld: one of them is truncated "
              "or they do not belong together",
              name, (long long)shard->map_bytes, path, (long long)index.bytes);
    TRI_TRY(tri_token_file_lay(shard, 0, index.type));
    return TRI_OK;
}

const tri_format_ops tri_format_megatron = {
    .name = "megatron",
    .doc = "Megatron-LM's pair PREFIX.bin and PREFIX.idx",
    .stem = megatron_stem,
    .open = megatron_open,
};

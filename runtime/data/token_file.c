// SPDX-License-Identifier: Apache-2.0
/* A memory-mapped file of fixed-width integers. The map is of the whole file, advised as random
 * access; a read asks for its range at once, so that a sample costs one disk request and not one per
 * page. A map outlives truncation of its file, but touching the pages behind the new end is SIGBUS:
 * the size is looked at again before each read (a race of microseconds remains; token files must
 * not be rewritten in place during a run).
 */
#include "runtime/data/token_file.h"

#include "runtime/base/alloc.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "token files are little-endian");

int64_t tri_token_bytes(tri_token_type type)
{
    switch (type) {
#define X(id, c_type)    \
    case TRI_TOKEN_##id: \
        return (int64_t)sizeof(c_type);
        TRI_TOKEN_MAP(X)
#undef X
    }
    return 0;
}

const char *tri_token_name(tri_token_type type)
{
    switch (type) {
#define X(id, c_type)    \
    case TRI_TOKEN_##id: \
        return #c_type;
        TRI_TOKEN_MAP(X)
#undef X
    }
    return "unknown";
}

/* Map what `fd` is open on: split off so that the descriptor is closed in one place. */
static tri_status shard_map_fd(int fd, const char *path, tri_token_file *shard)
{
    struct stat info;
    TRI_TRY(TRI_SYS(fstat(fd, &info), "looking at the size of token file %s", path));
    TRI_CHECK(S_ISREG(info.st_mode), TRI_EIO, "token file %s is %s, not a regular file", path,
              S_ISDIR(info.st_mode) ? "a folder" : "a device or a pipe");
    TRI_CHECK(info.st_size > 0, TRI_EFORMAT, "token file %s is empty (0 bytes)", path);
    void *map = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0);
    TRI_TRY(TRI_SYS(map == MAP_FAILED ? -1 : 0, "mapping %lld bytes of token file %s",
                    (long long)info.st_size, path));
    shard->map = map;
    shard->map_bytes = info.st_size;
    shard->device = info.st_dev;
    shard->inode = info.st_ino;
    /* Advice only: where the kernel has none to take, reading works all the same. */
    (void)madvise(map, (size_t)info.st_size, MADV_RANDOM);
    return TRI_OK;
}

tri_status tri_token_file_map(const char *path, tri_token_file *shard)
{
    TRI_TRY(tri_alloc_string(path, &shard->path));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    TRI_TRY(TRI_SYS(fd, "opening token file %s", path));
    tri_status rc = shard_map_fd(fd, path, shard);
    close(fd);
    TRI_TRY(rc);
    return TRI_OK;
}

tri_status tri_token_file_lay(tri_token_file *shard, int64_t offset, tri_token_type type)
{
    int64_t width = tri_token_bytes(type);
    int64_t bytes = shard->map_bytes - offset;
    TRI_CHECK(bytes >= width, TRI_EFORMAT,
              "token file %s has no tokens: %lld bytes, of which %lld are header", shard->path,
              (long long)shard->map_bytes, (long long)offset);
    TRI_CHECK(bytes % width == 0, TRI_EFORMAT,
              "token file %s has %lld bytes of tokens, which is no multiple of %lld (%s): it is "
              "truncated or of another format",
              shard->path, (long long)bytes, (long long)width, tri_token_name(type));
    shard->tokens = (const unsigned char *)shard->map + offset;
    shard->type = type;
    shard->count = bytes / width;
    return TRI_OK;
}

tri_status tri_token_file_fail_vocab(const tri_token_file *shard, int64_t position, int64_t id,
                                     int64_t vocab)
{
    TRI_CHECK(id >= 0, TRI_EFORMAT,
              "%s: token %lld is %lld; ids must be 0 to %lld (is data.format right for this file?)",
              shard->path, (long long)position, (long long)id, (long long)vocab - 1);
    TRI_FAIL(TRI_EFORMAT,
             "%s: token %lld is %lld, but the model's vocabulary has %lld ids (0 to %lld): use "
             "model.vocab >= %lld, or check that data.format fits the file",
             shard->path, (long long)position, (long long)id, (long long)vocab,
             (long long)vocab - 1, (long long)id + 1);
}

/* Widen n integers at `from` (unaligned); the index of the first that is not in [0, vocab), or n.
 * The test is folded into one flag, so that the loop vectorises. */
#define X(id, c_type)                                                                             \
    static int64_t decode_##id(const unsigned char *from, int64_t n, int64_t vocab, int32_t *out) \
    {                                                                                             \
        uint64_t limit = vocab > 0 ? (uint64_t)vocab : UINT64_MAX;                                \
        int bad = 0;                                                                              \
        for (int64_t i = 0; i < n; i++) {                                                         \
            c_type value;                                                                         \
            memcpy(&value, from + i * (int64_t)sizeof value, sizeof value);                       \
            bad |= (uint64_t)(int64_t)value >= limit;                                             \
            out[i] = (int32_t)value;                                                              \
        }                                                                                         \
        if (!bad || vocab == 0) return n;                                                         \
        for (int64_t i = 0; i < n; i++) {                                                         \
            c_type value;                                                                         \
            memcpy(&value, from + i * (int64_t)sizeof value, sizeof value);                       \
            if ((uint64_t)(int64_t)value >= limit) return i;                                      \
        }                                                                                         \
        return n;                                                                                 \
    }
TRI_TOKEN_MAP(X)
#undef X

static int64_t shard_decode(const tri_token_file *shard, int64_t begin, int64_t n, int64_t vocab,
                            int32_t *out)
{
    const unsigned char *from = shard->tokens + begin * tri_token_bytes(shard->type);
    switch (shard->type) {
#define X(id, c_type)    \
    case TRI_TOKEN_##id: \
        return decode_##id(from, n, vocab, out);
        TRI_TOKEN_MAP(X)
#undef X
    }
    return 0;
}

static int64_t shard_value(const tri_token_file *shard, int64_t position)
{
    const unsigned char *from = shard->tokens + position * tri_token_bytes(shard->type);
    switch (shard->type) {
#define X(id, c_type)                       \
    case TRI_TOKEN_##id: {                  \
        c_type value;                       \
        memcpy(&value, from, sizeof value); \
        return (int64_t)value;              \
    }
        TRI_TOKEN_MAP(X)
#undef X
    }
    return 0;
}

/* Ask for the pages of a read in one request. */
static void shard_advise(const tri_token_file *shard, int64_t begin, int64_t n)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = (uintptr_t)shard->tokens + (uintptr_t)(begin * tri_token_bytes(shard->type));
    uintptr_t to = from + (uintptr_t)(n * tri_token_bytes(shard->type));
    uintptr_t first = from / page * page;
    if (to - first > page) (void)madvise((void *)first, to - first, MADV_WILLNEED);
}

/* A file that was replaced by another of the same name is no harm: the map keeps the old one. */
static tri_status shard_check_size(const tri_token_file *shard)
{
    struct stat now;
    if (stat(shard->path, &now) != 0) return TRI_OK;
    if (now.st_dev != shard->device || now.st_ino != shard->inode) return TRI_OK;
    TRI_CHECK(now.st_size >= shard->map_bytes, TRI_EIO,
              "token file %s became shorter while it was in use: %lld bytes when opened, %lld now; "
              "token files must not change during a run",
              shard->path, (long long)shard->map_bytes, (long long)now.st_size);
    return TRI_OK;
}

tri_status tri_token_file_read(tri_token_file *shard, int64_t begin, int64_t n, int64_t vocab,
                               int32_t *out)
{
    TRI_TRY(shard_check_size(shard));
    shard_advise(shard, begin, n);
    int64_t good = shard_decode(shard, begin, n, vocab, out);
    if (good == n) return TRI_OK;
    return tri_token_file_fail_vocab(shard, begin + good, shard_value(shard, begin + good), vocab);
}

void tri_token_file_fini(tri_token_file *shard)
{
    if (shard->map) munmap(shard->map, (size_t)shard->map_bytes);
    TRI_FREE(shard->path);
    *shard = (tri_token_file){0};
}

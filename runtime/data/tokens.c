// SPDX-License-Identifier: Apache-2.0
/* Shards as one sequence: the files are found and sorted, opened by their format, and numbered
 * through. Nothing is allocated after opening.
 */
#include "runtime/data/tokens.h"

#include "runtime/base/alloc.h"
#include "runtime/base/crc.h"
#include "runtime/base/int.h"
#include "runtime/data/token_file.h"

#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The fingerprint looks at this many evenly spaced pieces of so many tokens. */
enum { PRINT_PIECES = 64, PRINT_TOKENS = 256 };

struct tri_tokens {
    const tri_format_ops *format;
    int64_t n_shards;
    tri_token_file *shard;
    int64_t *begin; /* [n_shards + 1] number of the first token */
    uint64_t fingerprint;
};

/* The names a path stands for. */
typedef struct names {
    int64_t count;
    char **name;
} names;

static void names_destroy(names **list)
{
    if (!*list) return;
    for (int64_t i = 0; (*list)->name && i < (*list)->count; i++)
        TRI_FREE((*list)->name[i]);
    TRI_FREE((*list)->name);
    TRI_FREE(*list);
}

static int names_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static tri_status names_take(names *list, int64_t count, char *const *from)
{
    TRI_TRY(TRI_NEW_ARRAY(count, &list->name));
    for (list->count = 0; list->count < count; list->count++)
        TRI_TRY(tri_alloc_string(from[list->count], &list->name[list->count]));
    return TRI_OK;
}

static tri_status names_match(const char *pattern, names *list)
{
    glob_t found = {0};
    int rc = glob(pattern, GLOB_NOSORT, NULL, &found);
    tri_status status = TRI_OK;
    if (rc == 0) status = names_take(list, (int64_t)found.gl_pathc, found.gl_pathv);
    globfree(&found);
    TRI_TRY(status);
    TRI_CHECK(rc != GLOB_NOSPACE, TRI_ENOMEM, "finding the files of %s", pattern);
    TRI_CHECK(rc != GLOB_ABORTED, TRI_EIO, "finding the files of %s: a folder cannot be read",
              pattern);
    TRI_CHECK(rc == 0, TRI_EIO, "no file matches %s", pattern);
    return TRI_OK;
}

/* Sort by bytes, whatever the locale, and make files of one shard (megatron's pair) one name. */
static void names_order(const tri_format_ops *format, names *list)
{
    for (int64_t i = 0; format->stem && i < list->count; i++)
        format->stem(list->name[i]);
    qsort(list->name, (size_t)list->count, sizeof *list->name, names_compare);
    int64_t kept = 0;
    for (int64_t i = 0; i < list->count; i++) {
        if (kept > 0 && strcmp(list->name[kept - 1], list->name[i]) == 0)
            TRI_FREE(list->name[i]);
        else
            list->name[kept++] = list->name[i];
    }
    list->count = kept;
}

static tri_status names_find(const char *path, const tri_format_ops *format, names **out)
{
    TRI_AUTO(names) *list = NULL;
    TRI_TRY(TRI_NEW(&list));
    struct stat info;
    bool is_pattern = strpbrk(path, "*?[") != NULL && stat(path, &info) != 0;
    if (is_pattern)
        TRI_TRY(names_match(path, list));
    else
        TRI_TRY(names_take(list, 1, (char *const[]){(char *)(uintptr_t)path}));
    names_order(format, list);
    *out = TRI_MOVE(list);
    return TRI_OK;
}

void tri_tokens_destroy(tri_tokens **tokens)
{
    tri_tokens *t = *tokens;
    if (!t) return;
    for (int64_t i = 0; t->shard && i < t->n_shards; i++) {
        if (t->format->close) t->format->close(&t->shard[i]);
        tri_token_file_fini(&t->shard[i]);
    }
    TRI_FREE(t->shard);
    TRI_FREE(t->begin);
    TRI_FREE(*tokens);
}

static tri_status tokens_read(tri_tokens *tokens, int64_t begin, int64_t n, int64_t vocab,
                              int32_t *out);

/* High word: CRC32C of the number of tokens; low word: of the sampled pieces. Tokens count, not
 * files: the same tokens in other shards or another format are the same data. */
static tri_status tokens_print(tri_tokens *tokens)
{
    int64_t count = tri_tokens_count(tokens);
    int64_t piece = tri_min64(PRINT_TOKENS, count);
    int64_t room = count - piece;
    int32_t held[PRINT_TOKENS];
    uint32_t contents = 0;
    for (int64_t i = 0; i < PRINT_PIECES; i++) {
        int64_t begin =
            room / (PRINT_PIECES - 1) * i + room % (PRINT_PIECES - 1) * i / (PRINT_PIECES - 1);
        TRI_TRY(tokens_read(tokens, begin, piece, 0, held));
        contents = tri_crc32c_extend(contents, held, (size_t)piece * sizeof *held);
    }
    uint32_t size = tri_crc32c(&count, sizeof count);
    tokens->fingerprint = (uint64_t)size << 32 | contents;
    return TRI_OK;
}

static tri_status tokens_open_shards(const tri_tokens_args *args, const names *list,
                                     tri_tokens *tokens)
{
    TRI_TRY(TRI_NEW_ARRAY(list->count, &tokens->shard));
    TRI_TRY(TRI_NEW_ARRAY(list->count + 1, &tokens->begin));
    tokens->n_shards = list->count;
    for (int64_t i = 0; i < list->count; i++) {
        TRI_TRY(tokens->format->open(args, list->name[i], &tokens->shard[i]));
        tokens->begin[i + 1] = tokens->begin[i] + tokens->shard[i].count;
    }
    return TRI_OK;
}

tri_status tri_tokens_open(const tri_tokens_args *args, tri_tokens **out)
{
    TRI_CHECK(args->path && *args->path, TRI_EINVAL, "no path of a token file was given");
    const tri_format_ops *format = NULL;
    TRI_TRY(tri_format_find(args->format, &format));
    TRI_AUTO(names) *list = NULL;
    TRI_TRY(names_find(args->path, format, &list));

    TRI_AUTO(tri_tokens) *tokens = NULL;
    TRI_TRY(TRI_NEW(&tokens));
    tokens->format = format;
    TRI_TRY(tokens_open_shards(args, list, tokens));
    TRI_TRY(tokens_print(tokens));
    *out = TRI_MOVE(tokens);
    return TRI_OK;
}

int64_t tri_tokens_count(const tri_tokens *tokens)
{
    return tokens->begin[tokens->n_shards];
}

uint64_t tri_tokens_fingerprint(const tri_tokens *tokens)
{
    return tokens->fingerprint;
}

/* The shard that holds token `position`. */
static int64_t tokens_shard_of(const tri_tokens *tokens, int64_t position)
{
    int64_t low = 0;
    int64_t high = tokens->n_shards;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (tokens->begin[middle] <= position)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static tri_status tokens_read(tri_tokens *tokens, int64_t begin, int64_t n, int64_t vocab,
                              int32_t *out)
{
    int64_t i = n > 0 ? tokens_shard_of(tokens, begin) : 0;
    for (int64_t done = 0; done < n; i++) {
        tri_token_file *shard = &tokens->shard[i];
        int64_t at = begin + done - tokens->begin[i];
        int64_t part = tri_min64(n - done, shard->count - at);
        if (tokens->format->read)
            TRI_TRY(tokens->format->read(shard, at, part, vocab, out + done));
        else
            TRI_TRY(tri_token_file_read(shard, at, part, vocab, out + done));
        done += part;
    }
    return TRI_OK;
}

tri_status tri_tokens_read(tri_tokens *tokens, int64_t begin, int64_t n, int64_t vocab,
                           int32_t *out)
{
    int64_t count = tri_tokens_count(tokens);
    TRI_CHECK(begin >= 0 && n >= 0 && begin <= count && n <= count - begin, TRI_EINVAL,
              "tokens %lld to %lld were asked for; there are %lld", (long long)begin,
              (long long)(begin + n), (long long)count);
    TRI_CHECK(vocab > 0 && vocab <= (int64_t)INT32_MAX + 1, TRI_EINVAL,
              "a vocabulary of %lld ids; 1 to 2^31 would do", (long long)vocab);
    TRI_TRY(tokens_read(tokens, begin, n, vocab, out));
    return TRI_OK;
}

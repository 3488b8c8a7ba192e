// SPDX-License-Identifier: Apache-2.0
/* Every format: what was written is what is read, across shards; damaged files are answered. */
// TEST ranks=1 timeout=60
#include "runtime/data/tokens.h"
#include "runtime/h5.h"

#include "tests/folder.h"
#include "tests/test.h"

enum { N = 5000, VOCAB = 60000 };

/* Token i of every file made here. */
static uint16_t token_at(int64_t i)
{
    return (uint16_t)((uint64_t)i * 2654435761u >> 7 & 0x7fff);
}

static tri_status open_as(tri_folder *folder, const char *format, const char *name,
                          tri_tokens **out)
{
    tri_tokens_args args = {.path = tri_folder_at(folder, name),
                            .format = format,
                            .tokenizer = "bytes",
                            .dataset = "book/tokens"};
    TRI_TRY(tri_tokens_open(&args, out));
    return TRI_OK;
}

/* Opening must fail so. */
static void expect_open(tri_folder *folder, const char *format, const char *name, tri_status wanted,
                        const char *part)
{
    TRI_AUTO(tri_tokens) *tokens = NULL;
    EXPECT_STATUS(open_as(folder, format, name, &tokens), wanted, part);
    EXPECT(tokens == NULL, "%s of format %s is open", name, format);
}

/* All n tokens are token_at(i) & mask, whatever pieces they are read in. */
static tri_status expect_tokens(tri_tokens *tokens, int64_t n, unsigned mask)
{
    EXPECT(tri_tokens_count(tokens) == n, "%lld tokens", (long long)tri_tokens_count(tokens));
    int32_t held[N + 1];
    for (int64_t piece = 1; piece <= n; piece = piece * 3 + 1) {
        for (int64_t begin = 0; begin < n; begin += piece) {
            int64_t part = piece < n - begin ? piece : n - begin;
            held[part] = -7;
            TRI_TRY(tri_tokens_read(tokens, begin, part, VOCAB, held));
            int64_t good = 0;
            while (good < part && held[good] == (int32_t)(token_at(begin + good) & mask))
                good++;
            EXPECT(good == part, "piece at %lld of %lld: token %lld is %d", (long long)begin,
                   (long long)part, (long long)good, held[good]);
            EXPECT(held[part] == -7, "wrote behind the end");
        }
    }
    return TRI_OK;
}

static tri_status put_tokens(tri_folder *folder, const char *name, const char *mode, int64_t begin,
                             int64_t n)
{
    uint16_t tokens[N];
    for (int64_t i = 0; i < n; i++)
        tokens[i] = token_at(begin + i);
    TRI_TRY(tri_folder_put(folder, name, mode, tokens, (size_t)n * sizeof *tokens));
    return TRI_OK;
}

static tri_status put_llmc(tri_folder *folder, const char *name, int32_t magic, int32_t version,
                           int32_t count, int64_t begin, int64_t n)
{
    int32_t header[256] = {magic, version, count};
    TRI_TRY(tri_folder_put(folder, name, "w", header, sizeof header));
    TRI_TRY(put_tokens(folder, name, "a", begin, n));
    return TRI_OK;
}

TRI_TEST(text_is_bytes)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    unsigned char text[N];
    for (int64_t i = 0; i < N; i++)
        text[i] = (unsigned char)token_at(i);
    TRI_TRY(tri_folder_put(folder, "a.txt", "w", text, N));
    TRI_AUTO(tri_tokens) *tokens = NULL;
    TRI_TRY(open_as(folder, "text", "a.txt", &tokens));
    TRI_TRY(expect_tokens(tokens, N, 0xff));

    tri_tokens_args args = {
        .path = tri_folder_at(folder, "a.txt"), .format = "text", .tokenizer = "gpt2"};
    TRI_AUTO(tri_tokens) *other = NULL;
    EXPECT_STATUS(tri_tokens_open(&args, &other), TRI_EINVAL, "it is: bytes");
    args.format = "parquet";
    EXPECT_STATUS(tri_tokens_open(&args, &other), TRI_EINVAL, "text, uint16, llmc, megatron");
    return TRI_OK;
}

TRI_TEST(uint16_shards_of_uneven_sizes)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    static const int64_t cut[] = {0, 1, 3, 700, 701, 4096, N};
    for (int i = 5; i >= 0; i--) {
        char name[32];
        snprintf(name, sizeof name, "part-%d.bin", i);
        TRI_TRY(put_tokens(folder, name, "w", cut[i], cut[i + 1] - cut[i]));
    }
    TRI_TRY(put_tokens(folder, "whole.bin", "w", 0, N));
    TRI_AUTO(tri_tokens) *shards = NULL;
    TRI_TRY(open_as(folder, "uint16", "part-*.bin", &shards));
    TRI_TRY(expect_tokens(shards, N, 0xffff));
    TRI_AUTO(tri_tokens) *whole = NULL;
    TRI_TRY(open_as(folder, "uint16", "whole.bin", &whole));
    TRI_TRY(expect_tokens(whole, N, 0xffff));
    EXPECT(tri_tokens_fingerprint(shards) == tri_tokens_fingerprint(whole),
           "the same tokens in other shards have another fingerprint");
    int32_t one;
    EXPECT_STATUS(tri_tokens_read(whole, N, 1, VOCAB, &one), TRI_EINVAL, "there are 5000");
    EXPECT_STATUS(tri_tokens_read(whole, -1, 1, VOCAB, &one), TRI_EINVAL, "there are 5000");
    EXPECT_STATUS(tri_tokens_read(whole, 0, 1, 0, &one), TRI_EINVAL, "vocabulary of 0");
    EXPECT_STATUS(tri_tokens_read(whole, N, 0, VOCAB, &one), TRI_OK, "");
    return TRI_OK;
}

TRI_TEST(fingerprint_sees_size_and_contents)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    TRI_TRY(put_tokens(folder, "a", "w", 0, N));
    TRI_TRY(put_tokens(folder, "b", "w", 1, N));
    TRI_TRY(put_tokens(folder, "c", "w", 0, N - 1));
    uint64_t print[3];
    for (int i = 0; i < 3; i++) {
        TRI_AUTO(tri_tokens) *tokens = NULL;
        TRI_TRY(open_as(folder, "uint16", (const char *[]){"a", "b", "c"}[i], &tokens));
        print[i] = tri_tokens_fingerprint(tokens);
    }
    EXPECT(print[0] >> 32 == print[1] >> 32, "same size, other high word");
    EXPECT((uint32_t)print[0] != (uint32_t)print[1], "other tokens, same low word");
    EXPECT(print[0] >> 32 != print[2] >> 32, "other size, same high word");
    return TRI_OK;
}

TRI_TEST(token_beyond_the_vocabulary)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    uint16_t held[100] = {0};
    held[41] = 50257;
    TRI_TRY(tri_folder_put(folder, "a.bin", "w", held, sizeof held));
    TRI_TRY(tri_folder_put(folder, "b.bin", "w", held, sizeof held));
    TRI_AUTO(tri_tokens) *tokens = NULL;
    TRI_TRY(open_as(folder, "uint16", "?.bin", &tokens));
    int32_t out[200];
    EXPECT_STATUS(tri_tokens_read(tokens, 0, 41, 50257, out), TRI_OK, "");
    EXPECT_STATUS(tri_tokens_read(tokens, 0, 200, 50258, out), TRI_OK, "");
    EXPECT_STATUS(tri_tokens_read(tokens, 30, 20, 50257, out), TRI_EFORMAT,
                  "a.bin: token 41 is 50257, but the model's vocabulary has 50257 ids");
    EXPECT_STATUS(tri_tokens_read(tokens, 50, 150, 50257, out), TRI_EFORMAT, "b.bin: token 41");
    EXPECT_STATUS(tri_tokens_read(tokens, 50, 150, 50257, out), TRI_EFORMAT,
                  "model.vocab >= 50258");
    return TRI_OK;
}

TRI_TEST(files_that_are_not_there)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    TRI_TRY(tri_folder_put(folder, "empty", "w", "", 0));
    TRI_TRY(tri_folder_put(folder, "odd", "w", "abc", 3));
    TRI_TRY(tri_folder_put(folder, "locked", "w", "abcd", 4));
    expect_open(folder, "text", "missing.txt", TRI_EIO, "missing.txt: No such file");
    expect_open(folder, "text", "no*.txt", TRI_EIO, "no file matches");
    expect_open(folder, "text", "", TRI_EIO, "is a folder");
    expect_open(folder, "text", "empty", TRI_EFORMAT, "empty is empty (0 bytes)");
    expect_open(folder, "uint16", "odd", TRI_EFORMAT, "no multiple of 2");
    TRI_TRY(TRI_SYS(chmod(tri_folder_at(folder, "locked"), 0), "chmod"));
    if (geteuid() != 0) expect_open(folder, "text", "locked", TRI_EIO, "Permission denied");

    TRI_TRY(tri_folder_put(folder, "odd[name]*", "w", "abc", 3));
    TRI_AUTO(tri_tokens) *tokens = NULL;
    TRI_TRY(open_as(folder, "text", "odd[name]*", &tokens));
    EXPECT(tri_tokens_count(tokens) == 3, "a file whose name looks like a pattern");
    return TRI_OK;
}

TRI_TEST(file_that_shrinks_is_an_error)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    TRI_TRY(put_tokens(folder, "a", "w", 0, N));
    TRI_AUTO(tri_tokens) *tokens = NULL;
    TRI_TRY(open_as(folder, "uint16", "a", &tokens));
    int32_t out[8];
    EXPECT_STATUS(tri_tokens_read(tokens, N - 8, 8, VOCAB, out), TRI_OK, "");
    TRI_TRY(TRI_SYS(truncate(tri_folder_at(folder, "a"), 100), "truncate"));
    EXPECT_STATUS(tri_tokens_read(tokens, N - 8, 8, VOCAB, out), TRI_EIO,
                  "became shorter while it was in use: 10000 bytes when opened, 100 now");
    return TRI_OK;
}

TRI_TEST(llmc_and_its_header)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    TRI_TRY(put_llmc(folder, "a_0.bin", 20240520, 1, 3000, 0, 3000));
    TRI_TRY(put_llmc(folder, "a_1.bin", 20240520, 1, N - 3000, 3000, N - 3000));
    TRI_AUTO(tri_tokens) *tokens = NULL;
    TRI_TRY(open_as(folder, "llmc", "a_*.bin", &tokens));
    TRI_TRY(expect_tokens(tokens, N, 0xffff));

    TRI_TRY(put_llmc(folder, "magic", 20240521, 1, 10, 0, 10));
    TRI_TRY(put_llmc(folder, "version", 20240520, 2, 10, 0, 10));
    TRI_TRY(put_llmc(folder, "short", 20240520, 1, 11, 0, 10));
    TRI_TRY(put_llmc(folder, "long", 20240520, 1, 9, 0, 10));
    TRI_TRY(put_llmc(folder, "negative", 20240520, 1, -1, 0, 10));
    TRI_TRY(put_llmc(folder, "none", 20240520, 1, 0, 0, 0));
    TRI_TRY(tri_folder_put(folder, "stub", "w", "abcdefgh", 8));
    expect_open(folder, "llmc", "magic", TRI_EFORMAT, "begins with 20240521");
    expect_open(folder, "llmc", "version", TRI_EFORMAT, "version 2");
    expect_open(folder, "llmc", "short", TRI_EFORMAT, "says 11 tokens");
    expect_open(folder, "llmc", "long", TRI_EFORMAT, "says 9 tokens");
    expect_open(folder, "llmc", "negative", TRI_EFORMAT, "says -1 tokens");
    expect_open(folder, "llmc", "none", TRI_EFORMAT, "has no tokens");
    expect_open(folder, "llmc", "stub", TRI_EFORMAT, "header of 1024 bytes");
    return TRI_OK;
}

/* A pair of N tokens in sequences of `each`, in integers of `code`, `width` bytes. */
static tri_status put_megatron(tri_folder *folder, const char *stem, uint8_t code, int width,
                               int64_t each)
{
    char name[64];
    int64_t sequences = N / each;
    uint64_t counts[2] = {(uint64_t)sequences, 2};
    uint64_t version = 1;
    snprintf(name, sizeof name, "%s.idx", stem);
    TRI_TRY(tri_folder_put(folder, name, "w", "MMIDIDX\0", 9));
    TRI_TRY(tri_folder_put(folder, name, "a", &version, 8));
    TRI_TRY(tri_folder_put(folder, name, "a", &code, 1));
    TRI_TRY(tri_folder_put(folder, name, "a", counts, 16));
    for (int64_t i = 0; i < sequences; i++)
        TRI_TRY(tri_folder_put(folder, name, "a", &(int32_t){(int32_t)each}, 4));
    for (int64_t i = 0; i < sequences; i++)
        TRI_TRY(tri_folder_put(folder, name, "a", &(int64_t){i * each * width}, 8));
    TRI_TRY(tri_folder_put(folder, name, "a", (int64_t[]){0, sequences}, 16));
    unsigned char data[N * 8];
    for (int64_t i = 0; i < N; i++) {
        int64_t value = token_at(i) & (width == 1 ? 0x7f : 0x7fff);
        memcpy(data + i * width, &value, (size_t)width);
    }
    snprintf(name, sizeof name, "%s.bin", stem);
    TRI_TRY(tri_folder_put(folder, name, "w", data, (size_t)(N * width)));
    return TRI_OK;
}

TRI_TEST(megatron_of_every_type)
{
    static const int width[] = {0, 1, 1, 2, 4, 8, 0, 0, 2};
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    for (int code = 1; code <= 8; code++) {
        if (width[code] == 0) continue;
        TRI_TRY(put_megatron(folder, "m", (uint8_t)code, width[code], 250));
        for (int i = 0; i < 4; i++) {
            TRI_AUTO(tri_tokens) *tokens = NULL;
            TRI_TRY(open_as(folder, "megatron", (const char *[]){"m", "m.bin", "m.idx", "m*"}[i],
                            &tokens));
            TRI_TRY(expect_tokens(tokens, N, width[code] == 1 ? 0x7f : 0x7fff));
        }
    }
    return TRI_OK;
}

/* Overwrite bytes of the index of a good pair: what then? */
static tri_status expect_damage(tri_folder *folder, long at, const void *bytes, size_t n,
                                const char *part)
{
    TRI_TRY(put_megatron(folder, "m", 8, 2, 250));
    FILE *file = fopen(tri_folder_at(folder, "m.idx"), "r+");
    TRI_CHECK(file, TRI_EIO, "opening m.idx");
    fseek(file, at, SEEK_SET);
    fwrite(bytes, 1, n, file);
    fclose(file);
    expect_open(folder, "megatron", "m", TRI_EFORMAT, part);
    return TRI_OK;
}

TRI_TEST(megatron_damaged)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    TRI_TRY(expect_damage(folder, 0, "X", 1, "no Megatron index"));
    TRI_TRY(expect_damage(folder, 9, "\2", 1, "version 2"));
    TRI_TRY(expect_damage(folder, 17, "\7", 1, "type code 7"));
    TRI_TRY(expect_damage(folder, 17, "\377", 1, "type code 255"));
    TRI_TRY(expect_damage(folder, 18, "\0", 1, "no sequences"));
    TRI_TRY(expect_damage(folder, 18, "\25", 1, "truncated or damaged"));
    TRI_TRY(expect_damage(folder, 25, "\377", 1, "truncated or damaged"));
    TRI_TRY(expect_damage(folder, 33, "\100", 1, "truncated or damaged"));
    TRI_TRY(expect_damage(folder, 34 + 20 * 4, "\1", 1, "first sequence at byte 1"));
    TRI_TRY(expect_damage(folder, 34 + 19 * 4, "\1", 1, "its index"));
    TRI_TRY(expect_damage(folder, 34 + 19 * 4 + 3, "\377", 1, "is damaged"));
    TRI_TRY(put_megatron(folder, "m", 8, 2, 250));
    TRI_TRY(TRI_SYS(truncate(tri_folder_at(folder, "m.bin"), N), "truncate"));
    expect_open(folder, "megatron", "m", TRI_EFORMAT, "has 5000 bytes, its index");
    TRI_TRY(TRI_SYS(unlink(tri_folder_at(folder, "m.idx")), "unlink"));
    expect_open(folder, "megatron", "m", TRI_EIO, "m.idx: No such file");
    return TRI_OK;
}

TRI_TEST(megatron_negative_token)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    TRI_TRY(put_megatron(folder, "m", 5, 8, 250));
    int64_t bad = -3;
    FILE *file = fopen(tri_folder_at(folder, "m.bin"), "r+");
    TRI_CHECK(file, TRI_EIO, "opening m.bin");
    fseek(file, 77L * 8, SEEK_SET);
    fwrite(&bad, 1, 8, file);
    fclose(file);
    TRI_AUTO(tri_tokens) *tokens = NULL;
    TRI_TRY(open_as(folder, "megatron", "m", &tokens));
    int32_t out[100];
    EXPECT_STATUS(tri_tokens_read(tokens, 0, 100, VOCAB, out), TRI_EFORMAT, "token 77 is -3");
    return TRI_OK;
}

/* A file with one dataset of n elements. */
static tri_status put_hdf5(tri_folder *folder, const char *name, const char *dataset, tri_span data,
                           int n_dims)
{
    TRI_AUTO(tri_h5) *h5 = NULL;
    int64_t shape[2] = {n_dims == 2 ? 10 : data.count, data.count / 10};
    TRI_TRY(tri_h5_create(tri_folder_at(folder, name), 0, &h5));
    TRI_TRY(tri_h5_write(h5, dataset, data.dtype, n_dims, shape, data.data));
    TRI_TRY(tri_h5_close(&h5));
    return TRI_OK;
}

TRI_TEST(hdf5_datasets)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    uint16_t narrow[N];
    int64_t wide[N];
    for (int64_t i = 0; i < N; i++)
        wide[i] = narrow[i] = token_at(i);
    TRI_TRY(put_hdf5(folder, "a-0.h5", "book/tokens", tri_span_make(narrow, 2000, TRI_U16), 1));
    TRI_TRY(put_hdf5(folder, "a-1.h5", "book/tokens", tri_span_make(wide + 2000, N - 2000, TRI_I64),
                     2));
    TRI_AUTO(tri_tokens) *tokens = NULL;
    TRI_TRY(open_as(folder, "hdf5", "a-*.h5", &tokens));
    TRI_TRY(expect_tokens(tokens, N, 0xffff));
    TRI_TRY(put_tokens(folder, "raw", "w", 0, N));
    TRI_AUTO(tri_tokens) *raw = NULL;
    TRI_TRY(open_as(folder, "uint16", "raw", &raw));
    EXPECT(tri_tokens_fingerprint(tokens) == tri_tokens_fingerprint(raw),
           "the same tokens in another format have another fingerprint");

    int32_t out[100];
    wide[50] = 1ll << 40;
    wide[70] = -2;
    TRI_TRY(put_hdf5(folder, "bad.h5", "book/tokens", tri_span_make(wide, N, TRI_I64), 1));
    TRI_AUTO(tri_tokens) *bad = NULL;
    TRI_TRY(open_as(folder, "hdf5", "bad.h5", &bad));
    EXPECT_STATUS(tri_tokens_read(bad, 0, 100, VOCAB, out), TRI_EFORMAT,
                  "bad.h5: token 50 is 1099511627776");
    EXPECT_STATUS(tri_tokens_read(bad, 60, 40, VOCAB, out), TRI_EFORMAT, "token 70 is -2");
    return TRI_OK;
}

TRI_TEST(hdf5_files_that_will_not_do)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    float numbers[20] = {0};
    uint16_t none = 0;
    tri_span floats = tri_span_make(numbers, 20, TRI_F32);
    TRI_TRY(put_hdf5(folder, "float.h5", "book/tokens", floats, 1));
    TRI_TRY(put_hdf5(folder, "other.h5", "book/ids", floats, 1));
    TRI_TRY(put_hdf5(folder, "none.h5", "book/tokens", tri_span_make(&none, 0, TRI_U16), 1));
    TRI_TRY(tri_folder_put(folder, "text.h5", "w", "In the beginning", 16));
    expect_open(folder, "hdf5", "float.h5", TRI_EFORMAT, "floating-point");
    expect_open(folder, "hdf5", "other.h5", TRI_EFORMAT, "book/tokens");
    expect_open(folder, "hdf5", "none.h5", TRI_EFORMAT, "is empty");
    expect_open(folder, "hdf5", "text.h5", TRI_EFORMAT, "text.h5");
    expect_open(folder, "hdf5", "missing.h5", TRI_EIO, "missing.h5");
    TRI_TRY(TRI_SYS(truncate(tri_folder_at(folder, "float.h5"), 900), "truncate"));
    expect_open(folder, "hdf5", "float.h5", TRI_EFORMAT, "float.h5");
    tri_tokens_args args = {.path = tri_folder_at(folder, "other.h5"), .format = "hdf5"};
    TRI_AUTO(tri_tokens) *tokens = NULL;
    EXPECT_STATUS(tri_tokens_open(&args, &tokens), TRI_EINVAL, "data.dataset is needed");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(text_is_bytes), TRI_TEST_ROW(uint16_shards_of_uneven_sizes),
              TRI_TEST_ROW(fingerprint_sees_size_and_contents),
              TRI_TEST_ROW(token_beyond_the_vocabulary), TRI_TEST_ROW(files_that_are_not_there),
              TRI_TEST_ROW(file_that_shrinks_is_an_error), TRI_TEST_ROW(llmc_and_its_header),
              TRI_TEST_ROW(megatron_of_every_type), TRI_TEST_ROW(megatron_damaged),
              TRI_TEST_ROW(megatron_negative_token), TRI_TEST_ROW(hdf5_datasets),
              TRI_TEST_ROW(hdf5_files_that_will_not_do))

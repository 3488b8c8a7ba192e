// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a token file of each format: it is refused with a message, or can be read to its end.
 *
 * Byte 0: format (low two bits), then what is put right so that the fuzzer gets behind the checks:
 * bit 2 magic and version, bit 3 the counts of the header, bit 4 the end of the last sequence. Bytes
 * 1 and 2: length of the .idx file of format megatron. The rest are the files. HDF5 has a
 * fuzzer of its own, fuzz_hdf5.c. Without clang (no libFuzzer), or with -DTRI_REPLAY, a main() runs the
 * files named on the command line.
 */
#include "runtime/base/int.h"
#include "runtime/data/tokens.h"

#include "tests/folder.h"
#include "tests/fuzz/replay.h"

enum { TEXT, UINT16, LLMC, MEGATRON, FORMATS };
enum { FIX_MAGIC = 4, FIX_COUNTS = 8, FIX_EXTENT = 16, INDEX_HEADER = 34, MAX_FILE = 1 << 16 };

/* A program of its own may have state; it is removed at exit. */
static tri_folder *fuzz_folder;

static void fuzz_clean(void)
{
    tri_folder_destroy(&fuzz_folder);
}

static void fuzz_demand(bool cond, const char *what)
{
    if (cond) return;
    fprintf(stderr, "fuzz_tokens: %s: %s\n", what, tri_err_last()->text);
    abort();
}

/* A whole header in front of the input, of which its first bytes are the count unless that is put
 * right too. */
static size_t fix_llmc(unsigned flags, uint8_t *file, size_t bytes)
{
    int32_t header[256] = {20240520, 1, (int32_t)(bytes / 2)};
    if (!(flags & FIX_MAGIC) || bytes < 4 || bytes + sizeof header > MAX_FILE) return bytes;
    if (!(flags & FIX_COUNTS)) memcpy(header + 2, file, 4);
    memmove(file + sizeof header, file, bytes);
    memcpy(file, header, sizeof header);
    return bytes + sizeof header;
}

/* Make the last sequence end where the .bin file does. */
static void fix_extent(uint8_t *index, uint64_t sequences, size_t tokens_bytes)
{
    static const int32_t widths[9] = {1, 1, 1, 2, 4, 8, 8, 4, 2};
    uint8_t *lengths = index + INDEX_HEADER;
    uint8_t *offsets = lengths + 4 * sequences;
    int32_t last_length = (int32_t)tokens_bytes / widths[index[17] % 9];
    int64_t offset = 0;
    memcpy(offsets + 8 * (sequences - 1), &offset, 8);
    memcpy(offsets, &offset, 8);
    memcpy(lengths + 4 * (sequences - 1), &last_length, 4);
}

static void fix_megatron(unsigned flags, uint8_t *index, size_t bytes, size_t tokens_bytes)
{
    static const char magic[17] = "MMIDIDX\0\0\1";
    if (bytes < INDEX_HEADER) return;
    if (flags & FIX_MAGIC) memcpy(index, magic, sizeof magic);
    uint64_t sequences = 0;
    memcpy(&sequences, index + 18, 8);
    sequences = sequences % ((bytes - INDEX_HEADER) / 12 + 1);
    uint64_t documents = (bytes - INDEX_HEADER - 12 * sequences) / 8;
    if (!(flags & FIX_COUNTS)) return;
    memcpy(index + 18, &sequences, 8);
    memcpy(index + 26, &documents, 8);
    if (sequences > 0 && (flags & FIX_EXTENT)) fix_extent(index, sequences, tokens_bytes);
}

static void read_all(tri_tokens *tokens)
{
    enum { PIECE = 1000 };
    int32_t out[PIECE];
    int64_t count = tri_tokens_count(tokens);
    for (int64_t at = 0; at < count; at += PIECE) {
        tri_status rc = tri_tokens_read(tokens, at, tri_min64(PIECE, count - at), 50257, out);
        fuzz_demand(rc == TRI_OK || tri_err_last()->text[0], "a failure without a message");
        tri_err_clear();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char *const names[] = {"text", "uint16", "llmc", "megatron"};
    static uint8_t file[MAX_FILE];
    if (bytes < 3 || bytes - 3 > MAX_FILE / 2) return 0;
    if (!fuzz_folder) {
        if (access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 0); /* ten times as fast */
        fuzz_demand(tri_folder_create(&fuzz_folder) == TRI_OK, "no folder");
        atexit(fuzz_clean);
    }
    unsigned flags = data[0];
    int format = (int)(flags % FORMATS);
    size_t n = bytes - 3;
    size_t index = format == MEGATRON ? (data[1] | (size_t)data[2] << 8) % (n + 1) : 0;
    memcpy(file, data + 3, n);
    if (format == LLMC) n = fix_llmc(flags, file, n);
    if (format == MEGATRON) fix_megatron(flags, file, index, n - index);
    fuzz_demand(tri_folder_put(fuzz_folder, "x.idx", "w", file, index) == TRI_OK &&
                    tri_folder_put(fuzz_folder, "x.bin", "w", file + index, n - index) == TRI_OK,
                "writing");

    int64_t live = tri_alloc_live();
    tri_tokens *tokens = NULL;
    tri_tokens_args args = {.path = tri_folder_at(fuzz_folder, "x.bin"), .format = names[format]};
    tri_status rc = tri_tokens_open(&args, &tokens);
    if (rc == TRI_OK) read_all(tokens);
    fuzz_demand(rc == TRI_OK || tri_err_last()->text[0], "a failure without a message");
    tri_err_clear();
    tri_tokens_destroy(&tokens);
    fuzz_demand(tri_alloc_live() == live, "objects are left");
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
/* Any bytes as an HDF5 file of tokens: it is refused with a message, or can be read to its end, and memory
 * stays within what its size justifies.
 *
 * Byte 0: 0 the rest is the file; odd: changes to a file in the oldest format, even: in the newest (which
 * has checksums). A change: offset (3 bytes), width (1 to 8), bytes. HDF5 runs in a child without the
 * fuzzer's instruments: its inputs are tried blindly, our reading of its answers is not. Without clang (no
 * libFuzzer), or with -DTRI_REPLAY, a main() runs the files named on the command line.
 */
#include "runtime/base/int.h"
#include "runtime/data/tokens.h"

#include "tests/folder.h"
#include "tests/fuzz/replay.h"
#include "tests/runtime/h5_foreign.h"

#include <sys/resource.h>

enum { MAX_FILE = 1 << 17, MAX_GROWTH_KB = 80 << 10 }; /* a compressed chunk may have 64 MiB */

/* A program of its own may have state; it is removed at exit. */
static struct {
    tri_folder *folder;
    uint8_t base[2][MAX_FILE];
    size_t base_bytes[2];
} fuzz;

static void fuzz_clean(void)
{
    tri_folder_destroy(&fuzz.folder);
}

static void fuzz_demand(bool cond, const char *what)
{
    if (cond) return;
    fprintf(stderr, "fuzz_hdf5: %s: %s\n", what, tri_err_last()->text);
    abort();
}

static void fuzz_begin(void)
{
    if (access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 0);
    fuzz_demand(tri_folder_create(&fuzz.folder) == TRI_OK, "no folder");
    atexit(fuzz_clean);
    for (int latest = 0; latest < 2; latest++) {
        const char *path = tri_folder_at(fuzz.folder, "base.h5");
        fuzz_demand(foreign_make(path, latest) == 0, "no file to begin with");
        FILE *file = fopen(path, "r");
        fuzz_demand(file != NULL, "opening");
        fuzz.base_bytes[latest] = fread(fuzz.base[latest], 1, MAX_FILE, file);
        fclose(file);
    }
}

/* The file that the input describes. */
static size_t fuzz_file(const uint8_t *data, size_t bytes, uint8_t *file)
{
    int latest = data[0] % 2 == 0;
    if (data[0] == 0) {
        size_t n = bytes - 1 < MAX_FILE ? bytes - 1 : MAX_FILE;
        memcpy(file, data + 1, n);
        return n;
    }
    size_t n = fuzz.base_bytes[latest];
    memcpy(file, fuzz.base[latest], n);
    for (size_t at = 1; at + 5 <= bytes;) {
        size_t offset = (data[at] | (size_t)data[at + 1] << 8 | (size_t)data[at + 2] << 16) % n;
        size_t width = data[at + 3] % 8 + 1u;
        at += 4;
        for (size_t i = 0; i < width && at < bytes; i++, at++)
            if (offset + i < n) file[offset + i] = data[at];
    }
    return n;
}

static void read_all(const char *path, const char *dataset)
{
    enum { PIECE = 1000, MOST = 1 << 16 };
    int32_t out[PIECE];
    tri_tokens *tokens = NULL;
    tri_tokens_args args = {.path = path, .format = "hdf5", .dataset = dataset};
    tri_status rc = tri_tokens_open(&args, &tokens);
    int64_t count = rc == TRI_OK ? tri_min64(tri_tokens_count(tokens), MOST) : 0;
    fuzz_demand(rc == TRI_OK || tri_err_last()->text[0], "a failure without a message");
    for (int64_t at = 0; at < count; at += PIECE) {
        rc = tri_tokens_read(tokens, at, tri_min64(PIECE, count - at), 50257, out);
        fuzz_demand(rc == TRI_OK || tri_err_last()->text[0], "a failure without a message");
        tri_err_clear();
    }
    tri_err_clear();
    tri_tokens_destroy(&tokens);
}

static long peak_kb(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_maxrss;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static uint8_t file[MAX_FILE];
    if (bytes < 2) return 0;
    if (!fuzz.folder) fuzz_begin();
    size_t n = fuzz_file(data, bytes, file);
    fuzz_demand(tri_folder_put(fuzz.folder, "x.h5", "w", file, n) == TRI_OK, "writing");
    int64_t live = tri_alloc_live();
    long before_kb = peak_kb();
    char path[TRI_FOLDER_PATH_BYTES + 256];
    snprintf(path, sizeof path, "%s", tri_folder_at(fuzz.folder, "x.h5"));
    read_all(path, foreign_datasets[data[bytes - 1] % FOREIGN_DATASETS].name);
    fuzz_demand(tri_alloc_live() == live, "objects are left");
    fuzz_demand(peak_kb() - before_kb < MAX_GROWTH_KB, "memory that the file does not justify");
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
/* Any changes to a manifest whose checksums are then put right, as somebody would who wants to do harm: it
 * is refused with a message, or all that it says can be used, and memory stays within what its size
 * justifies. A change: offset (3 bytes), width (1 to 8), bytes. Without clang (no libFuzzer), or with
 * -DTRI_REPLAY, a main() runs the files named on the command line.
 */
#include "checkpoint/manifest.h"
#include "checkpoint/verify.h"
#include "runtime/base/crc.h"

#include "tests/folder.h"
#include "tests/fuzz/replay.h"

#include <sys/resource.h>

enum { HEADER = 512, MAX_FILE = 1 << 17, SHARD_BYTES = 4096, MAX_GROWTH_KB = 64 << 10 };

/* A program of its own may have state; it is removed at exit. */
static struct {
    tri_folder *folder;
    uint8_t base[MAX_FILE];
    size_t base_bytes;
} fuzz;

static void fuzz_clean(void)
{
    tri_folder_destroy(&fuzz.folder);
}

static void fuzz_demand(bool cond, const char *what)
{
    if (cond) return;
    fprintf(stderr, "fuzz_manifest: %s: %s\n", what, tri_err_last()->text);
    abort();
}

/* Two rows over three boxes of one shard of SHARD_BYTES bytes. */
static tri_status fuzz_manifest(const char *path)
{
    tri_manifest_head head = {
        .uuid = "01234567-89ab-cdef-0123-456789abcdef",
        .version = "fuzz",
        .sequence = 1,
        .step = 7,
        .axis = {1, 2, 1, 1},
        .n_rows = 2,
        .n_boxes = 3,
        .n_blocks = 3,
        .n_files = 2,
        .job_bytes = 8
    };
    TRI_AUTO(tri_manifest) *m = NULL;
    TRI_TRY(tri_manifest_create(&head, &m));
    memcpy(m->job, "name: x\n", 8);
    for (int i = 0; i < 2; i++) {
        snprintf(m->files[i].name, sizeof m->files[i].name,
                 i ? TRI_MANIFEST_VIEW : "shard-00000.h5");
        snprintf(m->files[i].uuid, sizeof m->files[i].uuid, "%s", head.uuid);
        m->files[i].bytes = SHARD_BYTES;
    }
    m->rows[0] = (tri_manifest_row){
        .name = "param/a", .shape = {8, 6},
             .n_dims = 2, .dtype = TRI_F32
    };
    m->rows[1] =
        (tri_manifest_row){.name = "param/b", .shape = {10}, .n_dims = 1, .dtype = TRI_BF16};
    m->boxes[0] = (tri_manifest_box){
        .count = {5, 6},
          .offset = 1000, .block_elements = 30
    };
    m->boxes[1] = (tri_manifest_box){
        .start = {5 },
          .count = { 3, 6},
          .offset = 2000, .block_elements = 30, .first_block = 1
    };
    m->boxes[2] = (tri_manifest_box){
        .row = 1, .count = {10}, .offset = 3000, .block_elements = 10, .first_block = 2};
    TRI_TRY(tri_manifest_index(m, path, TRI_EBUG));
    return tri_manifest_write(m, path);
}

static void fuzz_begin(void)
{
    static const uint8_t shard[SHARD_BYTES] = {1};
    if (access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 0);
    fuzz_demand(tri_folder_create(&fuzz.folder) == TRI_OK, "no folder");
    atexit(fuzz_clean);
    fuzz_demand(
        fuzz_manifest(fuzz.folder->path) == TRI_OK &&
            tri_folder_put(fuzz.folder, "shard-00000.h5", "w", shard, SHARD_BYTES) == TRI_OK &&
            tri_folder_put(fuzz.folder, TRI_MANIFEST_VIEW, "w", shard, SHARD_BYTES) == TRI_OK,
        "nothing to begin with");
    FILE *file = fopen(tri_folder_at(fuzz.folder, TRI_MANIFEST_NAME ".tmp"), "r");
    fuzz_demand(file != NULL, "opening");
    fuzz.base_bytes = fread(fuzz.base, 1, MAX_FILE, file);
    fclose(file);
}

/* Put the checksum of the content, and of the header, right. */
static void fuzz_seal(uint8_t *file, size_t n)
{
    char *text = (char *)file;
    char *line = memmem(text, HEADER, "\ncrc32c ", 8);
    fuzz_demand(line != NULL, "the header has no checksum");
    int at = (int)(line + 1 - text);
    at += snprintf(text + at, (size_t)(HEADER - at), "crc32c %08x\n",
                   tri_crc32c(file + HEADER, n - HEADER));
    snprintf(text + at, (size_t)(HEADER - at), "header %08x\n", tri_crc32c(file, (size_t)at));
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
    static tri_verify_report report;
    if (!fuzz.folder) fuzz_begin();
    size_t n = fuzz.base_bytes;
    memcpy(file, fuzz.base, n);
    for (size_t at = 0; at + 5 <= bytes;) {
        size_t offset = data[at] | (size_t)data[at + 1] << 8 | (size_t)data[at + 2] << 16;
        size_t width = data[at + 3] % 8 + 1u;
        offset = HEADER + offset % (n - HEADER);
        at += 4;
        for (size_t i = 0; i < width && at < bytes; i++, at++)
            if (offset + i < n) file[offset + i] = data[at];
    }
    fuzz_seal(file, n);
    fuzz_demand(tri_folder_put(fuzz.folder, TRI_MANIFEST_NAME, "w", file, n) == TRI_OK, "writing");
    int64_t live = tri_alloc_live();
    long before_kb = peak_kb();
    tri_status rc = tri_verify(fuzz.folder->path, NULL, &report);
    fuzz_demand(rc == TRI_OK || tri_err_last()->text[0], "a failure without a message");
    fuzz_demand(rc != TRI_OK || report.n_findings > 0, "shards of zeros were taken for sound");
    tri_err_clear();
    fuzz_demand(tri_alloc_live() == live, "objects are left");
    fuzz_demand(peak_kb() - before_kb < MAX_GROWTH_KB, "memory that the file does not justify");
    return 0;
}

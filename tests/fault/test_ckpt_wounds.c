// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120 args=150
// TEST ranks=1 timeout=900 long args=1000
/* Random damage to any file of a checkpoint: bits, ranges, lengths, files of another checkpoint. Verify
 * names every wound: the file, and row and box where the bytes are a row's. A load gives the values that
 * were saved, those of the checkpoint before, or an error that names the file. HDF5 opens no file that is
 * damaged: its H5Fopen is ours here.
 */
#include "checkpoint/verify.h"
#include "tests/checkpoint/fixture_run.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

enum { FILES = 4, FILE_BYTES = 1 << 18, OPENED = 64, WOUNDS = 8 };

static const char *const names[FILES] = {"shard-00000.h5", "shard-00001.h5", "universal.h5",
                                         "manifest.h5"};
static const fixture_layout two = {
    {1, 2, 1, 1},
    HOLD_SHARDS
};
static const fixture_layout three = {
    {1, 1, 1, 3},
    HOLD_WHOLE
};

/* Inodes that HDF5 was asked to open; shared, for it does so in a child. */
static struct {
    int n;
    ino_t inode[OPENED];
} * opened;

/* hid_t is int64_t; the prototype is HDF5's. */
int64_t H5Fopen(const char *path, unsigned flags, int64_t access);
int64_t H5Fopen(const char *path, unsigned flags, int64_t access)
{
    int64_t (*plain)(const char *, unsigned, int64_t) = NULL;
    *(void **)&plain = dlsym(RTLD_NEXT, "H5Fopen");
    struct stat about;
    if (opened && stat(path, &about) == 0) {
        int at = __atomic_fetch_add(&opened->n, 1, __ATOMIC_SEQ_CST);
        if (at < OPENED) opened->inode[at] = about.st_ino;
    }
    return plain(path, flags, access);
}

/* A checkpoint's folder, and its files as they were written. */
typedef struct wound_files {
    char folder[TRI_CKPT_PATH_BYTES];
    char *bytes[FILES];
    int64_t n[FILES];
} wound_files;

/* What a case does to one file of the newer of two checkpoints. */
typedef struct wound_case {
    uint64_t random;
    int file, kind;
    char *bytes; /* of the damaged file; NULL: removed */
    int64_t n;
} wound_case;

static uint64_t next(wound_case *wound)
{
    wound->random ^= wound->random << 13;
    wound->random ^= wound->random >> 7;
    wound->random ^= wound->random << 17;
    return wound->random;
}

static int64_t below(wound_case *wound, int64_t n)
{
    return (int64_t)(next(wound) % (uint64_t)n);
}

static void path_of(const wound_files *files, int file, char out[TRI_CKPT_PATH_BYTES + 32])
{
    snprintf(out, TRI_CKPT_PATH_BYTES + 32, "%s/%s", files->folder, names[file]);
}

/* Read a file's bytes from the newest checkpoint in `dir`. */
static tri_status take_files(const char *dir, wound_files *files)
{
    char path[TRI_CKPT_PATH_BYTES + 32];
    tri_ckpt_info info = {0};
    TRI_TRY(tri_ckpt_read_info(dir, &info));
    snprintf(files->folder, sizeof files->folder, "%s", info.path);
    tri_ckpt_info_fini(&info);
    for (int i = 0; i < FILES; i++) {
        path_of(files, i, path);
        TRI_TRY(TRI_NEW_ARRAY(FILE_BYTES, &files->bytes[i]));
        FILE *file = fopen(path, "r");
        TRI_CHECK(file, TRI_EIO, "opening %s", path);
        files->n[i] = (int64_t)fread(files->bytes[i], 1, FILE_BYTES, file);
        fclose(file);
        TRI_CHECK(files->n[i] < FILE_BYTES - 8192, TRI_EIO, "%s is too long for the test", path);
    }
    return TRI_OK;
}

static void drop_files(wound_files *files)
{
    for (int i = 0; i < FILES; i++)
        TRI_FREE(files->bytes[i]);
}

/* Make the file what `bytes` are; the inode stays, so that it can be told. */
static void put_file(const char *path, const char *bytes, int64_t n)
{
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0666);
    EXPECT(fd >= 0 && write(fd, bytes, (size_t)n) == n, "writing %s", path);
    close(fd);
}

static void flip(wound_case *wound)
{
    /* half of a manifest's wounds go to its header */
    bool is_header = wound->file == 3 && next(wound) % 2;
    int64_t at = below(wound, is_header ? 512 : wound->n);
    wound->bytes[at] = (char)(wound->bytes[at] ^ 1 << below(wound, 8));
}

static void scribble(wound_case *wound, bool zeros)
{
    int64_t begin = below(wound, wound->n);
    int64_t n = 1 + below(wound, tri_min64(4096, wound->n - begin));
    for (int64_t i = begin; i < begin + n; i++)
        wound->bytes[i] = zeros ? 0 : (char)next(wound);
}

static void extend(wound_case *wound)
{
    int64_t n = 1 + below(wound, 5000);
    for (int64_t i = 0; i < n; i++)
        wound->bytes[wound->n + i] = next(wound) % 2 ? 0 : (char)next(wound);
    wound->n += n;
}

/* Two parts of the file change places. */
static void exchange(wound_case *wound)
{
    int64_t n = 1 + below(wound, 512);
    int64_t a = below(wound, wound->n / 2 - n);
    int64_t b = wound->n / 2 + below(wound, wound->n / 2 - n);
    for (int64_t i = 0; i < n; i++) {
        char c = wound->bytes[a + i];
        wound->bytes[a + i] = wound->bytes[b + i];
        wound->bytes[b + i] = c;
    }
}

/* Damage the copy in wound->bytes; what happens to hit nothing gets a flipped bit, too. */
static void inflict(wound_case *wound, const wound_files *newer, const wound_files *older)
{
    int f = wound->file;
    memcpy(wound->bytes, newer->bytes[f], (size_t)newer->n[f]);
    wound->n = newer->n[f];
    if (wound->kind == 1) wound->n = below(wound, wound->n);
    if (wound->kind == 2) scribble(wound, true);
    if (wound->kind == 3) scribble(wound, false);
    if (wound->kind == 4) extend(wound);
    if (wound->kind == 5) exchange(wound);
    if (wound->kind == 6) {
        memcpy(wound->bytes, older->bytes[f], (size_t)older->n[f]);
        wound->n = older->n[f];
    }
    bool same =
        wound->n == newer->n[f] && memcmp(wound->bytes, newer->bytes[f], (size_t)wound->n) == 0;
    if (same) flip(wound);
}

/* Does a finding cover byte `at` of the file, which is of box `box` (-1: of none)? */
static bool is_named(const tri_verify_report *report, const char *name, const tri_manifest *m,
                     int64_t box, int64_t at)
{
    for (int64_t i = 0; i < report->n_listed; i++) {
        const tri_verify_finding *found = &report->finding[i];
        if (strcmp(found->file, name) != 0) continue;
        if (box < 0 && found->kind != TRI_VERIFY_ROW) return true;
        if (box < 0 || found->kind != TRI_VERIFY_ROW) continue;
        tri_box want = tri_manifest_box_of(m, &m->boxes[box]);
        if (strcmp(found->row, m->rows[m->boxes[box].row].name) == 0 &&
            memcmp(&found->box, &want, sizeof want) == 0 && found->begin <= at && at < found->end)
            return true;
    }
    return false;
}

/* The box whose bytes have byte `at` of file `file`, -1: none. */
static int64_t box_at(const tri_manifest *m, int32_t file, int64_t at)
{
    for (int64_t i = 0; i < m->head.n_boxes; i++) {
        const tri_manifest_box *box = &m->boxes[i];
        tri_box whole = tri_manifest_box_of(m, box);
        int64_t bytes =
            tri_box_elements(&whole) * (int64_t)tri_dtype_bytes((tri_dtype)m->rows[box->row].dtype);
        if (box->file == file && box->offset <= at && at < box->offset + bytes) return i;
    }
    return -1;
}

/* Every byte that is not what it was is named; *in_rows: a row's bytes are among them. */
static void expect_named(const wound_case *wound, const wound_files *newer, const tri_manifest *m,
                         bool *in_rows)
{
    static tri_verify_report report;
    int f = wound->file;
    int64_t last = -2; /* box of the byte before */
    *in_rows = false;
    tri_status rc = tri_verify(newer->folder, NULL, &report);
    EXPECT(rc == TRI_OK || (wound->kind == 7 && f == 3), "%s, wound %d: %s", names[f], wound->kind,
           tri_err_last()->text);
    tri_err_clear();
    if (rc != TRI_OK) return;
    EXPECT(report.n_findings > 0, "%s: wound %d was not found", names[f], wound->kind);
    if (f == 3 || !wound->bytes) {
        EXPECT(is_named(&report, names[f], m, -1, 0), "%s: wound %d is not named", names[f],
               wound->kind);
        return;
    }
    for (int64_t at = 0; at < newer->n[f]; at++) {
        if (at < wound->n && wound->bytes[at] == newer->bytes[f][at]) continue;
        int64_t box = f < 2 ? box_at(m, f, at) : -1;
        if (box == last) continue;
        last = box;
        *in_rows |= box >= 0;
        EXPECT(is_named(&report, names[f], m, box, at), "%s, wound %d: byte %lld, box %lld",
               names[f], wound->kind, (long long)at, (long long)box);
    }
}

/* What the ranks that load a damaged checkpoint came to. */
typedef struct wound_load {
    const char *dir;
    tri_status rc;
    int64_t step;
    char text[TRI_ERR_TEXT_BYTES];
} wound_load;

static tri_status load_rank(tri_comm *world, void *arg)
{
    wound_load *load = arg;
    TRI_AUTO(fixture) f = {0};
    int64_t step = -1;
    TRI_TRY(fixture_create(world, &three, 1, &f));
    tri_status rc = fixture_restore(&f, world, load->dir, &step);
    if (tri_comm_rank(world) == 0) {
        load->rc = rc;
        load->step = step;
        snprintf(load->text, sizeof load->text, "%s", tri_err_last()->text);
    }
    tri_err_clear();
    return TRI_OK;
}

/* Values are compared by fixture_restore. */
static tri_status expect_load(const wound_case *wound, const wound_files *newer, const char *dir,
                              bool in_rows)
{
    wound_load load = {.dir = dir};
    int f = wound->file;
    tri_device_args device = {.name = "cpu", .n_threads = 1, .yield = true};
    TRI_TRY(tri_comm_run_threads(3, &device, load_rank, &load));
    bool passed_over = f == 3 || !wound->bytes || wound->n != newer->n[f];
    if (passed_over) {
        EXPECT(load.rc == TRI_OK && load.step == 1, "%s, wound %d: step %lld, %s", names[f],
               wound->kind, (long long)load.step, load.text);
    } else if (in_rows) {
        EXPECT((load.rc == TRI_EFORMAT || load.rc == TRI_EPEER) && strstr(load.text, names[f]) &&
                   strstr(load.text, "row '") && strstr(load.text, "box ["),
               "%s, wound %d: %s %s", names[f], wound->kind, tri_status_name(load.rc), load.text);
    } else {
        EXPECT(load.rc == TRI_OK && load.step == 2, "%s, wound %d, which no load reads: %s",
               names[f], wound->kind, load.text);
    }
    return TRI_OK;
}

static tri_status wound_once(wound_case *wound, const wound_files *newer, const wound_files *older,
                             const tri_manifest *m, const char *dir)
{
    char path[TRI_CKPT_PATH_BYTES + 32];
    char *room = wound->bytes;
    struct stat about = {.st_ino = 0};
    bool in_rows = false;
    path_of(newer, wound->file, path);
    inflict(wound, newer, older);
    if (wound->kind == 7) {
        EXPECT(unlink(path) == 0, "removing %s", path);
        wound->bytes = NULL;
    } else {
        put_file(path, wound->bytes, wound->n);
        EXPECT(stat(path, &about) == 0, "%s", path);
    }
    opened->n = 0;
    expect_named(wound, newer, m, &in_rows);
    TRI_TRY(expect_load(wound, newer, dir, in_rows));
    for (int i = 0; i < opened->n && i < OPENED; i++)
        EXPECT(opened->inode[i] != about.st_ino, "HDF5 opened %s, wound %d", path, wound->kind);
    EXPECT(opened->n <= OPENED, "%d files were opened", opened->n);
    wound->bytes = room;
    put_file(path, newer->bytes[wound->file], newer->n[wound->file]);
    return TRI_OK;
}

TRI_TEST(every_wound_is_found_and_named)
{
    char dir[64];
    wound_files older = {.n = {0}};
    wound_files newer = {.n = {0}};
    TRI_AUTO(tri_manifest) *m = NULL;
    int64_t cases = tri_test_argc > 1 ? strtoll(tri_test_argv[1], NULL, 10) : 150;
    void *shared =
        mmap(NULL, sizeof *opened, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    TRI_CHECK(shared != MAP_FAILED, TRI_ENOMEM, "shared memory");
    opened = shared;
    TRI_TRY(fixture_folder(dir));
    fixture_job job = {.layout = two, .dir = dir, .step = 1, .body = fixture_body_save};
    TRI_TRY(fixture_run(job));
    TRI_TRY(take_files(dir, &older));
    job.step = 2;
    TRI_TRY(fixture_run(job));
    TRI_TRY(take_files(dir, &newer));
    TRI_TRY(tri_manifest_read(newer.folder, &m));
    EXPECT(opened->n > 0, "HDF5 was to open the manifest");

    wound_case wound = {.random = ((uint64_t)getpid() << 32 ^ (uint64_t)time(NULL)) | 1};
    printf("     %lld cases from %llx\n", (long long)cases, (unsigned long long)wound.random);
    TRI_TRY(TRI_NEW_ARRAY(FILE_BYTES, &wound.bytes));
    for (int64_t i = 0; i < cases; i++) {
        wound.file = (int)(i % FILES);
        wound.kind = i / FILES % 3 ? (int)below(&wound, WOUNDS) : 0;
        TRI_TRY(wound_once(&wound, &newer, &older, m, dir));
    }
    TRI_FREE(wound.bytes);
    TRI_TRY(tri_ckpt_verify(newer.folder));
    drop_files(&older);
    drop_files(&newer);
    fixture_remove(dir, 1);
    munmap(shared, sizeof *opened);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(every_wound_is_found_and_named))

// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* The HDF5 door: what is written is read back, raw writes land in datasets, virtual datasets show
 * their sources, and what is missing or damaged is an error with the path in it.
 */
#include "runtime/base/thread.h"
#include "runtime/h5.h"

#include "tests/temporary.h"
#include "tests/test.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { ROWS = 7, COLUMNS = 5, CELLS = ROWS * COLUMNS };

static char folder[64];
static char path[128];

static const char *in_folder(const char *name)
{
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static tri_status fold(void)
{
    return tri_temporary_folder(NULL, sizeof folder, folder);
}

static void unfold(const char *const *names)
{
    for (; *names; names++)
        EXPECT(unlink(in_folder(*names)) == 0, "removing %s", path);
    EXPECT(rmdir(folder) == 0, "removing %s", folder);
}

TRI_TEST(tables_texts_and_attributes_come_back)
{
    TRI_TRY(fold());
    const int64_t shape[] = {ROWS, COLUMNS};
    int32_t cells[CELLS];
    for (int i = 0; i < CELLS; i++)
        cells[i] = 3 * i - 40;
    const int64_t numbers[] = {-1, 1LL << 60, 7};
    const char texts[3][8] = {"one", "12345678", ""};

    TRI_AUTO(tri_h5) *h5 = NULL;
    TRI_TRY(tri_h5_create(in_folder("a.h5"), 512, &h5));
    TRI_TRY(tri_h5_write(h5, "deep/down/cells", TRI_I32, 2, shape, cells));
    TRI_TRY(tri_h5_write_text(h5, "texts", 3, 8, texts[0]));
    TRI_TRY(tri_h5_set_ints(h5, "/", "numbers", 3, numbers));
    TRI_TRY(tri_h5_set_text(h5, "deep", "note", "100 % true"));
    EXPECT_STATUS(tri_h5_write(h5, "texts", TRI_I32, 2, shape, cells), TRI_EIO, "texts");
    TRI_TRY(tri_h5_close(&h5));

    TRI_TRY(tri_h5_open(in_folder("a.h5"), &h5));
    int64_t got[3] = {0};
    char text[16];
    char back[3][8];
    TRI_TRY(tri_h5_get_ints(h5, "/", "numbers", 3, got));
    EXPECT(memcmp(got, numbers, sizeof got) == 0, "got %lld", (long long)got[0]);
    TRI_TRY(tri_h5_get_text(h5, "deep", "note", sizeof text, text));
    EXPECT(strcmp(text, "100 % true") == 0, "got '%s'", text);
    TRI_TRY(tri_h5_read_text(h5, "texts", 3, 8, back[0]));
    EXPECT(memcmp(back, texts, sizeof texts) == 0, "got '%s'", back[0]);
    EXPECT_STATUS(tri_h5_get_ints(h5, "/", "numbers", 2, got), TRI_EFORMAT, "is not 2 integers");
    EXPECT_STATUS(tri_h5_get_text(h5, "deep", "note", 4, text), TRI_EFORMAT, "less than 4 bytes");
    EXPECT_STATUS(tri_h5_get_text(h5, "/", "nothing", 4, text), TRI_EFORMAT, "nothing");
    TRI_TRY(tri_h5_close(&h5));
    unfold((const char *const[]){"a.h5", NULL});
    return TRI_OK;
}

TRI_TEST(any_range_of_any_type_is_read_as_int32)
{
    TRI_TRY(fold());
    const int64_t shape[] = {ROWS, COLUMNS};
    uint16_t u16[CELLS];
    int64_t i64[CELLS];
    float f32[CELLS];
    for (int i = 0; i < CELLS; i++) {
        u16[i] = (uint16_t)(60000 + i);
        i64[i] = i;
        f32[i] = (float)i;
    }
    i64[3] = 1LL << 40;
    TRI_AUTO(tri_h5) *h5 = NULL;
    TRI_TRY(tri_h5_create(in_folder("t.h5"), 0, &h5));
    TRI_TRY(tri_h5_write(h5, "u16", TRI_U16, 2, shape, u16));
    TRI_TRY(tri_h5_write(h5, "i64", TRI_I64, 2, shape, i64));
    TRI_TRY(tri_h5_write(h5, "f32", TRI_F32, 2, shape, f32));
    TRI_TRY(tri_h5_write_text(h5, "text", 1, 4, "abc"));
    TRI_TRY(tri_h5_close(&h5));

    TRI_TRY(tri_h5_open(in_folder("t.h5"), &h5));
    TRI_AUTO(tri_h5_dataset) *tokens = NULL;
    TRI_TRY(tri_h5_dataset_open(h5, "u16", &tokens));
    EXPECT(tri_h5_dataset_count(tokens) == CELLS, "%lld", (long long)tri_h5_dataset_count(tokens));
    EXPECT(tri_h5_dataset_is_integer(tokens), "uint16 is integer");
    for (int64_t begin = 0; begin <= CELLS; begin++) {
        for (int64_t n = 0; begin + n <= CELLS; n++) {
            int32_t out[CELLS + 1];
            out[n] = -7;
            TRI_TRY(tri_h5_dataset_read(tokens, begin, n, TRI_I32, out));
            bool same = out[n] == -7;
            for (int64_t i = 0; i < n; i++)
                same = same && out[i] == 60000 + begin + i;
            EXPECT(same, "elements [%lld, +%lld)", (long long)begin, (long long)n);
        }
    }
    int32_t out[CELLS];
    EXPECT_STATUS(tri_h5_dataset_read(tokens, 30, 6, TRI_I32, out), TRI_EINVAL, "[30, 36)");
    tri_h5_dataset_destroy(&tokens);
    TRI_TRY(tri_h5_dataset_open(h5, "i64", &tokens));
    TRI_TRY(tri_h5_dataset_read(tokens, 2, 2, TRI_I32, out));
    EXPECT(out[0] == 2 && out[1] == INT32_MAX, "2^40 becomes %d", out[1]);
    tri_h5_dataset_destroy(&tokens);
    TRI_TRY(tri_h5_dataset_open(h5, "f32", &tokens));
    EXPECT(!tri_h5_dataset_is_integer(tokens), "fp32 is no integer");
    tri_h5_dataset_destroy(&tokens);
    EXPECT_STATUS(tri_h5_dataset_open(h5, "text", &tokens), TRI_EFORMAT, "neither integers");
    EXPECT_STATUS(tri_h5_dataset_open(h5, "token", &tokens), TRI_EFORMAT, "f32 i64 text u16");
    tri_h5_destroy(&h5);
    unfold((const char *const[]){"t.h5", NULL});
    return TRI_OK;
}

/* Reserve, close, write the bytes oneself, read them through HDF5. */
static tri_status raw_round_trip(tri_dtype dtype)
{
    TRI_TRY(fold());
    const int64_t shape[] = {ROWS, COLUMNS};
    float want[CELLS];
    tri_bf16 halves[CELLS];
    for (int i = 0; i < CELLS; i++) {
        want[i] = (float)i * 0.25f - 2;
        halves[i] = tri_f32_to_bf16(want[i]);
    }
    TRI_AUTO(tri_h5) *h5 = NULL;
    TRI_TRY(tri_h5_create(in_folder("r.h5"), 0, &h5));
    int64_t first = 0;
    int64_t second = 0;
    TRI_TRY(tri_h5_reserve(h5, "x/first", dtype, 2, shape, &first));
    TRI_TRY(tri_h5_reserve(h5, "x/second", dtype, 2, shape, &second));
    TRI_TRY(tri_h5_close(&h5));
    const void *bytes = dtype == TRI_BF16 ? (const void *)halves : want;
    size_t n_bytes = CELLS * tri_dtype_bytes(dtype);
    EXPECT(llabs(first - second) >= (long long)n_bytes, "%lld and %lld overlap", (long long)first,
           (long long)second);
    int fd = open(in_folder("r.h5"), O_WRONLY);
    EXPECT(pwrite(fd, bytes, n_bytes, second) == (ssize_t)n_bytes, "writing %s", path);
    EXPECT(lseek(fd, 0, SEEK_END) >= second + (int64_t)n_bytes, "the file is short");
    close(fd);

    float got[CELLS];
    TRI_TRY(tri_h5_open_own(in_folder("r.h5"), &h5));
    TRI_AUTO(tri_h5_dataset) *dataset = NULL;
    TRI_TRY(tri_h5_dataset_open(h5, "x/second", &dataset));
    TRI_TRY(tri_h5_dataset_read(dataset, 0, CELLS, TRI_F32, got));
    for (int i = 0; i < CELLS; i++)
        EXPECT(got[i] == want[i], "%g for %g", (double)got[i], (double)want[i]);
    tri_h5_dataset_destroy(&dataset);
    tri_h5_destroy(&h5);
    unfold((const char *const[]){"r.h5", NULL});
    return TRI_OK;
}

TRI_TEST(raw_bytes_land_in_the_dataset)
{
    TRI_TRY(raw_round_trip(TRI_F32));
    TRI_TRY(raw_round_trip(TRI_BF16));
    return TRI_OK;
}

TRI_TEST(virtual_datasets_show_sources_and_gaps)
{
    TRI_TRY(fold());
    const int64_t part_shape[] = {3, 2};
    const float part[6] = {1, 2, 3, 4, 5, 6};
    const int64_t shape[] = {3, 4};
    TRI_AUTO(tri_h5) *h5 = NULL;
    TRI_TRY(tri_h5_create(in_folder("source.h5"), 0, &h5));
    TRI_TRY(tri_h5_write(h5, "u/100%b", TRI_F32, 2, part_shape, part));
    TRI_TRY(tri_h5_close(&h5));
    TRI_TRY(tri_h5_create(in_folder("view.h5"), 0, &h5));
    const tri_h5_part source = {
        {2, {0, 1}, {3, 2}},
        "source.h5", "u/100%b"
    };
    TRI_TRY(tri_h5_write_virtual(h5, "whole", TRI_F32, 2, shape, 1, &source));
    TRI_TRY(tri_h5_write_virtual(h5, "gap", TRI_I64, 2, shape, 0, NULL));
    TRI_TRY(tri_h5_close(&h5));

    float got[12];
    int64_t gap[12];
    TRI_TRY(tri_h5_open_own(in_folder("view.h5"), &h5));
    TRI_AUTO(tri_h5_dataset) *whole = NULL;
    TRI_AUTO(tri_h5_dataset) *nothing = NULL;
    TRI_TRY(tri_h5_dataset_open(h5, "whole", &whole));
    TRI_TRY(tri_h5_dataset_read(whole, 0, 12, TRI_F32, got));
    EXPECT(tri_h5_dataset_parts(whole) == 1, "%lld parts", (long long)tri_h5_dataset_parts(whole));
    for (int i = 0; i < 12; i++) {
        int column = i % 4 - 1;
        bool in_source = column == 0 || column == 1;
        if (in_source) EXPECT(got[i] == part[i / 4 * 2 + column], "%d is %g", i, (double)got[i]);
        if (!in_source) EXPECT(isnan(got[i]), "%d is %g", i, (double)got[i]);
    }
    TRI_TRY(tri_h5_dataset_open(h5, "gap", &nothing));
    TRI_TRY(tri_h5_dataset_read(nothing, 0, 12, TRI_I64, gap));
    EXPECT(gap[5] == INT64_MIN, "a gap reads as %lld", (long long)gap[5]);
    tri_h5_dataset_destroy(&nothing);
    tri_h5_dataset_destroy(&whole);
    tri_h5_destroy(&h5);
    unfold((const char *const[]){"source.h5", "view.h5", NULL});
    return TRI_OK;
}

TRI_TEST(what_cannot_be_opened_is_named)
{
    TRI_TRY(fold());
    tri_h5 *h5 = NULL;
    EXPECT_STATUS(tri_h5_open(in_folder("none.h5"), &h5), TRI_EIO, "none.h5: No such file");
    int fd = open(in_folder("garbage.h5"), O_CREAT | O_WRONLY, 0644);
    EXPECT(write(fd, "not hdf5", 8) == 8, "writing %s", path);
    close(fd);
    EXPECT_STATUS(tri_h5_open(path, &h5), TRI_EFORMAT, "garbage.h5 is not an intact HDF5 file");
    EXPECT_STATUS(tri_h5_create(in_folder("no/such/folder.h5"), 0, &h5), TRI_EIO, "folder.h5");
    unfold((const char *const[]){"garbage.h5", NULL});
    return TRI_OK;
}

static void use_h5(void *arg)
{
    char file[128];
    snprintf(file, sizeof file, "%s/%d.h5", folder, *(int *)arg);
    int64_t n = 64;
    int64_t values[64] = {*(int *)arg};
    for (int round = 0; round < 20; round++) {
        tri_h5 *h5 = NULL;
        tri_h5_dataset *dataset = NULL;
        int64_t got[64] = {0};
        bool ok = tri_h5_create(file, 0, &h5) == TRI_OK &&
                  tri_h5_write(h5, "values", TRI_I64, 1, &n, values) == TRI_OK &&
                  tri_h5_close(&h5) == TRI_OK && tri_h5_open(file, &h5) == TRI_OK &&
                  tri_h5_dataset_open(h5, "values", &dataset) == TRI_OK &&
                  tri_h5_dataset_read(dataset, 0, n, TRI_I64, got) == TRI_OK;
        EXPECT(ok && memcmp(got, values, sizeof got) == 0, "round %d", round);
        tri_h5_dataset_destroy(&dataset);
        tri_h5_destroy(&h5);
    }
}

TRI_TEST(several_threads_may_call_at_once)
{
    TRI_TRY(fold());
    tri_thread *threads[3] = {NULL};
    int ids[3] = {0, 1, 2};
    for (int i = 0; i < 3; i++)
        TRI_TRY(tri_thread_start("h5", use_h5, &ids[i], &threads[i]));
    for (int i = 0; i < 3; i++)
        tri_thread_wait(&threads[i]);
    unfold((const char *const[]){"0.h5", "1.h5", "2.h5", NULL});
    return TRI_OK;
}

/* What is only reserved takes memory neither for itself nor for tables of it. */
TRI_TEST(a_huge_file_takes_little_memory)
{
    TRI_TRY(fold());
    enum { RESERVED = 64 };
    const int64_t shape[] = {1ll << 32}; /* 16 GiB; all of them 1 TiB */
    struct rusage before;
    struct rusage after;
    getrusage(RUSAGE_SELF, &before);
    TRI_AUTO(tri_h5) *h5 = NULL;
    TRI_TRY(tri_h5_create(in_folder("huge.h5"), 0, &h5));
    int64_t last = 0;
    for (int i = 0; i < RESERVED; i++) {
        char name[32];
        int64_t offset = 0;
        snprintf(name, sizeof name, "row/%d", i);
        TRI_TRY(tri_h5_reserve(h5, name, TRI_F32, 1, shape, &offset));
        EXPECT(offset > last && (i == 0 || offset - last >= 4 * shape[0]), "row %d lies at %lld", i,
               (long long)offset);
        last = offset;
    }
    TRI_TRY(tri_h5_close(&h5));
    getrusage(RUSAGE_SELF, &after);
    long grown_kb = after.ru_maxrss - before.ru_maxrss;
    EXPECT(grown_kb < 32768, "%ld kB for the tables", grown_kb);
    TRI_TRY(tri_h5_open(in_folder("huge.h5"), &h5));
    TRI_AUTO(tri_h5_dataset) *dataset = NULL;
    TRI_TRY(tri_h5_dataset_open(h5, "row/63", &dataset));
    EXPECT(tri_h5_dataset_count(dataset) == shape[0], "%lld elements",
           (long long)tri_h5_dataset_count(dataset));
    tri_h5_dataset_destroy(&dataset);
    tri_h5_destroy(&h5);
    unfold((const char *const[]){"huge.h5", NULL});
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(tables_texts_and_attributes_come_back),
              TRI_TEST_ROW(any_range_of_any_type_is_read_as_int32),
              TRI_TEST_ROW(raw_bytes_land_in_the_dataset),
              TRI_TEST_ROW(virtual_datasets_show_sources_and_gaps),
              TRI_TEST_ROW(what_cannot_be_opened_is_named),
              TRI_TEST_ROW(a_huge_file_takes_little_memory),
              TRI_TEST_ROW(several_threads_may_call_at_once))

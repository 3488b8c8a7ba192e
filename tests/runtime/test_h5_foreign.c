// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120
/* HDF5 files of others: every plain layout is read, chunks are unpacked, what needs HDF5 or other files to be read is refused by
 * name, and no cut or flipped bit anywhere does more than that.
 */
#include "runtime/base/int.h"
#include "runtime/h5.h"

#include "tests/folder.h"
#include "tests/runtime/h5_foreign.h"
#include "tests/test.h"

#include <fcntl.h>

static tri_status expect_values(tri_h5 *h5, const foreign_dataset *d)
{
    TRI_AUTO(tri_h5_dataset) *dataset = NULL;
    TRI_TRY(tri_h5_dataset_open(h5, d->name, &dataset));
    EXPECT(tri_h5_dataset_count(dataset) == FOREIGN_CELLS, "%s", d->name);
    for (int64_t begin = 0; begin < FOREIGN_CELLS; begin += 7) {
        for (int64_t n = 0; begin + n <= FOREIGN_CELLS; n += 5) {
            int64_t wide[FOREIGN_CELLS];
            int32_t narrow[FOREIGN_CELLS];
            TRI_TRY(tri_h5_dataset_read(dataset, begin, n, TRI_I64, wide));
            TRI_TRY(tri_h5_dataset_read(dataset, begin, n, TRI_I32, narrow));
            for (int64_t i = 0; i < n; i++) {
                int64_t want = foreign_value(begin + i);
                if (d->type == 3 && want < 0) want = 0;
                EXPECT(wide[i] == want && narrow[i] == want, "%s [%lld]: %lld, %d for %lld",
                       d->name, (long long)(begin + i), (long long)wide[i], narrow[i],
                       (long long)want);
            }
        }
    }
    return TRI_OK;
}

TRI_TEST(plain_ones_are_read_and_others_refused)
{
    static const char *const why[] = {"filtered by other than",
                                      "filtered by other than",
                                      "but for its partial chunks",
                                      "compact",
                                      "external",
                                      "virtual",
                                      "never written",
                                      "larger than the file",
                                      "more chunks than can be read"};
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    for (int latest = 0; latest < 2; latest++) {
        TRI_AUTO(tri_h5) *h5 = NULL;
        tri_h5_dataset *dataset = NULL;
        EXPECT(foreign_make(tri_folder_at(folder, "f.h5"), latest) == 0, "HDF5 does not write");
        TRI_TRY(tri_h5_open(tri_folder_at(folder, "f.h5"), &h5));
        for (int i = 0; i < FOREIGN_READABLE; i++)
            TRI_TRY(expect_values(h5, &foreign_datasets[i]));
        for (int i = FOREIGN_READABLE; i < FOREIGN_DATASETS; i++) {
            int64_t out = 0;
            TRI_TRY(tri_h5_dataset_open(h5, foreign_datasets[i].name, &dataset));
            EXPECT_STATUS(tri_h5_dataset_read(dataset, 0, 1, TRI_I64, &out), TRI_EFORMAT,
                          why[i - FOREIGN_READABLE]);
            tri_h5_dataset_destroy(&dataset);
        }
        EXPECT_STATUS(tri_h5_dataset_open(h5, "link", &dataset), TRI_EFORMAT, "has no dataset");
    }
    return TRI_OK;
}

/* Open and read whatever the file says it has. True if it opened. */
static bool try_all(const char *path)
{
    tri_h5 *h5 = NULL;
    bool opened = tri_h5_open(path, &h5) == TRI_OK;
    EXPECT(opened || strstr(tri_err_last()->text, path), "message '%s'", tri_err_last()->text);
    for (int i = 0; opened && i < FOREIGN_DATASETS; i++) {
        tri_h5_dataset *dataset = NULL;
        int64_t out[64];
        if (tri_h5_dataset_open(h5, foreign_datasets[i].name, &dataset) == TRI_OK) {
            int64_t n = tri_h5_dataset_count(dataset);
            for (int64_t at = 0; at < n && at < 10000; at += 64)
                if (tri_h5_dataset_read(dataset, at, tri_min64(64, n - at), TRI_I64, out) != TRI_OK)
                    break;
        }
        tri_h5_dataset_destroy(&dataset);
    }
    tri_err_clear();
    tri_h5_destroy(&h5);
    return opened;
}

/* Bytes all over the file get one of two values each, one at a time; then it is cut at lengths of all sizes. */
TRI_TEST(damage_is_an_error_at_worst)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    int opened = 0;
    int tried = 0;
    const char *path = tri_folder_at(folder, "f.h5");
    int64_t live = tri_alloc_live();
    for (int latest = 0; latest < 2; latest++) {
        EXPECT(foreign_make(path, latest) == 0, "HDF5 does not write");
        int fd = open(path, O_RDWR);
        off_t bytes = lseek(fd, 0, SEEK_END);
        for (off_t at = latest; at < bytes; at += 1 + at % 181, tried++) {
            unsigned char was = 0;
            EXPECT(pread(fd, &was, 1, at) == 1, "reading %s", path);
            unsigned char is = tried % 2 ? 0xff : (unsigned char)(was ^ 1u << tried % 8);
            EXPECT(pwrite(fd, &is, 1, at) == 1, "writing %s", path);
            opened += try_all(path);
            EXPECT(pwrite(fd, &was, 1, at) == 1, "writing %s", path);
        }
        for (off_t n = bytes - 1; n > 0; n -= 1 + n / 12, tried++) {
            EXPECT(ftruncate(fd, n) == 0, "cutting %s", path);
            opened += try_all(path);
        }
        close(fd);
    }
    EXPECT(tried > 300 && opened < tried, "%d of %d opened", opened, tried);
    EXPECT(tri_alloc_live() == live, "%lld objects are left", (long long)(tri_alloc_live() - live));
    return TRI_OK;
}

enum { LINE_CELLS = 60, LINE_CHUNK = 16, LINE_CHUNK_BYTES = LINE_CHUNK * 8 };

/* A dataset `name` in chunks of `chunk` of int64, shuffled and deflated. The caller closes it. */
static hid_t line_make(hid_t file, const char *name, hsize_t chunk)
{
    hsize_t cells = LINE_CELLS;
    hsize_t any = H5S_UNLIMITED;
    int64_t values[LINE_CELLS];
    for (int64_t i = 0; i < LINE_CELLS; i++)
        values[i] = foreign_value(i);
    hid_t space = H5Screate_simple(1, &cells, &any);
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    EXPECT(H5Pset_chunk(properties, 1, &chunk) >= 0 &&
               foreign_filters(SHUFFLE_DEFLATE, properties) == 0,
           "filters");
    hid_t dataset =
        H5Dcreate2(file, name, H5T_STD_I64LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    /* what is large has a chunk of a few bytes put in its place */
    bool ok = chunk > LINE_CELLS ||
              H5Dwrite(dataset, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0;
    EXPECT(dataset >= 0 && ok, "writing %s", name);
    H5Pclose(properties);
    H5Sclose(space);
    return dataset;
}

/* The stored bytes of the second chunk of such a dataset. */
static size_t line_stored(hid_t file, const char *name, hsize_t chunk, char stored[512])
{
    hsize_t bytes = 0;
    uint32_t skipped = 0;
    hid_t dataset = line_make(file, name, chunk);
    H5Dflush(dataset);
    EXPECT(H5Dget_chunk_storage_size(dataset, &chunk, &bytes) >= 0 && bytes <= 512 &&
               H5Dread_chunk(dataset, H5P_DEFAULT, &chunk, &skipped, stored) >= 0,
           "reading a chunk of %s", name);
    H5Dclose(dataset);
    return (size_t)bytes;
}

typedef struct line_case {
    const char *name;
    hsize_t chunk; /* whose stored bytes are taken; 0: noise; 1: unfiltered values */
    int more;      /* so many bytes are added */
    uint32_t skipped;
    int flip;          /* this bit from the end is another; -1: none */
    const char *error; /* NULL: it is read */
} line_case;

static const line_case line_cases[] = {
    {"right",       LINE_CHUNK,     0,  0, -1, NULL            },
    {"unfiltered",  1,              0,  3, -1, NULL            },
    {"noise",       0,              0,  0, -1, "no zlib stream"},
    {"cut",         LINE_CHUNK,     -1, 0, -1, "another size"  },
    {"half",        LINE_CHUNK,     -9, 0, -1, "another size"  },
    {"header",      LINE_CHUNK,     0,  0, -2, "no zlib stream"},
    {"sum",         LINE_CHUNK,     0,  0, 5,  "no zlib stream"},
    {"less",        LINE_CHUNK - 1, 0,  0, -1, "another size"  },
    {"more",        LINE_CHUNK + 1, 0,  0, -1, "another size"  },
    {"unfiltered1", 1,              -1, 3, -1, "another size"  },
    {"unfiltered2", 1,              1,  3, -1, "another size"  },
    {"shuffled",    LINE_CHUNK,     0,  2, -1, "another size"  },
};
enum { LINE_CASES = sizeof line_cases / sizeof *line_cases };

static void line_make_case(hid_t file, const line_case *c)
{
    char other[64];
    char stored[512];
    hsize_t at = LINE_CHUNK;
    size_t n = LINE_CHUNK_BYTES;
    for (size_t i = 0; i < sizeof stored; i++)
        stored[i] = (char)(i * 37 + 11);
    for (int64_t i = 0; c->chunk == 1 && i < LINE_CHUNK; i++)
        memcpy(stored + i * 8, &(int64_t){foreign_value(LINE_CHUNK + i)}, 8);
    snprintf(other, sizeof other, "of_%s", c->name);
    if (c->chunk > 1) n = line_stored(file, other, c->chunk, stored);
    n = (size_t)((int)n + c->more);
    if (c->flip >= 0) stored[n - 1 - (size_t)c->flip / 8] ^= (char)(1 << c->flip % 8);
    if (c->flip == -2) stored[0] = 0;
    hid_t dataset = line_make(file, c->name, LINE_CHUNK);
    EXPECT(H5Dwrite_chunk(dataset, H5P_DEFAULT, c->skipped, &at, n, stored) >= 0, "chunk of %s",
           c->name);
    H5Dclose(dataset);
}

/* All chunks but the second are right whatever comes before them; reading allocates nothing. */
static tri_status expect_line(tri_h5 *h5, const line_case *c)
{
    TRI_AUTO(tri_h5_dataset) *dataset = NULL;
    TRI_TRY(tri_h5_dataset_open(h5, c->name, &dataset));
    int64_t allocated = tri_alloc_count();
    for (int64_t k = 0; k < 40; k++) {
        int64_t i = k * 23 % LINE_CELLS;
        int64_t value = 0;
        if (c->error && i / LINE_CHUNK == 1) {
            tri_status rc = tri_h5_dataset_read(dataset, i, 1, TRI_I64, &value);
            const char *text = tri_err_last()->text;
            EXPECT(rc == TRI_EFORMAT && strstr(text, c->error) && strstr(text, c->name),
                   "%s: %d, '%s'", c->name, (int)rc, text);
            tri_err_clear();
            continue;
        }
        TRI_TRY(tri_h5_dataset_read(dataset, i, 1, TRI_I64, &value));
        EXPECT(value == foreign_value(i), "%s [%lld]: %lld", c->name, (long long)i,
               (long long)value);
    }
    EXPECT(tri_alloc_count() == allocated, "%s: reading allocates", c->name);
    return TRI_OK;
}

TRI_TEST(damaged_chunks_are_named)
{
    static const struct {
        const char *name;
        hsize_t chunk;
        const char *error;
    } large[] = {
        {"bomb",    1 << 17,       "do not lie in the file"},
        {"too_big", (8 << 20) + 1, "more than 64 MiB"      },
    };
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    const char *path = tri_folder_at(folder, "line.h5");
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    for (int i = 0; i < LINE_CASES; i++)
        line_make_case(file, &line_cases[i]);
    for (int i = 0; i < 2; i++) {
        hid_t dataset = line_make(file, large[i].name, large[i].chunk);
        EXPECT(H5Dwrite_chunk(dataset, H5P_DEFAULT, 0, &(hsize_t){0}, 16, "0123456789abcdef") >= 0,
               "chunk of %s", large[i].name);
        H5Dclose(dataset);
    }
    H5Fclose(file);
    TRI_AUTO(tri_h5) *h5 = NULL;
    TRI_TRY(tri_h5_open(tri_folder_at(folder, "line.h5"), &h5));
    for (int i = 0; i < LINE_CASES; i++)
        TRI_TRY(expect_line(h5, &line_cases[i]));
    for (int i = 0; i < 2; i++) {
        TRI_AUTO(tri_h5_dataset) *dataset = NULL;
        TRI_TRY(tri_h5_dataset_open(h5, large[i].name, &dataset));
        EXPECT_STATUS(tri_h5_dataset_check(dataset), TRI_EFORMAT, large[i].error);
    }
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(plain_ones_are_read_and_others_refused),
              TRI_TEST_ROW(damaged_chunks_are_named), TRI_TEST_ROW(damage_is_an_error_at_worst))

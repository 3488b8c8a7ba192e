// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120
/* HDF5 files of others: every plain layout is read, what needs HDF5 or other files to be read is refused by
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
    static const char *const why[] = {"compressed",
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

/* Every byte of the metadata, and a sample of the rest, gets each of two values; then every length. */
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
        for (off_t at = latest; at < bytes; at += 1 + at % 61, tried++) {
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

TRI_TEST_MAIN(TRI_TEST_ROW(plain_ones_are_read_and_others_refused),
              TRI_TEST_ROW(damage_is_an_error_at_worst))

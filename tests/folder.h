// SPDX-License-Identifier: Apache-2.0
/* A folder of its own for a test that writes files, and files of given bytes. */
#ifndef TRI_TESTS_FOLDER_H
#define TRI_TESTS_FOLDER_H

#include "runtime/base/alloc.h"
#include "tests/temporary.h"

#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TRI_FOLDER_PATH_BYTES = 256 };

/* A folder; destroyed with all that is in it. */
typedef struct tri_folder {
    char path[TRI_FOLDER_PATH_BYTES];
    char file[TRI_FOLDER_PATH_BYTES + 256]; /* the last name made by tri_folder_at */
} tri_folder;

static inline int tri_folder_unlink(const char *path, const struct stat *info, int type,
                                    struct FTW *walk)
{
    (void)info, (void)type, (void)walk;
    return remove(path);
}

static inline void tri_folder_destroy(tri_folder **folder)
{
    if (!*folder) return;
    if ((*folder)->path[0]) nftw((*folder)->path, tri_folder_unlink, 16, FTW_DEPTH | FTW_PHYS);
    TRI_FREE(*folder);
}

/* Make an empty folder below $TMPDIR or /tmp. Not collective. */
TRI_MUST_USE static inline tri_status tri_folder_create(tri_folder **out)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(TRI_NEW(&folder));
    char path[TRI_FOLDER_PATH_BYTES];
    TRI_TRY(tri_temporary_folder(NULL, sizeof path, path));
    memcpy(folder->path, path, sizeof path);
    *out = TRI_MOVE(folder);
    return TRI_OK;
}

/* Path of a file in it: valid until the next call. Not collective. */
static inline const char *tri_folder_at(tri_folder *folder, const char *name)
{
    snprintf(folder->file, sizeof folder->file, "%s/%s", folder->path, name);
    return folder->file;
}

/* Write a file in it; mode is fopen's: "w", "a". Not collective. */
TRI_MUST_USE static inline tri_status tri_folder_put(tri_folder *folder, const char *name,
                                                     const char *mode, const void *data,
                                                     size_t bytes)
{
    FILE *file = fopen(tri_folder_at(folder, name), mode);
    TRI_CHECK(file, TRI_EIO, "opening %s", folder->file);
    size_t written = fwrite(data, 1, bytes, file);
    int closed = fclose(file);
    TRI_CHECK(written == bytes && closed == 0, TRI_EIO, "writing %s", folder->file);
    return TRI_OK;
}

/* Write a text of so many letters, with something to learn in it. Not collective. */
TRI_MUST_USE static inline tri_status tri_folder_put_letters(tri_folder *folder, const char *name,
                                                             size_t n)
{
    char *text = NULL;
    TRI_TRY(TRI_NEW_ARRAY((int64_t)n, &text));
    for (size_t i = 0; i < n; i++)
        text[i] = (char)('a' + (i * i / 7 + i % 13) % 26);
    tri_status rc = tri_folder_put(folder, name, "w", text, n);
    TRI_FREE(text);
    return rc;
}

#endif

// SPDX-License-Identifier: Apache-2.0
/* Folders and small files for the tests of safetensors. */
#ifndef TRI_TESTS_CHECKPOINT_SAFETENSORS_H
#define TRI_TESTS_CHECKPOINT_SAFETENSORS_H

#include "tests/checkpoint/fixture_io.h"
#include "tests/temporary.h"

/* Places below a folder of this test. */
typedef struct st_place {
    char folder[64], ckpt[96], out[96], back[96], temporary[104];
} st_place;

static inline tri_status st_begin(st_place *place)
{
    /* in memory: syncs are not tried */
    const char *top = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : NULL;
    TRI_TRY(tri_temporary_folder(top, sizeof place->folder, place->folder));
    snprintf(place->ckpt, sizeof place->ckpt, "%s/ckpt", place->folder);
    snprintf(place->out, sizeof place->out, "%s/a/out", place->folder);
    snprintf(place->back, sizeof place->back, "%s/back", place->folder);
    snprintf(place->temporary, sizeof place->temporary, "%s.tmp", place->out);
    return TRI_OK;
}

static inline void st_end(const st_place *place)
{
    fixture_remove(place->folder, 3);
}

/* A file of a header and zeros. */
static inline tri_status st_write(const char *path, const char *header, int64_t data_bytes)
{
    static const char zeros[4096];
    FILE *file = fopen(path, "wb");
    TRI_CHECK(file && data_bytes <= (int64_t)sizeof zeros, TRI_EBUG, "making %s", path);
    uint64_t n = strlen(header);
    fwrite(&n, sizeof n, 1, file);
    fwrite(header, 1, n, file);
    fwrite(zeros, 1, (size_t)data_bytes, file);
    fclose(file);
    return TRI_OK;
}

#define ENTRY(name, type, shape, offsets) \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

#endif

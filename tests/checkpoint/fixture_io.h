// SPDX-License-Identifier: Apache-2.0
/* Filling, saving, restoring and comparing the fixture's rows. The value of an element is a function of
 * the row's name, its global index and the step, so any cut can be checked.
 */
#ifndef TRI_TESTS_CHECKPOINT_FIXTURE_IO_H
#define TRI_TESTS_CHECKPOINT_FIXTURE_IO_H

#include "tests/checkpoint/fixture.h"
#include "tests/temporary.h"

#include <dirent.h>
#include <unistd.h>

static inline uint32_t fixture_value(const char *name, int64_t index, int64_t step)
{
    uint64_t x = (uint64_t)index * 0x9e3779b97f4a7c15u + (uint64_t)step * 0xd1b54a32d192ed03u;
    for (const char *c = name; *c; c++)
        x = (x ^ (unsigned char)*c) * 0x100000001b3u;
    return (uint32_t)(x >> 32 ^ x >> 13);
}

/* Bits of an element. Never a NaN, so that tools compare them too. */
static inline uint64_t fixture_bits(tri_dtype dtype, uint32_t value)
{
    float f = (float)(value % 100003u) * 0.125f - 5000.0f;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if (dtype == TRI_BF16) return tri_f32_to_bf16(f);
    return dtype == TRI_F32 ? bits : value;
}

/* Write, or count the wrong ones of, the held elements of a row. */
static inline tri_status fixture_visit(const fixture *f, int index, int64_t step, bool write,
                                       int64_t *wrong)
{
    const tri_row *row = tri_state_row(f->state, index);
    tri_piece_box pieces[TRI_MAX_BOXES];
    int n = 0;
    TRI_TRY(tri_row_boxes(row, f->mesh, pieces, &n));
    size_t bytes = tri_dtype_bytes(row->dtype);
    for (int p = 0; p < n; p++) {
        const tri_box *box = &pieces[p].box;
        for (int64_t i = 0; i < tri_box_elements(box); i++) {
            int64_t global = 0;
            int64_t stride = 1;
            int64_t rest = i;
            for (int d = box->n_dims - 1; d >= 0; d--) {
                global += (box->start[d] + rest % box->count[d]) * stride;
                stride *= row->shape[d];
                rest /= box->count[d];
            }
            uint64_t bits = fixture_bits(row->dtype, fixture_value(row->name, global, step));
            char *at = (char *)row->data + (size_t)(pieces[p].offset + i) * bytes;
            if (write) memcpy(at, &bits, bytes);
            if (!write && memcmp(at, &bits, bytes) != 0) ++*wrong;
        }
    }
    return TRI_OK;
}

static inline tri_status fixture_fill(const fixture *f, int64_t step)
{
    for (int i = 0; i < tri_state_rows(f->state); i++)
        TRI_TRY(fixture_visit(f, i, step, true, NULL));
    return TRI_OK;
}

/* Overwrite everything, so that what a load leaves untouched is seen. */
static inline void fixture_spoil(const fixture *f)
{
    for (int i = 0; i < tri_state_rows(f->state); i++) {
        const tri_row *row = tri_state_row(f->state, i);
        memset(row->data, 0xa5, (size_t)row->count * tri_dtype_bytes(row->dtype));
    }
}

static inline tri_status fixture_expect(const fixture *f, int64_t step)
{
    for (int i = 0; i < tri_state_rows(f->state); i++) {
        int64_t wrong = 0;
        TRI_TRY(fixture_visit(f, i, step, false, &wrong));
        EXPECT(wrong == 0, "step %lld, row %s: %lld elements are wrong", (long long)step,
               tri_state_row(f->state, i)->name, (long long)wrong);
    }
    return TRI_OK;
}

static inline tri_ckpt_save_args fixture_save_args(const fixture *f, tri_comm *world,
                                                   const char *dir, int64_t step, int keep)
{
    return (tri_ckpt_save_args){.dir = dir,
                                .state = f->state,
                                .world = world,
                                .step = step,
                                .job_yaml = "name: test\n",
                                .version = "test 1",
                                .keep = keep};
}

static inline tri_status fixture_save(const fixture *f, tri_comm *world, const char *dir,
                                      int64_t step, int keep)
{
    TRI_TRY(fixture_fill(f, step));
    tri_ckpt_save_args args = fixture_save_args(f, world, dir, step, keep);
    return tri_ckpt_save(&args);
}

/* Find the newest, load it and compare with its step. */
static inline tri_status fixture_restore(const fixture *f, tri_comm *world, const char *dir,
                                         int64_t *step)
{
    bool found = false;
    tri_ckpt_info info = {0};
    *step = -1;
    TRI_TRY(tri_ckpt_find_newest(dir, world, &found, &info));
    if (!found) return TRI_OK;
    tri_ckpt_load_args args = {.path = info.path, .state = f->state, .world = world};
    fixture_spoil(f);
    tri_status rc = tri_ckpt_load(&args);
    *step = info.step;
    tri_ckpt_info_fini(&info);
    TRI_TRY(rc);
    return fixture_expect(f, *step);
}

/* Remove a folder, and folders in it down to `depth`. */
static inline void fixture_remove(const char *dir, int depth)
{
    DIR *stream = opendir(dir);
    struct dirent *entry = NULL;
    while (stream && (entry = readdir(stream))) {
        char path[2048];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        int n = snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        if (n < 0 || (size_t)n >= sizeof path) continue;
        if (unlink(path) != 0 && depth > 0) fixture_remove(path, depth - 1);
    }
    if (stream) closedir(stream);
    EXPECT(rmdir(dir) == 0, "removing %s", dir);
}

/* A folder of this test alone. */
static inline tri_status fixture_folder(char out[64])
{
    return tri_temporary_folder(NULL, 64, out);
}

#endif

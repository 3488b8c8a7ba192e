// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a safetensors file, as its header, as an index of files, or as a config.json: refused with
 * a message, or usable to the last byte of the last tensor.
 *
 * Byte 0: which of the four. For a header, bytes 1 and 2 are the number of bytes of data behind it, and
 * its length is put right, so that the fuzzer gets behind the first checks. What is allocated is limited
 * by libFuzzer (-malloc_limit_mb in tests/run.sh). Without clang, or with -DTRI_REPLAY, a main() runs
 * the files named on the command line.
 */
#include "checkpoint/safetensors_files.h"
#include "launch/hf.h"

#include "tests/folder.h"
#include "tests/fuzz/replay.h"

enum { RAW, HEADER, INDEX, CONFIG, KINDS };
enum { MAX_INPUT = 1 << 16 };

/* A program of its own may have state; it is removed at exit. */
static tri_folder *fuzz_folder;

static void fuzz_clean(void)
{
    tri_folder_destroy(&fuzz_folder);
}

static void fuzz_demand(bool cond, const char *what)
{
    if (cond) return;
    fprintf(stderr, "fuzz_safetensors: %s: %s\n", what, tri_err_last()->text);
    abort();
}

static void fuzz_put(const char *name, const void *bytes, size_t n)
{
    fuzz_demand(tri_folder_put(fuzz_folder, name, "w", bytes, n) == TRI_OK, "writing");
}

/* A file of one tensor, for indices. */
static void fuzz_put_small(const char *name, const char *tensor)
{
    char file[128] = "";
    int n = snprintf(file + 8, sizeof file - 8,
                     "{\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", tensor);
    file[0] = (char)n;
    fuzz_put(name, file, (size_t)n + 9);
}

/* Every tensor is found by its name, and its ends can be read. */
static void fuzz_use(tri_safetensors_files *files)
{
    for (int64_t i = 0; i < files->n_tensors; i++) {
        const tri_safetensors_tensor *tensor = &files->tensors[i];
        char byte = 0;
        fuzz_demand(tri_safetensors_files_find(files, tensor->name) == tensor, "a tensor is lost");
        if (tensor->n_bytes == 0) continue;
        fuzz_demand(tri_safetensors_files_read(files, tensor, 0, 1, &byte) == TRI_OK, "first byte");
        fuzz_demand(tri_safetensors_files_read(files, tensor, tensor->n_bytes - 1, 1, &byte) ==
                        TRI_OK,
                    "last byte");
    }
}

static void fuzz_files(int kind, const uint8_t *data, size_t n)
{
    static uint8_t file[2 * MAX_INPUT + 8];
    char path[512];
    snprintf(path, sizeof path, "%s", tri_folder_at(fuzz_folder, "model.safetensors"));
    unlink(path);
    unlink(tri_folder_at(fuzz_folder, TRI_SAFETENSORS_INDEX));
    if (kind == INDEX) {
        fuzz_put(TRI_SAFETENSORS_INDEX, data, n);
        *strrchr(path, '/') = '\0';
    } else if (kind == RAW || n < 2) {
        fuzz_put("model.safetensors", data, n);
    } else {
        size_t n_data = data[0] | (size_t)data[1] << 8;
        uint64_t length = n - 2;
        memcpy(file, &length, sizeof length);
        memcpy(file + 8, data + 2, n - 2);
        memset(file + 8 + n - 2, 0, n_data);
        fuzz_put("model.safetensors", file, 8 + n - 2 + n_data);
    }
    tri_safetensors_files *files = NULL;
    tri_status rc = tri_safetensors_files_open(path, &files);
    if (rc == TRI_OK) fuzz_use(files);
    fuzz_demand(rc == TRI_OK || tri_err_last()->text[0], "a failure without a message");
    tri_safetensors_files_destroy(&files);
}

/* A config that is taken agrees with the spec that is made of it, and is written and read as itself. */
static void fuzz_config(const uint8_t *data, size_t n)
{
    tri_hf_config config;
    tri_hf_config again;
    tri_spec spec;
    char *text = NULL;
    if (tri_hf_parse((const char *)data, n, "fuzz", NULL, &config) != TRI_OK) {
        fuzz_demand(tri_err_last()->text[0], "a failure without a message");
        return;
    }
    fuzz_demand(tri_hf_make_spec(&config, 0, NULL, &spec) == TRI_OK, "no spec");
    fuzz_demand(tri_hf_compare(&config, &spec, "the spec") == TRI_OK, "another spec");
    fuzz_demand(tri_hf_write(&spec, TRI_F32, &text) == TRI_OK, "not written");
    fuzz_demand(tri_hf_parse(text, strlen(text), "written", NULL, &again) == TRI_OK, "not read");
    fuzz_demand(tri_hf_compare(&again, &spec, "the spec") == TRI_OK, "another config");
    TRI_FREE(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 1 || bytes > MAX_INPUT) return 0;
    if (!fuzz_folder) {
        if (access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 0); /* ten times as fast */
        fuzz_demand(tri_folder_create(&fuzz_folder) == TRI_OK, "no folder");
        fuzz_put_small("1", "a");
        fuzz_put_small("2", "b");
        atexit(fuzz_clean);
    }
    int64_t live = tri_alloc_live();
    if (data[0] % KINDS == CONFIG)
        fuzz_config(data + 1, bytes - 1);
    else
        fuzz_files(data[0] % KINDS, data + 1, bytes - 1);
    tri_err_clear();
    fuzz_demand(tri_alloc_live() == live, "objects are left");
    return 0;
}

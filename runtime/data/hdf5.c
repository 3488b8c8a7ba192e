// SPDX-License-Identifier: Apache-2.0
/* A one-dimensional (or flattened) integer dataset of an HDF5 file, contiguous or in chunks, also compressed. It is
 * read in pieces through the door runtime/h5.h, not mapped; HDF5 does not touch the file in this process.
 */
#include "runtime/data/token_file.h"

#include "runtime/base/alloc.h"
#include "runtime/h5.h"

typedef struct hdf5_source {
    tri_h5 *file;
    tri_h5_dataset *dataset;
} hdf5_source;

static void hdf5_close(tri_token_file *shard)
{
    hdf5_source *source = shard->own;
    if (!source) return;
    tri_h5_dataset_destroy(&source->dataset);
    tri_h5_destroy(&source->file);
    TRI_FREE(source);
    shard->own = NULL;
}

static tri_status hdf5_open(const tri_tokens_args *args, const char *path, tri_token_file *shard)
{
    TRI_CHECK(args->dataset && *args->dataset, TRI_EINVAL,
              "data.dataset is needed with format hdf5: the name of the dataset of tokens in %s",
              path);
    TRI_TRY(tri_alloc_string(path, &shard->path));
    hdf5_source *source = NULL;
    TRI_TRY(TRI_NEW(&source));
    shard->own = source;
    TRI_TRY(tri_h5_open(path, &source->file));
    TRI_TRY(tri_h5_dataset_open(source->file, args->dataset, &source->dataset));
    TRI_CHECK(tri_h5_dataset_is_integer(source->dataset), TRI_EFORMAT,
              "token file %s: dataset %s is of floating-point numbers; tokens are integers", path,
              args->dataset);
    TRI_TRY(tri_h5_dataset_check(source->dataset));
    shard->count = tri_h5_dataset_count(source->dataset);
    TRI_CHECK(shard->count > 0, TRI_EFORMAT, "token file %s: dataset %s is empty", path,
              args->dataset);
    return TRI_OK;
}

/* Ids that int32 cannot hold are clamped to its ends by the door, so they are not below `vocab`
 * (at most 2^31 - 1 here) either; the report reads the value itself. */
static tri_status hdf5_read(tri_token_file *shard, int64_t begin, int64_t n, int64_t vocab,
                            int32_t *out)
{
    hdf5_source *source = shard->own;
    int64_t limit = vocab <= INT32_MAX ? vocab : INT32_MAX;
    TRI_TRY(tri_h5_dataset_read(source->dataset, begin, n, TRI_I32, out));
    for (int64_t i = 0; vocab > 0 && i < n; i++) {
        if (out[i] >= 0 && out[i] < limit) continue;
        int64_t id = 0;
        TRI_TRY(tri_h5_dataset_read(source->dataset, begin + i, 1, TRI_I64, &id));
        return tri_token_file_fail_vocab(shard, begin + i, id, vocab);
    }
    return TRI_OK;
}

const tri_format_ops tri_format_hdf5 = {
    .name = "hdf5",
    .doc = "an integer dataset of an HDF5 file (data.dataset names it)",
    .open = hdf5_open,
    .read = hdf5_read,
    .close = hdf5_close,
};

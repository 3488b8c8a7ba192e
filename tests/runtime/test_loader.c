// SPDX-License-Identifier: Apache-2.0
/* Batches do not depend on the parts, follow the order over epochs, and continue after a seek or a
 * restore; what is held out is never trained on.
 */
// TEST ranks=1 timeout=60
#include "runtime/data/loader.h"
#include "runtime/data/order.h"

#include "tests/folder.h"
#include "tests/test.h"

enum { T = 8, N = 1000, VOCAB = 40000, SAMPLES = (N - 1) / T }; /* 124 samples */

static const tri_device_args cpu = {.name = "cpu", .n_threads = 1};

/* Token i is i + 5 everywhere: a batch tells where it is from. */
static tri_status put_shards(tri_folder *folder, const char *prefix, int64_t n)
{
    static const int64_t cut[] = {0, 7, 8, 301, 655};
    uint16_t tokens[2 * N];
    for (int64_t i = 0; i < n; i++)
        tokens[i] = (uint16_t)(i + 5);
    for (int i = 0; i < 5; i++) {
        char name[64];
        int64_t end = i < 4 ? cut[i + 1] : n;
        snprintf(name, sizeof name, "%s-%d.bin", prefix, i);
        TRI_TRY(tri_folder_put(folder, name, "w", tokens + cut[i],
                               (size_t)(end - cut[i]) * sizeof *tokens));
    }
    return TRI_OK;
}

static tri_data_config config_of(tri_folder *folder, double holdout)
{
    tri_data_config config = {.format = "uint16", .holdout = holdout};
    snprintf(config.train, sizeof config.train, "%s/a-*.bin", folder->path);
    return config;
}

/* Check a batch against the definition. */
static void expect_batch(const tri_loader_batch *batch, int64_t position, int64_t sequences,
                         int64_t n_samples, uint64_t seed)
{
    EXPECT(batch->sequences == sequences && batch->length == T, "batch of %lld x %lld",
           (long long)batch->sequences, (long long)batch->length);
    for (int64_t i = 0; i < sequences; i++) {
        int64_t p = position + i;
        int64_t sample =
            tri_order_sample(n_samples, seed, (uint64_t)(p / n_samples), p % n_samples);
        EXPECT(batch->sample[i] == p, "sample number %lld, not %lld", (long long)batch->sample[i],
               (long long)p);
        int64_t good = 0;
        while (good < T && batch->tokens[i * T + good] == sample * T + good + 5 &&
               batch->targets[i * T + good] == sample * T + good + 6)
            good++;
        EXPECT(good == T, "position %lld: token %lld is %d, target %d", (long long)p,
               (long long)good, batch->tokens[i * T + good], batch->targets[i * T + good]);
    }
}

TRI_TEST(parts_make_the_same_batch)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    TRI_TRY(put_shards(folder, "a", N));
    tri_data_config config = config_of(folder, 0);
    TRI_AUTO(tri_device) *device = NULL;
    TRI_TRY(tri_device_create(&cpu, &device));
    for (int parts = 1; parts <= 4; parts *= 2) {
        for (int part = 0; part < parts; part++) {
            tri_loader_args args = {.data = &config,
                                    .seed = 3,
                                    .length = T,
                                    .vocab = VOCAB,
                                    .sequences = 12,
                                    .part = part,
                                    .parts = parts};
            TRI_AUTO(tri_loader) *loader = NULL;
            TRI_TRY(tri_loader_create(&args, device, &loader));
            EXPECT(tri_loader_epoch_samples(loader) == SAMPLES, "%lld samples",
                   (long long)tri_loader_epoch_samples(loader));
            size_t held = tri_device_memory(device).bytes[TRI_MEM_DATA];
            EXPECT(held == tri_loader_bytes(12 / parts, T), "%zu bytes, %zu predicted", held,
                   tri_loader_bytes(12 / parts, T));
            int64_t before = tri_alloc_count();
            for (int64_t step = 0; step < 35; step++) { /* three epochs and a half */
                tri_loader_batch batch;
                TRI_TRY(tri_loader_next(loader, &batch));
                expect_batch(&batch, step * 12 + part * (12 / parts), 12 / parts, SAMPLES, 3);
                EXPECT(tri_loader_consumed(loader) == (step + 1) * 12, "%lld consumed",
                       (long long)tri_loader_consumed(loader));
            }
            EXPECT(tri_alloc_count() == before, "allocations after create");
        }
    }
    return TRI_OK;
}

TRI_TEST(a_batch_stays_until_the_next)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    TRI_TRY(put_shards(folder, "a", N));
    tri_data_config config = config_of(folder, 0);
    TRI_AUTO(tri_device) *device = NULL;
    TRI_TRY(tri_device_create(&cpu, &device));
    tri_loader_args args = {
        .data = &config, .seed = 1, .length = T, .vocab = VOCAB, .sequences = 4, .parts = 1};
    TRI_AUTO(tri_loader) *loader = NULL;
    TRI_TRY(tri_loader_create(&args, device, &loader));
    tri_loader_batch batch;
    for (int64_t step = 0; step < 20; step++) {
        TRI_TRY(tri_loader_next(loader, &batch));
        usleep(500); /* time for the thread to read ahead */
        expect_batch(&batch, step * 4, 4, SAMPLES, 1);
    }
    TRI_TRY(tri_loader_seek(loader, 777));
    usleep(500);
    expect_batch(&batch, 19 * 4, 4, SAMPLES, 1);
    for (int64_t step = 0; step < 3; step++) {
        TRI_TRY(tri_loader_next(loader, &batch));
        expect_batch(&batch, 777 + step * 4, 4, SAMPLES, 1);
    }
    EXPECT_STATUS(tri_loader_seek(loader, -1), TRI_EINVAL, "data cursor -1");
    return TRI_OK;
}

TRI_TEST(held_out_data_is_never_trained_on)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    TRI_TRY(put_shards(folder, "a", N));
    tri_data_config config = config_of(folder, 0.1);
    TRI_AUTO(tri_device) *device = NULL;
    TRI_TRY(tri_device_create(&cpu, &device));
    tri_loader_args args = {
        .data = &config, .seed = 1, .length = T, .vocab = VOCAB, .sequences = 4, .parts = 1};
    TRI_AUTO(tri_loader) *train = NULL;
    TRI_TRY(tri_loader_create(&args, device, &train));
    args.validation = true;
    TRI_AUTO(tri_loader) *validation = NULL;
    TRI_TRY(tri_loader_create(&args, device, &validation));
    int64_t n_train = tri_loader_epoch_samples(train);
    int64_t n_held = tri_loader_epoch_samples(validation);
    EXPECT(n_train + n_held == SAMPLES && n_held == 13, "%lld + %lld samples", (long long)n_train,
           (long long)n_held);
    tri_loader_batch batch;
    for (int64_t step = 0; step < 2 * n_train / 4; step++) {
        TRI_TRY(tri_loader_next(train, &batch));
        expect_batch(&batch, step * 4, 4, n_train, 1);
        for (int64_t i = 0; i < 4 * T; i++)
            EXPECT(batch.targets[i] - 5 <= n_train * T, "target %d", batch.targets[i] - 5);
    }
    for (int64_t position = 0; position < 3 * n_held; position += 4) { /* natural order, wraps */
        TRI_TRY(tri_loader_next(validation, &batch));
        for (int64_t i = 0; i < 4; i++) {
            int64_t sample = n_train + (position + i) % n_held;
            EXPECT(batch.tokens[i * T] == sample * T + 5, "held-out sample at %lld begins with %d",
                   (long long)(position + i), batch.tokens[i * T]);
        }
    }
    return TRI_OK;
}

TRI_TEST(validation_file_of_its_own)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    TRI_TRY(put_shards(folder, "a", N));
    TRI_TRY(put_shards(folder, "b", 2 * N));
    tri_data_config config = config_of(folder, 0.25);
    snprintf(config.validation, sizeof config.validation, "%s/b-*", folder->path);
    TRI_AUTO(tri_device) *device = NULL;
    TRI_TRY(tri_device_create(&cpu, &device));
    tri_loader_args args = {
        .data = &config, .seed = 1, .length = T, .vocab = VOCAB, .sequences = 4, .parts = 1};
    TRI_AUTO(tri_loader) *train = NULL;
    TRI_TRY(tri_loader_create(&args, device, &train));
    args.validation = true;
    TRI_AUTO(tri_loader) *validation = NULL;
    TRI_TRY(tri_loader_create(&args, device, &validation));
    EXPECT(tri_loader_epoch_samples(train) == SAMPLES, "all of data.train is trained on");
    EXPECT(tri_loader_epoch_samples(validation) == (2 * N - 1) / T, "%lld samples",
           (long long)tri_loader_epoch_samples(validation));
    return TRI_OK;
}

/* A mesh on paper has no communicators, so it may be closed like any object. */
static void mesh_fini(tri_mesh **mesh)
{
    tri_mesh_close(mesh);
}

/* Restore a cursor saved by a loader of `saved` into one of `now`. */
static tri_status restore_into(const tri_loader_args *saved, const tri_loader_args *now,
                               tri_device *device, tri_loader **out)
{
    __attribute__((cleanup(mesh_fini))) tri_mesh *mesh = NULL;
    TRI_TRY(tri_mesh_create(
        &(tri_mesh_args){
            .n_ranks = 1, .size = {1, 1, 1, 1}
    },
        &mesh));
    TRI_AUTO(tri_state) *was = NULL;
    TRI_AUTO(tri_state) *is = NULL;
    TRI_AUTO(tri_loader) *first = NULL;
    TRI_AUTO(tri_loader) *second = NULL;
    TRI_TRY(tri_state_create(mesh, &was));
    TRI_TRY(tri_state_create(mesh, &is));
    TRI_TRY(tri_loader_create(saved, device, &first));
    TRI_TRY(tri_loader_export(first, was));
    tri_loader_batch batch;
    for (int i = 0; i < 13; i++)
        TRI_TRY(tri_loader_next(first, &batch));
    TRI_TRY(tri_loader_create(now, device, &second));
    TRI_TRY(tri_loader_export(second, is));
    const tri_row *from = tri_state_row(was, tri_state_find(was, "data/cursor"));
    const tri_row *to = tri_state_row(is, tri_state_find(is, "data/cursor"));
    EXPECT(from->count == 2 && from->dtype == TRI_I64, "row of %lld", (long long)from->count);
    EXPECT(((const int64_t *)from->data)[0] == 13 * saved->sequences, "cursor is %lld",
           (long long)((const int64_t *)from->data)[0]);
    memcpy(to->data, from->data, 2 * sizeof(int64_t));
    TRI_TRY(tri_loader_restore(second));
    *out = TRI_MOVE(second);
    return TRI_OK;
}

TRI_TEST(restored_run_goes_on)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    TRI_TRY(put_shards(folder, "a", N));
    tri_data_config config = config_of(folder, 0.1);
    TRI_AUTO(tri_device) *device = NULL;
    TRI_TRY(tri_device_create(&cpu, &device));
    tri_loader_args saved = {
        .data = &config, .seed = 9, .length = T, .vocab = VOCAB, .sequences = 10, .parts = 1};
    tri_loader_args now = saved; /* on two ranks, with another batch */
    now.sequences = 16;
    now.part = 1;
    now.parts = 2;
    TRI_AUTO(tri_loader) *loader = NULL;
    TRI_TRY(restore_into(&saved, &now, device, &loader));
    for (int64_t step = 0; step < 20; step++) {
        tri_loader_batch batch;
        TRI_TRY(tri_loader_next(loader, &batch));
        expect_batch(&batch, 130 + step * 16 + 8, 8, tri_loader_epoch_samples(loader), 9);
    }
    return TRI_OK;
}

TRI_TEST(changed_data_are_noticed)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    TRI_TRY(put_shards(folder, "a", N));
    TRI_TRY(put_shards(folder, "b", N + 1));
    tri_data_config config = config_of(folder, 0.1);
    TRI_AUTO(tri_device) *device = NULL;
    TRI_TRY(tri_device_create(&cpu, &device));
    tri_loader_args saved = {
        .data = &config, .seed = 9, .length = T, .vocab = VOCAB, .sequences = 10, .parts = 1};
    tri_loader_args now = saved;
    tri_data_config other = config;
    TRI_AUTO(tri_loader) *loader = NULL;
    now.data = &other;
    snprintf(other.train, sizeof other.train, "%s/b-*", folder->path);
    EXPECT_STATUS(restore_into(&saved, &now, device, &loader), TRI_EINVAL,
                  "the number of tokens changed (it is 1001 now)");
    TRI_TRY(put_shards(folder, "b", N));
    uint16_t last[N - 655] = {1};
    TRI_TRY(tri_folder_put(folder, "b-4.bin", "w", last, sizeof last));
    EXPECT_STATUS(restore_into(&saved, &now, device, &loader), TRI_EINVAL, "but other ones");
    other = config;
    other.holdout = 0.2;
    EXPECT_STATUS(restore_into(&saved, &now, device, &loader), TRI_EINVAL, "training part (now 99");
    now = saved;
    now.seed = 10;
    EXPECT_STATUS(restore_into(&saved, &now, device, &loader), TRI_EINVAL, "seed (now 10)");
    return TRI_OK;
}

TRI_TEST(bad_token_comes_out_of_next)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    TRI_TRY(put_shards(folder, "a", N));
    tri_data_config config = config_of(folder, 0);
    TRI_AUTO(tri_device) *device = NULL;
    TRI_TRY(tri_device_create(&cpu, &device));
    tri_loader_args args = {
        .data = &config, .seed = 1, .length = T, .vocab = 900, .sequences = 4, .parts = 1};
    TRI_AUTO(tri_loader) *loader = NULL;
    TRI_TRY(tri_loader_create(&args, device, &loader));
    tri_loader_batch batch;
    tri_status rc = TRI_OK;
    for (int i = 0; i < 31 && rc == TRI_OK; i++)
        rc = tri_loader_next(loader, &batch);
    EXPECT_STATUS(rc, TRI_EFORMAT, "a-4.bin: token");
    int64_t consumed = tri_loader_consumed(loader);
    EXPECT_STATUS(tri_loader_next(loader, &batch), TRI_EFORMAT, "use model.vocab");
    EXPECT(tri_loader_consumed(loader) == consumed, "an error advanced the cursor");
    return TRI_OK;
}

/* Creating must fail so. */
static void expect_create(tri_loader_args args, tri_device *device, tri_status wanted,
                          const char *part)
{
    TRI_AUTO(tri_loader) *loader = NULL;
    EXPECT_STATUS(tri_loader_create(&args, device, &loader), wanted, part);
}

TRI_TEST(wrong_arguments)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    TRI_TRY(put_shards(folder, "a", N));
    tri_data_config config = config_of(folder, 0);
    TRI_AUTO(tri_device) *device = NULL;
    TRI_TRY(tri_device_create(&cpu, &device));
    tri_loader_args good = {
        .data = &config, .seed = 1, .length = T, .vocab = VOCAB, .sequences = 4, .parts = 1};
    tri_loader_args args = good;
    args.sequences = SAMPLES + 1;
    expect_create(args, device, TRI_EINVAL, "1000 tokens are 124 samples of 8 tokens");
    args = good;
    args.length = N;
    expect_create(args, device, TRI_EINVAL, "are 0 samples");
    args = good;
    args.parts = 3;
    expect_create(args, device, TRI_EINVAL, "positive multiple of 3");
    args = good;
    args.sequences = 0;
    expect_create(args, device, TRI_EINVAL, "batch of 0");
    args = good;
    args.validation = true;
    expect_create(args, device, TRI_EINVAL, "there is no held-out data");
    config.holdout = 1;
    expect_create(good, device, TRI_EINVAL, "data.holdout is 1");
    config.holdout = NAN;
    expect_create(good, device, TRI_EINVAL, "data.holdout is");
    config.holdout = 0;
    snprintf(config.train, sizeof config.train, "%s/none", folder->path);
    expect_create(good, device, TRI_EIO, "none: No such file");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(parts_make_the_same_batch), TRI_TEST_ROW(a_batch_stays_until_the_next),
              TRI_TEST_ROW(held_out_data_is_never_trained_on),
              TRI_TEST_ROW(validation_file_of_its_own), TRI_TEST_ROW(restored_run_goes_on),
              TRI_TEST_ROW(changed_data_are_noticed), TRI_TEST_ROW(bad_token_comes_out_of_next),
              TRI_TEST_ROW(wrong_arguments))

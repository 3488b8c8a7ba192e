// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* Flat ranges of rows, whatever the boxes; statistics of their values. */
#include "checkpoint/row_reader.h"

#include "checkpoint/stats.h"
#include "checkpoint/values.h"
#include "runtime/base/rng.h"
#include "tests/checkpoint/fixture_run.h"

static const fixture_layout layouts[] = {
    {{1, 1, 1, 1}, HOLD_WHOLE },
    {{1, 4, 1, 1}, HOLD_SHARDS},
    {{2, 1, 1, 3}, HOLD_WHOLE },
    {{2, 2, 1, 2}, HOLD_SHARDS},
};

/* A checkpoint in a folder of its own, open. */
typedef struct opened {
    char dir[64];
    tri_ckpt_info info;
    tri_manifest *m;
    tri_row_reader *reader;
    char *buffer;
} opened;

static void opened_destroy(opened *o)
{
    tri_row_reader_destroy(&o->reader);
    tri_manifest_destroy(&o->m);
    tri_ckpt_info_fini(&o->info);
    TRI_FREE(o->buffer);
    if (o->dir[0]) fixture_remove(o->dir, 1);
}

static tri_status opened_create(const fixture_layout *layout, int64_t scale, opened *o)
{
    TRI_TRY(fixture_folder(o->dir));
    fixture_job job = {.layout = *layout, .dir = o->dir, .step = 4, .scale = scale};
    job.body = fixture_body_save;
    TRI_TRY(fixture_run(job));
    TRI_TRY(tri_ckpt_read_info(o->dir, &o->info));
    TRI_TRY(tri_manifest_read(o->info.path, &o->m));
    TRI_TRY(TRI_NEW_ARRAY(TRI_MANIFEST_BLOCK_BYTES, &o->buffer));
    return tri_row_reader_create(o->m, o->info.path, &o->reader);
}

static int64_t count_wrong(const opened *o, int64_t row, int64_t begin, int64_t n)
{
    const tri_manifest_row *about = &o->m->rows[row];
    size_t bytes = tri_dtype_bytes((tri_dtype)about->dtype);
    int64_t wrong = 0;
    for (int64_t i = 0; i < n; i++) {
        uint64_t bits =
            fixture_bits((tri_dtype)about->dtype, fixture_value(about->name, begin + i, 4));
        wrong += memcmp(o->buffer + (size_t)i * bytes, &bits, bytes) != 0;
    }
    return wrong;
}

TRI_TEST(any_range_of_any_cut)
{
    for (size_t l = 0; l < sizeof layouts / sizeof *layouts; l++) {
        TRI_AUTO(opened) o = {0};
        TRI_TRY(opened_create(&layouts[l], 3, &o));
        tri_rng rng = {.seed = 1, .stream = l, .purpose = TRI_RNG_INIT};
        for (int round = 0; round < 400; round++) {
            int64_t row = tri_rng_word(rng, 3 * (uint64_t)round) % (uint32_t)o.m->head.n_rows;
            int64_t elements = tri_row_reader_elements(o.reader, row);
            int64_t begin = tri_rng_word(rng, 3 * (uint64_t)round + 1) % (uint32_t)(elements + 1);
            int64_t n =
                tri_rng_word(rng, 3 * (uint64_t)round + 2) % (uint32_t)(elements - begin + 1);
            TRI_TRY(tri_row_reader_read(o.reader, row, begin, n, o.buffer));
            int64_t wrong = count_wrong(&o, row, begin, n);
            EXPECT(wrong == 0, "layout %zu, row %s, [%lld, %lld): %lld are wrong", l,
                   o.m->rows[row].name, (long long)begin, (long long)(begin + n), (long long)wrong);
        }
        EXPECT_STATUS(tri_row_reader_read(o.reader, 0, 1, INT64_MAX, o.buffer), TRI_EINVAL,
                      o.m->rows[0].name);
    }
    return TRI_OK;
}

TRI_TEST(statistics_are_those_of_the_values)
{
    TRI_AUTO(opened) o = {0};
    TRI_TRY(opened_create(&layouts[3], 5, &o));
    for (int64_t row = 0; row < o.m->head.n_rows; row++) {
        tri_dtype dtype = (tri_dtype)o.m->rows[row].dtype;
        int64_t n = tri_row_reader_elements(o.reader, row);
        tri_stats got;
        TRI_TRY(tri_stats_read(o.reader, row, dtype, o.buffer, &got));
        double min = INFINITY;
        double max = -INFINITY;
        double sum = 0;
        double squares = 0;
        for (int64_t i = 0; i < n; i++) {
            uint64_t bits = fixture_bits(dtype, fixture_value(o.m->rows[row].name, i, 4));
            double x = 0;
            tri_values_widen(dtype, 1, &bits, &x);
            min = fmin(min, x);
            max = fmax(max, x);
            sum += x;
            squares += x * x;
        }
        EXPECT(got.min == min && got.max == max && got.n_not_finite == 0 &&
                   fabs(got.mean - sum / (double)n) <= 1e-9 * (fabs(min) + fabs(max)) &&
                   fabs(got.rms - sqrt(squares / (double)n)) <= 1e-9 * got.rms,
               "row %s: %g %g %g %g", o.m->rows[row].name, got.min, got.max, got.mean, got.rms);
    }
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(any_range_of_any_cut), TRI_TEST_ROW(statistics_are_those_of_the_values))

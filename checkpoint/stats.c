// SPDX-License-Identifier: Apache-2.0
/* Statistics of a row; sums in fp64. */
#include "checkpoint/stats.h"

#include "checkpoint/values.h"
#include "runtime/base/int.h"

#include <math.h>

enum { STATS_CHUNK = 1024 };

typedef struct stats_sums {
    int64_t n, n_not_finite;
    double min, max, sum, squares;
} stats_sums;

static void stats_add(stats_sums *sums, int64_t n, const double *values)
{
    for (int64_t i = 0; i < n; i++) {
        double x = values[i];
        if (!isfinite(x)) {
            sums->n_not_finite++;
            continue;
        }
        if (sums->n == 0 || x < sums->min) sums->min = x;
        if (sums->n == 0 || x > sums->max) sums->max = x;
        sums->sum += x;
        sums->squares += x * x;
        sums->n++;
    }
}

tri_status tri_stats_read(tri_row_reader *reader, int64_t row, tri_dtype dtype, char *buffer,
                          tri_stats *out)
{
    size_t bytes = tri_dtype_bytes(dtype);
    int64_t most = TRI_MANIFEST_BLOCK_BYTES / (int64_t)bytes;
    int64_t elements = tri_row_reader_elements(reader, row);
    stats_sums sums = {0};
    for (int64_t begin = 0; begin < elements; begin += most) {
        int64_t n = tri_min64(most, elements - begin);
        TRI_TRY(tri_row_reader_read(reader, row, begin, n, buffer));
        for (int64_t at = 0; at < n; at += STATS_CHUNK) {
            double values[STATS_CHUNK];
            int64_t count = tri_min64(STATS_CHUNK, n - at);
            tri_values_widen(dtype, count, buffer + (size_t)at * bytes, values);
            stats_add(&sums, count, values);
        }
    }
    *out = (tri_stats){.n_not_finite = sums.n_not_finite, .min = sums.min, .max = sums.max};
    if (sums.n) out->mean = sums.sum / (double)sums.n;
    if (sums.n) out->rms = sqrt(sums.squares / (double)sums.n);
    return TRI_OK;
}

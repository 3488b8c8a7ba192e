// SPDX-License-Identifier: Apache-2.0
/* A round is one slice each of the call, of MPI's call and of every way of writing the limit; all
 * ranks start a slice together and the slowest rank's time counts. Ratios are taken within a round,
 * and their medians are reported.
 */
#include "launch/bench_collective.h"

#include "runtime/agree.h"
#include "runtime/arena.h"
#include "runtime/base/clock.h"
#include "runtime/base/int.h"
#include "runtime/coll/sum.h"

#include <string.h>
#if defined(__x86_64__)
#include <emmintrin.h>
#endif

enum {
    LARGE_BYTES = 64 << 20,
    ROUNDS = 41,
    SMALL_CALLS = 200, /* in a slice */
    WAYS = 5,
    PLAIN_WAYS = 3, /* loops of this file; the others are those of the collectives */
    TILE = 1024,    /* elements */
    SUMS = 64       /* streams of one sum, at most */
};

/* What one row measures. */
typedef struct collective_row {
    const char *name;
    int64_t bytes; /* of the larger argument */
    tri_coll_kind kind;
    bool is_shared;
} collective_row;

typedef struct collective_bench {
    const tri_bench_args *args;
    tri_comm *world, *mpi;
    tri_arena *arena;
    float *shared, *private, *other; /* LARGE_BYTES each; `other` is MPI's and private */
    int64_t n;                       /* elements, a multiple of ranks * TILE */
} collective_bench;

/* Times of a row, in seconds, by round. */
typedef struct collective_times {
    double own[ROUNDS], mpi[ROUNDS], limit[WAYS][ROUNDS];
} collective_times;

static void bench_close(collective_bench *bench)
{
    tri_arena_destroy(&bench->arena);
    tri_comm_close(&bench->mpi);
}

static tri_status bench_open(const tri_bench_args *args, collective_bench *out)
{
    tri_comm *world = args->session->world;
    *out = (collective_bench){.args = args, .world = world};
    int64_t unit = (int64_t)tri_comm_size(world) * TILE;
    out->n = tri_round_up(LARGE_BYTES / (int64_t)sizeof(float), unit);
    TRI_TRY(tri_comm_split_as(world, "mpi-native", &out->mpi));
    TRI_TRY(tri_arena_create(&out->arena));
    TRI_TRY(tri_arena_add_shared(out->arena, TRI_MEM_GRADIENTS, out->n, TRI_F32,
                                 (void **)&out->shared));
    TRI_TRY(tri_arena_add(out->arena, TRI_MEM_GRADIENTS, out->n, TRI_F32, (void **)&out->private));
    TRI_TRY(tri_arena_add(out->arena, TRI_MEM_GRADIENTS, out->n, TRI_F32, (void **)&out->other));
    TRI_TRY(tri_arena_commit(out->arena, args->session->device, world));
    /* pages that were never written are all one page of zeros */
    memset(out->shared, 0, (size_t)out->n * sizeof(float));
    memset(out->private, 0, (size_t)out->n * sizeof(float));
    memset(out->other, 0, (size_t)out->n * sizeof(float));
    return TRI_OK;
}

/* One call of the row on `memory`. MPI's reduce-scatter knows no result in place: it goes to
 * `apart`. */
static tri_status call(const collective_row *row, tri_comm *comm, float *memory, float *apart)
{
    int64_t count = row->bytes / (int64_t)sizeof(float);
    tri_span all = tri_span_make(memory, count, TRI_F32);
    int64_t block = count / tri_comm_size(comm);
    tri_span own = tri_span_part(all, tri_comm_rank(comm) * block, block);
    if (row->kind == TRI_COLL_ALLREDUCE) {
        TRI_TRY(tri_allreduce(comm, all, TRI_SUM, NULL));
    } else if (row->kind == TRI_COLL_REDUCE_SCATTER) {
        if (apart) own.data = apart;
        TRI_TRY(tri_reduce_scatter(comm, all, own, NULL));
    } else {
        TRI_TRY(tri_allgather(comm, own, all, NULL));
    }
    return TRI_OK;
}

/* Seconds of the slowest rank. Collective. */
static tri_status slowest(const collective_bench *bench, double *seconds)
{
    TRI_TRY(tri_allreduce(bench->world, tri_span_make(seconds, 1, TRI_F64), TRI_MAX, NULL));
    return TRI_OK;
}

static tri_status time_call(const collective_bench *bench, const collective_row *row, bool is_mpi,
                            double *seconds)
{
    tri_comm *comm = is_mpi ? bench->mpi : bench->world;
    float *memory = is_mpi ? bench->other : row->is_shared ? bench->shared : bench->private;
    int n_calls = row->bytes < LARGE_BYTES ? SMALL_CALLS : 1;
    TRI_TRY(tri_barrier(bench->world));
    double start = tri_clock_s();
    for (int i = 0; i < n_calls; i++)
        TRI_TRY(call(row, comm, memory, is_mpi ? bench->private : NULL));
    *seconds = (tri_clock_s() - start) / n_calls;
    TRI_TRY(slowest(bench, seconds));
    return TRI_OK;
}

/* Write a tile, past the caches if asked. */
static inline void tile_store(uint32_t *out, const uint32_t *tile, bool past_cache)
{
#if defined(__x86_64__)
    if (past_cache) {
        for (int i = 0; i < TILE; i += 4)
            _mm_stream_si128((__m128i *)(void *)(out + i),
                             _mm_load_si128((const __m128i *)(const void *)(tile + i)));
        return;
    }
#else
    (void)past_cache;
#endif
    memcpy(out, tile, TILE * sizeof *out);
}

/* Read and write every element in place, as an all-reduce must. */
static void sweep_update(uint32_t *x, int64_t n, int n_streams, int way)
{
    int64_t stream = n / n_streams;
    uint32_t tile[TILE] __attribute__((aligned(64)));
    if (way == 0) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            x[i] ^= 1u;
        return;
    }
    for (int64_t at = 0; at < stream; at += TILE) {
        for (int s = 0; s < n_streams; s++) {
            uint32_t *here = x + s * stream + at;
#pragma omp simd
            for (int i = 0; i < TILE; i++)
                tile[i] = here[i] ^ 1u;
            tile_store(here, tile, way == 2);
        }
    }
}

/* Read every element, and write as many as one stream has, as a reduce-scatter must. */
static void sweep_fold(uint32_t *x, int64_t n, int n_streams, int way)
{
    int64_t stream = n / n_streams;
    uint32_t tile[TILE] __attribute__((aligned(64)));
    for (int64_t at = 0; at < stream; at += TILE) {
        memcpy(tile, x + at, sizeof tile);
        for (int s = 1; s < n_streams; s++) {
            const uint32_t *here = x + s * stream + at;
#pragma omp simd
            for (int i = 0; i < TILE; i++)
                tile[i] |= here[i];
        }
        tile_store(x + at, tile, way == 2);
    }
}

/* Write all blocks but one from as many read elsewhere, as an all-gather must. */
static void sweep_copy(uint32_t *to, const uint32_t *from, int64_t n, int way)
{
    if (way == 0) {
        memcpy(to, from, (size_t)n * sizeof *to);
        return;
    }
    for (int64_t at = 0; at + TILE <= n; at += TILE)
        tile_store(to + at, from + at, way == 2);
}

/* The loops of the collectives themselves, on this rank's memory alone: `n` elements in streams are
 * summed into one stream, or into all of them; n_streams 1: copied from `from`. */
static void sweep_vectors(tri_coll_kind kind, float *x, const float *from, int64_t n, int n_streams,
                          bool past_cache)
{
    const void *in[SUMS];
    void *out[SUMS];
    int64_t stream = n / n_streams;
    if (kind == TRI_COLL_ALLGATHER) {
        tri_coll_copy(x, from, (size_t)n * sizeof *x, past_cache);
    } else {
        for (int s = 0; s < n_streams; s++) {
            out[s] = x + s * stream;
            in[s] = out[s];
        }
        int n_out = kind == TRI_COLL_ALLREDUCE ? n_streams : 1;
        tri_coll_reduce(TRI_F32, TRI_SUM, n_streams, in, n_out, out, stream, past_cache);
    }
    tri_coll_fence();
}

static tri_status time_limit(const collective_bench *bench, const collective_row *row, int way,
                             double *seconds)
{
    int size = tri_comm_size(bench->world);
    void *memory = row->is_shared ? bench->shared : bench->private;
    int64_t n = bench->n;
    TRI_TRY(tri_barrier(bench->world));
    double start = tri_clock_s();
    int64_t moved = row->kind == TRI_COLL_ALLGATHER ? n / size * (size - 1) : n;
    if (way >= PLAIN_WAYS)
        sweep_vectors(row->kind, memory, bench->other, moved, size < SUMS ? size : SUMS,
                      way == WAYS - 1);
    else if (row->kind == TRI_COLL_ALLREDUCE)
        sweep_update(memory, n, size, way);
    else if (row->kind == TRI_COLL_REDUCE_SCATTER)
        sweep_fold(memory, n, size, way);
    else
        sweep_copy(memory, (const uint32_t *)(const void *)bench->other, moved, way);
    *seconds = tri_clock_s() - start;
    TRI_TRY(slowest(bench, seconds));
    return TRI_OK;
}

static tri_status measure(const collective_bench *bench, const collective_row *row,
                          collective_times *times)
{
    for (int round = -1; round < ROUNDS; round++) {
        int at = round < 0 ? 0 : round; /* the first is warm-up */
        TRI_TRY(time_call(bench, row, false, &times->own[at]));
        TRI_TRY(time_call(bench, row, true, &times->mpi[at]));
        for (int way = 0; way < WAYS && row->bytes == LARGE_BYTES; way++)
            TRI_TRY(time_limit(bench, row, way, &times->limit[way][at]));
    }
    return TRI_OK;
}

static double median_of(const double *values)
{
    double sorted[ROUNDS];
    memcpy(sorted, values, sizeof sorted);
    return tri_bench_median(ROUNDS, sorted);
}

static double median_ratio(const double *over, const double *under)
{
    double ratios[ROUNDS];
    for (int i = 0; i < ROUNDS; i++)
        ratios[i] = over[i] / under[i];
    return tri_bench_median(ROUNDS, ratios);
}

static tri_status report(const collective_bench *bench, const collective_row *row,
                         const collective_times *times)
{
    static const char *const ways[WAYS] = {
        "one pass, ordinary stores", "tiles, ordinary stores", "tiles, stores past the caches",
        "the collectives' loops on local memory", "the same, stores past the caches"};
    char detail[128], over_mpi[96];
    double own_s = median_of(times->own), mpi_s = median_of(times->mpi);
    tri_bench_line line = {.name = row->name, .value = own_s * 1e6, .unit = "us", .detail = detail};
    snprintf(detail, sizeof detail, "backend %s", tri_comm_backend(bench->world));
    if (row->bytes == LARGE_BYTES) {
        int best = 0;
        for (int way = 1; way < WAYS; way++)
            if (median_of(times->limit[way]) < median_of(times->limit[best])) best = way;
        double gigabytes = (double)row->bytes * 1e-9;
        line.value = gigabytes / own_s;
        line.unit = "GB/s";
        line.limit = gigabytes / median_of(times->limit[best]);
        line.share = median_ratio(times->limit[best], times->own);
        snprintf(detail, sizeof detail, "backend %s; limit: %s", tri_comm_backend(bench->world),
                 ways[best]);
    }
    tri_status rc = tri_bench_report(bench->args, &line);
    snprintf(detail, sizeof detail, "MPI's own call took %.4g us, this one %.4g us", mpi_s * 1e6,
             own_s * 1e6);
    snprintf(over_mpi, sizeof over_mpi, "%s.over_mpi", row->name);
    tri_bench_line ratio = {.name = over_mpi,
                            .value = median_ratio(times->mpi, times->own),
                            .unit = "times",
                            .detail = detail};
    TRI_TRY(tri_bench_report(bench->args, &ratio));
    TRI_TRY(rc);
    return TRI_OK;
}

static tri_status run_all(collective_bench *bench)
{
    enum { LARGE = LARGE_BYTES, MEDIUM = 64 << 10, SMALL = 4 << 10 };
    static const collective_row rows[] = {
        {"collective.allreduce.64MiB.shared",       LARGE,  TRI_COLL_ALLREDUCE,      true },
        {"collective.allreduce.64MiB.private",      LARGE,  TRI_COLL_ALLREDUCE,      false},
        {"collective.reduce_scatter.64MiB.shared",  LARGE,  TRI_COLL_REDUCE_SCATTER, true },
        {"collective.reduce_scatter.64MiB.private", LARGE,  TRI_COLL_REDUCE_SCATTER, false},
        {"collective.allgather.64MiB.shared",       LARGE,  TRI_COLL_ALLGATHER,      true },
        {"collective.allgather.64MiB.private",      LARGE,  TRI_COLL_ALLGATHER,      false},
        {"collective.allreduce.64KiB.shared",       MEDIUM, TRI_COLL_ALLREDUCE,      true },
        {"collective.allreduce.64KiB.private",      MEDIUM, TRI_COLL_ALLREDUCE,      false},
        {"collective.allreduce.4KiB.shared",        SMALL,  TRI_COLL_ALLREDUCE,      true },
        {"collective.allreduce.4KiB.private",       SMALL,  TRI_COLL_ALLREDUCE,      false},
    };
    tri_status result = TRI_OK;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        collective_times times;
        TRI_TRY(measure(bench, &rows[i], &times));
        if (tri_comm_rank(bench->world) != 0) continue;
        tri_status rc = report(bench, &rows[i], &times);
        if (rc != TRI_OK) result = rc; /* all rows are printed before the command fails */
    }
    TRI_TRY(tri_agree(bench->world, result));
    return TRI_OK;
}

tri_status tri_bench_collective(const tri_bench_args *args)
{
    int size = tri_comm_size(args->session->world);
    TRI_CHECK(size > 1, TRI_EINVAL,
              "bench collective needs ranks: mpirun -n 2 trireme bench collective");
    TRI_CHECK(args->argc <= 1, TRI_EINVAL,
              "bench collective takes no further argument, not '%.40s'", args->argv[1]);
    collective_bench bench;
    TRI_TRY(bench_open(args, &bench));
    TRI_TRY(run_all(&bench));
    bench_close(&bench); /* collective: after a failure the job is ended instead */
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* Raw files. */
#include "launch/bench_raw.h"

#include "checkpoint/worker.h"
#include "runtime/agree.h"
#include "runtime/base/int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RAW_PAGE_BYTES = 4096, RAW_PATTERN_BYTES = 8 };

tri_status tri_bench_raw_open(tri_bench_raw *raw)
{
    raw->buffer_bytes = tri_max64(raw->write_bytes, raw->read_bytes);
    TRI_TRY(tri_arena_create(&raw->arena));
    TRI_TRY(tri_arena_add(raw->arena, TRI_MEM_CHECKPOINT, raw->buffer_bytes, TRI_U8,
                          (void **)&raw->buffer));
    TRI_TRY(tri_agree(raw->world,
                      tri_arena_commit(raw->arena, tri_comm_device(raw->world), raw->world)));
    /* pages that were never written are all one page of zeros */
    for (int64_t at = 0; at + RAW_PATTERN_BYTES <= raw->buffer_bytes; at += RAW_PATTERN_BYTES) {
        uint64_t word = (uint64_t)at * 0x9e3779b97f4a7c15u;
        memcpy(raw->buffer + at, &word, sizeof word);
    }
    return TRI_OK;
}

void tri_bench_raw_close(tri_bench_raw *raw)
{
    tri_arena_destroy(&raw->arena);
}

void tri_bench_raw_writes(tri_bench_raw *raw, tri_bench_raw_way out[TRI_BENCH_RAW_WRITES])
{
    const tri_bench_raw_way ways[TRI_BENCH_RAW_WRITES] = {
        {raw, "limit: write of 1 MiB pieces",                              1 << 20,  false, false},
        {raw, "limit: write of 4 MiB pieces",                              4 << 20,  false, false},
        {raw, "limit: write of 16 MiB pieces",                             16 << 20, false, false},
        {raw, "limit: write of 4 MiB pieces to reserved space",            4 << 20,  true,  false},
        {raw, "limit: write of 4 MiB to reserved space, early write-back", 4 << 20,  true,  true },
    };
    memcpy(out, ways, sizeof ways);
}

void tri_bench_raw_reads(tri_bench_raw *raw, tri_bench_raw_way out[TRI_BENCH_RAW_READS])
{
    const tri_bench_raw_way ways[TRI_BENCH_RAW_READS] = {
        {raw, "limit: read of 1 MiB pieces",                       1 << 20,  false, false},
        {raw, "limit: read of 4 MiB pieces",                       4 << 20,  false, false},
        {raw, "limit: read of 16 MiB pieces",                      16 << 20, false, false},
        {raw, "limit: read of 4 MiB pieces, announced sequential", 4 << 20,  true,  false},
        {raw, "limit: read of 1 MiB pieces by all threads",        1 << 20,  false, true },
    };
    memcpy(out, ways, sizeof ways);
}

static tri_status raw_path(const tri_bench_raw *raw, char out[TRI_DISK_PATH_BYTES])
{
    char name[32];
    snprintf(name, sizeof name, "raw-%05d", tri_comm_rank(raw->world));
    return tri_disk_path(out, raw->folder, name, "");
}

static tri_status write_file(const tri_bench_raw_way *way)
{
    const tri_bench_raw *raw = way->raw;
    char path[TRI_DISK_PATH_BYTES];
    TRI_TRY(raw_path(raw, path));
    TRI_AUTO(tri_disk_fd) fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0666);
    TRI_TRY(TRI_SYS(fd, "creating %s", path));
    if (way->reserve) {
        errno = posix_fallocate(fd, 0, raw->write_bytes);
        TRI_TRY(TRI_SYS(errno ? -1 : 0, "reserving %lld bytes for %s", (long long)raw->write_bytes,
                        path));
    }
    for (int64_t at = 0; at < raw->write_bytes; at += way->piece_bytes) {
        int64_t n = tri_min64(way->piece_bytes, raw->write_bytes - at);
        TRI_TRY(tri_disk_write(fd, path, raw->buffer + at, n, at));
        if (way->early)
            TRI_TRY(TRI_SYS(sync_file_range(fd, at, n, SYNC_FILE_RANGE_WRITE),
                            "starting to write %s to the device", path));
    }
    return tri_disk_sync(fd, path);
}

tri_status tri_bench_raw_write(void *arg)
{
    tri_bench_raw_way *way = arg;
    TRI_TRY(tri_barrier(way->raw->world));
    return tri_agree(way->raw->world, write_file(way));
}

/* One thread's pieces of a file: every `stride`-th. */
typedef struct raw_lane {
    const tri_bench_raw_way *way;
    const char *path;
    char *to;
    int64_t bytes, first, stride;
    int fd;
    tri_worker *worker;
} raw_lane;

static tri_status read_lane(void *arg)
{
    const raw_lane *lane = arg;
    int64_t piece = lane->way->piece_bytes;
    for (int64_t at = lane->first * piece; at < lane->bytes; at += lane->stride * piece)
        TRI_TRY(tri_disk_read(lane->fd, lane->path, lane->to + at,
                              tri_min64(piece, lane->bytes - at), at));
    return TRI_OK;
}

/* Read what fits of one file into the buffer from `done` on. */
static tri_status read_file(const tri_bench_raw_way *way, const char *path, int64_t *done)
{
    enum { LANES = 4 };
    TRI_AUTO(tri_disk_fd) fd = -1;
    int64_t bytes = 0;
    TRI_TRY(tri_disk_open(path, false, &fd, &bytes));
    if (way->reserve) (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    bytes = tri_min64(bytes, way->raw->read_bytes - *done);
    int threads = tri_device_threads(tri_comm_device(way->raw->world));
    int n = way->early ? (int)tri_min64(threads, LANES) : 1;
    raw_lane lanes[LANES] = {
        {way, path, way->raw->buffer + *done, bytes, 0, n, fd, NULL}
    };
    tri_status rc = TRI_OK;
    for (int i = 1; i < n && rc == TRI_OK; i++) {
        lanes[i] = lanes[0];
        lanes[i].first = i;
        rc = tri_worker_create("bench-read", &lanes[i].worker);
        if (rc == TRI_OK) tri_worker_start(lanes[i].worker, read_lane, &lanes[i]);
    }
    if (rc == TRI_OK) rc = read_lane(&lanes[0]);
    for (int i = 1; i < n && lanes[i].worker; i++) {
        tri_status other = tri_worker_finish(lanes[i].worker);
        if (rc == TRI_OK) rc = other;
        tri_worker_destroy(&lanes[i].worker);
    }
    *done += bytes;
    return rc;
}

/* The files of a folder that a pattern finds. */
typedef glob_t raw_files;

static void raw_files_destroy(raw_files *files)
{
    globfree(files);
}

static tri_status find_files(const char *folder, const char *pattern, raw_files *out)
{
    char path[TRI_DISK_PATH_BYTES];
    TRI_TRY(tri_disk_path(path, folder, pattern, ""));
    TRI_CHECK(glob(path, 0, NULL, out) == 0, TRI_EIO, "looking for files %s", path);
    return TRI_OK;
}

static tri_status read_files(const tri_bench_raw_way *way)
{
    const tri_bench_raw *raw = way->raw;
    TRI_AUTO(raw_files) files = {0};
    TRI_TRY(find_files(raw->read_path, "shard-*.h5", &files));
    int64_t done = 0;
    size_t first = (size_t)tri_comm_rank(raw->world);
    for (size_t i = 0; done < raw->read_bytes; i++)
        TRI_TRY(read_file(way, files.gl_pathv[(first + i) % files.gl_pathc], &done));
    return TRI_OK;
}

tri_status tri_bench_raw_read(void *arg)
{
    tri_bench_raw_way *way = arg;
    TRI_TRY(tri_barrier(way->raw->world));
    return tri_agree(way->raw->world, read_files(way));
}

tri_status tri_bench_raw_remove(const tri_bench_raw *raw)
{
    char path[TRI_DISK_PATH_BYTES];
    TRI_TRY(raw_path(raw, path));
    bool gone = unlink(path) == 0 || errno == ENOENT;
    return TRI_SYS(gone ? 0 : -1, "removing %s", path);
}

/* Drop one file's pages; adds its pages and those that are left. */
static tri_status drop_file(const char *path, int64_t *pages, int64_t *left)
{
    TRI_AUTO(tri_disk_fd) fd = -1;
    int64_t bytes = 0;
    TRI_TRY(tri_disk_open(path, false, &fd, &bytes));
    if (bytes == 0) return TRI_OK;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* the pages that are left tell */
    void *map = mmap(NULL, (size_t)bytes, PROT_READ, MAP_SHARED, fd, 0);
    TRI_TRY(TRI_SYS(map == MAP_FAILED ? -1 : 0, "mapping %s", path));
    unsigned char resident[RAW_PAGE_BYTES];
    tri_status rc = TRI_OK;
    for (int64_t at = 0; at < bytes && rc == TRI_OK;
         at += (int64_t)RAW_PAGE_BYTES * RAW_PAGE_BYTES) {
        int64_t n = tri_min64((int64_t)RAW_PAGE_BYTES * RAW_PAGE_BYTES, bytes - at);
        int64_t n_pages = tri_round_up(n, RAW_PAGE_BYTES) / RAW_PAGE_BYTES;
        rc =
            TRI_SYS(mincore((char *)map + at, (size_t)n, resident), "asking for pages of %s", path);
        for (int64_t i = 0; i < n_pages && rc == TRI_OK; i++)
            *left += resident[i] & 1;
        *pages += n_pages;
    }
    munmap(map, (size_t)bytes);
    return rc;
}

tri_status tri_bench_raw_drop(const char *folder, double *left)
{
    TRI_AUTO(raw_files) files = {0};
    TRI_TRY(find_files(folder, "*.h5", &files));
    int64_t n_pages = 0;
    int64_t n_left = 0;
    for (size_t i = 0; i < files.gl_pathc; i++)
        TRI_TRY(drop_file(files.gl_pathv[i], &n_pages, &n_left));
    *left = n_pages ? (double)n_left / (double)n_pages : 0;
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* What files can do at best: the same bytes as a checkpoint, by as many writers and readers, from and
 * to one buffer, with nothing else to do. The limits of `bench checkpoint`.
 */
#ifndef TRI_LAUNCH_BENCH_RAW_H
#define TRI_LAUNCH_BENCH_RAW_H

#include "checkpoint/disk.h"
#include "runtime/arena.h"

#include <glob.h>

enum { TRI_BENCH_RAW_WRITES = 5, TRI_BENCH_RAW_PLAIN = 4, TRI_BENCH_RAW_READS = 5 };

/* One rank's part. */
typedef struct tri_bench_raw {
    tri_comm *world;
    tri_arena *arena;
    char *buffer; /* written pages, in the same kind of memory as the rows */
    int64_t buffer_bytes;
    int64_t write_bytes;                 /* of this rank */
    int64_t read_bytes;                  /* of this rank */
    char folder[TRI_DISK_PATH_BYTES];    /* that raw files are written to */
    char read_path[TRI_DISK_PATH_BYTES]; /* folder whose shard-*.h5 are read */
} tri_bench_raw;

/* One way of writing or reading. */
typedef struct tri_bench_raw_way {
    tri_bench_raw *raw;
    const char *detail;
    int64_t piece_bytes;
    bool reserve; /* posix_fallocate first; reading: say that it is sequential */
    bool
        early; /* each piece is handed to the device at once (sync_file_range); reading: by all threads
                   * of the rank */
} tri_bench_raw_way;

/* Get the buffer. Collective: raw->world (set before). Errors: TRI_ENOMEM. */
TRI_MUST_USE tri_status tri_bench_raw_open(tri_bench_raw *raw);
/* Not collective; zeroed is fine. */
void tri_bench_raw_close(tri_bench_raw *raw);

/* All ways; the first TRI_BENCH_RAW_PLAIN of writing are plain write and fsync. Not collective.
 * Keeps: raw. */
void tri_bench_raw_writes(tri_bench_raw *raw, tri_bench_raw_way out[TRI_BENCH_RAW_WRITES]);
void tri_bench_raw_reads(tri_bench_raw *raw, tri_bench_raw_way out[TRI_BENCH_RAW_READS]);

/* Write a new file of write_bytes, to the device; read read_bytes of the shards, this rank's own first.
 * `arg`: a tri_bench_raw_way. Collective: world; a barrier at both ends. Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_bench_raw_write(void *arg);
TRI_MUST_USE tri_status tri_bench_raw_read(void *arg);

/* Remove this rank's raw file; it need not be there. Not collective. Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_bench_raw_remove(const tri_bench_raw *raw);

/* Drop the pages of all files of a folder from the page cache, as far as the system does.
 * Not collective. Writes: *left (share of their pages that are still there). Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_bench_raw_drop(const char *folder, double *left);

#endif

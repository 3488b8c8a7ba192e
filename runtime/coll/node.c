// SPDX-License-Identifier: Apache-2.0
/* Ranks of one host: shared memory for what they do together, another backend to set it up.
 *
 * A segment is an anonymous file (memfd) per rank that its peers open through /proc and map: it has
 * no name, so that nothing is left behind whatever kills a rank, and no size limit of /dev/shm. All
 * its pages are obtained before it is used: a full memory is an error here, not a signal later.
 * Buffers inside segments are reduced in place; other buffers go through bounce buffers.
 */
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"
#include "runtime/coll/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NODE_BOUNCE_BYTES = 1 << 20 };

/* Memory of all ranks, mapped here; token = position in the table + 1. */
typedef struct node_segment {
    size_t bytes;  /* asked for and counted; 0: a free row */
    size_t mapped; /* whole pages */
    tri_mem_kind kind;
    char **base; /* [size] */
} node_segment;

typedef struct node_state {
    tri_shared shared;
    tri_comm *comm;
    tri_comm *carrier;
    node_segment *segments;
    int64_t n_segments, max_segments;
    int64_t *pids; /* [size] */
} node_state;

/* What a rank tells its peers about a file: the inode proves that they opened the right one. */
typedef struct node_file {
    int64_t status, pid, fd, inode, device;
} node_file;

static tri_status file_create(size_t bytes, int *fd, char **base)
{
    TRI_TRY(TRI_SYS(*fd = memfd_create("trireme", MFD_CLOEXEC), "creating shared memory"));
    TRI_TRY(TRI_SYS(ftruncate(*fd, (off_t)bytes), "sizing shared memory to %zu bytes", bytes));
    char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    TRI_TRY(TRI_SYS(p == MAP_FAILED ? -1 : 0, "mapping %zu bytes of shared memory", bytes));
    *base = p;
    (void)madvise(p, bytes, MADV_HUGEPAGE); /* a hint */
#ifdef MADV_POPULATE_WRITE
    if (madvise(p, bytes, MADV_POPULATE_WRITE) == 0) return TRI_OK;
#endif
    /* older kernels: the pages all the same, without the hint's effect */
    int number = posix_fallocate(*fd, 0, (off_t)bytes);
    TRI_CHECK(number == 0, TRI_ENOMEM, "obtaining %zu bytes of shared memory: %s", bytes,
              strerror(number));
    return TRI_OK;
}

static tri_status file_describe(int fd, node_file *out)
{
    struct stat stat;
    TRI_TRY(TRI_SYS(fstat(fd, &stat), "looking at shared memory"));
    out->pid = getpid();
    out->fd = fd;
    out->inode = (int64_t)stat.st_ino;
    out->device = (int64_t)stat.st_dev;
    return TRI_OK;
}

static tri_status file_map(const node_file *file, int rank, size_t bytes, char **base)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%lld/fd/%lld", (long long)file->pid, (long long)file->fd);
    int fd = -1;
    TRI_TRY(TRI_SYS(fd = open(path, O_RDWR | O_CLOEXEC), "opening shared memory of rank %d at %s",
                    rank, path));
    node_file found = {0};
    tri_status rc = file_describe(fd, &found);
    bool same = found.inode == file->inode && found.device == file->device;
    char *p = MAP_FAILED;
    if (rc == TRI_OK && same) p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (rc == TRI_OK && same && p == MAP_FAILED)
        rc = TRI_SYS(-1, "mapping %zu bytes of rank %d's shared memory", bytes, rank);
    close(fd);
    TRI_TRY(rc);
    TRI_CHECK(same, TRI_EIO, "%s is not the shared memory of rank %d: another process namespace?",
              path, rank);
    *base = p;
    return TRI_OK;
}

static void segment_close(const node_state *node, node_segment *segment)
{
    for (int r = 0; segment->base && r < node->shared.size; r++)
        if (segment->base[r]) munmap(segment->base[r], segment->mapped);
    TRI_FREE(segment->base);
    *segment = (node_segment){0};
}

/* All ranks give a status; a rank that is well learns of the first that is not. Collective. */
static tri_status files_agree(node_state *node, node_file *files, tri_status mine)
{
    const tri_comm *carrier = node->carrier;
    files[carrier->rank].status = mine;
    tri_err err;
    if (mine != TRI_OK) tri_err_take(&err);
    int64_t bytes = (int64_t)sizeof *files;
    tri_status rc =
        tri_allgather(node->carrier, tri_span_make(&files[carrier->rank], bytes, TRI_U8),
                      tri_span_make(files, bytes * carrier->size, TRI_U8), NULL);
    if (mine != TRI_OK) TRI_TRY(tri_err_put(&err));
    TRI_TRY(rc);
    for (int r = 0; r < carrier->size; r++)
        TRI_CHECK(files[r].status == TRI_OK, TRI_EPEER,
                  "rank %d cannot share memory with its host's ranks: %s", r,
                  tri_status_name((tri_status)files[r].status));
    return TRI_OK;
}

static tri_status segment_map(node_state *node, node_segment *segment, node_file *files, int *fd)
{
    int me = node->shared.rank;
    tri_status rc = file_create(segment->mapped, fd, &segment->base[me]);
    if (rc == TRI_OK) rc = file_describe(*fd, &files[me]);
    TRI_TRY(files_agree(node, files, rc));
    for (int r = 0; r < node->shared.size && rc == TRI_OK; r++)
        if (r != me) rc = file_map(&files[r], r, segment->mapped, &segment->base[r]);
    /* the second agreement also says that all have opened, so that files can be closed */
    TRI_TRY(files_agree(node, files, rc));
    return TRI_OK;
}

/* Memory of `bytes` on every rank, mapped by all. Collective. */
static tri_status segment_open(node_state *node, size_t bytes, tri_mem_kind kind, node_segment *out)
{
    int64_t page = sysconf(_SC_PAGESIZE);
    node_segment segment = {.bytes = bytes, .kind = kind};
    segment.mapped = (size_t)tri_round_up((int64_t)bytes, page);
    node_file *files = NULL;
    int fd = -1;
    TRI_TRY(TRI_NEW_ARRAY(node->shared.size, &files));
    tri_status rc = TRI_NEW_ARRAY(node->shared.size, &segment.base);
    if (rc == TRI_OK) rc = segment_map(node, &segment, files, &fd);
    if (fd >= 0) close(fd);
    TRI_FREE(files);
    if (rc != TRI_OK) segment_close(node, &segment);
    TRI_TRY(rc);
    *out = segment;
    return TRI_OK;
}

static tri_status node_alloc(tri_comm *comm, tri_mem_kind kind, size_t bytes, void **out)
{
    node_state *node = comm->state;
    int64_t at = 0;
    while (at < node->n_segments && node->segments[at].bytes)
        at++;
    if (at == node->max_segments) {
        int64_t grown = at ? 2 * at : 16;
        TRI_TRY(tri_alloc_grow((void **)&node->segments, at, grown, sizeof *node->segments));
        node->max_segments = grown;
    }
    TRI_CHECK(bytes < INT64_MAX / 2, TRI_ENOMEM, "allocating %zu bytes of %s memory", bytes,
              tri_mem_name(kind));
    /* an empty buffer still needs an address of its own */
    TRI_TRY(segment_open(node, bytes ? bytes : 1, kind, &node->segments[at]));
    if (at == node->n_segments) node->n_segments++;
    tri_device_note(comm->device, kind, (int64_t)node->segments[at].bytes);
    tri_alloc_note(1);
    *out = node->segments[at].base[comm->rank];
    return TRI_OK;
}

static bool node_free(tri_comm *comm, void *memory)
{
    node_state *node = comm->state;
    for (int64_t i = 0; i < node->n_segments; i++) {
        node_segment *segment = &node->segments[i];
        if (!segment->bytes || segment->base[comm->rank] != memory) continue;
        tri_device_note(comm->device, segment->kind, -(int64_t)segment->bytes);
        tri_alloc_note(-1);
        segment_close(node, segment);
        return true;
    }
    return false;
}

static node_state *node_of(tri_shared *shared)
{
    return (node_state *)(void *)((char *)shared - offsetof(node_state, shared));
}

static tri_shared_place node_publish(tri_shared *shared, void *data, size_t bytes)
{
    const node_state *node = node_of(shared);
    const char *begin = data;
    for (int64_t i = 0; i < node->n_segments; i++) {
        const node_segment *segment = &node->segments[i];
        if (!segment->bytes) continue;
        const char *base = segment->base[shared->rank];
        if (begin >= base && begin + bytes <= base + segment->mapped)
            return (tri_shared_place){.token = (uint64_t)i + 1, .offset = (uint64_t)(begin - base)};
    }
    return (tri_shared_place){0};
}

static char *node_locate(tri_shared *shared, int rank, tri_shared_place place)
{
    return node_of(shared)->segments[place.token - 1].base[rank] + place.offset;
}

static tri_status node_check(tri_shared *shared)
{
    const node_state *node = node_of(shared);
    for (int r = 0; r < shared->size; r++) {
        if (r == shared->rank || kill((pid_t)node->pids[r], 0) == 0 || errno != ESRCH) continue;
        TRI_FAIL(TRI_EPEER, "rank %d (process %lld of this host) is gone", r,
                 (long long)node->pids[r]);
    }
    return TRI_OK;
}

static const tri_shared_ops node_places = {
    .publish = node_publish, .locate = node_locate, .check = node_check};

static tri_status node_progress(tri_coll_work *work, bool *done)
{
    tri_shared *shared = &((node_state *)work->comm->state)->shared;
    if (work->kind == TRI_COLL_SEND)
        TRI_TRY(tri_shared_send(shared, work, done));
    else if (work->kind == TRI_COLL_RECV)
        TRI_TRY(tri_shared_recv(shared, work, done));
    else
        TRI_TRY(tri_shared_progress(shared, work, done));
    return TRI_OK;
}

static tri_status node_split(tri_comm *parent, int color, int key, tri_comm **out)
{
    const node_state *node = parent->state;
    TRI_TRY(node->carrier->ops->split(node->carrier, color, key, out));
    return TRI_OK;
}

static tri_status node_split_as(tri_comm *parent, const char *backend, tri_comm **out)
{
    const node_state *node = parent->state;
    TRI_TRY(node->carrier->ops->split_as(node->carrier, backend, out));
    return TRI_OK;
}

static void node_abort(tri_comm *comm, int exit_code)
{
    node_state *node = comm->state;
    tri_shared_abort(&node->shared);
    tri_comm_abort(node->carrier, exit_code);
}

/* Free all but the carrier. */
static void node_release(tri_comm *comm)
{
    node_state *node = comm->state;
    for (int64_t i = 0; i < node->n_segments; i++)
        if (node->segments[i].bytes) node_free(comm, node->segments[i].base[comm->rank]);
    TRI_FREE(node->segments);
    TRI_FREE(node->pids);
    tri_shared_fini(&node->shared);
    TRI_FREE(comm->state);
}

static void node_close(tri_comm *comm)
{
    node_state *node = comm->state;
    if (!node) return;
    tri_comm *carrier = node->carrier;
    node_release(comm);
    tri_comm_close(&carrier);
}

const tri_coll_ops tri_coll_node = {
    .name = "node",
    .doc = "ranks of one host, through shared memory",
    .progress = node_progress,
    .split = node_split,
    .split_as = node_split_as,
    .alloc = node_alloc,
    .free = node_free,
    .abort = node_abort,
    .close = node_close,
};

/* The areas of all ranks, their process numbers, and the common abort word. Collective. */
static tri_status node_connect(tri_comm *comm, node_state *node)
{
    tri_shared *shared = &node->shared;
    TRI_TRY(tri_shared_init(shared));
    TRI_TRY(TRI_NEW_ARRAY(shared->size, &node->pids));
    int64_t pid = getpid();
    TRI_TRY(tri_allgather(node->carrier, tri_span_make(&pid, 1, TRI_I64),
                          tri_span_make(node->pids, shared->size, TRI_I64), NULL));
    void *area = NULL;
    TRI_TRY(node_alloc(comm, TRI_MEM_COMM, tri_shared_area_bytes(NODE_BOUNCE_BYTES), &area));
    memcpy(shared->area, node->segments[0].base, (size_t)shared->size * sizeof *shared->area);
    shared->abort = &tri_shared_slot_of(shared, 0)->abort;
    return TRI_OK;
}

size_t tri_node_area_bytes(void)
{
    return tri_shared_area_bytes(NODE_BOUNCE_BYTES);
}

tri_status tri_node_open(tri_comm *carrier, tri_comm **out)
{
    TRI_CHECK(carrier->size <= TRI_SHARED_MAX_RANKS, TRI_EUNSUP,
              "%d ranks of one host: shared memory is for at most %d", carrier->size,
              TRI_SHARED_MAX_RANKS);
    TRI_AUTO(tri_comm) *comm = NULL;
    TRI_TRY(tri_comm_make(&tri_coll_node, carrier->device, carrier->rank, carrier->size, &comm));
    node_state *node = NULL;
    TRI_TRY(TRI_NEW(&node));
    comm->state = node;
    node->comm = comm;
    node->carrier = carrier;
    node->shared = (tri_shared){.ops = &node_places,
                                .rank = carrier->rank,
                                .size = carrier->size,
                                .bounce_bytes = NODE_BOUNCE_BYTES};
    tri_status rc = node_connect(comm, node);
    if (rc != TRI_OK) node_release(comm);
    TRI_TRY(rc);
    *out = TRI_MOVE(comm);
    return TRI_OK;
}

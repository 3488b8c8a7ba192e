// SPDX-License-Identifier: Apache-2.0
/* Ranks of one host find one another by a name that rank 0 made up: each opens it, all meet, and the
 * name is removed, so that nothing is left behind however the job ends.
 */
#include "launch/health_board.h"

#include "runtime/agree.h"
#include "runtime/base/clock.h"
#include "runtime/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BOARD_NAME_BYTES = 64 };

static void name_of(const tri_board *board, char out[BOARD_NAME_BYTES])
{
    snprintf(out, BOARD_NAME_BYTES, "/trireme-%u-%016llx", (unsigned)getuid(),
             (unsigned long long)board->id);
}

/* Common pages, backed now (a full file system is found here, not at the first touch); NULL: errno says
 * why not. */
static void *map_shared(const tri_board *board)
{
    char name[BOARD_NAME_BYTES];
    name_of(board, name);
    int fd = shm_open(name, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) return NULL;
    int failed = posix_fallocate(fd, 0, (off_t)board->bytes);
    void *memory = MAP_FAILED;
    if (!failed) memory = mmap(NULL, board->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int cause = failed ? failed : errno;
    close(fd);
    errno = cause;
    return memory == MAP_FAILED ? NULL : memory;
}

static tri_status map_board(tri_board *board)
{
    char *memory = map_shared(board);
    if (!memory) {
        tri_log(TRI_LOG_WARN,
                "shared memory of %zu bytes for the watch over ranks: %s; going on without: dead "
                "ranks will go unnoticed",
                board->bytes, strerror(errno));
        memory =
            mmap(NULL, board->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        TRI_CHECK(memory != MAP_FAILED, TRI_ENOMEM, "mapping %zu bytes for the watch over ranks",
                  board->bytes);
    }
    board->head = (tri_board_head *)memory;
    board->cells = (tri_board_cell *)(memory + sizeof(tri_board_head));
    atomic_store(&board->cells[board->rank].pid, (int)getpid());
    return TRI_OK;
}

tri_status tri_board_open(tri_comm *world, tri_board *out)
{
    tri_board board = {.rank = tri_comm_rank(world), .size = tri_comm_size(world)};
    board.bytes = sizeof(tri_board_head) + (size_t)board.size * sizeof(tri_board_cell);
    int64_t id = (int64_t)(tri_clock_ns() * 2654435761u ^ (uint64_t)getpid());
    TRI_TRY(tri_broadcast(world, tri_span_make(&id, 1, TRI_I64), 0, NULL));
    board.id = (uint64_t)id;
    tri_status rc = tri_agree(world, map_board(&board)); /* all ranks of the host are in */
    char name[BOARD_NAME_BYTES];
    name_of(&board, name);
    (void)shm_unlink(name); /* the first one of the host removes it */
    if (rc != TRI_OK) tri_board_close(&board);
    TRI_TRY(rc);
    *out = board;
    return TRI_OK;
}

void tri_board_close(tri_board *board)
{
    if (board->head) munmap(board->head, board->bytes);
    *board = (tri_board){0};
}

int tri_board_next(const tri_board *board)
{
    for (int i = 1; i < board->size; i++) {
        int rank = (board->rank + i) % board->size;
        if (atomic_load(&board->cells[rank].pid)) return rank;
    }
    return -1;
}

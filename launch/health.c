// SPDX-License-Identifier: Apache-2.0
/* The watching thread. Time is counted in ticks, each for no more than it should have lasted: a job that
 * was suspended as a whole has not hung.
 */
#include "launch/health.h"

#include "launch/health_board.h"
#include "launch/health_report.h"
#include "runtime/base/alloc.h"
#include "runtime/base/clock.h"
#include "runtime/base/log.h"
#include "runtime/base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A dead rank is reported after a pause: where the job is being ended, its ranks die at the same time,
 * and this one with them. A launcher that ends a job for one dead rank leaves the others a second. */
static const double death_pause_s = 0.3;
static const double tick_most_s = 1.0;
static const double look_least_s = 0.25;
static const double look_most_s = 60;
enum { HEALTH_PATH_BYTES = PATH_MAX, HEALTH_TICKS_OF_LIMIT = 20, HEALTH_LOOKS_OF_LIMIT = 10 };

struct tri_health {
    tri_health_args args;
    char dir[HEALTH_PATH_BYTES];
    char host[64];
    tri_board board;
    tri_device *device;
    tri_thread *thread;
    int stop_fd; /* an eventfd: the thread is to end */
    int next;    /* the rank whose life is watched; -1: none */
    int next_fd; /* its process */
    double tick_s, look_s;
    uint64_t changes; /* of the activity when it moved last */
    double still_s;
    double since_look_s;
    bool has_answered;
    int n_lines; /* room of `lines`: world size */
    tri_health_line *lines;
};

static void path_of(const tri_health *health, const char *what, int rank,
                    char out[HEALTH_PATH_BYTES])
{
    int n = snprintf(out, HEALTH_PATH_BYTES, "%s/%016llx-%s", health->dir,
                     (unsigned long long)health->board.id, what);
    if (rank >= 0 && n < HEALTH_PATH_BYTES)
        snprintf(out + n, (size_t)(HEALTH_PATH_BYTES - n), "-%d", rank);
}

/* This rank's own word. */
static tri_health_line line_of_mine(const tri_health *health)
{
    tri_activity_now now = tri_activity_read(tri_device_activity(health->device));
    tri_wait wait = tri_device_wait_now(health->device);
    tri_health_line line = {.rank = health->board.rank,
                            .source = TRI_HEALTH_ANSWERS,
                            .step = now.step,
                            .still_s = health->still_s,
                            .wait_s = -1};
    if (wait.is_waiting) line.wait_s = (double)(tri_clock_ns() - wait.begin_ns) * 1e-9;
    memcpy(line.host, health->host, sizeof line.host);
    memcpy(line.text, now.text, sizeof line.text);
    memcpy(line.wait, wait.text, sizeof line.wait);
    return line;
}

/* What the board says of a rank of this host. */
static tri_health_line line_of(const tri_health *health, int rank)
{
    tri_activity_now now = tri_activity_cell_read(&health->board.cells[rank].activity);
    tri_health_line line = {
        .rank = rank, .source = TRI_HEALTH_SEEN, .step = now.step, .wait_s = -1};
    uint64_t clock_ns = tri_clock_ns();
    if (now.begin_ns && clock_ns > now.begin_ns)
        line.still_s = (double)(clock_ns - now.begin_ns) * 1e-9;
    memcpy(line.host, health->host, sizeof line.host);
    memcpy(line.text, now.text, sizeof line.text);
    return line;
}

static bool is_here(const tri_health *health, int rank)
{
    return atomic_load(&health->board.cells[rank].pid) != 0;
}

/* Write this rank's word, and then what it sees of the ranks of its host, under a name that appears
 * when all is written. What cannot be written is missing in the report; there is nobody to tell. */
static void answer(tri_health *health)
{
    char path[HEALTH_PATH_BYTES];
    char part[HEALTH_PATH_BYTES];
    health->has_answered = true;
    path_of(health, "rank", health->board.rank, path);
    path_of(health, "part", health->board.rank, part);
    FILE *file = fopen(part, "wb");
    if (!file) return;
    tri_health_line mine = line_of_mine(health);
    fwrite(&mine, sizeof mine, 1, file);
    for (int r = 0; r < health->board.size; r++) {
        if (r == health->board.rank || !is_here(health, r)) continue;
        tri_health_line seen = line_of(health, r);
        fwrite(&seen, sizeof seen, 1, file);
    }
    bool ok = fclose(file) == 0;
    if (ok) (void)rename(part, path);
}

/* Read the answer of `rank`, if it is there. */
static bool read_answer(tri_health *health, int rank)
{
    char path[HEALTH_PATH_BYTES];
    path_of(health, "rank", rank, path);
    FILE *file = fopen(path, "rb");
    if (!file) return false;
    tri_health_line line;
    while (fread(&line, sizeof line, 1, file) == 1) {
        bool is_known = line.rank >= 0 && line.rank < health->n_lines;
        if (is_known && line.source > health->lines[line.rank].source)
            health->lines[line.rank] = line;
    }
    fclose(file);
    return health->lines[rank].source == TRI_HEALTH_ANSWERS;
}

/* Wait for the others' answers: those who can look for the lock do so within this time. */
static void gather_answers(tri_health *health)
{
    double left_s = 1.5 * health->look_s + 1;
    for (int r = 0; r < health->n_lines; r++) {
        health->lines[r] = (tri_health_line){.rank = r, .wait_s = -1};
        if (r != health->board.rank && is_here(health, r)) health->lines[r] = line_of(health, r);
    }
    health->lines[health->board.rank] = line_of_mine(health);
    for (bool complete = false; !complete && left_s > 0; left_s -= 0.1) {
        complete = true;
        for (int r = 0; r < health->n_lines; r++)
            if (health->lines[r].source != TRI_HEALTH_ANSWERS && !read_answer(health, r))
                complete = false;
        if (!complete) tri_clock_sleep(0.1);
    }
}

/* End the job: this thread is the only one of the rank that is sure to run. */
static void end_job(const tri_health *health)
{
    tri_comm_abort(health->args.world, 1);
    _exit(1); /* a world of one rank */
}

/* Print and keep the report. Not through stdio: the rank's thread may hold its locks. */
static void put_report(const tri_health *health, const char *text, size_t n_bytes, const char *path)
{
    static const char erase[] = "\r\033[K";
    if (health->args.erases_line) (void)!write(STDERR_FILENO, erase, sizeof erase - 1);
    (void)!write(STDERR_FILENO, text, n_bytes);
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644) : -1;
    if (fd >= 0) {
        (void)!write(fd, text, n_bytes);
        close(fd);
    }
}

static void report_hang(tri_health *health, const char *lock)
{
    char *text = NULL;
    size_t n_bytes = 0;
    gather_answers(health);
    if (atomic_exchange(&health->board.head->is_reported, true)) return;
    FILE *stream = open_memstream(&text, &n_bytes);
    if (!stream) end_job(health);
    tri_health_write_hang(health->lines, health->n_lines, health->board.rank,
                          health->args.hang_seconds, stream);
    fclose(stream);
    put_report(health, text, n_bytes, lock);
    free(text);
    end_job(health);
}

/* The limit has passed: be the one who reports, or answer the one who does. */
static void on_limit(tri_health *health)
{
    char lock[HEALTH_PATH_BYTES];
    path_of(health, "hang", -1, lock);
    (void)mkdir(health->dir, 0755);
    int fd = open(lock, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd >= 0) close(fd);
    if (fd >= 0 || errno != EEXIST)
        report_hang(health, lock); /* also where the folder cannot be written */
    else if (!health->has_answered)
        answer(health);
}

static void on_death(tri_health *health)
{
    const tri_board_cell *cell = &health->board.cells[health->next];
    close(health->next_fd);
    health->next_fd = -1;
    if (atomic_load(&cell->has_left)) return;
    tri_health_line dead = line_of(health, health->next);
    tri_clock_sleep(death_pause_s);
    if (atomic_load(&cell->has_left) || atomic_exchange(&health->board.head->is_reported, true))
        return;
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *stream = open_memstream(&text, &n_bytes);
    if (!stream) end_job(health);
    tri_health_write_death(&dead, health->board.size, health->board.rank, stream);
    fclose(stream);
    put_report(health, text, n_bytes, NULL);
    free(text);
    end_job(health);
}

static void on_tick(tri_health *health, double passed_s)
{
    double counted_s = passed_s < 2 * health->tick_s ? passed_s : 2 * health->tick_s;
    tri_activity_now now = tri_activity_read(tri_device_activity(health->device));
    bool moved =
        now.changes != health->changes || now.step == 0; /* the start takes what it takes */
    health->still_s = moved ? 0 : health->still_s + counted_s;
    health->changes = now.changes;
    health->since_look_s += counted_s;
    if (atomic_load(&health->board.cells[health->board.rank].has_left)) return;
    if (health->still_s >= health->args.hang_seconds) {
        on_limit(health);
        return;
    }
    if (health->since_look_s < health->look_s) return;
    health->since_look_s = 0;
    char lock[HEALTH_PATH_BYTES];
    path_of(health, "hang", -1, lock);
    if (!health->has_answered && access(lock, F_OK) == 0) answer(health);
}

static void watch(void *arg)
{
    tri_health *health = arg;
    bool has_limit = health->args.hang_seconds > 0;
    double last_s = tri_clock_s();
    for (;;) {
        struct pollfd fds[2] = {
            {.fd = health->stop_fd, .events = POLLIN},
            {.fd = health->next_fd, .events = POLLIN}
        };
        int n = poll(fds, 2, has_limit ? (int)(health->tick_s * 1e3) + 1 : -1);
        if (n > 0 && fds[0].revents) return;
        if (n > 0 && fds[1].revents) on_death(health);
        double now_s = tri_clock_s();
        if (has_limit) on_tick(health, now_s - last_s);
        last_s = now_s;
    }
}

/* An old kernel has no such file: then deaths are the launcher's to notice. */
static void watch_next(tri_health *health)
{
    health->next = tri_board_next(&health->board);
    if (health->next < 0) return;
    int pid = atomic_load(&health->board.cells[health->next].pid);
    health->next_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (health->next_fd < 0)
        tri_log(TRI_LOG_DEBUG, "watching process %d: %s", pid, strerror(errno));
}

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

/* Also of a half-built watch, whose thread never ran. */
static void tri_health_destroy(tri_health **health)
{
    tri_health *h = *health;
    if (!h) return;
    tri_activity_place(tri_device_activity(h->device), NULL);
    if (h->stop_fd >= 0) close(h->stop_fd);
    if (h->next_fd >= 0) close(h->next_fd);
    tri_board_close(&h->board);
    TRI_FREE(h->lines);
    TRI_FREE(*health);
}

tri_status tri_health_open(const tri_health_args *args, tri_health **out)
{
    TRI_AUTO(tri_health) *health = NULL;
    TRI_TRY(TRI_NEW(&health));
    health->args = *args;
    health->device = tri_comm_device(args->world);
    health->stop_fd = -1;
    health->next_fd = -1;
    health->tick_s = clamp(args->hang_seconds / HEALTH_TICKS_OF_LIMIT, 0.05, tick_most_s);
    health->look_s = clamp(args->hang_seconds / HEALTH_LOOKS_OF_LIMIT, look_least_s, look_most_s);
    snprintf(health->dir, sizeof health->dir, "%s/health", args->run_dir);
    snprintf(health->host, sizeof health->host, "%s", args->host);
    TRI_TRY(tri_board_open(args->world, &health->board));
    health->n_lines = health->board.size;
    TRI_TRY(TRI_NEW_ARRAY(health->n_lines, &health->lines));
    health->stop_fd = eventfd(0, EFD_CLOEXEC);
    TRI_TRY(TRI_SYS(health->stop_fd, "making an event for the watch over ranks"));
    watch_next(health);
    tri_activity_place(tri_device_activity(health->device),
                       &health->board.cells[health->board.rank].activity);
    TRI_TRY(tri_thread_start("trireme-watch", watch, health, &health->thread));
    *out = TRI_MOVE(health);
    return TRI_OK;
}

bool tri_health_leave(tri_health *health)
{
    if (!health) return true;
    atomic_store(&health->board.cells[health->board.rank].has_left, true);
    return !atomic_exchange(&health->board.head->is_reported, true);
}

void tri_health_close(tri_health **health)
{
    tri_health *h = *health;
    if (!h) return;
    atomic_store(&h->board.cells[h->board.rank].has_left, true);
    uint64_t one = 1;
    (void)!write(h->stop_fd, &one, sizeof one);
    tri_thread_wait(&h->thread);
    tri_health_destroy(health);
}

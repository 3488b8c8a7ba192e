// SPDX-License-Identifier: Apache-2.0
/* Who prints: ranks that fail cannot be asked to communicate (their peers may stand in any
 * collective), so they take turns in time: rank 0 at once, the others after a pause in which the
 * abort of a lower rank reaches them. On one host a name that only one process can take decides, and a
 * flag in shared memory, which is still there when that process has ended.
 */
#include "launch/report.h"

#include "runtime/base/clock.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Seconds before a rank above 0 reports, more for each rank; and how long a rank that saw others fail
 * waits for its end by their hand. */
static const double report_pause_s = 1.0;
static const double report_stagger_s = 0.02;
static const double report_peer_s = 20.0;
enum { REPORT_STAGGERED_RANKS = 100 };

int tri_report_exit_code(tri_status status)
{
    return status == TRI_OK ? 0 : status == TRI_EINVAL ? 2 : 1;
}

void tri_report_print(const tri_report *report, FILE *stream)
{
    const tri_err *err = &report->err;
    fprintf(stream, "error: ");
    if (report->n_ranks > 1)
        fprintf(stream, "rank %d of %d, host %s", report->rank, report->n_ranks, report->host);
    if (report->step >= 0)
        fprintf(stream, "%sstep %lld", report->n_ranks > 1 ? ", " : "", (long long)report->step);
    if (report->step >= 0 && report->operation && report->operation[0])
        fprintf(stream, ", %s", report->operation);
    fprintf(stream, "%s%s %s\n", report->n_ranks > 1 || report->step >= 0 ? ": " : "",
            tri_status_name(err->code), tri_status_text(err->code));
    if (err->text[0]) fprintf(stream, "  %s\n", err->text);
    for (int i = 0; report->has_frames && i < err->n_frames; i++)
        fprintf(stream, "  at %s (%s:%d)\n", err->frames[i].function, err->frames[i].file,
                err->frames[i].line);
    if (report->n_ranks > 1)
        fprintf(stream, "  %d other rank%s stopped\n", report->n_ranks - 1,
                report->n_ranks > 2 ? "s" : "");
    fflush(stream);
}

/* Is this the first rank of its host that wants to report? The name is the launcher's process, and
 * goes with this process; where ranks have different parents, the pause alone keeps them apart. */
static bool is_first_here(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int n = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "trireme-report-%d",
                     (int)getppid());
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return true;
    socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
    return bind(fd, (struct sockaddr *)&address, bytes) == 0 || errno != EADDRINUSE;
}

int tri_report_end(const tri_session *session, tri_status status)
{
    if (status == TRI_OK) return 0;
    bool is_open = session->world != NULL;
    int rank = is_open ? tri_comm_rank(session->world) : session->env.rank;
    int n_ranks = is_open ? tri_comm_size(session->world) : 1;
    int exit_code = tri_report_exit_code(status);
    fflush(stdout);
    if (status == TRI_EPEER && n_ranks > 1) {
        tri_clock_sleep(report_peer_s);
        return exit_code;
    }
    /* before MPI is up all ranks see the same wrong use */
    if (!is_open && rank > 0) return exit_code;
    if (rank > 0)
        tri_clock_sleep(report_pause_s + report_stagger_s * (rank % REPORT_STAGGERED_RANKS));
    bool is_first = n_ranks == 1 || is_first_here();
    if (!tri_health_leave(session->health) || !is_first) {
        tri_clock_sleep(report_peer_s);
        return exit_code;
    }

    tri_activity_now now = {0};
    if (session->device) now = tri_activity_read(tri_device_activity(session->device));
    tri_report report = {.rank = rank,
                         .n_ranks = n_ranks,
                         .host = session->env.host,
                         .step = session->step,
                         .operation = now.text,
                         .has_frames = status != TRI_EINVAL || session->env.log > TRI_LOG_INFO,
                         .err = *tri_err_last()};
    report.err.code = status;
    if (session->log.erases_line) fputs("\r\033[K", stderr);
    tri_report_print(&report, stderr);
    if (session->log.file) tri_report_print(&report, session->log.file);
    if (n_ranks > 1) tri_comm_abort(session->world, exit_code);
    return exit_code;
}

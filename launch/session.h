// SPDX-License-Identifier: Apache-2.0
/* The process as one rank of a job: its environment, its device and its world. Lives in main; a
 * command opens device and world through it, so that main can report a failure and close them.
 */
#ifndef TRI_LAUNCH_SESSION_H
#define TRI_LAUNCH_SESSION_H

#include "launch/env.h"
#include "launch/health.h"
#include "launch/spec.h"

typedef struct tri_session {
    tri_env env;
    tri_device *device; /* NULL: not open */
    tri_comm *world;    /* NULL: not open */
    tri_health *health; /* NULL: nobody watches */
    tri_comm *base;     /* TRIREME_COLL: what mpirun's ranks would have used; world is its twin */
    int64_t step;       /* last step begun, for the error report; -1: none */
    int verdict;        /* exit code of a command that did its work: 1 where its answer is no */
    FILE *log_file;
    tri_log_sink log;
} tri_session;

/* Open device and world. Collective over the ranks that the launcher started (one without one).
 *
 * `threads` of this rank; 0: its share of the host's cores. Errors: TRI_ECOMM, TRI_ENOMEM.
 */
TRI_MUST_USE tri_status tri_session_open(tri_session *session, int threads);

/* Open device and world and read the job spec: rank 0 reads and checks it, the others get the result.
 * train.threads is set from auto and used. Collective over the ranks that the launcher started.
 *
 * Writes: *spec, resolved. Errors: those of tri_spec_read and tri_spec_check, on rank 0; TRI_EPEER.
 */
TRI_MUST_USE tri_status tri_session_open_job(tri_session *session, const char *path,
                                             int n_overrides, const char *const *overrides,
                                             tri_spec *spec);

/* Log to FOLDER/rank-N.log too, from now on. Not collective. A file that cannot be opened is a
 * warning. */
void tri_session_log_to(tri_session *session, const char *folder);

/* Watch over the ranks from now on (launch/health.h), with the folder RUN for reports. Collective:
 * world. Errors: tri_health_open's. */
TRI_MUST_USE tri_status tri_session_watch(tri_session *session, const char *run_dir,
                                          double hang_seconds);

/* Close the watch, world, device and log. Collective over the world; not called on an error path of a
 * multi-rank job. */
void tri_session_close(tri_session *session);

#endif

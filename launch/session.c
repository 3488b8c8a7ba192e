// SPDX-License-Identifier: Apache-2.0
/* Opening and closing what a rank stands on. */
#include "launch/session.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

/* The world on the backend of TRIREME_COLL. */
static tri_status use_backend(tri_session *session)
{
    tri_comm *twin = NULL;
    TRI_TRY(tri_comm_split_as(session->world, session->env.coll, &twin));
    tri_comm_set_name(twin, tri_comm_name(session->world));
    session->base = session->world;
    session->world = twin;
    return TRI_OK;
}

tri_status tri_session_open(tri_session *session, int threads)
{
    int local_ranks = session->env.local_ranks;
    tri_device_args args = {.name = "cpu",
                            .n_threads = threads > 0 ? threads : tri_env_threads(local_ranks),
                            .yield = local_ranks > tri_env_host_cores()};
    TRI_TRY(tri_device_create(&args, &session->device));
    if (tri_comm_is_launched())
        TRI_TRY(tri_comm_open_mpi(session->device, &session->world));
    else
        TRI_TRY(tri_comm_open_self(session->device, &session->world));
    if (session->env.coll[0] && tri_comm_size(session->world) > 1) TRI_TRY(use_backend(session));
    if (tri_comm_size(session->world) > 1) session->log.rank = tri_comm_rank(session->world);
    if (tri_comm_rank(session->world) > 0 && session->log.terminal_level == TRI_LOG_INFO)
        session->log.terminal_level = TRI_LOG_WARN;
    return TRI_OK;
}

tri_status tri_session_open_job(tri_session *session, const char *path, int n_overrides,
                                const char *const *overrides, tri_spec *spec)
{
    TRI_TRY(tri_session_open(session, 0));
    TRI_TRY(tri_spec_load(path, n_overrides, overrides, session->world, spec));
    if (spec->train.threads > 0) tri_device_set_threads(session->device, spec->train.threads);
    return TRI_OK;
}

void tri_session_log_to(tri_session *session, const char *folder)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/rank-%d.log", folder, tri_comm_rank(session->world));
    FILE *file = fopen(path, "a");
    if (!file) {
        tri_log(TRI_LOG_WARN, "opening the log %s: %s; going on without it", path, strerror(errno));
        return;
    }
    session->log_file = file;
    session->log.file = file;
    session->log.file_level =
        session->env.log > TRI_LOG_INFO ? (int)session->env.log : TRI_LOG_INFO;
}

tri_status tri_session_watch(tri_session *session, const char *run_dir, double hang_seconds)
{
    tri_health_args args = {.world = session->world,
                            .run_dir = run_dir,
                            .host = session->env.host,
                            .hang_seconds = hang_seconds,
                            .erases_line = session->log.erases_line};
    TRI_TRY(tri_health_open(&args, &session->health));
    return TRI_OK;
}

void tri_session_close(tri_session *session)
{
    tri_health_close(&session->health);
    tri_comm_close(&session->world);
    tri_comm_close(&session->base);
    tri_device_destroy(&session->device);
    session->log.file = NULL;
    if (session->log_file) fclose(session->log_file);
    session->log_file = NULL;
}

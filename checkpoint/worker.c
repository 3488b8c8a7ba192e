// SPDX-License-Identifier: Apache-2.0
/* A thread, one slot for a job, one for its failure. */
#include "checkpoint/worker.h"

#include "runtime/base/alloc.h"
#include "runtime/base/thread.h"

#include <assert.h>

struct tri_worker {
    tri_thread *thread;
    tri_mutex mutex;
    tri_cond changed;
    tri_worker_fn job; /* NULL: none under way */
    void *arg;
    bool is_ending;
    tri_err failure; /* of the last job; code TRI_OK: none, or told */
};

static void worker_main(void *arg)
{
    tri_worker *worker = arg;
    tri_mutex_lock(&worker->mutex);
    for (;;) {
        while (!worker->job && !worker->is_ending)
            tri_cond_wait(&worker->changed, &worker->mutex);
        if (!worker->job) break;
        tri_mutex_unlock(&worker->mutex);
        tri_err failure = {.code = TRI_OK};
        if (worker->job(worker->arg) != TRI_OK) tri_err_take(&failure);
        tri_mutex_lock(&worker->mutex);
        worker->failure = failure;
        worker->job = NULL;
        tri_cond_wake_all(&worker->changed);
    }
    tri_mutex_unlock(&worker->mutex);
}

tri_status tri_worker_create(const char *name, tri_worker **out)
{
    TRI_AUTO(tri_worker) *worker = NULL;
    TRI_TRY(TRI_NEW(&worker));
    tri_mutex_init(&worker->mutex);
    tri_cond_init(&worker->changed);
    TRI_TRY(tri_thread_start(name, worker_main, worker, &worker->thread));
    *out = TRI_MOVE(worker);
    return TRI_OK;
}

void tri_worker_destroy(tri_worker **worker)
{
    if (!*worker) return;
    tri_mutex_lock(&(*worker)->mutex);
    (*worker)->is_ending = true;
    tri_cond_wake_all(&(*worker)->changed);
    tri_mutex_unlock(&(*worker)->mutex);
    tri_thread_wait(&(*worker)->thread);
    tri_cond_fini(&(*worker)->changed);
    tri_mutex_fini(&(*worker)->mutex);
    TRI_FREE(*worker);
}

void tri_worker_start(tri_worker *worker, tri_worker_fn job, void *arg)
{
    tri_mutex_lock(&worker->mutex);
    assert(!worker->job && "a job is under way");
    worker->failure.code = TRI_OK;
    worker->arg = arg;
    worker->job = job;
    tri_cond_wake_all(&worker->changed);
    tri_mutex_unlock(&worker->mutex);
}

bool tri_worker_is_done(tri_worker *worker)
{
    tri_mutex_lock(&worker->mutex);
    bool is_done = !worker->job;
    tri_mutex_unlock(&worker->mutex);
    return is_done;
}

bool tri_worker_wait_for(tri_worker *worker, double seconds)
{
    tri_mutex_lock(&worker->mutex);
    bool in_time = true;
    while (worker->job && in_time)
        in_time = tri_cond_wait_for(&worker->changed, &worker->mutex, seconds);
    bool is_done = !worker->job;
    tri_mutex_unlock(&worker->mutex);
    return is_done;
}

tri_status tri_worker_result(tri_worker *worker)
{
    tri_mutex_lock(&worker->mutex);
    assert(!worker->job && "a job is under way");
    tri_err failure = worker->failure;
    worker->failure.code = TRI_OK;
    tri_mutex_unlock(&worker->mutex);
    return failure.code == TRI_OK ? TRI_OK : tri_err_put(&failure);
}

tri_status tri_worker_finish(tri_worker *worker)
{
    while (!tri_worker_wait_for(worker, 1))
        continue;
    return tri_worker_result(worker);
}

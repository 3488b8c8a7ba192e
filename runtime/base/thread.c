// SPDX-License-Identifier: Apache-2.0
/* Threads over pthread. */
#include "runtime/base/thread.h"

#include "runtime/base/alloc.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

struct tri_thread {
    pthread_t handle;
    tri_thread_fn body;
    void *arg;
    char name[16];
};

static void *thread_main(void *arg)
{
    tri_thread *thread = arg;
    prctl(PR_SET_NAME, thread->name, 0, 0, 0);
    thread->body(thread->arg);
    return NULL;
}

tri_status tri_thread_start(const char *name, tri_thread_fn body, void *arg, tri_thread **out)
{
    tri_thread *thread = NULL;
    TRI_TRY(TRI_NEW(&thread));
    thread->body = body;
    thread->arg = arg;
    snprintf(thread->name, sizeof thread->name, "%s", name);

    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int number = pthread_create(&thread->handle, NULL, thread_main, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (number) {
        TRI_FREE(thread);
        TRI_FAIL(TRI_ENOMEM, "starting thread '%s': %s", name, strerror(number));
    }
    *out = thread;
    return TRI_OK;
}

void tri_thread_wait(tri_thread **thread)
{
    if (!*thread) return;
    pthread_join((*thread)->handle, NULL);
    TRI_FREE(*thread);
}

void tri_thread_yield(void)
{
    sched_yield();
}

void tri_thread_be_punctual(void)
{
    prctl(PR_SET_TIMERSLACK, 1000L, 0, 0, 0);
}

void tri_mutex_init(tri_mutex *mutex)
{
    pthread_mutex_init(&mutex->handle, NULL);
}

void tri_mutex_fini(tri_mutex *mutex)
{
    pthread_mutex_destroy(&mutex->handle);
}

void tri_mutex_lock(tri_mutex *mutex)
{
    pthread_mutex_lock(&mutex->handle);
}

bool tri_mutex_try(tri_mutex *mutex)
{
    return pthread_mutex_trylock(&mutex->handle) == 0;
}

void tri_mutex_unlock(tri_mutex *mutex)
{
    pthread_mutex_unlock(&mutex->handle);
}

void tri_cond_init(tri_cond *cond)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&cond->handle, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

void tri_cond_fini(tri_cond *cond)
{
    pthread_cond_destroy(&cond->handle);
}

void tri_cond_wait(tri_cond *cond, tri_mutex *mutex)
{
    pthread_cond_wait(&cond->handle, &mutex->handle);
}

void tri_cond_wake(tri_cond *cond)
{
    pthread_cond_signal(&cond->handle);
}

void tri_cond_wake_all(tri_cond *cond)
{
    pthread_cond_broadcast(&cond->handle);
}

bool tri_cond_wait_for(tri_cond *cond, tri_mutex *mutex, double seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)seconds;
    until.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    return pthread_cond_timedwait(&cond->handle, &mutex->handle, &until) == 0;
}

// SPDX-License-Identifier: Apache-2.0
/* Threads, mutexes and condition variables: the one user of pthread.
 *
 * An error belongs to a thread: a body that can fail keeps a tri_err by value and hands it over.
 */
#ifndef TRI_RUNTIME_BASE_THREAD_H
#define TRI_RUNTIME_BASE_THREAD_H

#include "runtime/base/status.h"

#include <pthread.h>

typedef struct tri_thread tri_thread;

/* A lock inside its owner's struct; not recursive. */
typedef struct tri_mutex {
    pthread_mutex_t handle;
} tri_mutex;

/* A condition inside its owner's struct, always used with one mutex. */
typedef struct tri_cond {
    pthread_cond_t handle;
} tri_cond;

typedef void (*tri_thread_fn)(void *arg);

/* Start a thread. All signals are blocked in it. Not collective.
 *
 * `name` (up to 15 characters are shown by the system). Keeps: arg, until tri_thread_wait.
 * Errors: TRI_ENOMEM where the system has no more threads.
 */
TRI_MUST_USE tri_status tri_thread_start(const char *name, tri_thread_fn body, void *arg,
                                         tri_thread **out);

/* Wait for the end of a thread and free it; NULL is fine. Not collective. */
void tri_thread_wait(tri_thread **thread);

/* Give the core to another runnable thread. Not collective. */
void tri_thread_yield(void);

/* Let this thread's short sleeps be short (timer slack of 1 us). Not collective. */
void tri_thread_be_punctual(void);

/* Not collective, any of these. */
void tri_mutex_init(tri_mutex *mutex);
void tri_mutex_fini(tri_mutex *mutex);
void tri_mutex_lock(tri_mutex *mutex);
bool tri_mutex_try(tri_mutex *mutex);
void tri_mutex_unlock(tri_mutex *mutex);

/* Not collective, any of these; wake-ups may be spurious. */
void tri_cond_init(tri_cond *cond);
void tri_cond_fini(tri_cond *cond);
void tri_cond_wait(tri_cond *cond, tri_mutex *mutex);
void tri_cond_wake(tri_cond *cond);
void tri_cond_wake_all(tri_cond *cond);

/* Wait at most `seconds`; false if they passed. Not collective. */
bool tri_cond_wait_for(tri_cond *cond, tri_mutex *mutex, double seconds);

#endif

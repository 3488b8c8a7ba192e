// SPDX-License-Identifier: Apache-2.0
/* One thread that does one job at a time for its owner, who may look, or wait, whether it is done.
 */
#ifndef TRI_CHECKPOINT_WORKER_H
#define TRI_CHECKPOINT_WORKER_H

#include "runtime/base/status.h"

typedef struct tri_worker tri_worker;
typedef tri_status (*tri_worker_fn)(void *arg);

/* Start the thread, which sleeps. Not collective. Errors: TRI_ENOMEM. */
TRI_MUST_USE tri_status tri_worker_create(const char *name, tri_worker **out);

/* Wait for the job under way and end the thread; NULL is fine. Not collective. */
void tri_worker_destroy(tri_worker **worker);

/* Have `job(arg)` done; the one before must be. Not collective. Keeps: arg, until it is done. */
void tri_worker_start(tri_worker *worker, tri_worker_fn job, void *arg);

/* Is the job done (or was none started)? Not collective. */
bool tri_worker_is_done(tri_worker *worker);

/* Wait for the job, at most `seconds`; false if they passed. Not collective. */
bool tri_worker_wait_for(tri_worker *worker, double seconds);

/* Wait for the job, however long, then as tri_worker_result. Not collective. */
TRI_MUST_USE tri_status tri_worker_finish(tri_worker *worker);

/* What the last job came to, as an error of the calling thread; told once. Not collective; it is done. */
TRI_MUST_USE tri_status tri_worker_result(tri_worker *worker);

#endif

// SPDX-License-Identifier: Apache-2.0
/* The watch over a job's ranks: a rank that hangs or dies is named, and the job ends with one report.
 *
 * Each process has a watching thread. It sees that the rank's activity (runtime/base/activity.h) moves,
 * and that the next rank of its host lives. What ranks do lies in memory that the ranks of a host
 * share, so that it can be read also of a rank that is stopped or dead. When a rank has not moved for
 * the limit in a step, one rank takes a lock in the run's folder, the others find it there and write down what
 * they do and wait for, and the first one reports who waits for whom and ends the job. In a job that
 * moves there is no message and no file, but a look for the lock every tenth of the limit.
 */
#ifndef TRI_LAUNCH_HEALTH_H
#define TRI_LAUNCH_HEALTH_H

#include "runtime/coll.h"

typedef struct tri_health tri_health;

typedef struct tri_health_args {
    tri_comm *world;
    const char *run_dir; /* RUN: files appear in RUN/health when a rank hangs */
    const char *host;
    double hang_seconds; /* 0: only deaths are noticed */
    bool erases_line;    /* the terminal may show a progress line */
} tri_health_args;

/* Begin to watch. Collective: world. Keeps: world; the texts are copied.
 * Errors: TRI_ENOMEM. Without shared memory (a warning) dead ranks go unnoticed, and of stopped ones
 * nobody knows what they did. */
TRI_MUST_USE tri_status tri_health_open(const tri_health_args *args, tri_health **out);

/* Stop watching; this rank may now end. Not collective; NULL is fine. */
void tri_health_close(tri_health **health);

/* This rank failed and wants to report by itself: nobody else is to report its end. Not collective; NULL is
 * fine. Returns: may it? false: one of its host has reported before, and may have ended since. */
bool tri_health_leave(tri_health *health);

#endif

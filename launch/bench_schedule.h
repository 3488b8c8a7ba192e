// SPDX-License-Identifier: Apache-2.0
/* `trireme bench schedule`: pipeline schedules with real messages and computations that sleep, against
 * the event simulator.
 */
#ifndef TRI_LAUNCH_BENCH_SCHEDULE_H
#define TRI_LAUNCH_BENCH_SCHEDULE_H

#include "launch/bench.h"
#include "parallel/schedule.h"

/* Run one step of a table with threads as its ranks and messages between them. Not collective.
 *
 * Computations sleep for `times` (in seconds; message and stage_factor are not used). What is sent says
 * which micro-batch of which stage it is and is looked at where it is received; slots are used as in a
 * job. Writes: *seconds, from the first rank's start to the last one's end.
 * Errors: TRI_EBUG a message or an operation out of order; those of communicators and threads.
 */
TRI_MUST_USE tri_status tri_bench_schedule_run(const tri_schedule *schedule,
                                               const tri_schedule_times *times, double *seconds);

/* All schedules on 2, 4 and 8 ranks: the shortest of the measured makespans, against the simulator's
 * as the limit. Not collective; refuses a world of several processes.
 *
 * Errors: TRI_EINVAL arguments; those of tri_bench_schedule_run. */
TRI_MUST_USE tri_status tri_bench_schedule(const tri_bench_args *args);

#endif

// SPDX-License-Identifier: Apache-2.0
/* Signals to a job, which the training loop reads at step boundaries: SIGUSR1 asks for a checkpoint;
 * SIGTERM, SIGINT and SIGUSR2 ask it to save and end. A second SIGINT ends the process at once. (mpirun
 * passes SIGUSR1 and SIGUSR2 on to the ranks; SIGTERM it follows by SIGKILL within a second.)
 */
#ifndef TRI_LAUNCH_SIGNALS_H
#define TRI_LAUNCH_SIGNALS_H

#include "runtime/base/status.h"

/* Take these signals over for the process: a thread waits for them, all others block them. Before
 * other threads begin, MPI's included: they take over the mask. Not collective. Errors: TRI_ENOMEM. */
TRI_MUST_USE tri_status tri_signals_begin(void);

/* End the thread; the signals stay blocked. Nothing where none was begun. Not collective. */
void tri_signals_end(void);

/* The first that came of those that ask to end; 0: none yet. Not collective. */
int tri_signals_received(void);

/* Has SIGUSR1 come since the last call? Not collective. */
bool tri_signals_take_save(void);

/* "SIGTERM", ... Not collective. */
const char *tri_signals_name(int number);

#endif

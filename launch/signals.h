// SPDX-License-Identifier: Apache-2.0
/* Signals that ask a job to end: SIGTERM, SIGINT and SIGUSR1 set a flag that the training loop reads
 * at step boundaries. A second SIGINT ends the process at once. (mpirun passes SIGUSR1 on to the
 * ranks; SIGTERM it follows by SIGKILL within a second.)
 */
#ifndef TRI_LAUNCH_SIGNALS_H
#define TRI_LAUNCH_SIGNALS_H

#include "runtime/base/status.h"

/* Take these signals over. Not collective. Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_signals_install(void);

/* The first of them that came; 0: none yet. Not collective. */
int tri_signals_received(void);

/* "SIGTERM", ... Not collective. */
const char *tri_signals_name(int number);

#endif

// SPDX-License-Identifier: Apache-2.0
/* What the process finds around itself: environment variables, cores, terminal. The only reader of
 * the environment, but for the MPI door, which must know its launcher.
 */
#ifndef TRI_LAUNCH_ENV_H
#define TRI_LAUNCH_ENV_H

#include "runtime/base/log.h"

typedef struct tri_env {
    int rank;          /* as the launcher says, before MPI is up; 0 without one */
    int local_ranks;   /* ranks of this host; 1 where the launcher does not say */
    bool is_plain;     /* no cursor movement: TERM=dumb */
    tri_log_level log; /* TRIREME_LOG: error, warn, info, debug or trace */
    char coll
        [24]; /* TRIREME_COLL: mpi, node or hier:K in place of the backend that fits; for tests */
    char host[64];
} tri_env;

/* Read them. Not collective. Errors: TRI_EINVAL TRIREME_LOG is not a level,
 * TRIREME_COLL no backend. */
TRI_MUST_USE tri_status tri_env_read(tri_env *out);

/* Cores that this process may run on (its affinity). Not collective. */
int tri_env_cores(void);

/* Cores that this host has online. Not collective. */
int tri_env_host_cores(void);

/* Threads for one of `local_ranks` ranks: the cores it is bound to, or its share of all. Not
 * collective. */
int tri_env_threads(int local_ranks);

/* The cores of this process as a list, "0-3,8". Not collective. */
void tri_env_core_list(char *out, size_t out_bytes);

#endif

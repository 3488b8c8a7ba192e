// SPDX-License-Identifier: Apache-2.0
/* Environment, cores and host. */
#include "launch/env.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The first of these variables that holds a number from `least` on; else `otherwise`. */
static int env_number(const char *const *names, int least, int otherwise)
{
    for (int i = 0; names[i]; i++) {
        const char *text = getenv(names[i]);
        char *end = NULL;
        if (!text) continue;
        errno = 0;
        long number = strtol(text, &end, 10);
        if (end != text && !*end && errno == 0 && number >= least && number <= INT_MAX)
            return (int)number;
    }
    return otherwise;
}

tri_status tri_env_read(tri_env *out)
{
    /* Open MPI, PMIx, MPICH; a launcher that sets none of them shows each rank as rank 0 */
    static const char *const rank_names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", NULL};
    static const char *const local_names[] = {"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS",
                                              NULL};
    tri_env env = {.rank = env_number(rank_names, 0, 0),
                   .local_ranks = env_number(local_names, 1, 1),
                   .log = TRI_LOG_INFO};
    const char *terminal = getenv("TERM");
    env.is_plain = !terminal || strcmp(terminal, "dumb") == 0;
    const char *level = getenv("TRIREME_LOG");
    if (level) TRI_TRY(tri_log_level_find(level, &env.log));
    const char *coll = getenv("TRIREME_COLL");
    if (coll && coll[0]) {
        TRI_CHECK(strcmp(coll, "mpi") == 0 || strcmp(coll, "node") == 0 ||
                      (strncmp(coll, "hier:", 5) == 0 && strlen(coll) < sizeof env.coll),
                  TRI_EINVAL,
                  "TRIREME_COLL is '%s': it takes mpi, node or hier:K (hosts of K ranks)", coll);
        snprintf(env.coll, sizeof env.coll, "%s", coll);
    }
    if (gethostname(env.host, sizeof env.host - 1) != 0) snprintf(env.host, sizeof env.host, "?");
    *out = env;
    return TRI_OK;
}

int tri_env_host_cores(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 && n <= INT_MAX ? (int)n : 1;
}

int tri_env_cores(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    /* fails on hosts with more than CPU_SETSIZE cores: then all of them are taken as allowed */
    if (sched_getaffinity(0, sizeof set, &set) != 0) return tri_env_host_cores();
    return CPU_COUNT(&set) > 0 ? CPU_COUNT(&set) : 1;
}

int tri_env_threads(int local_ranks)
{
    int cores = tri_env_cores();
    int host_cores = tri_env_host_cores();
    /* a launcher that binds gives each rank of a host cores of its own; otherwise the set is shared,
     * also where a container makes it smaller than the host */
    bool is_own = cores < host_cores && (int64_t)cores * local_ranks <= host_cores;
    int threads = is_own ? cores : cores / local_ranks;
    return threads > 0 ? threads : 1;
}

void tri_env_core_list(char *out, size_t out_bytes)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    snprintf(out, out_bytes, "all");
    if (sched_getaffinity(0, sizeof set, &set) != 0) return;
    size_t n = 0;
    for (size_t i = 0; i < CPU_SETSIZE; i++) {
        if (!CPU_ISSET(i, &set)) continue;
        size_t last = i;
        while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, &set))
            last++;
        char part[48];
        const char *comma = n ? "," : "";
        int bytes = last > i ? snprintf(part, sizeof part, "%s%zu-%zu", comma, i, last)
                             : snprintf(part, sizeof part, "%s%zu", comma, i);
        if (bytes < 0 || n + (size_t)bytes >= out_bytes) return;
        memcpy(out + n, part, (size_t)bytes + 1);
        n += (size_t)bytes;
        i = last;
    }
}

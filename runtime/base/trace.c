// SPDX-License-Identifier: Apache-2.0
/* Ranges as log lines of level trace. */
#include "runtime/base/trace.h"

#include "runtime/base/log.h"

#include <time.h>

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

tri_range tri_range_begin(const char *name)
{
    return (tri_range){name, now_ns()};
}

void tri_range_end(const tri_range *range)
{
    tri_log(TRI_LOG_TRACE, "%s %.1f us", range->name, (double)(now_ns() - range->begin_ns) / 1e3);
}

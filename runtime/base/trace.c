// SPDX-License-Identifier: Apache-2.0
/* Ranges as log lines of level trace. */
#include "runtime/base/trace.h"

#include "runtime/base/clock.h"
#include "runtime/base/log.h"

tri_range tri_range_begin(const char *name)
{
    return (tri_range){name, tri_clock_ns()};
}

void tri_range_end(const tri_range *range)
{
    tri_log(TRI_LOG_TRACE, "%s %.1f us", range->name,
            (double)(tri_clock_ns() - range->begin_ns) / 1e3);
}

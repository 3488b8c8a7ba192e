// SPDX-License-Identifier: Apache-2.0
/* Monotonic time over clock_gettime. */
#include "runtime/base/clock.h"

#include <errno.h>
#include <time.h>

uint64_t tri_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

double tri_clock_s(void)
{
    return (double)tri_clock_ns() * 1e-9;
}

void tri_clock_sleep(double seconds)
{
    if (seconds <= 0) return;
    struct timespec left = {.tv_sec = (time_t)seconds};
    left.tv_nsec = (long)((seconds - (double)left.tv_sec) * 1e9);
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
        continue;
}

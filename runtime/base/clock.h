// SPDX-License-Identifier: Apache-2.0
/* Monotonic time of this host. Two hosts share no clock: never compare across ranks. */
#ifndef TRI_RUNTIME_BASE_CLOCK_H
#define TRI_RUNTIME_BASE_CLOCK_H

#include <stdint.h>

/* Nanoseconds since some fixed moment. Not collective. */
uint64_t tri_clock_ns(void);

/* The same in seconds. Not collective. */
double tri_clock_s(void);

/* Sleep at least this long; a signal does not end it early. Not collective. */
void tri_clock_sleep(double seconds);

#endif

// SPDX-License-Identifier: Apache-2.0
/* Named ranges of time. TRI_RANGE("zero.reduce") covers the rest of its scope and compiles to nothing
 * unless TRI_TRACE is defined; then the range ends in a log line of level trace.
 */
#ifndef TRI_RUNTIME_BASE_TRACE_H
#define TRI_RUNTIME_BASE_TRACE_H

#include <stdint.h>

/* A range that has begun. */
typedef struct tri_range {
    const char *name;
    uint64_t begin_ns;
} tri_range;

/* Begin a range. Not collective. Keeps: name, until the end. */
tri_range tri_range_begin(const char *name);

/* End it: log its name and length. Not collective. */
void tri_range_end(const tri_range *range);

#define TRI_RANGE_JOIN_(a, b) a##b
#define TRI_RANGE_JOIN(a, b)  TRI_RANGE_JOIN_(a, b)
#ifdef TRI_TRACE
#define TRI_RANGE(name)                                                             \
    __attribute__((cleanup(tri_range_end), unused)) const tri_range TRI_RANGE_JOIN( \
        range_, __LINE__) = tri_range_begin(name)
#else
#define TRI_RANGE(name) ((void)0)
#endif

#endif

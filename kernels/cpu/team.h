// SPDX-License-Identifier: Apache-2.0
/* Cuts work for the rank's OpenMP team: the one parallel region of the vector kernels. */
#ifndef TRI_KERNELS_CPU_TEAM_H
#define TRI_KERNELS_CPU_TEAM_H

#include "kernels/kernels.h"

/* Work on items begin .. end. */
typedef void (*tri_team_fn)(const void *work, int64_t begin, int64_t end);

/* Call fn on contiguous pieces of [0, n), piece i on thread i, cut at multiples of `unit`. Fewer
 * threads are used where a piece would be below `grain` items: short work opens no parallel region.
 * Not collective. */
void tri_team_run(const tri_kernels *kernels, int64_t n, int64_t unit, int64_t grain,
                  tri_team_fn fn, const void *work);

/* Items of `bytes` bytes each that are worth a thread (about 5 microseconds of memory traffic). Not
 * collective. */
static inline int64_t tri_team_grain(int64_t bytes)
{
    enum { WORTH_BYTES = 64 * 1024 };
    return bytes < WORTH_BYTES ? WORTH_BYTES / (bytes > 0 ? bytes : 1) : 1;
}

/* Activations are fp32 or bf16: check, naming the kernel. Not collective. Errors: TRI_EINVAL. */
TRI_MUST_USE tri_status tri_team_check(const char *kernel, tri_dtype dtype, int64_t rows,
                                       int64_t width, int64_t stride);

#endif

// SPDX-License-Identifier: Apache-2.0
/* What `trireme check` prints. */
#ifndef TRI_LAUNCH_CHECK_H
#define TRI_LAUNCH_CHECK_H

#include "launch/job.h"

#include <stdio.h>

/* Print layout, memory and messages of a resolved spec. Not collective. */
void tri_check_print(const tri_spec *spec, int n_ranks, const tri_job_plan *plan, FILE *stream);

/* Bytes in binary units: "512 B", "12.3 MiB". Not collective. Writes: out, which it returns. */
char *tri_check_bytes(double bytes, char *out, size_t out_bytes);

#endif

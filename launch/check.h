// SPDX-License-Identifier: Apache-2.0
/* What `trireme check` prints. */
#ifndef TRI_LAUNCH_CHECK_H
#define TRI_LAUNCH_CHECK_H

#include "launch/job.h"

#include <stdio.h>

/* Print layout, mesh, pipeline, memory and messages of a resolved spec. `plans` [parallel.pipeline]: of
 * the first rank of each place of the pipeline. Memory and messages are shown for the one that needs
 * most memory. Not collective. */
void tri_check_print(const tri_spec *spec, int n_ranks, const tri_job_plan *plans, FILE *stream);

/* Print the learning rate as it is laid out, and what the Step Law suggests. Not collective. */
void tri_check_rate(const tri_spec *spec, const tri_job_plan *plan, FILE *stream);

/* Bytes in binary units: "512 B", "12.3 MiB". Not collective. Writes: out, which it returns. */
char *tri_check_bytes(double bytes, char *out, size_t out_bytes);

#endif

// SPDX-License-Identifier: Apache-2.0
/* How the tools for checkpoints write times, sizes and meshes. */
#ifndef TRI_LAUNCH_CHECKPOINT_TEXT_H
#define TRI_LAUNCH_CHECKPOINT_TEXT_H

#include "runtime/mesh.h"

#include <stdio.h>
#include <time.h>

/* "2026-11-22 04:31", local time. Not collective. */
void tri_checkpoint_time(time_t when, char *out, size_t bytes);

/* "1.49 GB": decimal, three digits. Not collective. */
void tri_checkpoint_bytes(int64_t n_bytes, char *out, size_t bytes);

/* "data 2, tensor 4"; "one rank". Not collective. */
void tri_checkpoint_mesh(const int64_t axis[TRI_AXES], char *out, size_t bytes);

/* Whole numbers as JSON has a list of them. Not collective. */
void tri_checkpoint_json_numbers(FILE *stream, int n, const int64_t *numbers);

#endif

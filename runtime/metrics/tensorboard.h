// SPDX-License-Identifier: Apache-2.0
/* A TensorBoard event file: TFRecord frames around hand-encoded Event messages. Private to metrics. */
#ifndef TRI_RUNTIME_METRICS_TENSORBOARD_H
#define TRI_RUNTIME_METRICS_TENSORBOARD_H

#include "runtime/base/status.h"

typedef struct tri_tensorboard tri_tensorboard;

/* One curve's point. */
typedef struct tri_scalar {
    const char *tag; /* at most 64 bytes */
    float value;
} tri_scalar;

enum { TRI_SCALAR_TAG_BYTES = 64, TRI_TENSORBOARD_MAX_SCALARS = 40 };

/* Open `path` for appending, after cutting off records of steps > resume_step and what a crash left
 * half-written. Not collective. Errors: TRI_EIO; TRI_EFORMAT not an event file. */
TRI_MUST_USE tri_status tri_tensorboard_open(const char *path, int64_t resume_step,
                                             tri_tensorboard **out);

/* Append one event with the finite ones of n scalars. Not collective. Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_tensorboard_write(tri_tensorboard *board, int64_t step, int n,
                                              const tri_scalar *scalars);

/* Flush to disk. Not collective. Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_tensorboard_sync(tri_tensorboard *board);

/* Close; NULL is fine. Not collective. */
void tri_tensorboard_destroy(tri_tensorboard **board);

#endif

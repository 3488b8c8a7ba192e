// SPDX-License-Identifier: Apache-2.0
/* Reports of ranks that hang or died. Private to launch/health*. */
#ifndef TRI_LAUNCH_HEALTH_REPORT_H
#define TRI_LAUNCH_HEALTH_REPORT_H

#include "runtime/base/activity.h"
#include "runtime/device.h"

#include <stdio.h>

/* How a rank is known. */
typedef enum tri_health_source {
    TRI_HEALTH_UNKNOWN, /* nothing is known of it */
    TRI_HEALTH_SEEN,    /* it does not answer; what its record says */
    TRI_HEALTH_ANSWERS  /* its own word */
} tri_health_source;

/* What is known of a rank. A value, written to files as it is. */
typedef struct tri_health_line {
    int32_t rank;
    int32_t source;
    int64_t step;
    double still_s; /* since it moved last */
    double wait_s;  /* since the wait began; below 0: it waits for nobody */
    char host[64];
    char text[TRI_ACTIVITY_BYTES];
    char wait[TRI_WAIT_TEXT_BYTES];
} tri_health_line;

/* Who waits for whom: `lines` [n_ranks] in the order of ranks, written by rank `mine`. Not collective. */
void tri_health_write_hang(const tri_health_line *lines, int n_ranks, int mine, double limit_s,
                           FILE *stream);

/* The process of lines[0].rank died. Not collective. */
void tri_health_write_death(const tri_health_line *dead, int n_ranks, int mine, FILE *stream);

#endif

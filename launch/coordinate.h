// SPDX-License-Identifier: Apache-2.0
/* The coordinate check of a parameterization (Yang et al., arXiv:2203.03466, appendix D.1): models of
 * several widths take a few steps on the same batches. With mup what the steps change in an activation
 * is about as large at every width; with the standard parameterization it grows.
 */
#ifndef TRI_LAUNCH_COORDINATE_H
#define TRI_LAUNCH_COORDINATE_H

#include "launch/job.h"

#include <stdio.h>

enum { TRI_COORDINATE_WIDTHS = 8, TRI_COORDINATE_STEPS = 20 };

/* Slopes up to this far from 0 are flat; where learning rates do not follow the width, the residual
 * stream's are 1 and more. Scores and logits may fall as far as their random part does, which is a sum of
 * independent terms: with slope -1/2. */
#define TRI_COORDINATE_FLAT 0.3
#define TRI_COORDINATE_FALL (0.5 + TRI_COORDINATE_FLAT)

/* Where activations are looked at. */
typedef enum tri_coordinate_place {
    TRI_COORDINATE_EMBEDDING,
    TRI_COORDINATE_FIRST, /* the residual stream behind the first block, */
    TRI_COORDINATE_MIDDLE,
    TRI_COORDINATE_LAST,
    TRI_COORDINATE_SCORES, /* of attention, in the last block */
    TRI_COORDINATE_LOGITS,
    TRI_COORDINATE_PLACES
} tri_coordinate_place;

typedef struct tri_coordinate {
    int n_widths;
    int64_t width[TRI_COORDINATE_WIDTHS]; /* rising */
    int64_t steps;
    bool is_generated; /* the job's data cannot be read: tokens were made up */
    /* means of |x| and of |x - x before the first step|, after each step */
    double size[TRI_COORDINATE_PLACES][TRI_COORDINATE_WIDTHS][TRI_COORDINATE_STEPS + 1];
    double change[TRI_COORDINATE_PLACES][TRI_COORDINATE_WIDTHS][TRI_COORDINATE_STEPS + 1];
} tri_coordinate;

/* Train the spec's model (as read, not yet checked) at each width for out->steps steps on one rank, in fp32
 * without dropout and schedule, and measure on the first batch. Heads keep their number, the MLP its
 * ratio. Collective: world, of one rank.
 *
 * Shapes: out: n_widths, width and steps are set by the caller.
 * Errors: TRI_EINVAL widths that do not rise or do not fit, with the key; those of a job.
 */
TRI_MUST_USE tri_status tri_coordinate_measure(const tri_spec *spec, tri_comm *world,
                                               tri_coordinate *out);

/* Slope of log(change after the last step) over log(width), by least squares. Not collective. */
double tri_coordinate_slope(const tri_coordinate *c, tri_coordinate_place place);

/* Is no slope above TRI_COORDINATE_FLAT, none of the residual stream below -TRI_COORDINATE_FLAT, and none
 * of scores and logits below -TRI_COORDINATE_FALL? Not collective. */
bool tri_coordinate_is_flat(const tri_coordinate *c);

/* Print the tables and the verdict. Not collective. `spec` as measured. */
void tri_coordinate_print(const tri_coordinate *c, const tri_spec *spec, FILE *stream);

#endif

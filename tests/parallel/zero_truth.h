// SPDX-License-Identifier: Apache-2.0
/* Gradients of the made-up model: small integers (so that every order of summation gives the same bits),
 * and what one rank would get.
 */
#ifndef TRI_TESTS_PARALLEL_ZERO_TRUTH_H
#define TRI_TESTS_PARALLEL_ZERO_TRUTH_H

#include "tests/parallel/zero_model.h"

static inline float rig_start(int row, int64_t element)
{
    return (float)((row * 31 + element * 7) % 17) / 16.0f;
}

/* Gradient of one of the data ranks' micro-batches, of one of the tensor ranks that have a part. */
static inline float rig_gradient(int row, int64_t element, int step, int sample, int part)
{
    return (float)((row + 3 * element + 5 * step + 11 * sample + 7 * part) % 9 - 4);
}

/* The head's contribution to the tied parameter. */
static inline float rig_tied(int64_t element, int step, int sample)
{
    return (float)((2 * element + step + 3 * sample) % 5 - 2);
}

/* Rounds of the schedule in a group, and in a step. */
static inline int rig_group_rounds(const zero_rig *rig)
{
    return 1 + (int)(rig->c.seed % 2);
}

static inline int rig_rounds(const zero_rig *rig)
{
    return rig->c.groups * rig_group_rounds(rig);
}

/* Samples of `rounds` rounds, each of which takes the next ones of all data ranks. */
static inline int rig_samples(const zero_rig *rig, int rounds)
{
    return rig_axis(rig, TRI_AXIS_DATA) * rig_axis(rig, TRI_AXIS_CONTEXT) * rig->c.micro_batches *
           rounds;
}

static inline float rig_sum(const zero_rig *rig, int row, int64_t element, int step, int samples)
{
    float total = 0;
    for (int sample = 0; sample < samples; sample++) {
        for (int part = 0; part < rig->sum[row]; part++)
            total += rig_gradient(row, element, step, sample, part);
        if (rig->c.is_tied && row == 0) total += rig_tied(element, step, sample);
    }
    return total;
}

/* Of the whole step. */
static inline float rig_total(const zero_rig *rig, int row, int64_t element, int step)
{
    return rig_sum(rig, row, element, step, rig_samples(rig, rig_rounds(rig)));
}

static inline float rig_expected(const zero_rig *rig, int row, int64_t element, int steps)
{
    float w = rig_start(row, element);
    for (int step = 0; step < steps; step++)
        w -= 0.125f * rig_total(rig, row, element, step);
    return w;
}

#endif

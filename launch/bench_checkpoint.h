// SPDX-License-Identifier: Apache-2.0
/* `trireme bench checkpoint`: saving and loading against raw files. */
#ifndef TRI_LAUNCH_BENCH_CHECKPOINT_H
#define TRI_LAUNCH_BENCH_CHECKPOINT_H

#include "launch/bench.h"

/* Save and load the state of a real job (weights and moments of the GPT-2 of 124 million parameters, or
 * of a small one) against raw writes and reads of the same bytes by as many ranks, and what they need
 * of memory. Files go to a folder of its own below --dir, which is removed.
 *
 * Collective: world. Errors: TRI_EINVAL options, TRI_EIO, TRI_ENOMEM, TRI_EBUG a share above 1.25.
 */
TRI_MUST_USE tri_status tri_bench_checkpoint(const tri_bench_args *args);

#endif

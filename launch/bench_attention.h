// SPDX-License-Identifier: Apache-2.0
/* `trireme bench attention`: attention against the matrix products in it. */
#ifndef TRI_LAUNCH_BENCH_ATTENTION_H
#define TRI_LAUNCH_BENCH_ATTENTION_H

#include "launch/bench.h"

/* Forward and backward at the sizes of GPT-2 124M and of a grouped-query model. Not collective.
 *
 * A row's value counts the operations that causality leaves; its limit is the products alone, with
 * nothing between them (bench_heads). Errors: TRI_EINVAL arguments, TRI_EBUG a share above 1.02 (all
 * rows are printed before), TRI_ENOMEM.
 */
TRI_MUST_USE tri_status tri_bench_attention(const tri_bench_args *args);

#endif

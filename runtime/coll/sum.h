// SPDX-License-Identifier: Apache-2.0
/* The vector loops of collectives: sums in rank order, and copies past the cache. */
#ifndef TRI_RUNTIME_COLL_SUM_H
#define TRI_RUNTIME_COLL_SUM_H

#include "runtime/coll.h"

/* out_o[i] = ((in_0[i] op in_1[i]) op in_2[i]) ... for i < count and every o < n_out; n_in >= 2.
 *
 * Not collective. fp32 and bf16 are summed in fp32 (bf16 rounded once), fp64 and int64 in themselves.
 * An out may be an in. `past_cache`: outs will not be read soon; then tri_coll_fence comes before
 * other threads are told. The bits depend on nothing but the values.
 */
void tri_coll_reduce(tri_dtype dtype, tri_redop op, int n_in, const void *const *in, int n_out,
                     void *const *out, int64_t count, bool past_cache);

/* Copy, optionally past the cache. Not collective. */
void tri_coll_copy(void *out, const void *in, size_t bytes, bool past_cache);

/* Order stores past the cache before the next store. Not collective. */
void tri_coll_fence(void);

#endif

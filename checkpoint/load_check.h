// SPDX-License-Identifier: Apache-2.0
/* Do the rows of a job fit those of a checkpoint? Names, shapes and types must be equal, but for what the
 * options of a load allow: other floating types, another vocabulary.
 */
#ifndef TRI_CHECKPOINT_LOAD_CHECK_H
#define TRI_CHECKPOINT_LOAD_CHECK_H

#include "checkpoint/shard.h"

/* Is a row of this role to be loaded? Not collective. */
bool tri_load_wants(const tri_ckpt_load_args *args, int role);

/* Compare, and log on rank 0 what is cast and resized. Collective: args->world.
 *
 * In: m, of which rows alone are looked at; `whole` on rank 0, NULL elsewhere: where the job has fewer token
 * ids, rank 0 reads the surplus: is it zero, so mere padding?
 * Errors: TRI_EINVAL on the lowest rank that found a difference (names row, shapes, types and key), TRI_EPEER on
 * the others.
 */
TRI_MUST_USE tri_status tri_load_check(const tri_ckpt_load_args *args, const tri_manifest *m,
                                       const tri_manifest *whole);

#endif

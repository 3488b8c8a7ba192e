// SPDX-License-Identifier: Apache-2.0
/* Are replicas equal? What several ranks hold is saved once, by whichever of them it falls to: if memory
 * of one was damaged, or ranks updated differently, the checkpoint would hold one of them, or a mixture. So
 * each save compares checksums first.
 */
#ifndef TRI_CHECKPOINT_REPLICAS_H
#define TRI_CHECKPOINT_REPLICAS_H

#include "checkpoint/assign.h"

/* Compare what several ranks hold. Collective: world; `assign` is of `state`.
 *
 * Errors: TRI_EDIVERGED a row's replicas differ: names row and ranks. It is raised by the lowest rank that
 * is not of the most of its replicas, and TRI_OK elsewhere: the caller agrees. TRI_ENOMEM.
 * Cost: a checksum of what is held here and elsewhere too (nothing for ZeRO's shards), and one all-reduce of
 * 8 bytes for each row.
 */
TRI_MUST_USE tri_status tri_replicas_check(const tri_assign *assign, const tri_state *state,
                                           tri_comm *world);

#endif

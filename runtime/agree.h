// SPDX-License-Identifier: Apache-2.0
/* Ranks agree on success: after a step that can fail on one rank alone, all learn who failed first
 * and why, so that no rank is left waiting and the job gives one report.
 */
#ifndef TRI_RUNTIME_AGREE_H
#define TRI_RUNTIME_AGREE_H

#include "runtime/coll.h"

/* All ranks return TRI_OK, or all return a failure. Collective over `comm`.
 *
 * The lowest rank that failed returns its own error unchanged; all others, failed or not, return
 * TRI_EPEER with its message: one cause, one report. Cost: one all-reduce of one integer, more only after a failure.
 */
TRI_MUST_USE tri_status tri_agree(tri_comm *comm, tri_status mine);

/* Raise TRI_EBUG on all ranks unless `value` is the same on all; `what` names it. Collective. */
TRI_MUST_USE tri_status tri_agree_same(tri_comm *comm, int64_t value, const char *what);

#endif

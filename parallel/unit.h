// SPDX-License-Identifier: Apache-2.0
/* Units: what is gathered and reduced together (the embedding, a block, the head). The model visits them,
 * zero makes their weights and gradients be there.
 */
#ifndef TRI_PARALLEL_UNIT_H
#define TRI_PARALLEL_UNIT_H

#include <stdbool.h>

/* What is about to be done with a unit: its weights are read, the gradients of its matrices added to. (The
 * gradients of vectors always lie still.) */
typedef enum tri_unit_need { TRI_NEED_WEIGHTS = 1, TRI_NEED_GRADIENTS = 2 } tri_unit_need;

/* A visit: a use of the unit, and whether its gradients are complete for a micro-batch after it. */
typedef struct tri_unit_visit {
    int unit;
    tri_unit_need need;
    bool is_ready;
} tri_unit_visit;

#endif

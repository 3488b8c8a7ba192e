// SPDX-License-Identifier: Apache-2.0
/* Who shares what: three levels of pieces, and the groups of ranks that move them.
 *
 * A bucket is cut in equal pieces three times: size[0] pieces of its weights, of which a rank keeps
 * one; size[1] of its gradients; size[2] that ranks update. Pieces nest: the one that a rank updates
 * lies in its piece of gradients, which lies in its piece of weights.
 */
#ifndef TRI_PARALLEL_ZERO_GROUPS_H
#define TRI_PARALLEL_ZERO_GROUPS_H

#include "runtime/mesh.h"

typedef enum zero_level { ZERO_WEIGHTS, ZERO_GRADIENTS, ZERO_OPTIMIZER, ZERO_LEVELS } zero_level;

/* Ranks that communicate. size 1: none, comm NULL. */
typedef struct zero_group {
    tri_comm *comm; /* NULL on paper */
    int size;
    const char *name;
} zero_group;

/* How buckets of one sort are cut, this rank's piece at each level, and who moves the pieces. */
typedef struct zero_split {
    int size[ZERO_LEVELS], at[ZERO_LEVELS];
    zero_group unit;    /* weight pieces -> whole: gather when used */
    zero_group reduce;  /* whole gradients -> gradient pieces */
    zero_group finish;  /* gradient pieces -> pieces to update; back when published */
    zero_group publish; /* gradient pieces -> weight pieces, of new weights */
} zero_split;

#endif

// SPDX-License-Identifier: Apache-2.0
/* Parameter groups: what the job spec says of parameters by the patterns of their names. */
#ifndef TRI_OPTIM_GROUP_H
#define TRI_OPTIM_GROUP_H

#include "optim/optim.h"

/* One entry of optimizer.groups. */
typedef struct tri_optim_group {
    char match[TRI_OPTIM_GROUP_BYTES]; /* a pattern as of a shell, for names without "param/" */
    double lr;                         /* factor of the learning rate */
    double weight_decay;               /* -1: the optimizer's, by row.decay */
    bool adapts; /* false: no trust ratio, no scaling by the size of weights */
} tri_optim_group;

/* Read an entry: "PATTERN [lr FACTOR] [decay NUMBER] [adapt off]". Not collective. Errors: TRI_EINVAL
 * with the entry, the word, and what is known. */
TRI_MUST_USE tri_status tri_optim_group_parse(const char *text, tri_optim_group *out);

/* Does the pattern match a parameter row's name? Not collective. */
bool tri_optim_group_matches(const tri_optim_group *group, const char *name);

#endif

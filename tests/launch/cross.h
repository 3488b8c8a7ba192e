// SPDX-License-Identifier: Apache-2.0
/* Ordered pairs of layouts, to save on the first and load on the second, chosen from those of
 * tests/launch/matrix.h so that every value of every key of a layout and every product of axes is saved
 * from and loaded to, every axis grows and shrinks, and every value of a key follows every other.
 */
#ifndef TRI_TESTS_LAUNCH_CROSS_H
#define TRI_TESTS_LAUNCH_CROSS_H

#include "tests/launch/matrix.h"

enum { CROSS_PAIRS = 400 };

typedef struct cross_pair {
    matrix_layout from, to; /* of one model */
} cross_pair;

/* What pairs must have between them: true while none has it. */
typedef struct cross_goals {
    bool value[2][MATRIX_FACTORS][MATRIX_VALUES]; /* saved from, loaded to */
    bool product[2][MATRIX_PATTERNS];
    bool few_kv_heads[2];     /* fewer than ranks of the tensor axis */
    bool length[2][TRI_AXES]; /* an axis gets longer, shorter */
    bool change[MATRIX_FACTORS][MATRIX_VALUES][MATRIX_VALUES];
} cross_goals;

typedef struct cross {
    const matrix *m;
    int n;
    cross_pair pair[CROSS_PAIRS];
    cross_goals open; /* what no pair has */
} cross;

/* Choose pairs of m's layouts: `n_wanted`, those that have most of it; `all`: as many more as it takes to
 * have all. Not collective. Keeps: m. The same list each time. Errors: TRI_EBUG too many. */
TRI_MUST_USE tri_status cross_create(const matrix *m, int n_wanted, bool all, cross **out);
void cross_destroy(cross **c);

#endif

// SPDX-License-Identifier: Apache-2.0
/* What tests of schedules share: orders as words ("F0a B0a W0a", the letter where there are chunks),
 * tables made from such words, and a search for one operation.
 */
#ifndef TRI_TESTS_PARALLEL_SCHEDULE_TABLES_H
#define TRI_TESTS_PARALLEL_SCHEDULE_TABLES_H

#include "parallel/schedule/schedule_impl.h"
#include "tests/test.h"

enum { TABLE_WORDS_BYTES = 4096 };

/* The computing operations of a rank as words. */
static inline char *table_words(const tri_schedule *schedule, int rank, char out[TABLE_WORDS_BYTES])
{
    static const char letters[] = {'F', 'B', 'B', 'W'};
    size_t n = 0;
    out[0] = '\0';
    for (int i = 0; i < schedule->n_ops[rank]; i++) {
        const tri_op *op = &schedule->ops[rank][i];
        if (op->kind > TRI_OP_BACKWARD_WEIGHT) continue;
        char chunk[2] = {schedule->chunks > 1 ? (char)('a' + op->chunk) : '\0', '\0'};
        n += (size_t)snprintf(out + n, TABLE_WORDS_BYTES - n, "%s%c%d%s", n ? " " : "",
                              letters[op->kind], op->micro, chunk);
    }
    return out;
}

/* A table from each rank's words; stage = chunk * ranks + rank. Not verified. */
static inline tri_status table_create(int ranks, int chunks, int micro_batches, bool split,
                                      const char *const *words, tri_schedule **out)
{
    TRI_AUTO(tri_schedule) *schedule = NULL;
    TRI_TRY(TRI_NEW(&schedule));
    snprintf(schedule->name, sizeof schedule->name, "by hand");
    schedule->ranks = ranks;
    schedule->chunks = chunks;
    schedule->micro_batches = micro_batches;
    schedule->split = split;
    TRI_TRY(TRI_NEW_ARRAY(ranks * chunks, &schedule->rank_of));
    TRI_TRY(TRI_NEW_ARRAY(ranks * chunks, &schedule->slots));
    TRI_TRY(TRI_NEW_ARRAY(ranks, &schedule->n_ops));
    TRI_TRY(TRI_NEW_ARRAY(ranks, &schedule->ops));
    for (int s = 0; s < ranks * chunks; s++)
        schedule->rank_of[s] = s % ranks;
    for (int r = 0; r < ranks; r++) {
        TRI_TRY(TRI_NEW_ARRAY(7 * chunks * micro_batches, &schedule->ops[r]));
        for (const char *word = words[r]; *word;) {
            char *end = NULL;
            int micro = (int)strtol(word + 1, &end, 10);
            int chunk = chunks > 1 ? *end++ - 'a' : 0;
            tri_op_kind kind = *word == 'F'   ? TRI_OP_FORWARD
                               : *word == 'W' ? TRI_OP_BACKWARD_WEIGHT
                               : split        ? TRI_OP_BACKWARD_INPUT
                                              : TRI_OP_BACKWARD;
            tri_schedule_put(schedule, r, kind, chunk * ranks + r, micro);
            word = end + (*end == ' ');
        }
    }
    TRI_TRY(tri_schedule_add_messages(schedule));
    *out = TRI_MOVE(schedule);
    return TRI_OK;
}

/* Position of an operation in its rank's table; -1: it is not there. */
static inline int table_find(const tri_schedule *schedule, tri_op_kind kind, int stage, int micro)
{
    int rank = schedule->rank_of[stage];
    for (int i = 0; i < schedule->n_ops[rank]; i++) {
        const tri_op *op = &schedule->ops[rank][i];
        if (op->kind == kind && op->stage == stage && op->micro == micro) return i;
    }
    return -1;
}

#endif

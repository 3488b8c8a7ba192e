// SPDX-License-Identifier: Apache-2.0
/* A sum for each row over all ranks: the checksum of a part counts copies - 1 on its first holder and -1
 * on each other, so that the sum is zero where all are equal, whatever the number of parts. That two
 * differences cancel has the chance of two checksums being equal. Only where a sum is not zero do ranks look
 * at one another's checksums.
 */
#include "checkpoint/replicas.h"

#include "runtime/base/alloc.h"
#include "runtime/base/crc.h"

#include <stdio.h>
#include <stdlib.h>

enum { REPLICAS_LIST_BYTES = 96, REPLICAS_LISTED = 8 };

typedef int64_t replicas_sums;

static inline void replicas_sums_destroy(replicas_sums **sums)
{
    TRI_FREE(*sums);
}

/* A rank's part of one row. */
typedef struct replicas_part {
    int64_t first, begin, count; /* count 0: none that others hold too */
    int64_t crc, rank;
} replicas_part;

static inline void replicas_part_destroy(replicas_part **parts)
{
    TRI_FREE(*parts);
}

static int64_t replicas_crc(const tri_row *row)
{
    return tri_crc32c(row->data, (size_t)row->count * tri_dtype_bytes(row->dtype));
}

/* The row that is wrong: this rank's part of it. */
static void replicas_mine(const tri_assign *assign, const tri_state *state, int64_t row,
                          replicas_part *out)
{
    for (int64_t i = 0; i < assign->n_holds; i++) {
        const tri_share_hold *hold = &assign->holds[i];
        if (hold->row != row || hold->weight == 0) continue;
        const tri_row *held = tri_state_row(state, (int)i);
        out->first = hold->first;
        out->begin = held->begin;
        out->count = held->count;
        out->crc = replicas_crc(held);
    }
}

/* By part; in it, equal ones together. */
static int replicas_order(const void *a, const void *b)
{
    const int64_t *x = a; /* first, begin, count, crc, rank */
    const int64_t *y = b;
    for (int i = 0; i < 5; i++)
        if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
    return 0;
}

static bool replicas_are_of(const replicas_part *a, const replicas_part *b)
{
    return a->first == b->first && a->begin == b->begin && a->count == b->count;
}

/* "rank 3", "ranks 0, 1 and 5", "ranks 0, 1, ... (12 of them)" */
static void replicas_list(const replicas_part *part, int64_t n, char out[REPLICAS_LIST_BYTES])
{
    int used = snprintf(out, REPLICAS_LIST_BYTES, n == 1 ? "rank" : "ranks");
    for (int64_t i = 0; i < n && i < REPLICAS_LISTED; i++)
        used += snprintf(out + used, (size_t)(REPLICAS_LIST_BYTES - used), "%s%lld",
                         i == 0 ? " " : (i == n - 1 ? " and " : ", "), (long long)part[i].rank);
    if (n > REPLICAS_LISTED)
        snprintf(out + used, (size_t)(REPLICAS_LIST_BYTES - used), " ... (%lld of them)",
                 (long long)n);
}

/* Equal replicas [at, at + n) of a part. */
typedef struct replicas_run {
    int64_t at, n;
} replicas_run;

/* The first part whose replicas differ: its largest run of equal ones and, of the others, the one with the
 * lowest rank. */
static bool replicas_find(const replicas_part *parts, int64_t n, replicas_run *most,
                          replicas_run *other)
{
    for (int64_t begin = 0, end = 0; begin < n; begin = end) {
        *most = *other = (replicas_run){begin, 0};
        for (end = begin; end < n && replicas_are_of(&parts[begin], &parts[end]);) {
            replicas_run run = {end, 0};
            while (end < n && replicas_are_of(&parts[begin], &parts[end]) &&
                   parts[end].crc == parts[run.at].crc)
                end++;
            run.n = end - run.at;
            replicas_run less = run;
            bool is_most =
                run.n > most->n || (run.n == most->n && parts[run.at].rank < parts[most->at].rank);
            if (is_most) {
                less = *most;
                *most = run;
            }
            if (less.n > 0 && (other->n == 0 || parts[less.at].rank < parts[other->at].rank))
                *other = less;
        }
        if (other->n > 0 && parts[begin].count > 0) return true;
    }
    return false;
}

/* All ranks look at row `row`; one of them raises. Collective: world. */
static tri_status replicas_report(const tri_assign *assign, const tri_state *state, tri_comm *world,
                                  int64_t row, int64_t n_bad)
{
    enum { WORDS = sizeof(replicas_part) / sizeof(int64_t) };
    int n = tri_comm_size(world);
    replicas_part mine = {.rank = tri_comm_rank(world)};
    replicas_run most;
    replicas_run other;
    char good[REPLICAS_LIST_BYTES];
    char bad[REPLICAS_LIST_BYTES];
    TRI_AUTO(replicas_part) *parts = NULL;
    TRI_TRY(TRI_NEW_ARRAY(n, &parts));
    replicas_mine(assign, state, row, &mine);
    TRI_TRY(tri_allgather(world, tri_span_make(&mine, WORDS, TRI_I64),
                          tri_span_make(parts, (int64_t)n * WORDS, TRI_I64), NULL));
    qsort(parts, (size_t)n, sizeof *parts, replicas_order);
    if (!replicas_find(parts, n, &most, &other)) return TRI_OK; /* changed meanwhile */
    if (parts[other.at].rank != mine.rank) return TRI_OK;
    replicas_list(&parts[most.at], most.n, good);
    replicas_list(&parts[other.at], other.n, bad);
    char more[64] = "";
    if (n_bad > 1)
        snprintf(more, sizeof more, "; so do those of %lld more rows", (long long)(n_bad - 1));
    TRI_FAIL(TRI_EDIVERGED,
             "replicas of row '%s' differ: %s %s other bytes than %s%s. Memory was damaged, or "
             "ranks computed different updates: start again from the newest checkpoint",
             assign->rows[row].name, bad, other.n == 1 ? "has" : "have", good, more);
}

tri_status tri_replicas_check(const tri_assign *assign, const tri_state *state, tri_comm *world)
{
    TRI_AUTO(replicas_sums) *sums = NULL;
    TRI_TRY(TRI_NEW_ARRAY(assign->n_rows, &sums));
    for (int64_t i = 0; i < assign->n_holds; i++) {
        const tri_share_hold *hold = &assign->holds[i];
        if (hold->weight != 0)
            sums[hold->row] += hold->weight * replicas_crc(tri_state_row(state, (int)i));
    }
    TRI_TRY(tri_allreduce(world, tri_span_make(sums, assign->n_rows, TRI_I64), TRI_SUM, NULL));
    int64_t n_bad = 0;
    int64_t bad = -1;
    for (int64_t i = assign->n_rows - 1; i >= 0; i--) {
        if (sums[i] == 0) continue;
        bad = i;
        n_bad++;
    }
    return n_bad ? replicas_report(assign, state, world, bad, n_bad) : TRI_OK;
}

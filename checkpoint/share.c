// SPDX-License-Identifier: Apache-2.0
/* Parts that the same ranks hold form a group, whose bytes go over these ranks like water into a vessel:
 * first to the least loaded, up to a common level. Groups in turn are poured anew given all others until
 * nothing moves: the sums of squares of the loads fall in each step, and where they are least, the
 * largest load is least (the worst-fit of ByteCheckpoint, NSDI'25, carried to its end). A last round cuts
 * the groups for good, the largest first.
 */
#include "checkpoint/share.h"

#include "runtime/base/alloc.h"
#include "runtime/base/int.h"

#include <stdlib.h>
#include <string.h>

/* Rounds of pouring; over when no load has moved by more than this fraction of a part. */
enum { SHARE_ROUNDS = 64, SHARE_STILL = 64 };

/* Equal parts: sorted holds [at, at + n), by rank. */
typedef struct share_part {
    int64_t at, bytes;
    int64_t next; /* part of the same group; -1: the last */
} share_part;

/* Ranks that hold equal parts: those of its first part. `poured` is where the bytes of its ranks are. */
typedef struct share_group {
    int64_t head, tail; /* parts */
    int64_t n_ranks, bytes, poured;
    uint64_t hash;
} share_group;

/* A rank of a group, by its load without the group. */
typedef struct share_rank {
    int64_t load;
    int64_t index; /* in the group */
} share_rank;

typedef struct share_work {
    const tri_manifest_row *rows;
    int64_t part_bytes;
    tri_share_hold **holds; /* sorted */
    int64_t n_holds;
    share_part *parts;
    int64_t n_parts;
    share_group *groups; /* at the end: largest first */
    int64_t n_groups;
    int64_t *slots;    /* of groups by their ranks: index + 1; at most half full */
    int64_t n_slots;   /* a power of two; room for half as many groups */
    int64_t *load;     /* [rank] bytes */
    int64_t *poured;   /* bytes of each rank of each group */
    share_rank *ranks; /* scratch */
} share_work;

static void share_work_destroy(share_work *work)
{
    TRI_FREE(work->holds);
    TRI_FREE(work->parts);
    TRI_FREE(work->groups);
    TRI_FREE(work->slots);
    TRI_FREE(work->load);
    TRI_FREE(work->poured);
    TRI_FREE(work->ranks);
}

static int share_compare(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

/* By part, ignoring the rank. */
static int share_part_order(const tri_share_hold *x, const tri_share_hold *y)
{
    if (x->row != y->row) return share_compare(x->row, y->row);
    if (x->first != y->first) return share_compare(x->first, y->first);
    if (x->begin != y->begin) return share_compare(x->begin, y->begin);
    return share_compare(x->count, y->count);
}

static int share_hold_order(const void *a, const void *b)
{
    const tri_share_hold *x = *(tri_share_hold *const *)a;
    const tri_share_hold *y = *(tri_share_hold *const *)b;
    int order = share_part_order(x, y);
    return order ? order : share_compare(x->rank, y->rank);
}

static int64_t share_element_bytes(const share_work *work, const tri_share_hold *hold)
{
    return (int64_t)tri_dtype_bytes((tri_dtype)work->rows[hold->row].dtype);
}

/* Ranks of a group, or of a part. */
static int share_rank_of(const share_work *work, int64_t part, int64_t index)
{
    return work->holds[work->parts[part].at + index]->rank;
}

/* Sort, and cut into parts. */
static tri_status share_find_parts(share_work *work)
{
    qsort(work->holds, (size_t)work->n_holds, sizeof *work->holds, share_hold_order);
    for (int64_t i = 0; i < work->n_holds; i++) {
        const tri_share_hold *hold = work->holds[i];
        const tri_share_hold *before = i ? work->holds[i - 1] : NULL;
        if (before && share_part_order(before, hold) == 0) {
            TRI_CHECK(before->rank != hold->rank, TRI_EBUG,
                      "rank %d holds a part of row '%s' twice", hold->rank,
                      work->rows[hold->row].name);
            continue;
        }
        bool apart = !before || before->row != hold->row || before->first != hold->first ||
                     before->begin + before->count <= hold->begin;
        TRI_CHECK(apart, TRI_EBUG,
                  "ranks %d and %d hold overlapping parts of row '%s': elements [%lld, %lld) and "
                  "[%lld, %lld) of a box",
                  before->rank, hold->rank, work->rows[hold->row].name, (long long)before->begin,
                  (long long)(before->begin + before->count), (long long)hold->begin,
                  (long long)(hold->begin + hold->count));
        work->parts[work->n_parts++] = (share_part){
            .at = i, .bytes = hold->count * share_element_bytes(work, hold), .next = -1};
    }
    return TRI_OK;
}

static bool share_same_ranks(const share_work *work, int64_t a, int64_t b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (share_rank_of(work, a, i) != share_rank_of(work, b, i)) return false;
    return true;
}

/* The slot of the group with the ranks of `want`, or where it would go. */
static int64_t share_slot(const share_work *work, const share_group *want)
{
    int64_t slot = (int64_t)((want->hash >> 16) & (uint64_t)(work->n_slots - 1));
    for (; work->slots[slot]; slot = (slot + 1) & (work->n_slots - 1)) {
        const share_group *group = &work->groups[work->slots[slot] - 1];
        if (group->hash == want->hash && group->n_ranks == want->n_ranks &&
            share_same_ranks(work, group->head, want->head, want->n_ranks))
            break;
    }
    return slot;
}

/* Make room for one more group. */
static tri_status share_grow(share_work *work)
{
    if (2 * work->n_groups < work->n_slots) return TRI_OK;
    int64_t n_slots = tri_max64(64, 2 * work->n_slots);
    TRI_TRY(
        tri_alloc_grow((void **)&work->groups, work->n_groups, n_slots / 2, sizeof *work->groups));
    TRI_FREE(work->slots);
    work->n_slots = 0;
    TRI_TRY(TRI_NEW_ARRAY(n_slots, &work->slots));
    work->n_slots = n_slots;
    for (int64_t g = 0; g < work->n_groups; g++)
        work->slots[share_slot(work, &work->groups[g])] = g + 1;
    return TRI_OK;
}

/* Put a part into the group of its ranks. */
static tri_status share_join(share_work *work, int64_t part)
{
    int64_t end = part + 1 < work->n_parts ? work->parts[part + 1].at : work->n_holds;
    share_group mine = {.head = part, .tail = part, .hash = 0xcbf29ce484222325u};
    mine.n_ranks = end - work->parts[part].at;
    mine.bytes = work->parts[part].bytes;
    for (int64_t i = 0; mine.n_ranks > 1 && i < mine.n_ranks; i++)
        work->holds[work->parts[part].at + i]->weight = i == 0 ? (int32_t)mine.n_ranks - 1 : -1;
    for (int64_t i = 0; i < mine.n_ranks; i++)
        mine.hash = (mine.hash ^ (uint64_t)share_rank_of(work, part, i)) * 0x100000001b3u;
    TRI_TRY(share_grow(work));
    int64_t slot = share_slot(work, &mine);
    if (!work->slots[slot]) {
        work->groups[work->n_groups++] = mine;
        work->slots[slot] = work->n_groups;
        return TRI_OK;
    }
    share_group *group = &work->groups[work->slots[slot] - 1];
    work->parts[group->tail].next = part;
    group->tail = part;
    group->bytes += mine.bytes;
    return TRI_OK;
}

static int share_group_order(const void *a, const void *b)
{
    const share_group *x = a;
    const share_group *y = b;
    return x->bytes != y->bytes ? share_compare(y->bytes, x->bytes)
                                : share_compare(x->head, y->head);
}

static tri_status share_find_groups(share_work *work)
{
    for (int64_t part = 0; part < work->n_parts; part++)
        TRI_TRY(share_join(work, part));
    qsort(work->groups, (size_t)work->n_groups, sizeof *work->groups, share_group_order);
    int64_t n = 0;
    int64_t most = 0;
    for (int64_t g = 0; g < work->n_groups; g++) {
        work->groups[g].poured = n;
        n += work->groups[g].n_ranks;
        most = tri_max64(most, work->groups[g].n_ranks);
    }
    TRI_TRY(TRI_NEW_ARRAY(n, &work->poured));
    return TRI_NEW_ARRAY(most, &work->ranks);
}

static int share_rank_order(const void *a, const void *b)
{
    const share_rank *x = a;
    const share_rank *y = b;
    return x->load != y->load ? share_compare(x->load, y->load) : share_compare(x->index, y->index);
}

/* Give a group's bytes to its least loaded ranks, up to a common level, at least `least` to each. Returns
 * the largest change of a rank. */
static int64_t share_pour(share_work *work, const share_group *group, int64_t least)
{
    int64_t *poured = work->poured + group->poured;
    for (int64_t i = 0; i < group->n_ranks; i++) {
        int rank = share_rank_of(work, group->head, i);
        work->load[rank] -= poured[i];
        work->ranks[i] = (share_rank){work->load[rank], i};
    }
    qsort(work->ranks, (size_t)group->n_ranks, sizeof *work->ranks, share_rank_order);
    int64_t k = 1;
    int64_t sum = group->bytes + work->ranks[0].load; /* k times the level */
    while (k < group->n_ranks && (k + 1) * (work->ranks[k].load + least) <=
                                     sum + work->ranks[k].load) /* all get `least` */
        sum += work->ranks[k++].load;
    int64_t change = 0;
    for (int64_t i = 0; i < group->n_ranks; i++) {
        int64_t index = work->ranks[i].index;
        int64_t bytes = i < k ? sum / k + (i < sum % k) - work->ranks[i].load : 0;
        change = tri_max64(change, llabs(bytes - poured[index]));
        poured[index] = bytes;
        work->load[share_rank_of(work, group->head, index)] += bytes;
    }
    return change;
}

static void share_level(share_work *work)
{
    for (int round = 0; round < SHARE_ROUNDS; round++) {
        int64_t change = 0;
        for (int64_t g = 0; g < work->n_groups; g++)
            if (round == 0 || work->groups[g].n_ranks > 1)
                change = tri_max64(change, share_pour(work, &work->groups[g], 0));
        if (change <= work->part_bytes / SHARE_STILL && round > 0) break;
    }
    for (int64_t g = 0; g < work->n_groups; g++)
        share_pour(work, &work->groups[g], work->part_bytes);
}

/* Cut a group's parts, one after another, between its ranks. */
static void share_cut(share_work *work, const share_group *group)
{
    int64_t before = 0; /* bytes of the parts before this one */
    int64_t from = 0;   /* of the rank's run */
    int64_t i = 0;
    const int64_t *poured = work->poured + group->poured;
    for (int64_t p = group->head; p >= 0; p = work->parts[p].next) {
        tri_share_hold **holds = work->holds + work->parts[p].at;
        int64_t element = share_element_bytes(work, holds[0]);
        int64_t end = before + work->parts[p].bytes;
        int64_t begin = holds[0]->begin;
        for (int64_t k = 0; k < i; k++)
            holds[k]->count = 0;
        for (int64_t k = i; k < group->n_ranks; k++) {
            /* runs before and behind meet at the same element, whoever rounds */
            int64_t a = tri_max64(from, before) - before;
            int64_t b = tri_min64(from + poured[k], end) - before;
            holds[k]->begin = begin + a / element;
            holds[k]->count = b > a ? b / element - a / element : 0;
            if (from + poured[k] > end) {
                for (k++; k < group->n_ranks; k++)
                    holds[k]->count = 0;
                break;
            }
            from += poured[k];
            i = k + 1;
        }
        before = end;
    }
}

tri_status tri_share_decide(const tri_manifest_row *rows, int n_ranks, int64_t part_bytes,
                            tri_share_hold *holds, int64_t n_holds)
{
    TRI_AUTO(share_work)
    work = {.rows = rows, .part_bytes = part_bytes};
    TRI_TRY(TRI_NEW_ARRAY(n_holds, &work.holds));
    TRI_TRY(TRI_NEW_ARRAY(n_holds, &work.parts));
    TRI_TRY(TRI_NEW_ARRAY(n_ranks, &work.load));
    for (int64_t i = 0; i < n_holds; i++)
        if (holds[i].count > 0) work.holds[work.n_holds++] = &holds[i];
    if (work.n_holds == 0) return TRI_OK;
    TRI_TRY(share_find_parts(&work));
    TRI_TRY(share_find_groups(&work));
    share_level(&work);
    for (int64_t g = 0; g < work.n_groups; g++)
        share_cut(&work, &work.groups[g]);
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* Agreement on success over an all-reduce of one integer. */
#include "runtime/agree.h"

#include <stdio.h>
#include <string.h>

/* What the lowest failing rank tells the others. */
typedef struct agree_cause {
    int64_t code;
    char text[TRI_ERR_TEXT_BYTES];
} agree_cause;

/* Collective part; *first is the failing rank to be believed, or -1. */
static tri_status agree_exchange(tri_comm *comm, const tri_err *mine, int64_t *first,
                                 agree_cause *cause)
{
    int size = tri_comm_size(comm);
    int64_t none = 2 * (int64_t)size;
    /* A rank that itself only heard of a failure is believed last: its peer knows the cause. */
    int64_t key =
        mine->code == TRI_OK ? none : tri_comm_rank(comm) + (mine->code == TRI_EPEER ? size : 0);
    TRI_TRY(tri_allreduce(comm, tri_span_make(&key, 1, TRI_I64), TRI_MIN, NULL));
    *first = key == none ? -1 : key % size;
    if (*first < 0) return TRI_OK;
    cause->code = mine->code;
    snprintf(cause->text, sizeof cause->text, "%s", mine->text);
    TRI_TRY(tri_broadcast(comm, tri_span_make(cause, sizeof *cause, TRI_U8), (int)*first, NULL));
    return TRI_OK;
}

tri_status tri_agree(tri_comm *comm, tri_status mine)
{
    tri_err own = {.code = TRI_OK};
    if (mine != TRI_OK) {
        tri_err_take(&own);
        own.code = mine;
    }
    int64_t first = -1;
    agree_cause cause = {0};
    tri_status rc = agree_exchange(comm, &own, &first, &cause);
    /* One cause, one report: where several ranks failed, only the first keeps its own failure. */
    bool is_mine = rc != TRI_OK || first == tri_comm_rank(comm);
    if (mine != TRI_OK && is_mine) return tri_err_put(&own);
    TRI_TRY(rc);
    TRI_CHECK(first < 0, TRI_EPEER, "rank %lld failed: %s: %.700s", (long long)first,
              tri_status_name((tri_status)cause.code), cause.text);
    return TRI_OK;
}

tri_status tri_agree_same(tri_comm *comm, int64_t value, const char *what)
{
    /* ~ reverses the order, so that one maximum gives both ends. */
    int64_t ends[2] = {value, ~value};
    TRI_TRY(tri_allreduce(comm, tri_span_make(ends, 2, TRI_I64), TRI_MAX, NULL));
    TRI_CHECK(ends[0] == ~ends[1], TRI_EBUG,
              "%s differs between ranks: from %lld to %lld, %lld on this rank", what,
              (long long)~ends[1], (long long)ends[0], (long long)value);
    return TRI_OK;
}

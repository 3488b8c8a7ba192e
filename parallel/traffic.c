// SPDX-License-Identifier: Apache-2.0
/* Lists of predicted messages. */
#include "parallel/traffic.h"

#include <assert.h>
#include <string.h>

void tri_traffic_add(tri_traffic_list *list, const tri_traffic *more)
{
    if (more->ranks < 2 || more->calls == 0) return;
    for (int i = 0; i < list->n; i++) {
        tri_traffic *entry = &list->entry[i];
        if (entry->kind != more->kind || entry->ranks != more->ranks ||
            strcmp(entry->group, more->group) != 0 || strcmp(entry->what, more->what) != 0)
            continue;
        entry->calls += more->calls;
        entry->payload_bytes += more->payload_bytes;
        return;
    }
    assert(list->n < TRI_TRAFFIC_MAX);
    list->entry[list->n++] = *more;
}

double tri_traffic_sent_bytes(const tri_traffic *traffic)
{
    double n = traffic->ranks;
    double payload = (double)traffic->payload_bytes;
    switch (traffic->kind) {
    case TRI_COLL_ALLREDUCE:
        return 2 * (n - 1) / n * payload;
    case TRI_COLL_ALLGATHER: /* the payload is one rank's part */
        return (n - 1) * payload;
    case TRI_COLL_REDUCE_SCATTER:
    case TRI_COLL_ALLTOALL:
    case TRI_COLL_BROADCAST: /* the mean over the ranks: all but one get it */
        return (n - 1) / n * payload;
    case TRI_COLL_SEND:
        return payload;
    default:
        return 0;
    }
}

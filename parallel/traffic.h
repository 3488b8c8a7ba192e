// SPDX-License-Identifier: Apache-2.0
/* What a step moves, predicted: a list that every module adds its messages to. `trireme check` prints
 * it; tests compare it with what communicators counted and with what MPI sent.
 */
#ifndef TRI_PARALLEL_TRAFFIC_H
#define TRI_PARALLEL_TRAFFIC_H

#include "runtime/coll.h"

enum { TRI_TRAFFIC_MAX = 64 };

/* Calls of one kind over one communicator in one step, on one rank. */
typedef struct tri_traffic {
    char group[24]; /* "tensor", "data x context", "pipeline", "zero weights" ... */
    int ranks;      /* of the communicator */
    tri_coll_kind kind;
    char what[24]; /* "attention, MLP", "gradients", "keys, values" ... */
    int64_t calls;
    int64_t payload_bytes; /* of the calls' arguments, as tri_coll_stats counts */
} tri_traffic;

typedef struct tri_traffic_list {
    int n;
    tri_traffic entry[TRI_TRAFFIC_MAX];
} tri_traffic_list;

/* Add calls to the entry of the same group, kind and purpose, or a new entry. Nothing where ranks < 2
 * or calls = 0. Not collective. */
void tri_traffic_add(tri_traffic_list *list, const tri_traffic *more);

/* Bytes that one rank sends for these calls with ring algorithms: all-reduce 2(n-1)/n of the payload,
 * reduce-scatter, all-gather and all-to-all (n-1)/n of the whole buffer, send all, broadcast (n-1)/n as
 * the mean over the ranks. Not collective. */
double tri_traffic_sent_bytes(const tri_traffic *traffic);

#endif

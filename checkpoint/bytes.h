// SPDX-License-Identifier: Apache-2.0
/* Bytes of differing length from all ranks to rank 0, and from rank 0 to all: the index of a
 * checkpoint on its way. Gathering goes along a binomial tree: logarithmic in the number of ranks.
 */
#ifndef TRI_CHECKPOINT_BYTES_H
#define TRI_CHECKPOINT_BYTES_H

#include "runtime/coll.h"

/* An owned block of bytes. */
typedef struct tri_bytes {
    char *data;
    int64_t n;
} tri_bytes;

/* Free the block. Not collective. */
void tri_bytes_destroy(tri_bytes *bytes);

/* Append `n` bytes at `data`. Not collective. Errors: TRI_ENOMEM. */
TRI_MUST_USE tri_status tri_bytes_append(tri_bytes *bytes, const void *data, int64_t n);

/* On rank 0: bytes = those of all ranks, in the order of the ranks; elsewhere: bytes is emptied.
 * Collective: comm. Errors: TRI_ENOMEM, TRI_ECOMM. */
TRI_MUST_USE tri_status tri_bytes_gather(tri_comm *comm, tri_bytes *bytes);

/* Each rank's own block of rank 0's `all`, which has counts[rank] bytes of each, in the order of the
 * ranks. Collective: comm; all and counts are read on rank 0. Writes: *out. Errors: TRI_ENOMEM,
 * TRI_ECOMM. */
TRI_MUST_USE tri_status tri_bytes_scatter(tri_comm *comm, const tri_bytes *all,
                                          const int64_t *counts, tri_bytes *out);

/* bytes = those of rank 0. Collective: comm. Errors: TRI_ENOMEM, TRI_ECOMM. */
TRI_MUST_USE tri_status tri_bytes_broadcast(tri_comm *comm, tri_bytes *bytes);

#endif

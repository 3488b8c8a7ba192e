// SPDX-License-Identifier: Apache-2.0
/* Gather and broadcast of byte blocks. */
#include "checkpoint/bytes.h"

#include "runtime/base/alloc.h"
#include "runtime/base/int.h"

#include <string.h>

void tri_bytes_destroy(tri_bytes *bytes)
{
    TRI_FREE(bytes->data);
    bytes->n = 0;
}

tri_status tri_bytes_append(tri_bytes *bytes, const void *data, int64_t n)
{
    char *joined = NULL;
    TRI_TRY(TRI_NEW_ARRAY(bytes->n + n, &joined));
    if (bytes->n) memcpy(joined, bytes->data, (size_t)bytes->n);
    if (n) memcpy(joined + bytes->n, data, (size_t)n);
    TRI_FREE(bytes->data);
    bytes->data = joined;
    bytes->n += n;
    return TRI_OK;
}

static tri_status bytes_send(tri_comm *comm, const tri_bytes *bytes, int to)
{
    TRI_TRY(tri_send(comm, tri_span_make(&bytes->n, 1, TRI_I64), to, NULL));
    if (!bytes->n) return TRI_OK;
    return tri_send(comm, tri_span_make(bytes->data, bytes->n, TRI_U8), to, NULL);
}

static tri_status bytes_receive(tri_comm *comm, tri_bytes *bytes, int from)
{
    TRI_AUTO(tri_bytes) more = {0};
    int64_t n = 0;
    TRI_TRY(tri_recv(comm, tri_span_make(&n, 1, TRI_I64), from, NULL));
    if (!n) return TRI_OK;
    TRI_TRY(TRI_NEW_ARRAY(n, &more.data));
    more.n = n;
    TRI_TRY(tri_recv(comm, tri_span_make(more.data, n, TRI_U8), from, NULL));
    return tri_bytes_append(bytes, more.data, n);
}

tri_status tri_bytes_gather(tri_comm *comm, tri_bytes *bytes)
{
    int rank = tri_comm_rank(comm);
    int n_ranks = tri_comm_size(comm);
    /* A rank that has joined the blocks of [rank, rank + step) hands them to rank - step. */
    for (int step = 1; step < n_ranks; step *= 2) {
        if (rank & step) {
            TRI_TRY(bytes_send(comm, bytes, rank - step));
            tri_bytes_destroy(bytes);
            return TRI_OK;
        }
        if (rank + step < n_ranks) TRI_TRY(bytes_receive(comm, bytes, rank + step));
    }
    return TRI_OK;
}

/* Blocks of ranks [first, first + n) on their way down the tree. */
typedef struct bytes_branch {
    int n;
    int64_t *counts;
    tri_bytes blocks;
} bytes_branch;

static void bytes_branch_destroy(bytes_branch *branch)
{
    TRI_FREE(branch->counts);
    tri_bytes_destroy(&branch->blocks);
}

static int64_t bytes_sum(const int64_t *counts, int n)
{
    int64_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += counts[i];
    return sum;
}

/* Rank 0 has it all; another rank gets the branch that begins with it. */
static tri_status bytes_branch_take(tri_comm *comm, const tri_bytes *all, const int64_t *counts,
                                    int step, bytes_branch *out)
{
    int rank = tri_comm_rank(comm);
    out->n = (int)tri_min64(step, tri_comm_size(comm) - rank);
    TRI_TRY(TRI_NEW_ARRAY(out->n, &out->counts));
    if (rank == 0) {
        memcpy(out->counts, counts, (size_t)out->n * sizeof *counts);
        return tri_bytes_append(&out->blocks, all->data, all->n);
    }
    TRI_TRY(tri_recv(comm, tri_span_make(out->counts, out->n, TRI_I64), rank - step, NULL));
    out->blocks.n = bytes_sum(out->counts, out->n);
    TRI_TRY(TRI_NEW_ARRAY(out->blocks.n, &out->blocks.data));
    if (!out->blocks.n) return TRI_OK;
    return tri_recv(comm, tri_span_make(out->blocks.data, out->blocks.n, TRI_U8), rank - step,
                    NULL);
}

tri_status tri_bytes_scatter(tri_comm *comm, const tri_bytes *all, const int64_t *counts,
                             tri_bytes *out)
{
    TRI_AUTO(bytes_branch) branch = {0};
    int rank = tri_comm_rank(comm);
    int step = 1; /* ranks [rank, rank + step) are this one's, as far as they are there */
    while (rank == 0 ? step < tri_comm_size(comm) : !(rank & step))
        step *= 2;
    TRI_TRY(bytes_branch_take(comm, all, counts, step, &branch));
    for (step /= 2; step >= 1; step /= 2) {
        if (branch.n <= step) continue;
        int64_t skip = bytes_sum(branch.counts, step);
        int64_t n = branch.blocks.n - skip;
        tri_span sizes = tri_span_make(branch.counts + step, branch.n - step, TRI_I64);
        TRI_TRY(tri_send(comm, sizes, rank + step, NULL));
        if (n)
            TRI_TRY(tri_send(comm, tri_span_make(branch.blocks.data + skip, n, TRI_U8), rank + step,
                             NULL));
        branch.blocks.n = skip;
        branch.n = step;
    }
    tri_bytes_destroy(out);
    out->data = TRI_MOVE(branch.blocks.data);
    out->n = branch.blocks.n;
    return TRI_OK;
}

tri_status tri_bytes_broadcast(tri_comm *comm, tri_bytes *bytes)
{
    if (tri_comm_size(comm) == 1) return TRI_OK;
    int64_t n = bytes->n;
    TRI_TRY(tri_broadcast(comm, tri_span_make(&n, 1, TRI_I64), 0, NULL));
    if (tri_comm_rank(comm) != 0) {
        tri_bytes_destroy(bytes);
        TRI_TRY(TRI_NEW_ARRAY(n, &bytes->data));
        bytes->n = n;
    }
    if (!n) return TRI_OK;
    return tri_broadcast(comm, tri_span_make(bytes->data, n, TRI_U8), 0, NULL);
}

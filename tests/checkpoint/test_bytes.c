// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1
/* Blocks of differing length up the tree to rank 0 and down again, for every number of ranks to 9. */
#include "checkpoint/bytes.h"
#include "runtime/base/int.h"
#include "tests/test.h"

/* Rank r has 3 (r % 4) bytes of value r. */
static int64_t block_bytes(int rank)
{
    return 3 * (int64_t)(rank % 4);
}

static tri_status there_and_back(tri_comm *world, void *arg)
{
    (void)arg;
    int rank = tri_comm_rank(world);
    int n_ranks = tri_comm_size(world);
    char mine[9];
    int64_t counts[9];
    TRI_AUTO(tri_bytes) all = {0};
    TRI_AUTO(tri_bytes) back = {0};
    memset(mine, rank, sizeof mine);
    TRI_TRY(tri_bytes_append(&all, mine, block_bytes(rank)));
    TRI_TRY(tri_bytes_gather(world, &all));
    int64_t at = 0;
    for (int r = 0; r < n_ranks; r++) {
        counts[r] = block_bytes(r);
        for (int64_t i = 0; rank == 0 && i < counts[r]; i++)
            EXPECT(at + i < all.n && all.data[at + i] == (char)r, "byte %lld of rank %d",
                   (long long)i, r);
        at += counts[r];
    }
    EXPECT(all.n == (rank == 0 ? at : 0), "rank %d has %lld bytes", rank, (long long)all.n);
    TRI_TRY(tri_bytes_scatter(world, &all, counts, &back));
    EXPECT(back.n == block_bytes(rank) && (!back.n || memcmp(back.data, mine, (size_t)back.n) == 0),
           "rank %d of %d gets %lld bytes", rank, n_ranks, (long long)back.n);
    TRI_TRY(tri_bytes_broadcast(world, &all));
    EXPECT(all.n == at, "rank %d has %lld bytes", rank, (long long)all.n);
    return TRI_OK;
}

TRI_TEST(blocks_go_up_and_down)
{
    tri_device_args device = {.name = "cpu", .n_threads = 1, .yield = true};
    for (int ranks = 1; ranks <= 9; ranks++)
        TRI_TRY(tri_comm_run_threads(ranks, &device, there_and_back, NULL));
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(blocks_go_up_and_down))

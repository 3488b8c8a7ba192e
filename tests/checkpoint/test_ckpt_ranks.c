// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1,2,4 timeout=120
/* Ranks that are processes: save on all of them, whole and in shards; load on all, on fewer, on one. */
#include "tests/checkpoint/fixture_io.h"

typedef struct ranks {
    tri_device *device;
    tri_comm *world;
    char dir[64];
} ranks;

static tri_status on(tri_comm *world, const char *dir, fixture_layout layout, int64_t save_step)
{
    TRI_AUTO(fixture) f = {0};
    TRI_TRY(fixture_create(world, &layout, 40, &f));
    if (save_step >= 0) return fixture_save(&f, world, dir, save_step, 2);
    int64_t step = 0;
    TRI_TRY(fixture_restore(&f, world, dir, &step));
    EXPECT(step == -save_step, "found step %lld, not %lld", (long long)step, (long long)-save_step);
    return TRI_OK;
}

static tri_status cross(ranks *r)
{
    int n = tri_comm_size(r->world);
    int rank = tri_comm_rank(r->world);
    if (rank == 0) TRI_TRY(fixture_folder(r->dir));
    TRI_TRY(tri_broadcast(r->world, tri_span_make(r->dir, sizeof r->dir, TRI_U8), 0, NULL));

    static const fixture_hold holds[] = {HOLD_WHOLE, HOLD_SHARDS};
    for (int i = 0; i < 2; i++) {
        fixture_layout data = {
            {1, n, 1, 1},
            holds[i]
        };
        fixture_layout tensor = {
            {1, 1, 1, n},
            HOLD_WHOLE
        };
        TRI_TRY(on(r->world, r->dir, data, 10 + i));
        TRI_TRY(on(r->world, r->dir, data, -10 - i));
        TRI_TRY(on(r->world, r->dir, tensor, -10 - i));
        tri_comm *half = NULL;
        int n_half = (n + 1) / 2;
        TRI_TRY(tri_comm_split(r->world, rank < n_half ? 0 : 1, rank, &half));
        fixture_layout fewer = {
            {1, tri_comm_size(half), 1, 1},
            HOLD_SHARDS
        };
        TRI_TRY(on(half, r->dir, fewer, -10 - i));
        tri_comm_close(&half);
    }
    TRI_TRY(tri_barrier(r->world)); /* rank 0 removes what all have read */
    if (rank != 0) return TRI_OK;
    tri_comm *alone = NULL;
    TRI_TRY(tri_comm_open_self(r->device, &alone));
    TRI_TRY(on(alone, r->dir,
               (fixture_layout){
                   {1, 1, 1, 1},
                   HOLD_WHOLE
    },
               -11));
    tri_comm_close(&alone);
    fixture_remove(r->dir, 1);
    return TRI_OK;
}

TRI_TEST(processes_save_and_load_on_other_counts)
{
    ranks r = {NULL, NULL, ""};
    TRI_TRY(tri_device_create(&(tri_device_args){.name = "cpu", .n_threads = 1, .yield = true},
                              &r.device));
    TRI_TRY(tri_comm_open_mpi(r.device, &r.world));
    tri_status rc = cross(&r);
    tri_comm_close(&r.world);
    tri_device_destroy(&r.device);
    return rc;
}

TRI_TEST_MAIN(TRI_TEST_ROW(processes_save_and_load_on_other_counts))

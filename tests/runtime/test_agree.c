// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* Who failed first, what the others hear, and arguments that must be the same. */
#include "runtime/agree.h"
#include "tests/test.h"

TRI_TEST(alone_a_rank_keeps_its_status)
{
    TRI_AUTO(tri_device) *device = NULL;
    TRI_TRY(tri_device_create(&(tri_device_args){.name = "cpu", .n_threads = 1}, &device));
    tri_comm *self = NULL;
    TRI_TRY(tri_comm_open_self(device, &self));
    TRI_TRY(tri_agree(self, TRI_OK));
    tri_status mine = tri_err_raise(TRI_EFORMAT, "f.c", 1, "f", "shard 3 is cut");
    EXPECT_STATUS(tri_agree(self, mine), TRI_EFORMAT, "shard 3 is cut");
    TRI_TRY(tri_agree_same(self, INT64_MIN, "seed"));
    TRI_TRY(tri_agree_same(self, INT64_MAX, "seed"));
    tri_comm_close(&self);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(alone_a_rank_keeps_its_status))

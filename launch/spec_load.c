// SPDX-License-Identifier: Apache-2.0
/* One rank reads the job spec for all. */
#include "launch/spec.h"
#include "runtime/agree.h"

static tri_status read_and_check(const char *path, int n_overrides, const char *const *overrides,
                                 int n_ranks, tri_spec *out)
{
    TRI_TRY(tri_spec_read(path, n_overrides, overrides, out));
    TRI_TRY(tri_spec_check(out, n_ranks));
    return TRI_OK;
}

tri_status tri_spec_load(const char *path, int n_overrides, const char *const *overrides,
                         tri_comm *world, tri_spec *out)
{
    tri_spec spec;
    tri_status mine = TRI_OK;
    if (tri_comm_rank(world) == 0)
        mine = read_and_check(path, n_overrides, overrides, tri_comm_size(world), &spec);
    TRI_TRY(tri_agree(world, mine));
    /* the struct has no pointers, and all ranks run the same program */
    TRI_TRY(tri_broadcast(world, tri_span_make(&spec, (int64_t)sizeof spec, TRI_U8), 0, NULL));
    *out = spec;
    return TRI_OK;
}

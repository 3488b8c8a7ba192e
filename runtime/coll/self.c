// SPDX-License-Identifier: Apache-2.0
/* The communicator of one rank: every call is a copy or nothing. The backend to copy from.
 *
 * It has no stream: calls are carried out when they are made.
 */
#include "runtime/coll/coll_impl.h"

#include <string.h>

static tri_status self_progress(tri_coll_work *work, bool *done)
{
    TRI_CHECK(work->kind != TRI_COLL_SEND && work->kind != TRI_COLL_RECV, TRI_EINVAL,
              "a rank alone has nobody to send to or receive from");
    if (work->out.data != work->in.data)
        memmove(work->out.data, work->in.data, tri_span_bytes(work->in));
    *done = true;
    return TRI_OK;
}

static tri_status self_split(tri_comm *parent, int color, int key, tri_comm **out)
{
    (void)color, (void)key;
    TRI_TRY(tri_comm_open_self(parent->device, out));
    return TRI_OK;
}

const tri_coll_ops tri_coll_self = {
    .name = "self",
    .doc = "one rank alone",
    .progress = self_progress,
    .split = self_split,
};

tri_status tri_comm_open_self(tri_device *device, tri_comm **out)
{
    TRI_TRY(tri_comm_make(&tri_coll_self, device, 0, 1, out));
    return TRI_OK;
}

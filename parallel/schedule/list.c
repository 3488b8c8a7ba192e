// SPDX-License-Identifier: Apache-2.0
/* The one list of schedules: ID stands for the table tri_schedule_ID in parallel/schedule/ID.c. */
#include "parallel/schedule/schedule_impl.h"

#define TRI_SCHEDULE_MAP(X)       \
    X(gpipe, "gpipe")             \
    X(one_f_one_b, "1f1b")        \
    X(interleaved, "interleaved") \
    X(zb_h1, "zb_h1")             \
    X(zb_v, "zb_v")

#define X(id, name) extern const tri_schedule_ops tri_schedule_##id;
TRI_SCHEDULE_MAP(X)
#undef X

#define X(id, name) &tri_schedule_##id,
const tri_schedule_ops *const tri_schedule_list[] = {TRI_SCHEDULE_MAP(X) NULL};
#undef X

const char *const *tri_schedule_names(void)
{
#define X(id, name) name,
    static const char *const names[] = {TRI_SCHEDULE_MAP(X) NULL};
#undef X
    return names;
}

// SPDX-License-Identifier: Apache-2.0
/* Copy a box of a tensor between pieces of memory that hold boxes of it. Private to
 * runtime/redistribute*. */
#ifndef TRI_RUNTIME_REDISTRIBUTE_PACK_H
#define TRI_RUNTIME_REDISTRIBUTE_PACK_H

#include "runtime/place.h"

/* Memory that holds a box, row-major, from element `begin` of it on. */
typedef struct tri_pack_view {
    const tri_box *box;
    int64_t begin;
    char *data;
} tri_pack_view;

/* Copy the elements of `piece`, which lies in both boxes and in what both memories hold. Not
 * collective. */
void tri_pack_copy(const tri_pack_view *from, const tri_pack_view *to, const tri_box *piece,
                   size_t element_bytes);

#endif

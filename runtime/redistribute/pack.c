// SPDX-License-Identifier: Apache-2.0
/* A box is copied run by run: a run is contiguous on both sides. */
#include "runtime/redistribute/pack.h"

#include <string.h>

/* Elements of a view's box below one index of each dimension. */
static void strides_of(const tri_box *box, int64_t strides[TRI_MAX_DIMS])
{
    int64_t stride = 1;
    for (int d = box->n_dims - 1; d >= 0; d--) {
        strides[d] = stride;
        stride *= box->count[d];
    }
}

/* Element of the view's memory where the piece's run at `index` begins. */
static int64_t place_of(const tri_pack_view *view, const int64_t *strides, const tri_box *piece,
                        const int64_t *index)
{
    int64_t at = -view->begin;
    for (int d = 0; d < piece->n_dims; d++)
        at += (piece->start[d] - view->box->start[d] + index[d]) * strides[d];
    return at;
}

void tri_pack_copy(const tri_pack_view *from, const tri_pack_view *to, const tri_box *piece,
                   size_t element_bytes)
{
    int64_t from_strides[TRI_MAX_DIMS] = {0}, to_strides[TRI_MAX_DIMS] = {0};
    int64_t index[TRI_MAX_DIMS] = {0};
    strides_of(from->box, from_strides);
    strides_of(to->box, to_strides);
    int inner = piece->n_dims - 1; /* dimensions below it are whole in both boxes */
    int64_t run = piece->count[inner];
    while (inner > 0 && from->box->count[inner] == piece->count[inner] &&
           to->box->count[inner] == piece->count[inner])
        run *= piece->count[--inner];
    size_t bytes = (size_t)run * element_bytes;
    for (;;) {
        int64_t source = place_of(from, from_strides, piece, index);
        int64_t target = place_of(to, to_strides, piece, index);
        memcpy(to->data + target * (int64_t)element_bytes,
               from->data + source * (int64_t)element_bytes, bytes);
        int d = inner - 1;
        while (d >= 0 && ++index[d] == piece->count[d])
            index[d--] = 0;
        if (d < 0) return;
    }
}

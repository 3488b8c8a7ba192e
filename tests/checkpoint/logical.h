// SPDX-License-Identifier: Apache-2.0
/* Logical tensors: whole rows, put together from the memory of all ranks or read through HDF5 from
 * universal.h5, and compared bit for bit. Knows nothing of how the program loads.
 */
#ifndef TRI_TESTS_CHECKPOINT_LOGICAL_H
#define TRI_TESTS_CHECKPOINT_LOGICAL_H

#include "runtime/base/alloc.h"
#include "runtime/h5.h"
#include "runtime/state.h"
#include "tests/test.h"

typedef struct logical_row {
    tri_row row; /* some rank's: name, type, shape */
    int64_t n_bytes;
    unsigned char *data;
    bool *seen; /* elements that some rank has given; NULL: read from a file */
} logical_row;

typedef struct logical {
    int n_rows, room;
    logical_row *rows;
} logical;

static inline void logical_destroy(logical **l)
{
    for (int i = 0; *l && i < (*l)->n_rows; i++) {
        TRI_FREE((*l)->rows[i].data);
        TRI_FREE((*l)->rows[i].seen);
    }
    if (*l) TRI_FREE((*l)->rows);
    TRI_FREE(*l);
}

static inline logical_row *logical_find(const logical *l, const char *name)
{
    for (int i = 0; i < l->n_rows; i++)
        if (strcmp(l->rows[i].row.name, name) == 0) return &l->rows[i];
    return NULL;
}

/* The row of this name; one of zeros is added where there is none. */
TRI_MUST_USE static inline tri_status logical_add(logical *l, const tri_row *row, logical_row **out)
{
    *out = logical_find(l, row->name);
    if (*out) return TRI_OK;
    if (l->n_rows == l->room) {
        logical_row *more = NULL;
        int room = l->room ? 2 * l->room : 64;
        TRI_TRY(TRI_NEW_ARRAY(room, &more));
        if (l->n_rows) memcpy(more, l->rows, (size_t)l->n_rows * sizeof *more);
        TRI_FREE(l->rows);
        l->rows = more;
        l->room = room;
    }
    logical_row *added = &l->rows[l->n_rows++];
    *added = (logical_row){.row = *row};
    added->row.data = NULL;
    added->n_bytes = tri_row_elements(row) * (int64_t)tri_dtype_bytes(row->dtype);
    TRI_TRY(TRI_NEW_ARRAY(added->n_bytes, &added->data));
    *out = added;
    return TRI_OK;
}

/* Element of the global tensor at place `e` of a box, row-major. */
static inline int64_t logical_index(const tri_row *row, const tri_box *box, int64_t e)
{
    int64_t index = 0;
    int64_t stride = 1;
    for (int d = row->n_dims - 1; d >= 0; d--) {
        index += (box->start[d] + e % box->count[d]) * stride;
        e /= box->count[d];
        stride *= row->shape[d];
    }
    return index;
}

/* Put in what one rank holds of its rows; copies must be equal to the bit. */
TRI_MUST_USE static inline tri_status logical_put(logical *l, const tri_state *state,
                                                  const char *what)
{
    const tri_mesh *mesh = tri_state_mesh(state);
    for (int i = 0; i < tri_state_rows(state); i++) {
        const tri_row *row = tri_state_row(state, i);
        size_t bytes = tri_dtype_bytes(row->dtype);
        tri_piece_box piece[TRI_MAX_BOXES];
        int n = 0;
        int64_t other = 0;
        logical_row *whole = NULL;
        TRI_TRY(logical_add(l, row, &whole));
        if (!whole->seen) TRI_TRY(TRI_NEW_ARRAY(tri_row_elements(row), &whole->seen));
        if (row->count > 0) TRI_TRY(tri_row_boxes(row, mesh, piece, &n));
        for (int b = 0; b < n; b++)
            for (int64_t e = 0; e < tri_box_elements(&piece[b].box); e++) {
                int64_t at = logical_index(row, &piece[b].box, e);
                unsigned char *to = whole->data + (size_t)at * bytes;
                const char *from = (const char *)row->data + (size_t)(piece[b].offset + e) * bytes;
                other += whole->seen[at] && memcmp(to, from, bytes) != 0;
                whole->seen[at] = true;
                memcpy(to, from, bytes);
            }
        EXPECT(other == 0, "%s: rank %d holds %lld elements of %s otherwise than the ranks before",
               what, tri_mesh_rank(mesh), (long long)other, row->name);
    }
    return TRI_OK;
}

/* Put the rows of all ranks together in one table that they share. Collective: world. */
TRI_MUST_USE static inline tri_status logical_gather(logical *l, const tri_state *state,
                                                     tri_comm *world, const char *what)
{
    for (int turn = 0; turn < tri_comm_size(world); turn++) {
        TRI_TRY(tri_barrier(world));
        if (turn == tri_comm_rank(world)) TRI_TRY(logical_put(l, state, what));
    }
    TRI_TRY(tri_barrier(world));
    for (int i = 0; tri_comm_rank(world) == 0 && i < l->n_rows; i++) {
        int64_t missing = 0;
        for (int64_t e = 0; e < tri_row_elements(&l->rows[i].row); e++)
            missing += !l->rows[i].seen[e];
        EXPECT(missing == 0, "%s: no rank holds %lld elements of %s", what, (long long)missing,
               l->rows[i].row.name);
    }
    return tri_barrier(world);
}

/* Read the rows of `like` from a checkpoint's universal.h5 through HDF5. */
TRI_MUST_USE static inline tri_status logical_read(const logical *like, const char *folder,
                                                   logical **out)
{
    char path[2048];
    TRI_AUTO(logical) *l = NULL;
    TRI_AUTO(tri_h5) *h5 = NULL;
    TRI_TRY(TRI_NEW(&l));
    int n = snprintf(path, sizeof path, "%s/universal.h5", folder);
    TRI_CHECK(n > 0 && (size_t)n < sizeof path, TRI_EINVAL, "%s is too long", folder);
    TRI_TRY(tri_h5_open_own(path, &h5));
    for (int i = 0; i < like->n_rows; i++) {
        const tri_row *row = &like->rows[i].row;
        logical_row *whole = NULL;
        int64_t shape[TRI_MAX_DIMS] = {0};
        TRI_AUTO(tri_h5_dataset) *dataset = NULL;
        TRI_TRY(logical_add(l, row, &whole));
        TRI_TRY(tri_h5_dataset_open(h5, row->name, &dataset));
        int n_dims = tri_h5_dataset_shape(dataset, shape);
        size_t shape_bytes = (size_t)row->n_dims * sizeof *shape;
        EXPECT(n_dims == row->n_dims && memcmp(shape, row->shape, shape_bytes) == 0,
               "%s: %s has another shape", path, row->name);
        TRI_TRY(tri_h5_dataset_read(dataset, 0, tri_row_elements(row), row->dtype, whole->data));
    }
    *out = TRI_MOVE(l);
    return TRI_OK;
}

static inline void logical_expect_same(const logical *got, const logical *want, const char *what)
{
    EXPECT(got->n_rows == want->n_rows, "%s: %d rows in place of %d", what, got->n_rows,
           want->n_rows);
    for (int i = 0; i < want->n_rows; i++) {
        const logical_row *b = &want->rows[i];
        const logical_row *a = logical_find(got, b->row.name);
        EXPECT(a, "%s: no row %s", what, b->row.name);
        if (!a) continue;
        bool is_same = a->n_bytes == b->n_bytes && a->row.dtype == b->row.dtype &&
                       memcmp(a->data, b->data, (size_t)b->n_bytes) == 0;
        EXPECT(is_same, "%s: %s is not the same bit for bit", what, b->row.name);
    }
}

#endif

// SPDX-License-Identifier: Apache-2.0
/* A state table for checkpoint tests: rows of several types and placements, held whole, in flat shards
 * over the data axis, or in shards that pairs of ranks share.
 */
#ifndef TRI_TESTS_CHECKPOINT_FIXTURE_H
#define TRI_TESTS_CHECKPOINT_FIXTURE_H

#include "checkpoint/ckpt.h"
#include "runtime/base/int.h"
#include "tests/test.h"

typedef enum fixture_hold { HOLD_WHOLE, HOLD_SHARDS, HOLD_PAIRS } fixture_hold;

typedef struct fixture {
    tri_mesh *mesh;
    tri_state *state;
    int64_t scale; /* of dimension 0 */
    int64_t ids;   /* of rows called embed, whose dimension 0 is a vocabulary; 0: as below */
    tri_dtype as;  /* of floating rows, where `casts` */
    bool casts;
} fixture;

/* How a job is laid out. */
typedef struct fixture_layout {
    int size[TRI_AXES];
    fixture_hold hold;
} fixture_layout;

typedef struct fixture_row {
    const char *name;
    tri_role role;
    tri_dtype dtype;
    int n_dims;
    int64_t shape[TRI_MAX_DIMS];
    int tensor_dim; /* -1: replicated over the tensor axis */
    int stage;      /* -1: on all; else this one, modulo their number */
} fixture_row;

static const fixture_row fixture_rows[] = {
    {"param/embed",         TRI_ROLE_PARAM, TRI_F32,  2, {37, 16},     0,  0 },
    {"param/layers.0.cube", TRI_ROLE_PARAM, TRI_F32,  3, {8, 13, 5},   1,  0 },
    {"param/layers.1.four", TRI_ROLE_PARAM, TRI_F32,  4, {3, 2, 5, 7}, 2,  1 },
    {"param/layers.1.bias", TRI_ROLE_PARAM, TRI_F32,  1, {7},          -1, 1 },
    {"param/50%b",          TRI_ROLE_PARAM, TRI_BF16, 2, {11, 6},      1,  1 },
    {"optim/adamw/m/embed", TRI_ROLE_OPTIM, TRI_F32,  2, {37, 16},     0,  0 },
    {"optim/adamw/m/bias",  TRI_ROLE_OPTIM, TRI_F32,  1, {7},          -1, 1 },
    {"data/cursor",         TRI_ROLE_DATA,  TRI_I64,  1, {2},          -1, -1},
};
enum { FIXTURE_ROWS = sizeof fixture_rows / sizeof *fixture_rows };

static inline void fixture_destroy(fixture *f)
{
    for (int i = 0; f->state && i < tri_state_rows(f->state); i++)
        tri_free(tri_state_row(f->state, i)->data);
    tri_state_destroy(&f->state);
    tri_mesh_close(&f->mesh);
}

/* Which flat range of `elements` this rank holds. */
static inline void fixture_range(const fixture *f, fixture_hold hold, int row, int64_t elements,
                                 int64_t *begin, int64_t *count)
{
    *begin = 0;
    *count = elements;
    if (hold == HOLD_WHOLE || fixture_rows[row].role == TRI_ROLE_DATA) return;
    int64_t parts = tri_mesh_size(f->mesh, TRI_AXIS_DATA);
    int64_t part = tri_mesh_coord(f->mesh, TRI_AXIS_DATA);
    if (hold == HOLD_PAIRS) part /= 2;
    if (hold == HOLD_PAIRS) parts = (parts + 1) / 2;
    if (row % 3 == 2) { /* a small row lies in one shard */
        *count = part == parts - 1 ? elements : 0;
        return;
    }
    int64_t block = (elements + parts - 1) / parts;
    *begin = tri_min64(part * block, elements);
    *count = tri_min64(block, elements - *begin);
}

static inline tri_status fixture_add(fixture *f, const fixture_layout *layout, int i)
{
    const fixture_row *r = &fixture_rows[i];
    int stage = r->stage % layout->size[TRI_AXIS_PIPELINE];
    if (r->stage >= 0 && tri_mesh_coord(f->mesh, TRI_AXIS_PIPELINE) != stage) return TRI_OK;
    tri_row row = {.role = r->role, .dtype = r->dtype, .n_dims = r->n_dims};
    if (f->casts && tri_dtype_is_float(r->dtype)) row.dtype = f->as;
    snprintf(row.name, sizeof row.name, "%s", r->name);
    snprintf(row.external, sizeof row.external, "hf.%d", i);
    memcpy(row.shape, r->shape, sizeof row.shape);
    if (r->role != TRI_ROLE_DATA) row.shape[0] *= f->scale;
    row.vocabulary = strstr(r->name, "embed") != NULL;
    if (row.vocabulary && f->ids) row.shape[0] = f->ids;
    if (r->tensor_dim >= 0) {
        row.place.axis[TRI_AXIS_TENSOR].kind = TRI_SPLIT;
        row.place.axis[TRI_AXIS_TENSOR].arg = r->tensor_dim;
    }
    if (r->stage >= 0) {
        row.place.axis[TRI_AXIS_PIPELINE].kind = TRI_AT;
        row.place.axis[TRI_AXIS_PIPELINE].arg = stage;
    }
    int index = -1;
    int64_t begin = 0;
    int64_t count = 0;
    char *data = NULL;
    TRI_TRY(tri_state_add(f->state, &row, &index));
    fixture_range(f, layout->hold, i, tri_state_row(f->state, index)->count, &begin, &count);
    TRI_TRY(tri_alloc((void **)&data, count, tri_dtype_bytes(row.dtype)));
    tri_state_hold(f->state, index, begin, count, data);
    return TRI_OK;
}

/* Make the table of a rank as f->scale and what stands behind it say. Collective: world. */
static inline tri_status fixture_create_as(tri_comm *world, const fixture_layout *layout,
                                           fixture *f)
{
    tri_mesh_args args = {.world = world};
    memcpy(args.size, layout->size, sizeof args.size);
    TRI_TRY(tri_mesh_create(&args, &f->mesh));
    TRI_TRY(tri_state_create(f->mesh, &f->state));
    for (int i = 0; i < FIXTURE_ROWS; i++)
        TRI_TRY(fixture_add(f, layout, i));
    return TRI_OK;
}

/* The same with rows as the table says. Collective: world. */
static inline tri_status fixture_create(tri_comm *world, const fixture_layout *layout,
                                        int64_t scale, fixture *f)
{
    *f = (fixture){.scale = scale};
    return fixture_create_as(world, layout, f);
}

#endif

// SPDX-License-Identifier: Apache-2.0
/* What the tests of layers over a tensor axis share: ranks as threads, each of which also computes the
 * whole layer alone; parameters cut from the whole ones; gradients put together again.
 */
#ifndef TRI_TESTS_PARALLEL_TENSOR_RIG_H
#define TRI_TESTS_PARALLEL_TENSOR_RIG_H

#include "kernels/norm.h"
#include "kernels/pointwise.h"
#include "parallel/layer/layer.h"
#include "runtime/base/int.h"
#include "tests/test.h"

enum { SEQUENCES = 2, LENGTH = 14, ROWS = SEQUENCES * LENGTH, C = 16, RIG_FLOATS = 1 << 17 };

/* How a layer is laid out. */
typedef struct layout {
    int ranks;
    bool sequence;
    int chunks;
    tri_dtype dtype;
    bool apart;      /* parts of one product do not lie together */
    int64_t variant; /* of the layer: gated, kind of targets ... */
    int context;     /* ranks that share each sequence; 0: one */
} layout;

typedef struct rig {
    const layout *layout;
    tri_comm *comm;
    tri_mesh *mesh;
    tri_kernels *kernels;
    tri_arena *arena;
    tri_tensor_axis axis;
    tri_layer_call alone, call; /* without and with the axis */
    float *pool;
    int64_t used;
    tri_coll_stats before;
} rig;

static const int64_t rig_samples[SEQUENCES] = {70, 5};

static inline void rig_destroy(rig *r)
{
    tri_arena_destroy(&r->arena);
    tri_kernels_destroy(&r->kernels);
    tri_mesh_close(&r->mesh);
    TRI_FREE(r->pool);
}

#define RIG(name) __attribute__((cleanup(rig_destroy))) rig name = {0}

static inline tri_status rig_create(rig *r, tri_comm *world, const layout *of)
{
    r->layout = of;
    int context = of->context > 0 ? of->context : 1;
    tri_mesh_args args = {
        .world = world, .size = {1, 1, context, of->ranks}
    };
    TRI_TRY(tri_mesh_create(&args, &r->mesh));
    TRI_TRY(tri_mesh_declare(r->mesh, TRI_AXIS_BIT(TRI_AXIS_TENSOR)));
    r->comm = tri_mesh_comm(r->mesh, TRI_AXIS_BIT(TRI_AXIS_TENSOR));
    TRI_TRY(tri_kernels_create(tri_comm_device(world), NULL, &r->kernels));
    TRI_TRY(tri_arena_create(&r->arena));
    TRI_TRY(tri_tensor_axis_make(r->mesh, of->sequence, of->chunks, ROWS / context, C, &r->axis));
    TRI_TRY(tri_tensor_axis_declare(&r->axis, r->arena, of->dtype));
    TRI_TRY(TRI_NEW_ARRAY(RIG_FLOATS, &r->pool));
    r->alone = (tri_layer_call){.kernels = r->kernels,
                                .dtype = of->dtype,
                                .sequences = SEQUENCES,
                                .length = LENGTH,
                                .seed = 9,
                                .sample = rig_samples};
    return tri_arena_add(r->arena, TRI_MEM_WORKSPACE,
                         (int64_t)tri_norm_workspace(r->kernels, 8 * C), TRI_U8,
                         (void **)&r->alone.reduction);
}

/* Allocate what was declared; the two calls are complete then. */
static inline tri_status rig_commit(rig *r)
{
    TRI_TRY(tri_arena_commit(r->arena, tri_comm_device(r->comm), NULL));
    r->call = r->alone;
    r->call.tensor = &r->axis;
    return TRI_OK;
}

/* Zeroed room for n numbers of any type. */
static inline void *take(rig *r, int64_t n)
{
    float *p = r->pool + r->used;
    r->used += tri_round_up(n, 16) + 16;
    if (r->used > RIG_FLOATS) abort();
    return p;
}

static inline tri_status narrowed(rig *r, int64_t n, const float *in, void *out)
{
    return tri_cast(r->kernels, tri_span_make(in, n, TRI_F32),
                    tri_span_make(out, n, r->layout->dtype));
}

/* n random numbers of the layout's type, the same on all ranks. */
static inline tri_status draw(rig *r, uint64_t stream, int64_t n, void **out)
{
    float *wide = take(r, n);
    *out = take(r, n);
    tri_rng_normal((tri_rng){1, stream, TRI_RNG_TEST}, 0, n, 0, 0.5F, wide);
    return narrowed(r, n, wide, *out);
}

/* A matrix of a part of the model. */
typedef struct cut {
    int64_t rows, columns; /* of the whole */
    int64_t row, n_rows;   /* of this rank */
    int64_t column, n_columns;
} cut;

static inline cut cut_whole(int64_t rows, int64_t columns)
{
    return (cut){rows, columns, 0, rows, 0, columns};
}

/* Copy the part of `whole` to `to`; both of the layout's type. */
static inline void cut_copy(const rig *r, const cut *c, const void *whole, void *to)
{
    tri_dtype dtype = r->layout->dtype;
    for (int64_t i = 0; i < c->n_rows; i++)
        memcpy(tri_layer_at(to, i * c->n_columns, dtype),
               tri_layer_at(whole, (c->row + i) * c->columns + c->column, dtype),
               (size_t)c->n_columns * tri_dtype_bytes(dtype));
}

/* Outer rows of an array of all rows. */
static inline const void *outer_of(const rig *r, int64_t width, const void *all)
{
    return tri_layer_at(all, tri_tensor_outer_first(&r->axis, ROWS) * width, r->layout->dtype);
}

/* Nothing may be kept between passes in the axis' buffers. */
static inline void forget(rig *r)
{
    if (!tri_tensor_is_shared(&r->axis)) return;
    memset(r->axis.gathered, 0xff, ROWS * C * tri_dtype_bytes(r->layout->dtype));
    memset(r->axis.partial, 0xff, ROWS * C * tri_dtype_bytes(r->layout->dtype));
}

/* Run `body` for every layout: ranks, both kinds of outer regions, pieces, types. */
static inline tri_status for_layouts(tri_rank_fn body, int64_t variants)
{
    static const int ranks[] = {1, 2, 4};
    for (int i = 0; i < 3 * 2 * 3 * 2 * 2; i++) {
        layout one = {.ranks = ranks[i % 3],
                      .sequence = i / 3 % 2,
                      .chunks = i / 6 % 3 + 1,
                      .dtype = i / 18 % 2 ? TRI_BF16 : TRI_F32,
                      .apart = i / 36 % 2};
        if (one.ranks == 1 && (one.chunks > 1 || one.sequence)) continue;
#ifdef TRI_SANITIZED
        if (one.chunks == 3 || one.dtype == TRI_BF16) continue; /* many times slower */
#endif
        tri_device_args device = {.name = "cpu", .n_threads = 1, .yield = true};
        for (one.variant = 0; one.variant < variants; one.variant++)
            TRI_TRY(tri_comm_run_threads(one.ranks, &device, body, &one));
    }
    return TRI_OK;
}

#endif

// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120
/* The attention layer over a context axis and a tensor axis at once, rotary by true position, with and
 * without documents, against the same layer on one rank.
 */
#include "parallel/context.h"
#include "parallel/layer/attention.h"
#include "tests/parallel/tensor_expect.h"

enum { CONTEXT = 2, HEADS = 4, DH = 4 };
enum { QKV = 3 * C, SHORT = 8, SHORT_ROWS = SEQUENCES * SHORT };

/* Sequences of SHORT tokens: a multiple of what every mode asks for. */
typedef struct split_case {
    tri_context *context;
    tri_attention_layer whole, part;
    tri_param params[4];
    tri_attention_store whole_store, part_store;
    tri_attention_scratch whole_scratch, part_scratch;
    float *y, *dbranch, *branch, *dy, *part_branch, *part_dy;
    int32_t *position, *visible, *local_position;
} split_case;

static void split_destroy(split_case *c)
{
    tri_context_destroy(&c->context);
}

/* Row of the whole arrays that is this rank's local row. */
static int64_t true_row(const split_case *c, int64_t row)
{
    int64_t local = SHORT / CONTEXT;
    return row / local * SHORT + tri_context_index(c->context, row % local);
}

static tri_status make_context(rig *r, split_case *c)
{
    tri_context_mode mode = r->layout->variant % 2 ? TRI_CONTEXT_ULYSSES : TRI_CONTEXT_RING;
    int ulysses = mode == TRI_CONTEXT_ULYSSES ? CONTEXT : 1;
    TRI_TRY(tri_mesh_declare(r->mesh, TRI_AXIS_BIT(TRI_AXIS_CONTEXT)));
    tri_context_args args = {.mesh = r->mesh,
                             .kernels = r->kernels,
                             .mode = mode,
                             .n_ulysses = ulysses,
                             .sequences = SEQUENCES,
                             .length = SHORT,
                             .heads = HEADS / r->axis.size,
                             .kv_heads = HEADS / r->axis.size,
                             .head_size = DH,
                             .dtype = TRI_F32,
                             .training = true};
    TRI_TRY(tri_context_split(r->mesh, mode, ulysses, &args.ring, &args.ulysses));
    TRI_TRY(tri_context_create(&args, &c->context));
    return tri_context_declare(c->context, r->arena);
}

/* Two documents a sequence, of unequal length, where the variant has them. */
static void make_documents(rig *r, split_case *c)
{
    c->position = take(r, SHORT_ROWS);
    c->visible = take(r, SHORT_ROWS);
    c->local_position = take(r, SHORT_ROWS);
    for (int32_t row = 0; row < SHORT_ROWS; row++) {
        int32_t border = r->layout->variant < 2 ? 0 : 3 + row / SHORT;
        int32_t t = row % SHORT;
        c->visible[row] = t >= border ? border : 0;
        c->position[row] = t - c->visible[row];
    }
    for (int64_t row = 0; row < SHORT_ROWS / CONTEXT; row++)
        c->local_position[row] = c->position[true_row(c, row)];
}

/* Weights of q, k, v one below the other, then out; this rank's heads of each. */
static tri_status make_layers(rig *r, split_case *c)
{
    int64_t here = C / r->axis.size;
    int64_t first = here * r->axis.index;
    void *weight = NULL;
    TRI_TRY(draw(r, 1, (QKV + C) * C, &weight));
    float *part = take(r, (3 * here + here) * C);
    for (int i = 0; i < 3; i++)
        cut_copy(r, &(cut){C, C, first, here, 0, C}, (float *)weight + i * C * C,
                 part + i * here * C);
    cut_copy(r, &(cut){C, C, 0, C, first, here}, (float *)weight + QKV * C, part + 3 * here * C);
    float *table = take(r, SHORT * DH);
    tri_rope_table(SHORT, DH, 100, table);
    for (int i = 0; i < 2; i++) {
        int64_t width = i == 0 ? C : here;
        c->params[2 * i] = (tri_param){.weight = i == 0 ? weight : part,
                                       .gradient = take(r, 3 * width * C),
                                       .count = 3 * width * C};
        c->params[2 * i + 1] =
            (tri_param){.weight = i == 0 ? (float *)weight + QKV * C : part + 3 * here * C,
                        .gradient = take(r, width * C),
                        .count = width * C};
        tri_attention_layer *layer = i == 0 ? &c->whole : &c->part;
        *layer = (tri_attention_layer){
            .heads = width / DH, .kv_heads = width / DH, .head_size = DH, .rope = table};
        layer->qkv =
            (tri_linear){.in = C, .n_parts = 1, .out = {3 * width}, .weight = {&c->params[2 * i]}};
        layer->out =
            (tri_linear){.in = width, .n_parts = 1, .out = {C}, .weight = {&c->params[2 * i + 1]}};
        tri_linear_join(&layer->qkv, TRI_F32);
        tri_linear_join(&layer->out, TRI_F32);
    }
    return TRI_OK;
}

static tri_status make_buffers(rig *r, split_case *c)
{
    float *full = take(r, SHORT_ROWS * C);
    TRI_TRY(draw(r, 2, SHORT_ROWS * C, (void **)&c->y));
    TRI_TRY(draw(r, 3, SHORT_ROWS * C, (void **)&c->dbranch));
    float **room[] = {&c->branch, &c->dy, &c->part_branch, &c->part_dy};
    for (int i = 0; i < 4; i++)
        *room[i] = take(r, SHORT_ROWS * C);
    for (int i = 0; i < 2; i++) {
        tri_attention_store *store = i == 0 ? &c->whole_store : &c->part_store;
        *store = (tri_attention_store){take(r, SHORT_ROWS * QKV), take(r, SHORT_ROWS * C),
                                       take(r, SHORT_ROWS * HEADS), NULL};
        tri_attention_scratch *scratch = i == 0 ? &c->whole_scratch : &c->part_scratch;
        *scratch = (tri_attention_scratch){i == 0 ? c->dbranch : full, take(r, SHORT_ROWS * C),
                                           take(r, SHORT_ROWS * QKV)};
    }
    c->part_store.context = take(r, tri_context_store_bytes(c->context) / 4 + 1);
    return TRI_OK;
}

/* This rank's rows of an array of all sequences, and of those its outer ones. */
static float *own_rows(rig *r, const split_case *c, const float *all, bool outer)
{
    int64_t rows = SHORT_ROWS / CONTEXT;
    float *own = take(r, rows * C);
    for (int64_t row = 0; row < rows; row++)
        memcpy(own + row * C, all + true_row(c, row) * C, C * sizeof *own);
    return outer ? own + tri_tensor_outer_first(&r->axis, rows) * C : own;
}

static tri_status run_both(rig *r, split_case *c)
{
    tri_layer_call *whole = &r->alone;
    whole->length = SHORT;
    whole->position = c->position;
    whole->visible = c->visible;
    whole->visible_stride = SHORT;
    TRI_TRY(tri_attention_layer_forward(whole, &c->whole, c->y, &c->whole_store, NULL, c->branch));
    TRI_TRY(tri_attention_layer_backward_input(whole, &c->whole, &c->whole_store, c->dbranch,
                                               &c->whole_scratch, NULL, c->dy));
    TRI_TRY(tri_attention_layer_backward_weight(whole, &c->whole, &c->whole_store, c->y,
                                                &c->whole_scratch));
    tri_layer_call *part = &r->call;
    part->length = SHORT / CONTEXT;
    part->context = c->context;
    part->position = c->local_position;
    part->visible = c->visible;
    part->visible_stride = SHORT;
    float *y = own_rows(r, c, c->y, true);
    TRI_TRY(tri_attention_layer_forward(part, &c->part, y, &c->part_store, NULL, c->part_branch));
    TRI_TRY(tri_attention_layer_backward_input(part, &c->part, &c->part_store,
                                               own_rows(r, c, c->dbranch, true), &c->part_scratch,
                                               NULL, c->part_dy));
    return tri_attention_layer_backward_weight(part, &c->part, &c->part_store, y, &c->part_scratch);
}

/* Sum over the context axis of this rank's gradients, against its part of the whole one. */
static tri_status compare_gradients(rig *r, split_case *c)
{
    int64_t here = C / r->axis.size;
    int64_t first = here * r->axis.index;
    tri_comm *comm = tri_mesh_comm(r->mesh, TRI_AXIS_BIT(TRI_AXIS_CONTEXT));
    float *want = take(r, 4 * here * C);
    for (int i = 0; i < 3; i++)
        cut_copy(r, &(cut){C, C, first, here, 0, C}, c->params[0].gradient + i * C * C,
                 want + i * here * C);
    cut_copy(r, &(cut){C, C, 0, C, first, here}, c->params[1].gradient, want + 3 * here * C);
    for (int i = 2; i < 4; i++)
        TRI_TRY(tri_allreduce(comm,
                              tri_span_make(c->params[i].gradient, c->params[i].count, TRI_F32),
                              TRI_SUM, NULL));
    EXPECT_CLOSE(r, tri_test_relative(3 * here * C, c->params[2].gradient, want), "dqkv");
    EXPECT_CLOSE(r, tri_test_relative(here * C, c->params[3].gradient, want + 3 * here * C),
                 "dout");
    return TRI_OK;
}

static tri_status context_body(tri_comm *world, void *arg)
{
    RIG(r);
    __attribute__((cleanup(split_destroy))) split_case c = {0};
    TRI_TRY(rig_create(&r, world, arg));
    TRI_TRY(make_context(&r, &c));
    tri_attention_layer largest = {.heads = HEADS, .kv_heads = HEADS, .head_size = DH};
    largest.qkv = (tri_linear){.n_parts = 1, .out = {QKV}};
    size_t bytes = tri_attention_layer_workspace(&r.alone, &largest);
    tri_layer_call call = r.alone;
    call.context = c.context;
    bytes += tri_attention_layer_workspace(&call, &largest);
    TRI_TRY(tri_arena_add(r.arena, TRI_MEM_WORKSPACE, (int64_t)bytes, TRI_U8, &r.alone.attention));
    TRI_TRY(rig_commit(&r));
    make_documents(&r, &c);
    TRI_TRY(make_layers(&r, &c));
    TRI_TRY(make_buffers(&r, &c));
    TRI_TRY(run_both(&r, &c));

    int64_t n = tri_tensor_outer_rows(&r.axis, SHORT_ROWS / CONTEXT) * C;
    EXPECT_CLOSE(&r, tri_test_relative(n, c.part_branch, own_rows(&r, &c, c.branch, true)),
                 "branch");
    EXPECT_CLOSE(&r, tri_test_relative(n, c.part_dy, own_rows(&r, &c, c.dy, true)), "dy");
    return compare_gradients(&r, &c);
}

/* Variants: ring and ulysses, without and with documents. */
TRI_TEST(attention_over_context_and_tensor)
{
    tri_device_args device = {.name = "cpu", .n_threads = 1, .yield = true};
    for (int i = 0; i < 12; i++) {
        layout one = {.ranks = i % 3 == 0 ? 1 : 2,
                      .sequence = i % 3 == 2,
                      .chunks = 1 + i % 2,
                      .dtype = TRI_F32,
                      .variant = i / 3,
                      .context = CONTEXT};
        TRI_TRY(tri_comm_run_threads(one.ranks * CONTEXT, &device, context_body, &one));
    }
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(attention_over_context_and_tensor))

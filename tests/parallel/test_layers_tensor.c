// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120
/* Attention, MLP, norms and dropout over a tensor axis against the same layer on one rank, for both
 * kinds of outer region, products whole and in pieces, parts together and apart: outputs, gradients
 * of inputs and parameters, and messages. backward_weight runs after the axis' buffers were lost.
 * Ranks are threads (tri_comm_run_threads).
 */
#include "parallel/layer/attention.h"
#include "parallel/layer/mlp.h"
#include "parallel/layer/norm.h"
#include "runtime/base/int.h"
#include "tests/parallel/tensor_expect.h"

/* A linear layer cut from a whole one, whose weights are drawn. */
typedef struct pair {
    tri_linear whole, part;
    cut cut[TRI_LINEAR_PARTS], bias_cut[TRI_LINEAR_PARTS];
    tri_param param[4 * TRI_LINEAR_PARTS];
    int n;
} pair;

/* Parts of `whole` or of this rank's cuts, one behind the other or apart. */
static void place_parts(rig *r, pair *p, tri_linear *linear, void *const weight[],
                        void *const bias[])
{
    bool is_part = linear == &p->part;
    int64_t gap = r->layout->apart ? 16 : 0;
    int64_t room = 4096;
    void *weights = take(r, room);
    float *gradients = take(r, room);
    int64_t at = 0;
    for (int kind = 0; kind < 2; kind++)
        for (int i = 0; i < linear->n_parts; i++) {
            cut c = kind == 0 ? p->cut[i] : p->bias_cut[i];
            if (!is_part) c = cut_whole(c.rows, c.columns);
            if (kind == 1 && !bias[i]) continue;
            void *to = tri_layer_at(weights, at, r->layout->dtype);
            cut_copy(r, &c, kind == 0 ? weight[i] : bias[i], to);
            tri_param *param = &p->param[p->n++];
            *param = (tri_param){
                .weight = to, .gradient = gradients + at, .count = c.n_rows * c.n_columns};
            *(kind == 0 ? &linear->weight[i] : &linear->bias[i]) = param;
            at += param->count + gap;
        }
    if (at > room) abort();
    tri_linear_join(linear, r->layout->dtype);
}

/* Make both from p->cut, biases where `stream` is odd. */
static tri_status pair_make(rig *r, pair *p, uint64_t stream, bool by_rows)
{
    void *weight[TRI_LINEAR_PARTS] = {NULL};
    void *bias[TRI_LINEAR_PARTS] = {NULL};
    p->whole.in = p->cut[0].columns;
    p->part.in = p->cut[0].n_columns;
    for (int i = 0; i < p->whole.n_parts; i++) {
        const cut *c = &p->cut[i];
        p->bias_cut[i] =
            by_rows ? cut_whole(1, c->rows) : (cut){1, c->rows, 0, 1, c->row, c->n_rows};
        p->whole.out[i] = c->rows;
        p->part.out[i] = c->n_rows;
        TRI_TRY(draw(r, stream + 10 * (uint64_t)i, c->rows * c->columns, &weight[i]));
        if (stream % 2 == 1) TRI_TRY(draw(r, stream + 5 + 10 * (uint64_t)i, c->rows, &bias[i]));
    }
    p->part.n_parts = p->whole.n_parts;
    place_parts(r, p, &p->whole, weight, bias);
    place_parts(r, p, &p->part, weight, bias);
    return TRI_OK;
}

static void pair_compare(rig *r, pair *p, bool by_rows, const char *what)
{
    for (int i = 0; i < p->whole.n_parts; i++) {
        EXPECT_CLOSE(r,
                     gradient_difference(r, &p->cut[i], p->part.weight[i]->gradient,
                                         p->whole.weight[i]->gradient),
                     what);
        if (!p->whole.bias[i]) continue;
        const float *got = p->part.bias[i]->gradient;
        const float *want = p->whole.bias[i]->gradient;
        /* of a layer split by rows every rank has the whole gradient */
        EXPECT_CLOSE(r,
                     by_rows ? tri_test_relative(p->whole.out[i], got, want)
                             : gradient_difference(r, &p->bias_cut[i], got, want),
                     "bias");
    }
}

/* Arrays of all rows, and of what one pass writes. */
typedef struct passes {
    void *y, *dbranch;
    void *branch, *dy; /* of the whole layer */
    void *part_branch, *part_dy;
    void *full;
    void *spare;
} passes;

static tri_status passes_make(rig *r, passes *p)
{
    TRI_TRY(draw(r, 100, ROWS * C, &p->y));
    TRI_TRY(draw(r, 101, ROWS * C, &p->dbranch));
    void **room[] = {&p->branch, &p->dy, &p->part_branch, &p->part_dy, &p->full, &p->spare};
    for (int i = 0; i < 6; i++)
        *room[i] = take(r, ROWS * C);
    return TRI_OK;
}

/* The last run was in pieces, this one is not: its outputs must be the same but for the order in which a
 * product sums, which depends on its shape. */
static tri_status expect_same_whole(rig *r, passes *p,
                                    tri_status (*run)(const tri_layer_call *, const void *,
                                                      const passes *, rig *),
                                    const void *c)
{
    int64_t n = tri_tensor_outer_rows(&r->axis, ROWS) * C;
    double most = r->layout->dtype == TRI_F32 ? 5e-7 : 1e-2;
    void *branch = p->part_branch;
    void *dy = p->part_dy;
    p->part_branch = take(r, ROWS * C);
    p->part_dy = take(r, ROWS * C);
    r->axis.chunks = 1;
    TRI_TRY(run(&r->call, c, p, r));
    double error = difference(r, n, p->part_branch, branch) + difference(r, n, p->part_dy, dy);
    EXPECT(error <= most, "%d pieces, sequence %d, %d ranks differ by %.3g", r->layout->chunks,
           r->layout->sequence, r->layout->ranks, error);
    return TRI_OK;
}

/* --- attention: more ranks than key/value heads, rotary */

enum { HEADS = 4, DH = 4 };

typedef struct attention_case {
    pair qkv, out;
    tri_attention_layer whole, part;
    tri_attention_store whole_store, part_store;
    tri_attention_scratch whole_scratch, part_scratch;
} attention_case;

static tri_status attention_make(rig *r, attention_case *c, passes *p)
{
    int64_t kv_heads = r->layout->variant == 0 ? 4 : 2;
    int64_t heads_here = HEADS / r->axis.size;
    int64_t kv_here = tri_max64(1, kv_heads / r->axis.size);
    int64_t kv_first = r->axis.index * kv_heads / r->axis.size;
    int64_t q_first = r->axis.index * heads_here;
    cut kv = {kv_heads * DH, C, kv_first * DH, kv_here * DH, 0, C};
    c->qkv.cut[0] = (cut){HEADS * DH, C, q_first * DH, heads_here * DH, 0, C};
    c->qkv.cut[1] = kv;
    c->qkv.cut[2] = kv;
    c->qkv.whole.n_parts = 3;
    c->out.cut[0] = (cut){C, HEADS * DH, 0, C, q_first * DH, heads_here * DH};
    c->out.whole.n_parts = 1;
    TRI_TRY(pair_make(r, &c->qkv, 1, false));
    TRI_TRY(pair_make(r, &c->out, 3, true));
    float *table = take(r, LENGTH * DH);
    tri_rope_table(LENGTH, DH, 100, table);
    c->whole = (tri_attention_layer){HEADS, kv_heads, DH, c->qkv.whole, c->out.whole, table, 0};
    c->part = (tri_attention_layer){heads_here, kv_here, DH, c->qkv.part, c->out.part, table, 0};
    tri_attention_store *stores[] = {&c->whole_store, &c->part_store};
    tri_attention_scratch *scratches[] = {&c->whole_scratch, &c->part_scratch};
    for (int i = 0; i < 2; i++) {
        *stores[i] = (tri_attention_store){
            .qkv = take(r, ROWS * 3 * C), .mix = take(r, ROWS * C), .lse = take(r, ROWS * HEADS)};
        *scratches[i] = (tri_attention_scratch){i == 0 ? p->dbranch : p->full, take(r, ROWS * C),
                                                take(r, ROWS * 3 * C)};
    }
    return TRI_OK;
}

static tri_status attention_run(const tri_layer_call *call, const void *arg, const passes *p,
                                rig *r)
{
    const attention_case *c = arg;
    bool is_part = call->tensor != NULL;
    const tri_attention_layer *layer = is_part ? &c->part : &c->whole;
    const tri_attention_store *store = is_part ? &c->part_store : &c->whole_store;
    const tri_attention_scratch *scratch = is_part ? &c->part_scratch : &c->whole_scratch;
    const void *y = is_part ? outer_of(r, C, p->y) : p->y;
    const void *dbranch = is_part ? outer_of(r, C, p->dbranch) : p->dbranch;
    TRI_TRY(tri_attention_layer_forward(call, layer, y, store, NULL,
                                        is_part ? p->part_branch : p->branch));
    forget(r);
    TRI_TRY(tri_attention_layer_backward_input(call, layer, store, dbranch, scratch, p->spare,
                                               is_part ? p->part_dy : p->dy));
    forget(r);
    return tri_attention_layer_backward_weight(call, layer, store, y, scratch);
}

static tri_status attention_body(tri_comm *world, void *arg)
{
    RIG(r);
    attention_case c = {0};
    passes p = {0};
    TRI_TRY(rig_create(&r, world, arg));
    tri_attention_layer largest = {.heads = HEADS, .kv_heads = HEADS, .head_size = DH};
    largest.qkv = (tri_linear){.n_parts = 1, .out = {3 * C}};
    size_t bytes = tri_attention_layer_workspace(&r.alone, &largest);
    TRI_TRY(tri_arena_add(r.arena, TRI_MEM_WORKSPACE, (int64_t)bytes, TRI_U8, &r.alone.attention));
    TRI_TRY(rig_commit(&r));
    TRI_TRY(passes_make(&r, &p));
    TRI_TRY(attention_make(&r, &c, &p));
    TRI_TRY(attention_run(&r.alone, &c, &p, &r));
    start_counting(&r);
    TRI_TRY(attention_run(&r.call, &c, &p, &r));
    tri_traffic_list list = {0};
    tri_attention_layer_traffic(&r.call, (tri_tensor_passes){.forward = 1, .backward = 1}, &list);
    expect_traffic(&r, &list);

    EXPECT_CLOSE(&r, outer_difference(&r, C, p.part_branch, p.branch), "branch");
    EXPECT_CLOSE(&r, outer_difference(&r, C, p.part_dy, p.dy), "dy");
    EXPECT_CLOSE(&r, difference(&r, ROWS * C, p.full, p.dbranch), "gathered dbranch");
    pair_compare(&r, &c.qkv, false, "gradient of q, k, v");
    pair_compare(&r, &c.out, true, "gradient of out");
    return expect_same_whole(&r, &p, attention_run, &c);
}

TRI_TEST(attention_is_that_of_one_rank)
{
    return for_layouts(attention_body, 2);
}

/* --- MLP */

enum { F = 24 };

typedef struct mlp_case {
    pair up, down;
    tri_mlp_layer whole, part;
    tri_mlp_store whole_store, part_store;
    tri_mlp_scratch whole_scratch, part_scratch;
} mlp_case;

static tri_status mlp_make(rig *r, mlp_case *c, passes *p)
{
    bool gated = r->layout->variant == 1;
    int64_t here = F / r->axis.size;
    for (int i = 0; i < 2; i++)
        c->up.cut[i] = (cut){F, C, r->axis.index * here, here, 0, C};
    c->up.whole.n_parts = gated ? 2 : 1;
    c->down.cut[0] = (cut){C, F, 0, C, r->axis.index * here, here};
    c->down.whole.n_parts = 1;
    TRI_TRY(pair_make(r, &c->up, gated ? 2 : 1, false));
    TRI_TRY(pair_make(r, &c->down, gated ? 4 : 3, true));
    c->whole = (tri_mlp_layer){F, gated, c->up.whole, c->down.whole};
    c->part = (tri_mlp_layer){here, gated, c->up.part, c->down.part};
    c->whole_store = (tri_mlp_store){take(r, ROWS * 2 * F), take(r, ROWS * F)};
    c->part_store = (tri_mlp_store){take(r, ROWS * 2 * F), take(r, ROWS * F)};
    c->whole_scratch = (tri_mlp_scratch){p->dbranch, take(r, ROWS * F)};
    c->part_scratch = (tri_mlp_scratch){p->full, take(r, ROWS * F)};
    return TRI_OK;
}

static tri_status mlp_run(const tri_layer_call *call, const void *arg, const passes *p, rig *r)
{
    const mlp_case *c = arg;
    bool is_part = call->tensor != NULL;
    const tri_mlp_layer *layer = is_part ? &c->part : &c->whole;
    const tri_mlp_store *store = is_part ? &c->part_store : &c->whole_store;
    const tri_mlp_scratch *scratch = is_part ? &c->part_scratch : &c->whole_scratch;
    const void *y = is_part ? outer_of(r, C, p->y) : p->y;
    const void *dbranch = is_part ? outer_of(r, C, p->dbranch) : p->dbranch;
    TRI_TRY(tri_mlp_layer_forward(call, layer, y, store, is_part ? p->part_branch : p->branch));
    forget(r);
    TRI_TRY(tri_mlp_layer_backward_input(call, layer, store, dbranch, scratch,
                                         is_part ? p->part_dy : p->dy));
    forget(r);
    return tri_mlp_layer_backward_weight(call, layer, store, y, scratch);
}

static tri_status mlp_body(tri_comm *world, void *arg)
{
    RIG(r);
    mlp_case c = {0};
    passes p = {0};
    TRI_TRY(rig_create(&r, world, arg));
    TRI_TRY(rig_commit(&r));
    TRI_TRY(passes_make(&r, &p));
    TRI_TRY(mlp_make(&r, &c, &p));
    TRI_TRY(mlp_run(&r.alone, &c, &p, &r));
    start_counting(&r);
    TRI_TRY(mlp_run(&r.call, &c, &p, &r));
    tri_traffic_list list = {0};
    tri_mlp_layer_traffic(&r.call, (tri_tensor_passes){.forward = 1, .backward = 1}, &list);
    expect_traffic(&r, &list);

    EXPECT_CLOSE(&r, outer_difference(&r, C, p.part_branch, p.branch), "branch");
    EXPECT_CLOSE(&r, outer_difference(&r, C, p.part_dy, p.dy), "dy");
    EXPECT_CLOSE(&r, difference(&r, ROWS * C, p.full, p.dbranch), "gathered dbranch");
    pair_compare(&r, &c.up, false, "gradient of up");
    pair_compare(&r, &c.down, true, "gradient of down");
    return expect_same_whole(&r, &p, mlp_run, &c);
}

TRI_TEST(mlp_is_that_of_one_rank)
{
    return for_layouts(mlp_body, 2);
}

/* --- norms and dropout: of the outer rows */

static tri_status residual_body(tri_comm *world, void *arg)
{
    RIG(r);
    const layout *of = arg;
    void *x = NULL;
    void *dy = NULL;
    void *weight = NULL;
    TRI_TRY(rig_create(&r, world, of));
    TRI_TRY(rig_commit(&r));
    TRI_TRY(draw(&r, 1, ROWS * C, &x));
    TRI_TRY(draw(&r, 2, ROWS * C, &dy));
    TRI_TRY(draw(&r, 3, C, &weight));
    float *gradient[2];
    void *y[2];
    void *dx[2];
    void *dropped[2];
    for (int i = 0; i < 2; i++) {
        tri_layer_call call = i == 0 ? r.alone : r.call;
        const void *outer_x = i == 0 ? x : outer_of(&r, C, x);
        const void *outer_dy = i == 0 ? dy : outer_of(&r, C, dy);
        gradient[i] = take(&r, C);
        y[i] = take(&r, ROWS * C);
        dx[i] = take(&r, ROWS * C);
        dropped[i] = take(&r, ROWS * C);
        tri_param param = {.count = C, .weight = weight, .gradient = gradient[i]};
        tri_norm_layer norm = {C, 1e-5F, &param, NULL};
        tri_norm_store store = {take(&r, ROWS * C), y[i], NULL, take(&r, ROWS)};
        memcpy(store.x, outer_x,
               (size_t)tri_layer_outer_rows(&call) * C * tri_dtype_bytes(of->dtype));
        TRI_TRY(tri_norm_layer_forward(&call, &norm, &store, NULL));
        TRI_TRY(tri_norm_layer_backward_input(&call, &norm, &store, outer_dy, NULL, dx[i]));
        TRI_TRY(tri_norm_layer_backward_weight(&call, &norm, &store, outer_dy));
        call.dropout = 0.5F;
        TRI_TRY(tri_layer_dropout(&call, 3, C, outer_x, dropped[i]));
    }
    EXPECT_CLOSE(&r, outer_difference(&r, C, y[1], y[0]), "y");
    EXPECT_CLOSE(&r, outer_difference(&r, C, dx[1], dx[0]), "dx");
    EXPECT(outer_difference(&r, C, dropped[1], dropped[0]) == 0, "another mask");
    cut c = cut_whole(1, C);
    if (!tri_tensor_is_shared(&r.axis)) c.n_rows = r.axis.index == 0; /* all have the whole one */
    EXPECT_CLOSE(&r, gradient_difference(&r, &c, gradient[1], gradient[0]), "gradient of the norm");
    return TRI_OK;
}

TRI_TEST(norms_and_dropout_are_those_of_one_rank)
{
    return for_layouts(residual_body, 1);
}

TRI_TEST_MAIN(TRI_TEST_ROW(attention_is_that_of_one_rank), TRI_TEST_ROW(mlp_is_that_of_one_rank),
              TRI_TEST_ROW(norms_and_dropout_are_those_of_one_rank))

// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1
/* Each layer against plain double precision: forward, and backward by central differences of
 * sum(dy * forward); accumulation (+=) of parameters' gradients; parts together and apart.
 */
#include "kernels/pointwise.h"
#include "parallel/layer/attention.h"
#include "parallel/layer/embed.h"
#include "parallel/layer/mlp.h"
#include "parallel/layer/norm.h"
#include "tests/parallel/layer_bench.h"

enum { MAX = 4096 };

/* --- linear: three parts of unequal width with biases */

enum { OUT = 16 + 8 + 8, GAP = 16 };

typedef struct linear_case {
    double x[ROWS * C], w[OUT * C], b[OUT], dy[ROWS * OUT];
    float fx[ROWS * C], fdy[ROWS * OUT];
    float weight[OUT * C + 2 * GAP], bias[OUT + 2 * GAP];
    float dweight[OUT * C + 2 * GAP], dbias[OUT + 2 * GAP];
    tri_param params[6];
    tri_linear linear;
} linear_case;

static double linear_objective(const void *arg)
{
    const linear_case *c = arg;
    double y[ROWS * OUT];
    scalar_linear((int64_t[]){ROWS, C, OUT}, c->x, c->w, c->b, y);
    return dot(ROWS * OUT, y, c->dy);
}

/* Place the parts `gap` elements apart; gradients start at 1. */
static void linear_make(linear_case *c, int64_t gap)
{
    static const int64_t out[3] = {16, 8, 8};
    float scratch[OUT * C];
    draw(1, ROWS * C, c->fx, c->x);
    draw(2, ROWS * OUT, c->fdy, c->dy);
    draw(3, OUT * C, scratch, c->w);
    draw(4, OUT, scratch, c->b);
    c->linear = (tri_linear){
        .in = C, .n_parts = 3, .out = {16, 8, 8}
    };
    int64_t row = 0;
    for (int p = 0; p < 3; p++) {
        float *w = c->weight + row * C + p * gap;
        float *b = c->bias + row + p * gap;
        narrow(out[p] * C, c->w + row * C, w);
        narrow(out[p], c->b + row, b);
        c->params[p] = param_of(p, out[p] * C, w, c->dweight + (w - c->weight));
        c->params[3 + p] = param_of(3 + p, out[p], b, c->dbias + (b - c->bias));
        c->linear.weight[p] = &c->params[p];
        c->linear.bias[p] = &c->params[3 + p];
        row += out[p];
    }
    for (size_t i = 0; i < sizeof c->dweight / sizeof c->dweight[0]; i++)
        c->dweight[i] = 1;
    for (size_t i = 0; i < sizeof c->dbias / sizeof c->dbias[0]; i++)
        c->dbias[i] = 1;
}

static tri_status linear_check(bench *b, linear_case *c)
{
    static double y[ROWS * OUT];
    static float got[ROWS * OUT], want[OUT * C], dw[OUT * C], scratch[ROWS * C];
    TRI_TRY(tri_linear_forward(&b->call, &c->linear, ROWS, c->fx, got));
    scalar_linear((int64_t[]){ROWS, C, OUT}, c->x, c->w, c->b, y);
    narrow(ROWS * OUT, y, want);
    EXPECT_NEAR(ROWS * OUT, got, want, "y");

    TRI_TRY(tri_linear_backward_input(&b->call, &c->linear, ROWS, c->fdy, got, scratch));
    differences(linear_objective, c, ROWS * C, c->x, want);
    EXPECT_NEAR(ROWS * C, got, want, "dx");

    TRI_TRY(tri_linear_backward_weight(&b->call, &c->linear, c->fx, c->fdy));
    differences(linear_objective, c, OUT * C, c->w, want);
    int64_t row = 0;
    for (int p = 0; p < 3; p++) {
        for (int64_t i = 0; i < c->params[p].count; i++)
            dw[i] = c->params[p].gradient[i] - 1; /* += on 1 */
        EXPECT_NEAR(c->params[p].count, dw, want + row * C, "dW");
        row += c->linear.out[p];
    }
    differences(linear_objective, c, OUT, c->b, want);
    for (int p = 0, at = 0; p < 3; at += (int)c->linear.out[p], p++)
        for (int64_t i = 0; i < c->linear.out[p]; i++)
            EXPECT(fabsf(c->params[3 + p].gradient[i] - 1 - want[at + i]) < 1e-4F,
                   "db %d of part %d", (int)i, p);
    return TRI_OK;
}

TRI_TEST(linear_parts_together_and_apart)
{
    BENCH(b);
    static linear_case c;
    TRI_TRY(bench_create(&b));
    linear_make(&c, 0);
    tri_linear_join(&c.linear, TRI_F32);
    EXPECT(c.linear.fused_weight && c.linear.fused_gradient, "not fused");
    TRI_TRY(linear_check(&b, &c));
    linear_make(&c, GAP);
    tri_linear_join(&c.linear, TRI_F32);
    EXPECT(!c.linear.fused_weight && !c.linear.fused_gradient, "fused across a gap");
    TRI_TRY(linear_check(&b, &c));
    linear_make(&c, 0);
    c.params[4].weight = c.bias; /* biases apart: no single bias row, though the matrices touch */
    tri_linear_join(&c.linear, TRI_F32);
    EXPECT(!c.linear.fused_weight && c.linear.fused_gradient, "fused without one bias");
    return TRI_OK;
}

/* --- norm: the residual sum on the way, and the residual gradient */

typedef struct norm_case {
    double x[ROWS * C], w[C], b[C], dy[ROWS * C];
    bool rms;
} norm_case;

static double norm_objective(const void *arg)
{
    const norm_case *c = arg;
    double y[ROWS * C];
    scalar_norm((int64_t[]){ROWS, C}, 1e-5, c->x, c->w, c->rms ? NULL : c->b, y);
    return dot(ROWS * C, y, c->dy);
}

static tri_status norm_check(bool rms)
{
    BENCH(b);
    static norm_case c;
    static double wide[ROWS * C];
    static float w[C], bias[C], branch[ROWS * C], residual[ROWS * C], dy[ROWS * C];
    static float y[ROWS * C], mean[ROWS], rstd[ROWS], want[ROWS * C], got[ROWS * C];
    float dw[C] = {0}, db[C] = {0};
    TRI_TRY(bench_create(&b));
    c.rms = rms;
    draw(1, C, w, c.w);
    draw(2, C, bias, c.b);
    draw(3, ROWS * C, dy, c.dy);
    draw(4, ROWS * C, residual, wide);
    draw(5, ROWS * C, branch, c.x);
    for (int i = 0; i < ROWS * C; i++)
        c.x[i] += wide[i];
    tri_param params[2] = {param_of(0, C, w, dw), param_of(1, C, bias, db)};
    tri_norm_layer norm = {C, 1e-5F, &params[0], rms ? NULL : &params[1]};
    tri_norm_store store = {branch, y, mean, rstd};
    TRI_TRY(tri_norm_layer_forward(&b.call, &norm, &store, residual));
    narrow(ROWS * C, c.x, want);
    EXPECT_NEAR(ROWS * C, branch, want, "x");
    scalar_norm((int64_t[]){ROWS, C}, 1e-5, c.x, c.w, rms ? NULL : c.b, wide);
    narrow(ROWS * C, wide, want);
    EXPECT_NEAR(ROWS * C, y, want, "y");

    TRI_TRY(tri_norm_layer_backward_weight(&b.call, &norm, &store, dy));
    differences(norm_objective, &c, C, c.w, want);
    EXPECT_NEAR(C, dw, want, "dw");
    differences(norm_objective, &c, C, c.b, want);
    EXPECT_NEAR(C, db, want, "db");
    differences(norm_objective, &c, ROWS * C, c.x, want);
    TRI_TRY(tri_norm_layer_backward_input(&b.call, &norm, &store, dy, NULL, got));
    EXPECT_NEAR(ROWS * C, got, want, "dx");
    for (int i = 0; i < ROWS * C; i++)
        want[i] += residual[i];
    TRI_TRY(tri_norm_layer_backward_input(&b.call, &norm, &store, dy, residual, residual));
    EXPECT_NEAR(ROWS * C, residual, want, "dx + residual");
    return TRI_OK;
}

TRI_TEST(norms_add_the_residual)
{
    TRI_TRY(norm_check(false));
    return norm_check(true);
}

/* --- embedding */

TRI_TEST(embedding_gathers_and_scatters)
{
    BENCH(b);
    enum { V = 5 };
    static const int32_t ids[ROWS] = {4, 0, 4, 1, 4, 0};
    static float table[V * C], position[(LENGTH + 1) * C], x[ROWS * C], dx[ROWS * C];
    float dtable[V * C] = {0}, dposition[(LENGTH + 1) * C] = {0}, want[V * C] = {0};
    TRI_TRY(bench_create(&b));
    draw(1, V * C, table, NULL);
    draw(2, (LENGTH + 1) * C, position, NULL);
    draw(3, ROWS * C, dx, NULL);
    tri_param params[2] = {param_of(0, V * C, table, dtable),
                           param_of(1, (LENGTH + 1) * C, position, dposition)};
    tri_embed_layer embed = {.vocab = V, .width = C, .token = &params[0], .position = &params[1]};
    TRI_TRY(tri_embed_layer_forward(&b.call, &embed, ids, x));
    for (int i = 0; i < ROWS * C; i++)
        EXPECT(x[i] == table[ids[i / C] * C + i % C] + position[i / C % LENGTH * C + i % C], "x %d",
               i);
    TRI_TRY(tri_embed_layer_backward_weight(&b.call, &embed, ids, dx));
    for (int i = 0; i < ROWS * C; i++)
        want[ids[i / C] * C + i % C] += dx[i];
    EXPECT_NEAR(V * C, dtable, want, "dtable");
    for (int i = 0; i < LENGTH * C; i++)
        want[i] = dx[i] + dx[LENGTH * C + i];
    EXPECT_NEAR(LENGTH * C, dposition, want, "dposition");
    return TRI_OK;
}

/* --- MLP */

enum { F = 24 };

typedef struct mlp_case {
    double x[ROWS * C], up[2 * F * C], down[C * F], dy[ROWS * C];
    bool gated;
} mlp_case;

static void mlp_scalar(const mlp_case *c, double *y)
{
    double up[ROWS * F], gate[ROWS * F];
    scalar_linear((int64_t[]){ROWS, C, F}, c->x, c->up + (c->gated ? F * C : 0), NULL, up);
    scalar_linear((int64_t[]){ROWS, C, F}, c->x, c->up, NULL, gate);
    for (int i = 0; i < ROWS * F; i++)
        up[i] = c->gated ? scalar_swiglu(gate[i], up[i]) : scalar_gelu(up[i]);
    scalar_linear((int64_t[]){ROWS, F, C}, up, c->down, NULL, y);
}

static double mlp_objective(const void *arg)
{
    const mlp_case *c = arg;
    double y[ROWS * C];
    mlp_scalar(c, y);
    return dot(ROWS * C, y, c->dy);
}

static tri_status mlp_check(bool gated)
{
    BENCH(b);
    static mlp_case c;
    static double wide[ROWS * C];
    static float x[ROWS * C], up[2 * F * C], down[C * F], dy[ROWS * C], y[ROWS * C];
    static float wide_store[ROWS * 2 * F], act[ROWS * F], dwide[ROWS * F], dx[ROWS * C], want[MAX];
    float dup[2 * F * C] = {0}, ddown[C * F] = {0};
    TRI_TRY(bench_create(&b));
    c.gated = gated;
    draw(1, ROWS * C, x, c.x);
    draw(2, 2 * F * C, up, c.up);
    draw(3, C * F, down, c.down);
    draw(4, ROWS * C, dy, c.dy);
    tri_param params[3] = {param_of(0, F * C, up, dup), param_of(1, F * C, up + F * C, dup + F * C),
                           param_of(2, C * F, down, ddown)};
    tri_mlp_layer mlp = {
        .width = F,
        .gated = gated,
        .up = {.in = C,
               .n_parts = gated ? 2 : 1,
               .out = {F, F},
               .weight = {&params[0], &params[1]}                          },
        .down = {.in = F, .n_parts = 1,    .out = {C}, .weight = {&params[2]}}
    };
    tri_linear_join(&mlp.up, TRI_F32);
    tri_linear_join(&mlp.down, TRI_F32);
    tri_mlp_store store = {wide_store, act};
    TRI_TRY(tri_mlp_layer_forward(&b.call, &mlp, x, &store, y));
    mlp_scalar(&c, wide);
    narrow(ROWS * C, wide, want);
    EXPECT_NEAR(ROWS * C, y, want, "y");
    tri_mlp_scratch scratch = {dy, dwide};
    TRI_TRY(tri_mlp_layer_backward_input(&b.call, &mlp, &store, dy, &scratch, dx));
    TRI_TRY(tri_mlp_layer_backward_weight(&b.call, &mlp, &store, x, &scratch));
    differences(mlp_objective, &c, ROWS * C, c.x, want);
    EXPECT_NEAR(ROWS * C, dx, want, "dx");
    differences(mlp_objective, &c, (gated ? 2 : 1) * F * C, c.up, want);
    EXPECT_NEAR((gated ? 2 : 1) * F * C, dup, want, "dup");
    differences(mlp_objective, &c, C * F, c.down, want);
    EXPECT_NEAR(C * F, ddown, want, "ddown");
    return TRI_OK;
}

TRI_TEST(mlp_plain_and_gated)
{
    TRI_TRY(mlp_check(false));
    return mlp_check(true);
}

/* --- attention: grouped queries, rotary */

enum { HEADS = 4, KV_HEADS = 2, DH = 4, QKV = (HEADS + 2 * KV_HEADS) * DH };

typedef struct attention_case {
    double x[ROWS * C], qkv[QKV * C], out[C * C], dy[ROWS * C];
} attention_case;

static void attention_scalar(const attention_case *c, double *y)
{
    enum { KV = KV_HEADS * DH };
    double q[ROWS * C], k[ROWS * KV], v[ROWS * KV], mix[ROWS * C];
    scalar_linear((int64_t[]){ROWS, C, C}, c->x, c->qkv, NULL, q);
    scalar_linear((int64_t[]){ROWS, C, KV}, c->x, c->qkv + C * C, NULL, k);
    scalar_linear((int64_t[]){ROWS, C, KV}, c->x, c->qkv + (C + KV) * C, NULL, v);
    for (int s = 0; s < SEQUENCES; s++) {
        double *qs = q + s * LENGTH * C;
        double *ks = k + s * LENGTH * KV;
        scalar_rotate(LENGTH, HEADS, DH, 100, qs);
        scalar_rotate(LENGTH, KV_HEADS, DH, 100, ks);
        for (int h = 0; h < HEADS; h++)
            scalar_head(LENGTH, h, (int64_t[]){HEADS, KV_HEADS, DH}, 1 / sqrt(DH), qs, ks,
                        v + s * LENGTH * KV, mix + s * LENGTH * C);
    }
    scalar_linear((int64_t[]){ROWS, C, C}, mix, c->out, NULL, y);
}

static double attention_objective(const void *arg)
{
    const attention_case *c = arg;
    double y[ROWS * C];
    attention_scalar(c, y);
    return dot(ROWS * C, y, c->dy);
}

/* Parameters and buffers of an attention layer with random weights. */
typedef struct attention_rig {
    attention_case c;
    float x[ROWS * C], dy[ROWS * C], weight[QKV * C + C * C], gradient[QKV * C + C * C];
    float qkv[ROWS * QKV], mix[ROWS * C], lse[ROWS * HEADS];
    float table[(LENGTH + 1) * DH];
    tri_param params[4];
    tri_attention_layer layer;
    tri_attention_store store;
} attention_rig;

static tri_status attention_make(bench *b, attention_rig *r)
{
    enum { KV = KV_HEADS * DH };
    static const int64_t rows[4] = {C, KV, KV, C};
    memset(r, 0, sizeof *r);
    draw(1, ROWS * C, r->x, r->c.x);
    draw(2, ROWS * C, r->dy, r->c.dy);
    draw(3, QKV * C, r->weight, r->c.qkv);
    draw(4, C * C, r->weight + QKV * C, r->c.out);
    int64_t at = 0;
    for (int p = 0; p < 4; p++) {
        r->params[p] = param_of(p, rows[p] * C, r->weight + at, r->gradient + at);
        at += rows[p] * C;
    }
    tri_rope_table(LENGTH + 1, DH, 100, r->table);
    r->layer = (tri_attention_layer){
        .heads = HEADS,
        .kv_heads = KV_HEADS,
        .head_size = DH,
        .qkv = {.in = C,
                .n_parts = 3,
                .out = {C, KV, KV},
                .weight = {&r->params[0], &r->params[1], &r->params[2]}     },
        .out = {.in = C, .n_parts = 1, .out = {C}, .weight = {&r->params[3]}},
        .rope = r->table
    };
    tri_linear_join(&r->layer.qkv, TRI_F32);
    tri_linear_join(&r->layer.out, TRI_F32);
    r->store = (tri_attention_store){r->qkv, r->mix, r->lse, NULL};
    size_t bytes = tri_attention_layer_workspace(&b->call, &r->layer);
    return tri_device_alloc(b->device, TRI_MEM_WORKSPACE, bytes, &b->call.attention);
}

TRI_TEST(attention_grouped_and_rotary)
{
    BENCH(b);
    static attention_rig r;
    static double wide[ROWS * C];
    static float y[ROWS * C], dmix[ROWS * C], dqkv[ROWS * QKV], want[QKV * C];
    TRI_TRY(bench_create(&b));
    TRI_TRY(attention_make(&b, &r));
    TRI_TRY(tri_attention_layer_forward(&b.call, &r.layer, r.x, &r.store, NULL, y));
    attention_scalar(&r.c, wide);
    narrow(ROWS * C, wide, want);
    EXPECT_NEAR(ROWS * C, y, want, "y");
    tri_attention_scratch scratch = {r.dy, dmix, dqkv};
    TRI_TRY(tri_attention_layer_backward_input(&b.call, &r.layer, &r.store, r.dy, &scratch, NULL,
                                               dmix));
    TRI_TRY(tri_attention_layer_backward_weight(&b.call, &r.layer, &r.store, r.x, &scratch));
    differences(attention_objective, &r.c, ROWS * C, r.c.x, want);
    EXPECT_NEAR(ROWS * C, dmix, want, "dx");
    differences(attention_objective, &r.c, QKV * C, r.c.qkv, want);
    EXPECT_NEAR(QKV * C, r.gradient, want, "dqkv");
    differences(attention_objective, &r.c, C * C, r.c.out, want);
    EXPECT_NEAR(C * C, r.gradient + QKV * C, want, "dout");
    tri_device_free(b.device, b.call.attention);
    return TRI_OK;
}

TRI_TEST(attention_with_a_cache)
{
    BENCH(b);
    static attention_rig r;
    static double wide[ROWS * C];
    static float y[ROWS * C], want[ROWS * C];
    static float k[(LENGTH + 1) * KV_HEADS * DH], v[(LENGTH + 1) * KV_HEADS * DH];
    TRI_TRY(bench_create(&b));
    TRI_TRY(attention_make(&b, &r));
    attention_scalar(&r.c, wide);
    narrow(ROWS * C, wide, want);
    tri_attention_cache cache = {k, v};
    tri_layer_call call = b.call;
    call.sequences = 1;
    for (int64_t at = 0; at < LENGTH; at += call.length) {
        call.first_position = at;
        call.length = at == 0 ? 2 : 1;
        TRI_TRY(tri_attention_layer_forward(&call, &r.layer, r.x + at * C, &r.store, &cache,
                                            y + at * C));
    }
    EXPECT_NEAR(LENGTH * C, y, want, "y");
    tri_device_free(b.device, b.call.attention);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(linear_parts_together_and_apart), TRI_TEST_ROW(norms_add_the_residual),
              TRI_TEST_ROW(embedding_gathers_and_scatters), TRI_TEST_ROW(mlp_plain_and_gated),
              TRI_TEST_ROW(attention_grouped_and_rotary), TRI_TEST_ROW(attention_with_a_cache))

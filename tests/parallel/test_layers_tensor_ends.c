// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120
/* The ends of a model over a tensor axis against one rank: embedding and loss with their vocabulary in
 * blocks (odd ones, empty ones, targets on their borders, none counted), the loss in chunks of tokens.
 */
#include "parallel/layer/embed.h"
#include "parallel/layer/loss.h"
#include "tests/parallel/tensor_expect.h"

enum { V_MOST = 150 };

static const int64_t vocabularies[] = {150, 13, 5};

/* Kind 0: spread over the vocabulary, some masked; 1: first and last ids of blocks; 2: none. */
static void make_targets(const rig *r, int64_t kind, int64_t V, int32_t *target)
{
    int64_t block = (V + r->axis.size - 1) / r->axis.size;
    for (int64_t i = 0; i < ROWS; i++) {
        int64_t id = i % 3 == 0 ? -1 : i * 37 % V;
        if (kind == 1) {
            id = i / 2 % r->axis.size * block + (i % 2 ? block - 1 : 0);
            if (id >= V) id = V - 1;
        }
        target[i] = kind == 2 ? -1 : (int32_t)id;
    }
}

typedef struct loss_case {
    tri_loss_layer layer;
    tri_param head;
    void *dhidden;
    double sum[2];
    int64_t counted[2];
} loss_case;

static tri_status loss_run(const tri_layer_call *call, loss_case *c, const void *hidden,
                           const int32_t *target)
{
    tri_loss_backward backward = {0.25F, c->dhidden};
    TRI_TRY(tri_loss_layer_run(call, &c->layer, hidden, target, NULL, &c->sum[0], &c->counted[0]));
    return tri_loss_layer_run(call, &c->layer, hidden, target, &backward, &c->sum[1],
                              &c->counted[1]);
}

static tri_status loss_make(rig *r, loss_case *whole, loss_case *part, const cut *c)
{
    const layout *of = r->layout;
    void *head = NULL;
    TRI_TRY(draw(r, 1, c->rows * C, &head));
    whole->head =
        (tri_param){.count = c->rows * C, .weight = head, .gradient = take(r, V_MOST * C)};
    part->head = (tri_param){.count = c->n_rows * C,
                             .weight = tri_layer_at(head, c->row * C, of->dtype),
                             .gradient = take(r, V_MOST * C)};
    whole->layer = (tri_loss_layer){.width = C, .vocab = c->rows, .head = &whole->head};
    part->layer = (tri_loss_layer){.width = C,
                                   .vocab = c->n_rows,
                                   .first = c->row,
                                   .block = (c->rows + r->axis.size - 1) / r->axis.size,
                                   .head = &part->head};
    whole->dhidden = take(r, ROWS * C);
    part->dhidden = take(r, ROWS * C);
    TRI_TRY(tri_loss_layer_declare(&whole->layer, r->arena, of->dtype, ROWS));
    TRI_TRY(tri_loss_layer_declare(&part->layer, r->arena, of->dtype, ROWS));
    if (!of->apart) return TRI_OK;
    part->layer.chunk_rows = 9; /* in uneven chunks */
    part->layer.chunk_columns = 64;
    return TRI_OK;
}

static tri_status loss_body(tri_comm *world, void *arg)
{
    RIG(r);
    const layout *of = arg;
    loss_case whole = {0};
    loss_case part = {0};
    void *hidden = NULL;
    int32_t target[ROWS];
    TRI_TRY(rig_create(&r, world, of));
    cut c = cut_whole(vocabularies[of->variant / 3], C);
    tri_tensor_block(&r.axis, c.rows, &c.row, &c.n_rows);
    TRI_TRY(loss_make(&r, &whole, &part, &c));
    TRI_TRY(rig_commit(&r));
    TRI_TRY(draw(&r, 2, ROWS * C, &hidden));
    make_targets(&r, of->variant % 3, c.rows, target);
    TRI_TRY(loss_run(&r.alone, &whole, hidden, target));
    start_counting(&r);
    TRI_TRY(loss_run(&r.call, &part, outer_of(&r, C, hidden), target));
    tri_traffic_list list = {0};
    tri_loss_layer_traffic(&r.call, &part.layer, (tri_tensor_passes){.forward = 2, .backward = 1},
                           &list);
    expect_traffic(&r, &list);

    EXPECT(part.counted[0] == whole.counted[0] && part.counted[1] == whole.counted[0],
           "%lld counted", (long long)part.counted[0]);
    EXPECT(part.sum[0] == part.sum[1], "%.9g without gradients, %.9g with", part.sum[0],
           part.sum[1]);
    EXPECT_CLOSE(&r, fabs(part.sum[0] - whole.sum[0]) / fmax(1e-9, whole.sum[0]), "loss");
    EXPECT_CLOSE(&r, outer_difference(&r, C, part.dhidden, whole.dhidden), "dhidden");
    EXPECT_CLOSE(&r, gradient_difference(&r, &c, part.head.gradient, whole.head.gradient), "dhead");
    double sums[2] = {part.sum[0], part.sum[0]};
    TRI_TRY(tri_allreduce(r.comm, tri_span_make(&sums[0], 1, TRI_F64), TRI_MAX, NULL));
    EXPECT(sums[0] == sums[1], "ranks have different sums: %.17g, %.17g", sums[0], sums[1]);
    return TRI_OK;
}

TRI_TEST(loss_is_that_of_one_rank)
{
    return for_layouts(loss_body, 9);
}

/* A block of logits that are all -inf adds nothing, and its gradient is zero. */
static tri_status empty_body(tri_comm *world, void *arg)
{
    RIG(r);
    loss_case whole = {0};
    loss_case part = {0};
    int32_t target[ROWS];
    float *hidden = NULL;
    TRI_TRY(rig_create(&r, world, arg));
    cut c = cut_whole(12, C);
    tri_tensor_block(&r.axis, c.rows, &c.row, &c.n_rows);
    TRI_TRY(loss_make(&r, &whole, &part, &c));
    TRI_TRY(rig_commit(&r));
    TRI_TRY(draw(&r, 2, ROWS * C, (void **)&hidden));
    float *head = (float *)(uintptr_t)whole.head.weight;
    for (int64_t i = 0; i < ROWS; i++) {
        hidden[i * C] = 1;
        target[i] = (int32_t)(6 + i % 6);
    }
    for (int64_t i = 0; i < 6; i++)
        head[i * C] = -INFINITY;
    TRI_TRY(tri_loss_layer_run(&r.alone, &whole.layer, hidden, target, NULL, &whole.sum[0],
                               &whole.counted[0]));
    TRI_TRY(tri_loss_layer_run(&r.call, &part.layer, outer_of(&r, C, hidden), target, NULL,
                               &part.sum[0], &part.counted[0]));
    EXPECT(fabs(part.sum[0] - whole.sum[0]) <= 1e-5 * whole.sum[0], "%.9g, want %.9g", part.sum[0],
           whole.sum[0]);
    return TRI_OK;
}

TRI_TEST(loss_with_a_block_of_nothing)
{
    tri_device_args device = {.name = "cpu", .n_threads = 1, .yield = true};
    layout one = {.ranks = 4, .sequence = true, .chunks = 1, .dtype = TRI_F32};
    TRI_TRY(tri_comm_run_threads(4, &device, empty_body, &one));
    return TRI_OK;
}

/* --- embedding */

typedef struct embed_case {
    tri_embed_layer layer;
    tri_param token, position;
    void *x;
} embed_case;

static tri_status embed_make(rig *r, embed_case *whole, embed_case *part, const cut *c)
{
    tri_dtype dtype = r->layout->dtype;
    void *table = NULL;
    void *position = NULL;
    TRI_TRY(draw(r, 1, c->rows * C, &table));
    TRI_TRY(draw(r, 2, 2 * LENGTH * C, &position));
    embed_case *cases[] = {whole, part};
    for (int i = 0; i < 2; i++) {
        const cut of = i == 0 ? cut_whole(c->rows, C) : *c;
        embed_case *e = cases[i];
        e->token = (tri_param){.count = of.n_rows * C,
                               .weight = tri_layer_at(table, of.row * C, dtype),
                               .gradient = take(r, V_MOST * C)};
        e->position = (tri_param){
            .count = 2 * LENGTH * C, .weight = position, .gradient = take(r, 2 * LENGTH * C)};
        e->layer = (tri_embed_layer){.vocab = of.n_rows,
                                     .width = C,
                                     .token = &e->token,
                                     .position = &e->position,
                                     .first = of.row};
        e->x = take(r, ROWS * C);
    }
    return TRI_OK;
}

static tri_status embed_body(tri_comm *world, void *arg)
{
    RIG(r);
    const layout *of = arg;
    embed_case whole = {0};
    embed_case part = {0};
    void *dx = NULL;
    int32_t ids[ROWS];
    int32_t places[ROWS];
    TRI_TRY(rig_create(&r, world, of));
    TRI_TRY(rig_commit(&r));
    cut c = cut_whole(vocabularies[of->variant % 3], C);
    tri_tensor_block(&r.axis, c.rows, &c.row, &c.n_rows);
    TRI_TRY(embed_make(&r, &whole, &part, &c));
    TRI_TRY(draw(&r, 3, ROWS * C, &dx));
    for (int64_t i = 0; i < ROWS; i++) {
        ids[i] = (int32_t)(i * 7 % c.rows);
        places[i] = (int32_t)(i * 5 % (2 * LENGTH));
    }
    if (of->variant >= 3) r.alone.position = r.call.position = places;
    TRI_TRY(tri_embed_layer_forward(&r.alone, &whole.layer, ids, whole.x));
    TRI_TRY(tri_embed_layer_backward_weight(&r.alone, &whole.layer, ids, dx));
    start_counting(&r);
    TRI_TRY(tri_embed_layer_forward(&r.call, &part.layer, ids, part.x));
    forget(&r);
    TRI_TRY(tri_embed_layer_backward_weight(&r.call, &part.layer, ids, outer_of(&r, C, dx)));
    tri_traffic_list list = {0};
    tri_embed_layer_traffic(&r.call, (tri_tensor_passes){.forward = 1, .backward = 1}, &list);
    expect_traffic(&r, &list);

    EXPECT_CLOSE(&r, outer_difference(&r, C, part.x, whole.x), "x");
    EXPECT_CLOSE(&r, gradient_difference(&r, &c, part.token.gradient, whole.token.gradient),
                 "gradient of the tokens");
    EXPECT_CLOSE(&r,
                 tri_test_relative(2 * LENGTH * C, part.position.gradient, whole.position.gradient),
                 "gradient of the positions");
    return TRI_OK;
}

TRI_TEST(embedding_is_that_of_one_rank)
{
    return for_layouts(embed_body, 6);
}

TRI_TEST_MAIN(TRI_TEST_ROW(loss_is_that_of_one_rank), TRI_TEST_ROW(loss_with_a_block_of_nothing),
              TRI_TEST_ROW(embedding_is_that_of_one_rank))

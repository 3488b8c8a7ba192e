// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1
/* The loss layer against plain double precision, whole and in uneven chunks of tokens and of the
 * vocabulary; dropout as the layers call it.
 */
#include "parallel/layer/loss.h"
#include "tests/parallel/layer_bench.h"

/* --- loss: chunks of tokens and of the vocabulary */

typedef struct loss_case {
    double hidden[ROWS * C], head[150 * C];
    int64_t V;
} loss_case;

static const int32_t targets[ROWS] = {3, -1, 80, 149, 64, 0};

static double loss_objective(const void *arg)
{
    const loss_case *c = arg;
    static double logits[ROWS * 150];
    double loss = 0;
    scalar_linear((int64_t[]){ROWS, C, c->V}, c->hidden, c->head, NULL, logits);
    for (int r = 0; r < ROWS; r++) {
        double sum = 0;
        for (int64_t i = 0; targets[r] >= 0 && i < c->V; i++)
            sum += exp(logits[r * c->V + i]);
        if (targets[r] >= 0) loss += log(sum) - logits[r * c->V + targets[r]];
    }
    return loss;
}

static tri_status loss_check(int64_t chunk_rows, int64_t chunk_columns)
{
    BENCH(b);
    static loss_case c;
    static float hidden[ROWS * C], head[150 * C], dhead[150 * C], dhidden[ROWS * C], want[150 * C];
    TRI_TRY(bench_create(&b));
    c.V = 150;
    draw(1, ROWS * C, hidden, c.hidden);
    draw(2, c.V * C, head, c.head);
    memset(dhead, 0, sizeof dhead);
    tri_param param = param_of(0, c.V * C, head, dhead);
    tri_loss_layer loss = {.width = C, .vocab = c.V, .head = &param};
    TRI_AUTO(tri_arena) *arena = NULL;
    TRI_TRY(tri_arena_create(&arena));
    TRI_TRY(tri_loss_layer_declare(&loss, arena, TRI_F32, ROWS));
    TRI_TRY(tri_arena_commit(arena, b.device, NULL));
    EXPECT(loss.stride % 64 == 0 && loss.stride >= c.V, "stride %lld", (long long)loss.stride);
    if (chunk_rows) loss.chunk_rows = chunk_rows; /* smaller than what was declared */
    if (chunk_columns) loss.chunk_columns = chunk_columns;

    double sum[2] = {0};
    int64_t counted[2] = {0};
    tri_loss_backward backward = {0.25F, dhidden};
    TRI_TRY(tri_loss_layer_run(&b.call, &loss, hidden, targets, NULL, &sum[0], &counted[0]));
    TRI_TRY(tri_loss_layer_run(&b.call, &loss, hidden, targets, &backward, &sum[1], &counted[1]));
    double exact = loss_objective(&c);
    EXPECT(fabs(sum[0] - exact) < 1e-6 * exact && sum[0] == sum[1], "%.9g %.9g, want %.9g", sum[0],
           sum[1], exact);
    EXPECT(counted[0] == 5 && counted[1] == 5, "%lld counted", (long long)counted[0]);
    for (int i = 0; i < ROWS * C; i++)
        dhidden[i] *= 4;
    for (int i = 0; i < 150 * C; i++)
        dhead[i] *= 4;
    differences(loss_objective, &c, ROWS * C, c.hidden, want);
    EXPECT_NEAR(ROWS * C, dhidden, want, "dhidden");
    differences(loss_objective, &c, c.V * C, c.head, want);
    EXPECT_NEAR(c.V * C, dhead, want, "dhead");
    return TRI_OK;
}

TRI_TEST(loss_in_chunks)
{
    TRI_TRY(loss_check(0, 0));
    TRI_TRY(loss_check(4, 64)); /* uneven rest of both */
    return loss_check(1, 128);
}

TRI_TEST(loss_chunks_are_bounded)
{
    TRI_AUTO(tri_arena) *arena = NULL;
    TRI_TRY(tri_arena_create(&arena));
    tri_loss_layer loss = {.width = 768, .vocab = 50257};
    TRI_TRY(tri_loss_layer_declare(&loss, arena, TRI_BF16, 8192));
    size_t bytes = tri_arena_bytes(arena, TRI_MEM_WORKSPACE);
    EXPECT(bytes < (size_t)130 << 20, "%zu bytes of logits", bytes);
    EXPECT(loss.chunk_rows == 1024 && loss.chunk_columns % 64 == 0, "chunks of %lld x %lld",
           (long long)loss.chunk_rows, (long long)loss.chunk_columns);
    loss.vocab = 1 << 28;
    TRI_TRY(tri_loss_layer_declare(&loss, arena, TRI_BF16, 8192));
    EXPECT(loss.chunk_rows == 1, "%lld rows", (long long)loss.chunk_rows);
    return TRI_OK;
}

/* --- dropout: a sample's mask is its own wherever it stands; places differ */

TRI_TEST(dropout_follows_the_sample)
{
    BENCH(b);
    static float ones[ROWS * C], both[ROWS * C], alone[LENGTH * C], other[ROWS * C];
    TRI_TRY(bench_create(&b));
    for (int i = 0; i < ROWS * C; i++)
        ones[i] = 1;
    tri_layer_call call = b.call;
    TRI_TRY(tri_layer_dropout(&call, 1, C, ones, ones));
    EXPECT(ones[0] == 1 && ones[ROWS * C - 1] == 1, "rate 0 changed x");
    call.dropout = 0.5F;
    TRI_TRY(tri_layer_dropout(&call, 1, C, ones, both));
    TRI_TRY(tri_layer_dropout(&call, 2, C, ones, other));
    call.sequences = 1;
    call.sample = samples + 1;
    TRI_TRY(tri_layer_dropout(&call, 1, C, ones, alone));
    EXPECT(memcmp(alone, both + LENGTH * C, sizeof alone) == 0, "a sample's mask moved");
    EXPECT(memcmp(both, both + LENGTH * C, sizeof alone) != 0, "two samples have one mask");
    EXPECT(memcmp(both, other, sizeof both) != 0, "two places have one mask");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(loss_in_chunks), TRI_TEST_ROW(loss_chunks_are_bounded),
              TRI_TEST_ROW(dropout_follows_the_sample))

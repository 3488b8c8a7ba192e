// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=180
/* Attention on parts of sequences and on packed documents, against the definition in double
 * precision: any block of queries against any block of keys, merged with what other blocks gave, and
 * its gradients, on every instruction set, one and two threads, fp32 and bf16.
 */
#include "tests/kernels/attention_calls.h"

/* out and lse of one block, in arrays of its own. */
static tri_status block_forward(const kernel_case *c, world *w, const block *k)
{
    TRI_AUTO(answer) *want = NULL;
    TRI_TRY(answer_create(&w->s, k, &want));
    reference(w, k, false, want);
    tri_attention_args args = block_args(w, k);
    int64_t lse_stride = k->n_query + 1;
    int64_t n_lse = w->s.batch * (w->s.heads * lse_stride + 2);
    TRI_AUTO(kernel_array) *out = NULL;
    TRI_AUTO(kernel_array) *lse = NULL;
    TRI_TRY(kernel_array_create(c->dtype, w->s.batch * w->q_batch, 6, 1, &out));
    TRI_TRY(kernel_array_create(TRI_F32, n_lse, 7, 1, &lse));
    args.out = out->data;
    args.lse = lse->data;
    args.lse_stride = lse_stride;
    args.lse_batch_stride = w->s.heads * lse_stride + 2;
    float outside = out->value[w->q_width]; /* between two rows */
    TRI_TRY(pass_run(c, &args, false));
    kernel_array_read(out);
    EXPECT(out->value[w->q_width] == outside, "out was written behind a row");
    expect_near(c, w, k, "out",
                rows_error(out->value, w->s.batch, w->q_batch, k->n_query, w->q_stride, w->q_width,
                           want->out));
    for (int64_t b = 0; b < w->s.batch; b++)
        for (int64_t h = 0; h < w->s.heads; h++)
            expect_lse(args.lse + b * args.lse_batch_stride + h * lse_stride,
                       want->lse + (b * w->s.heads + h) * k->n_query, k->n_query);
    return TRI_OK;
}

static void merge_reference(const world *w, const block *k, const float *out, const float *lse,
                            answer *a)
{
    for (int64_t b = 0; b < w->s.batch; b++)
        for (int64_t h = 0; h < w->s.heads; h++)
            for (int64_t i = 0; i < k->n_query; i++) {
                int64_t row = (b * w->s.heads + h) * k->n_query + i;
                double *mix = a->out + ((b * k->n_query + i) * w->s.heads + h) * w->s.head_size;
                const float *old = out + b * w->q_batch + i * w->q_stride + h * w->s.head_size;
                double now = fmax(a->lse[row], (double)lse[row]);
                if (isinf(now)) continue;
                double mine = exp(a->lse[row] - now);
                double others = exp((double)lse[row] - now);
                for (int64_t d = 0; d < w->s.head_size; d++)
                    mix[d] = (mine * mix[d] + others * (double)old[d]) / (mine + others);
                a->lse[row] = now + log(mine + others);
            }
}

/* The block merged with made-up results over other keys, some of them empty. */
static tri_status block_merge(const kernel_case *c, world *w, const block *k)
{
    TRI_AUTO(answer) *want = NULL;
    TRI_AUTO(kernel_array) *out = NULL;
    TRI_AUTO(kernel_array) *lse = NULL;
    TRI_TRY(answer_create(&w->s, k, &want));
    reference(w, k, false, want);
    int64_t rows = w->s.batch * w->s.heads * k->n_query;
    TRI_TRY(kernel_array_create(TRI_F32, w->s.batch * w->q_batch, 6, 1, &out));
    TRI_TRY(kernel_array_create(TRI_F32, rows, 7, 3, &lse));
    for (int64_t i = 0; i < rows; i += 3)
        lse->value[i] = -INFINITY;
    for (int64_t b = 0; b < w->s.batch; b++)
        for (int64_t h = 0; h < w->s.heads; h++)
            for (int64_t i = 0; i < k->n_query; i++)
                for (int64_t d = 0; d < w->s.head_size; d++)
                    if (((b * w->s.heads + h) * k->n_query + i) % 3 == 0)
                        out->value[b * w->q_batch + i * w->q_stride + h * w->s.head_size + d] = 0;
    kernel_array_write(out);
    kernel_array_write(lse);
    merge_reference(w, k, out->value, lse->value, want);
    tri_attention_args args = block_args(w, k);
    args.out = out->data;
    args.lse = lse->data;
    args.merge = true;
    TRI_TRY(pass_run(c, &args, false));
    kernel_array_read(out);
    expect_near(c, w, k, "merged out",
                rows_error(out->value, w->s.batch, w->q_batch, k->n_query, w->q_stride, w->q_width,
                           want->out));
    expect_lse(args.lse, want->lse, rows);
    return TRI_OK;
}

/* Gradients of a block: overwritten, or added to ones. */
static tri_status block_backward(const kernel_case *c, world *w, const block *k, bool accumulate)
{
    TRI_AUTO(answer) *want = NULL;
    TRI_AUTO(kernel_array) *dq = NULL;
    TRI_AUTO(kernel_array) *dk = NULL;
    TRI_AUTO(kernel_array) *dv = NULL;
    TRI_TRY(answer_create(&w->s, k, &want));
    reference(w, k, true, want);
    tri_dtype dtype = accumulate ? TRI_F32 : c->dtype;
    TRI_TRY(kernel_array_create(dtype, w->s.batch * w->q_batch, 0, 0, &dq));
    TRI_TRY(kernel_array_create(dtype, w->s.batch * w->kv_batch, 0, 0, &dk));
    TRI_TRY(kernel_array_create(dtype, w->s.batch * w->kv_batch, 0, 0, &dv));
    kernel_array *gradient[] = {dq, dk, dv};
    for (int g = 0; g < 3; g++) {
        for (int64_t i = 0; i < gradient[g]->n; i++)
            gradient[g]->value[i] = 1;
        kernel_array_write(gradient[g]);
    }
    tri_attention_args args = block_args(w, k);
    args.out = (void *)(uintptr_t)at(w->out, k->q_first * w->q_stride);
    args.dout = at(w->dout, k->q_first * w->q_stride);
    args.lse = w->lse_value + k->q_first;
    args.lse_stride = w->s.length;
    args.lse_batch_stride = w->s.heads * w->s.length;
    args.dq = dq->data;
    args.dk = dk->data;
    args.dv = dv->data;
    args.accumulate = accumulate;
    TRI_TRY(pass_run(c, &args, true));
    const double *wanted[] = {want->dq, want->dk, want->dv};
    const char *const names[] = {"dq", "dk", "dv"};
    for (int g = 0; g < 3; g++) {
        kernel_array_read(gradient[g]);
        int64_t width = g ? w->kv_width : w->q_width;
        EXPECT(gradient[g]->value[width] == 1, "%s was written behind a row", names[g]);
        for (int64_t i = 0; accumulate && i < gradient[g]->n; i++)
            gradient[g]->value[i] -= 1;
        expect_near(c, w, k, names[g],
                    rows_error(gradient[g]->value, w->s.batch, g ? w->kv_batch : w->q_batch,
                               g ? k->n_key : k->n_query, g ? w->kv_stride : w->q_stride, width,
                               wanted[g]));
    }
    return TRI_OK;
}

static tri_status blocks_run(const kernel_case *c, world *w, const block *blocks, int n)
{
    for (int i = 0; i < n; i++) {
        TRI_TRY(block_forward(c, w, &blocks[i]));
        TRI_TRY(block_merge(c, w, &blocks[i]));
        TRI_TRY(block_backward(c, w, &blocks[i], false));
        TRI_TRY(block_backward(c, w, &blocks[i], true));
    }
    return TRI_OK;
}

static tri_status blocks_case(const kernel_case *c)
{
    const shape shapes[] = {
        {2, 200, 4, 2, 16, 0 },
        {2, 200, 2, 2, 12, 90},
        {1, 200, 3, 1, 7,  9 },
    };
    const block blocks[] = {
        {0,   200, 0,   200}, /* whole sequences */
        {100, 100, 0,   100}, /* all seen */
        {0,   100, 100, 100}, /* none seen */
        {100, 50,  100, 50 }, /* on the diagonal */
        {37,  130, 20,  91 }, /* cut anywhere */
        {0,   90,  70,  130}, /* few see few */
        {140, 5,   33,  120}, /* a few queries */
        {60,  3,   61,  7  }, /* of which some see none */
        {10,  80,  5,   1  }, /* one key */
        {10,  0,   5,   20 }, /* no queries */
        {10,  20,  5,   0  }, /* no keys */
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        TRI_AUTO(world) *w = NULL;
        TRI_TRY(world_create(&shapes[i], c->dtype, &w));
        TRI_TRY(blocks_run(c, w, blocks, (int)(sizeof blocks / sizeof blocks[0])));
    }
    return TRI_OK;
}

TRI_TEST(blocks_agree_with_the_definition)
{
    return kernel_cases_run(blocks_case);
}

/* Several blocks of keys and of queries, and documents longer and shorter than those. */
static tri_status long_case(const kernel_case *c)
{
    if (c->threads == 1) return TRI_OK;
    const shape shapes[] = {
        {1, 700, 1, 1, 8, 0  },
        {1, 700, 1, 1, 8, 400},
        {1, 700, 1, 1, 8, 40 }
    };
    const block blocks[] = {
        {0,   700, 0,  700},
        {620, 80,  0,  620},
        {31,  650, 17, 660}
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        TRI_AUTO(world) *w = NULL;
        TRI_TRY(world_create(&shapes[i], c->dtype, &w));
        TRI_TRY(blocks_run(c, w, blocks, (int)(sizeof blocks / sizeof blocks[0])));
    }
    return TRI_OK;
}

TRI_TEST(long_blocks_agree_with_the_definition)
{
    return kernel_cases_run(long_case);
}

TRI_TEST_MAIN(TRI_TEST_ROW(blocks_agree_with_the_definition),
              TRI_TEST_ROW(long_blocks_agree_with_the_definition))

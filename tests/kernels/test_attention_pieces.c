// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=180
/* Sequences cut into blocks of queries and of keys anywhere, which are merged in any order, are the
 * whole sequences: outputs and gradients. Other documents need no other memory.
 */
#include "tests/kernels/attention_calls.h"

enum { CUTS = 4 };

/* 0 = place[0] <= ... <= place[CUTS] = length, drawn. */
static void cuts_draw(world *w, int64_t place[CUTS + 1])
{
    place[0] = 0;
    for (int i = 1; i < CUTS; i++)
        place[i] = place[i - 1] + draw(w, w->s.length - place[i - 1]);
    place[CUTS] = w->s.length;
}

static void order_draw(world *w, int order[], int n)
{
    for (int i = 0; i < n; i++) {
        int j = (int)draw(w, i + 1);
        if (j < i) order[i] = order[j];
        order[j] = i;
    }
}

/* Sums and results of the whole, to which blocks are added. */
typedef struct pieces {
    kernel_array *out, *lse, *dq, *dk, *dv; /* fp32 */
} pieces;

static void pieces_destroy(pieces **p)
{
    if (!*p) return;
    kernel_array_destroy(&(*p)->out);
    kernel_array_destroy(&(*p)->lse);
    kernel_array_destroy(&(*p)->dq);
    kernel_array_destroy(&(*p)->dk);
    kernel_array_destroy(&(*p)->dv);
    TRI_FREE(*p);
}

static tri_status pieces_create(const world *w, pieces **out)
{
    TRI_AUTO(pieces) *p = NULL;
    TRI_TRY(TRI_NEW(&p));
    int64_t rows = w->s.batch * w->s.heads * w->s.length;
    TRI_TRY(kernel_array_create(TRI_F32, w->s.batch * w->q_batch, 0, 0, &p->out));
    TRI_TRY(kernel_array_create(TRI_F32, rows, 0, 0, &p->lse));
    TRI_TRY(kernel_array_create(TRI_F32, w->s.batch * w->q_batch, 0, 0, &p->dq));
    TRI_TRY(kernel_array_create(TRI_F32, w->s.batch * w->kv_batch, 0, 0, &p->dk));
    TRI_TRY(kernel_array_create(TRI_F32, w->s.batch * w->kv_batch, 0, 0, &p->dv));
    for (int64_t i = 0; i < rows; i++)
        p->lse->value[i] = -INFINITY;
    kernel_array_write(p->lse);
    *out = TRI_MOVE(p);
    return TRI_OK;
}

static tri_status piece_run(const kernel_case *c, world *w, const pieces *p, const block *k,
                            bool backward)
{
    tri_attention_args args = block_args(w, k);
    int64_t q_at = k->q_first * w->q_stride;
    int64_t k_at = k->k_first * w->kv_stride;
    args.lse = (float *)p->lse->data + k->q_first;
    args.lse_stride = w->s.length;
    args.lse_batch_stride = w->s.heads * w->s.length;
    if (backward) {
        args.out = (void *)(uintptr_t)at(w->out, q_at);
        args.dout = at(w->dout, q_at);
        args.dq = (float *)p->dq->data + q_at;
        args.dk = (float *)p->dk->data + k_at;
        args.dv = (float *)p->dv->data + k_at;
        args.accumulate = true;
    } else {
        args.out = (float *)p->out->data + q_at;
        args.merge = true;
    }
    return pass_run(c, &args, backward);
}

/* All blocks in some order. */
static tri_status pieces_run(const kernel_case *c, world *w, const pieces *p, bool backward)
{
    int64_t queries[CUTS + 1];
    int64_t keys[CUTS + 1];
    int order[CUTS * CUTS];
    cuts_draw(w, queries);
    cuts_draw(w, keys);
    order_draw(w, order, CUTS * CUTS);
    for (int i = 0; i < CUTS * CUTS; i++) {
        int q = order[i] / CUTS;
        int k = order[i] % CUTS;
        block b = {queries[q], queries[q + 1] - queries[q], keys[k], keys[k + 1] - keys[k]};
        TRI_TRY(piece_run(c, w, p, &b, backward));
    }
    return TRI_OK;
}

static tri_status pieces_check(const kernel_case *c, world *w, const pieces *p)
{
    TRI_AUTO(answer) *want = NULL;
    const block all = {0, w->s.length, 0, w->s.length};
    TRI_TRY(answer_create(&w->s, &all, &want));
    reference(w, &all, true, want);
    const kernel_array *got[] = {p->out, p->dq, p->dk, p->dv};
    const double *wanted[] = {want->out, want->dq, want->dk, want->dv};
    const char *const names[] = {"out in pieces", "dq in pieces", "dk in pieces", "dv in pieces"};
    for (int g = 0; g < 4; g++) {
        bool q = g < 2;
        expect_near(c, w, &all, names[g],
                    rows_error(got[g]->data, w->s.batch, q ? w->q_batch : w->kv_batch, w->s.length,
                               q ? w->q_stride : w->kv_stride, q ? w->q_width : w->kv_width,
                               wanted[g]));
    }
    expect_lse(p->lse->data, want->lse, w->s.batch * w->s.heads * w->s.length);
    return TRI_OK;
}

static tri_status pieces_case(const kernel_case *c)
{
    const shape shapes[] = {
        {2, 150, 4, 2, 16, 0 },
        {2, 150, 2, 1, 20, 60}
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        TRI_AUTO(world) *w = NULL;
        TRI_TRY(world_create(&shapes[i], c->dtype, &w));
        for (int round = 0; round < 3; round++) {
            TRI_AUTO(pieces) *p = NULL;
            TRI_TRY(pieces_create(w, &p));
            TRI_TRY(pieces_run(c, w, p, false));
            TRI_TRY(pieces_run(c, w, p, true));
            TRI_TRY(pieces_check(c, w, p));
        }
    }
    return TRI_OK;
}

TRI_TEST(a_sequence_in_pieces_is_the_whole)
{
    return kernel_cases_run(pieces_case);
}

/* Products are made once, wherever later documents begin and end. */
static tri_status other_documents_case(const kernel_case *c)
{
    const shape s = {1, 700, 1, 1, 8, 300};
    TRI_AUTO(world) *w = NULL;
    TRI_AUTO(pieces) *p = NULL;
    char *workspace = NULL;
    TRI_TRY(world_create(&s, c->dtype, &w));
    TRI_TRY(pieces_create(w, &p));
    const block all = {0, s.length, 0, s.length};
    tri_attention_args args = block_args(w, &all);
    TRI_TRY(TRI_NEW_ARRAY((int64_t)tri_attention_workspace(c->kernels, &args), &workspace));
    args.workspace = workspace;
    args.out = w->out->data;
    args.dout = w->dout->data;
    args.lse = w->lse_value;
    args.dq = p->dq->data;
    args.dk = p->dk->data;
    args.dv = p->dv->data;
    int64_t before = 0;
    for (int round = 0; round < 20; round++) {
        TRI_TRY(tri_attention_forward(c->kernels, &args));
        TRI_TRY(tri_attention_backward(c->kernels, &args));
        if (round == 0) before = tri_alloc_count();
        documents_draw(w);
    }
    EXPECT(tri_alloc_count() == before, "%lld allocations for other documents",
           (long long)(tri_alloc_count() - before));
    TRI_FREE(workspace);
    return TRI_OK;
}

TRI_TEST(other_documents_allocate_nothing)
{
    return kernel_cases_run(other_documents_case);
}

TRI_TEST_MAIN(TRI_TEST_ROW(a_sequence_in_pieces_is_the_whole),
              TRI_TEST_ROW(other_documents_allocate_nothing))

// SPDX-License-Identifier: Apache-2.0
/* Chooses pairs greedily: each time the one that has most of what none has yet. */
#include "tests/launch/cross.h"

#include "runtime/base/alloc.h"

#include <stdlib.h>
#include <string.h>

/* The layouts of a matrix, and which of their pairs may still be taken. */
typedef struct choice {
    cross *c;
    bool *is_out; /* [from * n + to] taken, or not legal with the other's model */
    int n;
} choice;

static void choice_destroy(choice *at)
{
    TRI_FREE(at->is_out);
}

static int take(bool *goal, bool close)
{
    int open = *goal;
    if (close) *goal = false;
    return open;
}

static bool has_few_kv_heads(const matrix *m, const matrix_layout *layout)
{
    for (int f = 0; f < m->n_factors; f++)
        if (strcmp(m->factor[f].key, "model.kv_heads") == 0) {
            long heads = strtol(m->factor[f].value[layout->value[f]], NULL, 10); /* auto: 0 */
            return heads > 0 && heads < layout->mesh.size[TRI_AXIS_TENSOR];
        }
    return false;
}

static int gain_of_side(cross *c, int side, const matrix_layout *layout, bool close)
{
    const matrix *m = c->m;
    int n = take(&c->open.product[side][matrix_pattern(&layout->mesh)], close);
    if (has_few_kv_heads(m, layout)) n += take(&c->open.few_kv_heads[side], close);
    for (int f = 0; f < m->n_factors; f++)
        if (matrix_varies(m, &layout->mesh, f))
            n += take(&c->open.value[side][f][layout->value[f]], close);
    return n;
}

/* Count what a pair has and none has yet; `close` those goals. */
static int gain(cross *c, const cross_pair *pair, bool close)
{
    const matrix *m = c->m;
    int n = gain_of_side(c, 0, &pair->from, close) + gain_of_side(c, 1, &pair->to, close);
    for (int a = 0; a < TRI_AXES; a++) {
        int before = pair->from.mesh.size[a];
        int after = pair->to.mesh.size[a];
        if (before < after) n += take(&c->open.length[0][a], close);
        if (before > after) n += take(&c->open.length[1][a], close);
    }
    for (int f = 0; f < m->n_factors; f++) {
        bool both = matrix_varies(m, &pair->from.mesh, f) && matrix_varies(m, &pair->to.mesh, f);
        int v = pair->from.value[f];
        int w = pair->to.value[f];
        if (both && v != w && !m->factor[f].is_model) n += take(&c->open.change[f][v][w], close);
    }
    return n;
}

static void open_goals(cross *c, bool changes)
{
    const matrix *m = c->m;
    memset(&c->open.product, 1, sizeof c->open.product);
    memset(&c->open.few_kv_heads, 1, sizeof c->open.few_kv_heads);
    memset(&c->open.length, 1, sizeof c->open.length);
    for (int f = 0; f < m->n_factors; f++)
        for (int v = 0; v < m->factor[f].n_values; v++) {
            c->open.value[0][f][v] = true;
            c->open.value[1][f][v] = true;
            for (int w = 0; changes && w < m->factor[f].n_values; w++)
                c->open.change[f][v][w] = v != w && !m->factor[f].is_model;
        }
}

/* From one layout to another, which takes the first one's model. */
static cross_pair pair_of(const matrix *m, int from, int to)
{
    cross_pair pair = {m->layout[from], m->layout[to]};
    for (int f = 0; f < m->n_factors; f++)
        if (m->factor[f].is_model) pair.to.value[f] = pair.from.value[f];
    return pair;
}

static bool is_legal(const matrix *m, const matrix_layout *layout)
{
    tri_spec spec;
    bool legal = matrix_spec(m, layout, false, &spec) == TRI_OK;
    tri_err_clear();
    return legal;
}

/* The pair with the largest gain, -1 if none is left. */
static int best_of(const choice *at, int *best_gain)
{
    int best = -1;
    *best_gain = -1;
    for (int i = 0; i < at->n * at->n; i++) {
        if (at->is_out[i]) continue;
        cross_pair pair = pair_of(at->c->m, i / at->n, i % at->n);
        int got = gain(at->c, &pair, false);
        if (got <= *best_gain) continue;
        *best_gain = got;
        best = i;
    }
    return best;
}

static tri_status choose(choice *at, int n_wanted, bool all)
{
    cross *c = at->c;
    for (;;) {
        int got = 0;
        int best = best_of(at, &got);
        if (best < 0 || (c->n >= n_wanted && (got == 0 || !all))) return TRI_OK;
        at->is_out[best] = true;
        cross_pair pair = pair_of(c->m, best / at->n, best % at->n);
        if (!is_legal(c->m, &pair.to)) continue;
        TRI_CHECK(c->n < CROSS_PAIRS, TRI_EBUG, "more than %d pairs", CROSS_PAIRS);
        gain(c, &pair, true);
        c->pair[c->n++] = pair;
    }
}

void cross_destroy(cross **c)
{
    TRI_FREE(*c);
}

tri_status cross_create(const matrix *m, int n_wanted, bool all, cross **out)
{
    TRI_AUTO(cross) *c = NULL;
    TRI_AUTO(choice) at = {.n = m->n_layouts};
    TRI_TRY(TRI_NEW(&c));
    TRI_TRY(TRI_NEW_ARRAY((int64_t)at.n * at.n, &at.is_out));
    for (int i = 0; i < at.n; i++)
        at.is_out[i * at.n + i] = true;
    c->m = m;
    at.c = c;
    open_goals(c, all);
    TRI_TRY(choose(&at, n_wanted, all));
    *out = TRI_MOVE(c);
    return TRI_OK;
}

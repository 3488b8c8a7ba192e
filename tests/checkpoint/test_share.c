// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1
/* Who writes what: each element once, and the largest share against the least possible one, which a
 * search over all sets of ranks gives: what can be written by none but the ranks of a set, divided by
 * their number.
 */
#include "checkpoint/assign.h"
#include "runtime/base/rng.h"
#include "tests/checkpoint/fixture.h"

enum { MOST_RANKS = 8, MOST_HOLDS = 512 };

/* Bytes of each set of holders, and the largest element. */
typedef struct demand {
    int64_t bytes[1 << MOST_RANKS];
    int64_t element;
    int n_parts;
} demand;

static bool same_part(const tri_share_hold *a, const tri_share_hold *b)
{
    return a->row == b->row && a->first == b->first && a->begin == b->begin && a->count == b->count;
}

static demand demand_of(const tri_manifest_row *rows, const tri_share_hold *holds, int64_t n)
{
    demand d = {.element = 1};
    for (int64_t i = 0; i < n; i++) {
        unsigned ranks = 0;
        bool is_first = holds[i].count > 0;
        for (int64_t k = 0; k < n; k++) {
            if (!same_part(&holds[i], &holds[k])) continue;
            ranks |= 1u << holds[k].rank;
            is_first = is_first && k >= i;
        }
        int64_t element = (int64_t)tri_dtype_bytes((tri_dtype)rows[holds[i].row].dtype);
        d.element = tri_max64(d.element, element);
        d.n_parts += is_first;
        if (is_first) d.bytes[ranks] += holds[i].count * element;
    }
    return d;
}

/* The least possible largest share. */
static int64_t least(const demand *d, int n_ranks)
{
    int64_t most = 0;
    for (unsigned set = 1; set < 1u << n_ranks; set++) {
        int64_t bytes = 0;
        for (unsigned ranks = 1; ranks <= set; ranks++)
            if ((ranks & ~set) == 0) bytes += d->bytes[ranks];
        most = tri_max64(most, bytes / __builtin_popcount(set));
    }
    return most;
}

/* Each element of each part is given to one of its holders. */
static void expect_once(const tri_share_hold *before, const tri_share_hold *after, int64_t n)
{
    static char seen[1 << 20];
    for (int64_t i = 0; i < n; i++) {
        int64_t count = before[i].count;
        memset(seen, 0, (size_t)count);
        for (int64_t k = 0; k < n; k++) {
            if (!same_part(&before[i], &before[k])) continue;
            int64_t skip = after[k].begin - before[i].begin;
            EXPECT(after[k].count == 0 || (skip >= 0 && skip + after[k].count <= count),
                   "rank %d writes what it does not hold", after[k].rank);
            for (int64_t e = 0; e < after[k].count; e++)
                seen[skip + e]++;
        }
        int64_t wrong = 0;
        for (int64_t e = 0; e < count; e++)
            wrong += seen[e] != 1;
        EXPECT(wrong == 0, "%lld of %lld elements are not written once", (long long)wrong,
               (long long)count);
    }
}

static int64_t largest(const tri_manifest_row *rows, const tri_share_hold *holds, int64_t n)
{
    int64_t load[MOST_RANKS] = {0};
    int64_t most = 0;
    for (int64_t i = 0; i < n; i++) {
        load[holds[i].rank] +=
            holds[i].count * (int64_t)tri_dtype_bytes((tri_dtype)rows[holds[i].row].dtype);
        most = tri_max64(most, load[holds[i].rank]);
    }
    return most;
}

/* Decide, and check all that is promised. */
static tri_status expect_balance(const tri_manifest_row *rows, int n_ranks, int64_t part_bytes,
                                 const tri_share_hold *before, int64_t n, const char *what)
{
    static tri_share_hold after[MOST_HOLDS];
    memcpy(after, before, (size_t)n * sizeof *after);
    TRI_TRY(tri_share_decide(rows, n_ranks, part_bytes, after, n));
    expect_once(before, after, n);
    demand d = demand_of(rows, before, n);
    int64_t best = least(&d, n_ranks);
    int64_t got = largest(rows, after, n);
    EXPECT(got <= best + 2 * part_bytes + d.n_parts * d.element,
           "%s, %d ranks, parts of %lld: largest share %lld, least possible %lld", what, n_ranks,
           (long long)part_bytes, (long long)got, (long long)best);
    return TRI_OK;
}

static uint64_t draw(uint64_t *state, uint64_t below)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (*state >> 33) % below;
}

/* Parts of any sets of ranks, few sets as in a mesh or many, of sizes that differ much. */
TRI_TEST(any_sets_of_holders)
{
    static const int64_t part_bytes[] = {1, 64, 4096};
    static const tri_dtype dtypes[] = {TRI_F32, TRI_BF16, TRI_I64};
    uint64_t random = 7;
    for (int trial = 0; trial < 400; trial++) {
        tri_manifest_row rows[32];
        tri_share_hold holds[MOST_HOLDS];
        unsigned sets[8];
        int n_ranks = 1 + (int)draw(&random, MOST_RANKS);
        int n_rows = 1 + (int)draw(&random, 32);
        int n_sets = 1 + (int)draw(&random, 8);
        int64_t n = 0;
        for (int i = 0; i < n_sets; i++)
            sets[i] = 1 + (unsigned)draw(&random, (1u << n_ranks) - 1);
        for (int row = 0; row < n_rows; row++) {
            rows[row] = (tri_manifest_row){.dtype = (int32_t)dtypes[row % 3]};
            snprintf(rows[row].name, sizeof rows[row].name, "row%d", row);
            unsigned set = sets[draw(&random, (uint64_t)n_sets)];
            int64_t begin = (int64_t)draw(&random, 5);
            int64_t count = (int64_t)draw(&random, draw(&random, 4) ? 50 : 5000);
            for (int rank = n_ranks - 1; rank >= 0; rank--)
                if (set >> rank & 1)
                    holds[n++] =
                        (tri_share_hold){.begin = begin, .count = count, .row = row, .rank = rank};
        }
        for (int p = 0; p < 3; p++)
            TRI_TRY(expect_balance(rows, n_ranks, part_bytes[p], holds, n, "random"));
    }
    return TRI_OK;
}

TRI_TEST(overlapping_parts_are_refused)
{
    tri_manifest_row rows[] = {
        {.name = "param/x", .dtype = TRI_F32}
    };
    tri_share_hold holds[] = {
        {.count = 6,  .rank = 0},
        { .begin = 5, .count = 5, .rank = 2}
    };
    EXPECT_STATUS(
        tri_share_decide(rows, 3, 1, holds, 2), TRI_EBUG,
        "ranks 0 and 2 hold overlapping parts of row 'param/x': elements [0, 6) and [5, 10)");
    tri_share_hold twice[] = {
        {.count = 6, .rank = 1},
        {.count = 6, .rank = 1}
    };
    EXPECT_STATUS(tri_share_decide(rows, 3, 1, twice, 2), TRI_EBUG,
                  "rank 1 holds a part of row 'param/x' twice");
    tri_share_hold nothing[] = {
        {.count = 6, .rank = 1},
        {.begin = 3, .rank = 0}
    };
    TRI_TRY(tri_share_decide(rows, 2, 1, nothing, 2));
    EXPECT(nothing[0].count == 6 && nothing[1].count == 0, "rank 1 writes %lld elements",
           (long long)nothing[0].count);
    return TRI_OK;
}

/* The fixture's table of rank `rank`, on paper. */
static tri_status paper(const fixture_layout *layout, int n_ranks, int rank, fixture *f)
{
    *f = (fixture){.scale = 3};
    tri_mesh_args args = {.n_ranks = n_ranks, .rank = rank};
    memcpy(args.size, layout->size, sizeof args.size);
    TRI_TRY(tri_mesh_create(&args, &f->mesh));
    TRI_TRY(tri_state_create(f->mesh, &f->state));
    for (int i = 0; i < FIXTURE_ROWS; i++)
        TRI_TRY(fixture_add(f, layout, i));
    return TRI_OK;
}

/* Count a box in the row's elements. */
static void paint_box(const tri_manifest_row *row, const tri_box *box, unsigned char *seen)
{
    for (int64_t i = 0; i < tri_box_elements(box); i++) {
        int64_t global = 0;
        int64_t stride = 1;
        int64_t rest = i;
        for (int d = box->n_dims - 1; d >= 0; d--) {
            global += (box->start[d] + rest % box->count[d]) * stride;
            stride *= row->shape[d];
            rest /= box->count[d];
        }
        seen[global]++;
    }
}

/* A layout's plan, made rank by rank. */
typedef struct plan {
    const fixture_layout *layout;
    int n_ranks;
    tri_manifest_row *rows;
    int64_t n_rows;
    tri_share_hold *holds;
    int64_t n_holds;
    unsigned char *seen; /* [row][PLAN_ELEMENTS] */
} plan;

enum { PLAN_ELEMENTS = 4096 };

static void plan_destroy(plan *p)
{
    TRI_FREE(p->rows);
    TRI_FREE(p->holds);
    TRI_FREE(p->seen);
}

static tri_status plan_rows(plan *p)
{
    TRI_TRY(TRI_NEW_ARRAY((int64_t)p->n_ranks * FIXTURE_ROWS, &p->rows));
    for (int rank = 0; rank < p->n_ranks; rank++) {
        TRI_AUTO(fixture) f = {0};
        TRI_TRY(paper(p->layout, p->n_ranks, rank, &f));
        for (int i = 0; i < tri_state_rows(f.state); i++)
            p->rows[p->n_rows++] = tri_assign_row(tri_state_row(f.state, i));
    }
    TRI_TRY(tri_assign_merge(p->rows, &p->n_rows));
    EXPECT(p->n_rows == FIXTURE_ROWS, "%lld rows", (long long)p->n_rows);
    return TRI_OK;
}

static tri_status plan_holds(plan *p)
{
    TRI_TRY(TRI_NEW_ARRAY((int64_t)p->n_ranks * FIXTURE_ROWS, &p->holds));
    for (int rank = 0; rank < p->n_ranks; rank++) {
        TRI_AUTO(fixture) f = {0};
        TRI_AUTO(tri_assign) *assign = NULL;
        TRI_TRY(paper(p->layout, p->n_ranks, rank, &f));
        TRI_TRY(tri_assign_begin(f.state, p->rows, p->n_rows, &assign));
        memcpy(p->holds + p->n_holds, assign->holds,
               (size_t)assign->n_holds * sizeof *assign->holds);
        p->n_holds += assign->n_holds;
    }
    return TRI_OK;
}

static tri_status plan_pieces(plan *p)
{
    const tri_share_hold *next = p->holds;
    TRI_TRY(TRI_NEW_ARRAY(p->n_rows * PLAN_ELEMENTS, &p->seen));
    for (int rank = 0; rank < p->n_ranks; rank++) {
        TRI_AUTO(fixture) f = {0};
        TRI_AUTO(tri_assign) *assign = NULL;
        TRI_TRY(paper(p->layout, p->n_ranks, rank, &f));
        TRI_TRY(tri_assign_begin(f.state, p->rows, p->n_rows, &assign));
        memcpy(assign->holds, next, (size_t)assign->n_holds * sizeof *assign->holds);
        next += assign->n_holds;
        TRI_TRY(tri_assign_end(assign, f.state));
        for (int64_t i = 0; i < assign->n_pieces; i++) {
            const tri_assign_piece *piece = &assign->pieces[i];
            const tri_row *row = tri_state_row(f.state, piece->local);
            paint_box(&p->rows[piece->row], &piece->box, p->seen + piece->row * PLAN_ELEMENTS);
            EXPECT(piece->data == (const char *)row->data +
                                      (size_t)piece->offset * tri_dtype_bytes(row->dtype) &&
                       piece->offset + tri_box_elements(&piece->box) <= row->count,
                   "rank %d, row %s: offset %lld", rank, row->name, (long long)piece->offset);
        }
    }
    for (int64_t r = 0; r < p->n_rows; r++) {
        int64_t elements = 1;
        int64_t wrong = 0;
        for (int d = 0; d < p->rows[r].n_dims; d++)
            elements *= p->rows[r].shape[d];
        for (int64_t e = 0; e < PLAN_ELEMENTS; e++)
            wrong += p->seen[r * PLAN_ELEMENTS + e] != (e < elements);
        EXPECT(elements <= PLAN_ELEMENTS && wrong == 0,
               "row %s: %lld elements are not written once", p->rows[r].name, (long long)wrong);
    }
    return TRI_OK;
}

static tri_status plan_layout(const fixture_layout *layout)
{
    TRI_AUTO(plan) p = {.layout = layout, .n_ranks = 1};
    for (int a = 0; a < TRI_AXES; a++)
        p.n_ranks *= layout->size[a];
    char what[64];
    snprintf(what, sizeof what, "layout %dx%dx%dx%d held %d", layout->size[0], layout->size[1],
             layout->size[2], layout->size[3], (int)layout->hold);
    TRI_TRY(plan_rows(&p));
    TRI_TRY(plan_holds(&p));
    if (p.n_ranks <= MOST_RANKS) {
        TRI_TRY(expect_balance(p.rows, p.n_ranks, 1, p.holds, p.n_holds, what));
        TRI_TRY(expect_balance(p.rows, p.n_ranks, 512, p.holds, p.n_holds, what));
    }
    /* small parts first, so that rows are cut, then the pieces that a job would write */
    static const int64_t part_bytes[] = {64, TRI_ASSIGN_PART_BYTES};
    for (int i = 0; i < 2; i++) {
        TRI_AUTO(plan) copy = {.layout = layout, .n_ranks = p.n_ranks};
        TRI_TRY(plan_rows(&copy));
        TRI_TRY(plan_holds(&copy));
        TRI_TRY(tri_share_decide(copy.rows, copy.n_ranks, part_bytes[i], copy.holds, copy.n_holds));
        TRI_TRY(plan_pieces(&copy));
    }
    return TRI_OK;
}

TRI_TEST(every_layout_writes_each_element_once)
{
    for (int pipeline = 1; pipeline <= 2; pipeline++)
        for (int data = 1; data <= 6; data++)
            for (int context = 1; context <= 2; context++)
                for (int tensor = 1; tensor <= 3; tensor++)
                    for (int hold = HOLD_WHOLE; hold <= HOLD_PAIRS; hold++)
                        TRI_TRY(plan_layout(&(fixture_layout){
                            {pipeline, data, context, tensor},
                            (fixture_hold)hold
                        }));
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(any_sets_of_holders), TRI_TEST_ROW(overlapping_parts_are_refused),
              TRI_TEST_ROW(every_layout_writes_each_element_once))

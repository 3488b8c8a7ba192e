// SPDX-License-Identifier: Apache-2.0
/* Sources and takers, and the choice between holders.
 *
 * The flat range of a source's box is cut into segments by the ends of its holders' ranges: within a
 * segment the holders are the same. Holders are sorted by where they begin, each with the furthest end
 * up to it, so that those of an element are found without looking at the others. Both ends of a
 * message walk the segments below the hull of what the taker takes, so they cut the same pieces.
 */
#include "runtime/redistribute/route.h"

#include "runtime/base/alloc.h"
#include "runtime/base/int.h"
#include "runtime/redistribute/grid.h"

#include <stdlib.h>

/* A rank of a source with something of its box. */
typedef struct holder {
    int rank;
    int64_t begin, end;
    int64_t furthest; /* largest end of this one and those before it */
} holder;

/* A rank that is to have something of a source's box. */
typedef struct taker {
    int rank;
    int64_t turn; /* number among the takers of its kind: in the source's class, or not */
    tri_box box;  /* of the new layout */
} taker;

typedef struct source {
    int64_t id;
    tri_box box;
    holder *holders; /* of part p: [first[p], first[p + 1]) */
    int64_t *first;
    taker *takers;
    int64_t n_takers;
    int64_t me; /* this rank among the takers, or -1 */
} source;

struct tri_route {
    const tri_redistribute_args *args;
    const tri_route_range *ranges;
    int rank, n_ranks;
    int64_t turn;
    tri_grid from, to;
    source *sources; /* whose boxes meet what this rank takes, then its own */
    int64_t n_sources;
    source *own; /* NULL: this rank holds nothing */
    int own_part;
};

/* Elements from `begin` to `end` of a source's box, and who gives them to one taker. */
typedef struct segment {
    int64_t begin, end;
    int sender; /* -1: nobody holds them */
} segment;

/* What one taker takes of one source: boxes in both, and the flat range of the source around them. */
typedef struct wants {
    int n;
    tri_box box[TRI_MAX_BOXES];
    int64_t begin, end;
} wants;

static void source_destroy(source *s)
{
    TRI_FREE(s->holders);
    TRI_FREE(s->first);
    TRI_FREE(s->takers);
}

void tri_route_destroy(tri_route **route)
{
    if (!*route) return;
    for (int64_t i = 0; i < (*route)->n_sources; i++)
        source_destroy(&(*route)->sources[i]);
    TRI_FREE((*route)->sources);
    TRI_FREE(*route);
}

int tri_route_parts(const tri_route *route)
{
    return route->from.parts;
}

tri_status tri_route_box(const tri_redistribute_args *args, const tri_layout *layout, int rank,
                         tri_box *out)
{
    TRI_TRY(tri_place_box(&layout->place, layout->mesh, rank, args->n_dims, args->shape, out));
    return TRI_OK;
}

static int holder_compare(const void *a, const void *b)
{
    const holder *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

static tri_status source_find_holders(const tri_route *route, source *s)
{
    const tri_grid *grid = &route->from;
    TRI_TRY(TRI_NEW_ARRAY(grid->parts + 1, &s->first));
    TRI_TRY(TRI_NEW_ARRAY(grid->members, &s->holders));
    /* count by part, then place: first[p + 1] runs from where part p begins to where it ends */
    int part = 0;
    for (int i = 0; i < grid->members; i++) {
        int rank = tri_grid_member(grid, s->id, i, &part);
        if (part + 2 <= grid->parts) s->first[part + 2] += route->ranges[rank].from_count > 0;
    }
    for (int p = 2; p <= grid->parts; p++)
        s->first[p] += s->first[p - 1];
    for (int i = 0; i < grid->members; i++) {
        int rank = tri_grid_member(grid, s->id, i, &part);
        const tri_route_range *range = &route->ranges[rank];
        if (range->from_count == 0) continue;
        s->holders[s->first[part + 1]++] =
            (holder){rank, range->from_begin, range->from_begin + range->from_count, 0};
    }
    for (int p = 0; p < grid->parts; p++) {
        int64_t n = s->first[p + 1] - s->first[p];
        holder *h = s->holders + s->first[p];
        qsort(h, (size_t)n, sizeof *h, holder_compare);
        for (int64_t i = 0; i < n; i++)
            h[i].furthest = i ? tri_max64(h[i - 1].furthest, h[i].end) : h[i].end;
    }
    return TRI_OK;
}

/* Ranks of the new layout whose boxes meet the source's; on partial axes those at coordinate 0. */
static tri_status takers_add(const tri_route *route, source *s, const tri_grid_classes *classes)
{
    const tri_grid *grid = &route->to;
    TRI_TRY(TRI_NEW_ARRAY(classes->n * grid->members, &s->takers));
    int64_t turns[2] = {route->turn, route->turn};
    for (int64_t c = 0; c < classes->n; c++) {
        tri_box box = tri_grid_box(grid, classes->id[c]);
        for (int i = 0; i < grid->members; i++) {
            int part = 0, unused = 0;
            int rank = tri_grid_member(grid, classes->id[c], i, &part);
            if (part > 0 || route->ranges[rank].to_count == 0) continue;
            bool inside = tri_grid_class(&route->from, rank, &unused) == s->id;
            if (rank == route->rank) s->me = s->n_takers;
            s->takers[s->n_takers++] = (taker){.rank = rank, .turn = turns[inside]++, .box = box};
        }
    }
    return TRI_OK;
}

static tri_status source_init(const tri_route *route, int64_t id, source *s)
{
    s->id = id;
    s->me = -1;
    s->box = tri_grid_box(&route->from, id);
    TRI_TRY(source_find_holders(route, s));
    tri_grid_classes classes = {0};
    tri_status rc = tri_grid_find(&route->to, &s->box, &classes);
    if (rc == TRI_OK) rc = takers_add(route, s, &classes);
    TRI_FREE(classes.id);
    TRI_TRY(rc);
    return TRI_OK;
}

static int64_t flat_index(const tri_box *box, const int64_t *at)
{
    int64_t flat = 0;
    for (int d = 0; d < box->n_dims; d++)
        flat = flat * box->count[d] + at[d] - box->start[d];
    return flat;
}

/* What a taker takes of the source, of elements [slab * most, (slab + 1) * most) of its range. */
static void wants_make(const tri_route *route, const source *s, const taker *t, int64_t slab,
                       int64_t most, wants *out)
{
    *out = (wants){.n = 0};
    const tri_route_range *range = &route->ranges[t->rank];
    tri_box common;
    if (slab > (range->to_count - 1) / most || !tri_box_intersect(&t->box, &s->box, &common))
        return;
    int64_t begin = slab * most;
    tri_piece_box cut[TRI_MAX_BOXES];
    int n = 0;
    tri_box_cut(&t->box, range->to_begin + begin, tri_min64(most, range->to_count - begin), cut,
                &n);
    for (int i = 0; i < n; i++) {
        if (!tri_box_intersect(&cut[i].box, &s->box, &common)) continue;
        int64_t last[TRI_MAX_DIMS] = {0};
        for (int d = 0; d < common.n_dims; d++)
            last[d] = common.start[d] + common.count[d] - 1;
        int64_t low = flat_index(&s->box, common.start), high = flat_index(&s->box, last) + 1;
        out->begin = out->n ? tri_min64(out->begin, low) : low;
        out->end = tri_max64(out->end, high);
        out->box[out->n++] = common;
    }
}

/* Number of the holders, among the first k of them, that hold element x: all, and on t's host. */
static void holders_count(const tri_route *route, const holder *h, int64_t k, int64_t x,
                          const taker *t, int64_t count[2], segment *seg)
{
    int host = tri_comm_host(route->args->world, t->rank);
    for (int64_t j = k - 1; j >= 0 && h[j].furthest > x; j--) {
        if (h[j].end <= x) continue;
        seg->end = tri_min64(seg->end, h[j].end);
        if (h[j].rank == t->rank) seg->sender = t->rank;
        count[0]++;
        count[1] += tri_comm_host(route->args->world, h[j].rank) == host;
    }
}

/* The holder whose turn it is to serve t: those of its host alone, if there are any. */
static int holders_pick(const tri_route *route, const holder *h, int64_t k, int64_t x,
                        const taker *t, const int64_t count[2])
{
    const tri_comm *world = route->args->world;
    bool near = count[1] > 0;
    int64_t turn = t->turn % count[near];
    for (int64_t j = k - 1; j >= 0; j--) {
        if (h[j].end <= x) continue;
        if (near && tri_comm_host(world, h[j].rank) != tri_comm_host(world, t->rank)) continue;
        if (turn-- == 0) return h[j].rank;
    }
    return -1;
}

/* The segment at element x of the source's box, for one addend and one taker. */
static segment segment_at(const tri_route *route, const source *s, int part, int64_t x,
                          const taker *t)
{
    const holder *h = s->holders + s->first[part];
    int64_t n = s->first[part + 1] - s->first[part], k = 0;
    for (int64_t high = n; k < high;) { /* k: the first that begins behind x */
        int64_t middle = k + (high - k) / 2;
        if (h[middle].begin <= x)
            k = middle + 1;
        else
            high = middle;
    }
    segment seg = {.begin = x, .end = k < n ? h[k].begin : INT64_MAX, .sender = -1};
    int64_t count[2] = {0};
    holders_count(route, h, k, x, t, count, &seg);
    if (seg.sender < 0 && count[0] > 0) seg.sender = holders_pick(route, h, k, x, t, count);
    return seg;
}

/* The meeting of two ranks in a round-robin tournament, in which every rank meets every other once
 * and nobody meets two at a time: the circle method, with a place for nobody if the ranks are odd. */
static int64_t meeting(int a, int b, int n_ranks)
{
    int64_t last = n_ranks % 2 ? n_ranks : n_ranks - 1;
    if (a == b) return -1;
    if (a == last) return 2 * (int64_t)b % last;
    if (b == last) return 2 * (int64_t)a % last;
    return ((int64_t)a + b) % last;
}

static tri_status pieces_add(const tri_route *route, int peer, int part, const tri_box *box,
                             tri_route_pieces *out)
{
    if (out->n == out->max) {
        int64_t max = out->max ? 2 * out->max : 64;
        TRI_TRY(tri_alloc_grow((void **)&out->piece, out->max, max, sizeof *out->piece));
        out->max = max;
    }
    out->piece[out->n] = (tri_route_piece){.peer = peer,
                                           .part = part,
                                           .meet = meeting(route->rank, peer, route->n_ranks),
                                           .order = out->n,
                                           .box = *box};
    out->n++;
    return TRI_OK;
}

/* Add the pieces of one segment that a taker wants. */
static tri_status segment_cut(const tri_route *route, const source *s, const segment *seg, int peer,
                              int part, const wants *w, tri_route_pieces *out)
{
    tri_piece_box cut[TRI_MAX_BOXES];
    int n = 0;
    tri_box_cut(&s->box, seg->begin, seg->end - seg->begin, cut, &n);
    for (int i = 0; i < w->n; i++) {
        for (int c = 0; c < n; c++) {
            tri_box common;
            if (tri_box_intersect(&w->box[i], &cut[c].box, &common))
                TRI_TRY(pieces_add(route, peer, part, &common, out));
        }
    }
    return TRI_OK;
}

/* What this rank takes from one source; out NULL: only look whether it is held. */
static tri_status source_receive(const tri_route *route, const source *s, int part, const taker *t,
                                 const wants *w, tri_route_pieces *out)
{
    for (int64_t x = w->begin; x < w->end;) {
        segment seg = segment_at(route, s, part, x, t);
        seg.end = tri_min64(seg.end, w->end);
        x = seg.end;
        if (out && seg.sender >= 0) TRI_TRY(segment_cut(route, s, &seg, seg.sender, part, w, out));
        if (out || seg.sender >= 0) continue;
        tri_route_pieces missing = {0};
        TRI_TRY(segment_cut(route, s, &seg, t->rank, part, w, &missing));
        tri_box first = missing.n ? missing.piece[0].box : (tri_box){0};
        int64_t n = missing.n;
        TRI_FREE(missing.piece);
        TRI_CHECK(
            n == 0, TRI_EINVAL,
            "rank %d is to have %lld elements from index (%lld, %lld, %lld, %lld) on, which no "
            "rank holds%s",
            t->rank, (long long)tri_box_elements(&first), (long long)first.start[0],
            (long long)first.start[1], (long long)first.start[2], (long long)first.start[3],
            route->from.parts > 1 ? " an addend of" : "");
    }
    return TRI_OK;
}

/* What this rank gives one taker. */
static tri_status own_send(const tri_route *route, const taker *t, const wants *w,
                           tri_route_pieces *out)
{
    const tri_route_range *mine = &route->ranges[route->rank];
    int64_t end = tri_min64(w->end, mine->from_begin + mine->from_count);
    for (int64_t x = tri_max64(w->begin, mine->from_begin); x < end;) {
        segment seg = segment_at(route, route->own, route->own_part, x, t);
        seg.end = tri_min64(seg.end, w->end);
        x = seg.end;
        if (seg.sender == route->rank)
            TRI_TRY(segment_cut(route, route->own, &seg, t->rank, route->own_part, w, out));
    }
    return TRI_OK;
}

/* All that this rank takes. */
static tri_status route_receive(const tri_route *route, int64_t slab, int64_t most,
                                tri_route_pieces *out)
{
    for (int64_t i = 0; i < route->n_sources; i++) {
        const source *s = &route->sources[i];
        if (s->me < 0) continue;
        const taker *me = &s->takers[s->me];
        wants w;
        wants_make(route, s, me, slab, most, &w);
        for (int part = 0; part < route->from.parts && w.n > 0; part++)
            TRI_TRY(source_receive(route, s, part, me, &w, out));
    }
    return TRI_OK;
}

static int piece_compare(const void *a, const void *b)
{
    const tri_route_piece *x = a, *y = b;
    if (x->meet != y->meet) return x->meet < y->meet ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

tri_status tri_route_slab(const tri_route *route, int64_t slab, int64_t most, tri_route_pieces *out,
                          tri_route_pieces *in)
{
    out->n = in->n = 0;
    TRI_TRY(route_receive(route, slab, most, in));
    for (int64_t i = 0; route->own && i < route->own->n_takers; i++) {
        const taker *t = &route->own->takers[i];
        wants w;
        if (t->rank == route->rank) continue;
        wants_make(route, route->own, t, slab, most, &w);
        if (w.n > 0) TRI_TRY(own_send(route, t, &w, out));
    }
    if (in->n) qsort(in->piece, (size_t)in->n, sizeof *in->piece, piece_compare);
    if (out->n) qsort(out->piece, (size_t)out->n, sizeof *out->piece, piece_compare);
    return TRI_OK;
}

/* Classes of the old layout that this rank has to do with: those that meet what it takes, and its
 * own, which comes last unless it is one of them. */
static tri_status route_classes(tri_route *route, tri_grid_classes *classes, int64_t *own)
{
    const tri_route_range *mine = &route->ranges[route->rank];
    int to_part = 0;
    int64_t to = tri_grid_class(&route->to, route->rank, &to_part);
    if (mine->to_count > 0 && to >= 0 && to_part == 0) {
        tri_box box = tri_grid_box(&route->to, to);
        TRI_TRY(tri_grid_find(&route->from, &box, classes));
    }
    *own = -1;
    if (mine->from_count == 0) return TRI_OK;
    int64_t id = tri_grid_class(&route->from, route->rank, &route->own_part);
    for (int64_t i = 0; i < classes->n; i++)
        if (classes->id[i] == id) *own = i;
    if (*own >= 0) return TRI_OK;
    *own = classes->n;
    tri_box box = tri_grid_box(&route->from, id);
    int64_t before = classes->n;
    TRI_TRY(tri_grid_find(&route->from, &box, classes)); /* itself */
    TRI_CHECK(classes->n == before + 1, TRI_EBUG, "the boxes of a placement overlap");
    return TRI_OK;
}

static tri_status route_init(tri_route *route, tri_grid_classes *classes)
{
    int64_t own = -1;
    TRI_TRY(route_classes(route, classes, &own));
    TRI_TRY(TRI_NEW_ARRAY(classes->n, &route->sources));
    route->n_sources = classes->n;
    for (int64_t i = 0; i < classes->n; i++)
        TRI_TRY(source_init(route, classes->id[i], &route->sources[i]));
    if (own >= 0) route->own = &route->sources[own];
    TRI_TRY(route_receive(route, 0, INT64_MAX, NULL));
    return TRI_OK;
}

tri_status tri_route_create(const tri_redistribute_args *args, const tri_route_range *ranges,
                            int64_t turn, tri_route **out)
{
    TRI_AUTO(tri_route) *route = NULL;
    TRI_TRY(TRI_NEW(&route));
    route->args = args;
    route->ranges = ranges;
    route->rank = tri_comm_rank(args->world);
    route->n_ranks = tri_comm_size(args->world);
    route->turn = turn;
    route->from = tri_grid_make(&args->from.place, args->from.mesh, args->n_dims, args->shape);
    route->to = tri_grid_make(&args->to.place, args->to.mesh, args->n_dims, args->shape);
    tri_grid_classes classes = {0};
    tri_status rc = route_init(route, &classes);
    TRI_FREE(classes.id);
    TRI_TRY(rc);
    *out = TRI_MOVE(route);
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* A move: ranks tell each other their ranges, find their routes, and exchange slab by slab.
 *
 * A slab is the next `most` elements of every receiver's range, so what a rank receives in one slab fits
 * its buffer however many senders it comes from. Within a slab pairs of ranks meet in the order of a
 * round-robin tournament: of the pairs that have not met yet, the first in the order (slab, meeting)
 * finds both its ranks free, so nobody waits for ever. Addends of partial sums are kept apart until all
 * have come, then summed in order.
 */
#include "runtime/redistribute.h"

#include "runtime/agree.h"
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"
#include "runtime/coll/sum.h"
#include "runtime/redistribute/pack.h"
#include "runtime/redistribute/route.h"

#include <stdio.h>
#include <string.h>

/* A move under way on this rank. */
typedef struct move {
    tri_redistribute_args args;
    const char *what; /* for messages: the row's name */
    size_t element;   /* bytes */
    tri_box from_box, to_box;
    tri_route_range *ranges; /* [ranks] */
    tri_route *route;
    int64_t most; /* elements of a slab */
    int64_t n_slabs;
    int64_t slab; /* under way */
    char *buffer; /* one slab to send, one received, with partial sums one more for each addend */
    const void **addends;
    tri_route_pieces out, in;
} move;

static void move_destroy(move **slot)
{
    move *m = *slot;
    if (!m) return;
    if (m->buffer) tri_device_free(tri_comm_device(m->args.world), m->buffer);
    tri_route_destroy(&m->route);
    TRI_FREE(m->ranges);
    TRI_FREE(m->addends);
    TRI_FREE(m->out.piece);
    TRI_FREE(m->in.piece);
    TRI_FREE(*slot);
}

static bool is_partial(const tri_layout *layout)
{
    for (int a = 0; a < TRI_AXES; a++)
        if (layout->place.axis[a].kind == TRI_PARTIAL) return true;
    return false;
}

/* One end of the move: its box here, and the range where it is not said. */
static tri_status layout_check(const move *m, const char *end, tri_layout *layout, tri_box *box)
{
    const tri_comm *world = m->args.world;
    TRI_CHECK(layout->mesh && tri_mesh_ranks(layout->mesh) == tri_comm_size(world) &&
                  tri_mesh_rank(layout->mesh) == tri_comm_rank(world),
              TRI_EINVAL,
              "moving %s: the mesh %s which it is moved is not of the %d ranks of world", m->what,
              end, tri_comm_size(world));
    TRI_TRY(tri_route_box(&m->args, layout, tri_comm_rank(world), box));
    int64_t elements = tri_box_elements(box);
    if (layout->count < 0) {
        layout->begin = 0;
        layout->count = elements;
    }
    TRI_CHECK(layout->count <= elements && layout->begin >= 0 &&
                  layout->begin <= elements - layout->count,
              TRI_EINVAL, "moving %s %s elements [%lld, %lld) of a box of %lld", m->what, end,
              (long long)layout->begin, (long long)(layout->begin + layout->count),
              (long long)elements);
    TRI_CHECK(layout->data || layout->count == 0, TRI_EINVAL, "moving %s %s %lld elements at NULL",
              m->what, end, (long long)layout->count);
    return TRI_OK;
}

static tri_status move_check(move *m)
{
    tri_redistribute_args *args = &m->args;
    TRI_CHECK(args->n_dims >= 1 && args->n_dims <= TRI_MAX_DIMS, TRI_EINVAL,
              "moving %s of %d dimensions: 1 to %d are possible", m->what, args->n_dims,
              TRI_MAX_DIMS);
    TRI_CHECK((unsigned)args->dtype < TRI_DTYPES, TRI_EINVAL, "moving %s of unknown type %d",
              m->what, (int)args->dtype);
    int64_t elements = 0;
    TRI_TRY(tri_product(args->n_dims, args->shape, &elements));
    TRI_CHECK(elements > 0, TRI_EINVAL, "moving %s: a dimension has no elements", m->what);
    bool sums = args->dtype == TRI_F32 || args->dtype == TRI_BF16 || args->dtype == TRI_F64 ||
                args->dtype == TRI_I64;
    TRI_CHECK(sums || !is_partial(&args->from), TRI_EINVAL,
              "moving %s from partial sums of %s: sums take fp32 bf16 fp64 int64", m->what,
              tri_dtype_name(args->dtype));
    TRI_TRY(layout_check(m, "from", &args->from, &m->from_box));
    TRI_TRY(layout_check(m, "to", &args->to, &m->to_box));
    return TRI_OK;
}

static void digest_add(uint64_t *digest, int64_t value)
{
    *digest = (*digest ^ (uint64_t)value) * 0x100000001b3u;
    *digest ^= *digest >> 29;
}

/* Of all that must be the same on all ranks. */
static int64_t move_digest(const tri_redistribute_args *args)
{
    uint64_t digest = 0xcbf29ce484222325u;
    digest_add(&digest, args->n_dims);
    for (int d = 0; d < args->n_dims && d < TRI_MAX_DIMS; d++)
        digest_add(&digest, args->shape[d]);
    digest_add(&digest, (int64_t)args->dtype);
    digest_add(&digest, args->buffer_bytes);
    for (int end = 0; end < 2; end++) {
        const tri_layout *layout = end ? &args->to : &args->from;
        for (int a = 0; a < TRI_AXES; a++) {
            digest_add(&digest, layout->mesh ? tri_mesh_size(layout->mesh, (tri_axis)a) : 0);
            digest_add(&digest, (int64_t)layout->place.axis[a].kind);
            digest_add(&digest, layout->place.axis[a].arg);
            digest_add(&digest, layout->place.axis[a].parts);
        }
    }
    return (int64_t)digest;
}

/* The size of a slab, and with it of the buffer: the same on all ranks. */
static tri_status move_size(move *m)
{
    int parts = tri_route_parts(m->route);
    int64_t areas = parts > 1 ? parts + 2 : 2;
    int64_t longest = 0;
    for (int r = 0; r < tri_comm_size(m->args.world); r++)
        longest = tri_max64(longest, m->ranges[r].to_count);
    m->most = m->args.buffer_bytes / (areas * (int64_t)m->element);
    TRI_CHECK(m->most > 0, TRI_EINVAL,
              "moving %s through a buffer of %lld bytes: at least %lld are needed", m->what,
              (long long)m->args.buffer_bytes, (long long)(areas * (int64_t)m->element));
    m->most = tri_min64(m->most, longest);
    m->n_slabs = longest ? (longest - 1) / m->most + 1 : 0;
    TRI_TRY(TRI_NEW_ARRAY(parts, &m->addends));
    if (longest > 0)
        TRI_TRY(tri_device_alloc(tri_comm_device(m->args.world), TRI_MEM_COMM,
                                 (size_t)(areas * m->most) * m->element, (void **)&m->buffer));
    return TRI_OK;
}

/* After the ranges are known: everything that can fail before the first message. */
static tri_status move_plan(move *m, int64_t turn)
{
    for (int r = 0; r < tri_comm_size(m->args.world); r++)
        TRI_CHECK(
            m->ranges[r].digest == m->ranges[0].digest, TRI_EBUG,
            "moving %s: shape, type, placements, meshes or buffer of rank %d are not those of "
            "rank 0",
            m->what, r);
    TRI_TRY(tri_route_create(&m->args, m->ranges, turn, &m->route));
    TRI_TRY(move_size(m));
    return TRI_OK;
}

static char *area_of(const move *m, int64_t area)
{
    return m->buffer + area * m->most * (int64_t)m->element;
}

/* Where a piece belongs here: the tensor, or its addend's area. */
static tri_pack_view target_of(const move *m, const tri_route_piece *piece)
{
    const tri_layout *to = &m->args.to;
    if (tri_route_parts(m->route) == 1)
        return (tri_pack_view){.box = &m->to_box, .begin = to->begin, .data = to->data};
    return (tri_pack_view){.box = &m->to_box,
                           .begin = to->begin + m->slab * m->most,
                           .data = area_of(m, 2 + piece->part)};
}

/* Copy what this rank has itself. */
static void pieces_copy(const move *m, const tri_route_piece *piece, int64_t n)
{
    tri_pack_view from = {&m->from_box, m->args.from.begin, m->args.from.data};
    for (int64_t i = 0; i < n; i++) {
        tri_pack_view to = target_of(m, &piece[i]);
        tri_pack_copy(&from, &to, &piece[i].box, m->element);
    }
}

/* Collect what goes to one rank; returns elements. */
static int64_t pieces_pack(const move *m, const tri_route_piece *piece, int64_t n)
{
    tri_pack_view from = {&m->from_box, m->args.from.begin, m->args.from.data};
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        tri_pack_view to = {&piece[i].box, -at, area_of(m, 0)};
        tri_pack_copy(&from, &to, &piece[i].box, m->element);
        at += tri_box_elements(&piece[i].box);
    }
    return at;
}

static void pieces_unpack(const move *m, const tri_route_piece *piece, int64_t n)
{
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        tri_pack_view from = {&piece[i].box, -at, area_of(m, 1)};
        tri_pack_view to = target_of(m, &piece[i]);
        tri_pack_copy(&from, &to, &piece[i].box, m->element);
        at += tri_box_elements(&piece[i].box);
    }
}

/* Send the first n_out pieces and receive the first n_in, both with one rank. */
static tri_status move_meet(const move *m, const tri_route_piece *out, int64_t n_out,
                            const tri_route_piece *in, int64_t n_in)
{
    tri_comm *world = m->args.world;
    tri_event sent = {0}, received = {0};
    int64_t n = 0;
    for (int64_t i = 0; i < n_in; i++)
        n += tri_box_elements(&in[i].box);
    if (n > 0)
        TRI_TRY(
            tri_recv(world, tri_span_make(area_of(m, 1), n, m->args.dtype), in->peer, &received));
    tri_status rc = TRI_OK;
    if (n_out > 0) {
        n = pieces_pack(m, out, n_out);
        rc = tri_send(world, tri_span_make(area_of(m, 0), n, m->args.dtype), out->peer, &sent);
    }
    /* both have ended before the buffer may go, also where one of them has failed */
    tri_status rc_in = tri_event_wait(received);
    if (rc == TRI_OK) rc = rc_in;
    if (rc_in == TRI_OK) pieces_unpack(m, in, n_in);
    tri_status rc_out = tri_event_wait(sent);
    TRI_TRY(rc == TRI_OK ? rc_out : rc);
    return TRI_OK;
}

/* Pieces from `first` on that are exchanged in the same meeting. */
static int64_t pieces_of(const tri_route_pieces *list, int64_t first, int64_t meet)
{
    int64_t n = 0;
    while (first + n < list->n && list->piece[first + n].meet == meet)
        n++;
    return n;
}

static tri_status move_slab(move *m)
{
    TRI_TRY(tri_route_slab(m->route, m->slab, m->most, &m->out, &m->in));
    int64_t i = pieces_of(&m->in, 0, -1), o = 0;
    pieces_copy(m, m->in.piece, i);
    while (i < m->in.n || o < m->out.n) {
        int64_t meet = i < m->in.n ? m->in.piece[i].meet : INT64_MAX;
        if (o < m->out.n) meet = tri_min64(meet, m->out.piece[o].meet);
        int64_t n_in = pieces_of(&m->in, i, meet), n_out = pieces_of(&m->out, o, meet);
        TRI_TRY(move_meet(m, n_out ? &m->out.piece[o] : NULL, n_out, n_in ? &m->in.piece[i] : NULL,
                          n_in));
        i += n_in;
        o += n_out;
    }
    return TRI_OK;
}

/* Sum the addends of this slab into the tensor. */
static void move_sum(const move *m)
{
    int parts = tri_route_parts(m->route);
    int64_t begin = m->slab * m->most;
    int64_t count = tri_min64(m->most, m->args.to.count - begin);
    if (parts == 1 || m->in.n == 0 || count <= 0) return;
    for (int p = 0; p < parts; p++)
        m->addends[p] = area_of(m, 2 + p);
    void *outs[1] = {(char *)m->args.to.data + begin * (int64_t)m->element};
    tri_coll_reduce(m->args.dtype, TRI_SUM, parts, m->addends, 1, outs, count, false);
}

/* Off coordinate 0 of its partial axes a rank holds zeros. */
static bool is_zero_here(const tri_layout *to)
{
    for (int a = 0; a < TRI_AXES; a++)
        if (to->place.axis[a].kind == TRI_PARTIAL && tri_mesh_coord(to->mesh, (tri_axis)a) > 0)
            return true;
    return false;
}

/* Tell all ranks this one's ranges, and whether its arguments are right. */
static tri_status move_gather(move *m, int64_t digest, tri_status mine)
{
    int size = tri_comm_size(m->args.world);
    tri_route_range range = {.status = (int64_t)mine,
                             .digest = digest,
                             .from_begin = m->args.from.begin,
                             .from_count = m->args.from.count,
                             .to_begin = m->args.to.begin,
                             .to_count = m->args.to.count};
    int64_t words = (int64_t)(sizeof range / sizeof(int64_t));
    TRI_TRY(tri_allgather(m->args.world, tri_span_make(&range, words, TRI_I64),
                          tri_span_make(m->ranges, words * size, TRI_I64), NULL));
    return TRI_OK;
}

/* Check, tell, plan: all ranks come to the same end. */
static tri_status move_begin(move *m, int64_t digest, int64_t turn)
{
    int size = tri_comm_size(m->args.world);
    TRI_TRY(TRI_NEW_ARRAY(size, &m->ranges));
    tri_err mine = {.code = TRI_OK};
    tri_status rc = move_check(m);
    if (rc != TRI_OK)
        tri_err_take(&mine);
    else
        m->element = tri_dtype_bytes(m->args.dtype);
    TRI_TRY(move_gather(m, digest, rc));
    bool all_right = true;
    for (int r = 0; r < size; r++)
        all_right &= m->ranges[r].status == TRI_OK;
    if (rc != TRI_OK)
        rc = tri_err_put(&mine);
    else if (all_right)
        rc = move_plan(m, turn);
    TRI_TRY(tri_agree(m->args.world, rc));
    return TRI_OK;
}

static tri_status move_run(const tri_redistribute_args *args, const char *what, int64_t turn)
{
    TRI_AUTO(move) *m = NULL;
    TRI_TRY(TRI_NEW(&m));
    m->args = *args;
    m->what = what;
    if (m->args.buffer_bytes == 0) m->args.buffer_bytes = TRI_REDISTRIBUTE_BUFFER_BYTES;
    TRI_TRY(move_begin(m, move_digest(args), turn));
    if (m->args.to.count > 0 && is_zero_here(&m->args.to))
        memset(m->args.to.data, 0, (size_t)m->args.to.count * m->element);
    for (m->slab = 0; m->slab < m->n_slabs; m->slab++) {
        TRI_TRY(move_slab(m));
        move_sum(m);
    }
    return TRI_OK;
}

tri_status tri_redistribute(const tri_redistribute_args *args)
{
    TRI_TRY(move_run(args, "a tensor", 0));
    return TRI_OK;
}

/* Both tables have the same rows, of the same shapes and types. */
static tri_status state_check(const tri_state *from, const tri_state *to, int64_t *digest)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (int i = 0; i < tri_state_rows(from); i++) {
        const tri_row *row = tri_state_row(from, i);
        for (const char *c = row->name; *c; c++)
            digest_add(&hash, *c);
        int other = tri_state_find(to, row->name);
        TRI_CHECK(other >= 0, TRI_EINVAL, "state row '%s' is not in the table it is moved to",
                  row->name);
        const tri_row *its = tri_state_row(to, other);
        TRI_CHECK(
            row->dtype == its->dtype && row->n_dims == its->n_dims &&
                memcmp(row->shape, its->shape, (size_t)row->n_dims * sizeof *row->shape) == 0,
            TRI_EINVAL,
            "state row '%s' has another shape or type in the table it is moved to: %s of %lld "
            "elements, not %s of %lld",
            row->name, tri_dtype_name(its->dtype), (long long)tri_row_elements(its),
            tri_dtype_name(row->dtype), (long long)tri_row_elements(row));
    }
    for (int i = 0; i < tri_state_rows(to); i++)
        TRI_CHECK(tri_state_find(from, tri_state_row(to, i)->name) >= 0, TRI_EINVAL,
                  "state row '%s' is not in the table it is moved from",
                  tri_state_row(to, i)->name);
    *digest = (int64_t)hash;
    return TRI_OK;
}

tri_status tri_redistribute_state(tri_comm *world, const tri_state *from, tri_state *to,
                                  int64_t buffer_bytes)
{
    int64_t digest = 0;
    TRI_TRY(tri_agree(world, state_check(from, to, &digest)));
    TRI_TRY(tri_agree_same(world, digest, "the list of state rows"));
    for (int i = 0; i < tri_state_rows(from); i++) {
        const tri_row *row = tri_state_row(from, i);
        const tri_row *its = tri_state_row(to, tri_state_find(to, row->name));
        tri_redistribute_args args = {
            .world = world,
            .n_dims = row->n_dims,
            .dtype = row->dtype,
            .from = {tri_state_mesh(from), row->place, row->begin, row->count, row->data},
            .to = {tri_state_mesh(to),   its->place, its->begin, its->count, its->data},
            .buffer_bytes = buffer_bytes
        };
        memcpy(args.shape, row->shape, sizeof args.shape);
        char what[TRI_NAME_BYTES + 16];
        snprintf(what, sizeof what, "state row '%s'", row->name);
        TRI_TRY(move_run(&args, what, i));
    }
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120
// TEST ranks=1 timeout=600 long args=--long
/* Random placements on random meshes against an index formula: every element is looked up by itself, and
 * every rank counts what it lacked and what it received. Ranks as threads.
 */
#include "runtime/redistribute.h"

#include "tests/runtime/coll_values.h"

enum { GUARD = 3, MAX_TRIES = 200 };

static const tri_device_args cpu = {.name = "cpu", .n_threads = 1, .yield = true};

static void tri_mesh_destroy(tri_mesh **mesh)
{
    tri_mesh_close(mesh);
}

/* The same numbers on all ranks. */
typedef struct dice {
    uint32_t state;
} dice;

static int roll(dice *d, int n)
{
    d->state = d->state * 747796405u + 2891336453u;
    return (int)(check_mix(d->state) % (uint32_t)n);
}

/* How ranks with the same box share it. */
typedef enum share { SHARE_WHOLE, SHARE_CUT, SHARE_UNEVEN, SHARE_OVERLAP, SHARES } share;

typedef struct side {
    int size[TRI_AXES];
    tri_place place;
    share share;
} side;

typedef struct scene {
    int n_ranks, n_dims;
    int64_t shape[TRI_MAX_DIMS];
    tri_dtype dtype;
    int64_t buffer_bytes;
    side from, to;
} scene;

static void factor(dice *d, int n, int size[TRI_AXES])
{
    for (int a = 0; a < TRI_AXES; a++)
        size[a] = 1;
    for (int prime = 2; n > 1; prime++)
        for (; n % prime == 0; n /= prime)
            size[roll(d, TRI_AXES)] *= prime;
}

static tri_status side_mesh(const side *s, int n_ranks, int rank, tri_mesh **out)
{
    tri_mesh_args args = {.n_ranks = n_ranks, .rank = rank};
    memcpy(args.size, s->size, sizeof args.size);
    return tri_mesh_create(&args, out);
}

/* A placement that is possible. */
static tri_status roll_side(dice *d, const scene *sc, bool sums, side *s)
{
    for (int tries = 0; tries < MAX_TRIES; tries++) {
        factor(d, sc->n_ranks, s->size);
        for (int a = 0; a < TRI_AXES; a++) {
            int kind = roll(d, sums ? 5 : 4);
            s->place.axis[a].kind = kind == 0   ? TRI_REPLICATED
                                    : kind == 3 ? TRI_AT
                                    : kind == 4 ? TRI_PARTIAL
                                                : TRI_SPLIT;
            bool is_at = s->place.axis[a].kind == TRI_AT;
            s->place.axis[a].arg = roll(d, is_at ? s->size[a] : sc->n_dims);
            s->place.axis[a].parts = roll(d, 3) ? 0 : 1 + roll(d, s->size[a]);
        }
        s->share = (share)roll(d, SHARES);
        TRI_AUTO(tri_mesh) *mesh = NULL;
        TRI_TRY(side_mesh(s, sc->n_ranks, 0, &mesh));
        tri_box box;
        if (tri_place_box(&s->place, mesh, 0, sc->n_dims, sc->shape, &box) == TRI_OK) return TRI_OK;
        tri_err_clear();
    }
    *s = (side){
        .size = {1, sc->n_ranks, 1, 1}
    };
    return TRI_OK;
}

static tri_status roll_scene(dice *d, int n_ranks, scene *sc)
{
    static const tri_dtype dtypes[] = {TRI_F32, TRI_BF16, TRI_F64, TRI_I64, TRI_U8};
    *sc = (scene){.n_ranks = n_ranks, .n_dims = 1 + roll(d, TRI_MAX_DIMS)};
    for (int i = 0; i < sc->n_dims; i++)
        sc->shape[i] = 1 + roll(d, sc->n_dims < 3 ? 40 : 9);
    sc->dtype = dtypes[roll(d, 5)];
    sc->buffer_bytes = roll(d, 2) ? 1024 : roll(d, 2) ? 0 : 96;
    TRI_TRY(roll_side(d, sc, sc->dtype != TRI_U8, &sc->from));
    TRI_TRY(roll_side(d, sc, sc->dtype != TRI_U8, &sc->to));
    return TRI_OK;
}

/* Number of this rank among those with its box, their number, and its addend. */
static void place_among(const side *s, const tri_mesh *mesh, int *index, int *n, int *part,
                        int *parts)
{
    *index = *part = 0;
    *n = *parts = 1;
    for (int a = 0; a < TRI_AXES; a++) {
        int coord = tri_mesh_coord(mesh, (tri_axis)a), size = s->size[a], same = 1;
        tri_place_kind kind = s->place.axis[a].kind;
        if (kind == TRI_REPLICATED) same = size;
        if (kind == TRI_SPLIT && s->place.axis[a].parts) same = size / s->place.axis[a].parts;
        *index = *index * same + coord % same;
        *n *= same;
        if (kind != TRI_PARTIAL) continue;
        *part = *part * size + coord;
        *parts *= size;
    }
}

/* What of `elements` this rank holds: everything is held by somebody. */
static void share_of(share how, int64_t elements, int index, int n, int64_t *begin, int64_t *count)
{
    int64_t part = (elements + n - 1) / n;
    int64_t first = index * part, last = first + part;
    if (how == SHARE_WHOLE) first = 0, last = elements;
    if (how == SHARE_UNEVEN) first = index ? elements / (2 * n - 2 * index + 1) : 0;
    if (how == SHARE_UNEVEN) last = index + 1 < n ? elements / (2 * n - 2 * index - 1) : elements;
    if (how == SHARE_OVERLAP) first -= part / 2, last += index % 2 ? part : 1;
    if (first < 0) first = 0;
    if (last > elements) last = elements;
    *begin = first < last ? first : 0;
    *count = first < last ? last - first : 0;
}

/* A placed tensor of one rank, with guards around its memory. */
typedef struct piece {
    tri_mesh *mesh;
    tri_layout layout;
    tri_box box;
    int part, parts;
    char *memory;
} piece;

static void piece_close(piece *p)
{
    TRI_FREE(p->memory);
    tri_mesh_close(&p->mesh);
}

static tri_status piece_open(const scene *sc, const side *s, int rank, piece *out)
{
    *out = (piece){0};
    TRI_TRY(side_mesh(s, sc->n_ranks, rank, &out->mesh));
    TRI_TRY(tri_place_box(&s->place, out->mesh, rank, sc->n_dims, sc->shape, &out->box));
    int index = 0, n = 0;
    place_among(s, out->mesh, &index, &n, &out->part, &out->parts);
    out->layout.mesh = out->mesh;
    out->layout.place = s->place;
    share_of(s->share, tri_box_elements(&out->box), index, n, &out->layout.begin,
             &out->layout.count);
    size_t element = tri_dtype_bytes(sc->dtype);
    int64_t bytes = (out->layout.count + 2 * (int64_t)GUARD) * (int64_t)element;
    TRI_TRY(TRI_NEW_ARRAY(bytes, &out->memory));
    memset(out->memory, 0xab, (size_t)bytes);
    out->layout.data = out->memory + GUARD * element;
    return TRI_OK;
}

/* Index in the whole tensor of element i of what is held; and whether it is in another box, where. */
static int64_t global_index(const scene *sc, const tri_box *box, int64_t flat, int64_t at[])
{
    for (int d = sc->n_dims - 1; d >= 0; d--) {
        at[d] = box->start[d] + flat % box->count[d];
        flat /= box->count[d];
    }
    int64_t global = 0;
    for (int d = 0; d < sc->n_dims; d++)
        global = global * sc->shape[d] + at[d];
    return global;
}

static bool holds(const piece *p, int n_dims, const int64_t at[])
{
    int64_t flat = 0;
    for (int d = 0; d < n_dims; d++) {
        if (at[d] < p->box.start[d] || at[d] >= p->box.start[d] + p->box.count[d]) return false;
        flat = flat * p->box.count[d] + at[d] - p->box.start[d];
    }
    return flat >= p->layout.begin && flat < p->layout.begin + p->layout.count;
}

static void piece_fill(const scene *sc, piece *p)
{
    int64_t at[TRI_MAX_DIMS];
    tri_span span = tri_span_make(p->layout.data, p->layout.count, sc->dtype);
    for (int64_t i = 0; i < p->layout.count; i++)
        check_put(span, i,
                  check_value(p->part, global_index(sc, &p->box, p->layout.begin + i, at)));
}

/* The value of an element of which there are `parts` addends. */
static void truth(tri_dtype dtype, int parts, int64_t global, void *out)
{
    tri_span one = tri_span_make(out, 1, dtype);
    if (dtype == TRI_U8)
        check_put(one, 0, check_value(0, global));
    else
        check_reduce(one, parts, global, TRI_SUM);
}

/* Is every element what it must be, and the memory around untouched? Returns what this rank lacked. */
static int64_t piece_check(const scene *sc, const piece *from, const piece *to, int number)
{
    int64_t lacked = 0, wrong = 0, at[TRI_MAX_DIMS];
    size_t element = tri_dtype_bytes(sc->dtype);
    for (int64_t i = 0; i < to->layout.count; i++) {
        int64_t global = global_index(sc, &to->box, to->layout.begin + i, at);
        double want = 0;
        if (to->part == 0) {
            truth(sc->dtype, from->parts, global, &want);
            lacked += from->parts - holds(from, sc->n_dims, at);
        }
        const char *got = (const char *)to->layout.data + (size_t)i * element;
        wrong += memcmp(got, &want, element) != 0;
    }
    for (size_t i = 0; i < GUARD * element; i++) {
        const char *behind = (const char *)to->layout.data + (size_t)to->layout.count * element;
        wrong += to->memory[i] != (char)0xab || behind[i] != (char)0xab;
    }
    EXPECT(wrong == 0, "scene %d: %lld of %lld elements of rank %d are wrong", number,
           (long long)wrong, (long long)to->layout.count, tri_mesh_rank(to->mesh));
    return lacked;
}

static int64_t received_bytes(const tri_comm *world)
{
    return tri_comm_stats(world).payload_bytes[TRI_COLL_RECV];
}

static tri_status move(tri_comm *world, const scene *sc, const piece *from, const piece *to)
{
    tri_redistribute_args args = {.world = world,
                                  .n_dims = sc->n_dims,
                                  .dtype = sc->dtype,
                                  .from = from->layout,
                                  .to = to->layout,
                                  .buffer_bytes = sc->buffer_bytes};
    memcpy(args.shape, sc->shape, sizeof args.shape);
    TRI_TRY(tri_redistribute(&args));
    return TRI_OK;
}

/* There, and back again where nothing was summed: the same bits. */
static tri_status run_scene(tri_comm *world, const scene *sc, int number)
{
    piece from, to, back;
    int rank = tri_comm_rank(world);
    TRI_TRY(piece_open(sc, &sc->from, rank, &from));
    TRI_TRY(piece_open(sc, &sc->to, rank, &to));
    TRI_TRY(piece_open(sc, &sc->from, rank, &back));
    piece_fill(sc, &from);
    int64_t before = received_bytes(world);
    TRI_TRY(move(world, sc, &from, &to));
    int64_t bytes = received_bytes(world) - before;
    int64_t lacked = piece_check(sc, &from, &to, number) * (int64_t)tri_dtype_bytes(sc->dtype);
    EXPECT(bytes == lacked, "scene %d: rank %d lacked %lld bytes and received %lld", number, rank,
           (long long)lacked, (long long)bytes);
    if (from.parts == 1) {
        TRI_TRY(move(world, sc, &to, &back));
        EXPECT(memcmp(from.layout.data, back.layout.data,
                      (size_t)from.layout.count * tri_dtype_bytes(sc->dtype)) == 0 ||
                   to.parts > 1, /* x + 0 may lose the sign of a zero */
               "scene %d: rank %d has other bits after the way back", number, rank);
        before = received_bytes(world);
        memset(back.layout.data, 0xcd, (size_t)back.layout.count * tri_dtype_bytes(sc->dtype));
        TRI_TRY(move(world, sc, &from, &back));
        EXPECT(received_bytes(world) == before, "scene %d: identity moved %lld bytes", number,
               (long long)(received_bytes(world) - before));
        (void)piece_check(sc, &from, &back, number);
    }
    piece_close(&from);
    piece_close(&to);
    piece_close(&back);
    return TRI_OK;
}

static tri_status random_scenes(tri_comm *world, void *arg)
{
    for (int i = 0; i < *(const int *)arg; i++) {
        scene sc;
        dice d = {(uint32_t)(i * 7919 + tri_comm_size(world))};
        TRI_TRY(roll_scene(&d, tri_comm_size(world), &sc));
        TRI_TRY(run_scene(world, &sc, i));
    }
    size_t bytes = tri_device_memory(tri_comm_device(world)).bytes[TRI_MEM_COMM];
    EXPECT(bytes == 0, "%zu bytes of buffers are left", bytes);
    return TRI_OK;
}

TRI_TEST(any_placement_becomes_any_other)
{
#ifdef TRI_SANITIZED
    int n = 12;
#else
    int n = tri_test_argc > 1 ? 2000 : 60;
#endif
    static const int ranks[] = {1, 2, 3, 4, 6, 8};
    for (int i = 0; i < 6; i++)
        TRI_TRY(tri_comm_run_threads(ranks[i], &cpu, random_scenes, &n));
    return TRI_OK;
}

static tri_place split(tri_axis axis, int dim)
{
    tri_place place = {0};
    place.axis[axis].kind = TRI_SPLIT;
    place.axis[axis].arg = dim;
    return place;
}

/* Stage 0's four replicas give stage 1 its four: each sends once. */
static tri_status turns(tri_comm *world, void *arg)
{
    (void)arg;
    scene sc = {.n_ranks = 8, .n_dims = 1, .shape = {100}, .dtype = TRI_F32};
    sc.from = (side){
        .size = {2, 4, 1, 1}
    };
    sc.from.place.axis[TRI_AXIS_PIPELINE].kind = TRI_AT;
    sc.to = sc.from;
    sc.to.place.axis[TRI_AXIS_PIPELINE].arg = 1;
    TRI_TRY(run_scene(world, &sc, 0));
    tri_coll_stats stats = tri_comm_stats(world);
    /* the second move of run_scene sends back */
    EXPECT(stats.calls[TRI_COLL_SEND] == 1 && stats.calls[TRI_COLL_RECV] == 1,
           "rank %d sent %lld times", tri_comm_rank(world), (long long)stats.calls[TRI_COLL_SEND]);
    return TRI_OK;
}

TRI_TEST(holders_take_turns)
{
    TRI_TRY(tri_comm_run_threads(8, &cpu, turns, NULL));
    return TRI_OK;
}

/* Ranks 0 and 2 hold the tensor, rank 1 is to have it: with hosts of two ranks from rank 0. */
static tri_status near(tri_comm *world, void *arg)
{
    (void)arg;
    tri_comm *hosts = NULL;
    TRI_TRY(tri_comm_split_as(world, "hier:2", &hosts));
    int rank = tri_comm_rank(world);
    side four = {.share = SHARE_WHOLE};
    for (int axis = 0; axis < TRI_AXES; axis++)
        four.size[axis] = axis == TRI_AXIS_DATA ? 4 : 1;
    TRI_AUTO(tri_mesh) *mesh = NULL;
    TRI_TRY(side_mesh(&four, 4, rank, &mesh));
    float data[4] = {1, 2, 3, 4}, got[4] = {0};
    tri_redistribute_args args = {.world = hosts, .n_dims = 1, .dtype = TRI_F32};
    args.shape[0] = 4;
    args.from = (tri_layout){.mesh = mesh, .count = rank % 2 ? 0 : 4, .data = data};
    args.to = (tri_layout){.mesh = mesh, .count = rank == 1 ? 4 : 0, .data = got};
    TRI_TRY(tri_redistribute(&args));
    EXPECT(rank != 1 || memcmp(got, data, sizeof got) == 0, "the tensor");
    EXPECT(tri_comm_stats(hosts).calls[TRI_COLL_SEND] == (rank == 0), "rank %d", rank);
    tri_comm_close(&hosts);
    return TRI_OK;
}

TRI_TEST(a_holder_on_the_same_host_comes_first)
{
    TRI_TRY(tri_comm_run_threads(4, &cpu, near, NULL));
    return TRI_OK;
}

/* Two ranks with one thing wrong each; *arg says what. */
static tri_status wrong_moves(tri_comm *world, void *arg)
{
    int rank = tri_comm_rank(world), how = *(const int *)arg;
    TRI_AUTO(tri_mesh) *mesh = NULL;
    TRI_AUTO(tri_mesh) *other = NULL;
    side two = {0}, four = {0};
    for (int axis = 0; axis < TRI_AXES; axis++)
        two.size[axis] = four.size[axis] = 1;
    two.size[TRI_AXIS_DATA] = 2;
    four.size[TRI_AXIS_DATA] = 4;
    TRI_TRY(side_mesh(&two, 2, rank, &mesh));
    TRI_TRY(side_mesh(&four, 4, rank, &other));
    float a[8] = {0}, b[8] = {0};
    tri_redistribute_args args = {.world = world, .n_dims = 1, .dtype = TRI_F32};
    args.shape[0] = 8;
    args.from = (tri_layout){.mesh = mesh, .count = -1, .data = a};
    args.to = (tri_layout){.mesh = mesh, .count = -1, .data = b};
    args.from.place = split(TRI_AXIS_DATA, 0);
    if (how == 0 && rank == 1) args.from.begin = 1, args.from.count = 2;
    if (how == 1) args.to.mesh = other;
    if (how == 2) args.buffer_bytes = 7;
    if (how == 3) args.shape[0] += rank;
    if (how == 4 && rank == 1) args.to.data = NULL;
    if (how == 5 && rank == 1) args.from.begin = 1, args.from.count = 4;
    if (how == 6) args.from.place.axis[TRI_AXIS_DATA].kind = TRI_PARTIAL, args.dtype = TRI_U8;
    if (how == 7) args.from.place.axis[TRI_AXIS_DATA].parts = 3;
    if (how == 8) args.n_dims = 5;
    TRI_TRY(tri_redistribute(&args));
    return TRI_OK;
}

TRI_TEST(what_cannot_be_moved_is_refused_on_all_ranks)
{
    static const struct {
        tri_status code;
        const char *part;
    } want[] = {
        {TRI_EINVAL, "1 elements from index (4, 0, 0, 0) on, which no rank holds"},
        {TRI_EINVAL, "the mesh to which it is moved is not of the 2 ranks"       },
        {TRI_EINVAL, "a buffer of 7 bytes: at least 8"                           },
        {TRI_EBUG,   "buffer of rank 1 are not those of rank 0"                  },
        {TRI_EINVAL, "to 8 elements at NULL"                                     },
        {TRI_EINVAL, "from elements [1, 5) of a box of 4"                        },
        {TRI_EINVAL, "partial sums of uint8"                                     },
        {TRI_EINVAL, "cannot be cut in 3 parts"                                  },
        {TRI_EINVAL, "5 dimensions"                                              },
    };
    for (int how = 0; how < 9; how++)
        EXPECT_STATUS(tri_comm_run_threads(2, &cpu, wrong_moves, &how), want[how].code,
                      want[how].part);
    return TRI_OK;
}

/* A table of rows placed on a mesh, with memory. */
typedef struct table {
    tri_mesh *mesh;
    tri_state *state;
    float *memory[4];
} table;

static void table_close(table *t)
{
    for (int i = 0; i < 4; i++)
        TRI_FREE(t->memory[i]);
    tri_state_destroy(&t->state);
    tri_mesh_close(&t->mesh);
}

static tri_status table_open(tri_comm *world, const int size[TRI_AXES], int axis, int n_rows,
                             table *out)
{
    *out = (table){0};
    tri_mesh_args args = {.n_ranks = tri_comm_size(world), .rank = tri_comm_rank(world)};
    memcpy(args.size, size, sizeof args.size);
    TRI_TRY(tri_mesh_create(&args, &out->mesh));
    TRI_TRY(tri_state_create(out->mesh, &out->state));
    for (int i = 0; i < n_rows; i++) {
        tri_row row = {
            .dtype = TRI_F32, .n_dims = 2, .shape = {24,              5 + i},
                    .init = {TRI_INIT_NORMAL, 1    }
        };
        row.place = split((tri_axis)axis, i % 2);
        row.place.axis[TRI_AXIS_PIPELINE].kind = TRI_AT;
        row.place.axis[TRI_AXIS_PIPELINE].arg = i % size[0];
        snprintf(row.name, sizeof row.name, "param/row.%d", axis == TRI_AXIS_TENSOR ? 3 - i : i);
        row.shape[1] = axis == TRI_AXIS_TENSOR ? 8 - i : 5 + i;
        TRI_TRY(tri_state_add(out->state, &row, NULL));
        int64_t count = tri_state_row(out->state, i)->count;
        TRI_TRY(TRI_NEW_ARRAY(count, &out->memory[i]));
        int64_t begin = axis == TRI_AXIS_TENSOR ? 0 : count / 3 * (tri_comm_rank(world) % 2);
        if (axis != TRI_AXIS_TENSOR) count -= begin;
        tri_state_hold(out->state, i, begin, count, out->memory[i]);
    }
    return TRI_OK;
}

static tri_status tables(tri_comm *world, void *arg)
{
    table from, to;
    int n_rows = *(const int *)arg;
    const int eight[] = {1, 4, 1, 2}, other[] = {2, 2, 2, 1};
    TRI_TRY(table_open(world, eight, TRI_AXIS_TENSOR, 4, &from));
    TRI_TRY(table_open(world, other, TRI_AXIS_CONTEXT, n_rows, &to));
    for (int i = 0; i < 4; i++)
        TRI_TRY(tri_row_initialise(tri_state_row(from.state, i), from.mesh, 3));
    tri_status rc = tri_redistribute_state(world, from.state, to.state, 1024);
    for (int i = 0; i < n_rows && rc == TRI_OK; i++) {
        const tri_row *row = tri_state_row(to.state, i);
        tri_row want = *row;
        float values[24 * 8] = {0};
        want.data = values;
        TRI_TRY(tri_row_initialise(&want, to.mesh, 3));
        EXPECT(memcmp(values, row->data, (size_t)row->count * sizeof(float)) == 0, "%s of rank %d",
               row->name, tri_comm_rank(world));
    }
    table_close(&from);
    table_close(&to);
    TRI_TRY(rc);
    return TRI_OK;
}

TRI_TEST(a_state_table_moves_to_another_mesh)
{
    int n_rows = 4;
    TRI_TRY(tri_comm_run_threads(8, &cpu, tables, &n_rows));
    n_rows = 3;
    EXPECT_STATUS(tri_comm_run_threads(8, &cpu, tables, &n_rows), TRI_EINVAL,
                  "'param/row.3' is not in the table it is moved to");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(any_placement_becomes_any_other), TRI_TEST_ROW(holders_take_turns),
              TRI_TEST_ROW(a_holder_on_the_same_host_comes_first),
              TRI_TEST_ROW(what_cannot_be_moved_is_refused_on_all_ranks),
              TRI_TEST_ROW(a_state_table_moves_to_another_mesh))

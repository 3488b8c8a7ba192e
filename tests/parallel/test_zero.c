// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=240
// TEST ranks=2,4 timeout=120
/* Sharded parameters on random models over ranks as threads (and as processes). Gradients are small
 * integers and the update is exact, so every legal choice of groups must give one rank's weights bit
 * for bit, whatever is accumulated, in how many groups it is reduced, tied or partial; and move and keep
 * what was predicted.
 */
#include "runtime/base/int.h"
#include "tests/parallel/zero_rig.h"
#include "tests/parallel/zero_truth.h"

enum { STEPS = 2, ROUNDS = 4 };

/* A pass of the schedule. */
typedef struct step_round {
    int step, round;
    bool is_last; /* of its group */
} step_round;

/* This rank's sample number in a micro-batch. */
static int sample_of(const zero_rig *rig, int round, int micro)
{
    return rig_samples(rig, round) + tri_mesh_index(rig->mesh, ZERO_AXES) * rig->c.micro_batches +
           micro;
}

/* Add what one visit of backward adds to the gradient of a row. */
static void add_gradient(zero_rig *rig, int row, const rig_visit *visit, const step_round *now)
{
    tri_box box = rig_box(rig, row, false);
    int64_t n = tri_box_elements(&box);
    float *gradient = rig->gradient[row];
    EXPECT(gradient || n == 0, "row %d has no gradient in backward", row);
    int part = tri_mesh_coord(rig->mesh, TRI_AXIS_TENSOR) % rig->sum[row];
    int sample = sample_of(rig, now->round, visit->micro);
    for (int64_t e = 0; e < n && gradient; e++) {
        int64_t global = rig_global(rig, &box, row, e);
        if (visit->part == 4)
            gradient[e] += row == 0 ? rig_tied(global, now->step, sample) : 0;
        else if ((visit->part >> (e % 2)) & 1)
            gradient[e] += rig_gradient(row, global, now->step, sample, part);
    }
}

static void add_guest(zero_rig *rig, const rig_visit *visit, const step_round *now)
{
    tri_box box = rig_box(rig, 0, true);
    for (int64_t e = 0; e < tri_box_elements(&box); e++)
        rig->gradient[0][e] += rig_tied(rig_global(rig, &box, 0, e), now->step,
                                        sample_of(rig, now->round, visit->micro));
}

/* How far what is computed with may be from one rank's weights: half a step of each quantisation. */
static double tolerance(const zero_rig *rig, int step)
{
    const rig_case *c = &rig->c;
    double n = rig_samples(rig, rig_rounds(rig));
    double levels = c->gradients == TRI_QUANTIZE_INT4 ? 7 : 127;
    double most = 0, error = 0;
    for (int i = 0; i < rig->n_rows; i++)
        for (int64_t e = 0; e < tri_row_elements(&rig->rows[i]); e++)
            most = fmax(most, fabs((double)rig_expected(rig, i, e, step)));
    /* a rank's gradient of a micro-batch is at most 4, and 2 of the other end; summed over at most 4
     * tensor ranks; the tied part comes at once for all micro-batches */
    if (c->gradients) error = 0.125 * step * n * 4 * (4 + 2 * c->micro_batches) / (2 * levels);
    if (c->weights) error += (most + error) / (2 * 127);
    if (c->compute == TRI_BF16) error += (most + error) / 256;
    return error * 1.001;
}

/* Are the weights that a unit sees those of `step` steps? */
static int64_t wrong_weights(const zero_rig *rig, int row, bool anywhere, int step)
{
    tri_box box = rig_box(rig, row, anywhere);
    const void *weight = rig->weight[row];
    int64_t n = tri_box_elements(&box);
    if (!weight) return n;
    int64_t wrong = 0;
    bool is_exact = !rig->c.weights && !rig->c.gradients;
    double error = is_exact ? 0 : tolerance(rig, step);
    for (int64_t e = 0; e < n; e++) {
        float want = rig_expected(rig, row, rig_global(rig, &box, row, e), step);
        float got = rig->c.compute == TRI_F32 ? ((const float *)weight)[e]
                                              : tri_bf16_to_f32(((const tri_bf16 *)weight)[e]);
        if (!is_exact)
            wrong += !(fabs((double)got - want) <= error);
        else
            wrong += rig->c.compute == TRI_F32
                         ? ((const float *)weight)[e] != want
                         : ((const tri_bf16 *)weight)[e] != tri_f32_to_bf16(want);
    }
    return wrong;
}

static void expect_weights(zero_rig *rig, int unit, int step)
{
    int first = rig_first_unit(rig);
    for (int i = 0; i < rig->n_rows; i++) {
        if (rig->unit[i] != first + unit) continue;
        int64_t wrong = wrong_weights(rig, i, false, step);
        EXPECT(wrong == 0, "row %d: %lld weights are wrong after %d steps", i, (long long)wrong,
               step);
    }
    if (rig_is_guest(rig) && unit == rig->n_local - 1) {
        int64_t wrong = wrong_weights(rig, 0, true, step);
        EXPECT(wrong == 0, "the guest has %lld wrong weights", (long long)wrong);
    }
}

static tri_status run_visit(zero_rig *rig, int v, const step_round *now)
{
    const rig_visit *visit = &rig->visits[v];
    tri_unit_need need = rig_need(visit);
    bool has_next = v + 1 < rig->n_visits && (rig_need(&visit[1]) & TRI_NEED_WEIGHTS);
    TRI_TRY(tri_zero_use(rig->zero, visit->unit, need, has_next ? visit[1].unit : -1));
    if (need & TRI_NEED_WEIGHTS) expect_weights(rig, visit->unit, now->step);
    int first = rig_first_unit(rig);
    for (int i = 0; i < rig->n_rows && visit->part != 0; i++)
        if (rig->unit[i] == first + visit->unit) add_gradient(rig, i, visit, now);
    bool is_head = visit->is_ready && visit->unit == rig->n_local - 1;
    if (is_head && rig_is_guest(rig)) add_guest(rig, visit, now);
    bool is_last = visit->is_last && now->is_last;
    if (visit->is_ready) TRI_TRY(tri_zero_ready(rig->zero, visit->unit, is_last));
    return TRI_OK;
}

/* After `rounds` rounds of a step: their sum, each element counted once over all ranks. */
static tri_status expect_norm(zero_rig *rig, int step, int rounds)
{
    double squares = 0, want = 0;
    TRI_TRY(tri_zero_sum_squares(rig->zero, &squares));
    TRI_TRY(tri_allreduce(rig->world, tri_span_make(&squares, 1, TRI_F64), TRI_SUM, NULL));
    for (int i = 0; i < rig->n_rows; i++)
        for (int64_t e = 0; e < tri_row_elements(&rig->rows[i]); e++) {
            double g = rig_sum(rig, i, e, step, rig_samples(rig, rounds));
            want += g * g;
        }
    if (!rig->c.gradients) EXPECT(squares == want, "sum of squares %g, not %g", squares, want);
    return TRI_OK;
}

/* w -= g/8 on what this rank updates. */
static void update(zero_rig *rig)
{
    for (int i = 0; i < tri_zero_shards(rig->zero); i++) {
        tri_zero_shard shard = tri_zero_shard_at(rig->zero, i);
        for (int64_t e = 0; e < shard.count; e++) {
            shard.weight[e] -= 0.125f * shard.gradient[e];
            if (shard.copy) ((tri_bf16 *)shard.copy)[e] = tri_f32_to_bf16(shard.weight[e]);
        }
    }
}

/* What all communicators that sharding uses have counted. */
static tri_coll_stats counted(const zero_rig *rig)
{
    const tri_zero *zero = rig->zero;
    const tri_comm *comms[RIG_COMMS] = {zero->replica.comm, zero->args.ends};
    int n = 2;
    for (int s = 0; s < zero->n_sums; s++)
        comms[n++] = zero->sums[s].group.comm;
    for (int sort = 0; sort < ZERO_SORTS; sort++) {
        const zero_split *split = &zero->split[sort];
        comms[n++] = split->unit.comm;
        comms[n++] = split->reduce.comm;
        comms[n++] = split->finish.comm;
        comms[n++] = split->publish.comm;
    }
    tri_coll_stats sum = {0};
    for (int i = 0; i < n; i++) {
        bool seen = !comms[i];
        for (int j = 0; j < i; j++)
            seen = seen || comms[j] == comms[i];
        if (seen) continue;
        tri_coll_stats stats = tri_comm_stats(comms[i]);
        for (int kind = 0; kind < TRI_COLL_KINDS; kind++) {
            sum.calls[kind] += stats.calls[kind];
            sum.payload_bytes[kind] += stats.payload_bytes[kind];
        }
    }
    return sum;
}

static void expect_traffic(const zero_rig *rig, const tri_coll_stats *before)
{
    tri_traffic_list list = {0};
    tri_zero_traffic(rig->zero, rig_rounds(rig), rig->c.groups, &list);
    tri_coll_stats after = counted(rig);
    for (int kind = 0; kind < TRI_COLL_KINDS; kind++) {
        int64_t calls = 0, bytes = 0;
        for (int i = 0; i < list.n; i++) {
            if ((int)list.entry[i].kind != kind) continue;
            calls += list.entry[i].calls;
            bytes += list.entry[i].payload_bytes;
        }
        int64_t got_calls = after.calls[kind] - before->calls[kind];
        int64_t got_bytes = after.payload_bytes[kind] - before->payload_bytes[kind];
        EXPECT(calls == got_calls && bytes == got_bytes,
               "collective %d: %lld calls of %lld bytes, predicted %lld of %lld", kind,
               (long long)got_calls, (long long)got_bytes, (long long)calls, (long long)bytes);
    }
}

static tri_status run_group(zero_rig *rig, int step, int group)
{
    int n = rig_group_rounds(rig);
    for (int r = 0; r < n; r++) {
        step_round now = {.step = step, .round = group * n + r, .is_last = r == n - 1};
        for (int v = 0; v < rig->n_visits; v++)
            TRI_TRY(run_visit(rig, v, &now));
    }
    TRI_TRY(tri_zero_reduce_wait(rig->zero));
    TRI_TRY(expect_norm(rig, step, (group + 1) * n));
    return TRI_OK;
}

static tri_status run_step(zero_rig *rig, int step)
{
    tri_coll_stats before = counted(rig);
    TRI_TRY(tri_zero_begin(rig->zero));
    for (int group = 0; group < rig->c.groups; group++) {
        if (group > 0) tri_zero_next_group(rig->zero);
        TRI_TRY(run_group(rig, step, group));
    }
    update(rig);
    TRI_TRY(tri_zero_gather(rig->zero));
    expect_traffic(rig, &before);
    return TRI_OK;
}

/* Start weights in what this rank holds; over all ranks each element is held as often as it must. */
static tri_status start(zero_rig *rig)
{
    int n = tri_mesh_product(rig->mesh, ZERO_AXES);
    double held = 0, want = 0;
    for (int i = 0; i < rig->n_rows; i++) {
        const tri_row *row = tri_state_row(rig->state, i);
        tri_box box = rig_box(rig, i, false);
        for (int64_t e = 0; e < row->count; e++)
            ((float *)row->data)[e] = rig_start(i, rig_global(rig, &box, i, row->begin + e));
        bool is_first = tri_place_is_first(&row->place, rig->mesh, TRI_AXIS_TENSOR);
        if (is_first) held += (double)row->count;
        want += (double)tri_row_elements(row) * n / rig->c.group[ZERO_OPTIMIZER];
    }
    TRI_TRY(tri_allreduce(rig->world, tri_span_make(&held, 1, TRI_F64), TRI_SUM, NULL));
    EXPECT(held == want, "%g elements are held, not %g", held, want);
    TRI_TRY(tri_zero_publish(rig->zero));
    return TRI_OK;
}

/* Bytes by kind from the rows alone: per unit where weights or gradients are shared, else all matrices
 * in one bucket (bucket_bytes is large). */
static void expect_bytes(const zero_rig *rig)
{
    const int *group = rig->c.group;
    int64_t cut = (int64_t)group[ZERO_OPTIMIZER] * 32, matrices = 0, vectors = 0;
    int first = rig_first_unit(rig);
    for (int unit = 0; unit < rig->n_local; unit++) {
        int64_t of_unit = 0;
        for (int i = 0; i < rig->n_rows; i++) {
            if (rig->unit[i] != first + unit) continue;
            tri_box box;
            int rank0 = tri_mesh_rank(rig->mesh) - tri_mesh_coord(rig->mesh, TRI_AXIS_TENSOR);
            tri_status rc = tri_place_box(&rig->rows[i].place, rig->mesh, rank0,
                                          rig->rows[i].n_dims, rig->rows[i].shape, &box);
            EXPECT(rc == TRI_OK, "no box");
            int64_t padded = tri_round_up(tri_box_elements(&box), 32);
            *(rig->rows[i].n_dims == 1 ? &vectors : &of_unit) += padded;
        }
        matrices += group[ZERO_GRADIENTS] > 1 ? tri_round_up(of_unit, cut) : of_unit;
    }
    matrices = tri_round_up(matrices, cut);
    vectors = tri_round_up(vectors, cut);
    tri_box tied = rig_box(rig, 0, true);
    int64_t guest = rig_is_guest(rig) ? tri_box_elements(&tied) : 0;
    int64_t element = (int64_t)tri_dtype_bytes(rig->c.compute);
    int64_t weights = (matrices / group[ZERO_WEIGHTS] + vectors + guest) * element;
    if (rig->c.compute != TRI_F32) weights += (matrices + vectors) / group[ZERO_OPTIMIZER] * 4;
    int64_t gradients = (matrices / group[ZERO_GRADIENTS] + vectors + guest) * 4;
    tri_memory memory = tri_device_memory(tri_comm_device(rig->world));
    EXPECT((int64_t)memory.bytes[TRI_MEM_WEIGHTS] == weights, "weights take %zu bytes, not %lld",
           memory.bytes[TRI_MEM_WEIGHTS], (long long)weights);
    EXPECT((int64_t)memory.bytes[TRI_MEM_GRADIENTS] == gradients,
           "gradients take %zu bytes, not %lld", memory.bytes[TRI_MEM_GRADIENTS],
           (long long)gradients);
    for (int kind = 0; kind < TRI_MEM_KINDS; kind++)
        EXPECT(kind == TRI_MEM_COMM ||
                   memory.bytes[kind] == tri_arena_bytes(rig->arena, (tri_mem_kind)kind),
               "%s: %zu bytes, declared %zu", tri_mem_name((tri_mem_kind)kind), memory.bytes[kind],
               tri_arena_bytes(rig->arena, (tri_mem_kind)kind));
}

/* All ranks that hold a row compute with the same bits of it. */
static tri_status expect_replicas(const zero_rig *rig, int unit)
{
    int first = rig_first_unit(rig);
    double digest = 0;
    for (int i = 0; i < rig->n_rows; i++) {
        tri_box box = rig_box(rig, i, false);
        const uint8_t *bytes = rig->weight[i];
        size_t n = (size_t)tri_box_elements(&box) * tri_dtype_bytes(rig->c.compute);
        for (size_t at = 0; rig->unit[i] == first + unit && at < n; at++)
            digest = fmod(digest * 31 + bytes[at], 1e9);
    }
    double most[2] = {digest, -digest};
    tri_comm *group = tri_mesh_comm(rig->mesh, ZERO_AXES);
    TRI_TRY(tri_allreduce(group, tri_span_make(most, 2, TRI_F64), TRI_MAX, NULL));
    EXPECT(most[0] == -most[1], "ranks differ in unit %d", unit);
    return TRI_OK;
}

/* What a plan without ranks says of this rank: the same bytes and messages. */
static tri_status expect_paper(const zero_rig *rig)
{
    zero_rig paper;
    TRI_TRY(rig_plan(&paper, NULL, tri_comm_rank(rig->world), &rig->c));
    for (int kind = 0; kind < TRI_MEM_KINDS; kind++) {
        size_t want = tri_arena_bytes(rig->arena, (tri_mem_kind)kind);
        size_t got = tri_arena_bytes(paper.arena, (tri_mem_kind)kind);
        EXPECT(got == want, "%s: planned %zu, declared %zu", tri_mem_name((tri_mem_kind)kind), got,
               want);
    }
    tri_traffic_list lists[2] = {0};
    tri_zero_traffic(rig->zero, 1, 1, &lists[0]);
    tri_zero_traffic(paper.zero, 1, 1, &lists[1]);
    EXPECT(memcmp(&lists[0], &lists[1], sizeof lists[0]) == 0, "planned other messages");
    rig_close(&paper);
    return TRI_OK;
}

static tri_status run_case(tri_comm *world, const rig_case *c)
{
    zero_rig rig;
    int failures = tri_test_failures;
    TRI_TRY(rig_open(&rig, world, c));
    if (c->bucket_bytes > 1 << 20) expect_bytes(&rig);
    TRI_TRY(expect_paper(&rig));
    TRI_TRY(tri_barrier(world));
    TRI_TRY(start(&rig));
    int64_t allocations = tri_alloc_count();
    for (int step = 0; step < STEPS; step++)
        TRI_TRY(run_step(&rig, step));
    TRI_TRY(tri_barrier(world));
    EXPECT(tri_alloc_count() == allocations, "%lld allocations in steps",
           (long long)(tri_alloc_count() - allocations));
    for (int unit = 0; unit < rig.n_local; unit++) {
        TRI_TRY(tri_zero_use(rig.zero, unit, TRI_NEED_WEIGHTS, -1));
        expect_weights(&rig, unit, STEPS);
        TRI_TRY(expect_replicas(&rig, unit));
    }
    EXPECT(
        failures == tri_test_failures,
        "mesh %dx%dx%dx%d, groups %d %d %d, %s, bucket %lld, prefetch %d, %d micro x %d rounds in "
        "%d groups, split %d, tied %d, quantised %d %d, seed %u",
        c->size[0], c->size[1], c->size[2], c->size[3], c->group[0], c->group[1], c->group[2],
        tri_dtype_name(c->compute), (long long)c->bucket_bytes, c->prefetch, c->micro_batches,
        rig_rounds(&rig), c->groups, c->is_split, c->is_tied, c->weights, c->gradients, c->seed);
    TRI_TRY(tri_barrier(world));
    rig_close(&rig);
    return TRI_OK;
}

/* All legal group sizes, each with other choices of the rest. */
static tri_status all_groups(tri_comm *world, const int size[TRI_AXES], unsigned round,
                             bool is_quantised)
{
    int n = size[TRI_AXIS_DATA] * size[TRI_AXIS_CONTEXT];
    unsigned seed = round * 7919 + (unsigned)(size[0] * 1000 + n * 10 + size[3]);
    for (int o = 1; o <= n; o++)
        for (int g = 1; g <= o; g++)
            for (int w = 1; w <= g; w++) {
                if (n % o || o % g || g % w) continue;
                rig_case c = {
                    .group = {w, g, o}
                };
                memcpy(c.size, size, sizeof c.size);
                c.compute = rig_random(&seed, 2) ? TRI_F32 : TRI_BF16;
                c.bucket_bytes = rig_random(&seed, 2) ? 1 << 24 : 1 + rig_random(&seed, 9000);
                c.prefetch = (int)rig_random(&seed, 3);
                c.micro_batches = 1 + (int)rig_random(&seed, 3);
                c.groups = 1 + (int)rig_random(&seed, 3);
                c.is_split = rig_random(&seed, 3) == 0;
                c.is_tied = rig_random(&seed, 2) == 0;
                c.seed = seed;
                if (is_quantised) {
                    c.weights = (tri_quantize_kind)rig_random(&seed, 2);
                    c.gradients = (tri_quantize_kind)rig_random(&seed, 3);
                    c.bucket_bytes = 9000; /* the table of bytes is of plain pieces */
                }
                TRI_TRY(run_case(world, &c));
            }
    return TRI_OK;
}

static tri_status mesh_body(tri_comm *world, void *arg)
{
    for (unsigned round = 0; round < ROUNDS; round++)
        TRI_TRY(all_groups(world, arg, round, round == ROUNDS - 1));
    return TRI_OK;
}

static const tri_device_args one_thread = {.name = "cpu", .n_threads = 1, .yield = true};

TRI_TEST(groups_agree)
{
    if (tri_comm_is_launched()) return TRI_OK;
    static int sizes[][TRI_AXES] = {
        {1, 1, 1, 1},
        {1, 2, 1, 1},
        {1, 3, 1, 1},
        {1, 2, 2, 1},
        {1, 6, 1, 1},
        {1, 4, 2, 1},
        {1, 1, 1, 2},
        {1, 2, 1, 2},
        {1, 2, 1, 4},
        {1, 4, 1, 2},
        {2, 1, 1, 1},
        {2, 2, 1, 2},
        {2, 4, 1, 1},
        {2, 1, 1, 4}
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        int n = sizes[i][0] * sizes[i][1] * sizes[i][2] * sizes[i][3];
        TRI_TRY(tri_comm_run_threads(n, &one_thread, mesh_body, sizes[i]));
    }
    return TRI_OK;
}

TRI_TEST(ranks_as_processes)
{
    if (!tri_comm_is_launched()) return TRI_OK;
    TRI_AUTO(tri_device) *device = NULL;
    TRI_TRY(tri_device_create(&one_thread, &device));
    tri_comm *world = NULL;
    TRI_TRY(tri_comm_open_mpi(device, &world));
    TRI_TRY(all_groups(world, (int[]){1, tri_comm_size(world), 1, 1}, 0, true));
    tri_comm_close(&world);
    return TRI_OK;
}

TRI_TEST(illegal_groups_are_refused)
{
    TRI_TRY(tri_zero_check((const int[]){2, 4, 8}, 16));
    EXPECT_STATUS(tri_zero_check((const int[]){1, 1, 3}, 8), TRI_EINVAL, "[1, 1, 2] would do");
    EXPECT_STATUS(tri_zero_check((const int[]){4, 2, 8}, 8), TRI_EINVAL, "[2, 2, 8] would do");
    EXPECT_STATUS(tri_zero_check((const int[]){1, 6, 12}, 16), TRI_EINVAL, "parallel.zero [1, 6");
    EXPECT_STATUS(tri_zero_check((const int[]){0, 1, 1}, 2), TRI_EINVAL, "[1, 1, 1] would do");
    return TRI_OK;
}

/* Ranks that do not keep to the order of calls. */
static tri_status wrong_calls(tri_comm *world, void *arg)
{
    (void)arg;
    rig_case c = {
        .size = {1, 2, 1, 1},
        .group = {2, 2,  2 },
        .compute = TRI_F32,
        .micro_batches = 1,
        .groups = 1,
        .seed = 5
    };
    zero_rig rig;
    TRI_TRY(rig_open(&rig, world, &c));
    TRI_TRY(start(&rig));
    TRI_TRY(tri_zero_begin(rig.zero));
    EXPECT_STATUS(tri_zero_ready(rig.zero, 0, true), TRI_EBUG, "not used in backward");
    EXPECT_STATUS(tri_zero_use(rig.zero, 99, TRI_NEED_WEIGHTS, -1), TRI_EBUG, "use of unit 99");
    EXPECT_STATUS(tri_zero_ready(rig.zero, -1, true), TRI_EBUG, "unit -1");
    TRI_TRY(tri_zero_begin(rig.zero));
    EXPECT_STATUS(tri_zero_reduce_wait(rig.zero), TRI_EBUG, "never came");
    TRI_TRY(tri_zero_begin(rig.zero));
    TRI_TRY(run_step(&rig, 0)); /* none the worse for it */
    EXPECT_STATUS(tri_zero_ready(rig.zero, 0, true), TRI_EBUG, "after its last");
    TRI_TRY(tri_barrier(world));
    rig_close(&rig);
    return TRI_OK;
}

/* Three units of one size, two buffers, and nothing is completed. */
static tri_status too_few_buffers(tri_comm *world, void *arg)
{
    (void)arg;
    tri_zero *zero = NULL;
    tri_mesh *mesh = NULL;
    tri_state *state = NULL;
    tri_arena *arena = NULL;
    tri_zero_param params[3];
    TRI_TRY(tri_mesh_create(
        &(tri_mesh_args){
            .world = world, .size = {1, 2, 1, 1}
    },
        &mesh));
    TRI_TRY(tri_state_create(mesh, &state));
    for (int i = 0; i < 3; i++) {
        tri_row row = {
            .dtype = TRI_F32, .n_dims = 2, .shape = {8, 8}
        };
        snprintf(row.name, sizeof row.name, "param/%d", i);
        TRI_TRY(tri_state_add(state, &row, NULL));
        params[i] = (tri_zero_param){.unit = i, .tensor_sum = 1};
    }
    tri_zero_args args = {
        .mesh = mesh,
        .state = state,
        .n_params = 3,
        .params = params,
        .n_units = 3,
        .group = {1, 2, 2},
        .training = true,
        .tied_param = -1
    };
    args.quantize_weights = TRI_QUANTIZE_INT4;
    EXPECT_STATUS(tri_zero_create(&args, &zero), TRI_EINVAL, "parallel.quantize_weights is int4");
    args.quantize_weights = TRI_QUANTIZE_NONE;
    TRI_TRY(tri_zero_create(&args, &zero));
    TRI_TRY(tri_arena_create(&arena));
    TRI_TRY(tri_zero_declare(zero, arena));
    TRI_TRY(tri_arena_commit(arena, tri_comm_device(world), tri_mesh_comm(mesh, ZERO_AXES)));
    tri_zero_bind(zero, NULL, NULL);
    TRI_TRY(tri_zero_use(zero, 2, TRI_NEED_GRADIENTS, -1));
    TRI_TRY(tri_zero_use(zero, 1, TRI_NEED_GRADIENTS, -1));
    EXPECT_STATUS(tri_zero_use(zero, 0, TRI_NEED_GRADIENTS, -1), TRI_EBUG,
                  "all its 2 gradient buffers");
    TRI_TRY(tri_barrier(world));
    tri_arena_destroy(&arena);
    tri_zero_destroy(&zero);
    tri_state_destroy(&state);
    tri_mesh_close(&mesh);
    return TRI_OK;
}

TRI_TEST(wrong_calls_are_named)
{
    if (tri_comm_is_launched()) return TRI_OK;
    TRI_TRY(tri_comm_run_threads(2, &one_thread, wrong_calls, NULL));
    TRI_TRY(tri_comm_run_threads(2, &one_thread, too_few_buffers, NULL));
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(groups_agree), TRI_TEST_ROW(ranks_as_processes),
              TRI_TEST_ROW(illegal_groups_are_refused), TRI_TEST_ROW(wrong_calls_are_named))

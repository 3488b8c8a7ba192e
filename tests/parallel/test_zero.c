// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
// TEST ranks=2,4 timeout=120
/* Sharded data parallelism over ranks as threads (and as processes): with integer-valued gradients,
 * whose sums are exact, SGD on every stage and group size gives one rank's weights bit for bit.
 */
#include "kernels/kernels.h"
#include "optim/optim.h"
#include "parallel/zero.h"
#include "tests/test.h"

enum {
    N_ROWS = 5,
    STEPS = 3,
    GROUP = TRI_AXIS_BIT(TRI_AXIS_DATA) | TRI_AXIS_BIT(TRI_AXIS_CONTEXT)
};

static const int64_t row_shape[N_ROWS][2] = {
    {7,  33 },
    {1,  5  },
    {64, 16 },
    {3,  3  },
    {10, 100}
};

typedef struct zero_case {
    int stage;
    int64_t bucket_bytes;
    tri_dtype compute;
} zero_case;

static int64_t elements_of(int row)
{
    return row_shape[row][0] * row_shape[row][1];
}

static float start_weight(int row, int64_t i)
{
    return (float)((row * 31 + i * 7) % 17) / 16.0f;
}

/* Gradient of one of eight samples: small integers, so any order of summation is exact. */
static float sample_gradient(int row, int64_t i, int step, int sample)
{
    return (float)((row + 3 * i + 5 * step + 11 * sample) % 9 - 4);
}

static float whole_gradient(int row, int64_t i, int step)
{
    float g = 0;
    for (int sample = 0; sample < 8; sample++)
        g += sample_gradient(row, i, step, sample);
    return g;
}

/* What one rank gets: w -= lr * sum of all samples' gradients, step by step. */
static float expected_weight(int row, int64_t i, int steps)
{
    float w = start_weight(row, i);
    for (int step = 0; step < steps; step++)
        w -= 0.125f * whole_gradient(row, i, step);
    return w;
}

typedef struct zero_rig {
    tri_mesh *mesh;
    tri_state *state;
    tri_kernels *kernels;
    tri_zero *zero;
    tri_optim *optim;
    tri_arena *arena;
    tri_optim_segment segments[N_ROWS];
} zero_rig;

static void rig_segments(zero_rig *rig)
{
    for (int i = 0; i < N_ROWS; i++) {
        tri_zero_shard s = tri_zero_shard_at(rig->zero, i);
        rig->segments[i] = (tri_optim_segment){.row = s.param,
                                               .begin = s.begin,
                                               .count = s.count,
                                               .weight = s.weight,
                                               .gradient = s.gradient,
                                               .copy = s.copy};
    }
}

static tri_status rig_layout(zero_rig *rig, tri_comm *world, const zero_case *c)
{
    tri_mesh_args mesh = {
        .world = world, .size = {1, tri_comm_size(world), 1, 1}
    };
    TRI_TRY(tri_mesh_create(&mesh, &rig->mesh));
    TRI_TRY(tri_mesh_declare(rig->mesh, GROUP));
    TRI_TRY(tri_kernels_create(tri_comm_device(world), NULL, &rig->kernels));
    TRI_TRY(tri_state_create(rig->mesh, &rig->state));
    for (int i = 0; i < N_ROWS; i++) {
        tri_row row = {
            .n_dims = 2, .shape = {row_shape[i][0], row_shape[i][1]}
        };
        snprintf(row.name, sizeof row.name, "param/row%d", i);
        TRI_TRY(tri_state_add(rig->state, &row, NULL));
    }
    tri_zero_args zero = {.state = rig->state,
                          .n_params = N_ROWS,
                          .stage = c->stage,
                          .bucket_bytes = c->bucket_bytes,
                          .compute = c->compute,
                          .training = true,
                          .kernels = rig->kernels};
    TRI_TRY(tri_zero_create(&zero, &rig->zero));
    return TRI_OK;
}

static tri_status rig_open(zero_rig *rig, tri_comm *world, const zero_case *c)
{
    TRI_TRY(rig_layout(rig, world, c));
    tri_optim_config sgd = {.name = "sgd", .lr = 0.125};
    rig_segments(rig);
    TRI_TRY(tri_optim_create(&sgd, rig->kernels, rig->segments, N_ROWS, &rig->optim));
    TRI_TRY(tri_optim_export(rig->optim, rig->state));
    TRI_TRY(tri_arena_create(&rig->arena));
    TRI_TRY(tri_zero_declare(rig->zero, rig->arena));
    TRI_TRY(tri_optim_declare(rig->optim, rig->arena));
    TRI_TRY(tri_arena_commit(rig->arena, tri_comm_device(world), tri_mesh_comm(rig->mesh, GROUP)));
    tri_zero_bind(rig->zero);
    rig_segments(rig);
    TRI_TRY(tri_optim_bind(rig->optim, rig->segments, rig->state));
    return TRI_OK;
}

static void rig_close(zero_rig *rig)
{
    tri_arena_destroy(&rig->arena);
    tri_optim_destroy(&rig->optim);
    tri_zero_destroy(&rig->zero);
    tri_state_destroy(&rig->state);
    tri_kernels_destroy(&rig->kernels);
    tri_mesh_close(&rig->mesh);
}

/* Backward of this rank's share of the eight samples. */
static tri_status rig_backward(zero_rig *rig, tri_comm *world, int step)
{
    int per_rank = 8 / tri_comm_size(world);
    int first = tri_comm_rank(world) * per_rank;
    tri_zero_begin(rig->zero);
    for (int i = N_ROWS - 1; i >= 0; i--) {
        float *gradient = tri_zero_gradient(rig->zero, i);
        for (int64_t e = 0; e < elements_of(i); e++)
            for (int s = 0; s < per_rank; s++)
                gradient[e] += sample_gradient(i, e, step, first + s);
        TRI_TRY(tri_zero_ready(rig->zero, i));
    }
    return TRI_OK;
}

static tri_status rig_step(zero_rig *rig, tri_comm *world, int step)
{
    TRI_TRY(rig_backward(rig, world, step));
    TRI_TRY(tri_zero_reduce_wait(rig->zero));
    double squares = 0;
    double want = 0;
    TRI_TRY(tri_zero_sum_squares(rig->zero, &squares));
    TRI_TRY(tri_allreduce(world, tri_span_make(&squares, 1, TRI_F64), TRI_SUM, NULL));
    for (int i = 0; i < N_ROWS; i++)
        for (int64_t e = 0; e < elements_of(i); e++)
            want += (double)whole_gradient(i, e, step) * whole_gradient(i, e, step);
    EXPECT(squares == want, "sum of squares %g, not %g", squares, want);
    TRI_TRY(tri_optim_step(rig->optim, step + 1, 0.125, 1));
    TRI_TRY(tri_zero_gather(rig->zero));
    return TRI_OK;
}

/* Start weights in what this rank holds; over all ranks each element is held as often as it must. */
static tri_status rig_start(zero_rig *rig, tri_comm *world, const zero_case *c)
{
    double held = 0;
    double whole = 0;
    for (int i = 0; i < N_ROWS; i++) {
        const tri_row *row = tri_state_row(rig->state, i);
        for (int64_t e = 0; e < row->count; e++)
            ((float *)row->data)[e] = start_weight(i, row->begin + e);
        held += (double)row->count;
        whole += (double)elements_of(i);
    }
    TRI_TRY(tri_allreduce(world, tri_span_make(&held, 1, TRI_F64), TRI_SUM, NULL));
    double want = c->stage == 0 ? whole * tri_comm_size(world) : whole;
    EXPECT(held == want, "%g elements are held, not %g", held, want);
    TRI_TRY(tri_zero_publish(rig->zero));
    return TRI_OK;
}

static tri_status run_case(tri_comm *world, const zero_case *c)
{
    zero_rig rig = {0};
    TRI_TRY(rig_open(&rig, world, c));
    TRI_TRY(rig_start(&rig, world, c));
    for (int step = 0; step < STEPS; step++)
        TRI_TRY(rig_step(&rig, world, step));
    int64_t wrong = 0;
    for (int i = 0; i < N_ROWS; i++) {
        const void *weight = tri_zero_weight(rig.zero, i);
        for (int64_t e = 0; e < elements_of(i); e++) {
            float w = expected_weight(i, e, STEPS);
            wrong += c->compute == TRI_F32 ? ((const float *)weight)[e] != w
                                           : ((const tri_bf16 *)weight)[e] != tri_f32_to_bf16(w);
        }
    }
    EXPECT(wrong == 0, "stage %d, bucket %lld, %s: %lld weights are wrong", c->stage,
           (long long)c->bucket_bytes, tri_dtype_name(c->compute), (long long)wrong);
    rig_close(&rig);
    return TRI_OK;
}

static tri_status all_cases(tri_comm *world, void *arg)
{
    (void)arg;
    const zero_case cases[] = {
        {0, 1,       TRI_F32 },
        {0, 1 << 20, TRI_BF16},
        {1, 1,       TRI_F32 },
        {1, 4096,    TRI_F32 },
        {1, 4096,    TRI_BF16},
        {1, 1 << 20, TRI_BF16}
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        TRI_TRY(run_case(world, &cases[i]));
    return TRI_OK;
}

static const tri_device_args one_thread = {.name = "cpu", .n_threads = 1, .yield = true};

TRI_TEST(ranks_as_threads)
{
    if (tri_comm_is_launched()) return TRI_OK;
    for (int n = 1; n <= 8; n *= 2)
        TRI_TRY(tri_comm_run_threads(n, &one_thread, all_cases, NULL));
    return TRI_OK;
}

TRI_TEST(ranks_as_processes)
{
    if (!tri_comm_is_launched()) return TRI_OK;
    TRI_AUTO(tri_device) *device = NULL;
    TRI_TRY(tri_device_create(&one_thread, &device));
    tri_comm *world = NULL;
    TRI_TRY(tri_comm_open_mpi(device, &world));
    TRI_TRY(all_cases(world, NULL));
    tri_comm_close(&world);
    return TRI_OK;
}

TRI_TEST(stage_2_is_refused)
{
    tri_zero *zero = NULL;
    tri_zero_args args = {.stage = 2};
    EXPECT_STATUS(tri_zero_create(&args, &zero), TRI_EINVAL, "parallel.zero is 2");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(ranks_as_threads), TRI_TEST_ROW(ranks_as_processes),
              TRI_TEST_ROW(stage_2_is_refused))

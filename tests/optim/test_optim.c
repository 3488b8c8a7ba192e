// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* Optimizers on plain shards: two steps against torch's formulas in double precision, written out
 * here; decay by row; moments as rows; ranges that cut a parameter give the same bits as the whole.
 */
#include "optim/optim.h"

#include "optim/clip.h"
#include "tests/test.h"

enum { N = 1003, STEPS = 4 };

typedef struct rig {
    tri_device *device;
    tri_mesh *mesh;
    tri_state *state;
    tri_kernels *kernels;
    tri_optim *optim;
    tri_arena *arena;
    int n_segments;
    tri_optim_segment segments[4];
    float weight[2][N], gradient[2][N];
} rig;

static float noise(int row, int64_t i, int step)
{
    return (float)(((row + 1) * 7919 + i * 104729 + step * 1299709) % 2003) / 1001.0f - 1.0f;
}

/* Two rows of N elements, the first decays; row 0 is cut at `cut` into two segments. */
static tri_status rig_open(rig *r, const tri_optim_config *config, int64_t cut)
{
    tri_device_args device = {.name = "cpu", .n_threads = 1};
    TRI_TRY(tri_device_create(&device, &r->device));
    tri_mesh_args mesh = {
        .n_ranks = 1, .size = {1, 1, 1, 1}
    };
    TRI_TRY(tri_mesh_create(&mesh, &r->mesh));
    TRI_TRY(tri_kernels_create(r->device, NULL, &r->kernels));
    TRI_TRY(tri_state_create(r->mesh, &r->state));
    for (int row = 0; row < 2; row++) {
        tri_row it = {.n_dims = 1, .shape = {N}, .decay = row == 0};
        snprintf(it.name, sizeof it.name, "param/row%d", row);
        TRI_TRY(tri_state_add(r->state, &it, NULL));
        for (int64_t i = 0; i < N; i++)
            r->weight[row][i] = noise(row, i, 100);
    }
    const int64_t begin[2][2] = {
        {0, cut},
        {0, 0  }
    };
    const int64_t count[2][2] = {
        {cut, N - cut},
        {N,   0      }
    };
    for (int row = 0; row < 2; row++)
        for (int half = 0; half < 2 && count[row][half] > 0; half++) {
            int64_t at = begin[row][half];
            r->segments[r->n_segments++] = (tri_optim_segment){.row = row,
                                                               .begin = at,
                                                               .count = count[row][half],
                                                               .decay = row == 0,
                                                               .weight = &r->weight[row][at],
                                                               .gradient = &r->gradient[row][at]};
        }
    TRI_TRY(tri_optim_create(config, r->kernels, r->segments, r->n_segments, &r->optim));
    return TRI_OK;
}

static tri_status rig_run(rig *r, double lr, double scale)
{
    TRI_TRY(tri_arena_create(&r->arena));
    TRI_TRY(tri_optim_declare(r->optim, r->arena));
    TRI_TRY(tri_arena_commit(r->arena, r->device, NULL));
    for (int step = 1; step <= STEPS; step++) {
        for (int row = 0; row < 2; row++)
            for (int64_t i = 0; i < N; i++)
                r->gradient[row][i] = noise(row, i, step);
        TRI_TRY(tri_optim_step(r->optim, step, lr, scale));
    }
    return TRI_OK;
}

static void rig_close(rig *r)
{
    tri_arena_destroy(&r->arena);
    tri_optim_destroy(&r->optim);
    tri_state_destroy(&r->state);
    tri_kernels_destroy(&r->kernels);
    tri_mesh_close(&r->mesh);
    tri_device_destroy(&r->device);
}

/* torch.optim.AdamW, one element, double precision. */
static double adamw_element(const tri_optim_config *c, int row, int64_t i, double lr, double scale)
{
    double w = noise(row, i, 100);
    double m = 0;
    double v = 0;
    for (int step = 1; step <= STEPS; step++) {
        double g = noise(row, i, step) * scale;
        if (row == 0) w *= 1 - lr * c->weight_decay;
        m = c->betas[0] * m + (1 - c->betas[0]) * g;
        v = c->betas[1] * v + (1 - c->betas[1]) * g * g;
        double corrected = sqrt(v) / sqrt(1 - pow(c->betas[1], step)) + c->epsilon;
        w -= lr / (1 - pow(c->betas[0], step)) * m / corrected;
    }
    return w;
}

/* torch.optim.SGD, one element, double precision. */
static double sgd_element(const tri_optim_config *c, int row, int64_t i, double lr, double scale)
{
    double w = noise(row, i, 100);
    double buffer = 0;
    for (int step = 1; step <= STEPS; step++) {
        double g = noise(row, i, step) * scale + (row == 0 ? c->weight_decay * w : 0);
        if (c->momentum > 0) {
            buffer = step == 1 ? g : c->momentum * buffer + g;
            g = c->nesterov ? g + c->momentum * buffer : buffer;
        }
        w -= lr * g;
    }
    return w;
}

typedef double (*element_fn)(const tri_optim_config *, int, int64_t, double, double);

static tri_status compare(const tri_optim_config *config, element_fn element)
{
    static rig whole;
    static rig cut;
    memset(&whole, 0, sizeof whole);
    memset(&cut, 0, sizeof cut);
    TRI_TRY(rig_open(&whole, config, N));
    TRI_TRY(rig_open(&cut, config, 501));
    TRI_TRY(rig_run(&whole, 0.01, 0.5));
    TRI_TRY(rig_run(&cut, 0.01, 0.5));
    EXPECT(memcmp(whole.weight, cut.weight, sizeof whole.weight) == 0, "%s: a cut changes bits",
           config->name);
    double worst = 0;
    for (int row = 0; row < 2; row++)
        for (int64_t i = 0; i < N; i++)
            worst = fmax(worst, fabs(whole.weight[row][i] - element(config, row, i, 0.01, 0.5)));
    EXPECT(worst < 1e-6, "%s: off by %g", config->name, worst);
    rig_close(&whole);
    rig_close(&cut);
    return TRI_OK;
}

TRI_TEST(follow_torch)
{
    tri_optim_config adamw = {
        .name = "adamw", .lr = 0.01, .betas = {0.9, 0.95},
                .epsilon = 1e-8, .weight_decay = 0.1
    };
    TRI_TRY(compare(&adamw, adamw_element));
    tri_optim_config sgd = {.name = "sgd", .lr = 0.01, .weight_decay = 0.1};
    TRI_TRY(compare(&sgd, sgd_element));
    sgd.momentum = 0.9;
    TRI_TRY(compare(&sgd, sgd_element));
    sgd.nesterov = 1;
    TRI_TRY(compare(&sgd, sgd_element));
    return TRI_OK;
}

TRI_TEST(moments_are_rows)
{
    static rig r;
    memset(&r, 0, sizeof r);
    tri_optim_config adamw = {
        .name = "adamw", .lr = 0.01, .betas = {0.9, 0.95},
                .epsilon = 1e-8
    };
    TRI_TRY(rig_open(&r, &adamw, N));
    TRI_TRY(tri_optim_export(r.optim, r.state));
    TRI_TRY(rig_run(&r, 0.01, 1));
    TRI_TRY(tri_optim_bind(r.optim, r.segments, r.state));
    int index = tri_state_find(r.state, "optim/adamw/v/row1");
    EXPECT(index >= 0, "no row for the second moment");
    const tri_row *row = tri_state_row(r.state, index);
    double v = 0;
    for (int step = 1; step <= STEPS; step++)
        v = 0.95 * v + 0.05 * (double)noise(1, 17, step) * noise(1, 17, step);
    double got = ((const float *)row->data)[17];
    EXPECT(row->count == N && fabs(got - v) < 1e-6, "v[17] is %g, not %g", got, v);
    rig_close(&r);
    return TRI_OK;
}

TRI_TEST(refusals)
{
    tri_optim_config c = {
        .name = "adamw", .lr = 0.01, .betas = {0.9, 1},
                .epsilon = 1e-8
    };
    EXPECT_STATUS(tri_optim_check(&c), TRI_EINVAL, "optimizer.betas[1] is 1");
    c.betas[1] = 0.95;
    c.lr = 0;
    EXPECT_STATUS(tri_optim_check(&c), TRI_EINVAL, "optimizer.lr is 0");
    tri_optim_config s = {.name = "sgd", .lr = 0.1, .nesterov = 1};
    EXPECT_STATUS(tri_optim_check(&s), TRI_EINVAL, "optimizer.nesterov needs");
    tri_optim_config unknown = {.name = "adamv", .lr = 0.1};
    EXPECT_STATUS(tri_optim_check(&unknown), TRI_EINVAL, "known: sgd, adamw");
    return TRI_OK;
}

TRI_TEST(clip_factor)
{
    EXPECT(tri_clip_factor(10, 0) == 1, "no clip");
    EXPECT(tri_clip_factor(0.5, 1) == 1, "below the norm nothing changes");
    EXPECT(fabs(tri_clip_factor(4, 1) - 0.25) < 1e-6, "clip to 1");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(follow_torch), TRI_TEST_ROW(moments_are_rows), TRI_TEST_ROW(refusals),
              TRI_TEST_ROW(clip_factor))

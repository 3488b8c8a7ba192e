// SPDX-License-Identifier: Apache-2.0
/* A round is: the products alone, the products of attention alone, some single parts, a step. A step
 * is compared with the mean of the limits measured before and after it, and the median of these
 * ratios is the share.
 */
#include "launch/bench_step.h"

#include "launch/bench_heads.h"
#include "launch/bench_job.h"
#include "launch/bench_products.h"
#include "launch/peak.h"
#include "launch/train.h"
#include "runtime/agree.h"
#include "runtime/base/alloc.h"
#include "runtime/base/clock.h"

#include <unistd.h>

enum { WARM_UP_STEPS = 1 };

/* What is measured once a round, in seconds unless the name says otherwise. */
typedef enum step_part {
    PART_STEP,      /* the whole */
    PART_INSIDE,    /* products, within the step */
    PART_PRODUCTS,  /* products, alone */
    PART_HEADS,     /* products inside attention, alone */
    PART_ATTENTION, /* the attention kernels, alone */
    PART_ZERO,      /* clearing gradients, alone */
    PART_NORM,      /* the gradient's norm, alone */
    PART_UPDATE,    /* the optimizer, alone */
    PART_PEAK,      /* operations per second of square products */
    PARTS
} step_part;

typedef struct step_bench {
    const tri_bench_args *args;
    tri_bench_job_options options;
    int fd;
    tri_spec spec;
    tri_job *job;
    tri_bench_products *products;
    tri_bench_heads *heads;
    int64_t tokens;       /* of a step, all ranks */
    double *part[PARTS];  /* [rounds + 1]: the limits are measured once more than steps */
    double *limit;        /* [rounds + 1] products and those of attention */
    double *shape_inside; /* [shapes][rounds] */
    double *shape_alone;  /* [shapes][rounds] */
} step_bench;

static bool is_root(const step_bench *b)
{
    return tri_comm_rank(b->job->world) == 0;
}

static tri_status bench_open(step_bench *b)
{
    tri_comm *world = b->args->session->world;
    int n_ranks = tri_comm_size(world);
    TRI_TRY(tri_bench_job_parse(b->args, &b->options));
    TRI_TRY(tri_agree(world, tri_bench_job_tokens(&b->options, n_ranks, &b->fd)));
    TRI_TRY(tri_agree(world, tri_bench_job_spec(&b->options, n_ranks, b->fd, &b->spec)));
    TRI_TRY(tri_job_open(&b->spec, TRI_JOB_TRAIN, world, &b->job));
    TRI_TRY(tri_job_initialise(b->job));
    b->tokens = b->spec.batch.sequences * b->spec.model.context;
    return TRI_OK;
}

static void bench_close(step_bench *b)
{
    for (int p = 0; p < PARTS; p++)
        TRI_FREE(b->part[p]);
    TRI_FREE(b->limit);
    TRI_FREE(b->shape_inside);
    TRI_FREE(b->shape_alone);
    tri_bench_heads_destroy(&b->heads);
    tri_bench_products_destroy(&b->products);
    tri_job_close(&b->job);
    if (b->fd >= 0) close(b->fd);
    b->fd = -1;
}

/* Warm-up, and one step whose products are recorded. */
static tri_status bench_record(step_bench *b)
{
    tri_step_result step;
    for (int i = 0; i < WARM_UP_STEPS; i++)
        TRI_TRY(tri_train_step(b->job, 0, &step));
    TRI_TRY(tri_bench_products_create(b->job->kernels, &b->products));
    TRI_TRY(tri_train_step(b->job, 0, &step));
    TRI_TRY(tri_bench_products_end(b->products));

    const tri_model_config *model = &b->spec.model;
    tri_bench_heads_args heads = {.device = b->args->session->device,
                                  .kernels = b->job->kernels,
                                  .layers = model->layers,
                                  .batch = b->spec.batch.micro,
                                  .length = model->context,
                                  .heads = model->heads,
                                  .kv_heads = model->kv_heads ? model->kv_heads : model->heads,
                                  .head_size = model->hidden / model->heads,
                                  .dtype = b->spec.precision};
    TRI_TRY(tri_bench_heads_create(&heads, &b->heads));
    int64_t samples = b->options.rounds + 1;
    int64_t shapes = tri_bench_products_shapes(b->products);
    for (int p = 0; p < PARTS; p++)
        TRI_TRY(TRI_NEW_ARRAY(samples, &b->part[p]));
    TRI_TRY(TRI_NEW_ARRAY(samples, &b->limit));
    TRI_TRY(TRI_NEW_ARRAY(shapes * b->options.rounds, &b->shape_inside));
    TRI_TRY(TRI_NEW_ARRAY(shapes * b->options.rounds, &b->shape_alone));
    return TRI_OK;
}

/* The limit: all products of a step. Attention's are those of one pass, of which a step has several;
 * where our kernel as a whole is faster than such products, its own time is what they take. */
static tri_status measure_limit(step_bench *b, int64_t round)
{
    double passes = (double)b->options.accumulation;
    double heads_s = 0;
    double kernels_s = 0;
    TRI_TRY(tri_barrier(b->job->world));
    TRI_TRY(tri_bench_products_replay(b->products, &b->part[PART_PRODUCTS][round]));
    TRI_TRY(tri_bench_heads_products(b->heads, TRI_BENCH_HEADS_BOTH, &heads_s));
    TRI_TRY(tri_bench_heads_kernels(b->heads, TRI_BENCH_HEADS_BOTH, &kernels_s));
    b->part[PART_HEADS][round] = passes * heads_s;
    b->part[PART_ATTENTION][round] = passes * kernels_s;
    b->limit[round] =
        b->part[PART_PRODUCTS][round] + passes * (heads_s < kernels_s ? heads_s : kernels_s);
    return TRI_OK;
}

/* Parts of a step that can be run alone. Gradients are zero afterwards, and the learning rate is zero:
 * the same memory traffic, and the weights stay. */
static tri_status measure_parts(step_bench *b, int64_t round)
{
    double squares = 0;
    double at_s[4];
    at_s[0] = tri_clock_s();
    TRI_TRY(tri_zero_begin(b->job->zero));
    at_s[1] = tri_clock_s();
    TRI_TRY(tri_zero_sum_squares(b->job->zero, &squares));
    at_s[2] = tri_clock_s();
    tri_optim_step_args update = {.step = b->job->counters.step, .gradient_scale = 1};
    TRI_TRY(tri_optim_step(b->job->optim, &update));
    at_s[3] = tri_clock_s();
    b->part[PART_ZERO][round] = at_s[1] - at_s[0];
    b->part[PART_NORM][round] = at_s[2] - at_s[1];
    b->part[PART_UPDATE][round] = at_s[3] - at_s[2];
    TRI_TRY(tri_peak_measure(b->job->kernels, b->spec.precision, b->job->world,
                             &b->part[PART_PEAK][round]));
    return TRI_OK;
}

static tri_status measure_step(step_bench *b, int64_t round)
{
    TRI_TRY(tri_barrier(b->job->world));
    tri_bench_products_watch(b->products);
    double start_s = tri_clock_s();
    tri_step_result step;
    TRI_TRY(tri_train_step(b->job, 0, &step));
    b->part[PART_STEP][round] = tri_clock_s() - start_s;
    TRI_TRY(tri_bench_products_watched(b->products, &b->part[PART_INSIDE][round]));
    for (int s = 0; s < tri_bench_products_shapes(b->products); s++) {
        const tri_bench_shape *shape = tri_bench_products_shape(b->products, s);
        b->shape_inside[s * b->options.rounds + round] = shape->inside_s;
        b->shape_alone[s * b->options.rounds + round] = shape->alone_s;
    }
    return TRI_OK;
}

static tri_status measure(step_bench *b)
{
    TRI_TRY(measure_limit(b, 0)); /* primitives exist, but the buffers' pages may be cold */
    TRI_TRY(measure_limit(b, 0));
    for (int64_t round = 0; round < b->options.rounds; round++) {
        TRI_TRY(measure_parts(b, round));
        TRI_TRY(measure_step(b, round));
        TRI_TRY(measure_limit(b, round + 1));
    }
    return TRI_OK;
}

/* --- the lines */

static tri_status report_part(const step_bench *b, const char *name, double seconds,
                              const char *detail)
{
    tri_bench_line line = {.name = name, .value = seconds, .unit = "s", .detail = detail};
    return tri_bench_report(b->args, &line);
}

/* Where a step's time goes: parts alone, and what is left. */
static tri_status report_parts(const step_bench *b, const double median[PARTS])
{
    double known_s = median[PART_INSIDE] + median[PART_ATTENTION] + median[PART_ZERO] +
                     median[PART_NORM] + median[PART_UPDATE];
    char heads[96];
    snprintf(heads, sizeof heads, "limit: %s", tri_bench_heads_way(b->heads));
    TRI_TRY(report_part(b, "step.products", median[PART_INSIDE], "within the step"));
    TRI_TRY(report_part(b, "step.products_alone", median[PART_PRODUCTS], "by shape"));
    TRI_TRY(report_part(b, "step.attention", median[PART_ATTENTION], "alone"));
    TRI_TRY(report_part(b, "step.attention_products", median[PART_HEADS], heads));
    TRI_TRY(report_part(b, "step.clear", median[PART_ZERO], "gradients = 0, alone"));
    TRI_TRY(report_part(b, "step.gradient_norm", median[PART_NORM], "alone"));
    TRI_TRY(report_part(b, "step.update", median[PART_UPDATE], "alone"));
    TRI_TRY(report_part(b, "step.rest", median[PART_STEP] - known_s,
                        "norms, activations, biases, loss, embedding, communication"));
    return TRI_OK;
}

static tri_status report_shape(const step_bench *b, int index)
{
    const tri_bench_shape *shape = tri_bench_products_shape(b->products, index);
    const tri_matmul_args *p = &shape->args;
    int rounds = (int)b->options.rounds;
    double alone_s = tri_bench_median(rounds, b->shape_alone + (ptrdiff_t)index * rounds);
    double inside_s = tri_bench_median(rounds, b->shape_inside + (ptrdiff_t)index * rounds);
    char name[96];
    char detail[96];
    snprintf(name, sizeof name, "step.product.%lldx%lldx%lld%s%s.%s%s%s", (long long)p->m,
             (long long)p->n, (long long)p->k, p->a_transposed ? ".at" : "",
             p->b_transposed ? ".bt" : "", tri_dtype_name(p->output_type),
             p->accumulate ? ".add" : "", p->bias ? ".bias" : "");
    snprintf(detail, sizeof detail, "%lld in a step, %.3g s there, %.3g s alone (%s)",
             (long long)shape->products, inside_s, alone_s, shape->way);
    tri_bench_line line = {
        .name = name, .value = shape->flops / inside_s * 1e-9, .unit = "GF/s", .detail = detail};
    return tri_bench_report(b->args, &line);
}

static double share_of(const step_bench *b)
{
    double *ratio = b->part[PART_PEAK]; /* its median is taken: free to serve */
    for (int64_t i = 0; i < b->options.rounds; i++)
        ratio[i] = (b->limit[i] + b->limit[i + 1]) / 2 / b->part[PART_STEP][i];
    return tri_bench_median((int)b->options.rounds, ratio);
}

static tri_status report(step_bench *b)
{
    int rounds = (int)b->options.rounds;
    double median[PARTS];
    median[PART_PEAK] = tri_bench_median(rounds, b->part[PART_PEAK]);
    double share = share_of(b);
    for (int p = 0; p < PARTS; p++) {
        bool is_limit = p == PART_PRODUCTS || p == PART_HEADS || p == PART_ATTENTION;
        if (p != PART_PEAK) median[p] = tri_bench_median(rounds + is_limit, b->part[p]);
    }
    double limit_s = tri_bench_median(rounds + 1, b->limit);
    double step_s = median[PART_STEP];
    double tokens = (double)b->tokens;
    double flops = tri_model_flops_per_token(b->job->model, b->spec.model.context) * tokens;
    tri_bench_line lines[] = {
        {"step.time",   step_s,                             "s",        limit_s,          share,
         "limit: the step's own products alone, shape by shape, on its own operands", 0},
        {"step.tokens", tokens / step_s,                    "tokens/s", tokens / limit_s, share,
         "limit: as for step.time",                                                   0},
        {"step.mfu",    flops / step_s / median[PART_PEAK], "of peak",  0,                0,
         "operations of the model over those of square products in the same time",    0},
    };
    tri_status result = TRI_OK; /* all lines are printed before the command fails */
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        tri_status rc = tri_bench_report(b->args, &lines[i]);
        if (rc != TRI_OK) result = rc;
    }
    TRI_TRY(report_parts(b, median));
    for (int s = 0; b->options.shapes && s < tri_bench_products_shapes(b->products); s++)
        TRI_TRY(report_shape(b, s));
    return result;
}

static tri_status bench_run(step_bench *b)
{
    TRI_TRY(bench_open(b));
    TRI_TRY(bench_record(b));
    TRI_TRY(measure(b));
    return TRI_OK;
}

tri_status tri_bench_step(const tri_bench_args *args)
{
    step_bench bench = {
        .args = args,
        .fd = -1,
        .options = {TRI_BENCH_JOB_124M, .sequence = 512, .batch = 4, .accumulation = 1, .zero = 1,
                    .rounds = 7}
    };
    /* a failure up to here ends the process where there are other ranks: closing is collective */
    tri_status rc = bench_run(&bench);
    bool is_together = rc == TRI_OK;
    if (is_together)
        rc = tri_agree(args->session->world, is_root(&bench) ? report(&bench) : TRI_OK);
    if (is_together || tri_comm_size(args->session->world) == 1) bench_close(&bench);
    TRI_TRY(rc);
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* Jobs of several widths, each a job of its own like any other; what they compute is read from the buffers
 * of a forward pass over the first batch, before the first step and after each.
 */
#include "launch/coordinate.h"

#include "launch/train.h"
#include "parallel/model_probe.h"
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"
#include "runtime/base/rng.h"

#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { COORDINATE_SEQUENCES = 8, COORDINATE_LENGTH = 128, COORDINATE_TOKENS = 1 << 18 };

static const char *const place_names[] = {"embedding",  "first block", "middle block",
                                          "last block", "scores",      "logits"};

/* One width under way. */
typedef struct coordinate_run {
    tri_job *job;
    tri_micro_batch batch;
    int32_t *tokens, *targets;
    int64_t *sample;
    int64_t count[TRI_COORDINATE_PLACES];
    float *initial[TRI_COORDINATE_PLACES], *now; /* of the place that has most elements */
} coordinate_run;

static void run_fini(coordinate_run *run)
{
    tri_job_close(&run->job);
    TRI_FREE(run->tokens);
    TRI_FREE(run->targets);
    TRI_FREE(run->sample);
    TRI_FREE(run->now);
    for (int p = 0; p < TRI_COORDINATE_PLACES; p++)
        TRI_FREE(run->initial[p]);
}

/* --- the jobs */

/* Where the data of the job cannot be read: tokens in which each follows from the one before, nine times
 * out of ten. *fd -1: they can. */
static tri_status replace_data(tri_spec *spec, int *fd)
{
    tri_tokens_args args = {.path = spec->data.train,
                            .format = spec->data.format,
                            .tokenizer = spec->data.tokenizer,
                            .dataset = spec->data.dataset};
    TRI_AUTO(tri_tokens) *tokens = NULL;
    *fd = -1;
    tri_status rc = tri_tokens_open(&args, &tokens);
    if (rc != TRI_EIO) return rc;
    tri_err_clear();
    if (spec->model.vocab == 0) spec->model.vocab = 256;
    uint64_t ids = (uint64_t)tri_min64(spec->model.vocab, 1 << 16);
    uint16_t *made = NULL;
    TRI_TRY(TRI_NEW_ARRAY(COORDINATE_TOKENS, &made));
    tri_rng rng = {.seed = spec->seed, .purpose = TRI_RNG_SAMPLE};
    for (uint64_t i = 1; i < COORDINATE_TOKENS; i++) {
        uint64_t word = tri_rng_word(rng, i);
        uint64_t next = word % 10 == 0 ? word / 10 : 5 * (uint64_t)made[i - 1] + 7;
        made[i] = (uint16_t)(next % ids);
    }
    int file = memfd_create("trireme-coordinate-tokens", MFD_CLOEXEC);
    ssize_t bytes = COORDINATE_TOKENS * (ssize_t)sizeof *made;
    bool is_written = file >= 0 && write(file, made, (size_t)bytes) == bytes;
    TRI_FREE(made);
    *fd = file;
    TRI_CHECK(is_written, TRI_EIO, "making %d tokens in memory", (int)COORDINATE_TOKENS);
    snprintf(spec->data.train, sizeof spec->data.train, "/proc/self/fd/%d", file);
    snprintf(spec->data.format, sizeof spec->data.format, "uint16");
    return TRI_OK;
}

/* The job of one width: model, data and optimizer of the spec, all else plain. */
static tri_status make_spec(const tri_spec *spec, int64_t width, int64_t steps, tri_spec *out)
{
    static const char base[] =
        "name: coordinate\nmodel: {family: gpt2, layers: 1, hidden: 1, heads: 1, context: 1}\n"
        "data: {train: none}\nbatch: {sequences: 1, micro: 1}\noptimizer: {lr: 1}\n"
        "schedule: {warmup: 0, decay: constant}\ntrain: {steps: 1}\n"
        "checkpoint: {async: false}\n";
    tri_spec made;
    TRI_TRY(tri_spec_parse(base, strlen(base), "the coordinate check", &made));
    made.seed = spec->seed;
    made.model = spec->model;
    made.data = spec->data;
    made.data.holdout = 0;
    made.data.validation[0] = '\0';
    made.data.separator = -1;
    made.optimizer = spec->optimizer;
    made.model.hidden = width;
    if (spec->model.ffn > 0)
        made.model.ffn = tri_max64(1, spec->model.ffn * width / spec->model.hidden);
    made.model.dropout = 0;
    made.model.context = tri_min64(spec->model.context, COORDINATE_LENGTH);
    made.batch.sequences = tri_min64(spec->batch.sequences, COORDINATE_SEQUENCES);
    made.batch.micro = made.batch.sequences;
    made.train.steps = steps;
    made.train.threads = spec->train.threads;
    TRI_TRY(tri_spec_check(&made, 1));
    *out = made;
    return TRI_OK;
}

/* --- activations */

static int64_t layer_of(const tri_model_config *config, tri_coordinate_place place)
{
    if (place == TRI_COORDINATE_EMBEDDING) return 0;
    if (place == TRI_COORDINATE_FIRST) return 1;
    return place == TRI_COORDINATE_MIDDLE ? (config->layers + 1) / 2 : config->layers;
}

/* A model has few blocks: the middle one may be the first or the last. */
static bool is_shown(const tri_model_config *config, tri_coordinate_place place)
{
    int64_t layer = layer_of(config, place);
    if (place == TRI_COORDINATE_MIDDLE) return layer > 1 && layer < config->layers;
    return place != TRI_COORDINATE_FIRST || config->layers > 1;
}

static tri_status read_place(const coordinate_run *run, tri_coordinate_place place, float *out)
{
    const tri_model_config *config = &run->job->spec.model;
    tri_model *model = run->job->model;
    if (place == TRI_COORDINATE_LOGITS)
        return tri_model_probe_logits(model, run->batch.length, out);
    if (place == TRI_COORDINATE_SCORES)
        tri_model_probe_scores(model, config->layers - 1, run->batch.length, out);
    else
        memcpy(out, tri_model_probe_stream(model, layer_of(config, place)),
               (size_t)run->count[place] * sizeof *out);
    return TRI_OK;
}

/* The first batch of the job, which is trained on as well. */
static tri_status keep_batch(coordinate_run *run)
{
    tri_loader_batch first;
    TRI_TRY(tri_loader_next(run->job->loader, &first));
    int64_t n = first.sequences * first.length;
    TRI_TRY(TRI_NEW_ARRAY(n, &run->tokens));
    TRI_TRY(TRI_NEW_ARRAY(n, &run->targets));
    TRI_TRY(TRI_NEW_ARRAY(first.sequences, &run->sample));
    memcpy(run->tokens, first.tokens, (size_t)n * sizeof *run->tokens);
    memcpy(run->targets, first.targets, (size_t)n * sizeof *run->targets);
    memcpy(run->sample, first.sample, (size_t)first.sequences * sizeof *run->sample);
    run->batch = (tri_micro_batch){.sequences = first.sequences,
                                   .length = first.length,
                                   .tokens = run->tokens,
                                   .targets = run->targets,
                                   .sample = run->sample};
    return tri_loader_seek(run->job->loader, 0);
}

static tri_status make_room(coordinate_run *run)
{
    const tri_model_config *config = &run->job->spec.model;
    int64_t length = run->batch.length;
    int64_t most = 0;
    for (int p = 0; p < TRI_COORDINATE_PLACES; p++) {
        run->count[p] = run->batch.sequences * length * config->hidden;
        if (p == TRI_COORDINATE_SCORES) run->count[p] = length * length;
        if (p == TRI_COORDINATE_LOGITS) run->count[p] = length * config->vocab;
        most = tri_max64(most, run->count[p]);
        TRI_TRY(TRI_NEW_ARRAY(run->count[p], &run->initial[p]));
    }
    return TRI_NEW_ARRAY(most, &run->now);
}

/* Forward of the first batch, and what has become of its activations at column `w` after `step` steps. */
static tri_status measure(coordinate_run *run, int w, int64_t step, tri_coordinate *out)
{
    double loss = 0;
    int64_t counted = 0;
    tri_model_pass pass = {.batch = run->batch, .loss = &loss, .counted = &counted};
    TRI_TRY(tri_model_forward(run->job->model, &pass));
    for (int p = 0; p < TRI_COORDINATE_PLACES; p++) {
        double size = 0;
        double change = 0;
        TRI_TRY(read_place(run, (tri_coordinate_place)p, run->now));
        if (step == 0) memcpy(run->initial[p], run->now, (size_t)run->count[p] * sizeof(float));
        for (int64_t i = 0; i < run->count[p]; i++) {
            size += fabs((double)run->now[i]);
            change += fabs((double)run->now[i] - (double)run->initial[p][i]);
        }
        /* half of the scores are of tokens that are not seen: 0 */
        int64_t length = run->batch.length;
        int64_t n = p == TRI_COORDINATE_SCORES ? length * (length + 1) / 2 : run->count[p];
        out->size[p][w][step] = size / (double)n;
        out->change[p][w][step] = change / (double)n;
    }
    return TRI_OK;
}

static tri_status run_width(const tri_spec *spec, tri_comm *world, int w, coordinate_run *run,
                            tri_coordinate *out)
{
    tri_spec made;
    TRI_TRY(make_spec(spec, out->width[w], out->steps, &made));
    TRI_TRY(tri_job_open(&made, TRI_JOB_TRAIN, world, &run->job));
    TRI_TRY(tri_job_initialise(run->job));
    TRI_TRY(keep_batch(run));
    TRI_TRY(make_room(run));
    TRI_TRY(measure(run, w, 0, out));
    for (int64_t step = 1; step <= out->steps; step++) {
        tri_step_result result;
        TRI_TRY(tri_train_step(run->job, 0, &result));
        TRI_TRY(measure(run, w, step, out));
    }
    return TRI_OK;
}

static tri_status check_widths(const tri_coordinate *c)
{
    TRI_CHECK(c->n_widths >= 2 && c->n_widths <= TRI_COORDINATE_WIDTHS, TRI_EINVAL,
              "a coordinate check over %d widths: 2 to %d are needed", c->n_widths,
              (int)TRI_COORDINATE_WIDTHS);
    TRI_CHECK(c->steps >= 1 && c->steps <= TRI_COORDINATE_STEPS, TRI_EINVAL,
              "a coordinate check of %lld steps: 1 to %d are legal", (long long)c->steps,
              (int)TRI_COORDINATE_STEPS);
    for (int w = 1; w < c->n_widths; w++)
        TRI_CHECK(c->width[w] > c->width[w - 1], TRI_EINVAL,
                  "width %lld behind %lld: widths must rise", (long long)c->width[w],
                  (long long)c->width[w - 1]);
    return TRI_OK;
}

tri_status tri_coordinate_measure(const tri_spec *spec, tri_comm *world, tri_coordinate *out)
{
    TRI_TRY(check_widths(out));
    TRI_CHECK(tri_comm_size(world) == 1, TRI_EINVAL,
              "the coordinate check runs on one rank, not %d: start it without mpirun",
              tri_comm_size(world));
    int fd = -1;
    tri_spec with_data = *spec;
    tri_status rc = replace_data(&with_data, &fd);
    out->is_generated = fd >= 0;
    for (int w = 0; rc == TRI_OK && w < out->n_widths; w++) {
        coordinate_run run = {.job = NULL};
        rc = run_width(&with_data, world, w, &run, out);
        run_fini(&run);
    }
    if (fd >= 0) close(fd);
    TRI_TRY(rc);
    return TRI_OK;
}

/* --- the verdict */

static double slope_of(const tri_coordinate *c, const double *values)
{
    double mean_x = 0;
    double mean_y = 0;
    double xy = 0;
    double xx = 0;
    for (int w = 0; w < c->n_widths; w++) {
        mean_x += log((double)c->width[w]) / c->n_widths;
        mean_y += log(values[w]) / c->n_widths;
    }
    for (int w = 0; w < c->n_widths; w++) {
        double x = log((double)c->width[w]) - mean_x;
        xy += x * (log(values[w]) - mean_y);
        xx += x * x;
    }
    return xy / xx;
}

double tri_coordinate_slope(const tri_coordinate *c, tri_coordinate_place place)
{
    double values[TRI_COORDINATE_WIDTHS];
    for (int w = 0; w < c->n_widths; w++)
        values[w] = c->change[place][w][c->steps];
    return slope_of(c, values);
}

bool tri_coordinate_is_flat(const tri_coordinate *c)
{
    for (int p = 0; p < TRI_COORDINATE_PLACES; p++) {
        double slope = tri_coordinate_slope(c, (tri_coordinate_place)p);
        double least = p >= TRI_COORDINATE_SCORES ? TRI_COORDINATE_FALL : TRI_COORDINATE_FLAT;
        if (!(slope <= TRI_COORDINATE_FLAT && slope >= -least)) return false;
    }
    return true;
}

static void print_table(const tri_coordinate *c, const tri_model_config *config,
                        const double table[][TRI_COORDINATE_WIDTHS][TRI_COORDINATE_STEPS + 1],
                        int64_t first, FILE *stream)
{
    fprintf(stream, "  %-14s %8s", "", "width");
    for (int64_t step = first; step <= c->steps; step++)
        fprintf(stream, " %9lld", (long long)step);
    fputc('\n', stream);
    for (int p = 0; p < TRI_COORDINATE_PLACES; p++)
        for (int w = 0; w < c->n_widths && is_shown(config, (tri_coordinate_place)p); w++) {
            fprintf(stream, "  %-14s %8lld", w == 0 ? place_names[p] : "", (long long)c->width[w]);
            for (int64_t step = first; step <= c->steps; step++)
                fprintf(stream, " %9.3g", table[p][w][step]);
            fputc('\n', stream);
        }
}

void tri_coordinate_print(const tri_coordinate *c, const tri_spec *spec, FILE *stream)
{
    const tri_model_config *config = &spec->model;
    fprintf(stream, "coordinate check: parameterization %s", config->parameterization);
    if (tri_model_has_base(config))
        fprintf(stream, " from hidden %lld", (long long)config->base_hidden);
    fprintf(stream, ", %s, lr %g, %lld steps of constant rate%s\n", spec->optimizer.name,
            spec->optimizer.lr, (long long)c->steps,
            c->is_generated ? "; data.train cannot be read: made-up tokens" : "");
    fprintf(stream, "mean |activation| of the first batch after each step\n");
    print_table(c, config, c->size, 0, stream);
    fprintf(stream, "mean |change| of it since step 0\n");
    print_table(c, config, c->change, 1, stream);
    fprintf(stream, "slope of log(change after step %lld) over log(width)\n", (long long)c->steps);
    for (int p = 0; p < TRI_COORDINATE_PLACES; p++)
        if (is_shown(config, (tri_coordinate_place)p))
            fprintf(stream, "  %-14s %8.2f\n", place_names[p],
                    tri_coordinate_slope(c, (tri_coordinate_place)p));
    fprintf(stream, "%s: within %.1f of 0 is due, of scores and logits -%.1f to %.1f\n",
            tri_coordinate_is_flat(c) ? "flat" : "not flat", TRI_COORDINATE_FLAT,
            TRI_COORDINATE_FALL, TRI_COORDINATE_FLAT);
}

// SPDX-License-Identifier: Apache-2.0
/* `trireme generate`: sample text from a checkpoint, token by token, with a key/value cache. When
 * the context is full, the newer half of it is read again and generation goes on.
 */
#include "launch/generate.h"

#include "checkpoint/ckpt.h"
#include "launch/checkpoint.h"
#include "launch/commands.h"
#include "launch/job.h"
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"

#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int descending(const void *a, const void *b)
{
    float x = *(const float *)a;
    float y = *(const float *)b;
    return (x < y) - (x > y);
}

static int32_t most_likely(int64_t vocab, const float *logits)
{
    int64_t best = 0;
    for (int64_t i = 1; i < vocab; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

int32_t tri_sample_token(const tri_sampling *sampling, uint64_t index, int64_t vocab, float *logits,
                         float *scratch)
{
    int32_t best = most_likely(vocab, logits);
    if (sampling->temperature <= 0) return best;
    float least = -INFINITY;
    if (sampling->top_k > 0 && sampling->top_k < vocab) {
        memcpy(scratch, logits, (size_t)vocab * sizeof *scratch);
        qsort(scratch, (size_t)vocab, sizeof *scratch, descending);
        least = scratch[sampling->top_k - 1];
    }
    double total = 0;
    float maximum = logits[best];
    for (int64_t i = 0; i < vocab; i++) {
        double p = exp((logits[i] - maximum) / sampling->temperature);
        logits[i] = logits[i] < least ? 0.0f : (float)p;
        total += logits[i];
    }
    tri_rng rng = {.seed = sampling->seed, .purpose = TRI_RNG_SAMPLE};
    double left = total * tri_rng_uniform(rng, index);
    for (int64_t i = 0; i < vocab; i++) {
        left -= logits[i];
        if (left < 0 && logits[i] > 0) return (int32_t)i;
    }
    return best;
}

typedef struct generate_options {
    const char *path;
    const char *prompt;
    int64_t tokens;
    int threads;
    tri_sampling sampling;
} generate_options;

static const struct option long_options[] = {
    {"prompt",      required_argument, NULL, 'p'},
    {"tokens",      required_argument, NULL, 'n'},
    {"temperature", required_argument, NULL, 't'},
    {"top-k",       required_argument, NULL, 'k'},
    {"seed",        required_argument, NULL, 's'},
    {"threads",     required_argument, NULL, 'j'},
    {NULL,          0,                 NULL, 0  }
};

static tri_status parse_options(const tri_cmd_args *args, generate_options *out)
{
    *out = (generate_options){.prompt = "\n", .tokens = 256, .sampling = {.temperature = 0.8}};
    int64_t threads = 0;
    int64_t seed = 1;
    optind = 1;
    for (int c; (c = getopt_long(args->argc, args->argv, ":", long_options, NULL)) != -1;) {
        switch (c) {
        case 'p':
            out->prompt = optarg;
            break;
        case 'n':
            TRI_TRY(tri_option_int("--tokens", optarg, 1, 1 << 30, &out->tokens));
            break;
        case 't':
            TRI_TRY(tri_option_double("--temperature", optarg, 0, 100, &out->sampling.temperature));
            break;
        case 'k':
            TRI_TRY(tri_option_int("--top-k", optarg, 0, 1 << 30, &out->sampling.top_k));
            break;
        case 's':
            TRI_TRY(tri_option_int("--seed", optarg, 0, INT64_MAX, &seed));
            break;
        case 'j':
            TRI_TRY(tri_option_int("--threads", optarg, 1, 1024, &threads));
            break;
        default:
            TRI_TRY(tri_option_fail(args));
        }
    }
    TRI_CHECK(optind == args->argc - 1, TRI_EINVAL,
              "generate takes one checkpoint: trireme generate CHECKPOINT [options]");
    TRI_CHECK(out->prompt[0], TRI_EINVAL, "--prompt is empty; give at least one byte");
    out->path = args->argv[optind];
    out->threads = (int)threads;
    out->sampling.seed = (uint64_t)seed;
    return TRI_OK;
}

/* The text so far: all tokens, of which the cache holds the last n_cached. */
typedef struct generate_text {
    int32_t *tokens;
    int64_t count;
    int64_t n_cached;
    float *logits, *scratch;
} generate_text;

static void text_destroy(generate_text *text)
{
    TRI_FREE(text->tokens);
    TRI_FREE(text->logits);
    TRI_FREE(text->scratch);
}

/* Feed what the model has not seen; begin anew with the newer half when the context is full. */
static tri_status feed(tri_job *job, generate_text *text, int64_t n_new)
{
    int64_t context = job->spec.model.context;
    bool reset = text->n_cached == 0;
    if (text->n_cached + n_new > context) {
        n_new = tri_min64(text->count, context / 2 > 0 ? context / 2 : 1);
        text->n_cached = 0;
        reset = true;
    }
    TRI_TRY(tri_model_decode(job->model, reset, text->tokens + text->count - n_new, n_new,
                             text->logits));
    text->n_cached += n_new;
    return TRI_OK;
}

static tri_status generate(tri_job *job, const generate_options *options, generate_text *text)
{
    int64_t vocab = job->spec.model.vocab;
    int64_t n_prompt = (int64_t)strlen(options->prompt);
    TRI_TRY(TRI_NEW_ARRAY(n_prompt + options->tokens, &text->tokens));
    TRI_TRY(TRI_NEW_ARRAY(vocab, &text->logits));
    TRI_TRY(TRI_NEW_ARRAY(vocab, &text->scratch));
    for (int64_t i = 0; i < n_prompt; i++)
        text->tokens[text->count++] = (unsigned char)options->prompt[i];
    fputs(options->prompt, stdout);
    TRI_TRY(feed(job, text, n_prompt));
    for (int64_t i = 0; i < options->tokens; i++) {
        int32_t token =
            tri_sample_token(&options->sampling, (uint64_t)i, vocab, text->logits, text->scratch);
        text->tokens[text->count++] = token;
        putchar(token);
        fflush(stdout);
        if (i + 1 < options->tokens) TRI_TRY(feed(job, text, 1));
    }
    putchar('\n');
    TRI_CHECK(!ferror(stdout), TRI_EIO, "writing the text to standard output");
    return TRI_OK;
}

/* The job of the checkpoint, for one rank that only reads. */
static tri_status generate_spec(const generate_options *options, const tri_ckpt_info *info,
                                tri_spec *spec)
{
    TRI_TRY(tri_spec_parse(info->job_yaml, strlen(info->job_yaml), info->path, spec));
    tri_spec_reset_layout(spec);
    TRI_TRY(tri_spec_check(spec, 1));
    TRI_CHECK(strcmp(spec->data.format, "text") == 0, TRI_EUNSUP,
              "%s was trained on tokens of format '%s', for which this version has no tokenizer: "
              "generate works with data.format text",
              options->path, spec->data.format);
    return TRI_OK;
}

static tri_status generate_from(const tri_cmd_args *args, const generate_options *options,
                                const tri_ckpt_info *info)
{
    tri_spec spec;
    TRI_TRY(generate_spec(options, info, &spec));
    TRI_TRY(tri_session_open(args->session, options->threads));
    TRI_CHECK(tri_comm_size(args->session->world) == 1, TRI_EINVAL,
              "generate runs on one rank, not %d: start it without mpirun",
              tri_comm_size(args->session->world));

    tri_job *job = NULL;
    generate_text text = {0};
    tri_status rc = tri_job_open(&spec, TRI_JOB_GENERATE, args->session->world, &job);
    if (rc == TRI_OK) rc = tri_job_load(job, info->path);
    if (rc == TRI_OK) rc = generate(job, options, &text);
    text_destroy(&text);
    tri_job_close(&job);
    TRI_TRY(rc);
    return TRI_OK;
}

tri_status tri_cmd_generate(const tri_cmd_args *args)
{
    generate_options options;
    TRI_TRY(parse_options(args, &options));
    tri_ckpt_info info = {0};
    char one[TRI_CKPT_PATH_BYTES];
    TRI_TRY(tri_checkpoint_one(options.path, one));
    TRI_TRY(tri_ckpt_read_info(one, &info));
    tri_status rc = generate_from(args, &options, &info);
    tri_ckpt_info_fini(&info);
    TRI_TRY(rc);
    return TRI_OK;
}

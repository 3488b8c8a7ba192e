// SPDX-License-Identifier: Apache-2.0
/* `trireme eval`: the held-out loss of a checkpoint, on any number of ranks. */
#include "checkpoint/ckpt.h"
#include "launch/checkpoint.h"
#include "launch/commands.h"
#include "launch/job.h"
#include "runtime/base/alloc.h"

#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct eval_options {
    const char *path;
    const char *data; /* NULL: the held-out part of the job's own data */
    int64_t batches;  /* 0: as the job says */
    int threads;
    bool is_json;
} eval_options;

static const struct option long_options[] = {
    {"batches", required_argument, NULL, 'b'},
    {"data",    required_argument, NULL, 'd'},
    {"json",    no_argument,       NULL, 'o'},
    {"threads", required_argument, NULL, 'j'},
    {NULL,      0,                 NULL, 0  }
};

static tri_status parse_options(const tri_cmd_args *args, eval_options *out)
{
    *out = (eval_options){0};
    int64_t threads = 0;
    optind = 1;
    for (int c; (c = getopt_long(args->argc, args->argv, ":", long_options, NULL)) != -1;) {
        switch (c) {
        case 'b':
            TRI_TRY(tri_option_int("--batches", optarg, 1, 1 << 30, &out->batches));
            break;
        case 'd':
            out->data = optarg;
            break;
        case 'o':
            out->is_json = true;
            break;
        case 'j':
            TRI_TRY(tri_option_int("--threads", optarg, 1, 1024, &threads));
            break;
        default:
            TRI_TRY(tri_option_fail(args));
        }
    }
    TRI_CHECK(optind == args->argc - 1, TRI_EINVAL,
              "eval takes one checkpoint: trireme eval CHECKPOINT [options]");
    out->path = args->argv[optind];
    out->threads = (int)threads;
    return TRI_OK;
}

/* A checkpoint and its job, as rank 0 tells them to the others. */
typedef struct eval_source {
    char path[TRI_CKPT_PATH_BYTES];
    tri_spec spec;
} eval_source;

static tri_status read_source(const char *path, eval_source *out)
{
    tri_ckpt_info info = {0};
    char one[TRI_CKPT_PATH_BYTES];
    TRI_TRY(tri_checkpoint_one(path, one));
    TRI_TRY(tri_ckpt_read_info(one, &info));
    snprintf(out->path, sizeof out->path, "%s", info.path);
    tri_status parsed = tri_spec_parse(info.job_yaml, strlen(info.job_yaml), path, &out->spec);
    tri_ckpt_info_fini(&info);
    TRI_TRY(parsed);
    return TRI_OK;
}

/* The source for the ranks that are here, on the data asked for. */
static tri_status open_source(const eval_options *options, tri_comm *world, eval_source *out)
{
    tri_status read = tri_comm_rank(world) == 0 ? read_source(options->path, out) : TRI_OK;
    TRI_TRY(tri_agree(world, read));
    TRI_TRY(tri_broadcast(world, tri_span_make(out, sizeof *out, TRI_U8), 0, NULL));
    tri_spec *spec = &out->spec;
    tri_job_lay_out(spec, tri_comm_size(world));
    if (options->data) {
        int n = snprintf(spec->data.validation, sizeof spec->data.validation, "%s", options->data);
        TRI_CHECK(n < (int)sizeof spec->data.validation, TRI_EINVAL,
                  "--data: the path is too long");
    }
    TRI_TRY(tri_agree(world, tri_spec_check(spec, tri_comm_size(world))));
    return TRI_OK;
}

tri_status tri_cmd_eval(const tri_cmd_args *args)
{
    eval_options options;
    TRI_TRY(parse_options(args, &options));
    TRI_TRY(tri_session_open(args->session, options.threads));
    tri_comm *world = args->session->world;
    eval_source source = {0};
    TRI_TRY(open_source(&options, world, &source));

    tri_job *job = NULL;
    TRI_TRY(tri_job_open(&source.spec, TRI_JOB_EVALUATE, world, &job));
    TRI_TRY(tri_job_load(job, source.path));
    double loss = 0;
    int64_t tokens = 0;
    int64_t batches = options.batches ? options.batches : source.spec.train.eval_batches;
    TRI_TRY(tri_job_evaluate(job, batches, &loss, &tokens));
    if (tri_comm_rank(world) == 0 && options.is_json)
        printf("{\"loss\": %.17g, \"tokens\": %lld}\n", loss, (long long)tokens);
    else if (tri_comm_rank(world) == 0)
        printf("held-out loss %.4f nats per token, perplexity %.3f, %lld tokens\n", loss, exp(loss),
               (long long)tokens);
    tri_job_close(&job);
    return TRI_OK;
}

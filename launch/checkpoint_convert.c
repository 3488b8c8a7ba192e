// SPDX-License-Identifier: Apache-2.0
/* `trireme checkpoint convert`: a checkpoint for another layout, by links, or as one plain file. */
#include "checkpoint/convert.h"

#include "checkpoint/consolidate.h"
#include "checkpoint/verify.h"
#include "launch/checkpoint.h"
#include "launch/checkpoint_text.h"
#include "launch/run_dir.h"
#include "parallel/context.h"
#include "runtime/agree.h"
#include "runtime/base/alloc.h"
#include "runtime/base/clock.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CONVERT_TEXT_BYTES = 96 };

typedef struct convert_options {
    const char *source;
    const char *destination;
    const char *layout; /* a job spec or key=value; NULL: not given */
    int64_t ranks;      /* 0: those of the layout */
    bool consolidates;
    bool verifies;
    int n_overrides; /* behind the paths */
    const char *const *overrides;
} convert_options;

static tri_status parse_options(const tri_cmd_args *args, convert_options *out)
{
    static const struct option options[] = {
        {"layout",      required_argument, NULL, 'l'},
        {"ranks",       required_argument, NULL, 'r'},
        {"consolidate", no_argument,       NULL, 'c'},
        {"verify",      no_argument,       NULL, 'v'},
        {NULL,          0,                 NULL, 0  }
    };
    *out = (convert_options){0};
    optind = 1;
    for (int c; (c = getopt_long(args->argc, args->argv, ":", options, NULL)) != -1;) {
        switch (c) {
        case 'l':
            TRI_CHECK(!out->layout, TRI_EINVAL,
                      "checkpoint convert: --layout is given twice; more keys stand behind the "
                      "paths: SRC DEST --layout key=value key=value");
            out->layout = optarg;
            break;
        case 'r':
            TRI_TRY(tri_option_int("--ranks", optarg, 1, 1 << 24, &out->ranks));
            break;
        case 'c':
            out->consolidates = true;
            break;
        case 'v':
            out->verifies = true;
            break;
        default:
            TRI_TRY(tri_option_fail(args));
        }
    }
    TRI_CHECK(args->argc - optind >= 2 && (out->layout != NULL) != out->consolidates, TRI_EINVAL,
              "checkpoint convert takes a checkpoint and where to: SRC DEST --layout "
              "JOB.yaml|key=value ... --ranks N, or SRC FILE.h5 --consolidate");
    out->source = args->argv[optind];
    out->destination = args->argv[optind + 1];
    out->n_overrides = args->argc - optind - 2;
    out->overrides = (const char *const *)(args->argv + optind + 2);
    TRI_CHECK(out->layout || (!out->n_overrides && !out->ranks), TRI_EINVAL,
              "checkpoint convert --consolidate takes no layout: one file has none");
    return TRI_OK;
}

/* A layout is how the ranks share the model and the batch; other keys are the job's. */
static tri_status check_key(const char *text)
{
    TRI_CHECK(strncmp(text, "parallel.", 9) == 0 || strncmp(text, "batch.micro=", 12) == 0,
              TRI_EINVAL,
              "checkpoint convert: '%.80s' is no key of a layout: those are parallel.* and "
              "batch.micro; other keys are given to the job that goes on",
              text);
    return TRI_OK;
}

/* spec, which is the source's, with the layout asked for, resolved for the ranks. */
static tri_status lay_out(const convert_options *options, tri_spec *spec, int *n_ranks)
{
    bool is_key = strchr(options->layout, '=') != NULL;
    spec->parallel.data = 0; /* what the other axes leave, unless the layout says */
    if (spec->parallel.context_mode == TRI_CONTEXT_ULYSSES) spec->parallel.ulysses = 1;
    if (is_key) {
        TRI_TRY(check_key(options->layout));
        TRI_TRY(tri_spec_override(spec, 1, &options->layout));
    } else {
        tri_spec other;
        TRI_TRY(tri_spec_read(options->layout, 0, NULL, &other));
        spec->parallel = other.parallel;
        spec->batch.micro = other.batch.micro;
    }
    for (int i = 0; i < options->n_overrides; i++)
        TRI_TRY(check_key(options->overrides[i]));
    TRI_TRY(tri_spec_override(spec, options->n_overrides, options->overrides));
    int64_t ranks = options->ranks;
    TRI_CHECK(ranks || spec->parallel.data, TRI_EINVAL,
              "checkpoint convert: the layout leaves parallel.data to the number of ranks: say it "
              "(--ranks N), or give parallel.data");
    if (!ranks)
        ranks = (int64_t)spec->parallel.data * spec->parallel.tensor * spec->parallel.pipeline *
                spec->parallel.context;
    *n_ranks = (int)ranks;
    return tri_spec_check(spec, *n_ranks);
}

static void fill_mesh(const tri_spec *spec, int mesh[TRI_AXES])
{
    mesh[TRI_AXIS_PIPELINE] = spec->parallel.pipeline;
    mesh[TRI_AXIS_DATA] = spec->parallel.data;
    mesh[TRI_AXIS_CONTEXT] = spec->parallel.context;
    mesh[TRI_AXIS_TENSOR] = spec->parallel.tensor;
}

/* The folder of checkpoints to convert into. A run's is locked: a job that saves there would take what is
 * half made for a leftover. */
static tri_status open_destination(const char *destination, char dir[TRI_CKPT_PATH_BYTES],
                                   tri_run_dir *run)
{
    run->lock = -1;
    if (access(destination, F_OK) == -1 && errno == ENOENT) {
        int n = snprintf(dir, TRI_CKPT_PATH_BYTES, "%s", destination);
        TRI_CHECK(n < TRI_CKPT_PATH_BYTES, TRI_EINVAL, "the path %.80s... is too long",
                  destination);
        return TRI_OK;
    }
    TRI_CHECK(!tri_checkpoint_is_one(destination), TRI_EINVAL,
              "checkpoint convert: %s is a checkpoint: give the folder of checkpoints (or of a "
              "run) in which the new one is made",
              destination);
    TRI_TRY(tri_checkpoint_dir(destination, dir));
    if (strcmp(dir, destination) != 0) TRI_TRY(tri_run_dir_lock(destination, run));
    return TRI_OK;
}

static tri_status convert_into(const char *source, const char *dir, const tri_spec *spec,
                               int n_ranks)
{
    double begin = tri_clock_s();
    tri_convert_args convert = {.source = source, .dir = dir, .version = TRI_VERSION};
    fill_mesh(spec, convert.mesh);
    char *job = NULL;
    char path[TRI_CKPT_PATH_BYTES];
    int64_t n_linked = 0;
    TRI_TRY(tri_spec_dump(spec, &job));
    convert.job_yaml = job;
    tri_status rc = tri_convert_layout(&convert, path, &n_linked);
    TRI_FREE(job);
    TRI_TRY(rc);
    int64_t axis[TRI_AXES];
    for (int a = 0; a < TRI_AXES; a++)
        axis[a] = convert.mesh[a];
    char mesh[CONVERT_TEXT_BYTES];
    tri_checkpoint_mesh(axis, mesh, sizeof mesh);
    printf("%s: for %d rank%s (%s); %lld files linked, none copied, in %.0f ms\n", path, n_ranks,
           n_ranks == 1 ? "" : "s", mesh, (long long)n_linked, 1e3 * (tri_clock_s() - begin));
    return TRI_OK;
}

/* Rank 0. */
static tri_status convert_layout(const convert_options *options, const char *source)
{
    tri_ckpt_info info = {0};
    tri_spec spec;
    int n_ranks = 0;
    TRI_TRY(tri_ckpt_read_info(source, &info));
    tri_status rc = tri_spec_parse(info.job_yaml, strlen(info.job_yaml), source, &spec);
    tri_ckpt_info_fini(&info);
    TRI_TRY(rc);
    TRI_TRY(lay_out(options, &spec, &n_ranks));
    char dir[TRI_CKPT_PATH_BYTES];
    tri_run_dir run;
    TRI_TRY(open_destination(options->destination, dir, &run));
    rc = convert_into(source, dir, &spec, n_ranks);
    tri_run_dir_close(&run);
    return rc;
}

/* Rank 0. */
static tri_status consolidate(const convert_options *options, const char *source)
{
    double begin = tri_clock_s();
    int64_t n_bytes = 0;
    TRI_TRY(tri_consolidate(source, options->destination, &n_bytes));
    double seconds = tri_clock_s() - begin;
    char bytes[CONVERT_TEXT_BYTES];
    char rate[CONVERT_TEXT_BYTES];
    tri_checkpoint_bytes(n_bytes, bytes, sizeof bytes);
    tri_checkpoint_bytes((int64_t)((double)n_bytes / seconds), rate, sizeof rate);
    printf("%s: %s in %.2f s (%s/s)\n", options->destination, bytes, seconds, rate);
    return TRI_OK;
}

/* Read all bytes of the source first; its damage is a failure here. */
static tri_status verify_source(tri_comm *world, const char *source)
{
    tri_verify_report report;
    char text[TRI_VERIFY_TEXT_BYTES] = "";
    TRI_TRY(tri_verify(source, world, &report));
    if (report.n_listed) tri_verify_text(&report.finding[0], text);
    TRI_CHECK(report.n_findings == 0, TRI_EFORMAT,
              "%s is damaged in %lld places: %s; `trireme checkpoint verify` lists them", source,
              (long long)report.n_findings, text);
    return TRI_OK;
}

tri_status tri_checkpoint_convert(const tri_cmd_args *args)
{
    convert_options options;
    TRI_TRY(parse_options(args, &options));
    tri_comm *world = args->session->world;
    bool is_root = tri_comm_rank(world) == 0;
    char source[TRI_CKPT_PATH_BYTES] = "";
    TRI_TRY(tri_agree(world, is_root ? tri_checkpoint_one(options.source, source) : TRI_OK));
    TRI_TRY(tri_broadcast(world, tri_span_make(source, sizeof source, TRI_U8), 0, NULL));
    if (options.verifies) TRI_TRY(verify_source(world, source));
    tri_status rc = TRI_OK;
    if (is_root)
        rc =
            options.consolidates ? consolidate(&options, source) : convert_layout(&options, source);
    TRI_TRY(tri_agree(world, rc));
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* `trireme checkpoint import`: a folder of Hugging Face's as a checkpoint of weights, which a job begins
 * with (checkpoint.init_from), and which eval and generate read as any other.
 */
#include "checkpoint/safetensors.h"
#include "launch/checkpoint.h"
#include "launch/checkpoint_text.h"
#include "launch/hf.h"
#include "parallel/model.h"
#include "runtime/agree.h"
#include "runtime/base/alloc.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum { IMPORT_MAX_IGNORED = 64 };

typedef struct import_options {
    const char *source, *dir;
    const char *spec;                            /* NULL: made from config.json */
    const char *ignored[IMPORT_MAX_IGNORED + 1]; /* ends in NULL */
    const char *const *overrides;
    int n_overrides;
} import_options;

static tri_status parse_options(const tri_cmd_args *args, import_options *out)
{
    static const struct option options[] = {
        {"spec",   required_argument, NULL, 's'},
        {"ignore", required_argument, NULL, 'i'},
        {NULL,     0,                 NULL, 0  }
    };
    *out = (import_options){.source = NULL};
    int n_ignored = 0;
    optind = 1;
    for (int c; (c = getopt_long(args->argc, args->argv, ":", options, NULL)) != -1;) {
        switch (c) {
        case 's':
            out->spec = optarg;
            break;
        case 'i':
            TRI_CHECK(n_ignored < IMPORT_MAX_IGNORED, TRI_EINVAL, "more than %d times --ignore",
                      IMPORT_MAX_IGNORED);
            out->ignored[n_ignored++] = optarg;
            break;
        default:
            TRI_TRY(tri_option_fail(args));
        }
    }
    TRI_CHECK(
        optind <= args->argc - 2, TRI_EINVAL,
        "checkpoint import takes a folder with config.json and safetensors, and a new folder: "
        "trireme checkpoint import DIR DEST [options] [key=value ...]");
    out->source = args->argv[optind];
    out->dir = args->argv[optind + 1];
    out->overrides = (const char *const *)(args->argv + optind + 2);
    out->n_overrides = args->argc - optind - 2;
    return TRI_OK;
}

/* The job of the checkpoint, for one rank: what reads it has its own layout. */
static tri_status make_job(const import_options *options, const tri_hf_config *config,
                           tri_spec *spec)
{
    if (options->spec)
        TRI_TRY(tri_spec_read(options->spec, options->n_overrides, options->overrides, spec));
    else
        TRI_TRY(tri_hf_make_spec(config, options->n_overrides, options->overrides, spec));
    tri_spec_reset_layout(spec);
    TRI_TRY(tri_spec_check(spec, 1));
    TRI_TRY(tri_hf_compare(config, spec, options->spec ? options->spec : "command line"));
    return TRI_OK;
}

/* The model's parameters on paper. */
typedef struct import_paper {
    tri_mesh *mesh;
    tri_state *state;
    tri_model *model;
} import_paper;

static void import_paper_destroy(import_paper *paper)
{
    tri_model_destroy(&paper->model);
    tri_state_destroy(&paper->state);
    tri_mesh_close(&paper->mesh);
}

static tri_status make_paper(const tri_spec *spec, import_paper *paper)
{
    tri_mesh_args mesh = {.n_ranks = 1};
    for (int a = 0; a < TRI_AXES; a++)
        mesh.size[a] = 1;
    TRI_TRY(tri_mesh_create(&mesh, &paper->mesh));
    TRI_TRY(tri_state_create(paper->mesh, &paper->state));
    tri_model_args args = {
        .config = &spec->model, .mesh = paper->mesh, .compute = TRI_F32, .micro_batch = 1};
    TRI_TRY(tri_model_create(&args, &paper->model));
    TRI_TRY(tri_model_export(paper->model, paper->state));
    return TRI_OK;
}

static tri_status import_as(const import_options *options, const tri_hf_config *config,
                            const tri_spec *spec, const char *yaml)
{
    TRI_AUTO(import_paper) paper = {.mesh = NULL};
    TRI_TRY(make_paper(spec, &paper));
    tri_safetensors_import_args args = {.source = options->source,
                                        .dir = options->dir,
                                        .state = paper.state,
                                        .job_yaml = yaml,
                                        .version = TRI_VERSION,
                                        .prefix = config->family->prefix,
                                        .buffers = config->family->buffers,
                                        .ignored = options->ignored};
    if (config->model.tied) {
        args.copy = config->family->head;
        args.copy_of = config->family->embedding;
    }
    tri_ckpt_info info = {.step = 0};
    tri_safetensors_totals totals;
    TRI_TRY(tri_safetensors_import(&args, &info, &totals));
    char size[32];
    tri_checkpoint_bytes(totals.n_bytes, size, sizeof size);
    printf("%s: %lld tensors, %s from %lld file%s, as fp32 parameters\n", info.path,
           (long long)totals.n_tensors, size, (long long)totals.n_files,
           totals.n_files == 1 ? "" : "s");
    tri_ckpt_info_fini(&info);
    return TRI_OK;
}

static tri_status import(const import_options *options)
{
    tri_hf_config config;
    tri_spec spec;
    char *yaml = NULL;
    TRI_TRY(tri_hf_read(options->source, options->ignored, &config));
    TRI_TRY(make_job(options, &config, &spec));
    TRI_TRY(tri_spec_dump(&spec, &yaml));
    tri_status rc = import_as(options, &config, &spec, yaml);
    TRI_FREE(yaml);
    TRI_TRY(rc);
    return TRI_OK;
}

tri_status tri_checkpoint_import(const tri_cmd_args *args)
{
    import_options options;
    tri_comm *world = args->session->world;
    TRI_TRY(parse_options(args, &options));
    TRI_TRY(tri_agree(world, tri_comm_rank(world) == 0 ? import(&options) : TRI_OK));
    return TRI_OK;
}

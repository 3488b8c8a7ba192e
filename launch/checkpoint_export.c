// SPDX-License-Identifier: Apache-2.0
/* `trireme checkpoint export`: a checkpoint's weights as a folder that Hugging Face's libraries load. */
#include "checkpoint/safetensors.h"
#include "launch/checkpoint.h"
#include "launch/checkpoint_text.h"
#include "launch/hf.h"
#include "runtime/agree.h"
#include "runtime/base/alloc.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct export_options {
    const char *path, *dir;
    tri_dtype dtype;
    int64_t shard_bytes;
} export_options;

/* "5GB", "200 MiB", "1000000": a number and the unit of bytes. */
static tri_status parse_size(const char *name, const char *text, int64_t *out)
{
    static const struct {
        const char *name;
        double bytes;
    } units[] = {
        {"",    1           },
        {"B",   1           },
        {"KB",  1e3         },
        {"MB",  1e6         },
        {"GB",  1e9         },
        {"TB",  1e12        },
        {"KiB", 1024.0      },
        {"MiB", 1048576.0   },
        {"GiB", 1073741824.0},
    };
    char *end = NULL;
    double value = strtod(text, &end);
    double bytes = -1;
    while (*end == ' ')
        end++;
    for (size_t i = 0; end != text && i < sizeof units / sizeof *units; i++)
        if (strcmp(units[i].name, end) == 0) bytes = value * units[i].bytes;
    TRI_CHECK(bytes >= 1 && bytes < 1e18, TRI_EINVAL,
              "%s: '%.40s' is no size: a number with KB, MB, GB, TB, KiB, MiB, GiB or none", name,
              text);
    *out = (int64_t)bytes;
    return TRI_OK;
}

static tri_status parse_options(const tri_cmd_args *args, export_options *out)
{
    static const struct option options[] = {
        {"dtype",       required_argument, NULL, 'd'},
        {"shard-bytes", required_argument, NULL, 's'},
        {NULL,          0,                 NULL, 0  }
    };
    *out = (export_options){.dtype = TRI_F32, .shard_bytes = INT64_C(5000000000)};
    optind = 1;
    for (int c; (c = getopt_long(args->argc, args->argv, ":", options, NULL)) != -1;) {
        switch (c) {
        case 'd':
            TRI_TRY(tri_dtype_find(optarg, &out->dtype));
            break;
        case 's':
            TRI_TRY(parse_size("--shard-bytes", optarg, &out->shard_bytes));
            break;
        default:
            TRI_TRY(tri_option_fail(args));
        }
    }
    TRI_CHECK(optind == args->argc - 2, TRI_EINVAL,
              "checkpoint export takes a checkpoint and a new folder: trireme checkpoint export "
              "CKPT DIR [options]");
    out->path = args->argv[optind];
    out->dir = args->argv[optind + 1];
    return TRI_OK;
}

/* The job that made the checkpoint. */
static tri_status read_spec(const char *path, tri_spec *spec)
{
    tri_ckpt_info info = {.step = 0};
    TRI_TRY(tri_ckpt_read_info(path, &info));
    tri_status rc = tri_spec_parse(info.job_yaml, strlen(info.job_yaml), path, spec);
    tri_ckpt_info_fini(&info);
    TRI_TRY(rc);
    tri_spec_reset_layout(spec);
    TRI_TRY(tri_spec_check(spec, 1));
    return TRI_OK;
}

/* Hugging Face's models have no multipliers: weights take them over. */
static double folded(const void *config, const char *row_name)
{
    return tri_model_folded(config, row_name);
}

static tri_status export(const export_options *options)
{
    char path[TRI_CKPT_PATH_BYTES];
    char size[32];
    char *config = NULL;
    tri_spec spec;
    tri_safetensors_totals totals;
    TRI_TRY(tri_checkpoint_one(options->path, path));
    TRI_TRY(read_spec(path, &spec));
    TRI_TRY(tri_hf_write(&spec, options->dtype, &config));
    tri_safetensors_export_args args = {.path = path,
                                        .dir = options->dir,
                                        .dtype = options->dtype,
                                        .shard_bytes = options->shard_bytes,
                                        .config = config,
                                        .factor = folded,
                                        .factor_arg = &spec.model};
    tri_status rc = tri_safetensors_export(&args, &totals);
    TRI_FREE(config);
    TRI_TRY(rc);
    tri_checkpoint_bytes(totals.n_bytes, size, sizeof size);
    printf("%s: %lld tensors, %s of %s in %lld file%s; optimizer states, counters and data cursor "
           "stay behind\n",
           options->dir, (long long)totals.n_tensors, size, tri_dtype_name(options->dtype),
           (long long)totals.n_files, totals.n_files == 1 ? "" : "s");
    return TRI_OK;
}

tri_status tri_checkpoint_export(const tri_cmd_args *args)
{
    export_options options;
    tri_comm *world = args->session->world;
    TRI_TRY(parse_options(args, &options));
    TRI_TRY(tri_agree(world, tri_comm_rank(world) == 0 ? export(&options) : TRI_OK));
    return TRI_OK;
}

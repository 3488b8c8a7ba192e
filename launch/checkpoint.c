// SPDX-License-Identifier: Apache-2.0
/* The command `checkpoint`, its list of tools, and which checkpoints a path means. */
#include "launch/checkpoint.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CHECKPOINT_NAMES_BYTES = 256 };

static const char list_more[] = "    --json          an object a line\n";
static const char show_more[] =
    "    ROW             map of its writers (of parameters, param/ may be left out)\n"
    "    --rows          each row on a line of its own, and all files\n"
    "    --stats         least, greatest, mean, root of the mean square (reads the values)\n"
    "    --json          one object, with all boxes\n";
static const char verify_more[] =
    "    --json          an object for each checkpoint, a line each\n";
static const char diff_more[] = "    --tolerance X   equal is what differs by up to X, above 1 by "
                                "X of its size (0: bit for bit)\n"
                                "    --json          one object\n";
static const char convert_more[] =
    "    --layout L      parallel.* and batch.micro of a job spec, or such keys as key=value:\n"
    "                    further ones stand behind DIR\n"
    "    --ranks N       that the layout is for (those that it says)\n"
    "    --consolidate   write one plain HDF5 file, in which every row is a whole dataset\n"
    "    --verify        read and compare all bytes of the source first\n";

#define TOOL(name, usage, doc)                                \
    {                                                         \
#name, usage, doc, name##_more, tri_checkpoint_##name \
    }

static const char export_more[] =
    "    --dtype fp32|bf16|fp16   of the tensors (fp32: exact)\n"
    "    --shard-bytes SIZE       begin another file beyond it (5GB)\n";
static const char import_more[] =
    "    --spec JOB.yaml          the job it is for; else made from config.json and key=value\n"
    "    --ignore NAME            a key of config.json, or a tensor, that does not matter\n";

const tri_checkpoint_tool *tri_checkpoint_tools(void)
{
    static const tri_checkpoint_tool list[] = {
        TOOL(list, "DIR|CKPT [--json]", "the checkpoints of a folder or a run, newest first"),
        TOOL(show, "CKPT [ROW] [--rows] [--stats] [--json]", "what a checkpoint is and holds"),
        TOOL(verify, "CKPT|DIR [--json]", "read every byte and name all damage"),
        TOOL(diff, "A B [--tolerance X] [--json]", "rows and keys of the job that differ"),
        TOOL(convert, "CKPT DIR --layout L [key=value ...] | CKPT FILE.h5 --consolidate",
             "for another layout, by links and without copying; or into one file"),
        TOOL(export, "CKPT DIR [options]",
             "the weights as safetensors, as Hugging Face names them"),
        TOOL(import, "DIR DEST [options] [key=value ...]",
             "a checkpoint of Hugging Face's weights"),
        {NULL, NULL, NULL, NULL, NULL},
    };
    return list;
}

static const tri_checkpoint_tool *find(const char *name)
{
    for (const tri_checkpoint_tool *row = tri_checkpoint_tools(); row->name; row++)
        if (strcmp(row->name, name) == 0) return row;
    return NULL;
}

static void list_names(char out[CHECKPOINT_NAMES_BYTES])
{
    out[0] = '\0';
    for (const tri_checkpoint_tool *row = tri_checkpoint_tools(); row->name; row++) {
        size_t n = strlen(out);
        snprintf(out + n, CHECKPOINT_NAMES_BYTES - n, "%s%s", n ? ", " : "", row->name);
    }
}

tri_status tri_cmd_checkpoint(const tri_cmd_args *args)
{
    char names[CHECKPOINT_NAMES_BYTES];
    list_names(names);
    TRI_CHECK(args->argc > 1, TRI_EINVAL, "checkpoint takes the name of a tool: %s", names);
    const tri_checkpoint_tool *tool = find(args->argv[1]);
    TRI_CHECK(tool, TRI_EINVAL, "checkpoint: '%.40s' is not one of %s", args->argv[1], names);
    TRI_TRY(tri_session_open(args->session, 1));
    args->argv[1] = args->argv[0];
    tri_cmd_args rest = {.argc = args->argc - 1, .argv = args->argv + 1, .session = args->session};
    TRI_TRY(tool->run(&rest));
    return TRI_OK;
}

bool tri_checkpoint_is_one(const char *path)
{
    char manifest[TRI_CKPT_PATH_BYTES];
    int n = snprintf(manifest, sizeof manifest, "%s/%s", path, TRI_MANIFEST_NAME);
    return n < (int)sizeof manifest && access(manifest, F_OK) == 0;
}

tri_status tri_checkpoint_dir(const char *path, char out[TRI_CKPT_PATH_BYTES])
{
    char text[TRI_CKPT_PATH_BYTES];
    TRI_TRY(TRI_SYS(access(path, F_OK), "looking for checkpoints in %s", path));
    int n = snprintf(text, sizeof text, "%s/job.yaml", path);
    TRI_CHECK(n < (int)sizeof text, TRI_EINVAL, "the path %.80s... is too long", path);
    if (access(text, F_OK) == 0) {
        tri_spec spec;
        TRI_TRY(tri_spec_read(text, 0, NULL, &spec));
        bool own = spec.checkpoint.dir[0] == '\0';
        snprintf(out, TRI_CKPT_PATH_BYTES, "%s%s", own ? path : spec.checkpoint.dir,
                 own ? "/ckpt" : "");
    } else {
        snprintf(out, TRI_CKPT_PATH_BYTES, "%s", path);
    }
    return TRI_OK;
}

tri_status tri_checkpoint_one(const char *path, char out[TRI_CKPT_PATH_BYTES])
{
    if (tri_checkpoint_is_one(path)) {
        int n = snprintf(out, TRI_CKPT_PATH_BYTES, "%s", path);
        TRI_CHECK(n < TRI_CKPT_PATH_BYTES, TRI_EINVAL, "the path %.80s... is too long", path);
        return TRI_OK;
    }
    char dir[TRI_CKPT_PATH_BYTES];
    TRI_TRY(tri_checkpoint_dir(path, dir));
    tri_ckpt_info info = {0};
    TRI_TRY(tri_ckpt_read_info(dir, &info));
    memcpy(out, info.path, sizeof info.path);
    tri_ckpt_info_fini(&info);
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* The command `checkpoint`, its list of tools, and which checkpoints a path means. */
#include "launch/checkpoint.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CHECKPOINT_NAMES_BYTES = 256 };

const tri_checkpoint_tool *tri_checkpoint_tools(void)
{
    static const tri_checkpoint_tool list[] = {
        {"list",   "DIR [--json]",      "the checkpoints of a folder or a run, newest first",
         "    --json   an object a line\n",                                                         tri_checkpoint_list  },
        {"verify", "CKPT|DIR [--json]", "read every byte and name all damage",
         "    --json   an object for each checkpoint, a line each\n",                               tri_checkpoint_verify},
        {NULL,     NULL,                NULL,                                                 NULL, NULL                 },
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
    TRI_AUTO(tri_manifest) *m = NULL;
    TRI_TRY(tri_folder_find(dir, -1, out, &m));
    TRI_CHECK(m, TRI_EIO,
              "there is no checkpoint at %s: neither %s in it, nor a folder step-NUMBER.UUID with "
              "one that is intact",
              path, TRI_MANIFEST_NAME);
    return TRI_OK;
}

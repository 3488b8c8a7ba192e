// SPDX-License-Identifier: Apache-2.0
/* `trireme checkpoint list`: what is in a folder of checkpoints, without reading a tensor. */
#include "checkpoint/disk.h"
#include "launch/checkpoint.h"
#include "launch/checkpoint_text.h"
#include "runtime/agree.h"
#include "runtime/json.h"

#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { LIST_TEXT_BYTES = 96, LIST_UUID_CHARS = 8 };

/* What the list says of one checkpoint. */
typedef struct list_line {
    const tri_folder_entry *entry;
    tri_manifest_head head; /* of sound ones; else what the header of the manifest says */
    int64_t bytes;          /* of all files but the manifest */
    bool is_sound;          /* as far as can be seen without reading the tensors */
    bool is_next;           /* a resume takes it */
    tri_err error;
    time_t when;
} list_line;

static tri_status look(const char *dir, const tri_folder_entry *entry, list_line *line)
{
    char path[TRI_CKPT_PATH_BYTES];
    char manifest[TRI_CKPT_PATH_BYTES];
    *line = (list_line){.entry = entry};
    if (entry->state == TRI_FOLDER_DAMAGED) line->error = entry->error;
    TRI_TRY(tri_disk_path(path, dir, entry->name, ""));
    TRI_TRY(tri_disk_path(manifest, path, TRI_MANIFEST_NAME, ""));
    struct stat about;
    if (stat(entry->state == TRI_FOLDER_LEFTOVER ? path : manifest, &about) == 0)
        line->when = about.st_mtime;
    if (entry->state != TRI_FOLDER_COMMITTED) return TRI_OK;
    line->head.step = entry->header.step;
    line->head.sequence = entry->header.sequence;
    TRI_AUTO(tri_manifest) *m = NULL;
    line->is_sound = tri_folder_read(path, &m) == TRI_OK;
    if (!line->is_sound) {
        tri_err_take(&line->error);
        return TRI_OK;
    }
    line->head = m->head;
    for (int64_t i = 0; i < m->head.n_files; i++)
        line->bytes += m->files[i].bytes;
    return TRI_OK;
}

static const char *state_of(const list_line *line)
{
    if (line->entry->state == TRI_FOLDER_LEFTOVER) return "leftover";
    return line->is_sound ? "ok" : "damaged";
}

static void print_text(const list_line *line)
{
    char step[LIST_TEXT_BYTES] = "-", sequence[LIST_TEXT_BYTES] = "-";
    char bytes[LIST_TEXT_BYTES] = "-", mesh[LIST_TEXT_BYTES] = "-", when[LIST_TEXT_BYTES];
    const char *dot = strchr(line->entry->name, '.');
    if (line->entry->state == TRI_FOLDER_COMMITTED) {
        snprintf(step, sizeof step, "%lld", (long long)line->head.step);
        snprintf(sequence, sizeof sequence, "%lld", (long long)line->head.sequence);
    }
    if (line->is_sound) {
        tri_checkpoint_bytes(line->bytes, bytes, sizeof bytes);
        tri_checkpoint_mesh(line->head.axis, mesh, sizeof mesh);
    }
    tri_checkpoint_time(line->when, when, sizeof when);
    printf("%8s %4s  %-*.*s  %s %9s  %-24s %-10s ", step, sequence, LIST_UUID_CHARS,
           LIST_UUID_CHARS, dot ? dot + 1 : "", when, bytes, mesh, line->head.version);
    if (line->is_next)
        printf("ok, a resume takes it\n");
    else if (line->error.text[0])
        printf("damaged: %s\n", line->error.text);
    else if (line->is_sound)
        printf("ok\n");
    else
        printf("leftover of a save that did not end\n");
}

static void print_json(const char *dir, const list_line *line)
{
    printf("{\"name\": \"%s\", \"dir\": ", line->entry->name);
    tri_json_quote(stdout, dir);
    printf(", \"state\": \"%s\", \"time\": %lld", state_of(line), (long long)line->when);
    if (line->entry->state == TRI_FOLDER_COMMITTED)
        printf(", \"step\": %lld, \"sequence\": %lld", (long long)line->head.step,
               (long long)line->head.sequence);
    if (line->is_sound) {
        printf(", \"uuid\": \"%s\", \"parent\": \"%s\", \"bytes\": %lld", line->head.uuid,
               line->head.parent, (long long)line->bytes);
        printf(", \"mesh\": {");
        for (int a = 0; a < TRI_AXES; a++)
            printf("%s\"%s\": %lld", a ? ", " : "", tri_axis_name((tri_axis)a),
                   (long long)line->head.axis[a]);
        printf("}, \"version\": ");
        tri_json_quote(stdout, line->head.version);
        printf(", \"resumes\": %s", line->is_next ? "true" : "false");
    }
    if (line->error.text[0]) {
        printf(", \"why\": ");
        tri_json_quote(stdout, line->error.text);
    }
    printf("}\n");
}

/* The folder to list, and of one checkpoint its name, which alone is printed. */
static tri_status find_dir(const char *path, char dir[TRI_CKPT_PATH_BYTES],
                           char name[TRI_FOLDER_NAME_BYTES])
{
    name[0] = '\0';
    if (!tri_checkpoint_is_one(path)) {
        TRI_TRY(tri_checkpoint_dir(path, dir));
        return TRI_OK;
    }
    char whole[PATH_MAX];
    TRI_TRY(TRI_SYS(realpath(path, whole) ? 0 : -1, "resolving %s", path));
    char *slash = strrchr(whole, '/');
    snprintf(name, TRI_FOLDER_NAME_BYTES, "%s", slash + 1);
    *slash = '\0';
    int n = snprintf(dir, TRI_CKPT_PATH_BYTES, "%s", whole[0] ? whole : "/");
    TRI_CHECK(n < TRI_CKPT_PATH_BYTES, TRI_EINVAL, "the path %.80s... is too long", whole);
    return TRI_OK;
}

static tri_status print_list(const char *path, bool is_json)
{
    char dir[TRI_CKPT_PATH_BYTES];
    char name[TRI_FOLDER_NAME_BYTES];
    TRI_TRY(find_dir(path, dir, name));
    TRI_AUTO(tri_folder) folder = {0};
    TRI_TRY(tri_folder_list(dir, &folder));
    if (!is_json)
        printf("%s: %lld checkpoint%s\n", dir, (long long)folder.n, folder.n == 1 ? "" : "s");
    if (!is_json && folder.n)
        printf("%8s %4s  %-8s  %-16s %9s  %-24s %-10s %s\n", "step", "seq", "uuid", "when", "bytes",
               "mesh", "version", "state");
    bool found = false;
    for (int64_t i = 0; i < folder.n; i++) {
        list_line line;
        TRI_TRY(look(dir, &folder.entries[i], &line));
        line.is_next = line.is_sound && !found;
        found = found || line.is_next;
        if (name[0] && strcmp(name, line.entry->name) != 0) continue;
        if (is_json)
            print_json(dir, &line);
        else
            print_text(&line);
    }
    return TRI_OK;
}

tri_status tri_checkpoint_list(const tri_cmd_args *args)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'},
        {NULL,   0,           NULL, 0  }
    };
    bool is_json = false;
    optind = 1;
    for (int c; (c = getopt_long(args->argc, args->argv, ":", options, NULL)) != -1;) {
        if (c != 'j') return tri_option_fail(args);
        is_json = true;
    }
    TRI_CHECK(optind == args->argc - 1, TRI_EINVAL,
              "checkpoint list takes one folder: trireme checkpoint list DIR [--json]");
    tri_comm *world = args->session->world;
    bool is_root = tri_comm_rank(world) == 0;
    TRI_TRY(tri_agree(world, is_root ? print_list(args->argv[optind], is_json) : TRI_OK));
    return TRI_OK;
}

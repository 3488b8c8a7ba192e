// SPDX-License-Identifier: Apache-2.0
/* `trireme checkpoint verify`: every byte of one checkpoint, or of all in a folder. */
#include "checkpoint/verify.h"

#include "checkpoint/disk.h"
#include "launch/checkpoint.h"
#include "launch/checkpoint_text.h"
#include "runtime/agree.h"
#include "runtime/base/alloc.h"
#include "runtime/base/clock.h"
#include "runtime/json.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum { VERIFY_SIZE_BYTES = 32 };

/* The checkpoints to look at, as rank 0 tells them to the others. */
typedef struct verify_paths {
    char (*path)[TRI_CKPT_PATH_BYTES];
    int64_t n;
    int64_t n_leftovers;
} verify_paths;

static void verify_paths_destroy(verify_paths *paths)
{
    TRI_FREE(paths->path);
}

/* Rank 0. */
static tri_status find_paths(const char *path, verify_paths *out)
{
    if (tri_checkpoint_is_one(path)) {
        TRI_TRY(TRI_NEW_ARRAY(1, &out->path));
        out->n = 1;
        TRI_TRY(tri_checkpoint_one(path, out->path[0]));
        return TRI_OK;
    }
    char dir[TRI_CKPT_PATH_BYTES];
    TRI_AUTO(tri_folder) folder = {0};
    TRI_TRY(tri_checkpoint_dir(path, dir));
    TRI_TRY(tri_folder_list(dir, &folder));
    TRI_TRY(TRI_NEW_ARRAY(folder.n, &out->path));
    for (int64_t i = 0; i < folder.n; i++) {
        if (folder.entries[i].state == TRI_FOLDER_LEFTOVER)
            out->n_leftovers++;
        else
            TRI_TRY(tri_disk_path(out->path[out->n++], dir, folder.entries[i].name, ""));
    }
    TRI_CHECK(out->n > 0, TRI_EIO,
              "there is no checkpoint at %s: neither %s in it, nor a folder step-NUMBER.UUID with "
              "one",
              path, TRI_MANIFEST_NAME);
    return TRI_OK;
}

static tri_status share_paths(tri_comm *world, verify_paths *paths)
{
    TRI_TRY(tri_broadcast(world, tri_span_make(&paths->n, 1, TRI_I64), 0, NULL));
    if (tri_comm_rank(world) != 0) TRI_TRY(TRI_NEW_ARRAY(paths->n, &paths->path));
    tri_span all = tri_span_make(paths->path, paths->n * TRI_CKPT_PATH_BYTES, TRI_U8);
    TRI_TRY(tri_broadcast(world, all, 0, NULL));
    return TRI_OK;
}

static void print_text(const char *path, const tri_verify_report *report, double seconds)
{
    char bytes[VERIFY_SIZE_BYTES];
    char rate[VERIFY_SIZE_BYTES];
    tri_checkpoint_bytes(report->n_bytes, bytes, sizeof bytes);
    tri_checkpoint_bytes((int64_t)((double)report->n_bytes / seconds), rate, sizeof rate);
    if (report->n_findings == 0) {
        printf("%s is sound: %lld files, %lld rows, %lld boxes; %s in %.2f s (%s/s)\n", path,
               (long long)report->n_files, (long long)report->n_rows, (long long)report->n_boxes,
               bytes, seconds, rate);
        return;
    }
    printf("%s is damaged in %lld place%s:\n", path, (long long)report->n_findings,
           report->n_findings == 1 ? "" : "s");
    for (int64_t i = 0; i < report->n_listed; i++) {
        char text[TRI_VERIFY_TEXT_BYTES];
        tri_verify_text(&report->finding[i], text);
        printf("  %s\n", text);
    }
    if (report->n_findings > report->n_listed)
        printf("  and %lld more\n", (long long)(report->n_findings - report->n_listed));
}

static void print_finding(const tri_verify_finding *finding)
{
    printf("{\"kind\": \"%s\", \"file\": ", tri_verify_kind_name(finding->kind));
    tri_json_quote(stdout, finding->file);
    if (finding->kind == TRI_VERIFY_ROW) {
        printf(", \"row\": ");
        tri_json_quote(stdout, finding->row);
        printf(", \"start\": ");
        tri_checkpoint_json_numbers(stdout, finding->box.n_dims, finding->box.start);
        printf(", \"count\": ");
        tri_checkpoint_json_numbers(stdout, finding->box.n_dims, finding->box.count);
        printf(", \"element\": %lld, \"elements\": %lld, \"begin\": %lld, \"end\": %lld",
               (long long)finding->element, (long long)finding->n_elements,
               (long long)finding->begin, (long long)finding->end);
    }
    printf(", \"why\": ");
    tri_json_quote(stdout, finding->why);
    printf("}");
}

static void print_json(const char *path, const tri_verify_report *report, double seconds)
{
    printf("{\"path\": ");
    tri_json_quote(stdout, path);
    printf(", \"sound\": %s, \"files\": %lld, \"rows\": %lld, \"boxes\": %lld, \"bytes\": %lld, "
           "\"seconds\": %.6f, \"findings\": %lld, \"damage\": [",
           report->n_findings ? "false" : "true", (long long)report->n_files,
           (long long)report->n_rows, (long long)report->n_boxes, (long long)report->n_bytes,
           seconds, (long long)report->n_findings);
    for (int64_t i = 0; i < report->n_listed; i++) {
        if (i) printf(", ");
        print_finding(&report->finding[i]);
    }
    printf("]}\n");
}

static tri_status verify_one(const tri_cmd_args *args, const char *path, bool is_json)
{
    tri_comm *world = args->session->world;
    tri_verify_report report;
    double begin = tri_clock_s();
    TRI_TRY(tri_verify(path, world, &report));
    double seconds = tri_clock_s() - begin;
    if (report.n_findings) args->session->verdict = 1;
    if (tri_comm_rank(world) != 0) return TRI_OK;
    if (is_json)
        print_json(path, &report, seconds);
    else
        print_text(path, &report, seconds);
    return TRI_OK;
}

tri_status tri_checkpoint_verify(const tri_cmd_args *args)
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
              "checkpoint verify takes one checkpoint or folder: trireme checkpoint verify "
              "CKPT|DIR [--json]");
    tri_comm *world = args->session->world;
    bool is_root = tri_comm_rank(world) == 0;
    TRI_AUTO(verify_paths) paths = {0};
    TRI_TRY(tri_agree(world, is_root ? find_paths(args->argv[optind], &paths) : TRI_OK));
    TRI_TRY(share_paths(world, &paths));
    for (int64_t i = 0; i < paths.n; i++)
        TRI_TRY(verify_one(args, paths.path[i], is_json));
    if (is_root && !is_json && paths.n_leftovers)
        printf("%lld leftover%s of saves that did not end\n", (long long)paths.n_leftovers,
               paths.n_leftovers == 1 ? "" : "s");
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
/* `trireme checkpoint show`: what a checkpoint is and holds; of one row, who wrote which part. */
#include "checkpoint/disk.h"
#include "checkpoint/stats.h"
#include "checkpoint/text.h"
#include "launch/checkpoint.h"
#include "launch/checkpoint_map.h"
#include "launch/checkpoint_rows.h"
#include "launch/checkpoint_text.h"
#include "runtime/agree.h"
#include "runtime/base/alloc.h"
#include "runtime/json.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { SHOW_TEXT_BYTES = 96, SHOW_FILES = 8, SHOW_ROLES = TRI_ROLE_POLICY + 1 };

typedef struct show_options {
    const char *path;
    const char *row; /* NULL: all */
    bool is_json, has_rows, has_stats;
} show_options;

/* One checkpoint and what was read of it. */
typedef struct show_job {
    const show_options *options;
    char path[TRI_CKPT_PATH_BYTES];
    tri_manifest *m;
    int64_t row;      /* -1: all */
    tri_stats *stats; /* one for each row, of those that are shown; NULL: none */
    char *buffer;
} show_job;

static void show_job_destroy(show_job *job)
{
    tri_manifest_destroy(&job->m);
    TRI_FREE(job->stats);
    TRI_FREE(job->buffer);
}

static tri_status parse_options(const tri_cmd_args *args, show_options *out)
{
    static const struct option options[] = {
        {"json",  no_argument, NULL, 'j'},
        {"rows",  no_argument, NULL, 'r'},
        {"stats", no_argument, NULL, 's'},
        {NULL,    0,           NULL, 0  }
    };
    *out = (show_options){0};
    optind = 1;
    for (int c; (c = getopt_long(args->argc, args->argv, ":", options, NULL)) != -1;) {
        if (c == 'j')
            out->is_json = true;
        else if (c == 'r')
            out->has_rows = true;
        else if (c == 's')
            out->has_stats = true;
        else
            return tri_option_fail(args);
    }
    int n = args->argc - optind;
    TRI_CHECK(n == 1 || n == 2, TRI_EINVAL,
              "checkpoint show takes a checkpoint and, for its map, a row: trireme checkpoint show "
              "CKPT [ROW] [--rows] [--stats] [--json]");
    out->path = args->argv[optind];
    if (n == 2) out->row = args->argv[optind + 1];
    return TRI_OK;
}

/* The row asked for; param/ may be left out. */
static tri_status find_row(const tri_manifest *m, const char *name, const char *path, int64_t *out)
{
    char param[TRI_NAME_BYTES];
    snprintf(param, sizeof param, "param/%s", name);
    int64_t found = tri_manifest_find(m, name);
    if (found < 0) found = tri_manifest_find(m, param);
    TRI_CHECK(found >= 0, TRI_EINVAL,
              "checkpoint %s has no row '%s'; `trireme checkpoint show %s --rows` lists them", path,
              name, path);
    *out = found;
    return TRI_OK;
}

static tri_status read_stats(show_job *job)
{
    TRI_AUTO(tri_row_reader) *reader = NULL;
    TRI_TRY(tri_row_reader_create(job->m, job->path, &reader));
    TRI_TRY(TRI_NEW_ARRAY(TRI_MANIFEST_BLOCK_BYTES, &job->buffer));
    TRI_TRY(TRI_NEW_ARRAY(job->m->head.n_rows, &job->stats));
    for (int64_t i = 0; i < job->m->head.n_rows; i++)
        if (job->row < 0 || i == job->row)
            TRI_TRY(tri_stats_read(reader, i, (tri_dtype)job->m->rows[i].dtype, job->buffer,
                                   &job->stats[i]));
    return TRI_OK;
}

static int64_t bytes_of(const tri_manifest_row *row)
{
    int64_t n = (int64_t)tri_dtype_bytes((tri_dtype)row->dtype);
    for (int d = 0; d < row->n_dims; d++)
        n *= row->shape[d];
    return n;
}

static void print_job(const show_job *job)
{
    const tri_manifest *m = job->m;
    tri_spec spec;
    tri_status rc = tri_spec_parse(m->job, (size_t)m->head.job_bytes, job->path, &spec);
    if (rc != TRI_OK)
        printf("  job        its spec is not one of this version: %s\n", tri_err_last()->text);
    else
        printf("  job        '%s': %s, %lld layers, hidden %lld, %lld heads, context %lld, "
               "vocabulary %lld; %s\n",
               spec.name, spec.model.family, (long long)spec.model.layers,
               (long long)spec.model.hidden, (long long)spec.model.heads,
               (long long)spec.model.context, (long long)spec.model.vocab, spec.optimizer.name);
    tri_err_clear();
}

static void print_content(const tri_manifest *m)
{
    static const char *const roles[SHOW_ROLES] = {"parameters", "optimizer", "data", "job",
                                                  "policies"};
    char bytes[SHOW_TEXT_BYTES];
    for (int role = 0; role < SHOW_ROLES; role++) {
        int64_t n = 0;
        int64_t n_bytes = 0;
        for (int64_t i = 0; i < m->head.n_rows; i++) {
            if (m->rows[i].role != role) continue;
            n++;
            n_bytes += bytes_of(&m->rows[i]);
        }
        tri_checkpoint_bytes(n_bytes, bytes, sizeof bytes);
        if (n)
            printf("  %-10s %lld row%s, %s\n", roles[role], (long long)n, n == 1 ? "" : "s", bytes);
    }
}

static void print_files(const show_job *job)
{
    const tri_manifest *m = job->m;
    int64_t shown = job->options->has_rows ? m->head.n_files : SHOW_FILES;
    for (int64_t i = 0; i < m->head.n_files && i < shown; i++) {
        const tri_manifest_file *file = &m->files[i];
        char bytes[SHOW_TEXT_BYTES];
        char rank[SHOW_TEXT_BYTES] = "all rows, for other tools";
        tri_checkpoint_bytes(file->bytes, bytes, sizeof bytes);
        if (file->rank >= 0) snprintf(rank, sizeof rank, "rank %lld", (long long)file->rank);
        bool linked = strcmp(file->uuid, m->head.uuid) != 0;
        printf("  %-10s %-20s %9s  %s%s%s\n", i ? "" : "files", file->name, bytes, rank,
               linked ? ", of checkpoint " : "", linked ? file->uuid : "");
    }
    if (m->head.n_files > shown)
        printf("  %-10s and %lld more (--rows)\n", "", (long long)(m->head.n_files - shown));
}

static tri_status print_facts(const show_job *job)
{
    const tri_manifest_head *head = &job->m->head;
    char manifest[TRI_DISK_PATH_BYTES];
    char when[SHOW_TEXT_BYTES];
    char mesh[SHOW_TEXT_BYTES];
    struct stat about = {0};
    TRI_TRY(tri_disk_path(manifest, job->path, TRI_MANIFEST_NAME, ""));
    TRI_TRY(TRI_SYS(stat(manifest, &about), "looking for %s", manifest));
    tri_checkpoint_time(about.st_mtime, when, sizeof when);
    tri_checkpoint_mesh(head->axis, mesh, sizeof mesh);
    printf("%s\n", job->path);
    printf("  step       %lld\n", (long long)head->step);
    printf("  sequence   %lld, parent %s\n", (long long)head->sequence,
           head->parent[0] ? head->parent : "none");
    printf("  made       %s by trireme %s\n", when, head->version);
    printf("  mesh       %s\n", mesh);
    print_job(job);
    print_content(job->m);
    print_files(job);
    return tri_checkpoint_rows(job->m, job->options->has_rows || job->stats, job->stats, stdout);
}

static tri_status print_row(const show_job *job)
{
    const tri_manifest_row *row = &job->m->rows[job->row];
    char type[TRI_TEXT_BYTES];
    char bytes[SHOW_TEXT_BYTES];
    tri_text_type(row->dtype, row->n_dims, row->shape, type);
    tri_checkpoint_bytes(bytes_of(row), bytes, sizeof bytes);
    printf("%s: %s, %s%s%s\n", row->name, type, bytes, row->external[0] ? ", elsewhere " : "",
           row->external);
    if (job->stats) {
        const tri_stats *s = &job->stats[job->row];
        printf("min %.6g, max %.6g, mean %.6g, rms %.6g, %lld not finite\n", s->min, s->max,
               s->mean, s->rms, (long long)s->n_not_finite);
    }
    return tri_checkpoint_map(job->m, job->row, stdout);
}

static void print_boxes_json(const tri_manifest *m, const tri_manifest_row *row)
{
    for (int64_t b = row->first_box; b < row->first_box + row->n_boxes; b++) {
        const tri_manifest_box *box = &m->boxes[b];
        printf("%s{\"file\": %d, \"start\": ", b > row->first_box ? ", " : "", box->file);
        tri_checkpoint_json_numbers(stdout, row->n_dims, box->start);
        printf(", \"count\": ");
        tri_checkpoint_json_numbers(stdout, row->n_dims, box->count);
        printf(", \"offset\": %lld}", (long long)box->offset);
    }
}

static void print_row_json(const show_job *job, int64_t index)
{
    const tri_manifest_row *row = &job->m->rows[index];
    printf("{\"name\": ");
    tri_json_quote(stdout, row->name);
    printf(", \"external\": ");
    tri_json_quote(stdout, row->external);
    printf(", \"dtype\": \"%s\", \"shape\": ", tri_dtype_name((tri_dtype)row->dtype));
    tri_checkpoint_json_numbers(stdout, row->n_dims, row->shape);
    if (job->stats) {
        const tri_stats *s = &job->stats[index];
        printf(", \"min\": %.17g, \"max\": %.17g, \"mean\": %.17g, \"rms\": %.17g, "
               "\"not_finite\": %lld",
               s->min, s->max, s->mean, s->rms, (long long)s->n_not_finite);
    }
    printf(", \"boxes\": [");
    print_boxes_json(job->m, row);
    printf("]}");
}

static void print_json(const show_job *job)
{
    const tri_manifest *m = job->m;
    printf("{\"path\": ");
    tri_json_quote(stdout, job->path);
    printf(", \"uuid\": \"%s\", \"parent\": \"%s\", \"step\": %lld, \"sequence\": %lld, "
           "\"version\": ",
           m->head.uuid, m->head.parent, (long long)m->head.step, (long long)m->head.sequence);
    tri_json_quote(stdout, m->head.version);
    printf(", \"mesh\": ");
    tri_checkpoint_json_numbers(stdout, TRI_AXES, m->head.axis);
    printf(", \"job\": ");
    tri_json_quote(stdout, m->job);
    printf(", \"files\": [");
    for (int64_t i = 0; i < m->head.n_files; i++) {
        printf("%s{\"name\": ", i ? ", " : "");
        tri_json_quote(stdout, m->files[i].name);
        printf(", \"uuid\": \"%s\", \"bytes\": %lld, \"rank\": %lld}", m->files[i].uuid,
               (long long)m->files[i].bytes, (long long)m->files[i].rank);
    }
    printf("], \"rows\": [");
    for (int64_t i = 0; i < m->head.n_rows; i++) {
        if (job->row >= 0 && i != job->row) continue;
        printf("%s", job->row < 0 && i ? ", " : "");
        print_row_json(job, i);
    }
    printf("]}\n");
}

/* Rank 0. */
static tri_status show(const show_options *options)
{
    TRI_AUTO(show_job) job = {.options = options, .row = -1};
    TRI_TRY(tri_checkpoint_one(options->path, job.path));
    TRI_TRY(tri_manifest_read(job.path, &job.m));
    if (options->row) TRI_TRY(find_row(job.m, options->row, job.path, &job.row));
    if (options->has_stats) TRI_TRY(read_stats(&job));
    if (options->is_json)
        print_json(&job);
    else if (options->row)
        TRI_TRY(print_row(&job));
    else
        TRI_TRY(print_facts(&job));
    return TRI_OK;
}

tri_status tri_checkpoint_show(const tri_cmd_args *args)
{
    show_options options;
    TRI_TRY(parse_options(args, &options));
    tri_comm *world = args->session->world;
    TRI_TRY(tri_agree(world, tri_comm_rank(world) == 0 ? show(&options) : TRI_OK));
    return TRI_OK;
}

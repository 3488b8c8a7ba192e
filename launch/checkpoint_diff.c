// SPDX-License-Identifier: Apache-2.0
/* `trireme checkpoint diff`: what differs between two checkpoints, in their jobs and in their rows. */
#include "checkpoint/diff.h"

#include "checkpoint/text.h"
#include "launch/checkpoint.h"
#include "launch/checkpoint_text.h"
#include "launch/spec_table.h"
#include "runtime/agree.h"
#include "runtime/json.h"

#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { DIFF_MESH_BYTES = 96 };

static const char *const kind_names[TRI_DIFF_KINDS] = {
    [TRI_DIFF_EQUAL] = "equal",       [TRI_DIFF_WITHIN] = "within tolerance",
    [TRI_DIFF_DIFFERS] = "different", [TRI_DIFF_ONLY_A] = "only in A",
    [TRI_DIFF_ONLY_B] = "only in B",  [TRI_DIFF_UNLIKE] = "unlike"};

typedef struct diff_options {
    char path[2][TRI_CKPT_PATH_BYTES];
    double tolerance;
    bool is_json;
} diff_options;

/* What is printed: rank 0 alone. */
typedef struct diff_report {
    const diff_options *options;
    const tri_diff *diff;
    tri_spec spec[2];
    bool has_specs; /* both job specs can be read by this version */
} diff_report;

static tri_status parse_options(const tri_cmd_args *args, diff_options *out)
{
    static const struct option options[] = {
        {"json",      no_argument,       NULL, 'j'},
        {"tolerance", required_argument, NULL, 't'},
        {NULL,        0,                 NULL, 0  }
    };
    *out = (diff_options){.tolerance = 0};
    optind = 1;
    for (int c; (c = getopt_long(args->argc, args->argv, ":", options, NULL)) != -1;) {
        if (c == 'j')
            out->is_json = true;
        else if (c == 't')
            TRI_TRY(tri_option_double("--tolerance", optarg, 0, 1e300, &out->tolerance));
        else
            return tri_option_fail(args);
    }
    TRI_CHECK(optind == args->argc - 2, TRI_EINVAL,
              "checkpoint diff takes two checkpoints: trireme checkpoint diff A B "
              "[--tolerance X] [--json]");
    return TRI_OK;
}

static void read_specs(diff_report *report)
{
    const tri_manifest *side[2] = {report->diff->a, report->diff->b};
    report->has_specs = true;
    for (int i = 0; i < 2; i++) {
        tri_status rc = tri_spec_parse(side[i]->job, (size_t)side[i]->head.job_bytes,
                                       report->options->path[i], &report->spec[i]);
        report->has_specs = report->has_specs && rc == TRI_OK;
        tri_err_clear();
    }
}

/* Call `print` for each key that differs. */
static int64_t visit_keys(const diff_report *report, void (*print)(int64_t index, const char *key,
                                                                   const char *a, const char *b))
{
    const tri_config *table = tri_spec_table();
    int64_t n = 0;
    for (int i = 0; report->has_specs && i < table->n_fields; i++) {
        char a[TRI_CONFIG_VALUE_BYTES];
        char b[TRI_CONFIG_VALUE_BYTES];
        tri_config_format(&table->fields[i], &report->spec[0], a, sizeof a);
        tri_config_format(&table->fields[i], &report->spec[1], b, sizeof b);
        if (strcmp(a, b) != 0) print(n++, table->fields[i].key, a, b);
    }
    return n;
}

static void print_key_text(int64_t index, const char *key, const char *a, const char *b)
{
    printf("%s  %-28s %s -> %s\n", index == 0 ? "job:\n" : "", key, a, b);
}

static void print_key_json(int64_t index, const char *key, const char *a, const char *b)
{
    printf("%s{\"key\": \"%s\", \"a\": ", index ? ", " : "", key);
    tri_json_quote(stdout, a);
    printf(", \"b\": ");
    tri_json_quote(stdout, b);
    printf("}");
}

static const tri_manifest_row *any_of(const tri_diff *diff, const tri_diff_row *row)
{
    return row->a >= 0 ? &diff->a->rows[row->a] : &diff->b->rows[row->b];
}

/* Coordinates of a flat index. */
static void unravel(const tri_manifest_row *row, int64_t flat, int64_t at[TRI_MAX_DIMS])
{
    for (int d = row->n_dims - 1; d >= 0; d--) {
        at[d] = flat % row->shape[d];
        flat /= row->shape[d];
    }
}

static void print_row_text(const tri_diff *diff, const tri_diff_row *row)
{
    const tri_manifest_row *any = any_of(diff, row);
    char a[TRI_TEXT_BYTES];
    char b[TRI_TEXT_BYTES];
    tri_text_type(any->dtype, any->n_dims, any->shape, a);
    if (row->kind == TRI_DIFF_ONLY_A || row->kind == TRI_DIFF_ONLY_B) {
        printf("  %-44s %s: %s\n", any->name, kind_names[row->kind], a);
    } else if (row->kind == TRI_DIFF_UNLIKE) {
        const tri_manifest_row *other = &diff->b->rows[row->b];
        tri_text_type(other->dtype, other->n_dims, other->shape, b);
        printf("  %-44s %s in A, %s in B\n", any->name, a, b);
    } else {
        int64_t at[TRI_MAX_DIMS] = {0};
        unravel(any, row->first, at);
        printf("  %-44s %9lld of %-10lld %9.3g %9.3g %9.3g  [", any->name,
               (long long)row->n_differing, (long long)row->elements, row->max_abs, row->max_rel,
               row->rms);
        for (int d = 0; d < any->n_dims; d++)
            printf("%s%lld", d ? ", " : "", (long long)at[d]);
        printf("]%s\n", row->kind == TRI_DIFF_WITHIN ? " within the tolerance" : "");
    }
}

static void print_side(const char *name, const char *path, const tri_manifest *m)
{
    char mesh[DIFF_MESH_BYTES];
    tri_checkpoint_mesh(m->head.axis, mesh, sizeof mesh);
    printf("%s  %s: step %lld, %s\n", name, path, (long long)m->head.step, mesh);
}

static void print_text(const diff_report *report)
{
    const tri_diff *diff = report->diff;
    print_side("A", report->options->path[0], diff->a);
    print_side("B", report->options->path[1], diff->b);
    if (!report->has_specs) printf("job: a spec is not one of this version, not compared\n");
    visit_keys(report, print_key_text);
    if (diff->count[TRI_DIFF_DIFFERS] + diff->count[TRI_DIFF_WITHIN])
        printf("  %-44s %-23s %9s %9s %9s  %s\n", "row", "elements that differ", "max abs",
               "max rel", "rms", "first");
    for (int64_t i = 0; i < diff->n_rows; i++)
        if (diff->rows[i].kind != TRI_DIFF_EQUAL) print_row_text(diff, &diff->rows[i]);
    printf("%lld rows:", (long long)diff->n_rows);
    for (int k = 0; k < TRI_DIFF_KINDS; k++)
        if (k == TRI_DIFF_EQUAL || diff->count[k])
            printf("%s %lld %s", k ? "," : "", (long long)diff->count[k], kind_names[k]);
    printf("\n");
}

/* JSON has no infinity. */
static void print_number(const char *key, double value)
{
    if (isfinite(value))
        printf(", \"%s\": %.9g", key, value);
    else
        printf(", \"%s\": null", key);
}

static void print_row_json(const tri_diff *diff, const tri_diff_row *row)
{
    const tri_manifest_row *any = any_of(diff, row);
    printf("{\"name\": ");
    tri_json_quote(stdout, any->name);
    printf(", \"kind\": \"%s\"", kind_names[row->kind]);
    if (row->kind == TRI_DIFF_DIFFERS || row->kind == TRI_DIFF_WITHIN) {
        int64_t at[TRI_MAX_DIMS] = {0};
        unravel(any, row->first, at);
        printf(", \"elements\": %lld, \"differing\": %lld, \"beyond\": %lld, \"first\": ",
               (long long)row->elements, (long long)row->n_differing, (long long)row->n_beyond);
        tri_checkpoint_json_numbers(stdout, any->n_dims, at);
        print_number("max_abs", row->max_abs);
        print_number("max_rel", row->max_rel);
        print_number("rms", row->rms);
    }
    printf("}");
}

static void print_json(const diff_report *report)
{
    const tri_diff *diff = report->diff;
    printf("{\"a\": ");
    tri_json_quote(stdout, report->options->path[0]);
    printf(", \"b\": ");
    tri_json_quote(stdout, report->options->path[1]);
    printf(", \"equal\": %s, \"tolerance\": %.9g, \"step\": [%lld, %lld], \"job\": ",
           tri_diff_is_equal(diff) ? "true" : "false", report->options->tolerance,
           (long long)diff->a->head.step, (long long)diff->b->head.step);
    if (report->has_specs) {
        printf("[");
        visit_keys(report, print_key_json);
        printf("]");
    } else {
        printf("null");
    }
    printf(", \"rows\": %lld, \"bytes\": %lld, \"unequal\": [", (long long)diff->n_rows,
           (long long)diff->n_bytes);
    bool is_first = true;
    for (int64_t i = 0; i < diff->n_rows; i++) {
        if (diff->rows[i].kind == TRI_DIFF_EQUAL) continue;
        printf("%s", is_first ? "" : ", ");
        print_row_json(diff, &diff->rows[i]);
        is_first = false;
    }
    printf("]}\n");
}

static tri_status find_both(const tri_cmd_args *args, diff_options *options)
{
    TRI_TRY(tri_checkpoint_one(args->argv[optind], options->path[0]));
    TRI_TRY(tri_checkpoint_one(args->argv[optind + 1], options->path[1]));
    return TRI_OK;
}

tri_status tri_checkpoint_diff(const tri_cmd_args *args)
{
    diff_options options;
    TRI_TRY(parse_options(args, &options));
    tri_comm *world = args->session->world;
    bool is_root = tri_comm_rank(world) == 0;
    TRI_TRY(tri_agree(world, is_root ? find_both(args, &options) : TRI_OK));
    tri_span paths = tri_span_make(options.path, (int64_t)sizeof options.path, TRI_U8);
    TRI_TRY(tri_broadcast(world, paths, 0, NULL));
    TRI_AUTO(tri_diff) *diff = NULL;
    TRI_TRY(tri_diff_create(options.path[0], options.path[1], options.tolerance, world, &diff));
    if (!tri_diff_is_equal(diff)) args->session->verdict = 1;
    if (!is_root) return TRI_OK;
    diff_report report = {.options = &options, .diff = diff};
    read_specs(&report);
    if (options.is_json)
        print_json(&report);
    else
        print_text(&report);
    return TRI_OK;
}

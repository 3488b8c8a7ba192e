// SPDX-License-Identifier: Apache-2.0
/* `trireme check`: a job on paper. Memory and messages come from the same declarations that `train`
 * commits, so they cannot drift apart.
 */
#include "launch/check.h"

#include "launch/check_schedule.h"
#include "launch/commands.h"
#include "launch/coordinate.h"
#include "launch/progress.h"
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"

#include <getopt.h>
#include <string.h>

enum { CHECK_NUMBER_BYTES = 32 };

/* Ranks at one place of the pipeline need the same (but for shares that do not divide evenly, of which
 * the first has most): one plan for each place. */
static tri_status plan_places(const tri_spec *spec, int n_ranks, tri_job_plan *plans)
{
    int stride = n_ranks / spec->parallel.pipeline;
    for (int place = 0; place < spec->parallel.pipeline; place++)
        TRI_TRY(tri_job_plan_make(spec, n_ranks, place * stride, &plans[place]));
    return TRI_OK;
}

static tri_status plan_and_print(const tri_spec *spec, int n_ranks)
{
    tri_job_plan *plans = NULL;
    TRI_TRY(TRI_NEW_ARRAY(spec->parallel.pipeline, &plans));
    tri_status rc = plan_places(spec, n_ranks, plans);
    if (rc == TRI_OK) tri_check_print(spec, n_ranks, plans, stdout);
    TRI_FREE(plans);
    TRI_TRY(rc);
    return TRI_OK;
}

static void print_list_json(const tri_traffic_list *messages, int rank, bool is_test)
{
    for (int i = 0; i < messages->n; i++) {
        const tri_traffic *entry = &messages->entry[i];
        printf("{\"rank\": %d, \"kind\": \"%s\", \"group\": \"%s\", \"what\": \"%s\", ", rank,
               tri_coll_kind_name(entry->kind), entry->group, entry->what);
        printf("\"ranks\": %d, \"calls\": %lld, \"payload_bytes\": %lld, \"sent_bytes\": %.0f%s}\n",
               entry->ranks, (long long)entry->calls, (long long)entry->payload_bytes,
               tri_traffic_sent_bytes(entry), is_test ? ", \"test\": true" : "");
    }
}

/* The messages of every rank, one JSON object a line, with what it sends by ring algorithms: of the first
 * step, then, marked, of such a step with a test of the batch. */
static tri_status print_messages_json(const tri_spec *spec, int n_ranks)
{
    for (int rank = 0; rank < n_ranks; rank++) {
        tri_job_plan plan;
        TRI_TRY(tri_job_plan_make(spec, n_ranks, rank, &plan));
        print_list_json(&plan.messages, rank, false);
        print_list_json(&plan.test_messages, rank, true);
    }
    return TRI_OK;
}

/* The data must be there and of the format that the spec says. */
static tri_status check_tokens(const tri_spec *spec, const char *title, const char *path)
{
    tri_tokens_args args = {.path = path,
                            .format = spec->data.format,
                            .tokenizer = spec->data.tokenizer,
                            .dataset = spec->data.dataset};
    TRI_AUTO(tri_tokens) *tokens = NULL;
    TRI_TRY(tri_tokens_open(&args, &tokens));
    char count[CHECK_NUMBER_BYTES];
    printf("%-8s %s tokens in %s\n", title,
           tri_progress_short((double)tri_tokens_count(tokens), count, sizeof count), path);
    return TRI_OK;
}

typedef struct check_options {
    const char *path;
    int n_overrides;
    const char *const *overrides;
    int64_t ranks;
    bool draws, is_json, measures;
    const char *widths; /* NULL: the usual ones */
    int64_t steps;
} check_options;

static tri_status parse_options(const tri_cmd_args *args, check_options *out)
{
    static const struct option options[] = {
        {"ranks",      required_argument, NULL, 'r'},
        {"schedule",   no_argument,       NULL, 's'},
        {"messages",   no_argument,       NULL, 'm'},
        {"coordinate", no_argument,       NULL, 'c'},
        {"widths",     required_argument, NULL, 'w'},
        {"steps",      required_argument, NULL, 'n'},
        {NULL,         0,                 NULL, 0  }
    };
    *out = (check_options){.ranks = 1, .steps = 5};
    optind = 1;
    bool has_steps = false;
    for (int c; (c = getopt_long(args->argc, args->argv, ":", options, NULL)) != -1;) {
        has_steps = has_steps || c == 'n';
        if (c == 's')
            out->draws = true;
        else if (c == 'm')
            out->is_json = true;
        else if (c == 'c')
            out->measures = true;
        else if (c == 'w')
            out->widths = optarg;
        else if (c == 'n')
            TRI_TRY(tri_option_int("--steps", optarg, 1, TRI_COORDINATE_STEPS, &out->steps));
        else if (c == 'r')
            TRI_TRY(tri_option_int("--ranks", optarg, 1, 1 << 24, &out->ranks));
        else
            return tri_option_fail(args);
    }
    TRI_CHECK(optind < args->argc, TRI_EINVAL,
              "check takes a job spec: trireme check JOB.yaml [--ranks N] [--schedule] "
              "[--messages] [--coordinate] [key=value ...]");
    TRI_CHECK(out->measures || (!out->widths && !has_steps), TRI_EINVAL,
              "--widths and --steps are of the coordinate check: give --coordinate as well");
    TRI_CHECK(!out->measures || (!out->draws && !out->is_json && out->ranks == 1), TRI_EINVAL,
              "--coordinate trains on one rank and says nothing of layouts: leave out --ranks, "
              "--schedule and --messages");
    out->path = args->argv[optind];
    out->n_overrides = args->argc - optind - 1;
    out->overrides = (const char *const *)(args->argv + optind + 1);
    return TRI_OK;
}

/* 64 and twice as much three times; more where rotated heads would not fit. */
static void usual_widths(int64_t heads, tri_coordinate *out)
{
    for (out->n_widths = 0; out->n_widths < 4; out->n_widths++)
        out->width[out->n_widths] = tri_round_up(64, 2 * heads) << out->n_widths;
}

static tri_status parse_widths(const char *text, tri_coordinate *out)
{
    char list[128];
    char *rest = NULL;
    snprintf(list, sizeof list, "%s", text);
    for (char *word = strtok_r(list, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
        TRI_CHECK(out->n_widths < TRI_COORDINATE_WIDTHS, TRI_EINVAL,
                  "--widths: '%.60s' has more than %d", text, (int)TRI_COORDINATE_WIDTHS);
        TRI_TRY(tri_option_int("--widths", word, 1, 1 << 20, &out->width[out->n_widths++]));
    }
    return TRI_OK;
}

/* `trireme check --coordinate`: the verdict is the exit code. */
static tri_status check_coordinate(const tri_cmd_args *args, const check_options *options,
                                   const tri_spec *spec)
{
    tri_coordinate *c = NULL;
    TRI_TRY(tri_session_open(args->session, spec->train.threads));
    TRI_TRY(TRI_NEW(&c));
    c->steps = options->steps;
    tri_status rc = TRI_OK;
    if (options->widths)
        rc = parse_widths(options->widths, c);
    else
        usual_widths(spec->model.heads, c);
    if (rc == TRI_OK) rc = tri_coordinate_measure(spec, args->session->world, c);
    if (rc == TRI_OK) {
        tri_coordinate_print(c, spec, stdout);
        args->session->verdict = tri_coordinate_is_flat(c) ? 0 : 1;
    }
    TRI_FREE(c);
    TRI_TRY(rc);
    return TRI_OK;
}

tri_status tri_cmd_check(const tri_cmd_args *args)
{
    check_options options;
    tri_spec spec;
    TRI_TRY(parse_options(args, &options));
    TRI_TRY(tri_spec_read(options.path, options.n_overrides, options.overrides, &spec));
    if (options.measures) {
        TRI_TRY(check_coordinate(args, &options, &spec));
        return TRI_OK;
    }
    TRI_TRY(tri_spec_check(&spec, (int)options.ranks));
    if (options.is_json) {
        TRI_TRY(print_messages_json(&spec, (int)options.ranks));
        return TRI_OK;
    }
    TRI_TRY(plan_and_print(&spec, (int)options.ranks));
    if (options.draws) TRI_TRY(tri_check_schedule(&spec, stdout));
    TRI_TRY(check_tokens(&spec, "data", spec.data.train));
    if (spec.data.validation[0]) TRI_TRY(check_tokens(&spec, "held out", spec.data.validation));
    return TRI_OK;
}

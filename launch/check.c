// SPDX-License-Identifier: Apache-2.0
/* `trireme check`: a job on paper. Memory and messages come from the same declarations that `train`
 * commits, so they cannot drift apart.
 */
#include "launch/check.h"

#include "launch/check_schedule.h"
#include "launch/commands.h"
#include "launch/progress.h"
#include "runtime/base/alloc.h"

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

tri_status tri_cmd_check(const tri_cmd_args *args)
{
    static const struct option options[] = {
        {"ranks",    required_argument, NULL, 'r'},
        {"schedule", no_argument,       NULL, 's'},
        {"messages", no_argument,       NULL, 'm'},
        {NULL,       0,                 NULL, 0  }
    };
    int64_t ranks = 1;
    bool draws = false, is_json = false;
    optind = 1;
    for (int c; (c = getopt_long(args->argc, args->argv, ":", options, NULL)) != -1;) {
        if (c == 's')
            draws = true;
        else if (c == 'm')
            is_json = true;
        else if (c == 'r')
            TRI_TRY(tri_option_int("--ranks", optarg, 1, 1 << 24, &ranks));
        else
            return tri_option_fail(args);
    }
    TRI_CHECK(optind < args->argc, TRI_EINVAL,
              "check takes a job spec: trireme check JOB.yaml [--ranks N] [--schedule] "
              "[--messages] [key=value ...]");
    tri_spec spec;
    TRI_TRY(tri_spec_read(args->argv[optind], args->argc - optind - 1,
                          (const char *const *)(args->argv + optind + 1), &spec));
    TRI_TRY(tri_spec_check(&spec, (int)ranks));
    if (is_json) {
        TRI_TRY(print_messages_json(&spec, (int)ranks));
        return TRI_OK;
    }
    TRI_TRY(plan_and_print(&spec, (int)ranks));
    if (draws) TRI_TRY(tri_check_schedule(&spec, stdout));
    TRI_TRY(check_tokens(&spec, "data", spec.data.train));
    if (spec.data.validation[0]) TRI_TRY(check_tokens(&spec, "held out", spec.data.validation));
    return TRI_OK;
}
